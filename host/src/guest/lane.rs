//! Where a guest that computes for long is finished: on threads of its own, in fair shares.
//!
//! A turn of a few microseconds runs where it is. One that yields at an epoch tick has held its thread for 5 to 10 ms
//! already, and moves here, so that those who share its thread wait for it no longer. All that are here take turns, a
//! tick each; and the threads are nice, so that the operating system serves everybody else first.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use tokio::runtime::{Builder, Runtime};
use tracing::Instrument;

/// How much the threads for long turns step back: a tenth of the weight of others.
const NICE: i32 = 10;

/// The way to the threads for long turns. Cheap to clone; they end with the last clone.
#[derive(Clone)]
pub struct Lane(Arc<Threads>);

struct Threads(Option<Runtime>);

impl Lane {
    /// As many threads as there are cores.
    ///
    /// Fails: where the operating system gives no more threads.
    pub fn start() -> std::io::Result<Self> {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let runtime = Builder::new_multi_thread()
            .worker_threads(cores)
            .thread_name("dormouse-long")
            .enable_time()
            .on_thread_start(|| {
                // Elsewhere it would be the whole process's. Where it is refused, they share as equals.
                if cfg!(target_os = "linux") {
                    let _ = rustix::process::nice(NICE);
                }
            })
            .build()?;
        Ok(Lane(Arc::new(Threads(Some(runtime)))))
    }

    /// Drive a future to its end: here if that is quick; otherwise on the threads for long turns, once `before_long` was
    /// called.
    pub async fn drive<T: Send + 'static>(
        &self,
        mut run: Pin<Box<dyn Future<Output = T> + Send>>,
        before_long: impl FnOnce(),
    ) -> T {
        // What is not done after one poll has yielded, or waits for an answer: either way it is polled again there.
        if let Poll::Ready(done) = run.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            return done;
        }
        before_long();
        let finished = self.0.runtime().spawn(run.in_current_span());
        finished.await.expect("a run catches the guest's faults, and the host's own code in it does not panic")
    }
}

impl Threads {
    fn runtime(&self) -> &Runtime {
        self.0.as_ref().expect("taken only when dropped")
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        // Whoever drops it may be on a runtime itself, where waiting for another is not allowed.
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}
