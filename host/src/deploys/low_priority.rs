//! Runs work of a deploy that takes long, such as compiling, on a thread of a low priority: rooms go first.

use std::thread;

use tokio::sync::oneshot;

/// The nice value of these threads: they get a tenth of the weight of others.
const NICE: i32 = 10;

/// Runs `work` to its end on a thread of its own.
pub(super) async fn run<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    let (done, finished) = oneshot::channel();
    let span = tracing::Span::current();
    let spawned = thread::Builder::new().name("dormouse-deploy".into()).spawn(move || {
        // On other systems this would change the whole process. If it is refused, the thread has normal priority.
        if cfg!(target_os = "linux") {
            let _ = rustix::process::nice(NICE);
        }
        // The caller may have gone.
        let _ = done.send(span.in_scope(work));
    });
    spawned.expect("a process that serves has threads for a deploy");
    finished.await.expect("work of a deploy reports its errors and does not panic")
}
