//! A board: all members see what a member pins to it, now and later.

use dormouse_room::json;
use dormouse_room::storage::List;
use dormouse_room::{Message, Refusal, Request, Response, Result, Room, Socket, sockets};
use serde::{Deserialize, Serialize};

/// All notes, on disk: the newest has the highest number.
const NOTES: List<Note> = List::new("notes");

#[derive(Serialize, Deserialize)]
struct Note {
    by: String,
    text: String,
}

/// The message of a client.
#[derive(Deserialize)]
struct Pin {
    text: String,
}

// Fields of this struct would be a cache: they are lost when the room sleeps, and `wake` makes them again.
struct Board;
dormouse_room::export!(Board);

impl Room for Board {
    fn wake() -> Result<Self> {
        Ok(Board)
    }

    fn connect(&mut self, _request: Request, socket: &Socket) -> Result<(), Refusal> {
        for note in NOTES.newest(50)? {
            socket.send_json(&note.value)?;
        }
        Ok(())
    }

    fn message(&mut self, sender: &Socket, message: Message) -> Result<()> {
        match json::from_message::<Pin>(&message) {
            Ok(Pin { text }) => {
                let note = Note {
                    by: sender.user().name,
                    text,
                };
                NOTES.push(&note)?;
                sockets::everyone().broadcast_json(&note) // sent only after the note is on disk
            }
            Err(error) => sender.send_error(&error),
        }
    }

    fn request(&mut self, _request: Request) -> Result<Response> {
        let notes = NOTES
            .newest(50)?
            .into_iter()
            .map(|note| note.value)
            .collect::<Vec<_>>();
        Response::json(&notes)
    }
}
