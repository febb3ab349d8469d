//! Implements the contract, and the interfaces for the front, with `visit.rs` and `ear.rs`.
//!
//! An instance serves one request, so it has one visit at a time, and one reader.

mod context;
mod log_reader;
mod sessions;
mod sockets;
mod storage;
mod timers;

use std::cell::RefCell;

use crate::log_reader::Ear;
use crate::room_dir::Trouble;
use crate::session::{Left, Visit};

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
    static VISIT: RefCell<Option<Visit>> = const { RefCell::new(None) };
    static LEFT: RefCell<Option<Left>> = const { RefCell::new(None) };
    static EAR: RefCell<Option<Ear>> = const { RefCell::new(None) };
}

struct Disk;

fn visit<T>(look: impl FnOnce(&mut Visit) -> T) -> T {
    VISIT.with_borrow_mut(|visit| look(visit.as_mut().expect("the front enters a room before it calls it")))
}

fn is_visiting() -> bool {
    VISIT.with_borrow(Option::is_some)
}

/// Converts an error for the front, which logs the details for the operator of `wasmtime serve`.
fn told(trouble: Trouble) -> serve::visits::Trouble {
    let (path, what) = match trouble {
        Trouble::Busy => return serve::visits::Trouble::Busy,
        Trouble::Disk(path, error) => (path, error.to_string()),
        Trouble::Damaged(path) => {
            (path, "damaged: it holds bytes that no turn has written; restore it from a backup".to_owned())
        }
    };
    serve::visits::Trouble::Disk(format!("{}: {what}", path.display()))
}
