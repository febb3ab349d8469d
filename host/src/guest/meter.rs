//! The resource limits of one instance, and the meter that enforces CPU, memory and tables. Limits that an operator can
//! set are in `config`.

use std::sync::Arc;
use std::time::Duration;

use wasmtime::{ResourceLimiter, StoreContextMut, UpdateDeadline};

use super::state::StoreData;
use super::stopwatch::CpuStopwatch;
use crate::config::Limits;
use crate::limits;

/// The interval at which a running guest is interrupted. It holds its thread for two of these at most.
pub(super) const TICK: Duration = Duration::from_millis(5);

/// Most handles of one guest: three times the sockets of the largest room.
pub(super) const HANDLES: usize = 100_000;

/// Most bytes that a guest passes to the host in one call, beside the limits of the interfaces. It protects host
/// memory.
pub(super) const HOSTCALL_BYTES: usize = 24 << 20;

/// Most resources of `wasi:*` of one guest: streams, requests to servers, their bodies. Each may hold bytes of the
/// guest in host memory.
pub(super) const WASI_RESOURCES: usize = 256;

/// Most bytes of server answers in host memory for one instance. An answer that is on its way counts with the longest
/// size, so four fit. A request without space for its answer waits, as long as a call may take.
pub(super) const ANSWERS_BYTES: usize = 4 * limits::RESPONSE_BYTES;

/// Most random bytes in one call.
pub(super) const RANDOM_BYTES: u64 = 1 << 20;

/// Overhead of a record, from the memory of the turn to the disk. It counts as written bytes, so that millions of tiny
/// records cannot exhaust host memory.
pub(super) const RECORD_BYTES: usize = 64;

/// Most timers that one turn may set and cancel, even if they are cancelled again.
pub(super) const TIMERS_CHANGED: usize = 10 * limits::TIMERS;

/// Most bytes of a log line, and of an error of a room.
pub(super) const LINE_BYTES: usize = 4_096;

/// The CPU and memory use of an instance.
#[derive(Debug)]
pub(super) struct Meter {
    memory_bytes: usize,
    table_elements: usize,
    turn_cpu: Duration,
    cpu: Duration,
    pub(super) watch: Arc<CpuStopwatch>,
    pub(super) exceeded: Option<Exceeded>,
}

/// The limit that ended a turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Exceeded {
    Cpu,
    Memory,
    Table,
}

impl Meter {
    pub(super) fn new(limits: &Limits, watch: Arc<CpuStopwatch>) -> Self {
        Meter {
            memory_bytes: limits.memory_bytes,
            table_elements: limits.table_elements,
            turn_cpu: limits.turn_cpu,
            cpu: Duration::ZERO,
            watch,
            exceeded: None,
        }
    }

    /// A new turn begins.
    pub(super) fn restart(&mut self) {
        self.cpu = Duration::ZERO;
        self.exceeded = None;
    }

    /// CPU used by this turn so far, to the tick.
    pub(super) fn cpu(&self) -> Duration {
        self.cpu
    }

    /// Called at an epoch tick while the guest runs, and after a host call during which ticks passed. Ticks while the
    /// guest is suspended do not count: the next deadline is set when it resumes.
    pub(super) fn on_tick(mut store: StoreContextMut<'_, StoreData>) -> wasmtime::Result<UpdateDeadline> {
        let meter = &mut store.data_mut().meter;
        // A host call cannot be interrupted, so its time is charged afterwards.
        meter.cpu += meter.watch.lap().max(TICK);
        if meter.cpu >= meter.turn_cpu {
            meter.exceeded = Some(Exceeded::Cpu);
            return Ok(UpdateDeadline::Interrupt);
        }
        meter.watch.yields();
        Ok(UpdateDeadline::Yield(1))
    }
}

impl ResourceLimiter for Meter {
    fn memory_growing(&mut self, _: usize, desired: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        let fits = desired <= self.memory_bytes;
        if !fits {
            self.exceeded = Some(Exceeded::Memory);
        }
        Ok(fits)
    }

    fn table_growing(&mut self, _: usize, desired: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        let fits = desired <= self.table_elements;
        if !fits {
            self.exceeded = Some(Exceeded::Table);
        }
        Ok(fits)
    }

    fn instances(&self) -> usize {
        16
    }

    fn tables(&self) -> usize {
        16
    }

    fn memories(&self) -> usize {
        2
    }
}
