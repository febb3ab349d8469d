//! Tests one component with fake clients, a fake clock and fake storage: no network, no disk, no waiting.
//!
//! ```no_run
//! use dormouse_test::TestRoom;
//!
//! let mut room = TestRoom::of_crate(env!("CARGO_MANIFEST_DIR"));
//! let ana = room.join("ana");
//! room.send(&ana, r#"{"type":"message","content":"hello"}"#);
//! assert_eq!(ana.received().last().unwrap()["message"]["content"], "hello");
//! ```
//!
//! Each call is one event and one turn, run by the real engine through the real contract. Its effects are applied at
//! once. If a test fails, the log of the room is shown. A failing call reports the line of the test that made it.
//!
//! The engine is in the program `dormouse`, which each test starts (`dormouse test-driver`). It is the one in the
//! variable `DORMOUSE_BIN`, or the one on the `PATH`, or the newest one in the source of Dormouse or in the target
//! directory of the tests. So the tests do not compile the engine.
//!
//! **The room**: [`TestRoom::of_crate`] builds one in Rust, [`TestRoom::of_file`] takes a component in any language,
//! and [`TestRoom::new`] takes its bytes. [`TestRoom::config`] sets a configuration value.
//!
//! **Clients**: the test chooses the user of each client.
//!
//! ```no_run
//! # let mut room = dormouse_test::TestRoom::new(b"");
//! # use dormouse_test::{Message, User, body};
//! let ana = room.join("ana"); // the user `id-ana` with the name `ana`
//! let bo = room.connect_as(User { id: "7".into(), name: "Bo".into() }, "since=3").expect("it lets Bo in");
//! room.try_send(&bo, Message::Binary(vec![1, 2])).expect("the turn succeeds");
//! assert!(ana.received_raw().is_empty());
//! assert_eq!(bo.closed(), Some((1008, "text only".into())));
//! room.leave(&ana);
//! assert_eq!(body(&room.get("bo", "/messages", "limit=1"))["messages"], dormouse_test::json!([]));
//! ```
//!
//! **Claims and permissions** are those that a token would give. A user may renew its token on an open socket.
//!
//! ```no_run
//! # let mut room = dormouse_test::TestRoom::new(b"");
//! # use dormouse_test::{Permission, Request, TestUser};
//! let mo = TestUser::new("mo").may([Permission::Moderate]).with_claim("role", "host");
//! let client = room.join_as(mo.clone());
//! room.request_as(mo, Request::get("/mutes"));
//! room.renew(&client, TestUser::new("mo").may_only([Permission::Read]));
//! ```
//!
//! **Time** stands still until the test advances it. Timers fire on the way.
//!
//! ```no_run
//! # let mut room = dormouse_test::TestRoom::new(b"");
//! # use std::time::Duration;
//! assert_eq!(room.timers()[0].at, room.now() + 30_000);
//! room.advance(Duration::from_secs(30));
//! assert!(room.timers().is_empty());
//! ```
//!
//! **Hibernation**, which must not change the behaviour of a room: [`with_and_without_hibernation!`] runs each test
//! with and without it.
//!
//! ```no_run
//! # let mut room = dormouse_test::TestRoom::new(b"");
//! room.hibernate(); // the instance is gone; sockets, timers and storage stay
//! room.restart(); // the host is another; only timers and storage stay
//! let mut room = room.hibernate_after_each_event(true); // from here on the instance goes after every single event
//! ```
//!
//! **Failures**: a turn can fail in each possible way, and an event can be repeated.
//!
//! ```no_run
//! # let mut room = dormouse_test::TestRoom::new(b"");
//! # let ana = room.join("ana");
//! # use dormouse_test::{Fault, Message};
//! for fault in [Fault::OutOfCpu, Fault::OutOfMemory, Fault::CommitFails, Fault::Crash] {
//!     room.fail_next_turn(fault);
//!     room.try_send(&ana, Message::Text("hello".into())).expect_err("the turn is lost");
//! }
//! room.replay().expect("it may run again");
//! ```
//!
//! **State**: tests can inspect everything that a room has.
//!
//! ```no_run
//! # let mut room = dormouse_test::TestRoom::new(b"");
//! assert_eq!(room.storage()[&b"count"[..]], "3");
//! assert_eq!(room.open_sockets()[0].tags, ["page-1"]);
//! assert_eq!(room.log(), ["INFO the room says this"]);
//! ```

mod build;
mod client;
mod component;
mod driver;
mod hibernation;
mod log;
mod protocol;
mod response;
mod room;
mod router;
mod session;
mod types;
mod user;

pub use client::{TestClient, assert_all_received, assert_none_received, discard_received};
pub use response::{body, header, problem};
pub use room::{Backup, Fault, OpenSocket, TestRoom};
pub use router::TestRouter;
pub use types::{
    Address, AddressError, CallError, Close, Decision, Destination, FailureKind, FetchError, Message, Request,
    Response, Timer, TurnFailure, User,
};
pub use user::{Permission, TestUser};

/// A value as JSON, to compare with a message.
pub use serde_json::json;
