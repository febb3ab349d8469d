//! A room that stores values, counters and lists on command. Each message is one command, and its result is the answer.
//! It also keeps one text of each user, and exports and erases it well or badly, as it is told.

use std::time::Duration;

use dormouse_room::personal_data::{Erased, Exported};
use dormouse_room::storage::{self, Counter, Entry, List, Value};
use dormouse_room::{Error, Message, PersonalData, Result, Room, Socket, sockets, timers};

const NOTE: Value<String> = Value::new("note");
const STEPS: Counter = Counter::new("steps");
const LINES: List<String> = List::new("lines");
/// Its name begins with the name of another list.
const OTHERS: List<String> = List::new("lines of others");

/// How it exports and erases a user.
const BEHAVIOUR: Value<String> = Value::new("behaviour");

struct Keeper;
dormouse_room::export!(Keeper);
dormouse_room::export_personal_data!(Keeper);

impl Room for Keeper {
    fn wake() -> Result<Self> {
        Ok(Keeper)
    }

    fn message(&mut self, sender: &Socket, message: Message) -> Result<()> {
        let Message::Text(command) = message else { return Err(Error::new("a command is text")) };
        if let Some(text) = command.strip_prefix("mine ") {
            storage::put_json(mine(&sender.user().id), &text)?;
        }
        Ok(sender.send(&Message::Text(execute(&command)?))?)
    }
}

impl PersonalData for Keeper {
    fn export_user(&mut self, user: &str, after: Option<&str>) -> Result<Exported> {
        let text = storage::get_json::<String>(mine(user))?;
        match (BEHAVIOUR.get()?.as_deref(), after) {
            (Some("fail"), _) => Err(Error::new("told to fail")),
            (Some("trap"), _) => panic!("told to panic"),
            (Some("write"), _) => storage::put("written", "while exporting").and_then(|()| Exported::all(text)),
            (Some("delete"), _) => {
                storage::delete(mine(user));
                Exported::all(text)
            }
            (Some("send"), _) => sockets::everyone().broadcast_json(&"hello").and_then(|()| Exported::all(text)),
            (Some("timer"), _) => timers::set_after("t", Duration::from_secs(1), []).and_then(|()| Exported::all(text)),
            (Some("no json"), _) => Ok(Exported { items: vec!["{".into()], next: None }),
            (Some("long"), _) => Exported::all(["x".repeat(5 << 20)]),
            (Some("again"), _) => Exported::part(text, "again"),
            (Some("parts"), None) => Exported::part(text, "second"),
            (Some("parts"), Some(after)) => Exported::all([after]),
            _ => Exported::all(text),
        }
    }

    fn erase_user(&mut self, user: &str, after: Option<&str>) -> Result<Erased> {
        match (BEHAVIOUR.get()?.as_deref(), after) {
            (Some("fail"), _) => Err(Error::new("told to fail")),
            (Some("trap"), _) => panic!("told to panic"),
            (Some("again"), _) => Ok(Erased::part(0, "again")),
            (Some("parts"), None) => Ok(Erased::part(1, "second")),
            _ => Ok(Erased::all(u32::from(storage::delete(mine(user))))),
        }
    }
}

/// The key of the text of a user.
fn mine(user: &str) -> String {
    format!("mine/{user}")
}

fn execute(command: &str) -> Result<String> {
    let (command, argument) = command.split_once(' ').unwrap_or((command, ""));
    let number = || argument.parse::<u64>().unwrap_or(0);
    Ok(match command {
        "note" => {
            NOTE.put(&argument.into())?;
            "noted".into()
        }
        "noted" => NOTE.get()?.unwrap_or_else(|| "nothing".into()),
        "forget" => NOTE.delete().to_string(),
        "step" => STEPS.add(argument.parse()?)?.to_string(),
        "steps" => STEPS.get()?.to_string(),
        "push" => LINES.push(&argument.into())?.to_string(),
        "push-other" => OTHERS.push(&argument.into())?.to_string(),
        "last" => LINES.last_number().to_string(),
        "get" => LINES.get(number())?.unwrap_or_else(|| "nothing".into()),
        "newest" => page(LINES.newest(3)?),
        "before" => page(LINES.before(number(), 3)?),
        "after" => page(LINES.after(number(), 3)?),
        "trim" => LINES.remove_before(number()).to_string(),
        "mine" => "kept".into(),
        "behave" => {
            BEHAVIOUR.put(&argument.into())?;
            "told".into()
        }
        other => return Err(Error::new(format!("no such command: {other}"))),
    })
}

fn page(entries: Vec<Entry<String>>) -> String {
    entries.into_iter().map(|entry| format!("{} {}", entry.number, entry.value)).collect::<Vec<_>>().join(", ")
}
