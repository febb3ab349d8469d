//! Where a guest that computes for long is finished: on threads of its own, a few at a time.
//!
//! A turn of a few microseconds runs where it is. One that yields at an epoch tick has held its thread for 5 to 10 ms
//! already, and moves here, so that those who share its thread wait for it no longer. The operating system then divides
//! the cores between these few threads and the rest.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use tokio::runtime::Handle;
use tokio::sync::Semaphore;

/// The way to the threads for long turns. Cheap to clone.
#[derive(Clone)]
pub struct Lane(Arc<Semaphore>);

impl Default for Lane {
    /// Half as many long turns at once as there are cores, and at least one.
    fn default() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Lane(Arc::new(Semaphore::new(cores.div_ceil(2))))
    }
}

impl Lane {
    /// Drive a future to its end: here if that is quick, on a thread of its own otherwise.
    pub async fn drive<T: Send + 'static>(&self, mut run: Pin<Box<dyn Future<Output = T> + Send>>) -> T {
        // A guest never waits for anything: what is not done after one poll has yielded, and wants to be polled again.
        if let Poll::Ready(done) = run.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            return done;
        }
        let permit = self.0.clone().acquire_owned().await.expect("the semaphore is never closed");
        let handle = Handle::current();
        let finished = tokio::task::spawn_blocking(move || {
            let done = handle.block_on(run);
            drop(permit);
            done
        });
        finished.await.expect("a run catches the guest's faults, and the host's own code in it does not panic")
    }
}
