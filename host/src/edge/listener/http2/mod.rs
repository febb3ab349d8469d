//! Limits the rate of frames of an HTTP/2 connection, and lets a client that has ended its half read its answers.
//!
//! h2 limits some floods itself. It does not limit PRIORITY, SETTINGS, PING, WINDOW_UPDATE, unknown frames and others,
//! and a client needs no credential to send them. So this wrapper around the connection reads the 9-byte header of each
//! frame, in both directions. `accept` puts it below h2, and above TLS.
//!
//! Each frame of the client takes a token from a token bucket. DATA frames with a payload are free: HTTP/2's flow
//! control limits them. Time fills the bucket. Answers fill it too, because a client acknowledges a long answer with
//! many WINDOW_UPDATE frames. A small DATA frame does not fill it: else a client could request an answer byte by byte,
//! with one WINDOW_UPDATE for each byte, for ever.
//!
//! h2 drops all answers when the client ends its half of the connection. So h2 does not see that end before every whole
//! request is answered; `half_close` follows them. The timeouts of a request bound this, and `write_timeout` once the
//! client has granted no more flow control.
//!
//! The preface must arrive in time. Later, hyper's keep-alive finds silent clients, but not before the preface.

mod frames;
mod half_close;

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;

use self::frames::{DATA, Frame, Frames, HEADERS, PADDED};
use self::half_close::{HalfClosed, PROBE, Requests};
use super::reset::WatchReset;
use crate::clock;
use crate::edge::metrics::Metrics;
use crate::limit_hits::Limit;
use crate::limits::{HTTP2_FRAMES_FOR_AN_ANSWER, HTTP2_FRAMES_PER_SECOND, HTTP2_SMALL_DATA_BYTES};
use crate::token_bucket::TokenBucket;

/// The connection preface, which a client sends before its first frame. h2 checks it.
const PREFACE_BYTES: usize = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".len();
/// A GOAWAY frame with the error ENHANCE_YOUR_CALM. Its last stream id is the highest possible one, so the client must
/// assume that each of its requests may have been processed.
const GO_AWAY: &[u8; 17] = b"\0\0\x08\x07\0\0\0\0\0\x7f\xff\xff\xff\0\0\0\x0b";

/// An HTTP/2 connection with a rate limit for frames.
pub(in crate::edge) struct Paced<S> {
    stream: S,
    /// Bytes of the preface that did not arrive yet.
    preface: usize,
    /// The deadline of the preface; absent once it arrived.
    deadline: Option<Pin<Box<Sleep>>>,
    read: Frames,
    written: Frames,
    bucket: TokenBucket,
    requests: Requests,
    /// Present once the client has ended its half.
    half_closed: Option<HalfClosed>,
    metrics: Arc<Metrics>,
}

impl<S> Paced<S> {
    /// Wraps a connection from which nothing was read yet. Its preface must arrive within `preface_within`.
    pub(in crate::edge) fn new(stream: S, preface_within: Duration, metrics: Arc<Metrics>) -> Self {
        Paced {
            stream,
            preface: PREFACE_BYTES,
            deadline: Some(Box::pin(clock::timer(preface_within))),
            read: Frames::default(),
            written: Frames::default(),
            bucket: TokenBucket::new(HTTP2_FRAMES_PER_SECOND, clock::monotonic()),
            requests: Requests::default(),
            half_closed: None,
            metrics,
        }
    }

    /// Pays for the frames in `bytes`. False if the bucket has too few tokens.
    fn received(&mut self, bytes: &[u8]) -> bool {
        let of_preface = self.preface.min(bytes.len());
        self.preface -= of_preface;
        if self.preface == 0 {
            self.deadline = None;
        }
        let mut costs = 0_u32;
        self.read.each(&bytes[of_preface..], |frame| {
            costs = costs.saturating_add(costs_of(frame));
            self.requests.received(frame);
        });
        costs == 0 || self.bucket.take_many(costs.into(), clock::monotonic())
    }

    /// Adds the tokens that written frames earn.
    fn sent(&mut self, bytes: &[u8], context: &Context<'_>) {
        let mut earns = 0_u32;
        self.written.each(bytes, |frame| {
            earns = earns.saturating_add(earns_of(frame));
            self.requests.sent(frame);
        });
        if earns > 0 {
            self.bucket.fill(earns.into());
        }
        let is_over = self.is_over();
        if let Some(half_closed) = &mut self.half_closed {
            half_closed.input.extend(self.requests.answers_to_pings());
            if is_over || !half_closed.input.is_empty() {
                context.waker().wake_by_ref();
            }
        }
    }

