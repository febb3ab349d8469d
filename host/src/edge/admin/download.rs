//! A long answer that a thread makes while it is sent: at most a few portions are in memory, and a client that does not
//! read ends it. It knows nothing of what is sent; `backup` and `room_file` do.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::Response;
use hyper::body::{Body as HttpBody, Frame};
use hyper::header::{self, HeaderValue};
use tokio::runtime::Handle;
use tokio::sync::mpsc;

use super::Admin;
use super::request::AdminRequest;
use crate::clock;
use crate::edge::drain::begun;
use crate::edge::response::body::Body;
use crate::limits::ADMIN_STALL_TIMEOUT;

/// Portions that wait to be sent: the thread makes the next one while the last is sent.
const WAITING: usize = 2;

impl Admin {
    /// Answers a request with what `make` passes to its argument, which returns false when nothing more can be sent:
    /// the client has gone, does not read, or has no valid credential any more, or the host shuts down. The answer then
    /// ends early, so its format must have an end of its own.
    pub(super) fn download(
        self: &Arc<Self>,
        request: &AdminRequest,
        kind: &'static str,
        make: impl FnOnce(&mut dyn FnMut(Bytes) -> bool) + Send + 'static,
    ) -> Response<Body> {
        let (portions, receiver) = mpsc::channel(WAITING);
        let (runtime, edge) = (Handle::current(), self.edge.clone());
        let mut credential_ends = Box::pin(self.credential_ends(request));
        let mut has_ended = false;
        tokio::task::spawn_blocking(move || {
            make(&mut |portion| {
                let mut draining = edge.draining.subscribe();
                let sending = async {
                    tokio::select! {
                        biased;
                        () = begun(&mut draining) => false,
                        () = credential_ends.as_mut() => false,
                        sent = clock::timeout(ADMIN_STALL_TIMEOUT, portions.send(portion)) => matches!(sent, Ok(Ok(()))),
                    }
                };
                has_ended = has_ended || !runtime.block_on(sending);
                !has_ended
            });
        });
        let mut response = Response::new(Body::stream(Download(receiver)));
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
        response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        response
    }
}

struct Download(mpsc::Receiver<Bytes>);

impl HttpBody for Download {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.0.poll_recv(context).map(|portion| portion.map(|portion| Ok(Frame::data(portion))))
    }
}
