//! Catches panics of the host's or an embedder's code, where the fault of one room would end others.
//!
//! It knows nothing of the code that it runs. Rooms, the store and guest instances use it.

use std::any::Any;
use std::fmt;
use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::Poll;

/// The message of a panic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Panic(String);

impl fmt::Display for Panic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<Box<dyn Any + Send>> for Panic {
    fn from(payload: Box<dyn Any + Send>) -> Self {
        let text = payload.downcast_ref::<&str>().map(|text| (*text).to_owned());
        Panic(text.or_else(|| payload.downcast_ref::<String>().cloned()).unwrap_or_else(|| "a panic".into()))
    }
}

/// Runs a future to its end or to its panic. After a panic, its data may be inconsistent and must not be used.
///
/// The caller pins the future. A future that is passed by value is stored twice, and copied each time.
pub(crate) async fn catch_panic<T>(mut run: Pin<&mut impl Future<Output = T>>) -> Result<T, Panic> {
    poll_fn(move |context| match catch_unwind(AssertUnwindSafe(|| run.as_mut().poll(context))) {
        Ok(Poll::Pending) => Poll::Pending,
        Ok(Poll::Ready(done)) => Poll::Ready(Ok(done)),
        Err(payload) => Poll::Ready(Err(Panic::from(payload))),
    })
    .await
}

/// Runs something for one of many, and logs a panic so that the others go on. Absent after a panic.
pub(crate) fn guard<T>(act: impl FnOnce() -> T) -> Option<T> {
    catch_unwind(AssertUnwindSafe(act))
        .map_err(|payload| tracing::error!(panic = %Panic::from(payload), "the host's own code panicked"))
        .ok()
}
