//! Drive one component with fake clients, clock and storage: no network, no disk, no waiting.
//!
//! ```no_run
//! use dormouse_test::TestRoom;
//!
//! let mut room = TestRoom::of_crate(env!("CARGO_MANIFEST_DIR"));
//! let ana = room.join("ana");
//! room.say(&ana, r#"{"type":"message","content":"hello"}"#);
//! assert_eq!(ana.hears().last().unwrap()["message"]["content"], "hello");
//! ```
//!
//! Each call is one event and one turn, run through the real contract by the real engine; what it wrote and said is
//! applied at once. What the room logs is shown where a test fails, and a call that fails the test names its line there.
//!
//! The engine is in the program `dormouse`, which each test runs beside itself (`dormouse test-driver`): the one that the
//! variable `DORMOUSE_BIN` names, or the one on the `PATH`, or the one that was built last in Dormouse's source or in the
//! target directory of the tests. So nothing of the engine is compiled with the tests.
//!
//! **Which room**: [`TestRoom::of_crate`] builds one in Rust, [`TestRoom::of_file`] takes a component in any language,
//! [`TestRoom::new`] its bytes; [`TestRoom::config`] gives it what an operator would.
//!
//! **Who is there, and what they say and hear**: a client has the identity that the test gives it.
//!
//! ```no_run
//! # let mut room = dormouse_test::TestRoom::new(b"");
//! # use dormouse_test::{Message, User, body};
//! let ana = room.join("ana"); // the user `id-ana` with the name `ana`
//! let bo = room.connect_as(User { id: "7".into(), name: "Bo".into() }, "since=3").expect("it lets Bo in");
//! room.try_say(&bo, Message::Binary(vec![1, 2])).expect("the turn succeeds");
//! assert!(ana.hears_raw().is_empty());
//! assert_eq!(bo.closed(), Some((1008, "text only".into())));
//! room.leave(&ana);
//! assert_eq!(body(&room.get("bo", "/messages", "limit=1"))["messages"], dormouse_test::json!([]));
//! ```
//!
//! **Time** stands still until the test moves it, and timers fire on the way.
//!
//! ```no_run
//! # let mut room = dormouse_test::TestRoom::new(b"");
//! # use std::time::Duration;
//! assert_eq!(room.timers()[0].at, room.now() + 30_000);
//! room.advance(Duration::from_secs(30));
//! assert!(room.timers().is_empty());
//! ```
//!
//! **Sleep**, which a room must not notice: [`kept_and_forgetful!`] runs each test in both lives.
//!
//! ```no_run
//! # let mut room = dormouse_test::TestRoom::new(b"");
//! room.hibernate(); // the instance is gone; sockets, timers and storage stay
//! room.restart(); // the host is another; only timers and storage stay
//! let mut room = room.forgetful(true); // from here on the instance goes after every single event
//! ```
//!
//! **What goes wrong**: a turn is lost in each way that a turn can be, and an event comes twice.
//!
//! ```no_run
//! # let mut room = dormouse_test::TestRoom::new(b"");
//! # let ana = room.join("ana");
//! # use dormouse_test::{Fault, Message};
//! for fault in [Fault::OutOfCpu, Fault::OutOfMemory, Fault::CommitFails, Fault::Crash] {
//!     room.next_turn_meets(fault);
//!     room.try_say(&ana, Message::Text("hello".into())).expect_err("the turn is lost");
//! }
//! room.replay().expect("it may run again");
//! ```
//!
//! **What is left**: everything that the room has is there to be looked at.
//!
//! ```no_run
//! # let mut room = dormouse_test::TestRoom::new(b"");
//! assert_eq!(room.storage()[&b"count"[..]], "3");
//! assert_eq!(room.open_sockets()[0].tags, ["page-1"]);
//! assert_eq!(room.log(), ["INFO the room says this"]);
//! ```

mod answer;
mod build;
mod client;
mod component;
mod driver;
mod lives;
mod log;
mod model;
mod room;
mod router;
mod session;
mod wire;

pub use answer::{body, header, problem};
pub use client::{TestClient, all_hear, hush, none_hears};
pub use model::{
    Address, AddressError, CallError, Close, Decision, Destination, FailureKind, FetchError, Message, Request,
    Response, Timer, TurnFailure, User,
};
pub use room::{Backup, Fault, OpenSocket, TestRoom};
pub use router::TestRouter;

/// A value as JSON, to compare with what a client hears.
pub use serde_json::json;
