//! The interface `log-reader`, for the front.

use super::serve::log_reader::{Event, Guest, Received};
use super::serve::sessions::Error;
use super::{Disk, LOG_READER, SESSION_END, to_wit_error};
use crate::log_reader::{self, LogReader};

fn with_reader<T>(use_it: impl FnOnce(&mut LogReader) -> crate::room_dir::Result<T>) -> Result<T, Error> {
    LOG_READER
        .with_borrow_mut(|reader| use_it(reader.as_mut().expect("the front starts to read before it polls")))
        .map_err(to_wit_error)
}

impl Guest for Disk {
    fn start(socket: u64) -> Result<(), Error> {
        let end = SESSION_END.take().expect("the front finishes a session before it reads");
        LOG_READER.set(Some(LogReader::new(socket, end).map_err(to_wit_error)?));
        Ok(())
    }

    fn poll() -> Result<Vec<Received>, Error> {
        let to_wit = |received| match received {
            log_reader::Received::Message { id, text } => Received::Message(Event { id, text }),
            log_reader::Received::Closed(code, reason) => Received::Closed((code, reason)),
        };
        // A later session of this reader leaves data that it does not need.
        SESSION_END.set(None);
        Ok(with_reader(LogReader::poll)?.into_iter().map(to_wit).collect())
    }

    fn renew_lease() {
        // If this fails, the next try comes in seconds, long before the lease ends.
        let _ = with_reader(|reader| reader.renew_lease());
    }

    fn has_overdue_event() -> bool {
        with_reader(|reader| reader.has_overdue_event()).unwrap_or(false)
    }

    fn stop() {
        LOG_READER.set(None);
    }
}
