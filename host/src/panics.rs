//! Panics of the host's own code, or of an embedder's: caught where one room's fault would be everybody's.

use std::any::Any;
use std::fmt;
use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::task::Poll;

/// What a panic said.
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

/// Run something to its end, or to its panic. After a panic nothing that it changed may be relied upon.
pub(crate) async fn catch_panic<T>(run: impl Future<Output = T>) -> Result<T, Panic> {
    let mut run = pin!(run);
    poll_fn(move |context| match catch_unwind(AssertUnwindSafe(|| run.as_mut().poll(context))) {
        Ok(Poll::Pending) => Poll::Pending,
        Ok(Poll::Ready(done)) => Poll::Ready(Ok(done)),
        Err(payload) => Poll::Ready(Err(Panic::from(payload))),
    })
    .await
}

/// Do something for one of many, so that its panic is not the others': absent where it panicked.
pub(crate) fn guard<T>(act: impl FnOnce() -> T) -> Option<T> {
    catch_unwind(AssertUnwindSafe(act))
        .map_err(|payload| tracing::error!(panic = %Panic::from(payload), "the host's own code failed"))
        .ok()
}
