//! A pattern for the addresses of rooms, such as `rooms/team-*`, and which of two patterns is more specific.
//!
//! It knows no permissions and no tokens: `grants` finds the pattern that decides.
//!
//! A pattern and an address are compared segment by segment; the segments are separated by `/`, and the first one is
//! the namespace as a path spells it. `*` stands for any characters of one segment, also for none. `**` stands for all
//! segments that are left, at least one. `\*` is a `*` and `\\` a `\` of a name; a `\` before anything else is an error.
//! Everything else stands for itself alone: nothing in a pattern is decoded or folded, and an address arrives decoded.
//! So `rooms/Lobby`, `rooms/lobby` and `rooms/%6Cobby` are three patterns, and a letter with its accent in one code
//! point is not the same letter with a combining accent: they name different rooms.

use std::cmp::Ordering;
use std::fmt::{self, Write as _};
use std::iter;

use crate::routes::spelling;

/// Stands for any characters of one segment, in place of the `*` of the text: a `*` is then one of a name. No pattern
/// and no name has control characters.
const WILDCARD: char = '\0';
/// The segment that stands for all segments that are left.
const REST: &str = "\0\0";

/// A pattern for the addresses of rooms.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Pattern(Box<str>);

/// The reason why a text is not a pattern.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum PatternError {
    /// It has no name of a room.
    #[error("it is not `namespace/name`, such as `rooms/team-*`")]
    NoName,
    /// No namespace has such a name.
    #[error("its namespace has characters other than ASCII letters, digits, `-`, `_` and `*`")]
    Namespace,
    /// `**` is not a whole segment, or not the last one.
    #[error("`**` must be its whole last segment, as in `rooms/**`")]
    Rest,
    /// No name of a room has control characters.
    #[error("it has a control character")]
    Control,
    /// A `\` is before something that it does not escape.
    #[error("a `\\` in it must be followed by `*` or `\\`: `\\*` is a `*` of the name, and `\\\\` a `\\`")]
    Escape,
}

/// How specific one segment is. A later case is more specific.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Rank {
    /// `**`.
    Rest,
    /// With `*`, and so many other characters.
    Wildcard(usize),
    /// Without `*`.
    Exact,
}

impl Pattern {
    /// Reads a pattern. The namespace may be written as in the configuration or as in a path: both mean the same.
    pub fn read(text: &str) -> Result<Self, PatternError> {
        if text.chars().any(char::is_control) {
            return Err(PatternError::Control);
        }
        let text = unescaped(text)?;
        let mut segments = text.split('/').rev();
        let last = segments.next().unwrap_or_default();
        if segments.any(|segment| segment.contains(REST)) || (last.contains(REST) && last != REST) {
            return Err(PatternError::Rest);
        }
        if text == REST {
            return Ok(Pattern(text.into()));
        }
        let (namespace, name) = text.split_once('/').ok_or(PatternError::NoName)?;
        if namespace.is_empty() || name.is_empty() {
            return Err(PatternError::NoName);
        }
        if !namespace.chars().all(|char| char.is_ascii_alphanumeric() || ['-', '_', WILDCARD].contains(&char)) {
            return Err(PatternError::Namespace);
        }
        Ok(Pattern(format!("{}/{name}", spelling(namespace)).into()))
    }

    /// Whether a room has this pattern; `namespace` is spelled as in a path.
    pub(super) fn matches(&self, namespace: &str, name: &str) -> bool {
        let mut address = iter::once(namespace).chain(name.split('/'));
        for segment in self.0.split('/') {
            match address.next() {
                Some(_) if segment == REST => return true,
                Some(part) if segment_matches(segment, part) => {}
                _ => return false,
            }
        }
        address.next().is_none()
    }

    /// Which of two patterns of one room is more specific (the greater one). The segments are compared from left to
    /// right, and the first difference decides: a segment without `*` is more specific than one with it; of two with
    /// `*` the one with more other characters; and `**` is the least specific. Two different patterns may be equal.
    pub(super) fn compare(&self, other: &Pattern) -> Ordering {
        self.ranks().cmp(other.ranks())
    }

