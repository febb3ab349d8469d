//! Links between nodes: HTTP/2 over TLS 1.3. Only this part of the cluster opens connections.
//!
//! A node dials another one when it has a client for a room there. The link is one long request whose two bodies carry
//! messages, each with its length before it. A request to a room is a request of its own on the same connection, so a
//! long answer delays no message. Both ends prove that they have the key of the cluster, or a certificate of its authority, and the first messages name
//! the store, the nodes and the versions.
//!
//! It knows no rooms: it carries messages that `wire` defines. `far` and `near` use it.
//!
//! - **Invariant: messages of a link keep their order,** and none is missing before the link ends.
//! - **Invariant: a link is cut rather than filled.** A peer that does not read loses its link, not our memory.

mod certificates;
mod credentials;
mod dial;
mod greeting;
mod key;
mod listen;
mod queue;
mod stream;
pub mod wire;

use std::time::Duration;

pub use certificates::Certificates;
pub use credentials::Credentials;
pub use dial::{DialError, Link, Unanswered, dial};
pub use greeting::{Greeting, HANDS_OVER, Refusal, VERSIONS, Versions};
pub use key::{ClusterKey, KeyError, Tls};
pub use listen::{Answers, Handler, Refusals, listen};
pub use queue::AnyBody;
pub use stream::{Cut, Receiver, Sender, Why};

/// How links are watched and bounded. Tests have smaller values.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// The most bytes that wait to be sent on one link. A link with more is cut.
    pub queue_bytes: usize,
    /// From so many bytes on, clients of the link are paused.
    pub busy_bytes: usize,
    /// A link whose peer takes nothing for so long is cut.
    pub stall: Duration,
    /// A silent connection is pinged after this time.
    pub ping_every: Duration,
    /// A peer that does not answer a ping for so long is gone.
    pub ping_timeout: Duration,
    /// The longest message, and the longest request or answer.
    pub message_bytes: usize,
}

/// How much a peer may send before it is read: on one stream, and on all of a connection. A link whose reader is slow takes
/// its own part, and leaves enough for the answers beside it.
const STREAM_WINDOW: u32 = 1 << 20;
const CONNECTION_WINDOW: u32 = 16 << 20;

/// The time to connect, with TLS and the greeting. Two nodes are in one network.
const CONNECT_TIME: Duration = Duration::from_secs(1);

impl Default for Bounds {
    fn default() -> Self {
        Bounds {
            queue_bytes: 32 << 20,
            busy_bytes: 1 << 20,
            stall: Duration::from_secs(5),
            ping_every: Duration::from_millis(400),
            // 1.6 s after the last sign of life.
            ping_timeout: Duration::from_millis(1_200),
            // The longest answer of a room is 16 MiB by default, and its body is the most of it.
            message_bytes: 64 << 20,
        }
    }
}
