//! A room that tells the claims and permissions of its users: of the user of each turn, and of the socket that the
//! event is about. It sends them to everybody in the room, and answers requests with them.

use dormouse_room::{
    Close, Message, Permission, Permissions, Refusal, Request, Response, Result, Room, Socket, Timer, access, outbox,
    rooms, sockets, storage, timers,
};
use serde_json::{Value, json};

/// The user of the last `POST /note`.
const NOTE: &str = "note";

struct Badge {
    /// The user of the turn in which the instance woke.
    woken_for: Value,
}

dormouse_room::export!(Badge);

impl Room for Badge {
    fn wake() -> Result<Self> {
        Ok(Badge { woken_for: turn()? })
    }

    fn connect(&mut self, request: Request, socket: &Socket) -> Result<(), Refusal> {
        if request.query().get("refuse").is_some() && !socket.may(Permission::Admin) {
            return Err(Refusal { status: 403, reason: "only an admin may come in so".into() });
        }
        Ok(self.tell("connect", Some(socket))?)
    }

    /// `later` sets a timer; `everybody` tells the permissions of all sockets.
    fn message(&mut self, sender: &Socket, message: Message) -> Result<()> {
        match message.as_text() {
            Some("later") => timers::set_after("later", std::time::Duration::from_millis(10), ""),
            Some("everybody") => {
                let all = sockets::everyone().list();
                let all = all.iter().map(|socket| (socket.user().id, json!(names(socket.permissions()))));
                sender.send_json(&json!({ "everybody": all.collect::<serde_json::Map<_, _>>() }))
            }
            text => self.tell(text.unwrap_or("bytes"), Some(sender)),
        }
    }

    fn close(&mut self, socket: &Socket, _: Close) -> Result<()> {
        self.tell("close", Some(socket))
    }

    fn timer(&mut self, _: Timer) -> Result<()> {
        self.tell("timer", None)
    }

    /// A POST with `{"call": ROOM}` or `{"post": ROOM}` asks that room of `OTHERS`. Every POST notes its user, and a
    /// GET tells it with that note.
    fn request(&mut self, request: Request) -> Result<Response> {
        if request.method != "POST" {
            let note = storage::get_json::<Value>(NOTE)?;
            return Response::json(&json!({ "turn": turn()?, "note": note, "woken_for": self.woken_for }));
        }
        storage::put_json(NOTE, &turn()?)?;
        let command = request.json::<Value>().unwrap_or_default();
        let ask = |method: Request| Request { user: request.user.clone(), ..method };
        if let Some(name) = command["call"].as_str() {
            return Ok(rooms::get("OTHERS", name).call(ask(Request::get("/")))?);
        }
        if let Some(name) = command["post"].as_str() {
            outbox::to_room("OTHERS", name).post(ask(Request::post("/")))?;
        }
        Response::json(&json!({ "turn": turn()? }))
    }
}

impl Badge {
    fn tell(&self, event: &str, socket: Option<&Socket>) -> Result<()> {
        let socket = match socket {
            Some(socket) => Some(user(&socket.claims::<Value>()?, socket.permissions())),
            None => None,
        };
        let told = json!({ "event": event, "turn": turn()?, "socket": socket, "woken_for": self.woken_for });
        sockets::everyone().broadcast_json(&told)
    }
}

/// The user of this turn.
fn turn() -> Result<Value> {
    Ok(user(&access::claims::<Value>()?, access::permissions()))
}

fn user(claims: &Value, permissions: Permissions) -> Value {
    json!({ "claims": claims, "permissions": names(permissions) })
}

fn names(permissions: Permissions) -> Vec<&'static str> {
    Permission::ALL.into_iter().filter(|permission| permissions.has(*permission)).map(Permission::name).collect()
}
