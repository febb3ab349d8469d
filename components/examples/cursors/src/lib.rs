//! The cursors of all users on a shared document.
//!
//! Shows binary messages, attachments and tags. An attachment holds a cursor: it survives hibernation without storage,
//! and ends with its socket. Tags limit a broadcast to the clients on the same page. A client connects with `?page=N`
//! and sends a place as four bytes, x and y as unsigned 16-bit numbers, highest byte first. It receives twelve bytes: a
//! socket's id in eight, and its place. Eight bytes alone mean that this socket has left.

use dormouse_room::{Close, Message, Refusal, Request, Result, Room, Socket, sockets};

/// The length of a place, in bytes.
const PLACE: usize = 4;

struct Cursors;
dormouse_room::export!(Cursors);

impl Room for Cursors {
    fn wake() -> Result<Self> {
        Ok(Cursors)
    }

    fn connect(&mut self, request: Request, socket: &Socket) -> Result<(), Refusal> {
        let page = request.query().get("page").unwrap_or_else(|| "1".into());
        socket
            .set_tags(std::slice::from_ref(&page))
            .map_err(|_| Refusal { status: 400, reason: "no such page".into() })?;
        for other in sockets::everyone().tagged(page).except(socket).list() {
            let place = other.attachment();
            if !place.is_empty() {
                socket.tell(&cursor(&other, &place))?;
            }
        }
        Ok(())
    }

    fn message(&mut self, sender: &Socket, message: Message) -> Result<()> {
        match message {
            Message::Binary(place) if place.len() == PLACE => {
                sender.set_attachment(&place)?;
                tell_the_page(sender, &cursor(sender, &place))
            }
            _ => Ok(sender.close(1008, "a place is four bytes")?),
        }
    }

    fn close(&mut self, socket: &Socket, _close: Close) -> Result<()> {
        tell_the_page(socket, &cursor(socket, &[]))
    }
}

fn tell_the_page(about: &Socket, message: &Message) -> Result<()> {
    match about.tags().first() {
        Some(page) => sockets::everyone().tagged(page).except(about).broadcast(message),
        None => Ok(()),
    }
}

fn cursor(socket: &Socket, place: &[u8]) -> Message {
    let mut bytes = socket.id().to_be_bytes().to_vec();
    bytes.extend(place);
    Message::Binary(bytes)
}
