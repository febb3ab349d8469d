//! The body of an answer: whole, or a stream.
//!
//! It knows nothing of HTTP's versions. `http` makes the bodies, and hyper or an embedder's server reads them.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::body::{Body as HttpBody, Frame, SizeHint};

/// The body of a host's answers.
#[derive(Default)]
pub struct Body(Kind);

enum Kind {
    /// Empty after it was handed over.
    Whole(Bytes),
    /// Its length is not known before its end.
    Stream(Pin<Box<Stream>>),
}

type Stream = dyn HttpBody<Data = Bytes, Error = Infallible> + Send + Sync;

impl Default for Kind {
    fn default() -> Self {
        Kind::Whole(Bytes::new())
    }
}

/// Bytes, with a value that lives as long as any part of them.
struct Holding<T> {
    bytes: Bytes,
    _held: T,
}

impl<T> AsRef<[u8]> for Holding<T> {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Body {
    pub(in crate::edge) fn whole(bytes: impl Into<Bytes>) -> Self {
        Body(Kind::Whole(bytes.into()))
    }

    pub(in crate::edge) fn stream(
        stream: impl HttpBody<Data = Bytes, Error = Infallible> + Send + Sync + 'static,
    ) -> Self {
        Body(Kind::Stream(Box::pin(stream)))
    }

    /// Its length in bytes; absent for a stream.
    pub(in crate::edge) fn len(&self) -> Option<usize> {
        match &self.0 {
            Kind::Whole(bytes) => Some(bytes.len()),
            Kind::Stream(_) => None,
        }
    }

    /// The same bytes, holding a value until all of them are sent or dropped. A stream holds nothing.
    pub(in crate::edge) fn holding(self, held: impl Send + Sync + 'static) -> Self {
        match self.0 {
            Kind::Whole(bytes) if !bytes.is_empty() => Body::whole(Bytes::from_owner(Holding { bytes, _held: held })),
            other => Body(other),
        }
    }
}

impl HttpBody for Body {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match &mut self.get_mut().0 {
            Kind::Whole(bytes) if bytes.is_empty() => Poll::Ready(None),
            Kind::Whole(bytes) => Poll::Ready(Some(Ok(Frame::data(std::mem::take(bytes))))),
            Kind::Stream(stream) => stream.as_mut().poll_frame(context),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Kind::Whole(bytes) => bytes.is_empty(),
            Kind::Stream(stream) => stream.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Kind::Whole(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Kind::Stream(stream) => stream.size_hint(),
        }
    }
}
