//! The lines of an exported room: plain values and their JSON. It knows no store.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::clock::UnixMillis;
use crate::store::records::PostHead;

/// One line. The first is the room, the last the end; the parts between them have the order of the cases here, and each
/// part the order of its keys.
#[derive(Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(tag = "kind", rename_all = "lowercase", deny_unknown_fields)]
pub(super) enum Line {
    Room(Header),
    Entry {
        key: Data,
        value: Data,
    },
    Timer {
        name: String,
        /// When it is due.
        at: UnixMillis,
        /// How often it has failed.
        attempt: u32,
        payload: Data,
    },
    Post {
        /// Its number, which is longer than the numbers of some JSON readers.
        number: String,
        at: UnixMillis,
        attempt: u32,
        request: PostHead,
        body: Data,
    },
    /// The highest post of another room that this room has accepted.
    Accepted {
        namespace: String,
        name: String,
        number: String,
    },
    End {
        /// The number of lines before this one.
        lines: u64,
        /// The SHA-256 of all bytes before this line, in hexadecimal digits.
        sha256: String,
    },
}

/// The first line.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Header {
    pub(super) version: u32,
    pub(super) namespace: String,
    pub(super) name: String,
    /// The component of the namespace.
    pub(super) component: Option<String>,
    /// The version of the contract that the component was built for.
    pub(super) contract: Option<String>,
    /// The version of the program.
    pub(super) dormouse: String,
    /// When it was exported.
    pub(super) exported: UnixMillis,
    /// The number of the last commit.
    pub(super) commit: u64,
    pub(super) entries: u64,
    pub(super) timers: u64,
    pub(super) posts: u64,
    pub(super) accepted: u64,
    /// Bytes of the keys and values of all entries.
    pub(super) bytes: u64,
    /// The version of its data. Absent if that is 0, as in the files of older versions.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub(super) data_version: u32,
}

fn is_zero(data_version: &u32) -> bool {
    *data_version == 0
}

/// Bytes: a JSON string if they are text, and `{"base64":"…"}` otherwise.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Data(pub(super) Bytes);

#[derive(Deserialize)]
#[serde(untagged)]
enum Form {
    Text(String),
    Binary(Binary),
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Binary {
    base64: String,
}

impl Serialize for Data {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        // Control characters are long in JSON, and confuse terminals.
        let is_plain = |text: &&str| !text.chars().any(|c| c.is_control() && !matches!(c, '\n' | '\r' | '\t'));
        match std::str::from_utf8(&self.0).ok().filter(is_plain) {
            Some(text) => serializer.serialize_str(text),
            None => Binary { base64: STANDARD.encode(&self.0) }.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for Data {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Form::deserialize(deserializer)? {
            Form::Text(text) => Ok(Data(text.into())),
            Form::Binary(binary) => {
                let bytes = STANDARD.decode(binary.base64).map_err(serde::de::Error::custom)?;
                Ok(Data(bytes.into()))
            }
        }
    }
}

impl Line {
    /// The line with its line feed.
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = serde_json::to_vec(self).expect("texts and numbers become JSON");
        bytes.push(b'\n');
        bytes
    }

    /// Reads a line without its line feed. The error is for the operator.
    pub(super) fn read(line: &[u8]) -> Result<Self, String> {
        serde_json::from_slice(line).map_err(|error| format!("it cannot be read: {error}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_readable_and_other_bytes_are_base64() {
        for (bytes, json) in [
            (&b"a\n\"b\""[..], r#""a\n\"b\"""#),
            (b"", r#""""#),
            (b"\x1b[31m", r#"{"base64":"G1szMW0="}"#),
            (b"\xff\0", r#"{"base64":"/wA="}"#),
        ] {
            let data = Data(Bytes::from_static(bytes));
            assert_eq!(serde_json::to_string(&data).unwrap(), json);
            assert_eq!(serde_json::from_str::<Data>(json).unwrap(), data);
        }
        for wrong in ["7", "null", "{}", r#"{"base64":"!"}"#, r#"{"base64":"","x":1}"#] {
            assert!(serde_json::from_str::<Data>(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_line_is_read_as_it_was_written() {
        let line = Line::Timer { name: "t".into(), at: 7, attempt: 1, payload: Data("p".into()) };
        let bytes = line.to_bytes();
        assert_eq!(bytes, b"{\"kind\":\"timer\",\"name\":\"t\",\"at\":7,\"attempt\":1,\"payload\":\"p\"}\n");
        assert_eq!(Line::read(bytes.trim_ascii()).unwrap(), line);
        assert!(Line::read(br#"{"kind":"timer","name":"t","at":7,"attempt":1,"payload":"p","more":1}"#).is_err());
    }
}
