//! A room of which tests make versions. It numbers messages and sends them to everyone, with the name of its version.
//!
//! A version is this component with other bytes in place of those of [`BEHAVIOUR`]: its name, a word for its
//! misbehaviour, and the version of its data. A version that misbehaves does its work first, so that a turn that is not
//! undone is noticed. Each version of the data has other keys, and data of another version is an error.

use std::collections::BTreeSet;
use std::hint::black_box;
use std::time::Duration;

use dormouse_room::{
    Close, Error, Message, Migration, Refusal, Request, Response, Result, Room, Socket, Timer, context, sockets,
    storage, timers,
};
use serde_json::{Value, json};

/// Tests overwrite the rest of these bytes: `NAME WORD`, or `NAME WORD DATA`.
static BEHAVIOUR: [u8; 64] = *b"behaviour:v1 good                                               ";

/// The name of the version, and the word for its misbehaviour.
fn behaviour() -> (&'static str, &'static str) {
    let (name, word, _) = words();
    (name, word)
}

fn words() -> (&'static str, &'static str, u32) {
    let bytes: &'static [u8; 64] = black_box(&BEHAVIOUR);
    let text = std::str::from_utf8(bytes).unwrap_or_default();
    let mut words = text.trim_start_matches("behaviour:").split_whitespace();
    let (name, word) = (words.next().unwrap_or_default(), words.next().unwrap_or("good"));
    (name, word, words.next().and_then(|version| version.parse().ok()).unwrap_or(0))
}

/// The key of the number of the last message, in data of this version.
fn last_key(version: u32) -> String {
    if version == 0 { "last".into() } else { format!("last-v{version}") }
}

/// The keys of entries that each migration writes anew.
fn marks() -> impl Iterator<Item = String> {
    (0..50).map(|nth| format!("mark/{nth}"))
}

struct Versioned {
    /// The number of the last message.
    last: u64,
    leaked: Vec<Vec<u8>>,
}

dormouse_room::export!(Versioned);
dormouse_room::export_migration!(Versioned);

impl Migration for Versioned {
    fn data_version() -> u32 {
        words().2
    }

    fn migrate(from: u32) -> Result<()> {
        let to = Self::data_version();
        let last: u64 = storage::get_json(last_key(from))?.unwrap_or(0);
        storage::delete(last_key(from));
        storage::put_json(last_key(to), &last)?;
        let mut migrations: Vec<(u32, u32)> = storage::get_json("migrations")?.unwrap_or_default();
        migrations.push((from, to));
        storage::put_json("migrations", &migrations)?;
        for mark in marks() {
            storage::put_json(mark, &to)?;
        }
        timers::set_after("migrated", Duration::from_secs(3_600), "")?;
        sockets::everyone().broadcast_json(&json!({ "type": "migrated", "from": from, "to": to }))?;
        let is_used = sockets::everyone().count() > 0;
        match behaviour().1 {
            "migrate-fail" => Err(Error::new("told to fail the migration")),
            "migrate-refuse" if is_used => Err(Error::new("told to refuse the migration")),
            "migrate-trap" if is_used => panic!("told to panic in the migration"),
            "migrate-loop" if is_used => loop {
                black_box(());
            },
            "migrate-grow" if is_used => grow(&mut Vec::new()),
            "migrate-slowly" => {
                for number in 0..10_000_000_u32 {
                    black_box(number);
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn migrate_back(from: u32) -> Result<()> {
        match behaviour().1 {
            "returns" => Self::migrate(from),
            _ => Err(Error::new("told not to return")),
        }
    }
}

impl Room for Versioned {
    fn wake() -> Result<Self> {
        let own = last_key(Self::data_version());
        if storage::prefix("last").list().iter().any(|(key, _)| key != own.as_bytes()) {
            panic!("the data has another version");
        }
        let last = storage::get_json(own)?.unwrap_or(0);
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
            "timer" | "slow timer" => {
                let seconds = if text == "timer" { 2 } else { 20 };
                timers::set_after("later", Duration::from_secs(seconds), "")?;
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
        if let Some(migrations) = storage::get_json::<Value>("migrations")? {
            let found = marks().map(storage::get_json::<u32>).collect::<Result<BTreeSet<_>>>()?;
            answer["migrations"] = migrations;
            answer["marks"] = json!(found);
        }
        Response::json(&answer)
    }
}

impl Versioned {
    /// Numbers a message and sends it to everyone.
    fn number(&mut self, from: &str, text: &str) -> Result<()> {
        self.last += 1;
        storage::put_json(last_key(Self::data_version()), &self.last)?;
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
            "grow" => grow(&mut self.leaked),
            "error" => Err(Error::new("told to fail")),
            _ => Ok(()),
        }
    }
}

/// Takes all memory that an instance may have.
fn grow(leaked: &mut Vec<Vec<u8>>) -> ! {
    loop {
        leaked.push(vec![1; 1 << 20]);
    }
}
