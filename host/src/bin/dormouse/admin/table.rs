//! Prints for people: columns, and names that cannot harm a terminal.

use std::time::{Duration, UNIX_EPOCH};

use dormouse::clock;
use dormouse::model::may_mislead;
use serde_json::Value;

use crate::print;

/// A count with its noun: `1 entry`, `2 entries`.
pub(crate) fn counted(count: u64, noun: &str) -> String {
    match noun.strip_suffix('y') {
        _ if count == 1 => format!("1 {noun}"),
        Some(stem) => format!("{count} {stem}ies"),
        None => format!("{count} {noun}s"),
    }
}

/// A count in an answer with its noun; 0 if it is absent.
pub(crate) fn count_of(object: &Value, key: &str, noun: &str) -> String {
    counted(object[key].as_u64().unwrap_or_default(), noun)
}

/// The sockets that were closed, as an answer tells them.
pub(super) fn closed_sockets(answer: &Value) -> String {
    let is_one = answer["closed"].as_u64() == Some(1);
    format!("{} {} closed", count_of(answer, "closed", "socket"), if is_one { "is" } else { "are" })
}

/// The nodes of a cluster that did not answer, as a list; absent if all of them did.
pub(super) fn missing(answer: &Value) -> Option<String> {
    let missing = answer["missing"].as_array()?.iter().filter_map(Value::as_str).map(shown).collect::<Vec<_>>();
    (!missing.is_empty()).then(|| missing.join(", "))
}

/// Says which nodes of a cluster are not in an answer.
pub(super) fn print_missing(answer: &Value) -> anyhow::Result<()> {
    match missing(answer) {
        Some(missing) => {
            print::line(format_args!("These nodes did not answer, and what they have is not here: {missing}"))
        }
        None => Ok(()),
    }
}

/// A name as a terminal may show it: characters that could mislead are escaped.
pub(crate) fn shown(text: &str) -> String {
    let escaped = |char: char| if may_mislead(char) { char.escape_unicode().collect() } else { char.to_string() };
    text.chars().map(escaped).collect()
}

/// JSON as a terminal may show it, with the same meaning.
pub(super) fn shown_json(json: &str) -> String {
    let mut shown = String::with_capacity(json.len());
    for char in json.chars() {
        // In ASCII, only the spaces between values are control characters; strings have them escaped.
        if char.is_ascii() || !may_mislead(char) {
            shown.push(char);
        } else {
            char.encode_utf16(&mut [0; 2]).iter().for_each(|unit| shown.push_str(&format!("\\u{unit:04x}")));
        }
    }
    shown
}

