//! The interface `sessions`, for the front.

use std::cell::Cell;
use std::path::Path;

use super::room::context::WakeReason;
use super::room::sockets::Socket;
use super::room::types::User;
use super::serve::sessions::{Error, Guest, Overdue};
use super::{DATA, Disk, SESSION, SESSION_END, sockets, timers, to_wit_error, with_session};
use crate::session::{self, Session};

thread_local! {
    pub(super) static WOKEN_BY: Cell<WakeReason> = const { Cell::new(WakeReason::Request) };
}

impl Guest for Disk {
    fn open(namespace: String, name: String) -> Result<(), Error> {
        if !Path::new(DATA).is_dir() {
            let problem = "no folder was given to keep rooms in: pass --dir FOLDER::/data to wasmtime serve";
            return Err(Error::Disk(problem.into()));
        }
        let random = wasip2::random::random::get_random_u64();
        let session = Session::open(Path::new(DATA), &namespace, &name, random).map_err(to_wit_error)?;
        SESSION.set(Some(session));
        Ok(())
    }

    fn next_overdue() -> Option<Overdue> {
        with_session(Session::next_overdue).map(|overdue| match overdue {
            session::Overdue::LeaseExpired(id) => Overdue::LeaseExpired(id),
            session::Overdue::Timer(timer) => Overdue::Timer(timers::to_wit(&timer)),
        })
    }

    fn begin_turn(woken_by: WakeReason) {
        WOKEN_BY.set(woken_by);
        with_session(Session::begin_turn);
    }

    fn join(user: User) -> Option<Socket> {
        let joined = with_session(|session| session.join((user.id, user.name)));
        // If the lease cannot be written, the commit fails too, and reports the error.
        joined.ok().flatten().map(sockets::handle)
    }

    fn leave(id: u64) -> Option<Socket> {
        with_session(|session| session.leave(id)).then(|| sockets::handle(id))
    }

    fn fire(name: String) {
        with_session(|session| session.change(crate::state::Change::Cancel(name)));
    }

    fn keep_turn() {
        with_session(Session::keep_turn);
    }

    fn undo_turn() -> Result<(), Error> {
        with_session(Session::undo_turn).map_err(to_wit_error)
    }

    fn retry_timer(name: String) -> Result<(), Error> {
        let later = with_session(|session| session.retry_timer(&name)).map_err(to_wit_error)?;
        if later.is_none() {
            eprintln!("the timer {name} has failed too often and is given up");
        }
        Ok(())
    }

    fn finish() -> Result<(), Error> {
        let session = SESSION.take().expect("the front finishes the session that it opened");
        SESSION_END.set(Some(session.finish().map_err(to_wit_error)?));
        Ok(())
    }
}
