//! A room that stores values, counters and lists on command. Each message is one command, and its result is the answer.

use dormouse_room::storage::{Counter, Entry, List, Value};
use dormouse_room::{Error, Message, Result, Room, Socket};

const NOTE: Value<String> = Value::new("note");
const STEPS: Counter = Counter::new("steps");
const LINES: List<String> = List::new("lines");
/// Its name begins with the name of another list.
const OTHERS: List<String> = List::new("lines of others");

struct Keeper;
dormouse_room::export!(Keeper);

impl Room for Keeper {
    fn wake() -> Result<Self> {
        Ok(Keeper)
    }

    fn message(&mut self, sender: &Socket, message: Message) -> Result<()> {
        let Message::Text(deed) = message else { return Err(Error::new("a deed is text")) };
        Ok(sender.send(&Message::Text(perform(&deed)?))?)
    }
}

fn perform(deed: &str) -> Result<String> {
    let (deed, about) = deed.split_once(' ').unwrap_or((deed, ""));
    let number = || about.parse::<u64>().unwrap_or(0);
    Ok(match deed {
        "note" => {
            NOTE.put(&about.into())?;
            "noted".into()
        }
        "noted" => NOTE.get()?.unwrap_or_else(|| "nothing".into()),
        "forget" => NOTE.delete().to_string(),
        "step" => STEPS.add(about.parse()?)?.to_string(),
        "steps" => STEPS.get()?.to_string(),
        "push" => LINES.push(&about.into())?.to_string(),
        "push-other" => OTHERS.push(&about.into())?.to_string(),
        "last" => LINES.last_number().to_string(),
        "get" => LINES.get(number())?.unwrap_or_else(|| "nothing".into()),
        "newest" => page(LINES.newest(3)?),
        "before" => page(LINES.before(number(), 3)?),
        "after" => page(LINES.after(number(), 3)?),
        "trim" => LINES.remove_before(number()).to_string(),
        other => return Err(Error::new(format!("no such deed: {other}"))),
    })
}

fn page(entries: Vec<Entry<String>>) -> String {
    entries.into_iter().map(|entry| format!("{} {}", entry.number, entry.value)).collect::<Vec<_>>().join(", ")
}