/// A member of an object as text; empty if it is absent.
pub(super) fn text(object: &Value, key: &str) -> String {
    match &object[key] {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// A number of bytes.
pub(super) fn size(bytes: &Value) -> String {
    let Some(bytes) = bytes.as_u64() else { return String::new() };
    let units = [(1_u64 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
    match units.iter().find(|(unit, _)| bytes >= *unit) {
        Some((unit, name)) => format!("{:.1} {name}", bytes as f64 / *unit as f64),
        None => format!("{bytes} B"),
    }
}

/// A number of microseconds.
pub(super) fn micros(micros: &Value) -> String {
    format!("{:.3} ms", micros.as_u64().unwrap_or_default() as f64 / 1e3)
}

/// A time as a duration in its two largest units.
fn rough(millis: u64) -> String {
    let seconds = millis / 1_000;
    // Below a minute to the second, below a day to the minute, and to the hour beyond.
    let unit = [(60, 1), (86_400, 60)].iter().find(|(below, _)| seconds < *below).map_or(3_600, |(_, unit)| *unit);
    humantime::format_duration(Duration::from_secs(seconds / unit * unit)).to_string()
}

/// The time since a moment in Unix milliseconds.
pub(super) fn since(time: &Value) -> String {
    time.as_u64().map(|time| rough(clock::unix_millis().saturating_sub(time))).unwrap_or_else(|| "ever".into())
}

/// How long ago a moment was, in Unix milliseconds.
pub(super) fn ago(time: &Value) -> String {
    time.as_u64().map(|_| format!("{} ago", since(time))).unwrap_or_default()
}

/// When a moment will be, in Unix milliseconds.
pub(super) fn until(time: &Value) -> String {
    let Some(time) = time.as_u64() else { return "now".into() };
    match time.saturating_sub(clock::unix_millis()) {
        0 => "now".into(),
        millis => format!("in {}", rough(millis)),
    }
}

/// A moment in Unix milliseconds as a time of the day in UTC.
pub(super) fn clock_time(time: &Value) -> String {
    let time = UNIX_EPOCH + Duration::from_millis(time.as_u64().unwrap_or_default());
    let full = humantime::format_rfc3339_millis(time).to_string();
    full.split_once('T').map_or(full.clone(), |(_, time)| time.into())
}

/// A moment in Unix seconds, in UTC. Beyond the year 9999 there is only the number.
pub(super) fn moment(seconds: u64) -> String {
    const LAST: u64 = 253_402_300_799;
    match seconds {
        0..=LAST => humantime::format_rfc3339_seconds(UNIX_EPOCH + Duration::from_secs(seconds)).to_string(),
        _ => format!("Unix second {seconds}"),
    }
}

/// A name as one argument in a shell, quoted; absent if it has characters that are only shown escaped. People paste it,
/// and clients choose names.
pub(crate) fn as_argument(text: &str) -> Option<String> {
    (shown(text) == text).then(|| format!("'{}'", text.replace('\'', r"'\''")))
}

/// Prints rows below a heading, each column as wide as its widest text.
pub(crate) fn print_table(heading: &[&str], rows: &[Vec<String>]) -> anyhow::Result<()> {
    let mut lines = vec![heading.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>()];
    lines.extend(rows.iter().map(|row| row.iter().map(|text| shown(text)).collect()));
    let widths = (0..heading.len()).map(|column| {
        let texts = lines.iter().filter_map(|line| line.get(column));
        texts.map(|text| text.chars().count()).max().unwrap_or_default()
    });
    let widths = widths.collect::<Vec<_>>();
    for line in lines {
        let cells = line.iter().zip(&widths).map(|(text, &width)| format!("{text:<width$}"));
        print::line(cells.collect::<Vec<_>>().join("  ").trim_end())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn a_shell_reads_a_quoted_name_as_it_is() {
        for name in ["lobby", "u'; touch pwned; echo '", "-rf", "$(id) `id` \"x\" \\", "a  b*", "'", ""] {
            let quoted = as_argument(name).unwrap();
            let echoed = Command::new("sh").args(["-c", &format!("printf %s {quoted}")]).output().unwrap();
            assert_eq!(String::from_utf8(echoed.stdout).unwrap(), name);
        }
        for name in ["a\u{200b}", "\x1b[2J", "a\nb"] {
            assert_eq!(as_argument(name), None, "{name:?}");
        }
    }

    #[test]
    fn one_of_a_kind_has_no_plural() {
        let shown = [(0, "entry"), (1, "entry"), (2, "entry"), (1, "room"), (1_000, "room")];
        let shown = shown.map(|(count, noun)| counted(count, noun));
        assert_eq!(shown, ["0 entries", "1 entry", "2 entries", "1 room", "1000 rooms"]);
    }

    #[test]
    fn a_hostile_name_is_shown_escaped() {
        for (name, text) in [
            ("lobby", "lobby"),
            ("Grüße 日本", "Grüße 日本"),
            ("<b>", "<b>"),
            ("\x1b[2J", "\\u{1b}[2J"),
            ("a\u{202e}b", "a\\u{202e}b"),
            ("a\nb\u{9b}", "a\\u{a}b\\u{9b}"),
            ("a\u{200b}", "a\\u{200b}"),
        ] {
            assert_eq!(shown(name), text);
            let json = shown_json(&Value::from(name).to_string());
            assert!(!json.chars().any(may_mislead), "{json}");
            assert_eq!(serde_json::from_str::<Value>(&json).unwrap(), name);
        }
    }
}
