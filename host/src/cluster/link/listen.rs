//! Accepts links of other nodes. It knows no rooms: a [`Handler`] gets the links and the requests on them.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};

use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

use super::dial::{LINK, OPERATOR, PASS, REQUEST, TELL, TICKET, USER_DATA};
use super::greeting::{Greeting, Hello};
use super::key::Tls;
use super::queue::{AnyBody, LinkBody, Queue};
use super::stream::{Receiver, Sender, Why};
use super::wire::{self, Down, Up};
use super::{Bounds, CONNECT_TIME, CONNECTION_WINDOW, STREAM_WINDOW};
use crate::clock;
use crate::cluster::ownership::NodeId;

/// The most connections at once. A cluster has some hundred nodes at most, and each has one.
const CONNECTIONS: usize = 1_024;

/// The most requests of one node at once. Its own limits of requests are lower.
const REQUESTS: u32 = 65_536;

/// The pause after an error of the listener, such as too many open files.
const ACCEPT_PAUSE: std::time::Duration = std::time::Duration::from_millis(100);

/// An answer that may take a while.
pub type Answers<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// Takes what comes over links.
pub trait Handler: Send + Sync + 'static {
    /// A node has opened a link. The handler starts a task that receives.
    fn linked(&self, down: Sender<Down>, up: Receiver<Up>);

    /// A node sends a request to a room. If its connection ends, the answer is dropped.
    fn request(&self, from: NodeId, request: wire::Asked) -> Answers<wire::Answered>;

    /// A node tells something that every node must know. The answer comes when this one does.
    fn told(&self, from: NodeId, told: wire::Told) -> Answers<wire::Taken>;

    /// A node takes a step of the hand-over of a room to this one.
    fn passed(&self, _: NodeId, _: wire::Passed) -> Answers<bool> {
        Box::pin(async { false })
    }

    /// A node asks for a part of the data of a user in a room, or to erase one.
    fn user_data(&self, _: NodeId, _: wire::UserDataAsked) -> Answers<wire::UserDataAnswered> {
        Box::pin(async { Err(wire::NoUserData::NoAnswer(wire::NoAnswer::Elsewhere(None))) })
    }

    /// A node uses a ticket of this one up. The answer is its user as JSON.
    fn take_ticket(&self, _: NodeId, _: String) -> Answers<Option<String>> {
        Box::pin(async { None })
    }

    /// A node passes the request of an operator on.
    fn operate(&self, _: NodeId, _: Request<Incoming>) -> Answers<Response<AnyBody>> {
        Box::pin(async { status(StatusCode::NOT_IMPLEMENTED).map(|body| Box::pin(body) as AnyBody) })
    }
}

/// Tells of nodes and strangers that were refused.
pub trait Refusals: Send + Sync + 'static {
    /// A connection was refused, for this reason.
    fn refused(&self, from: String, reason: String);
}

/// Accepts links until it is dropped. `me` is this node.
pub async fn listen(
    listener: TcpListener,
    tls: Tls,
    bounds: Bounds,
    me: Greeting,
    handler: Arc<dyn Handler>,
    refusals: Arc<dyn Refusals>,
) {
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let place = places.clone().acquire_owned().await.expect("it is never closed");
        let Ok((stream, from)) = listener.accept().await else {
            clock::sleep(ACCEPT_PAUSE).await;
            continue;
        };
        let (tls, me, handler, refusals) = (tls.clone(), me.clone(), handler.clone(), refusals.clone());
        tokio::spawn(async move {
            if let Err(reason) = serve(stream, tls, bounds, me, handler).await {
                refusals.refused(from.to_string(), reason);
            }
            drop(place);
        });
    }
}

/// One connection.
struct Peer {
    bounds: Bounds,
    me: Greeting,
    handler: Arc<dyn Handler>,
    /// The link, once the other node has greeted. Before, nothing else is answered.
    link: OnceLock<Sender<Down>>,
    /// The node that was refused: it is of another store, looks for another node, or speaks another version.
    refused: OnceLock<u64>,
}

