//! Runs long turns on their own threads, in fair shares.
//!
//! A turn of a few microseconds runs on the current thread. A turn that yields at an epoch tick has already held that
//! thread for 5 to 10 ms, so it moves to these threads and no longer delays other tasks. There all long turns alternate
//! after each tick. The threads have a lower priority (nice), so that the operating system prefers all others. `room`
//! and the router use this.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use tokio::runtime::{Builder, Runtime};
use tracing::Instrument;

/// The nice value of these threads: they get a tenth of the weight of others.
const NICE: i32 = 10;

/// A handle to the threads for long turns. Cheap to clone; the threads end with the last clone.
#[derive(Clone)]
pub struct LongTurns(Arc<Threads>);

struct Threads(Option<Runtime>);

impl LongTurns {
    /// Starts one thread for each core.
    ///
    /// Fails: if the operating system allows no more threads.
    pub fn start() -> std::io::Result<Self> {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let runtime = Builder::new_multi_thread()
            .worker_threads(cores)
            .thread_name("dormouse-long")
            .enable_time()
            .on_thread_start(|| {
                // On other systems this would change the whole process. If it is refused, the threads have normal
                // priority.
                if cfg!(target_os = "linux") {
                    let _ = rustix::process::nice(NICE);
                }
            })
            .build()?;
        Ok(LongTurns(Arc::new(Threads(Some(runtime)))))
    }

    /// Runs a future to its end: on the current thread if it is quick; otherwise it calls `before_long` and moves the
    /// future to the threads for long turns.
    pub async fn run<T: Send + 'static>(
        &self,
        mut run: Pin<Box<dyn Future<Output = T> + Send>>,
        before_long: impl FnOnce(),
    ) -> T {
        // A future that is not ready after one poll has yielded or waits for an answer. In both cases it moves.
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
        // The caller may be in a runtime, where blocking on another runtime is not allowed.
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}
