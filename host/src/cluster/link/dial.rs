//! Opens a link to another node. `far` calls it when a client wants a room there.

use std::future::Future;
use std::io;

use bytes::Bytes;
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http2;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustls::pki_types::ServerName;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::net::TcpStream;

use super::greeting::{Greeting, Hello, Refusal, Welcome};
use super::key::{NODE_NAME, Tls};
use super::queue::{AnyBody, LinkBody, Queue};
use super::stream::{Receiver, Sender, Why};
use super::wire::{self, Down, Up};
use super::{Bounds, CONNECT_TIME, CONNECTION_WINDOW, STREAM_WINDOW};
use crate::clock;
use crate::cluster::ownership::NodeId;

/// The path of the long request of a link, and that of a request to a room.
pub(super) const LINK: &str = "/link";
pub(super) const REQUEST: &str = "/request";
/// The path of something that every node must know.
pub(super) const TELL: &str = "/tell";
/// The path of the steps of a hand-over.
pub(super) const PASS: &str = "/pass";
/// The path of a part of the data of a user in a room.
pub(super) const USER_DATA: &str = "/user-data";
/// The path of a ticket.
pub(super) const TICKET: &str = "/ticket";
/// Before the paths of requests of operators.
pub(super) const OPERATOR: &str = "/operator";

/// The reason why a node was not reached.
#[derive(Debug, thiserror::Error)]
pub enum DialError {
    /// Nothing listens at its address.
    #[error("{0} refuses connections")]
    NoListener(String),
    /// It did not answer in time.
    #[error("{0} does not answer")]
    TimedOut(String),
    /// It has not the key of this cluster.
    #[error("{address} is not a node of this cluster ({problem}); all nodes need the same cluster key")]
    Stranger {
        /// Its address.
        address: String,
        /// The problem of TLS.
        problem: String,
    },
    /// It refuses.
    #[error("{address} refuses the link: {refusal}")]
    Refused {
        /// Its address.
        address: String,
        /// Its reason.
        refusal: Refusal,
    },
    /// Anything else.
    #[error("{address} cannot be reached: {problem}")]
    Failed {
        /// Its address.
        address: String,
        /// The problem.
        problem: String,
    },
}

/// A request over a link has no answer. It may have been done or not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the node did not answer")]
pub struct Unanswered;

/// An open link, at the node that has opened it. Cheap to clone.
#[derive(Clone)]
pub struct Link {
    /// Sends events of clients.
    pub up: Sender<Up>,
    requests: http2::SendRequest<LinkBody>,
    bounds: Bounds,
}

/// Opens a link to the node `to` at `address`. `me` is this node. Its connection ends with the link, at the other node.
pub async fn dial(
    tls: &Tls,
    bounds: Bounds,
    me: &Greeting,
    to: Option<NodeId>,
    address: &str,
) -> Result<(Link, Receiver<Down>), DialError> {
    let opened = clock::timeout(CONNECT_TIME, open(tls, bounds, me, to, address)).await;
    opened.unwrap_or_else(|_| Err(DialError::TimedOut(address.into())))
}

async fn open(
    tls: &Tls,
    bounds: Bounds,
    me: &Greeting,
    to: Option<NodeId>,
    address: &str,
) -> Result<(Link, Receiver<Down>), DialError> {
    let failed = |problem: String| DialError::Failed { address: address.into(), problem };
    let stream = TcpStream::connect(address).await.map_err(|error| match error.kind() {
        io::ErrorKind::ConnectionRefused => DialError::NoListener(address.into()),
        _ => failed(error.to_string()),
    })?;
    let _ = stream.set_nodelay(true);
    let name = ServerName::try_from(NODE_NAME).expect("it is a name");
    let stream = tls.connector.connect(name, stream).await;
    let stream = stream.map_err(|error| DialError::Stranger { address: address.into(), problem: error.to_string() })?;
    let mut builder = http2::Builder::new(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .keep_alive_interval(bounds.ping_every)
        .keep_alive_timeout(bounds.ping_timeout)
        .keep_alive_while_idle(true)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW);
    let (mut requests, connection) =
        builder.handshake(TokioIo::new(stream)).await.map_err(|error| failed(error.to_string()))?;
    let queue = Queue::new(bounds);
    let up = Sender::new(to.unwrap_or(NodeId(0)), queue.clone());
    tokio::spawn(drive(connection, up.clone()));
    // From here on an early return cuts the link, and with it the connection.
    let guard = CutOnDrop(Some(up.clone()));
    queue.push(wire::framed(&Hello { from: me.clone(), to: to.map(|node| node.0) }));
    let request = Request::post(format!("https://{NODE_NAME}{LINK}"));
    let request = request.body(LinkBody::Stream(queue)).expect("the parts are valid");
    // A server that refuses our certificate says so only now, because TLS 1.3 lets the client speak first.
    let answer = requests.send_request(request).await.map_err(|error| failed(stranger(&error)))?;
    let mut receiver = Receiver::new(answer.into_body(), bounds.message_bytes);
    let welcome = receiver.next_of::<Welcome>().await.map_err(|why| failed(why.to_string()))?;
    let version = welcome.map_err(|refusal| DialError::Refused { address: address.into(), refusal })?;
    up.set_version(version);
    guard.keep();
    let watched = up.clone();
    tokio::spawn(async move { watched.watch().await });
    let receiver = receiver.paired_with(&up);
    Ok((Link { up, requests, bounds }, receiver))
}