    fn ranks(&self) -> impl Iterator<Item = Rank> {
        self.0.split('/').map(|segment| match segment {
            REST => Rank::Rest,
            _ if segment.contains(WILDCARD) => Rank::Wildcard(segment.chars().filter(|char| *char != WILDCARD).count()),
            _ => Rank::Exact,
        })
    }
}

/// The text of the pattern, with its namespace as a path spells it.
impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for char in self.0.chars() {
            match char {
                WILDCARD => f.write_char('*')?,
                '*' | '\\' => write!(f, "\\{char}")?,
                other => f.write_char(other)?,
            }
        }
        Ok(())
    }
}

impl fmt::Debug for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.to_string(), f)
    }
}

/// The text with a [`WILDCARD`] for each `*` that is not escaped, and without the `\` of those that are.
fn unescaped(text: &str) -> Result<String, PatternError> {
    let mut chars = text.chars();
    let mut read = String::with_capacity(text.len());
    while let Some(char) = chars.next() {
        read.push(match char {
            '*' => WILDCARD,
            '\\' => chars.next().filter(|escaped| ['*', '\\'].contains(escaped)).ok_or(PatternError::Escape)?,
            other => other,
        });
    }
    Ok(read)
}

/// Whether a segment's wildcards can stand for the rest of `part`. It takes time in proportion to the texts, because
/// the parts between two of them can be searched from left to right: the leftmost place always leaves the most for
/// those that follow.
fn segment_matches(segment: &str, part: &str) -> bool {
    let Some((first, rest)) = segment.split_once(WILDCARD) else { return segment == part };
    let (middle, last) = rest.rsplit_once(WILDCARD).unwrap_or(("", rest));
    let Some(mut left) = part.strip_prefix(first).and_then(|part| part.strip_suffix(last)) else { return false };
    middle.split(WILDCARD).all(|text| match left.find(text) {
        Some(at) => {
            left = &left[at + text.len()..];
            true
        }
        None => false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(pattern: &str, address: &str) -> bool {
        let (namespace, name) = address.split_once('/').unwrap();
        Pattern::read(pattern).unwrap().matches(namespace, name)
    }

    #[test]
    fn a_pattern_matches_just_the_rooms_that_its_text_says() {
        for (pattern, rooms) in [
            ("rooms/team-7", &["rooms/team-7"][..]),
            ("ROOMS/team-7", &["rooms/team-7"]),
            ("BIG_POLLS/x", &["big-polls/x"]),
            ("rooms/*", &["rooms/a", "rooms/team-7", "rooms/**", "rooms/.."]),
            ("rooms/public-*", &["rooms/public-", "rooms/public-a"]),
            ("rooms/*-7-*", &["rooms/team-7-", "rooms/-7-", "rooms/7-7-7-7"]),
            ("rooms/a*a", &["rooms/aa", "rooms/aba"]),
            ("rooms/**", &["rooms/a", "rooms/a/b", "rooms/a/"]),
            ("rooms/a/**", &["rooms/a/b", "rooms/a/", "rooms/a/b/c"]),
            ("rooms/*/b", &["rooms/a/b", "rooms//b"]),
            ("*/lobby", &["rooms/lobby", "presence/lobby"]),
            ("**", &["rooms/a", "presence/a/b"]),
            ("rooms/100%", &["rooms/100%"]),
            ("rooms/café", &["rooms/café"]),
            ("rooms/../x", &["rooms/../x"]),
            (r"rooms/a\*b", &["rooms/a*b"]),
            (r"rooms/\**", &["rooms/*", "rooms/*a", "rooms/**"]),
            (r"rooms/*\*", &["rooms/*", "rooms/a*", "rooms/**"]),
            (r"rooms/\*\*", &["rooms/**"]),
            (r"rooms/a\\b", &[r"rooms/a\b"]),
            (r"rooms/\\*", &[r"rooms/\", r"rooms/\a"]),
            (r"rooms/\\\*", &[r"rooms/\*"]),
        ] {
            for room in rooms {
                assert!(matches(pattern, room), "{pattern} {room}");
            }
        }
    }

    #[test]
    fn a_pattern_matches_no_look_alike_and_no_further_segment() {
        for (pattern, room) in [
            ("rooms/team-7", "rooms/team-77"),
            ("rooms/team-7", "rooms/Team-7"),
            ("rooms/team-7", "rooms/team-7/"),
            ("rooms/team-7", "rooms/team\u{2011}7"),
            ("rooms/team-7", "presence/team-7"),
            ("rooms/*", "rooms/a/b"),
            ("rooms/*", "rooms2/a"),
            ("rooms/a*a", "rooms/a"),
            ("rooms/*-7-*", "rooms/team-7"),
            ("rooms/a/**", "rooms/a"),
            ("rooms/*/b", "rooms/b"),
            ("rooms/%6Cobby", "rooms/lobby"),
            ("rooms/lobby", "rooms/%6Cobby"),
            ("rooms/../x", "x/x"),
            ("rooms/cafe\u{301}", "rooms/caf\u{e9}"),
            ("rooms/\u{430}", "rooms/a"),
            ("rooms/[a-z]", "rooms/a"),
            ("rooms/?", "rooms/a"),
            (r"rooms/a\*b", "rooms/ab"),
            (r"rooms/a\*b", "rooms/axb"),
            (r"rooms/a\*b", r"rooms/a\*b"),
            (r"rooms/\*\*", "rooms/a"),
            (r"rooms/\*\*", "rooms/*a*"),
            (r"rooms/\**", "rooms/a"),
            (r"rooms/\\*", "rooms/*"),
            (r"rooms/a\\b", "rooms/ab"),
        ] {
            assert!(!matches(pattern, room), "{pattern} {room}");
        }
    }

    #[test]
    fn two_patterns_are_compared_from_left_to_right() {
        let ranked = [
            "**",
            "*/**",
            "*/*",
            "*/lobby",
            "r*/**",
            "rooms/**",
            "rooms/*",
            "rooms/l*",
            "rooms/l*y",
            "rooms/lob*",
            r"rooms/lob\**",
            r"rooms/lob\*",
        ];
        for (index, less) in ranked.iter().enumerate() {
            for more in &ranked[index + 1..] {
                let [less, more] = [less, more].map(|text| Pattern::read(text).unwrap());
                assert_eq!(less.compare(&more), Ordering::Less, "{less} {more}");
                assert_eq!(more.compare(&less), Ordering::Greater, "{less} {more}");
            }
        }
        let [one, other] = ["rooms/lo*", "rooms/*by"].map(|text| Pattern::read(text).unwrap());
        assert_eq!(one.compare(&other), Ordering::Equal);
        let [one, other] = [r"rooms/\*", "rooms/a"].map(|text| Pattern::read(text).unwrap());
        assert_eq!(one.compare(&other), Ordering::Equal, "no wildcard in either");
    }

    #[test]
    fn a_text_that_can_match_no_room_is_not_a_pattern() {
        for (text, error) in [
            ("", PatternError::NoName),
            ("rooms", PatternError::NoName),
            ("*", PatternError::NoName),
            ("rooms/", PatternError::NoName),
            ("/lobby", PatternError::NoName),
            ("ro oms/lobby", PatternError::Namespace),
            ("café/lobby", PatternError::Namespace),
            ("https://app.example/x", PatternError::Namespace),
            ("rooms/a**", PatternError::Rest),
            ("rooms/***", PatternError::Rest),
            ("rooms/**/x", PatternError::Rest),
            ("**/x", PatternError::Rest),
            ("rooms/a\nb", PatternError::Control),
            ("rooms/\u{85}", PatternError::Control),
            ("rooms/\0", PatternError::Control),
            (r"rooms/a\b", PatternError::Escape),
            (r"rooms/a\", PatternError::Escape),
            (r"rooms/a\\\", PatternError::Escape),
            (r"rooms\/a", PatternError::Escape),
            (r"rooms/a\/**", PatternError::Escape),
            (r"r\*/a", PatternError::Namespace),
            (r"r\\/a", PatternError::Namespace),
            (r"\*\*", PatternError::NoName),
            (r"rooms/\***", PatternError::Rest),
        ] {
            assert_eq!(Pattern::read(text).unwrap_err(), error, "{text:?}");
        }
    }

    #[test]
    fn a_pattern_is_shown_as_it_is_written() {
        for text in ["**", "rooms/a*b", r"rooms/a\*b", r"*/\\/\**", "rooms/**"] {
            let pattern = Pattern::read(text).unwrap();
            assert_eq!(pattern.to_string(), text);
            assert_eq!(Pattern::read(&pattern.to_string()), Ok(pattern));
        }
        assert_eq!(Pattern::read(r"BIG_POLLS/\*").unwrap().to_string(), r"big-polls/\*");
    }
}

#[cfg(test)]
mod fuzz {
    use dormouse_fuzz::{fuzz, mutated};

    use super::*;

    /// Matches the text of a pattern by trying every length of every `*`: slow, and so short that it is easy to believe.
    fn tried(pattern: &[char], address: &[char]) -> bool {
        match (pattern, address) {
            ([], []) => true,
            (['\\', one, more @ ..], [other, left @ ..]) => one == other && tried(more, left),
            (['\\', ..], []) => false,
            (['*', '*'], _) => true,
            (['*', more @ ..], _) => {
                let longest = address.iter().position(|char| *char == '/').unwrap_or(address.len());
                (0..=longest).any(|length| tried(more, &address[length..]))
            }
            ([one, more @ ..], [other, left @ ..]) => one == other && tried(more, left),
            _ => false,
        }
    }

    /// The pattern that matches this name and no other.
    fn escaped(name: &str) -> String {
        name.replace('\\', r"\\").replace('*', r"\*")
    }

    /// However a pattern and a room's name are spelled, the pattern matches if its text says so, and never otherwise.
    #[test]
    fn a_pattern_never_matches_more_than_its_text_says() {
        const EXAMPLES: [&[u8]; 11] = [
            b"rooms/team-*\0team-7",
            b"rooms/**\0a/b/../c",
            b"rooms/a*a*b/*\0aXaYb/c",
            "rooms/caf\u{e9}\0cafe\u{301}".as_bytes(),
            b"rooms/%2e%2e/*\0../x",
            b"*/a/**\0a/",
            b"rooms/*a*aa*\0aaaa",
            b"**\0x",
            br"rooms/a\*b*\\",
            b"rooms/a\\*b\0a*b",
            b"rooms/\\\\*\\*\0\\a*",
        ];
        fuzz(mutated(&EXAMPLES), |bytes| {
            let text = String::from_utf8_lossy(&bytes).into_owned();
            let (text, name) = text.split_once('\0').unwrap_or((&text, "a"));
            // The slow way takes a time that grows with the power of the number of its `*`.
            if text.matches('*').count() > 6 || name.is_empty() || name.chars().any(char::is_control) {
                return;
            }
            let chars = |text: &str| text.chars().collect::<Vec<_>>();
            let exact = Pattern::read(&format!("rooms/{}", escaped(name))).expect("every name has a pattern");
            assert!(exact.matches("rooms", name), "{exact} {name}");
            let Ok(pattern) = Pattern::read(text) else { return };
            let address = format!("rooms/{name}");
            let (shown, matches) = (pattern.to_string(), pattern.matches("rooms", name));
            assert_eq!(matches, tried(&chars(&shown), &chars(&address)), "{pattern} {address}");
            assert_eq!(Pattern::read(&shown).as_ref(), Ok(&pattern));
            // A pattern without a wildcard matches one room.
            if matches && !shown.replace(r"\\", "").replace(r"\*", "").contains('*') {
                assert_eq!(shown, exact.to_string());
            }
            // The pattern of the name matches no text but that.
            let other = format!("rooms/{text}");
            assert_eq!(exact.matches("rooms", text), other == address, "{exact} {other}");
        });
    }
}
