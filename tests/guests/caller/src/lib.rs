//! A room that calls other rooms and servers on command, for tests.
//!
//! The body of a request is a command, `{"do": …}`. A message is a command too, and its answer goes to the sender.
//! Its field `command` is the command for the other room.

mod blocking;

use std::collections::BTreeMap;
use std::time::Duration;

use dormouse_room::storage::Counter;
use dormouse_room::{
    Error, Message, Migration, Request, Response, Result, Room, Socket, Timer, User, outbox, rooms, sockets, storage,
    timers, web,
};
use serde::Deserialize;
use serde_json::{Value, json};

const COUNT: Counter = Counter::new("count");
/// The prefix of keys for named counts.
const MARK: &str = "mark ";

struct Caller;

dormouse_room::export!(Caller);
dormouse_room::export_migration!(Caller);

/// Its data never had another version; a test says that it has.
impl Migration for Caller {
    fn data_version() -> u32 {
        0
    }

    fn migrate(_from: u32) -> Result<()> {
        Ok(())
    }

    fn migrate_back(_from: u32) -> Result<()> {
        let called = rooms::get("TEST", "other").call(Request::get("/"));
        let posted = outbox::to_room("TEST", "other").post(Request::get("/"));
        storage::put_json("migrated", &format!("{called:?}, {posted:?}"))
    }
}

#[derive(Deserialize)]
#[serde(tag = "do", rename_all = "kebab-case")]
enum Command {
    /// Counts, and returns the caller.
    Count,
    /// Counts, and answers 503 to the first `times` requests.
    Flaky { times: i64 },
    /// Fails.
    Fail,
    /// Computes until the turn is cut off.
    Spin,
    /// Returns the count.
    GetCount,
    /// Answers with these headers and this status.
    Answer { status: Option<u16>, headers: Vec<(String, String)> },
    /// Calls another room, as `user` if given; then fails, if `fail` is true.
    Call {
        namespace: String,
        name: String,
        command: Value,
        user: Option<String>,
        fail: Option<bool>,
        #[serde(default)]
        headers: Vec<(String, String)>,
    },
    /// Counts, then calls another room.
    CountAndCall { namespace: String, name: String, command: Value },
    /// Calls another room this many times.
    CallOften { namespace: String, name: String, times: u32 },
    /// Posts to another room this many times; then fails, if `fail` is true.
    Post { namespace: String, name: String, command: Value, times: Option<u32>, fail: Option<bool> },
    /// Posts to a server.
    PostOut {
        origin: String,
        path: String,
        body: String,
        #[serde(default)]
        headers: Vec<(String, String)>,
    },
    /// Posts a body of this many bytes.
    PostMuch { namespace: String, name: String, bytes: usize },
    /// Returns how many posts wait.
    Waiting,
    /// Increments a named count.
    Mark { name: String },
    /// Increments a named count, and posts the same command to another room, in one turn.
    MarkAndPost { name: String, namespace: String, room: String },
    /// Increments a named count after this many milliseconds.
    MarkLater { name: String, after: u64 },
    /// Returns all named counts.
    Marks,
    /// Fills the body of a request that is never sent, and waits for more space in it.
    WaitForever,
    /// Sends a request whose body is never finished, and waits for its answer.
    NeverFinish { authority: String },
    /// Fills the bodies of as many requests as the host allows.
    FillBodies,
    /// Sends requests to a server until one fails, and holds all answers.
    HoldAnswers { authority: String },
    /// Sends a request to a server.
    Fetch {
        origin: String,
        path: String,
        body: Option<String>,
        #[serde(default)]
        headers: Vec<(String, String)>,
    },
}

impl Room for Caller {
    fn wake() -> Result<Self> {
        Ok(Caller)
    }

    fn message(&mut self, sender: &Socket, message: Message) -> Result<()> {
        let command = match &message {
            Message::Text(text) => serde_json::from_str(text)?,
            Message::Binary(_) => return Err(Error::new("commands are text")),
        };
        let (_, answer) = execute(command, None)?;
        sender.send_json(&answer)?;
        sockets::everyone().except(sender).broadcast_json(&answer)
    }

    fn timer(&mut self, timer: Timer) -> Result<()> {
        mark(&timer.name)
    }

    fn request(&mut self, request: Request) -> Result<Response> {
        let command = request.json()?;
        if let Command::Answer { status, headers } = command {
            return Ok(Response { status: status.unwrap_or(200), headers, body: b"{}".to_vec() });
        }
        let (status, answer) = execute(command, Some(&request))?;
        let mut response = Response::json(&answer)?;
        response.status = status;
        Ok(response)
    }
}

