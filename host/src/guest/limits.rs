//! What one instance may use, counted while it runs.

use std::time::Duration;

use wasmtime::{ResourceLimiter, StoreContextMut, UpdateDeadline};

use super::state::Host;
use crate::config::Limits;

/// How often a running guest is looked at. It holds its thread for two of these at most.
pub(super) const TICK: Duration = Duration::from_millis(5);

/// Handles a guest may hold at once: every socket of the largest room three times over.
pub(super) const HANDLES: usize = 100_000;

/// What the guest hands over in one call to the host, beside what the interfaces allow: protects the host's memory.
pub(super) const HOSTCALL_BYTES: usize = 24 << 20;

/// An instance's use of CPU and memory.
#[derive(Debug)]
pub(super) struct Meter {
    memory_bytes: usize,
    table_elements: usize,
    most_ticks: u32,
    ticks: u32,
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
    pub(super) fn new(limits: &Limits) -> Self {
        let most_ticks = limits.turn_cpu.as_micros().div_ceil(TICK.as_micros());
        Meter {
            memory_bytes: limits.memory_bytes,
            table_elements: limits.table_elements,
            most_ticks: u32::try_from(most_ticks).unwrap_or(u32::MAX),
            ticks: 0,
            exceeded: None,
        }
    }

    /// A new turn begins.
    pub(super) fn restart(&mut self) {
        self.ticks = 0;
        self.exceeded = None;
    }

    /// CPU used since, to the tick.
    pub(super) fn cpu(&self) -> Duration {
        TICK * self.ticks
    }

    /// Called at each epoch tick that finds the guest running. Ticks that pass while it is off its thread do not count:
    /// the next deadline is set when it is on again.
    pub(super) fn on_tick(mut store: StoreContextMut<'_, Host>) -> wasmtime::Result<UpdateDeadline> {
        let meter = &mut store.data_mut().meter;
        meter.ticks += 1;
        if meter.ticks >= meter.most_ticks {
            meter.exceeded = Some(Exceeded::Cpu);
            return Ok(UpdateDeadline::Interrupt);
        }
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
