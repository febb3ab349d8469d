//! The metrics of links.

use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// The metrics of a node.
#[derive(Default)]
pub(super) struct Metrics {
    pub(super) links: Gauge,
    pub(super) queued_bytes: Gauge,
    pub(super) clients: Gauge,
}

impl Metrics {
    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register("links", "Open links to and from other nodes of the cluster", self.links.clone());
        registry.register(
            "link_queued_bytes",
            "Bytes that wait to be sent to clients at other nodes",
            self.queued_bytes.clone(),
        );
        registry.register("link_sockets", "Sockets of other nodes in rooms of this one", self.clients.clone());
    }
}
