//! Truncates a message to its longest length, counted in UTF-16 code units, as browsers do.

use std::borrow::Cow;

/// The longest message, in UTF-16 code units: the unit of JavaScript's `length`.
pub(crate) const MAX_UTF16_UNITS: usize = 2_000;

/// The beginning of `text`, as much as a message may hold. A character of two units is kept whole or removed whole.
pub(crate) fn truncate(text: Cow<'_, str>) -> Cow<'_, str> {
    let end = truncated_len(&text);
    match text {
        Cow::Borrowed(text) => Cow::Borrowed(&text[..end]),
        Cow::Owned(mut text) => {
            text.truncate(end);
            Cow::Owned(text)
        }
    }
}

fn truncated_len(text: &str) -> usize {
    // No character has more units than bytes, so short texts need no counting.
    if text.len() <= MAX_UTF16_UNITS {
        return text.len();
    }
    let mut units = 0;
    for (at, character) in text.char_indices() {
        units += character.len_utf16();
        if units > MAX_UTF16_UNITS {
            return at;
        }
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn truncated(text: &str) -> String {
        let owned = truncate(Cow::Owned(text.to_owned())).into_owned();
        assert_eq!(truncate(Cow::Borrowed(text)), owned);
        owned
    }

    #[test]
    fn a_text_of_two_thousand_units_is_kept_whole() {
        for text in ["a".repeat(2000), "é".repeat(2000), "漢".repeat(2000), "🐭".repeat(1000), String::new()] {
            assert_eq!(truncated(&text), text);
        }
    }

    #[test]
    fn a_longer_text_is_truncated_to_two_thousand_units() {
        for (letter, kept) in [("a", 2000), ("é", 2000), ("漢", 2000), ("🐭", 1000)] {
            assert_eq!(truncated(&letter.repeat(2001)), letter.repeat(kept));
        }
    }

    #[test]
    fn a_surrogate_pair_on_the_edge_is_left_out_whole() {
        let before = "a".repeat(1999);
        assert_eq!(truncated(&format!("{before}🐭tail")), before);
        assert_eq!(truncated(&format!("{before}bc")), format!("{before}b"));
    }
}
