//! The body of an answer: whole, or a stream of events.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::{Body as HttpBody, Frame, SizeHint};

use super::events::EventStream;

/// What a host answers with.
#[derive(Default)]
pub struct Body(Kind);

enum Kind {
    Whole(Full<Bytes>),
    Events(Box<EventStream>),
}

impl Default for Kind {
    fn default() -> Self {
        Kind::Whole(Full::default())
    }
}

impl Body {
    pub(super) fn whole(bytes: impl Into<Bytes>) -> Self {
        Body(Kind::Whole(Full::new(bytes.into())))
    }

    pub(super) fn events(stream: EventStream) -> Self {
        Body(Kind::Events(Box::new(stream)))
    }
}

impl HttpBody for Body {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match &mut self.get_mut().0 {
            Kind::Whole(whole) => Pin::new(whole).poll_frame(context),
            Kind::Events(events) => events.poll_next(context).map(|next| next.map(|bytes| Ok(Frame::data(bytes)))),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Kind::Whole(whole) => whole.is_end_stream(),
            Kind::Events(_) => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Kind::Whole(whole) => whole.size_hint(),
            Kind::Events(_) => SizeHint::default(),
        }
    }
}
