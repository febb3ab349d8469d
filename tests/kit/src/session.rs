//! A session with one room in a driver. It sends commands, and passes events to the clients, the log and the closures
//! of the test.

use std::collections::HashMap;
use std::sync::Arc;

use serde_json::{Value, json};

use crate::client::Ear;
use crate::component::{self, Source};
use crate::driver::{Driver, Trouble};
use crate::log;
use crate::protocol::{self, Fields, Read};
use crate::types::{Address, CallError, Destination, FetchError, Request, Response, TurnFailure};

type OtherRooms = Box<dyn FnMut(&Address, Request) -> Result<Response, CallError> + Send>;
type Servers = Box<dyn FnMut(&str, Request) -> Result<Response, FetchError> + Send>;

/// The connection to a driver that runs one room or one router.
pub(crate) struct Session {
    /// Present until this is dropped.
    driver: Option<Driver>,
    around: Around,
}

/// The surroundings of the room.
#[derive(Default)]
struct Around {
    ears: HashMap<u64, Arc<Ear>>,
    auto_response: Option<(String, String)>,
    rooms: Option<OtherRooms>,
    servers: Option<Servers>,
    /// The items of the current listing.
    listed: Vec<Fields>,
    /// Messages to a client whose connect is not complete yet.
    unheard: Vec<(u64, Ear)>,
}

impl Session {
    /// Loads a component: `open` for a room, `open_router` for a router. Also returns the description from the driver.
    pub(crate) fn open(source: Source, open: &str, name: &str) -> Result<(Self, Fields), String> {
        let component = component::file(source, name)?;
        let command = json!({ "do": open, "component": component.file, "name": component.name });
        let mut around = Around::default();
        let opened = component.loaded_once(|| Driver::open(&command, &mut |kind, value| around.happens(kind, value)));
        let (driver, opened) = opened.map_err(|trouble| trouble.to_string())?;
        Ok((Session { driver: Some(driver), around }, opened))
    }

    /// Runs a command with a turn, which may fail.
    pub(crate) fn turn(&mut self, command: &Value) -> Result<Result<Fields, TurnFailure>, String> {
        let driver = self.driver.as_mut().expect("it is there until this is dropped");
        let ended = driver.call(command, &mut |kind, value| self.around.happens(kind, value));
        ended.map_err(|trouble| trouble.to_string())
    }

    /// Runs a command that cannot fail.
    pub(crate) fn command(&mut self, command: &Value) -> Result<Fields, String> {
        self.turn(command)?.map_err(|failure| failure.to_string())
    }

    /// Requests a listing from the driver.
    pub(crate) fn list(&mut self, what: &str) -> Result<Vec<Fields>, String> {
        self.around.listed.clear();
        self.command(&json!({ "do": what }))?;
        Ok(std::mem::take(&mut self.around.listed))
    }

    /// Adds a client. It gets its earlier messages first.
    pub(crate) fn hears(&mut self, socket: u64, ear: Arc<Ear>) {
        for (to, early) in std::mem::take(&mut self.around.unheard) {
            if to == socket {
                *ear.lock() = std::mem::take(&mut *early.lock());
            }
        }
        self.around.ears.insert(socket, ear);
    }

    /// The connect has failed, so its messages are dropped.
    pub(crate) fn nobody_hears(&mut self) {
        self.around.unheard.clear();
    }

    pub(crate) fn auto_response(&self) -> Option<&(String, String)> {
        self.around.auto_response.as_ref()
    }

    pub(crate) fn play_rooms(&mut self, play: OtherRooms) -> Result<(), String> {
        self.around.rooms = Some(play);
        self.play()
    }

    pub(crate) fn play_servers(&mut self, play: Servers) -> Result<(), String> {
        self.around.servers = Some(play);
        self.play()
    }

    fn play(&mut self) -> Result<(), String> {
        let (rooms, servers) = (self.around.rooms.is_some(), self.around.servers.is_some());
        self.command(&json!({ "do": "play", "rooms": rooms, "servers": servers })).map(drop)
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        if let Some(driver) = self.driver.take() {
            driver.wait_for_another();
        }
    }
}

impl Around {
    /// Handles an event of the driver. If it is a question, returns the answer.
    fn happens(&mut self, kind: &str, value: Value) -> Read<Option<Value>> {
        match kind {
            "log" => log::push(value.as_str().unwrap_or_default().to_owned()),
            "said" => {
                let mut said = Fields::of(value)?;
                let message = said.message()?;
                for socket in said.read::<Vec<u64>>("to")? {
                    self.with_ear(socket, |ear| ear.lock().messages.push(message.clone()));
                }
            }
            "closed" => {
                let mut closed = Fields::of(value)?;
                let goodbye = (closed.number("code")?, closed.text("reason")?);
                self.with_ear(closed.number("socket")?, |ear| ear.lock().closed = Some(goodbye));
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
            "entry" | "timer" | "socket" | "post" => self.listed.push(Fields::of(value)?),
            "ask" => return self.answer(Fields::of(value)?).map(Some),
            other => return Err(format!("`{other}` is unknown")),
        }
        Ok(None)
    }

    fn with_ear(&mut self, socket: u64, hear: impl FnOnce(&Ear)) {
        match self.ears.get(&socket) {
            Some(ear) => hear(ear),
            None => {
                if self.unheard.iter().all(|(known, _)| *known != socket) {
                    self.unheard.push((socket, Ear::default()));
                }
                let early = self.unheard.iter().find(|(known, _)| *known == socket);
                hear(&early.expect("it is there now").1);
            }
        }
    }

    fn answer(&mut self, mut asked: Fields) -> Read<Value> {
        let number = asked.number::<u64>("ask")?;
        let request = asked.request()?;
        let mut answer = match (asked.destination()?, &mut self.rooms, &mut self.servers) {
            (Destination::Room(address), Some(play), _) => protocol::room_answer(play(&address, request)),
            (Destination::Origin(origin), _, Some(play)) => protocol::server_answer(play(&origin, request)),
            (Destination::Room(_) | Destination::Origin(_), ..) => json!({ "error": "denied" }),
        };
        answer["ask"] = number.into();
        Ok(answer)
    }
}

impl From<Trouble> for String {
    fn from(trouble: Trouble) -> Self {
        trouble.to_string()
    }
}
