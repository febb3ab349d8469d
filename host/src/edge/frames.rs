//! The frames that the server sends: RFC 6455, unmasked and unfragmented.
//!
//! It knows no connection. `outgoing` and `connection` encode here; a broadcast is encoded once for all its receivers.

use bytes::{BufMut, Bytes, BytesMut};
use tungstenite::protocol::frame::FrameHeader;
use tungstenite::protocol::frame::coding::{Data, OpCode};

use crate::model::Message;

/// Encodes a message as one frame: header and payload in one buffer that all receivers share.
pub fn encode(message: &Message) -> Bytes {
    let opcode = match message {
        Message::Text(_) => OpCode::Data(Data::Text),
        Message::Binary(_) => OpCode::Data(Data::Binary),
    };
    let header = FrameHeader { opcode, ..FrameHeader::default() };
    let length = message.len() as u64;
    let mut frame = BytesMut::with_capacity(header.len(length) + message.len()).writer();
    header.format(length, &mut frame).expect("a buffer that grows takes all bytes");
    let mut frame = frame.into_inner();
    frame.put_slice(message.as_bytes());
    frame.freeze()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_is_unmasked_whole_and_has_the_shortest_length() {
        assert_eq!(&encode(&Message::Text("hi".into()))[..], b"\x81\x02hi");
        assert_eq!(&encode(&Message::Binary(vec![7; 126]))[..4], b"\x82\x7e\x00\x7e");
        assert_eq!(&encode(&Message::Binary(vec![7; 65_536]))[..10], b"\x82\x7f\0\0\0\0\0\x01\0\0");
    }
}
