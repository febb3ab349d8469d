//! The operations that the fuzzer makes the room perform. The test and the room share this file.

use serde::{Deserialize, Serialize};

/// A repeated piece of bytes: short to write, but long in use.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Bytes {
    /// The piece.
    pub(crate) piece: Vec<u8>,
    /// How many times.
    pub(crate) times: u32,
}

/// A repeated piece of text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Text {
    /// The piece.
    pub(crate) piece: String,
    /// How many times.
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

/// One call of the host with any arguments.
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
    Send { socket: usize, id: Option<Text>, text: Text },
    Close { socket: usize, code: u16, reason: Text },
    Broadcast { tag: Option<Text>, user: Option<Text>, id: Option<Text>, text: Text },
    Count { tag: Option<Text>, user: Option<Text> },
    Find { id: u64 },
    AutoResponse { request: Text, reply: Text },
    Log { line: Text },
    Config { key: Text },
    Fail,
}