fn execute(command: Command, request: Option<&Request>) -> Result<(u16, Value)> {
    let answer = match command {
        Command::Count => {
            let count = COUNT.add(1)?;
            let caller = request.and_then(rooms::caller);
            let key = request.and_then(|request| request.header("idempotency-key"));
            let user = request.and_then(|request| request.user.as_ref()).map(|user| &user.id);
            let behind = request.and_then(|request| request.header("x-forwarded-for"));
            let act = request.and_then(|request| request.header("dormouse-act"));
            json!({ "count": count, "caller": caller, "key": key, "user": user, "behind": behind, "act": act })
        }
        Command::Flaky { times } => {
            let count = COUNT.add(1)?;
            return Ok((if count > times { 200 } else { 503 }, json!({ "count": count })));
        }
        Command::Answer { .. } => return Err(Error::new("only a request is answered with headers")),
        Command::Fail => return Err(Error::new("told to fail")),
        Command::Spin => loop {
            std::hint::black_box(());
        },
        Command::GetCount => json!({ "count": COUNT.get()? }),
        Command::Call { namespace, name, command, user, fail, headers } => {
            let answer = call(&namespace, &name, &command, user, headers)?;
            fail_if(fail)?;
            answer
        }
        Command::CountAndCall { namespace, name, command } => {
            COUNT.add(1)?;
            call(&namespace, &name, &command, None, Vec::new())?
        }
        Command::CallOften { namespace, name, times } => {
            let answers = (0..times).map(|_| call(&namespace, &name, &json!({ "do": "count" }), None, Vec::new()));
            Value::Array(answers.collect::<Result<_>>()?)
        }
        Command::Post { namespace, name, command, times, fail } => {
            let room = outbox::to_room(&namespace, &name);
            let posted = (0..times.unwrap_or(1))
                .try_for_each(|_| room.post(Request::post("/").with_json(&command)?).map_err(Error::from));
            fail_if(fail)?;
            match posted {
                Ok(()) => json!({ "posted": true }),
                Err(error) => json!({ "error": error.to_string() }),
            }
        }
        Command::PostOut { origin, path, body, headers } => {
            let mut request = Request::post(&path);
            request.headers.extend(headers);
            request.body = body.into_bytes();
            match outbox::to_server(&origin).post(request) {
                Ok(()) => json!({ "posted": true }),
                Err(error) => json!({ "error": format!("{error:?}") }),
            }
        }
        Command::PostMuch { namespace, name, bytes } => {
            let mut request = Request::post("/");
            request.body = vec![b'x'; bytes];
            match outbox::to_room(&namespace, &name).post(request) {
                Ok(()) => json!({ "posted": true }),
                Err(error) => json!({ "error": format!("{error:?}") }),
            }
        }
        Command::Mark { name } => {
            mark(&name)?;
            json!({ "marked": true })
        }
        Command::MarkAndPost { name, namespace, room } => {
            mark(&name)?;
            let command = json!({ "do": "mark", "name": name });
            outbox::to_room(&namespace, &room).post(Request::post("/").with_json(&command)?)?;
            json!({ "posted": true })
        }
        Command::MarkLater { name, after } => {
            timers::set_after(&name, Duration::from_millis(after), "")?;
            json!({ "set": true })
        }
        Command::Marks => {
            let marks = storage::prefix(MARK).list().into_iter().map(|(key, count)| {
                let name = String::from_utf8_lossy(&key[MARK.len()..]).into_owned();
                Ok::<_, Error>((name, serde_json::from_slice::<u64>(&count)?))
            });
            json!(marks.collect::<Result<BTreeMap<_, _>>>()?)
        }
        Command::WaitForever => blocking::wait_forever(),
        Command::NeverFinish { authority } => blocking::never_finish(&authority),
        Command::HoldAnswers { authority } => blocking::hold_answers(&authority),
        Command::FillBodies => blocking::fill_bodies(),
        Command::Waiting => json!({ "waiting": outbox::waiting() }),
        Command::Fetch { origin, path, body, headers } => {
            let mut request = match body {
                Some(body) => Request { body: body.into_bytes(), ..Request::post(&path) },
                None => Request::get(&path),
            };
            request.headers.extend(headers);
            match web::fetch(&origin, request) {
                Ok(answer) => json!({
                    "status": answer.status,
                    "body": String::from_utf8_lossy(&answer.body),
                    "headers": answer.headers,
                }),
                Err(error) => json!({ "error": error.to_string() }),
            }
        }
    };
    Ok((200, answer))
}

fn mark(name: &str) -> Result<()> {
    let key = format!("{MARK}{name}");
    let count = storage::get_json::<u64>(&key)?.unwrap_or(0);
    storage::put_json(&key, &(count + 1))
}

fn call(
    namespace: &str,
    name: &str,
    command: &Value,
    user: Option<String>,
    headers: Vec<(String, String)>,
) -> Result<Value> {
    let mut request = Request::post("/").with_json(command)?;
    request.headers.extend(headers);
    request.user = user.map(|id| User { name: id.clone(), id });
    Ok(match rooms::get(namespace, name).call(request) {
        Ok(answer) => json!({ "status": answer.status, "answer": answer.read_json::<Value>().ok() }),
        Err(error) => json!({ "error": format!("{error:?}") }),
    })
}

fn fail_if(fail: Option<bool>) -> Result<()> {
    match fail {
        Some(true) => Err(Error::new("told to fail")),
        _ => Ok(()),
    }
}
