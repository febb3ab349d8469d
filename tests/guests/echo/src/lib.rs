//! A room that returns each message to its sender, and does nothing else.

use dormouse_room::{Message, Result, Room, Socket};

struct Echo;
dormouse_room::export!(Echo);

impl Room for Echo {
    fn wake() -> Result<Self> {
        Ok(Echo)
    }

    fn message(&mut self, sender: &Socket, message: Message) -> Result<()> {
        Ok(sender.send(&message)?)
    }
}
