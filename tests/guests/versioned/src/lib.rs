//! A room of which tests make versions. It numbers messages and sends them to everyone, with the name of its version.
//!
//! A version is this component with other bytes in place of those of [`BEHAVIOUR`]: its name, and a word for its
//! misbehaviour. A version that misbehaves does its work first, so that a turn that is not undone is noticed.

use std::hint::black_box;
use std::time::Duration;

use dormouse_room::{
    Close, Error, Message, Refusal, Request, Response, Result, Room, Socket, Timer, context, sockets, storage, timers,
};
use serde_json::{Value, json};

/// Tests overwrite the rest of these bytes: `NAME WORD`.
static BEHAVIOUR: [u8; 64] = *b"behaviour:v1 good                                               ";

/// The name of the version, and the word for its misbehaviour.
fn behaviour() -> (&'static str, &'static str) {
    let bytes: &'static [u8; 64] = black_box(&BEHAVIOUR);
    let text = std::str::from_utf8(bytes).unwrap_or_default().trim_end();
    text.trim_start_matches("behaviour:").split_once(' ').unwrap_or((text, "good"))
}

struct Versioned {
    /// The number of the last message.
    last: u64,
    leaked: Vec<Vec<u8>>,
}

dormouse_room::export!(Versioned);

impl Room for Versioned {
    fn wake() -> Result<Self> {
        let last = storage::get_json("last")?.unwrap_or(0);
        match behaviour().1 {
            "refuse-wake" => return Err(Error::new("told to refuse")),
            "refuse-data" if last > 0 => return Err(Error::new("told to refuse the data")),
            "trap-with-sockets" if sockets::everyone().count() > 0 => panic!("told to panic with sockets"),
            "refuse-sockets" if sockets::everyone().count() > 0 => return Err(Error::new("told to refuse sockets")),
            _ => {}
        }
        Ok(Versioned { last, leaked: Vec::new() })
    }

    fn connect(&mut self, _request: Request, socket: &Socket) -> Result<(), Refusal> {
        if behaviour().1 == "reject" {
            return Err(Refusal { status: 403, reason: "told to reject".into() });
        }
        socket.set_tags(&["member".to_owned()]).map_err(Error::from)?;
        socket.set_attachment(socket.user().id.as_bytes()).map_err(Error::from)?;
        Ok(socket.send_json(&json!({ "type": "hello", "version": behaviour().0, "last": self.last }))?)
    }

    fn message(&mut self, sender: &Socket, message: Message) -> Result<()> {
        let Message::Text(text) = message else { return Err(Error::new("a message is text")) };
        match text.as_str() {
            "who" => {
                let attachment = String::from_utf8_lossy(&sender.attachment()).into_owned();
                let tagged = sockets::everyone().tagged("member").count();
                Ok(sender.send_json(&json!({ "type": "who", "attachment": attachment, "tagged": tagged }))?)
            }
            "timer" => {
                timers::set_after("later", Duration::from_secs(2), "")?;
                Ok(sender.send_json(&json!({ "type": "set" }))?)
            }
            _ => {
                self.number(&sender.user().id, &text)?;
                if text == "poison" {
                    panic!("every version panics here");
                }
                self.misbehave()
            }
        }
    }

    fn close(&mut self, socket: &Socket, _close: Close) -> Result<()> {
        self.number(&socket.user().id, "left")?;
        self.misbehave()
    }

    fn timer(&mut self, _timer: Timer) -> Result<()> {
        self.number("timer", "fired")?;
        self.misbehave()
    }

    fn request(&mut self, _request: Request) -> Result<Response> {
        let mut answer = json!({ "version": behaviour().0, "last": self.last });
        if context::config("title").is_some() {
            answer["title"] = Value::from(context::config("title"));
        }
        Response::json(&answer)
    }
}

impl Versioned {
    /// Numbers a message and sends it to everyone.
    fn number(&mut self, from: &str, text: &str) -> Result<()> {
        self.last += 1;
        storage::put_json("last", &self.last)?;
        let numbered =
            json!({ "type": "numbered", "seq": self.last, "from": from, "text": text, "version": behaviour().0 });
        sockets::everyone().broadcast_json(&numbered)
    }

    fn misbehave(&mut self) -> Result<()> {
        match behaviour().1 {
            "trap" => panic!("told to panic"),
            "trap-in-bad" if context::name() == "bad" => panic!("told to panic in this room"),
            "loop" => loop {
                black_box(());
            },
            "grow" => loop {
                self.leaked.push(vec![1; 1 << 20]);
            },
            "error" => Err(Error::new("told to fail")),
            _ => Ok(()),
        }
    }
}
