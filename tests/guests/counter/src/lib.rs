//! A room that counts.

use dormouse_room::{Message, Refusal, Request, Response, Result, Room, Socket, sockets, storage};

/// Counts messages, and tells all clients the count.
struct Counter {
    count: u64, // a cache: read from storage when the room wakes
}

dormouse_room::export!(Counter);

impl Room for Counter {
    fn wake() -> Result<Self> {
        Ok(Counter { count: storage::get_json("count")?.unwrap_or(0) })
    }

    fn connect(&mut self, _request: Request, socket: &Socket) -> Result<(), Refusal> {
        Ok(socket.send_json(&self.count)?)
    }

    fn message(&mut self, _sender: &Socket, _message: Message) -> Result<()> {
        self.count += 1;
        storage::put_json("count", &self.count)?;
        sockets::everyone().broadcast_json(&self.count) // sent once the count is on disk
    }

    fn request(&mut self, _request: Request) -> Result<Response> {
        Response::json(&self.count)
    }
}
