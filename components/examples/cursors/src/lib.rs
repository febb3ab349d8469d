//! The cursors of all users on a shared document.
//!
//! Shows binary messages, attachments and tags. An attachment holds a cursor: it survives hibernation without storage,
//! and ends with its socket. Tags limit a broadcast to the clients on the same page. A client connects with `?page=N`
//! and sends a position as four bytes, x and y as unsigned 16-bit numbers, highest byte first. It receives twelve
//! bytes: a socket's id in eight, and its position. Eight bytes alone mean that this socket has left.

use dormouse_room::{Close, Message, Refusal, Request, Result, Room, Socket, sockets};

/// The length of a position, in bytes.
const POSITION_BYTES: usize = 4;

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
            let position = other.attachment();
            if !position.is_empty() {
                socket.send_if_open(&cursor(&other, &position))?;
            }
        }
        Ok(())
    }

    fn message(&mut self, sender: &Socket, message: Message) -> Result<()> {
        match message {
            Message::Binary(position) if position.len() == POSITION_BYTES => {
                sender.set_attachment(&position)?;
                broadcast_to_page(sender, &cursor(sender, &position))
            }
            _ => Ok(sender.close(1008, "a position is four bytes")?),
        }
    }

    fn close(&mut self, socket: &Socket, _close: Close) -> Result<()> {
        broadcast_to_page(socket, &cursor(socket, &[]))
    }
}

fn broadcast_to_page(socket: &Socket, message: &Message) -> Result<()> {
    match socket.tags().first() {
        Some(page) => sockets::everyone().tagged(page).except(socket).broadcast(message),
        None => Ok(()),
    }
}

fn cursor(socket: &Socket, position: &[u8]) -> Message {
    let mut bytes = socket.id().to_be_bytes().to_vec();
    bytes.extend(position);
    Message::Binary(bytes)
}
