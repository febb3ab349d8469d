//! Rate-limits the frames of an HTTP/2 connection. A client that floods with control frames is disconnected.
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
//! The preface must arrive in time. Later, hyper's keep-alive finds silent clients, but not before the preface.

use std::future::Future;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;

use crate::clock;
use crate::edge::metrics::Metrics;
use crate::limit_hits::Limit;
use crate::limits::{HTTP2_FRAMES_FOR_AN_ANSWER, HTTP2_FRAMES_PER_SECOND, HTTP2_SMALL_DATA_BYTES};
use crate::token_bucket::TokenBucket;

/// The connection preface, which a client sends before its first frame. h2 checks it.
const PREFACE_BYTES: usize = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".len();
const HEADER_BYTES: usize = 9;
const DATA: u8 = 0x0;
const HEADERS: u8 = 0x1;
/// A flag of DATA.
const PADDED: u8 = 0x8;
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
    metrics: Arc<Metrics>,
}

/// Finds the frame headers in the bytes of one direction, however they are split.
#[derive(Default)]
struct Frames {
    header: [u8; HEADER_BYTES],
    /// How many bytes of `header` are filled. 0 within a payload.
    filled: usize,
    /// Bytes before the next header.
    skip: usize,
}

/// The header of a frame, without the stream id.
#[derive(Debug, Clone, Copy)]
struct Frame {
    length: usize,
    kind: u8,
    flags: u8,
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
        let costs = self.read.sum(&bytes[of_preface..], Frame::costs);
        costs == 0 || self.bucket.take_many(costs.into(), clock::monotonic())
    }

    /// Adds the tokens that written frames earn.
    fn sent(&mut self, bytes: &[u8]) {
        let earns = self.written.sum(bytes, Frame::earns);
        if earns > 0 {
            self.bucket.fill(earns.into());
        }
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
}

impl Frames {
    /// Sums up `tokens` over the frames whose header ends within `bytes`.
    fn sum(&mut self, mut bytes: &[u8], tokens: fn(Frame) -> u32) -> u32 {
        let mut sum = 0_u32;
        while !bytes.is_empty() {
            let skipped = self.skip.min(bytes.len());
            self.skip -= skipped;
            bytes = &bytes[skipped..];
            let more = bytes.len().min(HEADER_BYTES - self.filled);
            self.header[self.filled..][..more].copy_from_slice(&bytes[..more]);
            self.filled += more;
            bytes = &bytes[more..];
            if self.filled == HEADER_BYTES {
                let [a, b, c, kind, flags, ..] = self.header;
                let length = u32::from_be_bytes([0, a, b, c]) as usize;
                sum = sum.saturating_add(tokens(Frame { length, kind, flags }));
                (self.filled, self.skip) = (0, length);
            }
        }
        sum
    }

    /// True if the next byte begins a frame.
    fn is_between(&self) -> bool {
        self.filled == 0 && self.skip == 0
    }
}

impl Frame {
    /// Tokens that the frame costs when the client sends it. A padded DATA frame may contain only padding, so it is not
    /// free.
    fn costs(self) -> u32 {
        let has_payload = self.kind == DATA && self.flags & PADDED == 0 && self.length >= HTTP2_SMALL_DATA_BYTES;
        u32::from(!has_payload)
    }

    /// Tokens that the client earns when the server sends the frame: the head of an answer, or a longer piece of it.
    fn earns(self) -> u32 {
        let answers = match self.kind {
            HEADERS => true,
            DATA => self.length >= HTTP2_SMALL_DATA_BYTES,
            _ => false,
        };
        if answers { HTTP2_FRAMES_FOR_AN_ANSWER } else { 0 }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Paced<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let before = buffer.filled().len();
        if this.deadline.as_mut().is_some_and(|deadline| deadline.as_mut().poll(context).is_ready()) {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        ready!(Pin::new(&mut this.stream).poll_read(context, buffer))?;
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
        let written = ready!(Pin::new(&mut self.stream).poll_write(context, bytes))?;
        self.sent(&bytes[..written]);
        Poll::Ready(Ok(written))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.stream).poll_write_vectored(context, parts))?;
        let mut left = written;
        for part in parts {
            let now = part.len().min(left);
            self.sent(&part[..now]);
            left -= now;
        }
        Poll::Ready(Ok(written))
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, flags: u8, length: u16) -> Vec<u8> {
        let [high, low] = length.to_be_bytes();
        [&[0, high, low, kind, flags, 0, 0, 0, 1][..], &vec![kind; length.into()]].concat()
    }

    #[test]
    fn frames_are_counted_at_any_split_of_the_bytes() {
        let small = u16::try_from(HTTP2_SMALL_DATA_BYTES).unwrap();
        let sent = [
            frame(4, 0, 0),
            frame(HEADERS, 4, 20),
            frame(DATA, 0, 0),
            frame(DATA, 0, small - 1),
            frame(DATA, PADDED, small),
            frame(DATA, 0, small),
            frame(0xff, 0xff, 300),
            frame(6, 1, 8),
        ]
        .concat();
        for piece in [1, 2, 8, 9, 10, 100, sent.len()] {
            let mut frames = Frames::default();
            let counted = sent.chunks(piece).map(|piece| frames.sum(piece, Frame::costs)).sum::<u32>();
            assert_eq!((counted, frames.is_between()), (7, true), "{piece}");
        }
    }

    #[test]
    fn answers_earn_tokens_and_replies_to_control_frames_do_not() {
        let small = u16::try_from(HTTP2_SMALL_DATA_BYTES).unwrap();
        let earned = |frame: &[u8]| Frames::default().sum(frame, Frame::earns) > 0;
        assert!([frame(HEADERS, 4, 9), frame(DATA, 0, small)].iter().all(|frame| earned(frame)));
        // One byte of an answer, the acknowledgements of PING and SETTINGS, and RST_STREAM.
        assert!(![frame(DATA, 0, 1), frame(6, 1, 8), frame(4, 1, 0), frame(3, 0, 4)].iter().any(|frame| earned(frame)));
    }
}
