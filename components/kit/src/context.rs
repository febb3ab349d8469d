//! The room's name, its time, its configuration, and the operator's log.

use crate::bindings::room::dormouse::room::context as wit;

pub use wit::{Level, WakeReason};
pub use wit::{config, incarnation, name, namespace, now, random, woken_by};

/// Writes a line to the operator's log, at level info. The host cuts it to 4,096 B, and takes 100 lines a turn.
pub fn log(line: impl AsRef<str>) {
    wit::log(Level::Info, line.as_ref());
}

/// Writes a line as [`log`] does, at level warn.
pub fn warn(line: impl AsRef<str>) {
    wit::log(Level::Warn, line.as_ref());
}

/// The number that the operator's configuration sets for `key`, or `default` if it sets none.
///
/// Fails: if the value is not a number of this type.
pub fn config_number<N: std::str::FromStr>(key: &str, default: N) -> crate::Result<N> {
    match config(key) {
        None => Ok(default),
        Some(text) => text
            .parse()
            .map_err(|_| crate::Error::new(format!("the configuration value {key} = {text:?} is not a number"))),
    }
}

/// The namespaces of the host's configuration, sorted by name. Only a router gets them; in a room the list is empty.
pub fn namespaces() -> Vec<String> {
    let names = config("namespaces").unwrap_or_default();
    names.split(',').filter(|name| !name.is_empty()).map(str::to_owned).collect()
}

/// A random UUID, version 4, as text.
pub fn random_uuid() -> String {
    uuid_v4((u128::from(random()) << 64) | u128::from(random()))
}

// Written by hand: a room may need one UUID a message, and `format!` would be the most expensive part of that turn.
fn uuid_v4(bits: u128) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let bits = (bits & !(0xf << 76) & !(0x3 << 62)) | (0x4 << 76) | (0x2 << 62);
    let mut text = [b'-'; 36];
    let mut at = 0;
    for (number, byte) in bits.to_be_bytes().into_iter().enumerate() {
        if matches!(number, 4 | 6 | 8 | 10) {
            at += 1;
        }
        text[at] = DIGITS[usize::from(byte >> 4)];
        text[at + 1] = DIGITS[usize::from(byte & 0xf)];
        at += 2;
    }
    String::from_utf8(text.to_vec()).expect("digits and hyphens are ASCII")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uuid_sets_version_and_variant_and_keeps_other_bits() {
        assert_eq!(uuid_v4(0), "00000000-0000-4000-8000-000000000000");
        assert_eq!(uuid_v4(u128::MAX), "ffffffff-ffff-4fff-bfff-ffffffffffff");
        assert_eq!(uuid_v4(0x0123456789abcdef_0123456789abcdef), "01234567-89ab-4def-8123-456789abcdef");
    }
}
