//! The trait that a room's author implements, and the code that connects it to the exported functions.

use std::cell::RefCell;
use std::fmt;

use crate::bindings::room::exports::dormouse::room::room as wit;
use crate::{Message, Request, Response, Socket, Timer, turn};

pub use wit::Refusal;

/// The events of a room. Only [`wake`](Room::wake) and [`message`](Room::message) are required. By default a room
/// accepts every client, and has no timers and no HTTP.
///
/// A method that returns an error fails its turn: its writes and messages are discarded, the error's text goes to the
/// operator's log, and the next event starts with a new `wake`.
pub trait Room: Sized + 'static {
    /// Makes the instance: after each hibernation, before the event that woke the room.
    fn wake() -> Result<Self>;

    /// A client asks to connect; from here on `socket` is in the room. A [`Refusal`] refuses it.
    fn connect(&mut self, request: Request, socket: &Socket) -> Result<(), Refusal> {
        let _ = (request, socket);
        Ok(())
    }

    /// A client sent a message.
    fn message(&mut self, sender: &Socket, message: Message) -> Result<()>;

    /// A socket was closed, by either side. Its user, tags and attachment can still be read.
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

/// How a socket was closed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Close {
    /// The WebSocket close code; 1006 if the connection ended without a close frame.
    pub code: u16,
    /// The reason in the close frame; often empty.
    pub reason: String,
    /// Both sides sent a close frame.
    pub clean: bool,
}

/// Why a turn fails: a text for the operator's log. `?` converts any error into it.
#[derive(Debug)]
pub struct Error(pub(crate) String);

/// The result of an event's method, and of functions of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// An error with this text.
    pub fn new(text: impl Into<String>) -> Self {
        Error(text.into())
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

// `Error` must not implement `std::error::Error`: this conversion would then overlap with `From<T> for T`.
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

/// Exports a type that implements [`Room`] as this component.
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

        // Only the component exports these names. A native build, for unit tests, needs only a use of the type, so that
        // the compiler does not report dead code.
        #[cfg(target_arch = "wasm32")]
        $crate::export::room::export_room!(ExportedRoom);
        #[cfg(not(target_arch = "wasm32"))]
        const _: () = $crate::export::room_is_used::<ExportedRoom>();
    };
}

/// Implemented by [`export!`]: gives the cell that holds the room while its instance lives.
#[doc(hidden)]
pub trait Exported {
    type Room: Room;
    fn cell() -> &'static std::thread::LocalKey<RefCell<Option<Self::Room>>>;
}

#[doc(hidden)]
pub const fn room_is_used<X: Exported>() {}

pub(crate) fn with_room<X: Exported, T>(event: impl FnOnce(&mut X::Room) -> T) -> T {
    X::cell().with_borrow_mut(|room| event(room.as_mut().expect("the host calls wake first")))
}

impl<X: Exported> wit::Guest for X {
    fn wake() -> Result<(), String> {
        let room = X::Room::wake().map_err(|error| error.0)?;
        X::cell().set(Some(room));
        turn::end_wake();
        Ok(())
    }

    fn on_connect(request: Request, socket: &Socket) -> Result<(), Refusal> {
        turn::end(with_room::<X, _>(|room| room.connect(request, socket)))
    }

    fn on_message(sender: &Socket, message: Message) -> Result<(), String> {
        turn::end(with_room::<X, _>(|room| room.message(sender, message))).map_err(|error| error.0)
    }

    fn on_close(socket: &Socket, code: u16, reason: String, clean: bool) -> Result<(), String> {
        turn::end(with_room::<X, _>(|room| room.close(socket, Close { code, reason, clean }))).map_err(|error| error.0)
    }

    fn on_timer(timer: Timer) -> Result<(), String> {
        turn::end(with_room::<X, _>(|room| room.timer(timer))).map_err(|error| error.0)
    }

    fn on_request(request: Request) -> Result<Response, String> {
        turn::end(with_room::<X, _>(|room| room.request(request))).map_err(|error| error.0)
    }
}
