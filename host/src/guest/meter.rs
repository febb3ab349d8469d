//! The meter of one instance: it enforces the limits on CPU, memory and tables, which an operator sets in `config`.

use std::sync::Arc;
use std::time::Duration;

use wasmtime::{ResourceLimiter, UpdateDeadline};

use super::stopwatch::CpuStopwatch;
use crate::config::Limits;

/// The CPU and memory use of an instance.
#[derive(Debug)]
pub(super) struct Meter {
    memory_bytes: usize,
    /// Bytes of the memories that the instance has.
    memory_now: usize,
    table_elements: usize,
    turn_cpu: Duration,
    cpu: Duration,
    pub(super) stopwatch: Arc<CpuStopwatch>,
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
    pub(super) fn new(limits: &Limits, stopwatch: Arc<CpuStopwatch>) -> Self {
        Meter {
            memory_bytes: limits.memory_bytes,
            memory_now: 0,
            table_elements: limits.table_elements,
            turn_cpu: limits.turn_cpu,
            cpu: Duration::ZERO,
            stopwatch,
            exceeded: None,
        }
    }

    /// A new turn begins.
    pub(super) fn restart(&mut self) {
        self.cpu = Duration::ZERO;
        self.exceeded = None;
        self.stopwatch.restart();
    }

    /// CPU used by this turn up to the last tick.
    pub(super) fn cpu(&self) -> Duration {
        self.cpu
    }

    /// Bytes of memory that the instance has now. Memory never shrinks.
    pub(super) fn memory_now(&self) -> usize {
        self.memory_now
    }

    /// Called at an epoch tick while the guest runs, and after a host call during which ticks passed. Ticks while the
    /// guest is suspended do not count: the next deadline is set when it resumes.
    pub(super) fn on_tick(&mut self) -> wasmtime::Result<UpdateDeadline> {
        // A host call cannot be interrupted, so its time is charged afterwards.
        self.cpu += self.stopwatch.lap();
        if self.cpu >= self.turn_cpu {
            self.exceeded = Some(Exceeded::Cpu);
            return Ok(UpdateDeadline::Interrupt);
        }
        self.stopwatch.note_yield();
        Ok(UpdateDeadline::Yield(1))
    }
}

impl ResourceLimiter for Meter {
    fn memory_growing(&mut self, current: usize, desired: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        let fits = desired <= self.memory_bytes;
        if fits {
            self.memory_now += desired.saturating_sub(current);
        } else {
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
