//! A session with one room in a driver. It sends commands, and passes events to the clients, the log and the closures
//! of the test.

use std::collections::HashMap;
use std::sync::Arc;

use serde_json::{Value, json};

use crate::client::Inbox;
use crate::component::{self, Source};
use crate::driver::{Driver, DriverError};
use crate::log;
use crate::protocol::{self, Fields, Read};
use crate::types::{Address, CallError, Destination, FetchError, Request, Response, TurnFailure};

type OtherRooms = Box<dyn FnMut(&Address, Request) -> Result<Response, CallError> + Send>;
type Servers = Box<dyn FnMut(&str, Request) -> Result<Response, FetchError> + Send>;

/// The connection to a driver that runs one room or one router.
pub(crate) struct Session {
    /// Present until this is dropped.
    driver: Option<Driver>,
    environment: Environment,
}

/// The surroundings of the room.
#[derive(Default)]
struct Environment {
    inboxes: HashMap<u64, Arc<Inbox>>,
    auto_response: Option<(String, String)>,
    rooms: Option<OtherRooms>,
    servers: Option<Servers>,
    /// The items of the current listing.
    listing: Vec<Fields>,
    /// Messages to a client whose connect is not complete yet.
    early_messages: Vec<(u64, Inbox)>,
}

impl Session {
    /// Loads a component: `open` for a room, `open_router` for a router. Also returns the description from the driver.
    pub(crate) fn open(source: Source, open: &str, name: &str) -> Result<(Self, Fields), String> {
        let component = component::file(source, name)?;
        let command = json!({ "do": open, "component": component.file, "name": component.name });
        let mut environment = Environment::default();
        let opened =
            component.loaded_once(|| Driver::open(&command, &mut |kind, value| environment.on_event(kind, value)));
        let (driver, opened) = opened.map_err(|error| error.to_string())?;
        Ok((Session { driver: Some(driver), environment }, opened))
    }

    /// Runs a command with a turn, which may fail.
    pub(crate) fn turn(&mut self, command: &Value) -> Result<Result<Fields, TurnFailure>, String> {
        let driver = self.driver.as_mut().expect("it is there until this is dropped");
        let result = driver.call(command, &mut |kind, value| self.environment.on_event(kind, value));
        result.map_err(|error| error.to_string())
    }

    /// Runs a command that cannot fail.
    pub(crate) fn command(&mut self, command: &Value) -> Result<Fields, String> {
        self.turn(command)?.map_err(|failure| failure.to_string())
    }

    /// Requests a listing from the driver.
    pub(crate) fn list(&mut self, kind: &str) -> Result<Vec<Fields>, String> {
        self.environment.listing.clear();
        self.command(&json!({ "do": kind }))?;
        Ok(std::mem::take(&mut self.environment.listing))
    }

    /// Adds a client. It gets its earlier messages first.
    pub(crate) fn add_client(&mut self, socket: u64, inbox: Arc<Inbox>) {
        for (to, early) in std::mem::take(&mut self.environment.early_messages) {
            if to == socket {
                *inbox.lock() = std::mem::take(&mut *early.lock());
            }
        }
        self.environment.inboxes.insert(socket, inbox);
    }

    /// The connect has failed, so its messages are dropped.
    pub(crate) fn drop_early_messages(&mut self) {
        self.environment.early_messages.clear();
    }

    pub(crate) fn auto_response(&self) -> Option<&(String, String)> {
        self.environment.auto_response.as_ref()
    }

    pub(crate) fn answer_for_rooms(&mut self, respond: OtherRooms) -> Result<(), String> {
        self.environment.rooms = Some(respond);
        self.announce_answers()
    }

    pub(crate) fn answer_for_servers(&mut self, respond: Servers) -> Result<(), String> {
        self.environment.servers = Some(respond);
        self.announce_answers()
    }

    fn announce_answers(&mut self) -> Result<(), String> {
        let (rooms, servers) = (self.environment.rooms.is_some(), self.environment.servers.is_some());
        self.command(&json!({ "do": "play", "rooms": rooms, "servers": servers })).map(drop)
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        if let Some(driver) = self.driver.take() {
            driver.return_to_pool();
        }
    }
}

impl Environment {
    /// Handles an event of the driver. If it is a question, returns the answer.
    fn on_event(&mut self, kind: &str, value: Value) -> Read<Option<Value>> {
        match kind {
            "log" => log::push(value.as_str().unwrap_or_default().to_owned()),
            "said" => {
                let mut sent = Fields::of(value)?;
                let message = sent.message()?;
                let id = sent.take("event_id").map(|id| id.as_str().unwrap_or_default().to_owned());
                for socket in sent.read::<Vec<u64>>("to")? {
                    self.with_inbox(socket, |inbox| inbox.lock().messages.push((message.clone(), id.clone())));
                }
            }
            "closed" => {
                let mut closed = Fields::of(value)?;
                let close = (closed.number("code")?, closed.text("reason")?);
                self.with_inbox(closed.number("socket")?, |inbox| inbox.lock().closed = Some(close));
            }
            "auto_response" => {
                self.auto_response = match value {
                    Value::Null => None,
                    auto => {
                        let mut auto = Fields::of(auto)?;
                        Some((auto.text("request")?, auto.text("reply")?))
                    }
                };
            }
            "entry" | "timer" | "socket" | "post" => self.listing.push(Fields::of(value)?),
            "ask" => return self.respond(Fields::of(value)?).map(Some),
            other => return Err(format!("`{other}` is unknown")),
        }
        Ok(None)
    }

    fn with_inbox(&mut self, socket: u64, use_it: impl FnOnce(&Inbox)) {
        match self.inboxes.get(&socket) {
            Some(inbox) => use_it(inbox),
            None => {
                if self.early_messages.iter().all(|(known, _)| *known != socket) {
                    self.early_messages.push((socket, Inbox::default()));
                }
                let early = self.early_messages.iter().find(|(known, _)| *known == socket);
                use_it(&early.expect("it is there now").1);
            }
        }
    }

    fn respond(&mut self, mut question: Fields) -> Read<Value> {
        let number = question.number::<u64>("ask")?;
        let request = question.request()?;
        let mut answer = match (question.destination()?, &mut self.rooms, &mut self.servers) {
            (Destination::Room(address), Some(respond), _) => protocol::room_answer(respond(&address, request)),
            (Destination::Origin(origin), _, Some(respond)) => protocol::server_answer(respond(&origin, request)),
            (Destination::Room(_) | Destination::Origin(_), ..) => json!({ "error": "denied" }),
        };
        answer["ask"] = number.into();
        Ok(answer)
    }
}

impl From<DriverError> for String {
    fn from(error: DriverError) -> Self {
        error.to_string()
    }
}