    /// Returns whether the client, which has ended its half, has everything that it asked for.
    fn is_over(&self) -> bool {
        self.requests.are_answered() && self.written.is_between()
    }
}

impl<S: AsyncWrite + Unpin> Paced<S> {
    /// Tells the client why the connection ends, if the connection accepts a write now.
    fn go_away(&mut self, context: &mut Context<'_>) -> io::Error {
        self.metrics.refused(Limit::Http2Frames);
        // Inside another frame the client would read these bytes as payload.
        if self.written.is_between() {
            let _ = Pin::new(&mut self.stream).poll_write(context, GO_AWAY);
            let _ = Pin::new(&mut self.stream).poll_flush(context);
        }
        io::Error::other("the client sent too many HTTP/2 frames")
    }

    /// Writes the probe of a half-closed connection between two frames, and the rest of a probe before all others.
    fn poll_probe(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Some(half_closed) = &mut self.half_closed else { return Poll::Ready(Ok(())) };
        while !half_closed.probe.is_empty() && self.written.is_between() {
            match ready!(Pin::new(&mut self.stream).poll_write(context, half_closed.probe))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                written => half_closed.probe = &half_closed.probe[written..],
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + WatchReset + Unpin> Paced<S> {
    /// The client has ended its half. False if h2 has to know at once: a frame is cut off, or no answer is due.
    fn half_close(&mut self) -> bool {
        if self.preface > 0 || !self.read.is_between() {
            return false;
        }
        let input = self.requests.cut_off();
        if self.is_over() {
            return false;
        }
        self.half_closed = Some(HalfClosed { input, probe: PROBE, reset: self.stream.watch_reset() });
        true
    }

    /// Reads what h2 is given in place of the client's frames. The end follows the last answer.
    fn poll_read_half_closed(&mut self, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let is_over = self.is_over();
        let Some(half_closed) = &mut self.half_closed else { return Poll::Ready(Ok(())) };
        if half_closed.reset.has_come(context) {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        let now = half_closed.input.len().min(buffer.remaining());
        half_closed.input.drain(..now).for_each(|byte| buffer.put_slice(&[byte]));
        if now > 0 || is_over { Poll::Ready(Ok(())) } else { Poll::Pending }
    }
}

/// Tokens that a frame costs when the client sends it. A padded DATA frame may contain only padding, so it is not free.
fn costs_of(frame: Frame) -> u32 {
    let has_payload = frame.kind == DATA && !frame.has(PADDED) && frame.length >= HTTP2_SMALL_DATA_BYTES;
    u32::from(!has_payload)
}

/// Tokens that the client earns when the server sends a frame: the head of an answer, or a longer piece of it.
fn earns_of(frame: Frame) -> u32 {
    let answers = match frame.kind {
        HEADERS => true,
        DATA => frame.length >= HTTP2_SMALL_DATA_BYTES,
        _ => false,
    };
    if answers { HTTP2_FRAMES_FOR_AN_ANSWER } else { 0 }
}

impl<S: AsyncRead + AsyncWrite + WatchReset + Unpin> AsyncRead for Paced<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let before = buffer.filled().len();
        if this.half_closed.is_some() {
            return this.poll_read_half_closed(context, buffer);
        }
        if this.deadline.as_mut().is_some_and(|deadline| deadline.as_mut().poll(context).is_ready()) {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        ready!(Pin::new(&mut this.stream).poll_read(context, buffer))?;
        if buffer.filled().len() == before && buffer.remaining() > 0 && this.half_close() {
            return this.poll_read_half_closed(context, buffer);
        }
        if this.received(&buffer.filled()[before..]) {
            return Poll::Ready(Ok(()));
        }
        // h2 must not process the frames that were not paid for.
        buffer.set_filled(before);
        Poll::Ready(Err(this.go_away(context)))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Paced<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        ready!(self.poll_probe(context))?;
        let written = ready!(Pin::new(&mut self.stream).poll_write(context, bytes))?;
        self.sent(&bytes[..written], context);
        Poll::Ready(Ok(written))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_probe(context))?;
        let written = ready!(Pin::new(&mut self.stream).poll_write_vectored(context, parts))?;
        let mut left = written;
        for part in parts {
            let now = part.len().min(left);
            self.sent(&part[..now], context);
            left -= now;
        }
        Poll::Ready(Ok(written))
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    /// h2 calls this each time it has nothing more to write.
    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_probe(context))?;
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::edge::listener::http2::frames::{END_STREAM, PING, RST_STREAM, encode};

    fn sum(bytes: &[u8], tokens: fn(Frame) -> u32) -> u32 {
        let mut sum = 0;
        Frames::default().each(bytes, |frame| sum += tokens(frame));
        sum
    }

    #[test]
    fn all_frames_of_a_client_cost_tokens_but_data_with_a_payload() {
        let payload = [0; HTTP2_SMALL_DATA_BYTES];
        for costs in [
            encode(4, 0, 0, b""),
            encode(HEADERS, 4, 1, &payload),
            encode(DATA, END_STREAM, 1, b""),
            encode(DATA, 0, 1, &payload[1..]),
            encode(DATA, PADDED, 1, &payload),
            encode(0xff, 0xff, 1, &payload),
            encode(PING, 1, 0, b"how long"),
        ] {
            assert_eq!(sum(&costs, costs_of), 1, "{costs:?}");
        }
        assert_eq!(sum(&encode(DATA, 0, 1, &payload), costs_of), 0);
    }

    #[test]
    fn answers_earn_tokens_and_replies_to_control_frames_do_not() {
        let earned = |frame: &[u8]| sum(frame, earns_of) > 0;
        let answers = [encode(HEADERS, 4, 1, &[0; 9]), encode(DATA, 0, 1, &[0; HTTP2_SMALL_DATA_BYTES])];
        assert!(answers.iter().all(|frame| earned(frame)));
        // One byte of an answer, the acknowledgements of PING and SETTINGS, and RST_STREAM.
        let replies = [
            encode(DATA, 0, 1, b"a"),
            encode(PING, 1, 0, b"how long"),
            encode(4, 1, 0, b""),
            encode(RST_STREAM, 0, 1, b"why?"),
        ];
        assert!(!replies.iter().any(|frame| earned(frame)));
    }

    /// A connection, and the client's end of it. Its preface has arrived.
    async fn begun() -> (Paced<tokio::io::DuplexStream>, tokio::io::DuplexStream) {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let (ours, mut theirs) = tokio::io::duplex(1_024);
        let metrics = Arc::new(Metrics::new(crate::limit_hits::LimitHits::default()));
        let mut paced = Paced::new(ours, Duration::from_secs(60), metrics);
        let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
        theirs.write_all(preface).await.unwrap();
        paced.read_exact(&mut [0; PREFACE_BYTES]).await.unwrap();
        (paced, theirs)
    }

    #[tokio::test]
    async fn the_end_of_the_input_follows_the_last_answer() {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let (mut paced, mut theirs) = begun().await;
        let request = encode(HEADERS, END_STREAM | 4, 1, b"get");
        theirs.write_all(&request).await.unwrap();
        theirs.shutdown().await.unwrap();
        paced.read_exact(&mut vec![0; request.len()]).await.unwrap();
        let mut byte = [0];
        let mut context = Context::from_waker(std::task::Waker::noop());
        let mut read = |paced: &mut Paced<_>| {
            let mut buffer = ReadBuf::new(&mut byte);
            Pin::new(paced).poll_read(&mut context, &mut buffer).map(|read| read.map(|()| buffer.filled().len()))
        };
        assert!(read(&mut paced).is_pending());
        let answer = [encode(HEADERS, 4, 1, b"200"), encode(DATA, END_STREAM, 1, b"all")].concat();
        let (first, last) = answer.split_at(answer.len() - 1);
        paced.write_all(first).await.unwrap();
        assert!(read(&mut paced).is_pending(), "a byte of it is missing");
        paced.write_all(last).await.unwrap();
        assert!(matches!(read(&mut paced), Poll::Ready(Ok(0))));
        drop(paced);
        let mut received = Vec::new();
        theirs.read_to_end(&mut received).await.unwrap();
        assert_eq!(received, [PROBE, &answer].concat());
    }

    #[tokio::test]
    async fn an_end_without_a_whole_request_is_not_held_back() {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        for sent in [encode(4, 0, 0, b""), encode(HEADERS, 4, 1, b"post"), encode(HEADERS, END_STREAM, 1, b"get")] {
            let (mut paced, mut theirs) = begun().await;
            theirs.write_all(&sent).await.unwrap();
            drop(theirs);
            let mut read = Vec::new();
            paced.read_to_end(&mut read).await.unwrap();
            assert_eq!(read, sent);
        }
    }
}
