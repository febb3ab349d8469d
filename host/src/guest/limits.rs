//! What one instance may use, counted while it runs.

use std::sync::Arc;
use std::time::Duration;

use wasmtime::{ResourceLimiter, StoreContextMut, UpdateDeadline};

use super::state::Host;
use super::watch::Watch;
use crate::config::{self, Limits};

/// How often a running guest is looked at. It holds its thread for two of these at most.
pub(super) const TICK: Duration = Duration::from_millis(5);

/// Handles a guest may hold at once: every socket of the largest room three times over.
pub(super) const HANDLES: usize = 100_000;

/// What the guest hands over in one call to the host, beside what the interfaces allow: protects the host's memory.
pub(super) const HOSTCALL_BYTES: usize = 24 << 20;

/// Resources of `wasi:*` a guest may hold at once: streams, requests to servers, their bodies. Each can keep bytes of the
/// guest's on the host.
pub(super) const WASI_RESOURCES: usize = 256;

/// Answers of servers that one instance has on the host, those on their way at their longest, in bytes: four such at once.
/// A request that has no space for its answer waits, as long as a call may.
pub(super) const ANSWERS_BYTES: usize = 4 * config::RESPONSE_BYTES;

/// Random bytes that a guest gets in one call.
pub(super) const RANDOM_BYTES: u64 = 1 << 20;

/// What a record costs beside its bytes, from the turn's memory to the disk. It counts among what a turn writes, so that
/// millions of tiny ones do not use up the host's memory.
pub(super) const RECORD_BYTES: usize = 64;

/// What an output costs beside its bytes, so that a flood of empty ones ends too.
pub(super) const OUTPUT_BYTES: usize = 64;

/// Timers that one turn may set and cancel, whatever is left of them in the end.
pub(super) const TIMERS_CHANGED: usize = 10 * config::TIMERS;

/// A line in the log, and what a room says about its failures, are cut here.
pub(super) const LINE_BYTES: usize = 4_096;

/// An instance's use of CPU and memory.
#[derive(Debug)]
pub(super) struct Meter {
    memory_bytes: usize,
    table_elements: usize,
    turn_cpu: Duration,
    cpu: Duration,
    pub(super) watch: Arc<Watch>,
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
    pub(super) fn new(limits: &Limits, watch: Arc<Watch>) -> Self {
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

    /// CPU used since, to the tick.
    pub(super) fn cpu(&self) -> Duration {
        self.cpu
    }

    /// Called at each epoch tick that finds the guest running, and after a host call that ticks went by in. Ticks that
    /// pass while it is off its thread do not count: the next deadline is set when it is on again.
    pub(super) fn on_tick(mut store: StoreContextMut<'_, Host>) -> wasmtime::Result<UpdateDeadline> {
        let meter = &mut store.data_mut().meter;
        // A host call is not interrupted, so what it took is charged when it is over.
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
