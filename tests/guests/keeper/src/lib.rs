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
        let Message::Text(command) = message else { return Err(Error::new("a command is text")) };
        Ok(sender.send(&Message::Text(execute(&command)?))?)
    }
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
        other => return Err(Error::new(format!("no such command: {other}"))),
    })
}

fn page(entries: Vec<Entry<String>>) -> String {
    entries.into_iter().map(|entry| format!("{} {}", entry.number, entry.value)).collect::<Vec<_>>().join(", ")
}
