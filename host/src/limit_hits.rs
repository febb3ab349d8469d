//! Counters of refusals, one for each limit. Edge, rooms and guests count here; the metrics read it.

use prometheus_client::registry::Registry;

use crate::named_counters::NamedCounters;

/// A limit that refused something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Limit {
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
    /// A connection of HTTP/2: [`HTTP2_FRAMES_PER_SECOND`](crate::limits::HTTP2_FRAMES_PER_SECOND).
    Http2Frames,
    /// A message to a client that does not read; its socket is closed with 1013: `limits.socket_queue_bytes`.
    SocketQueue,
    /// A message: `limits.messages_per_second`.
    Messages,
    /// A message: `limits.messages_per_second_per_user`.
    MessagesPerUser,
    /// A message, a request or a socket of a service: `limits.service_messages_per_second`.
    ServiceMessages,
    /// A socket or a ticket of a service: `limits.service_sockets`.
    ServiceSockets,
    /// A request of a service: `limits.service_requests`.
    ServiceRequests,
    /// A request of a service: `limits.service_request_bytes`.
    ServiceRequestBytes,
    /// An answer to a service: `limits.service_answer_bytes`.
    ServiceAnswerBytes,
    /// A request: `limits.requests`.
    Requests,
    /// A request: `limits.requests_per_user`.
    RequestsPerUser,
    /// A request: `limits.requests_per_address`.
    RequestsPerAddress,
    /// A request: `limits.requests_per_room`.
    RequestsPerRoom,
    /// A request: `limits.requests_per_namespace`.
    RequestsPerNamespace,
    /// A request: `limits.anonymous_requests`.
    AnonymousRequests,
    /// A request: `limits.request_bytes`.
    RequestBytes,
    /// A request: `limits.request_bytes_per_user`.
    RequestBytesPerUser,
    /// An answer: `limits.answer_bytes`.
    AnswerBytes,
    /// An answer: `limits.answer_bytes_per_user`.
    AnswerBytesPerUser,
    /// An answer: `limits.answer_bytes_per_connection`.
    AnswerBytesPerConnection,
    /// A socket or a request: `limits.memory_total_bytes`.
    Memory,
    /// A ticket: `limits.tickets`.
    Tickets,
    /// A ticket: `limits.tickets_per_user`.
    TicketsPerUser,
    /// A socket or a request to a room that is not in memory: `limits.rooms`.
    Rooms,
    /// A socket: `limits.sockets_per_room`.
    SocketsPerRoom,
    /// A request, a socket or another event of a room: `limits.events_per_room`.
    EventsPerRoom,
    /// A turn that would wait for another room or a server, while its instance is needed: `limits.awake_rooms`.
    AwakeRooms,
    /// A turn that would store more: `limits.room_bytes`.
    RoomBytes,
    /// A line of a room's log: `limits.log_lines_per_second`.
    LogLines,
    /// A line of a room's log: `limits.turn_log_lines`.
    TurnLogLines,
}

impl Limit {
    fn name(self) -> &'static str {
        match self {
            Limit::Connections => "connections",
            Limit::ConnectionsPerAddress => "connections_per_address",
            Limit::ConnectsPerAddress => "connects_per_second_per_address",
            Limit::Http2Frames => "http2_frames_per_second",
            Limit::SocketsPerUser => "sockets_per_user",
            Limit::RoomsPerUser => "rooms_per_user",
            Limit::SocketQueue => "socket_queue_bytes",
            Limit::Messages => "messages_per_second",
            Limit::MessagesPerUser => "messages_per_second_per_user",
            Limit::ServiceMessages => "service_messages_per_second",
            Limit::ServiceSockets => "service_sockets",
            Limit::ServiceRequests => "service_requests",
            Limit::ServiceRequestBytes => "service_request_bytes",
            Limit::ServiceAnswerBytes => "service_answer_bytes",
            Limit::Requests => "requests",
            Limit::RequestsPerUser => "requests_per_user",
            Limit::RequestsPerAddress => "requests_per_address",
            Limit::RequestsPerRoom => "requests_per_room",
            Limit::RequestsPerNamespace => "requests_per_namespace",
            Limit::AnonymousRequests => "anonymous_requests",
            Limit::RequestBytes => "request_bytes",
            Limit::RequestBytesPerUser => "request_bytes_per_user",
            Limit::AnswerBytes => "answer_bytes",
            Limit::AnswerBytesPerUser => "answer_bytes_per_user",
            Limit::AnswerBytesPerConnection => "answer_bytes_per_connection",
            Limit::Memory => "memory_total_bytes",
            Limit::Tickets => "tickets",
            Limit::TicketsPerUser => "tickets_per_user",
            Limit::Rooms => "rooms",
            Limit::SocketsPerRoom => "sockets_per_room",
            Limit::EventsPerRoom => "events_per_room",
            Limit::AwakeRooms => "awake_rooms",
            Limit::RoomBytes => "room_bytes",
            Limit::LogLines => "log_lines_per_second",
            Limit::TurnLogLines => "turn_log_lines",
        }
    }
}

/// How often each limit of one host refused something.
#[derive(Debug, Clone, Default)]
pub(crate) struct LimitHits(NamedCounters);

impl LimitHits {
    pub(crate) fn register(&self, registry: &mut Registry) {
        self.0.register(registry, "refused", "Refusals, by the limit that was reached");
    }

    /// The limits that were met, by name, with how often; the one that was met most first.
    pub(crate) fn all(&self) -> Vec<(&'static str, u64)> {
        self.0.all()
    }

    /// Counts one refusal.
    pub(crate) fn count(&self, refused: Limit) {
        self.0.count("limit", refused.name());
    }
}
