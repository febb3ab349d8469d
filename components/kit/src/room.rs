//! A room as its author sees it, and the glue from the exported functions to it.

use std::cell::RefCell;
use std::fmt;

use crate::bindings::room::exports::dormouse::room::room as wit;
use crate::{Message, Request, Response, Socket, Timer};

pub use wit::Refusal;

/// The life of a room. Only [`wake`](Room::wake) and [`message`](Room::message) must be written; the rest has the
/// answers of a room that lets everybody in and knows no timers and no HTTP.
///
/// A method that returns an error fails its turn: nothing it wrote or said is kept, the error's text goes to the
/// operator's log, and the next event starts from a new `wake`.
pub trait Room: Sized + 'static {
    /// Make the instance: after each hibernation, before the event that woke the room.
    fn wake() -> Result<Self>;

    /// A client asks to connect; `socket` is in the room from here on. A [`Refusal`] turns it down.
    fn connect(&mut self, request: Request, socket: &Socket) -> Result<(), Refusal> {
        let _ = (request, socket);
        Ok(())
    }

    /// A client said something.
    fn message(&mut self, sender: &Socket, message: Message) -> Result<()>;

    /// A client has gone. Its user, tags and attachment can still be read.
    fn close(&mut self, socket: &Socket, close: Close) -> Result<()> {
        let _ = (socket, close);
        Ok(())
    }

    /// A timer is due.
    fn timer(&mut self, timer: Timer) -> Result<()> {
        Err(Error::new(format!("no such timer: {}", timer.name)))
    }

    /// An HTTP request.
    fn request(&mut self, request: Request) -> Result<Response> {
        Ok(Response::problem(404, format!("nothing at {}", request.path)))
    }
}

/// How a client left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Close {
    /// The WebSocket close code; 1006 where the connection just ended.
    pub code: u16,
    /// What the client gave as its reason; often empty.
    pub reason: String,
    /// Both sides said goodbye.
    pub clean: bool,
}

/// Why a turn fails: a text for the operator's log. Any error converts into it with `?`.
#[derive(Debug)]
pub struct Error(String);

/// The result of an event, and of what it calls.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// An error that says `text`.
    pub fn new(text: impl Into<String>) -> Self {
        Error(text.into())
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

// `Error` itself is no `std::error::Error`, which is what lets this conversion exist beside `From<T> for T`.
impl<E: std::error::Error> From<E> for Error {
    fn from(error: E) -> Self {
        Error(error.to_string())
    }
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        Refusal { status: 500, reason: error.0 }
    }
}

/// Export a type that implements [`Room`] as this component.
#[macro_export]
macro_rules! export {
    ($room:ty) => {
        struct ExportedRoom;

        thread_local! {
            static ROOM: ::std::cell::RefCell<::std::option::Option<$room>> =
                const { ::std::cell::RefCell::new(::std::option::Option::None) };
        }

        impl $crate::export::Exported for ExportedRoom {
            type Room = $room;

            fn cell() -> &'static ::std::thread::LocalKey<::std::cell::RefCell<::std::option::Option<$room>>> {
                &ROOM
            }
        }

        // Only the component exports these names. A native build of the crate, for its unit tests, has no use for
        // them, and is told only that the room is no dead code.
        #[cfg(target_arch = "wasm32")]
        $crate::export::room::export_room!(ExportedRoom);
        #[cfg(not(target_arch = "wasm32"))]
        const _: () = $crate::export::room_is_used::<ExportedRoom>();
    };
}

/// What [`export!`] makes of a room: the cell that holds it while its instance lives.
#[doc(hidden)]
pub trait Exported {
    type Room: Room;
    fn cell() -> &'static std::thread::LocalKey<RefCell<Option<Self::Room>>>;
}

#[doc(hidden)]
pub const fn room_is_used<X: Exported>() {}

fn with_room<X: Exported, T>(event: impl FnOnce(&mut X::Room) -> T) -> T {
    X::cell().with_borrow_mut(|room| event(room.as_mut().expect("the host calls wake first")))
}

impl<X: Exported> wit::Guest for X {
    fn wake() -> Result<(), String> {
        let room = X::Room::wake().map_err(|error| error.0)?;
        X::cell().set(Some(room));
        Ok(())
    }

    fn on_connect(request: Request, socket: &Socket) -> Result<(), Refusal> {
        with_room::<X, _>(|room| room.connect(request, socket))
    }

    fn on_message(sender: &Socket, message: Message) -> Result<(), String> {
        with_room::<X, _>(|room| room.message(sender, message)).map_err(|error| error.0)
    }

    fn on_close(socket: &Socket, code: u16, reason: String, clean: bool) -> Result<(), String> {
        with_room::<X, _>(|room| room.close(socket, Close { code, reason, clean })).map_err(|error| error.0)
    }

    fn on_timer(timer: Timer) -> Result<(), String> {
        with_room::<X, _>(|room| room.timer(timer)).map_err(|error| error.0)
    }

    fn on_request(request: Request) -> Result<Response, String> {
        with_room::<X, _>(|room| room.request(request)).map_err(|error| error.0)
    }
}
