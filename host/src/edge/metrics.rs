//! What the edge counts, for an operator to see.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// One word that tells what was counted.
type Word = [(&'static str, &'static str); 1];

/// Numbers of one host's edge.
#[derive(Default)]
pub(super) struct Metrics {
    pub(super) connections: Gauge,
    pub(super) sockets: Gauge,
    /// Messages that sockets were let say.
    pub(super) messages: Counter,
    refused: Family<Word, Counter>,
    requests: Family<Word, Counter>,
    closes: Family<[(&'static str, u16); 1], Counter>,
}

/// Why something was refused: each is a limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refused {
    /// A connection: `limits.connections`.
    Connections,
    /// A connection: `limits.connections_per_address`.
    ConnectionsPerAddress,
    /// A connection: `limits.connects_per_second_per_address`.
    ConnectsPerAddress,
    /// A socket: `limits.sockets_per_user`.
    SocketsPerUser,
    /// A socket: `limits.rooms_per_user`.
    RoomsPerUser,
    /// A message: `limits.messages_per_second`.
    Messages,
    /// A message: `limits.messages_per_second_per_user`.
    MessagesPerUser,
    /// A request: `limits.requests`.
    Requests,
    /// A socket or a request: `limits.memory_total_bytes`.
    Memory,
}

impl Refused {
    fn limit(self) -> &'static str {
        match self {
            Refused::Connections => "connections",
            Refused::ConnectionsPerAddress => "connections_per_address",
            Refused::ConnectsPerAddress => "connects_per_second_per_address",
            Refused::SocketsPerUser => "sockets_per_user",
            Refused::RoomsPerUser => "rooms_per_user",
            Refused::Messages => "messages_per_second",
            Refused::MessagesPerUser => "messages_per_second_per_user",
            Refused::Requests => "requests",
            Refused::Memory => "memory_total_bytes",
        }
    }
}

impl Metrics {
    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register("connections", "Connections that are open", self.connections.clone());
        registry.register("sockets", "WebSockets and streams of events that are open", self.sockets.clone());
        registry.register("messages", "Messages of clients that were taken", self.messages.clone());
        registry.register("refused", "What was refused, by the limit that it met", self.refused.clone());
        registry.register(
            "requests",
            "HTTP requests below the base path that were answered, by class of status",
            self.requests.clone(),
        );
        registry.register("closes", "Sockets that were closed, by code", self.closes.clone());
    }

    /// A limit was met.
    pub(super) fn refused(&self, refused: Refused) {
        self.refused.get_or_create(&[("limit", refused.limit())]).inc();
    }

    /// A request was answered.
    pub(super) fn answered(&self, status: u16) {
        let class = match status {
            100..200 => "1xx",
            200..300 => "2xx",
            300..400 => "3xx",
            400..500 => "4xx",
            _ => "5xx",
        };
        self.requests.get_or_create(&[("status", class)]).inc();
    }

    /// A socket was closed, with the code that its room was told. Those of rooms' own are one.
    pub(super) fn closed(&self, code: u16) {
        let code = if code < 3_000 || (4_400..4_500).contains(&code) { code } else { 0 };
        self.closes.get_or_create(&[("code", code)]).inc();
    }
}
