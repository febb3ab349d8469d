//! A visit to a room: first the overdue events, then the event of the request.

use crate::bindings::dormouse::room::context::WakeReason;
use crate::bindings::dormouse::room::sockets::Socket;
use crate::bindings::dormouse::room::timers::Timer;
use crate::bindings::dormouse::room::types::{Request, Response, User};
use crate::bindings::dormouse::serve::visits::{self, Overdue, Trouble};
use crate::bindings::dormouse::serve::{chat, presence};

/// The most overdue events that one visit handles. Without a limit, timers that set each other for the past would block
/// the room.
const OVERDUE_AT_ONCE: usize = 64;

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
    /// The room could not be visited.
    Trouble(Trouble),
    /// The room refused the reader, with a status and a reason.
    Refused(u16, String),
    /// The turn failed, and the log says why.
    Turn,
}

impl From<Trouble> for Failure {
    fn from(trouble: Trouble) -> Self {
        Failure::Trouble(trouble)
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
        self.visit(|| {
            visits::begin(WakeReason::Request);
            match self.wake().and_then(|()| self.on_request(request)) {
                Ok(response) => {
                    visits::keep();
                    Ok(response)
                }
                Err(error) => {
                    self.failed("request", &error);
                    visits::undo()?;
                    Err(Failure::Turn)
                }
            }
        })
    }

    /// Connects a reader. Returns the id of its socket.
    pub(crate) fn connect(&self, request: &Request, user: &User) -> Result<u64, Failure> {
        self.visit(|| {
            visits::begin(WakeReason::Connect);
            let Some(socket) = visits::join(user) else {
                visits::undo()?;
                return Err(Failure::Refused(503, "this room has too many readers".into()));
            };
            let refusal = match self.wake() {
                Ok(()) => self.on_connect(request, &socket).err(),
                Err(error) => {
                    self.failed("connect", &error);
                    Some((500, "the room failed".into()))
                }
            };
            match refusal {
                None => {
                    visits::keep();
                    Ok(socket.id())
                }
                Some((status, reason)) => {
                    visits::undo()?;
                    Err(Failure::Refused(status, reason))
                }
            }
        })
    }

    /// Closes a reader's socket.
    pub(crate) fn close(&self, socket: u64, code: u16, reason: &str, clean: bool) -> Result<(), Failure> {
        self.visit(|| Ok(self.part(socket, code, reason, clean)?))
    }

    /// Handles only the overdue events.
    pub(crate) fn catch_up(&self) -> Result<(), Failure> {
        self.visit(|| Ok(()))
    }

    fn visit<T>(&self, event: impl FnOnce() -> Result<T, Failure>) -> Result<T, Failure> {
        visits::enter(&self.namespace, &self.name)?;
        self.overdue()?;
        let done = event();
        // The overdue events are kept, even if the event of the request failed.
        visits::leave()?;
        done
    }

    fn overdue(&self) -> Result<(), Trouble> {
        for _ in 0..OVERDUE_AT_ONCE {
            match visits::next_overdue() {
                None => break,
                // The close code of a connection that ended without a close frame.
                Some(Overdue::Silent(socket)) => self.part(socket, 1006, "", false)?,
                Some(Overdue::Timer(timer)) => self.fire(&timer)?,
            }
        }
        Ok(())
    }

    fn fire(&self, timer: &Timer) -> Result<(), Trouble> {
        visits::begin(WakeReason::Timer);
        visits::fire(&timer.name);
        match self.wake().and_then(|()| self.on_timer(timer)) {
            Ok(()) => visits::keep(),
            Err(error) => {
                self.failed("timer", &error);
                visits::put_off(&timer.name)?;
            }
        }
        Ok(())
    }

    fn part(&self, socket: u64, code: u16, reason: &str, clean: bool) -> Result<(), Trouble> {
        visits::begin(WakeReason::Close);
        if let Some(socket) = visits::part(socket)
            && let Err(error) = self.wake().and_then(|()| self.on_close(&socket, code, reason, clean))
        {
            self.failed("close", &error);
            visits::undo()?;
            // The reader has left in any case.
            visits::begin(WakeReason::Close);
            visits::part(socket.id());
        }
        visits::keep();
        Ok(())
    }

    fn failed(&self, event: &str, error: &str) {
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