/// The cause of a lost connection, if there is one.
fn stranger(error: &hyper::Error) -> String {
    let mut cause = std::error::Error::source(error);
    let mut text = error.to_string();
    while let Some(error) = cause {
        text = error.to_string();
        cause = error.source();
    }
    text
}

/// Runs the connection until it or the link ends.
async fn drive(connection: impl Future<Output = hyper::Result<()>>, up: Sender<Up>) {
    tokio::select! {
        _ = connection => up.cut(Why::Ended),
        // The request of the link ends, and then the other node closes the connection.
        _ = up.until_ended() => {}
    }
}

/// Cuts a link whose opening was given up.
struct CutOnDrop(Option<Sender<Up>>);

impl CutOnDrop {
    fn keep(mut self) {
        self.0 = None;
    }
}

impl Drop for CutOnDrop {
    fn drop(&mut self) {
        if let Some(up) = self.0.take() {
            up.cut(Why::Closed);
        }
    }
}

impl Link {
    /// Sends a request to a room of the node, and waits for the answer.
    pub async fn request(&self, request: &wire::Asked) -> Result<wire::Answered, Unanswered> {
        self.ask(REQUEST, request).await
    }

    /// Tells the node something that every node must know, and waits until it does.
    pub async fn tell(&self, told: &wire::Told) -> Result<wire::Taken, Unanswered> {
        self.ask(TELL, told).await
    }

    /// Takes a step of a hand-over, and waits for its answer.
    pub async fn pass(&self, passed: &wire::Passed) -> Result<bool, Unanswered> {
        self.ask(PASS, passed).await
    }

    /// Asks the node for a part of the data of a user in a room, or to erase one.
    pub async fn user_data(&self, asked: &wire::UserDataAsked) -> Result<wire::UserDataAnswered, Unanswered> {
        self.ask(USER_DATA, asked).await
    }

    /// Uses a ticket of the node up. The answer is its user as JSON, which the edges of both nodes understand.
    pub async fn take_ticket(&self, ticket: &str) -> Result<Option<String>, Unanswered> {
        self.ask(TICKET, &ticket).await
    }

    /// Passes the request of an operator on, whose URI is a path and a query. The answer is passed back as it comes.
    pub async fn operate(&self, request: Request<AnyBody>) -> Result<Response<Incoming>, Unanswered> {
        let (mut parts, body) = request.into_parts();
        let path = parts.uri.path_and_query().map_or("/", |path| path.as_str());
        parts.uri = format!("https://{NODE_NAME}{OPERATOR}{path}").parse().map_err(|_| Unanswered)?;
        let request = Request::from_parts(parts, LinkBody::PassedOn(body));
        self.requests.clone().send_request(request).await.map_err(|_| Unanswered)
    }

    async fn ask<T: DeserializeOwned>(&self, path: &str, message: &impl Serialize) -> Result<T, Unanswered> {
        let body = LinkBody::Whole(Some(wire::plain(message)));
        let request = Request::post(format!("https://{NODE_NAME}{path}")).body(body).expect("the parts are valid");
        let answer = self.requests.clone().send_request(request).await.map_err(|_| Unanswered)?;
        if answer.status() != StatusCode::OK {
            return Err(Unanswered);
        }
        let body = Limited::new(answer.into_body(), self.bounds.message_bytes).collect().await;
        let body: Bytes = body.map_err(|_| Unanswered)?.to_bytes();
        postcard::from_bytes(&body).map_err(|_| Unanswered)
    }
}
