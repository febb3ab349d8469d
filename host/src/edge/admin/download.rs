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

use crate::clock;
use crate::edge::Edge;
use crate::edge::drain::begun;
use crate::edge::response::body::Body;
use crate::limits::ADMIN_STALL_TIMEOUT;

/// Portions that wait to be sent: the thread makes the next one while the last is sent.
const WAITING: usize = 2;

/// Answers with what `make` passes to its argument, which returns false when nothing more can be sent: the client has
/// gone, does not read, or the host shuts down. The answer then ends early, so its format must have an end of its own.
pub(super) fn download(
    edge: &Arc<Edge>,
    kind: &'static str,
    make: impl FnOnce(&mut dyn FnMut(Bytes) -> bool) + Send + 'static,
) -> Response<Body> {
    let (portions, receiver) = mpsc::channel(WAITING);
    let (runtime, edge) = (Handle::current(), edge.clone());
    tokio::task::spawn_blocking(move || {
        make(&mut |portion| {
            let mut draining = edge.draining.subscribe();
            runtime.block_on(async {
                tokio::select! {
                    biased;
                    () = begun(&mut draining) => false,
                    sent = clock::timeout(ADMIN_STALL_TIMEOUT, portions.send(portion)) => matches!(sent, Ok(Ok(()))),
                }
            })
        });
    });
    let mut response = Response::new(Body::stream(Download(receiver)));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
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
