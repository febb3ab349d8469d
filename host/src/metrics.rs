//! Collects the metrics of all parts of a host into one registry, in the text format of OpenMetrics. It counts nothing
//! itself; the admin listener and embedders read it.

use std::sync::Arc;

use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use crate::cluster::Node;
use crate::deploys::Deploys;
use crate::edge::Edge;
use crate::host_limits::HostLimits;
use crate::log;
use crate::pressure::Pressure;
use crate::room::Rooms;

/// The metrics of one host.
pub(crate) struct Metrics {
    registry: Registry,
    memory: Gauge,
    rooms: Rooms,
    /// Absent without a cluster.
    node: Option<Arc<Node>>,
    pressure: Arc<Pressure>,
}

impl Metrics {
    /// Registers the metrics of all parts.
    pub(crate) fn of(
        rooms: &Rooms,
        edge: &Edge,
        deploys: &Deploys,
        limits: &HostLimits,
        node: Option<Arc<Node>>,
    ) -> Arc<Self> {
        let mut registry = Registry::with_prefix("dormouse");
        let pressure = limits.pressure.clone();
        let memory = Gauge::default();
        let memory_most = <Gauge>::default();
        memory_most.set(i64::try_from(pressure.max_bytes()).unwrap_or(i64::MAX));
        registry.register("memory_bytes", "What the process has, but for what it has mapped of files", memory.clone());
        registry.register("memory_most_bytes", "What it may have before new work is refused", memory_most);
        registry.register("log_lines_lost", "Lines of the log that could not be written", log::lost());
        limits.hits.register(&mut registry);
        rooms.register(&mut registry);
        edge.register(&mut registry);
        deploys.register(&mut registry);
        if let Some(node) = &node {
            node.register(&mut registry);
        }
        Arc::new(Metrics { registry, memory, rooms: rooms.clone(), node, pressure })
    }

    /// The metrics as Prometheus reads them.
    pub(crate) fn to_text(&self) -> String {
        self.memory.set(i64::try_from(self.pressure.has_bytes()).unwrap_or(i64::MAX));
        self.rooms.measure();
        if let Some(node) = &self.node {
            node.measure();
        }
        let mut text = String::new();
        encode(&mut text, &self.registry).expect("a string takes all text");
        text
    }
}
