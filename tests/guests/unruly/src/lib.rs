//! A room that misbehaves on command, for tests. A message is one command, or several separated by `;`.

mod execute;
mod operation;

use std::hint::black_box;
use std::time::Duration;

use dormouse_room::{
    Close, Error, Message, Refusal, Request, Response, Result, Room, Socket, Timer, context, sockets, storage, timers,
};

/// The room. Its fields live as long as the instance.
struct Unruly {
    events: u32,
    allocations: Vec<Vec<u8>>,
    /// Handles of sockets that it keeps.
    saved_sockets: Vec<Socket>,
}

dormouse_room::export!(Unruly);

impl Room for Unruly {
    fn wake() -> Result<Self> {
        if storage::get("fail-wake").is_some() {
            storage::put("never", "kept")?;
            return Err(Error::new("told to fail on wake"));
        }
        sockets::set_auto_response("ping", "pong")?;
        let mut unruly = Unruly { events: 0, allocations: Vec::new(), saved_sockets: Vec::new() };
        if let Some(command) = storage::get("on-wake") {
            unruly.perform(None, &String::from_utf8_lossy(&command))?;
        }
        Ok(unruly)
    }

    fn connect(&mut self, request: Request, socket: &Socket) -> Result<(), Refusal> {
        self.events += 1;
        match request.query().get("command").as_deref() {
            Some("refuse") => {
                storage::put("refused", "kept")?;
                Err(Refusal { status: 418, reason: "told to refuse".into() })
            }
            Some("resume") => {
                let last = request.header("last-event-id").unwrap_or("nothing");
                Ok(socket.send_with_id(&Message::Text(format!("after {last}")), "first").map_err(Error::from)?)
            }
            Some(command) => Ok(self.perform(Some(socket), command)?),
            None => Ok(socket.send(&Message::Text("welcome".into())).map_err(Error::from)?),
        }
    }

    fn message(&mut self, sender: &Socket, message: Message) -> Result<()> {
        self.events += 1;
        match message {
            Message::Text(commands) => {
                commands.split(';').try_for_each(|command| self.perform(Some(sender), command.trim()))
            }
            binary => Ok(sender.send(&binary)?),
        }
    }

    fn close(&mut self, socket: &Socket, close: Close) -> Result<()> {
        let note = String::from_utf8_lossy(&socket.attachment()).into_owned();
        let gone = format!("gone {} {} {} {note}", socket.user().id, close.code, close.clean);
        sockets::everyone().broadcast(&Message::Text(gone))?;
        match note.as_str() {
            "panic on close" => panic!("told to panic on close"),
            note => match note.strip_prefix("on close ") {
                Some(command) => self.perform(None, command),
                None => Ok(()),
            },
        }
    }

    fn timer(&mut self, timer: Timer) -> Result<()> {
        let payload = String::from_utf8_lossy(&timer.payload).into_owned();
        if payload == "fail first" && timer.attempt == 0 {
            return Err(Error::new("told to fail first"));
        }
        let fired = format!("timer {} {payload} {}", timer.name, timer.attempt);
        storage::put("fired", &fired)?;
        sockets::everyone().broadcast(&Message::Text(fired))?;
        if payload == "fail first" { Ok(()) } else { self.perform(None, &payload) }
    }

    fn request(&mut self, request: Request) -> Result<Response> {
        self.events += 1;
        if request.path == "/operations" {
            return Response::json(&execute::execute_all(request.json()?)?);
        }
        let command = String::from_utf8_lossy(&request.body).into_owned();
        if let Some(key) = command.strip_prefix("get ") {
            let value = storage::get(key).unwrap_or_default();
            return Response::json(&String::from_utf8_lossy(&value));
        }
        self.perform(None, &command)?;
        Response::json(&self.events)
    }
}

