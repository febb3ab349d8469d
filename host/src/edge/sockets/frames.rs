//! Frames of RFC 6455: those that the server sends, unmasked and unfragmented, and a count of the fragments that a
//! client sends. tungstenite joins fragments and does not report them.
//!
//! It knows no connection. `outgoing` and `websocket` encode here; a broadcast is encoded once for all its receivers.
//! `rate` counts fragments here.

use bytes::{BufMut, Bytes, BytesMut};
use tungstenite::protocol::frame::coding::{Control, Data, OpCode};
use tungstenite::protocol::frame::{CloseFrame, FrameHeader};

use crate::model::Message;

/// Encodes a message as one frame: header and payload in one buffer that all receivers share.
pub fn encode(message: &Message) -> Bytes {
    let opcode = match message {
        Message::Text(_) => OpCode::Data(Data::Text),
        Message::Binary(_) => OpCode::Data(Data::Binary),
    };
    frame(opcode, message.as_bytes())
}

/// Encodes a close frame.
pub(in crate::edge) fn close(close: &CloseFrame) -> Bytes {
    let code = u16::from(close.code).to_be_bytes();
    frame(OpCode::Control(Control::Close), &[&code, close.reason.as_bytes()].concat())
}

fn frame(opcode: OpCode, payload: &[u8]) -> Bytes {
    let header = FrameHeader { opcode, ..FrameHeader::default() };
    let length = payload.len() as u64;
    let mut frame = BytesMut::with_capacity(header.len(length) + payload.len()).writer();
    header.format(length, &mut frame).expect("a buffer that grows takes all bytes");
    let mut frame = frame.into_inner();
    frame.put_slice(payload);
    frame.freeze()
}

/// The longest frame header: two bytes, eight bytes of length, and the mask.
const HEADER_BYTES: usize = 14;
/// The bit that marks the last frame of a message.
const FIN: u8 = 0x80;

/// Finds the fragments in the bytes of a client, however they are split.
#[derive(Debug, Default)]
pub(in crate::edge) struct Fragments {
    header: [u8; HEADER_BYTES],
    /// How many bytes of `header` are filled. 0 within a payload.
    filled: usize,
    /// Bytes of the payload that did not arrive yet.
    payload: u64,
}

impl Fragments {
    /// Counts the fragments whose header ends within `bytes`. The last frame of a message is not counted.
    ///
    /// The result is meaningless for malformed frames, which tungstenite refuses.
    pub(in crate::edge) fn count(&mut self, mut bytes: &[u8]) -> u32 {
        let mut fragments = 0;
        while let Some((first, rest)) = bytes.split_first() {
            if self.payload > 0 {
                let now = usize::try_from(self.payload).map_or(bytes.len(), |payload| payload.min(bytes.len()));
                self.payload -= now as u64;
                bytes = &bytes[now..];
                continue;
            }
            self.header[self.filled] = *first;
            self.filled += 1;
            bytes = rest;
            if let Some(payload) = payload_length(&self.header[..self.filled]) {
                self.payload = payload;
                self.filled = 0;
                fragments += u32::from(self.header[0] & FIN == 0);
            }
        }
        fragments
    }
}

/// The length of the payload; absent while the header is incomplete.
fn payload_length(header: &[u8]) -> Option<u64> {
    let [_, second, rest @ ..] = header else { return None };
    let length_bytes = match second & 0x7f {
        126 => 2,
        127 => 8,
        _ => 0,
    };
    let mask_bytes = if second & 0x80 == 0 { 0 } else { 4 };
    let (length, mask) = rest.split_at_checked(length_bytes)?;
    let short = u64::from(second & 0x7f);
    let long = || length.iter().fold(0, |length, byte| length << 8 | u64::from(*byte));
    (mask.len() == mask_bytes).then(|| if length_bytes == 0 { short } else { long() })
}

#[cfg(test)]
mod tests {
    use tungstenite::protocol::frame::coding::CloseCode;

    use super::*;

    #[test]
    fn frames_need_no_mask_and_have_the_shortest_length() {
        assert_eq!(&encode(&Message::Text("hi".into()))[..], b"\x81\x02hi");
        assert_eq!(&encode(&Message::Binary(vec![7; 126]))[..4], b"\x82\x7e\x00\x7e");
        assert_eq!(&encode(&Message::Binary(vec![7; 65_536]))[..10], b"\x82\x7f\0\0\0\0\0\x01\0\0");
    }

    #[test]
    fn a_close_frame_has_a_code_and_a_reason() {
        let normal = |reason: &'static str| CloseFrame { code: CloseCode::Normal, reason: reason.into() };
        assert_eq!(&close(&normal("bye"))[..], b"\x88\x05\x03\xe8bye");
        assert_eq!(&close(&normal(""))[..], b"\x88\x02\x03\xe8");
    }

    #[test]
    fn fragments_are_counted_at_any_split_of_the_bytes() {
        // Payloads that look like headers of fragments, of each kind of length, masked and not.
        let long = [&b"\x00\xfe\x01\x2cmask"[..], &[0; 300]].concat();
        let longest = [&b"\x00\x7f\0\0\0\0\0\x01\0\x01"[..], &[0; 65_537]].concat();
        let frames = [&b"\x01\x80mask"[..], &long, b"\x89\x02\0\0", &longest, b"\x80\x01\0", b"\x81\x80mask"].concat();
        for piece in [1, 2, 3, 7, 1_024, frames.len()] {
            let mut fragments = Fragments::default();
            assert_eq!(frames.chunks(piece).map(|piece| fragments.count(piece)).sum::<u32>(), 3, "{piece}");
        }
    }
}
