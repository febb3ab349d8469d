//! `/tail`: what happens in rooms, as JSON lines, until the client goes.

use std::convert::Infallible;
use std::future::{Future, pending};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use hyper::Response;
use hyper::body::{Body as HttpBody, Frame};
use hyper::header::{self, HeaderValue};
use tokio::sync::mpsc;
use tokio::time::Sleep;

use super::Admin;
use super::request::{AdminRequest, bad};
use super::tail_everywhere::{follow_others, with_node};
use crate::clock;
use crate::edge::drain::begun;
use crate::edge::response::body::Body;
use crate::edge::response::refusals::{Refusal, overloaded};
use crate::room::{Tail, TailLine, TailOf};

/// A line comes at least this often, so that the end of a client that says nothing is seen.
const SIGN_OF_LIFE_EVERY: Duration = Duration::from_secs(10);
const SIGN_OF_LIFE: &[u8] = b"{\"type\":\"alive\"}\n";
/// Lines are sent together up to about so many bytes.
const PIECE_BYTES: usize = 16 << 10;

/// After a piece, lines gather for so long. Otherwise each turn of a busy server would wake the connection of each
/// reader and cost a write: with two tails, a third more CPU.
const GATHER_FOR: Duration = Duration::from_millis(20);

/// The body of a tail.
struct TailBody {
    tail: Tail,
    /// The number of this node, for its lines; absent without a cluster.
    node: Option<u64>,
    /// Lines of other nodes.
    others: Option<mpsc::Receiver<Bytes>>,
    /// Lines gather until this resolves, or until the queue is half full; absent if the next line is sent at once.
    gathering: Option<Pin<Box<Sleep>>>,
    alarm: Pin<Box<Sleep>>,
    /// Resolves when the server shuts down.
    draining: Moment,
    /// Resolves when the client has no valid credential any more.
    credential_ends: Moment,
    /// Resolves when the client has ended its half of the connection; absent afterwards.
    input_ended: Option<Moment>,
    /// Resolves when the connection is reset.
    reset: Moment,
}

type Moment = Pin<Box<dyn Future<Output = ()> + Send + Sync>>;

impl Admin {
    /// `GET /tail`
    pub(super) fn tail(self: &Arc<Self>, mut request: AdminRequest) -> Result<Response<Body>, Refusal> {
        let (room, namespace) = (request.parameter("room")?, request.parameter("namespace")?);
        let user = request.parameter("user")?;
        request.no_more_parameters()?;
        let of = match (room, namespace, user) {
            (None, None, None) => TailOf::Everything,
            (Some(room), None, None) => TailOf::Room(self.room_of(&room)?),
            (None, Some(namespace), None) => TailOf::Namespace(self.namespace(&namespace)?.to_owned()),
            (None, None, Some(user)) => TailOf::User(user),
            _ => return Err(bad("give one of `room`, `namespace` and `user`")),
        };
        let others = self.cluster(&request).map(|node| follow_others(node.clone(), &request));
        let tail = self.edge.rooms.tail(of).map_err(|error| overloaded(&error.to_string()))?;
        let mut draining = self.edge.draining.subscribe();
        let credential_ends = Box::pin(self.credential_ends(&request));
        let watcher = request.watcher.take();
        let (ended, reset) = (watcher.clone(), watcher);
        let body = TailBody {
            tail,
            node: self.number().filter(|_| request.via.is_none()),
            others,
            gathering: None,
            input_ended: ended.map(|watcher| Box::pin(async move { watcher.input_ended().await }) as Moment),
            reset: Box::pin(async move {
                match reset {
                    Some(watcher) => watcher.reset().await,
                    None => pending().await,
                }
            }),
            alarm: Box::pin(clock::timer(SIGN_OF_LIFE_EVERY)),
            draining: Box::pin(async move { begun(&mut draining).await }),
            credential_ends,
        };
        let mut response = Response::new(Body::stream(body));
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/x-ndjson"));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        Ok(response)
    }
}

impl TailBody {
    /// Whether lines still gather.
    fn gathers(&mut self, context: &mut Context<'_>) -> bool {
        let Some(until) = &mut self.gathering else { return false };
        if until.as_mut().poll(context).is_pending() && self.tail.poll_half_full(context).is_pending() {
            return true;
        }
        self.gathering = None;
        false
    }

    fn lines(&mut self, context: &mut Context<'_>) -> Vec<u8> {
        let mut piece = Vec::new();
        while piece.len() < PIECE_BYTES
            && let Poll::Ready(line) = self.tail.poll_next(context)
        {
            write_line(&mut piece, &line);
        }
        if let Some(node) = self.node {
            piece = with_node(node, &piece).into();
        }
        while piece.len() < PIECE_BYTES
            && let Some(others) = &mut self.others
            && let Poll::Ready(Some(lines)) = others.poll_recv(context)
        {
            piece.extend_from_slice(&lines);
        }
        piece
    }
}

fn write_line(piece: &mut Vec<u8>, line: &TailLine) {
    serde_json::to_writer(&mut *piece, line).expect("it has texts and numbers, and goes to memory");
    piece.push(b'\n');
}

impl HttpBody for TailBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let this = self.get_mut();
        for end in [&mut this.draining, &mut this.credential_ends, &mut this.reset] {
            if end.as_mut().poll(context).is_ready() {
                return Poll::Ready(None);
            }
        }
        if this.gathers(context) {
            return Poll::Pending;
        }
        let mut piece = this.lines(context);
        if piece.is_empty() {
            // The client may be gone. Then the connection is reset as soon as something is sent.
            let ended = this.input_ended.take_if(|ended| ended.as_mut().poll(context).is_ready()).is_some();
            if !ended && this.alarm.as_mut().poll(context).is_pending() {
                return Poll::Pending;
            }
            piece = SIGN_OF_LIFE.to_vec();
        }
        this.alarm.as_mut().reset((clock::monotonic() + SIGN_OF_LIFE_EVERY).into());
        this.gathering = Some(Box::pin(clock::timer(GATHER_FOR)));
        Poll::Ready(Some(Ok(Frame::data(piece.into()))))
    }
}
