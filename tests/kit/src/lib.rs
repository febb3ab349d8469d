//! Drive one component with fake clients, clock and storage: no network, no disk, no waiting.
//!
//! ```no_run
//! # let wasm: &[u8] = &[];
//! let mut room = dormouse_test::TestRoom::new(wasm);
//! let ana = room.join("ana");
//! room.say(&ana, r#"{"type":"message","content":"hello"}"#);
//! assert_eq!(ana.hears().last().unwrap()["message"]["content"], "hello");
//! ```
//!
//! Each call is one event and one turn, run through the real contract by the real engine; what it wrote and said is
//! applied at once. [`TestRoom::forgetful`] drops the instance after every event, which a room must not notice;
//! [`TestRoom::next_turn_meets`] lets a turn be lost in every way that a turn can be, and [`TestRoom::replay`] runs an
//! event twice. What the room logs is shown where a test fails.

mod answer;
mod client;
mod lives;
mod log;
mod room;
mod router;
mod storage;
mod world;

pub use answer::{body, header, problem};
pub use client::{TestClient, all_hear, hush, none_hears};
pub use dormouse::guest::{CallError, Decision, TurnFailure};
pub use dormouse::model::{Address, Close, Destination, Message, Request, Response, User};
pub use dormouse::outbound::FetchError;
pub use room::{Fault, OpenSocket, TestRoom};
pub use router::TestRouter;

use std::collections::HashMap;
use std::future::Future;
use std::pin::pin;
use std::sync::{Arc, LazyLock, Mutex};
use std::task::{Context, Poll, Waker};

use dormouse::config::Limits;
use dormouse::guest::{Engine, RoomKind};

/// The limits that components are tested with: the shipped ones, and fewer rooms at once.
pub fn limits() -> Limits {
    Limits { awake_rooms: 200, requests: 20, ..Limits::default() }
}

static ENGINE: LazyLock<Engine> =
    LazyLock::new(|| Engine::new(Arc::new(limits())).expect("the engine starts with small limits"));

/// Compiled once a process, however many tests use it.
fn kind(wasm: &'static [u8]) -> RoomKind {
    static KINDS: LazyLock<Mutex<HashMap<usize, RoomKind>>> = LazyLock::new(Mutex::default);
    let mut kinds = KINDS.lock().expect("no holder of this lock panics");
    let load = || ENGINE.room("the room under test", wasm).unwrap_or_else(|error| panic!("{error}"));
    kinds.entry(wasm.as_ptr() as usize).or_insert_with(load).clone()
}

/// A guest never waits, so a run that is not done has yielded, or is finished on other threads: it is polled again.
fn drive<T>(run: impl Future<Output = T>) -> T {
    let mut run = pin!(run);
    loop {
        if let Poll::Ready(done) = run.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            return done;
        }
    }
}
