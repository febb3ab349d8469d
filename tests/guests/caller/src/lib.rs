//! A room that reaches for others as it is told.
//!
//! A request's body is a command, `{"do": …}`; a message is one too, whose answer goes to the sender. `say` is the command
//! that another room gets.

mod stuck;

use std::collections::BTreeMap;
use std::time::Duration;

use dormouse_room::storage::Counter;
use dormouse_room::{
    Error, Message, Request, Response, Result, Room, Socket, Timer, User, outbox, rooms, sockets, storage, timers, web,
};
use serde::Deserialize;
use serde_json::{Value, json};

const COUNT: Counter = Counter::new("count");
/// What the keys of counts under a name begin with.
const MARK: &str = "mark ";

struct Caller;

dormouse_room::export!(Caller);

#[derive(Deserialize)]
#[serde(tag = "do", rename_all = "kebab-case")]
enum Command {
    /// Count, and tell who asked.
    Count,
    /// Count, and answer 503 to the first `times`.
    Flaky { times: i64 },
    /// Count in memory that is not kept, and fail.
    Fail,
    /// Compute until the turn is cut off.
    Spin,
    /// The count.
    Look,
    /// Answer with these headers, under this status.
    Answer { status: Option<u16>, headers: Vec<(String, String)> },
    /// Ask another room, as `user` where one is given; then fail, where `fail` is said.
    Call {
        namespace: String,
        name: String,
        say: Value,
        user: Option<String>,
        fail: Option<bool>,
        #[serde(default)]
        headers: Vec<(String, String)>,
    },
    /// Count, then ask another room.
    CountAndCall { namespace: String, name: String, say: Value },
    /// Ask another room so often.
    CallOften { namespace: String, name: String, times: u32 },
    /// Post to another room, so often; then fail, where `fail` is said.
    Post { namespace: String, name: String, say: Value, times: Option<u32>, fail: Option<bool> },
    /// Post to a server.
    PostOut {
        origin: String,
        path: String,
        body: String,
        #[serde(default)]
        headers: Vec<(String, String)>,
    },
    /// Post a body of so many bytes.
    PostMuch { namespace: String, name: String, bytes: usize },
    /// How many posts wait.
    Waiting,
    /// Count under a name.
    Mark { name: String },
    /// Count under a name, and have another room of the namespace do so too: in one turn.
    MarkAndPost { name: String, namespace: String, room: String },
    /// Count under a name after so many milliseconds.
    MarkLater { name: String, after: u64 },
    /// All counts by their names.
    Marks,
    /// Wait for a body that nobody sends to take what it was given.
    WaitForNobody,
    /// Send a request whose body is never finished, and wait for its answer.
    NeverFinish { authority: String },
    /// Fill the bodies of as many requests as the host lets it begin.
    FillBodies,
    /// Ask a server until there is no answer, and hold all answers meanwhile.
    HoldAnswers { authority: String },
    /// Ask a server.
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
        let (_, answer) = obey(command, None)?;
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
        let (status, answer) = obey(command, Some(&request))?;
        let mut response = Response::json(&answer)?;
        response.status = status;
        Ok(response)
    }
}

fn obey(command: Command, request: Option<&Request>) -> Result<(u16, Value)> {
    let answer = match command {
        Command::Count => {
            let count = COUNT.add(1)?;
            let caller = request.and_then(rooms::caller);
            let key = request.and_then(|request| request.header("idempotency-key"));
            let user = request.and_then(|request| request.user.as_ref()).map(|user| &user.id);
            let behind = request.and_then(|request| request.header("x-forwarded-for"));
            json!({ "count": count, "caller": caller, "key": key, "user": user, "behind": behind })
        }
        Command::Flaky { times } => {
            let count = COUNT.add(1)?;
            return Ok((if count > times { 200 } else { 503 }, json!({ "count": count })));
        }
        Command::Answer { .. } => return Err(Error::new("only a request is answered with headers")),
        Command::Fail => return Err(Error::new("as it was told")),
        Command::Spin => loop {
            std::hint::black_box(());
        },
        Command::Look => json!({ "count": COUNT.get()? }),
        Command::Call { namespace, name, say, user, fail, headers } => {
            let answer = call(&namespace, &name, &say, user, headers)?;
            fail_if(fail)?;
            answer
        }
        Command::CountAndCall { namespace, name, say } => {
            COUNT.add(1)?;
            call(&namespace, &name, &say, None, Vec::new())?
        }
        Command::CallOften { namespace, name, times } => {
            let answers = (0..times).map(|_| call(&namespace, &name, &json!({ "do": "count" }), None, Vec::new()));
            Value::Array(answers.collect::<Result<_>>()?)
        }
        Command::Post { namespace, name, say, times, fail } => {
            let room = outbox::to_room(&namespace, &name);
            let posted = (0..times.unwrap_or(1))
                .try_for_each(|_| room.post(Request::post("/").with_json(&say)?).map_err(Error::from));
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
            let say = json!({ "do": "mark", "name": name });
            outbox::to_room(&namespace, &room).post(Request::post("/").with_json(&say)?)?;
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
        Command::WaitForNobody => stuck::wait_for_nobody(),
        Command::NeverFinish { authority } => stuck::never_finish(&authority),
        Command::HoldAnswers { authority } => stuck::hold_answers(&authority),
        Command::FillBodies => stuck::fill_bodies(),
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
    say: &Value,
    user: Option<String>,
    headers: Vec<(String, String)>,
) -> Result<Value> {
    let mut request = Request::post("/").with_json(say)?;
    request.headers.extend(headers);
    request.user = user.map(|id| User { name: id.clone(), id });
    Ok(match rooms::get(namespace, name).call(request) {
        Ok(answer) => json!({ "status": answer.status, "answer": answer.read_json::<Value>().ok() }),
        Err(error) => json!({ "error": format!("{error:?}") }),
    })
}

fn fail_if(fail: Option<bool>) -> Result<()> {
    match fail {
        Some(true) => Err(Error::new("as it was told")),
        _ => Ok(()),
    }
}
