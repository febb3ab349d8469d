//! Implements the contract, and the interfaces for the front, with `session.rs` and `log_reader.rs`.
//!
//! An instance serves one request, so it has one session at a time, and one reader.

mod access;
mod context;
mod log_reader;
mod sessions;
mod sockets;
mod storage;
mod timers;

use std::cell::RefCell;

use crate::log_reader::LogReader;
use crate::room_dir::Error;
use crate::session::{Session, SessionEnd};

mod bindings {
    #![expect(unsafe_code, reason = "generated; raw memory crosses the component boundary")]

    use super::Disk;

    wit_bindgen::generate!({
        world: "dormouse:serve/disk",
        path: ["../../../wit", "../wit"],
        generate_all,
    });

    export!(Disk);
}

use bindings::exports::dormouse::{room, serve};

/// The path at which `wasmtime serve --dir FOLDER::/data` mounts the folder.
const DATA: &str = "/data";

thread_local! {
    static SESSION: RefCell<Option<Session>> = const { RefCell::new(None) };
    static SESSION_END: RefCell<Option<SessionEnd>> = const { RefCell::new(None) };
    static LOG_READER: RefCell<Option<LogReader>> = const { RefCell::new(None) };
}

struct Disk;

fn with_session<T>(use_it: impl FnOnce(&mut Session) -> T) -> T {
    SESSION
        .with_borrow_mut(|session| use_it(session.as_mut().expect("the front opens a session before it calls a room")))
}

fn has_session() -> bool {
    SESSION.with_borrow(Option::is_some)
}

/// Converts an error for the front, which logs the details for the operator of `wasmtime serve`.
fn to_wit_error(error: Error) -> serve::sessions::Error {
    let (path, problem) = match error {
        Error::Busy => return serve::sessions::Error::Busy,
        Error::Disk(path, error) => (path, error.to_string()),
        Error::Damaged(path) => {
            (path, "damaged: it holds bytes that no turn has written; restore it from a backup".to_owned())
        }
    };
    serve::sessions::Error::Disk(format!("{}: {problem}", path.display()))
}
