//! An HTTP/2 connection whose client has ended its half: which requests still get an answer, and what h2 reads instead
//! of the client's frames.
//!
//! It knows frames, and no connection: the wrapper around the connection reports all frames and does the rest.

use std::collections::{BTreeMap, VecDeque};

use super::frames::{ACK, DATA, END_STREAM, Frame, HEADERS, PING, RST_STREAM, encode};
use crate::edge::listener::reset::Reset;

/// A WINDOW_UPDATE of one byte for the connection. The client need not answer it and cannot use it; if it has closed
/// the connection, the connection is reset.
pub(super) const PROBE: &[u8] = b"\0\0\x04\x08\0\0\0\0\0\0\0\0\x01";
/// The error CANCEL.
const CANCEL: &[u8] = b"\0\0\0\x08";
/// PINGs of the server that may wait for their answers: h2 sends one to check the client and one at a shutdown.
const PINGS: usize = 2;

/// The state of a connection whose client has ended its half.
pub(super) struct HalfClosed {
    /// The frames that h2 reads next.
    pub(super) input: VecDeque<u8>,
    /// The part of [`PROBE`] that is not written yet.
    pub(super) probe: &'static [u8],
    pub(super) reset: Reset,
}

/// The requests of one connection that are not answered, and the PINGs that the client has not answered.
#[derive(Default)]
pub(super) struct Requests {
    /// By stream, whether the client has sent all of the request. h2 refuses streams above its limit before it reads
    /// on, so there are few.
    open: BTreeMap<u32, bool>,
    /// The highest stream that the client has opened.
    last: u32,
    pings: VecDeque<[u8; 8]>,
}

impl Requests {
    /// Records a frame of the client.
    pub(super) fn received(&mut self, frame: Frame) {
        match frame.kind {
            HEADERS if frame.stream > self.last => {
                self.last = frame.stream;
                self.open.insert(frame.stream, frame.has(END_STREAM));
            }
            HEADERS | DATA if frame.has(END_STREAM) => {
                if let Some(is_whole) = self.open.get_mut(&frame.stream) {
                    *is_whole = true;
                }
            }
            RST_STREAM => {
                self.open.remove(&frame.stream);
            }
            PING if frame.has(ACK) => {
                self.pings.pop_front();
            }
            _ => {}
        }
    }

    /// Records a frame of the server.
    pub(super) fn sent(&mut self, frame: Frame) {
        match frame.kind {
            RST_STREAM => {
                self.open.remove(&frame.stream);
            }
            HEADERS | DATA if frame.has(END_STREAM) => {
                self.open.remove(&frame.stream);
            }
            PING if !frame.has(ACK) => {
                self.pings.truncate(PINGS - 1);
                self.pings.push_back(frame.ping);
            }
            _ => {}
        }
    }

    /// Returns whether no request waits for its answer.
    pub(super) fn are_answered(&self) -> bool {
        self.open.is_empty()
    }

    /// The client has ended its half. Returns the frames that end each request of which a part is missing, and those
    /// that answer PINGs.
    pub(super) fn cut_off(&mut self) -> VecDeque<u8> {
        let cut_off = self.open.extract_if(.., |_, is_whole| !*is_whole);
        let mut input = cut_off.flat_map(|(stream, _)| encode(RST_STREAM, 0, stream, CANCEL)).collect::<VecDeque<_>>();
        input.extend(self.answers_to_pings());
        input
    }

    /// The frames that answer the PINGs: the client can send none. Its connection is judged by its reset instead.
    pub(super) fn answers_to_pings(&mut self) -> Vec<u8> {
        self.pings.drain(..).flat_map(|payload| encode(PING, ACK, 0, &payload)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::edge::listener::http2::frames::Frames;

    fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Frame {
        let mut found = None;
        Frames::default().each(&encode(kind, flags, stream, payload), |frame| found = Some(frame));
        found.expect("it is whole")
    }

    #[test]
    fn a_request_waits_until_the_last_frame_of_its_answer() {
        let mut requests = Requests::default();
        assert!(requests.are_answered());
        for stream in [1, 3, 5] {
            requests.received(frame(HEADERS, END_STREAM, stream, b""));
        }
        requests.sent(frame(HEADERS, 0, 1, b""));
        requests.sent(frame(DATA, END_STREAM, 1, b"all"));
        requests.sent(frame(HEADERS, END_STREAM, 3, b""));
        assert!(!requests.are_answered());
        requests.sent(frame(RST_STREAM, 0, 5, CANCEL));
        assert!(requests.are_answered());
        requests.received(frame(HEADERS, END_STREAM, 5, b""));
        assert!(requests.are_answered(), "an old stream is not opened again");
        requests.received(frame(HEADERS, END_STREAM, 7, b""));
        requests.received(frame(RST_STREAM, 0, 7, CANCEL));
        assert!(requests.are_answered(), "the client wants no answer");
    }

    #[test]
    fn requests_that_are_not_whole_are_cut_off() {
        let mut requests = Requests::default();
        requests.received(frame(HEADERS, 0, 1, b""));
        requests.received(frame(HEADERS, 0, 3, b""));
        requests.received(frame(HEADERS, 0, 5, b""));
        requests.received(frame(DATA, END_STREAM, 3, b"all"));
        requests.received(frame(HEADERS, END_STREAM, 5, b"trailers"));
        assert_eq!(Vec::from(requests.cut_off()), encode(RST_STREAM, 0, 1, CANCEL));
        assert_eq!(requests.open.keys().collect::<Vec<_>>(), [&3, &5]);
    }

    #[test]
    fn only_unanswered_pings_are_answered_for_the_client() {
        let mut requests = Requests::default();
        requests.sent(frame(PING, 0, 0, b"answered"));
        requests.sent(frame(PING, 0, 0, b"how long"));
        requests.received(frame(PING, ACK, 0, b"answered"));
        requests.received(frame(PING, 0, 0, b"a client"));
        requests.sent(frame(PING, ACK, 0, b"a client"));
        assert_eq!(Vec::from(requests.cut_off()), encode(PING, ACK, 0, b"how long"));
        requests.sent(frame(PING, 0, 0, b"and this"));
        assert_eq!(requests.answers_to_pings(), encode(PING, ACK, 0, b"and this"));
    }
}
