//! The host as a service, for servers of somebody else's.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use hyper::body::Body as HttpBody;
use hyper::{Request, Response};

use super::Edge;
use super::body::Body;
use super::http::{self, BoxError};

/// A host to be mounted into a server of your own: it is a `tower::Service`, for axum and its kin, and a
/// `hyper::service::Service`. Cheap to clone.
///
/// It answers what is below `base_path`, `/healthz`, and the demo page where `page` is on. Where your server takes a
/// prefix off the path (`Router::nest_service` does), set `base_path` to `/`; where it does not, to the prefix.
///
/// Who asks is verified as configured; or you put a [`Verified`](super::Verified) into the extensions of the request.
/// Your server must support HTTP/1.1 upgrades for WebSockets (axum's does), and holds its own limits of connections,
/// of request heads and of time.
#[derive(Clone)]
pub struct Service(Arc<Edge>);

impl Service {
    pub(super) fn new(edge: Arc<Edge>) -> Self {
        Service(edge)
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