impl Unruly {
    /// Runs one command: a word and its argument.
    fn perform(&mut self, sender: Option<&Socket>, command: &str) -> Result<()> {
        let (word, argument) = command.split_once(' ').unwrap_or((command, ""));
        let reply = |text: String| match sender {
            Some(sender) => Ok(sender.send(&Message::Text(text))?),
            None => Ok(()),
        };
        match word {
            // Valid commands, to see what is left of a room after the others.
            "" => Ok(()),
            "say" => reply(argument.into()),
            "all" => sockets::everyone().broadcast(&Message::Text(argument.into())),
            "say-with-id" => {
                let (id, text) = argument.split_once(' ').unwrap_or((argument, ""));
                Ok(sender.map_or(Ok(()), |sender| sender.send_with_id(&Message::Text(text.into()), id))?)
            }
            "all-with-id" => {
                let (id, text) = argument.split_once(' ').unwrap_or((argument, ""));
                sockets::everyone().broadcast_with_id(&Message::Text(text.into()), id)
            }
            "put" => {
                let (key, value) = argument.split_once(' ').unwrap_or((argument, ""));
                storage::put(key, value)
            }
            "get" => {
                let value = storage::get(argument).unwrap_or_default();
                reply(format!("{argument}={}", String::from_utf8_lossy(&value)))
            }
            "list" => {
                let keys = storage::prefix(argument).list().into_iter().map(|(key, _)| key);
                reply(keys.map(|key| String::from_utf8_lossy(&key).into_owned()).collect::<Vec<_>>().join(","))
            }
            "delete" => {
                storage::delete(argument);
                Ok(())
            }
            "events" => reply(self.events.to_string()),
            "count" => reply(sockets::everyone().count().to_string()),
            "who" => reply(sender.map(|sender| sender.user().name).unwrap_or_default()),
            "id" => reply(sender.map(|sender| sender.id().to_string()).unwrap_or_default()),
            "note" => Ok(sender.map_or(Ok(()), |sender| sender.set_attachment(argument.as_bytes()))?),
            "notes" => reply(sender.map(|s| String::from_utf8_lossy(&s.attachment()).into_owned()).unwrap_or_default()),
            "tag" => Ok(sender.map_or(Ok(()), |sender| sender.set_tags(&[argument.to_owned()]))?),
            "tagged" => sockets::everyone().tagged(argument).broadcast(&Message::Text(format!("tagged {argument}"))),
            "now" => reply(context::now().to_string()),
            "random" => reply(format!("{} {}", context::random(), context::random())),
            "buffered" => reply(sockets::everyone().list().iter().map(Socket::buffered).sum::<u64>().to_string()),
            "incarnation" => reply(context::incarnation().to_string()),
            "leave" => Ok(sender.map_or(Ok(()), |sender| sender.close(4000, argument))?),
            "timer" => {
                let (after, payload) = argument.split_once(' ').unwrap_or((argument, ""));
                timers::set_after("t", Duration::from_millis(after.parse().unwrap_or(0)), payload)
            }
            "cancel" => {
                timers::cancel("t");
                Ok(())
            }
            "timers" => reply(timers::list().len().to_string()),

            // Misbehaviour.
            "fail" => Err(Error::new(argument)),
            "panic" => panic!("told to panic"),
            "loop" => loop {
                black_box(());
            },
            "work" => {
                // Millions of steps, each million a few milliseconds.
                let steps = argument.parse::<u64>().unwrap_or(1) * 1_000_000;
                let sum = (0..steps).fold(0_u64, |sum, step| black_box(sum.wrapping_mul(31).wrapping_add(step)));
                reply(format!("worked {}", sum & 1))
            }
            "leak" => loop {
                black_box(vec![1_u8; 1 << 20].leak());
            },
            "allocate" => {
                self.allocations.push(vec![1; argument.parse::<usize>().unwrap_or(0) << 20]);
                reply("kept".into())
            }
            "recurse" => reply(recurse(0).to_string()),
            "recurse-calls" => reply(recurse_with_calls(0).to_string()),
            "call-loop" => loop {
                black_box(context::now());
            },
            "list-loop" => {
                // Each list takes the host longer than a tick, but costs the code of the room almost nothing.
                let value = vec![7; 2 << 20];
                (0..7_u8).try_for_each(|key| storage::put([key], &value))?;
                loop {
                    black_box(storage::prefix("").list());
                }
            }
            "tag-loop" => loop {
                let tags = (0..10).map(|tag| char::from(b'a' + tag).to_string().repeat(256)).collect::<Vec<_>>();
                sender.map_or(Ok(()), |sender| sender.set_tags(&tags))?;
            },
            "timer-loop" => (0..u32::MAX).try_for_each(|number| {
                timers::set_after(&format!("{number:0>256}"), Duration::from_secs(3600), "")?;
                timers::cancel(&format!("{number:0>256}"));
                Ok(())
            }),
            "oversize" => {
                // Far longer than any key, and longer than the storage engine accepts.
                let key = vec![b'k'; 1 << 20];
                let found = storage::get(&key).is_some() || storage::delete(&key);
                let listed = storage::prefix(&key).list().len() + storage::prefix("").from(&key).list().len();
                let refused = storage::put(&key, "").is_err() && storage::put("", "").is_err();
                reply(format!("{found} {listed} {} {refused}", storage::delete_range(&key, b"z", 1_000)))
            }
            "long-error" => Err(Error::new("x".repeat(20 << 20))),
            "stderr" => {
                (0..1_000).for_each(|_| eprintln!("drop"));
                Ok(())
            }
            "save-sockets" => {
                self.saved_sockets = sockets::everyone().list();
                Ok(())
            }
            "send-saved" => {
                let results = self.saved_sockets.iter().map(|socket| socket.send(&Message::Text("psst".into())));
                reply(format!("{:?}", results.collect::<Vec<_>>()))
            }
            "read-saved" => reply(self.saved_sockets.iter().map(|socket| socket.user().name).collect()),
            "broadcast" => (0..argument.parse::<u32>().unwrap_or(0))
                .try_for_each(|_| sockets::everyone().broadcast(&Message::Text("x".into()))),
            "sleep" => {
                std::thread::sleep(Duration::from_secs(3600));
                Ok(())
            }
            "exit" => std::process::exit(3),
            "log" => {
                (0..100_000).for_each(|line| context::log(format!("line {line}")));
                Ok(())
            }
            "print" => {
                (0..10_000).for_each(|line| println!("line {line}"));
                Ok(())
            }
            "flood" => loop {
                sockets::everyone().broadcast(&Message::Binary(vec![0; 60_000]))?;
            },
            "fill" => {
                let value = vec![7; 1 << 20];
                (0..1_000).try_for_each(|number: u32| storage::put(number.to_be_bytes(), &value))
            }
            "many-timers" => (0..2_000)
                .try_for_each(|number: u32| timers::set_after(&format!("t{number}"), Duration::from_secs(3600), "")),
            "handles" => loop {
                std::mem::forget(sockets::everyone().list());
            },
            "files" => reply(format!("{:?}", std::fs::read("/etc/passwd").map_err(|error| error.kind()))),
            "env" => reply(format!("{:?}", std::env::vars().count())),
            other => Err(Error::new(format!("no such command: {other}"))),
        }
    }
}

/// Recurses to the end of the stack, with a host call at every level.
fn recurse_with_calls(depth: u64) -> u64 {
    let listed = black_box(storage::prefix("").limit(2).list()).len() as u64;
    context::log(format!("level {depth}"));
    if black_box(depth) == u64::MAX { 0 } else { black_box(recurse_with_calls(depth + 1)) + listed }
}

#[expect(unconditional_recursion, reason = "that is the misbehaviour")]
fn recurse(depth: u64) -> u64 {
    // Code after the call keeps the compiler from turning this into a loop.
    black_box(recurse(black_box(depth + 1))) + depth
}
