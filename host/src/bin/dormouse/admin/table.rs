//! Prints for people: columns, and names that cannot harm a terminal.

use crate::print;

/// A name as a terminal may show it. Control characters could be commands, and characters that change the direction of
/// text or take no place could make it look like another name: they are escaped.
pub(crate) fn shown(text: &str) -> String {
    let may_mislead = |char: char| {
        let is_invisible = matches!(char,
            '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
            | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}');
        char.is_control() || is_invisible
    };
    let escaped = |char: char| if may_mislead(char) { char.escape_unicode().collect() } else { char.to_string() };
    text.chars().map(escaped).collect()
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
    use super::*;

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
        }
    }
}
