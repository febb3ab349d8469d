//! Finds the frames in the bytes of one direction of an HTTP/2 connection, however they are split.
//!
//! It knows the header of a frame and the payload of a PING, and nothing of requests.

const HEADER_BYTES: usize = 9;
const PING_BYTES: usize = 8;

pub(super) const DATA: u8 = 0x0;
pub(super) const HEADERS: u8 = 0x1;
pub(super) const RST_STREAM: u8 = 0x3;
pub(super) const PING: u8 = 0x6;
pub(super) const CONTINUATION: u8 = 0x9;
/// A flag of PING.
pub(super) const ACK: u8 = 0x1;
/// A flag of DATA and HEADERS: the last frame of its stream.
pub(super) const END_STREAM: u8 = 0x1;
/// A flag of HEADERS and CONTINUATION: the last frame of a head.
const END_HEADERS: u8 = 0x4;
/// A flag of DATA.
pub(super) const PADDED: u8 = 0x8;

/// Reads the frames of one direction.
#[derive(Default)]
pub(super) struct Frames {
    header: [u8; HEADER_BYTES],
    /// How many bytes of `header` are filled. 0 within a payload.
    filled: usize,
    /// Bytes before the next header.
    skip: usize,
    /// A head continues in the next frame.
    is_within_head: bool,
    /// The payload of a PING.
    ping: [u8; PING_BYTES],
}

/// One frame.
#[derive(Debug, Clone, Copy)]
pub(super) struct Frame {
    pub(super) length: usize,
    pub(super) kind: u8,
    pub(super) flags: u8,
    pub(super) stream: u32,
    /// The payload, if it is a PING.
    pub(super) ping: [u8; PING_BYTES],
}

impl Frames {
    /// Reports each frame whose header ends within `bytes`. A PING is reported when its payload ends.
    pub(super) fn each(&mut self, mut bytes: &[u8], mut found: impl FnMut(Frame)) {
        while !bytes.is_empty() {
            if self.skip == 0 {
                let (header, rest) = bytes.split_at(bytes.len().min(HEADER_BYTES - self.filled));
                self.header[self.filled..][..header.len()].copy_from_slice(header);
                self.filled += header.len();
                bytes = rest;
                if self.filled < HEADER_BYTES {
                    return;
                }
                self.filled = 0;
                let frame = self.frame();
                self.skip = frame.length;
                if matches!(frame.kind, HEADERS | CONTINUATION) {
                    self.is_within_head = !frame.has(END_HEADERS);
                }
                if !frame.is_ping() {
                    found(frame);
                }
            } else {
                let (payload, rest) = bytes.split_at(bytes.len().min(self.skip));
                let is_ping = self.frame().is_ping();
                if is_ping {
                    self.ping[PING_BYTES - self.skip..][..payload.len()].copy_from_slice(payload);
                }
                self.skip -= payload.len();
                bytes = rest;
                if is_ping && self.skip == 0 {
                    found(self.frame());
                }
            }
        }
    }

    /// True if the next byte begins a frame, of any kind and stream.
    pub(super) fn is_between(&self) -> bool {
        self.filled == 0 && self.skip == 0 && !self.is_within_head
    }

    /// The frame with the last header.
    fn frame(&self) -> Frame {
        let [a, b, c, kind, flags, stream @ ..] = self.header;
        Frame {
            length: u32::from_be_bytes([0, a, b, c]) as usize,
            kind,
            flags,
            // The highest bit is reserved.
            stream: u32::from_be_bytes(stream) & (u32::MAX >> 1),
            ping: self.ping,
        }
    }
}

impl Frame {
    pub(super) fn has(self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    /// Returns whether it is a well-formed PING or the answer to one.
    pub(super) fn is_ping(self) -> bool {
        self.kind == PING && self.length == PING_BYTES
    }
}

/// A frame with a short payload.
pub(super) fn encode(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("the payload is short").to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_found_at_any_split_of_the_bytes() {
        let sent = [
            encode(4, 0, 0, b""),
            encode(HEADERS, END_STREAM, 1, &[9; 20]),
            encode(CONTINUATION, END_HEADERS, 1, &[9; 20]),
            encode(DATA, 0, 3, &[9; 300]),
            encode(PING, ACK, 0, b"how long"),
            // A malformed PING has no payload that could be read.
            encode(PING, 0, 0, b"how long is this"),
            encode(0xff, 0xff, 1 << 31 | 5, b""),
        ]
        .concat();
        for piece in [1, 2, 8, 9, 10, 100, sent.len()] {
            let mut frames = Frames::default();
            let mut found = Vec::new();
            for piece in sent.chunks(piece) {
                frames.each(piece, |frame| found.push((frame.kind, frame.length, frame.stream)));
            }
            let expected = [(4, 0, 0), (HEADERS, 20, 1), (CONTINUATION, 20, 1), (DATA, 300, 3), (PING, 8, 0)];
            assert_eq!(found, [&expected[..], &[(PING, 16, 0), (0xff, 0, 5)]].concat(), "{piece}");
            assert!(frames.is_between(), "{piece}");
        }
    }

    #[test]
    fn the_payload_of_a_ping_is_read() {
        let mut payloads = Vec::new();
        let mut frames = Frames::default();
        for byte in [encode(PING, 0, 0, b"how long"), encode(PING, ACK, 0, b"a moment")].concat() {
            frames.each(&[byte], |frame| payloads.push((frame.has(ACK), frame.ping)));
        }
        assert_eq!(payloads, [(false, *b"how long"), (true, *b"a moment")]);
    }

    #[test]
    fn no_frame_fits_between_the_parts_of_a_head() {
        let mut frames = Frames::default();
        for (frame, is_between) in [
            (encode(HEADERS, 0, 1, b"a"), false),
            (encode(CONTINUATION, 0, 1, b"b"), false),
            (encode(CONTINUATION, END_HEADERS, 1, b"c"), true),
            (encode(DATA, 0, 1, b"d"), true),
        ] {
            frames.each(&frame, |_| {});
            assert_eq!(frames.is_between(), is_between);
        }
        frames.each(&[0], |_| {});
        assert!(!frames.is_between(), "a header has begun");
    }
}
