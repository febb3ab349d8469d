//! Durations in a configuration, such as `10s`, `250ms` or `1m 30s`.

use std::fmt;
use std::time::Duration;

use serde::Deserializer;
use serde::de::{Error, Visitor};

/// Parses a duration such as `10s`, `250ms` or `1m 30s`.
pub fn read_duration(text: &str) -> Result<Duration, String> {
    const EXAMPLE: &str = "write one such as \"10s\", \"250ms\" or \"1m 30s\"";
    let trimmed = text.trim();
    match trimmed {
        "" => Err(format!("a duration must not be empty; {EXAMPLE}")),
        _ if trimmed.starts_with('-') => Err(format!("`{text}` is negative, and a duration cannot be; {EXAMPLE}")),
        // humantime takes a 0 alone.
        _ if trimmed != "0" && trimmed.bytes().all(|byte| byte.is_ascii_digit()) => {
            Err(format!("`{text}` has no unit; write \"{trimmed}s\" or \"{trimmed}ms\""))
        }
        _ => humantime::parse_duration(trimmed)
            .map_err(|error| format!("`{text}` is not a duration: {error}; {EXAMPLE}")),
    }
}

pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    deserializer.deserialize_any(InText)
}

/// A duration that may be left out.
pub(super) fn some<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    deserialize(deserializer).map(Some)
}

struct InText;

impl Visitor<'_> for InText {
    type Value = Duration;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a duration with its unit, such as \"10s\" or \"250ms\"")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Duration, E> {
        read_duration(text).map_err(E::custom)
    }
}
