//! The limits of one host with what is counted and measured for them. `host` makes them; rooms and edge share them, so
//! that both count in the same place and see the same memory.

use std::sync::Arc;

use crate::config::Limits;
use crate::limit_hits::LimitHits;
use crate::pressure::Pressure;

/// The limits of one host, its refusals, and the memory of the process. Cheap to clone.
#[derive(Debug, Clone)]
pub struct HostLimits {
    pub(crate) limits: Arc<Limits>,
    pub(crate) hits: LimitHits,
    pub(crate) pressure: Arc<Pressure>,
}

impl HostLimits {
    /// Nothing was refused yet, and memory is measured once.
    pub fn new(limits: Arc<Limits>) -> Self {
        let pressure = Arc::new(Pressure::above(limits.memory_total_bytes));
        HostLimits { limits, hits: LimitHits::default(), pressure }
    }
}
