//! The WASI functions that the standard library of a language needs: time and random numbers of the turn, and nothing
//! else of the machine.
//!
//! There are no files, no network, no arguments and no environment. Nothing waits: a sleep traps. Output becomes log
//! lines. Most turns need no WASI, so its state is made at the first use.

use std::convert::Infallible;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng, TryRng};
use tokio::io::AsyncWrite;
use wasmtime::component::ResourceTable;
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};
use wasmtime_wasi::clocks::{HostMonotonicClock, HostWallClock};
use wasmtime_wasi::p2::{OutputStream, Pollable, StreamResult};
use wasmtime_wasi::{WasiCtx, WasiCtxBuilder};

use super::log_context::{LogContext, log_line};
use super::log_limiter::{LogLimiter, one_line};
use super::moment::Moment;
use crate::lock::Lock;

/// Most resources of `wasi:*` of one guest: streams, requests to servers, their bodies. Each may hold 64 KiB of the
/// guest in host memory, together 16 MiB; a request to a server takes several.
const WASI_RESOURCES: usize = 256;

/// Most random bytes in one call, which cannot be interrupted: they take about a millisecond.
const RANDOM_BYTES: u64 = 1 << 20;

/// Most bytes of output that are kept for the message about a trap: a panic with its place and a few lines before it.
const LAST_OUTPUT_BYTES: usize = 2_048;

/// The WASI state of one instance.
pub(super) struct Wasi {
    pub(super) context: WasiCtx,
    pub(super) table: ResourceTable,
    now: Arc<AtomicU64>,
    rng: TurnRng,
    output: LogStream,
}

impl Wasi {
    pub(super) fn new(moment: &Moment, max_lines: u32, log_limiter: Arc<LogLimiter>, log_context: LogContext) -> Self {
        let rng = TurnRng(Arc::new(Lock::new(StdRng::from_seed(moment.seed))));
        let now = Arc::new(AtomicU64::new(moment.now));
        let output = Output { text: String::new(), lines: 0, max_lines, log_limiter, log_context };
        let output = LogStream(Arc::new(Lock::new(output)));
        let mut table = ResourceTable::new();
        table.set_max_capacity(WASI_RESOURCES);
        let mut builder = WasiCtxBuilder::new();
        builder
            .wall_clock(TurnClock(now.clone()))
            .monotonic_clock(TurnClock(now.clone()))
            .secure_random(rng.clone())
            .insecure_random(rng.clone())
            .insecure_random_seed(0)
            .max_random_size(RANDOM_BYTES)
            .stdout(output.clone())
            .stderr(output.clone());
        Wasi { context: builder.build(), table, now, rng, output }
    }

    /// A turn begins: sets its time and seed, and clears the kept output.
    pub(super) fn begin(&mut self, moment: &Moment, log_context: LogContext) {
        self.now.store(moment.now, Ordering::Relaxed);
        *self.rng.0.lock() = StdRng::from_seed(moment.seed);
        let mut output = self.output.0.lock();
        output.text.clear();
        output.lines = 0;
        output.log_context = log_context;
    }

    pub(super) fn last_output(&self) -> String {
        self.output.0.lock().text.clone()
    }
}

/// The time of the turn, in milliseconds.
struct TurnClock(Arc<AtomicU64>);

impl TurnClock {
    fn since_epoch(&self) -> Duration {
        Duration::from_millis(self.0.load(Ordering::Relaxed))
    }
}

impl HostWallClock for TurnClock {
    fn resolution(&self) -> Duration {
        Duration::from_millis(1)
    }

    fn now(&self) -> Duration {
        self.since_epoch()
    }
}

impl HostMonotonicClock for TurnClock {
    fn resolution(&self) -> u64 {
        1_000_000
    }

    fn now(&self) -> u64 {
        u64::try_from(self.since_epoch().as_nanos()).unwrap_or(u64::MAX)
    }
}

/// The random numbers of the turn.
#[derive(Clone)]
struct TurnRng(Arc<Lock<StdRng>>);

impl TryRng for TurnRng {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        Ok(self.0.lock().next_u32())
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        Ok(self.0.lock().next_u64())
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Infallible> {
        self.0.lock().fill_bytes(bytes);
        Ok(())
    }
}

/// Standard output and error: log lines, whose text is also kept for a trap message.
#[derive(Clone)]
struct LogStream(Arc<Lock<Output>>);

/// The output of this turn.
struct Output {
    text: String,
    lines: u32,
    max_lines: u32,
    log_limiter: Arc<LogLimiter>,
    log_context: LogContext,
}

impl LogStream {
    fn push(&self, bytes: &[u8]) {
        let mut output = self.0.lock();
        // Each turn may write only so much, so that a flood costs nothing.
        let space = LAST_OUTPUT_BYTES.saturating_sub(output.text.len());
        let text = String::from_utf8_lossy(&bytes[..bytes.len().min(space)]);
        output.text.push_str(&text);
        for line in text.lines().filter(|line| !line.trim().is_empty()) {
            output.lines = output.lines.saturating_add(1);
            if output.log_limiter.take_of_turn(output.lines, output.max_lines) {
                let line = one_line(line);
                log_line!(info, output.log_context, line);
                output.log_limiter.tap("info", &line);
            }
        }
    }
}

impl IsTerminal for LogStream {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for LogStream {
    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        Box::new(self.clone())
    }

    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(self.clone())
    }
}

#[wasmtime_wasi::async_trait]
impl Pollable for LogStream {
    async fn ready(&mut self) {}
}

impl OutputStream for LogStream {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        self.push(&bytes);
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(4_096)
    }
}

impl AsyncWrite for LogStream {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.push(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
