//! The host as a service, for the server of an embedder.
//!
//! It knows only how to pass a request on to `http`; the connections are the embedder's.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use hyper::body::Body as HttpBody;
use hyper::{Request, Response};

use crate::edge::Edge;
use crate::edge::http;
use crate::edge::http::request_body::BoxError;
use crate::edge::response::body::Body;

/// A host that you mount into your own server: a `tower::Service`, for axum and similar frameworks, and a
/// `hyper::service::Service`. Cheap to clone.
///
/// It answers paths below `base_path`, `/healthz`, `/readyz`, and the demo page if `page` is on. If your server strips a prefix
/// off the path (`Router::nest_service` does), set `base_path` to `/`; if not, to the prefix.
///
/// Users are verified as configured, unless you put a [`Verified`](crate::edge::Verified) into the request's
/// extensions. If that is a service, the header `dormouse-act` of the request names the user for whom it acts. Your
/// server must support HTTP/1.1 upgrades for WebSockets (axum's does). It must itself limit connections, request heads
/// and times, and keep a connection open whose client has ended its half (hyper: `half_close`), or such a client gets
/// no answer.
#[derive(Clone)]
pub struct Service(Arc<Edge>);

impl Edge {
    /// The edge as a service, for a server of the embedder that accepts the connections.
    pub fn service(self: &Arc<Self>) -> Service {
        Service(self.clone())
    }
}

type Answer = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

fn answer<B>(edge: &Arc<Edge>, request: Request<B>) -> Answer
where
    B: HttpBody + Send + 'static,
    B::Data: Send,
    B::Error: Into<BoxError>,
{
    let edge = edge.clone();
    Box::pin(async move { Ok(http::answer(edge, request).await) })
}

impl<B> tower_service::Service<Request<B>> for Service
where
    B: HttpBody + Send + 'static,
    B::Data: Send,
    B::Error: Into<BoxError>,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Answer;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Answer {
        answer(&self.0, request)
    }
}

impl<B> hyper::service::Service<Request<B>> for Service
where
    B: HttpBody + Send + 'static,
    B::Data: Send,
    B::Error: Into<BoxError>,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Answer;

    fn call(&self, request: Request<B>) -> Answer {
        answer(&self.0, request)
    }
}
