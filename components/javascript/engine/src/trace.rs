//! Positions in the sources of a bundle, for errors and logs.
//!
//! A bundler joins many files to one, and says in a source map where each piece came from. QuickJS knows positions in
//! the bundle only, so every text for a log passes through `translate`. The map is decoded when it is asked, because
//! errors are rare and a decoded map takes much memory.

/// A source map, as version 3 of the format encodes its mappings.
pub struct SourceMap {
    script: String,
    sources: Vec<String>,
    mappings: String,
}

/// A position in a source; lines and columns count from 1.
#[derive(Debug, PartialEq, Eq)]
pub struct Position<'a> {
    /// The name of the source.
    pub source: &'a str,
    /// The line.
    pub line: u32,
    /// The column.
    pub column: u32,
}

impl SourceMap {
    /// Reads the names of the sources, one a line, an empty line, and the mappings.
    ///
    /// Fails: if there is no empty line.
    pub fn parse(script: &str, text: &str) -> Result<SourceMap, String> {
        let (sources, mappings) = text.split_once("\n\n").ok_or("the source map has no mappings")?;
        Ok(SourceMap {
            script: script.to_owned(),
            sources: sources.lines().map(str::to_owned).collect(),
            mappings: mappings.trim().to_owned(),
        })
    }

    /// Replaces each `script:line:column` in a text by the position in the source.
    pub fn translate(&self, text: &str) -> String {
        let mut translated = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(start) = rest.find(&self.script) {
            let (before, after) = rest.split_at(start);
            translated.push_str(before);
            rest = &after[self.script.len()..];
            match numbers(rest).and_then(|(line, column, left)| Some((self.find(line, column)?, left))) {
                Some((position, left)) => {
                    translated.push_str(&format!("{}:{}:{}", position.source, position.line, position.column));
                    rest = left;
                }
                None => translated.push_str(&self.script),
            }
        }
        translated + rest
    }

    /// Finds the source of a position in the script; lines and columns count from 1.
    pub fn find(&self, line: u32, column: u32) -> Option<Position<'_>> {
        let (wanted_line, wanted_column) = (line.checked_sub(1)?, i64::from(column.checked_sub(1)?));
        let mut fields = [0_i64; 5];
        let mut found = None;
        for (index, mappings) in (0..).zip(self.mappings.split(';')) {
            fields[0] = 0;
            for segment in mappings.split(',').filter(|segment| !segment.is_empty()) {
                let count = add_segment(segment, &mut fields)?;
                if index == wanted_line && fields[0] <= wanted_column {
                    found = (count >= 4).then_some([fields[1], fields[2], fields[3]]);
                }
            }
            if index == wanted_line {
                break;
            }
        }
        let [source, line, column] = found?;
        Some(Position {
            source: self.sources.get(usize::try_from(source).ok()?)?,
            line: u32::try_from(line).ok()?.checked_add(1)?,
            column: u32::try_from(column).ok()?.checked_add(1)?,
        })
    }
}

/// Reads `:line:column`, and returns the rest of the text.
fn numbers(text: &str) -> Option<(u32, u32, &str)> {
    let (line, rest) = number(text)?;
    let (column, rest) = number(rest)?;
    Some((line, column, rest))
}

fn number(text: &str) -> Option<(u32, &str)> {
    let text = text.strip_prefix(':')?;
    let end = text.find(|digit: char| !digit.is_ascii_digit()).unwrap_or(text.len());
    Some((text[..end].parse().ok()?, &text[end..]))
}

/// Adds the numbers of a segment, which are differences in base 64, and returns how many there are.
fn add_segment(segment: &str, fields: &mut [i64; 5]) -> Option<usize> {
    let mut count = 0;
    let (mut value, mut shift) = (0_i64, 0);
    for digit in segment.bytes() {
        let digit = i64::from(match digit {
            b'A'..=b'Z' => digit - b'A',
            b'a'..=b'z' => digit - b'a' + 26,
            b'0'..=b'9' => digit - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => return None,
        });
        if shift > 30 {
            return None;
        }
        value |= (digit & 31) << shift;
        shift += 5;
        if digit & 32 == 0 {
            let difference = if value & 1 == 1 { -(value >> 1) } else { value >> 1 };
            *fields.get_mut(count)? += difference;
            (value, shift) = (0, 0);
            count += 1;
        }
    }
    Some(count)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The map that esbuild 0.28.2 wrote for these two files, bundled from the second:
    ///
    /// ```ts
    /// /* Rules */ export function move(n: number): number {
    ///   // Only forward.
    ///   return n + 1;
    /// }
    /// ```
    ///
    /// ```ts
    /// import { move } from "./rules"; export class Room {
    ///   step(n: number) {
    ///     return move(n);
    ///   }
    /// }
    /// ```
    ///
    /// The bundle has `function move(n) {` in line 2, `var Room = class {` in line 7, `    return move(n);` in line 9,
    /// and its last line, 14, has no mapping.
    const MAPPINGS: &str = ";AAAmB,SAAS,KAAK,GAAmB;AAElD,SAAO,IAAI;AACb;;;ACHuC,IAAM,OAAN,MAAW;AAAA,EAChD,KAAK,\
                            GAAW;AACd,WAAO,KAAK,CAAC;AAAA,EACf;AACF;";

    fn map() -> SourceMap {
        SourceMap::parse("room.js", &format!("src/rules.ts\nsrc/room.ts\n\n{MAPPINGS}")).unwrap()
    }

    #[test]
    fn a_position_is_found_in_its_source() {
        let map = map();
        for ((line, column), (source, source_line, source_column)) in [
            ((2, 1), ("src/rules.ts", 1, 20)),
            ((2, 10), ("src/rules.ts", 1, 29)),
            ((2, 12), ("src/rules.ts", 1, 29)),
            ((3, 3), ("src/rules.ts", 3, 3)),
            ((7, 1), ("src/room.ts", 1, 40)),
            ((7, 5), ("src/room.ts", 1, 46)),
            ((9, 5), ("src/room.ts", 3, 5)),
            ((9, 12), ("src/room.ts", 3, 12)),
        ] {
            let position = Position { source, line: source_line, column: source_column };
            assert_eq!(map.find(line, column), Some(position), "{line}:{column}");
        }
        for (line, column) in [(0, 1), (2, 0), (1, 1), (5, 1), (14, 1), (99, 9), (u32::MAX, u32::MAX)] {
            assert_eq!(map.find(line, column), None, "{line}:{column}");
        }
    }

    #[test]
    fn the_positions_of_a_trace_are_replaced() {
        let trace = "Error: no\n    at move (room.js:2:10)\n    at room.js:99:9\n    at native room.js";
        let translated = "Error: no\n    at move (src/rules.ts:1:29)\n    at room.js:99:9\n    at native room.js";
        assert_eq!(map().translate(trace), translated);
    }

    #[test]
    fn a_damaged_map_finds_nothing() {
        for mappings in ["!", "AAAAAAAA", "gggggggggggggggg", "////////////"] {
            let map = SourceMap::parse("room.js", &format!("a.ts\n\n{mappings}")).unwrap();
            assert_eq!(map.find(1, 1), None, "{mappings}");
        }
        assert!(SourceMap::parse("room.js", "a.ts").is_err());
    }
}
