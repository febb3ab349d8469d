//! Replaces escapes that are a lone half of a surrogate pair, such as `\ud83d`. JSON allows them (RFC 8259, 8.2), and a
//! JavaScript string that was cut in the middle of an emoji has one, but UTF-8 cannot encode them.

/// The digits that replace those of such an escape: U+FFFD, in the same number of bytes.
const REPLACEMENT: &[u8] = b"fffd";

/// The length of an escape such as `\ud83d`.
const ESCAPE_BYTES: usize = 6;

/// The text with U+FFFD in place of each lone half; `None` if it has none.
pub(super) fn replaced(text: &str) -> Option<String> {
    let bytes = text.as_bytes();
    let mut halves = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        at += match unit(bytes, at) {
            Some(0xd800..=0xdbff) if matches!(unit(bytes, at + ESCAPE_BYTES), Some(0xdc00..=0xdfff)) => {
                2 * ESCAPE_BYTES
            }
            Some(0xd800..=0xdfff) => {
                halves.push(at);
                ESCAPE_BYTES
            }
            Some(_) => ESCAPE_BYTES,
            // Another escape, such as `\\`. Its second byte does not begin a new one.
            None if bytes[at] == b'\\' => 2,
            None => 1,
        };
    }
    if halves.is_empty() {
        return None;
    }
    let mut bytes = bytes.to_vec();
    for at in halves {
        bytes[at + 2..at + ESCAPE_BYTES].copy_from_slice(REPLACEMENT);
    }
    Some(String::from_utf8(bytes).expect("ASCII was replaced by ASCII"))
}

/// The UTF-16 code unit of the escape that begins at `at`.
fn unit(bytes: &[u8], at: usize) -> Option<u16> {
    let digits = bytes.get(at..at + ESCAPE_BYTES)?.strip_prefix(br"\u")?;
    digits.iter().try_fold(0, |unit, digit| Some(unit << 4 | char::from(*digit).to_digit(16)? as u16))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lone_surrogates_are_replaced_and_pairs_are_kept() {
        for (text, expected) in [
            (r"\ud83d", r"\ufffd"),
            (r"\uDC2D", r"\ufffd"),
            (r"a\ud83db", r"a\ufffdb"),
            (r"\ud83d\ud83d\udc2d", r"\ufffd\ud83d\udc2d"),
            (r"\udc2d\ud83d", r"\ufffd\ufffd"),
            (r"\ud83d\u0041", r"\ufffd\u0041"),
            (r"\\\ud83d", r"\\\ufffd"),
            (r"é\ud83d", r"é\ufffd"),
        ] {
            assert_eq!(replaced(text).as_deref(), Some(expected), "{text}");
        }
    }

    #[test]
    fn a_text_without_surrogates_stays_as_it_is() {
        for text in ["", "\\", r"\u", r"\ud83", r"\ud83x", r"\\ud83d", r"\ud83d\udc2d", r"\u00e9", "🐭", r"\é"] {
            assert_eq!(replaced(text), None, "{text}");
        }
    }
}