async fn serve(
    stream: TcpStream,
    tls: Tls,
    bounds: Bounds,
    me: Greeting,
    handler: Arc<dyn Handler>,
) -> Result<(), String> {
    let _ = stream.set_nodelay(true);
    let stream = clock::timeout(CONNECT_TIME, tls.acceptor.accept(stream)).await;
    let stream = stream.map_err(|_| "TLS took too long".to_owned())?.map_err(|error| error.to_string())?;
    let (link, refused) = Default::default();
    let peer = Arc::new(Peer { bounds, me, handler, link, refused });
    let answering = peer.clone();
    let service = service_fn(move |request| {
        let peer = answering.clone();
        async move { Ok::<_, Infallible>(peer.answer(request).await) }
    });
    let mut builder = http2::Builder::new(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .keep_alive_interval(bounds.ping_every)
        .keep_alive_timeout(bounds.ping_timeout)
        .max_concurrent_streams(REQUESTS)
        // Nodes trust each other: one that gives up many requests at once is no attacker.
        .max_pending_accept_reset_streams(REQUESTS as usize)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW);
    let mut connection = std::pin::pin!(builder.serve_connection(TokioIo::new(stream), service));
    // A connection without a link ends after the time to connect.
    let greeted = clock::timeout(CONNECT_TIME, async {
        while peer.link.get().is_none() && peer.refused.get().is_none() {
            clock::sleep(CONNECT_TIME / 100).await;
        }
    });
    tokio::select! {
        _ = connection.as_mut() => {}
        _ = greeted => {}
    }
    if let Some(node) = peer.refused.get() {
        connection.as_mut().graceful_shutdown();
        let _ = clock::timeout(CONNECT_TIME, connection).await;
        return Err(format!("node {node} does not fit to this one; its log says why"));
    }
    let Some(down) = peer.link.get().cloned() else { return Err("it has not greeted".into()) };
    tokio::select! {
        _ = connection => down.cut(Why::Ended),
        // Dropping it closes the connection.
        () = down.watch() => {}
    }
    Ok(())
}

impl Peer {
    async fn answer(&self, request: Request<Incoming>) -> Response<LinkBody> {
        match request.uri().path() {
            LINK => self.greet(request).await,
            REQUEST => self.respond(request, |peer, asked| self.handler.request(peer, asked)).await,
            TELL => self.respond(request, |peer, told| self.handler.told(peer, told)).await,
            PASS => self.respond(request, |peer, passed| self.handler.passed(peer, passed)).await,
            USER_DATA => self.respond(request, |peer, asked| self.handler.user_data(peer, asked)).await,
            TICKET => self.respond(request, |peer, ticket| self.handler.take_ticket(peer, ticket)).await,
            path if path.starts_with(OPERATOR) => self.operate(request).await,
            _ => status(StatusCode::NOT_FOUND),
        }
    }

    /// Passes the request of an operator to the handler, with the URI that the operator gave.
    async fn operate(&self, request: Request<Incoming>) -> Response<LinkBody> {
        let Some(link) = self.link.get() else { return status(StatusCode::FORBIDDEN) };
        let (mut parts, body) = request.into_parts();
        let path = parts.uri.path_and_query().map_or("", |path| path.as_str());
        let Ok(uri) = path.strip_prefix(OPERATOR).unwrap_or_default().parse() else {
            return status(StatusCode::BAD_REQUEST);
        };
        parts.uri = uri;
        let answer = self.handler.operate(link.peer(), Request::from_parts(parts, body)).await;
        answer.map(LinkBody::PassedOn)
    }

    async fn greet(&self, request: Request<Incoming>) -> Response<LinkBody> {
        let mut up = Receiver::<Up>::new(request.into_body(), self.bounds.message_bytes);
        let Ok(Ok(hello)) = clock::timeout(CONNECT_TIME, up.next_of::<Hello>()).await else {
            return status(StatusCode::BAD_REQUEST);
        };
        let welcome = self.me.accept(&hello);
        let first = wire::framed(&welcome);
        if welcome.is_err() {
            // The first reason stays.
            let _ = self.refused.set(hello.from.node);
            return Response::new(LinkBody::Whole(Some(first)));
        }
        let queue = Queue::new(self.bounds);
        queue.push(first);
        let down = Sender::new(NodeId(hello.from.node), queue.clone());
        welcome.iter().for_each(|version| down.set_version(*version));
        if self.link.set(down.clone()).is_err() {
            return status(StatusCode::CONFLICT);
        }
        let up = up.paired_with(&down);
        self.handler.linked(down, up);
        Response::new(LinkBody::Stream(queue))
    }

    async fn respond<T: DeserializeOwned, A: Serialize>(
        &self,
        request: Request<Incoming>,
        handle: impl FnOnce(NodeId, T) -> Answers<A>,
    ) -> Response<LinkBody> {
        let Some(link) = self.link.get() else { return status(StatusCode::FORBIDDEN) };
        let Ok(body) = Limited::new(request.into_body(), self.bounds.message_bytes).collect().await else {
            return status(StatusCode::PAYLOAD_TOO_LARGE);
        };
        let Ok(asked) = postcard::from_bytes(&body.to_bytes()) else { return status(StatusCode::BAD_REQUEST) };
        let answered = handle(link.peer(), asked).await;
        Response::new(LinkBody::Whole(Some(wire::plain(&answered))))
    }
}

fn status(status: StatusCode) -> Response<LinkBody> {
    let mut response = Response::new(LinkBody::Whole(None));
    *response.status_mut() = status;
    response
}
