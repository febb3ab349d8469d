//! The interface `visits`, for the front.

use std::cell::Cell;
use std::path::Path;

use super::room::context::WakeReason;
use super::room::sockets::Socket;
use super::room::types::User;
use super::serve::visits::{Guest, Overdue, Trouble};
use super::{DATA, Disk, LEFT, VISIT, sockets, timers, told, visit};
use crate::session::{self, Visit};

thread_local! {
    pub(super) static WOKEN_BY: Cell<WakeReason> = const { Cell::new(WakeReason::Request) };
}

impl Guest for Disk {
    fn enter(namespace: String, name: String) -> Result<(), Trouble> {
        if !Path::new(DATA).is_dir() {
            let what = "no folder was given to keep rooms in: pass --dir FOLDER::/data to wasmtime serve";
            return Err(Trouble::Disk(what.into()));
        }
        let random = wasip2::random::random::get_random_u64();
        let entered = Visit::enter(Path::new(DATA), &namespace, &name, random).map_err(told)?;
        VISIT.set(Some(entered));
        Ok(())
    }

    fn next_overdue() -> Option<Overdue> {
        visit(Visit::next_overdue).map(|overdue| match overdue {
            session::Overdue::Silent(id) => Overdue::Silent(id),
            session::Overdue::Timer(timer) => Overdue::Timer(timers::to_wit(&timer)),
        })
    }

    fn begin(woken_by: WakeReason) {
        WOKEN_BY.set(woken_by);
        visit(Visit::begin);
    }

    fn join(user: User) -> Option<Socket> {
        let joined = visit(|visit| visit.join((user.id, user.name)));
        // If the lease cannot be written, the commit fails too, and reports the error.
        joined.ok().flatten().map(sockets::handle)
    }

    fn part(id: u64) -> Option<Socket> {
        visit(|visit| visit.part(id)).then(|| sockets::handle(id))
    }

    fn fire(name: String) {
        visit(|visit| visit.change(crate::state::Change::Cancel(name)));
    }

    fn keep() {
        visit(Visit::keep);
    }

    fn undo() -> Result<(), Trouble> {
        visit(Visit::undo).map_err(told)
    }

    fn put_off(name: String) -> Result<(), Trouble> {
        let later = visit(|visit| visit.put_off(&name)).map_err(told)?;
        if later.is_none() {
            eprintln!("the timer {name} has failed too often and is given up");
        }
        Ok(())
    }

    fn leave() -> Result<(), Trouble> {
        let entered = VISIT.take().expect("the front leaves what it has entered");
        LEFT.set(Some(entered.leave().map_err(told)?));
        Ok(())
    }
}
