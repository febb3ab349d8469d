//! A session with a room: first the overdue events, then the event of the request.

use crate::bindings::dormouse::room::context::WakeReason;
use crate::bindings::dormouse::room::sockets::Socket;
use crate::bindings::dormouse::room::timers::Timer;
use crate::bindings::dormouse::room::types::{Request, Response, User};
use crate::bindings::dormouse::serve::sessions::{self, Error, Overdue};
use crate::bindings::dormouse::serve::{chat, presence};

/// The most overdue events that one session handles. Without a limit, timers that set each other for the past would
/// block the room.
const MAX_OVERDUE_EVENTS: usize = 64;

/// A room, as the router names it.
#[derive(Debug, Clone)]
pub(crate) struct Room {
    kind: Kind,
    namespace: String,
    name: String,
}

#[derive(Debug, Clone, Copy)]
enum Kind {
    Chat,
    Presence,
}

/// Why an event had no effect.
pub(crate) enum Failure {
    /// The session failed.
    Session(Error),
    /// The room refused the reader, with a status and a reason.
    Refused(u16, String),
    /// The turn failed, and the log says why.
    Turn,
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Failure::Session(error)
    }
}

impl Room {
    /// `None` if there is no such namespace.
    pub(crate) fn new(namespace: &str, name: &str) -> Option<Self> {
        let kind = match namespace {
            "ROOMS" => Kind::Chat,
            "PRESENCE" => Kind::Presence,
            _ => return None,
        };
        Some(Room { kind, namespace: namespace.into(), name: name.into() })
    }

    /// Runs a request. Its turn is durable when this returns the answer.
    pub(crate) fn request(&self, request: &Request) -> Result<Response, Failure> {
        self.run_session(|| {
            sessions::begin_turn(WakeReason::Request);
            match self.wake().and_then(|()| self.on_request(request)) {
                Ok(response) => {
                    sessions::keep_turn();
                    Ok(response)
                }
                Err(error) => {
                    self.log_failure("request", &error);
                    sessions::undo_turn()?;
                    Err(Failure::Turn)
                }
            }
        })
    }

    /// Connects a reader. Returns the id of its socket.
    pub(crate) fn connect(&self, request: &Request, user: &User) -> Result<u64, Failure> {
        self.run_session(|| {
            sessions::begin_turn(WakeReason::Connect);
            let Some(socket) = sessions::join(user) else {
                sessions::undo_turn()?;
                return Err(Failure::Refused(503, "this room has too many readers".into()));
            };
            let refusal = match self.wake() {
                Ok(()) => self.on_connect(request, &socket).err(),
                Err(error) => {
                    self.log_failure("connect", &error);
                    Some((500, "the room failed".into()))
                }
            };
            match refusal {
                None => {
                    sessions::keep_turn();
                    Ok(socket.id())
                }
                Some((status, reason)) => {
                    sessions::undo_turn()?;
                    Err(Failure::Refused(status, reason))
                }
            }
        })
    }

    /// Closes a reader's socket.
    pub(crate) fn close(&self, socket: u64, code: u16, reason: &str, clean: bool) -> Result<(), Failure> {
        self.run_session(|| Ok(self.close_socket(socket, code, reason, clean)?))
    }

    /// Handles only the overdue events.
    pub(crate) fn catch_up(&self) -> Result<(), Failure> {
        self.run_session(|| Ok(()))
    }

    fn run_session<T>(&self, event: impl FnOnce() -> Result<T, Failure>) -> Result<T, Failure> {
        sessions::open(&self.namespace, &self.name)?;
        self.run_overdue_events()?;
        let result = event();
        // The overdue events are kept, even if the event of the request failed.
        sessions::finish()?;
        result
    }

    fn run_overdue_events(&self) -> Result<(), Error> {
        for _ in 0..MAX_OVERDUE_EVENTS {
            match sessions::next_overdue() {
                None => break,
                // The close code of a connection that ended without a close frame.
                Some(Overdue::LeaseExpired(socket)) => self.close_socket(socket, 1006, "", false)?,
                Some(Overdue::Timer(timer)) => self.fire_timer(&timer)?,
            }
        }
        Ok(())
    }

    fn fire_timer(&self, timer: &Timer) -> Result<(), Error> {
        sessions::begin_turn(WakeReason::Timer);
        sessions::fire(&timer.name);
        match self.wake().and_then(|()| self.on_timer(timer)) {
            Ok(()) => sessions::keep_turn(),
            Err(error) => {
                self.log_failure("timer", &error);
                sessions::retry_timer(&timer.name)?;
            }
        }
        Ok(())
    }

    fn close_socket(&self, socket: u64, code: u16, reason: &str, clean: bool) -> Result<(), Error> {
        sessions::begin_turn(WakeReason::Close);
        if let Some(socket) = sessions::leave(socket)
            && let Err(error) = self.wake().and_then(|()| self.on_close(&socket, code, reason, clean))
        {
            self.log_failure("close", &error);
            sessions::undo_turn()?;
            // The reader has left in any case.
            sessions::begin_turn(WakeReason::Close);
            sessions::leave(socket.id());
        }
        sessions::keep_turn();
        Ok(())
    }

    fn log_failure(&self, event: &str, error: &str) {
        eprintln!("{}/{}: turn on {event} failed: {error}", self.namespace, self.name);
    }

    // One instance may run several turns, and other instances may own the room in between: so each turn wakes again.
    fn wake(&self) -> Result<(), String> {
        match self.kind {
            Kind::Chat => chat::wake(),
            Kind::Presence => presence::wake(),
        }
    }

    fn on_request(&self, request: &Request) -> Result<Response, String> {
        match self.kind {
            Kind::Chat => chat::on_request(request),
            Kind::Presence => presence::on_request(request),
        }
    }

    fn on_connect(&self, request: &Request, socket: &Socket) -> Result<(), (u16, String)> {
        match self.kind {
            Kind::Chat => chat::on_connect(request, socket).map_err(|refusal| (refusal.status, refusal.reason)),
            Kind::Presence => presence::on_connect(request, socket).map_err(|refusal| (refusal.status, refusal.reason)),
        }
    }

    fn on_close(&self, socket: &Socket, code: u16, reason: &str, clean: bool) -> Result<(), String> {
        match self.kind {
            Kind::Chat => chat::on_close(socket, code, reason, clean),
            Kind::Presence => presence::on_close(socket, code, reason, clean),
        }
    }

    fn on_timer(&self, timer: &Timer) -> Result<(), String> {
        match self.kind {
            Kind::Chat => chat::on_timer(timer),
            Kind::Presence => presence::on_timer(timer),
        }
    }
}
