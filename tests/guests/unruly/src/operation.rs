//! What the fuzzer has the room ask of its host. The test that makes them up and the room that does them share this file.

use serde::{Deserialize, Serialize};

/// A piece, so often: short to write down and long where it matters.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Bytes {
    /// The piece.
    pub(crate) piece: Vec<u8>,
    /// How often.
    pub(crate) times: u32,
}

/// The same for text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Text {
    /// The piece.
    pub(crate) piece: String,
    /// How often.
    pub(crate) times: u32,
}

impl Bytes {
    pub(crate) fn all(&self) -> Vec<u8> {
        self.piece.repeat(self.times as usize)
    }
}

impl Text {
    pub(crate) fn all(&self) -> String {
        self.piece.repeat(self.times as usize)
    }
}

/// One call of the host, with whatever arguments.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) enum Operation {
    Get { key: Bytes },
    Put { key: Bytes, value: Bytes },
    Delete { key: Bytes },
    DeleteRange { start: Bytes, end: Bytes, limit: u32 },
    List { prefix: Bytes, start: Bytes, end: Bytes, reverse: bool, limit: u32 },
    SetTimer { name: Text, at: u64, payload: Bytes },
    CancelTimer { name: Text },
    GetTimer { name: Text },
    Tags { socket: usize, tags: Vec<Text> },
    Attach { socket: usize, note: Bytes },
    Send { socket: usize, text: Text },
    Close { socket: usize, code: u16, reason: Text },
    Broadcast { tag: Option<Text>, user: Option<Text>, text: Text },
    Count { tag: Option<Text>, user: Option<Text> },
    Find { id: u64 },
    AutoResponse { request: Text, reply: Text },
    Log { line: Text },
    Config { key: Text },
    Fail,
}
