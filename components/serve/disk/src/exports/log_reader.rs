//! The interface `ears`, for the front.

use super::serve::ears::{Guest, Heard};
use super::serve::visits::Trouble;
use super::{Disk, EAR, LEFT, told};
use crate::log_reader::{self, Ear};

fn ear<T>(use_it: impl FnOnce(&mut Ear) -> crate::room_dir::Result<T>) -> Result<T, Trouble> {
    EAR.with_borrow_mut(|ear| use_it(ear.as_mut().expect("the front listens before it hears"))).map_err(told)
}

impl Guest for Disk {
    fn listen(socket: u64) -> Result<(), Trouble> {
        let left = LEFT.take().expect("the front leaves a room before it listens");
        EAR.set(Some(Ear::new(socket, left).map_err(told)?));
        Ok(())
    }

    fn hear() -> Result<Vec<Heard>, Trouble> {
        let to_wit = |heard| match heard {
            log_reader::Heard::Said(text) => Heard::Said(text),
            log_reader::Heard::Closed(code, reason) => Heard::Closed((code, reason)),
        };
        // A later visit of this reader leaves data that it does not need.
        LEFT.set(None);
        Ok(ear(Ear::hear)?.into_iter().map(to_wit).collect())
    }

    fn renew() {
        // If this fails, the next try comes in seconds, long before the lease ends.
        let _ = ear(|ear| ear.renew());
    }

    fn is_something_overdue() -> bool {
        ear(|ear| ear.is_something_overdue()).unwrap_or(false)
    }

    fn stop() {
        EAR.set(None);
    }
}
