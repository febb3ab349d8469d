//! The file with the headers that go with the spans, such as the key of a hosted collector. Its content is in no log.

use std::path::Path;

use hyper::header::{HeaderName, HeaderValue};

use crate::file_problem::FileProblem;

/// The most headers of the file, and its longest content in bytes: a collector needs one or two.
const HEADERS: usize = 32;
const FILE_BYTES: usize = 16 << 10;

/// Headers that the exporter sets itself.
const OURS: [&str; 6] = ["connection", "content-length", "content-type", "host", "transfer-encoding", "upgrade"];

/// Reads lines such as `x-api-key: secret`. Empty lines, and those that begin with `#`, are skipped.
#[expect(clippy::disallowed_methods, reason = "it reads the file of the headers")]
pub(super) fn read(path: &Path) -> Result<Vec<(String, String)>, FileProblem> {
    let text = std::fs::read_to_string(path)?;
    parse(&text).map_err(|problem| std::io::Error::other(problem).into())
}

/// The problem names a line by its number: it may hold a secret.
fn parse(text: &str) -> Result<Vec<(String, String)>, String> {
    if text.len() > FILE_BYTES {
        return Err(format!("it has more than {FILE_BYTES} bytes"));
    }
    let mut headers = Vec::new();
    for (number, line) in text.lines().enumerate().map(|(at, line)| (at + 1, line.trim())) {
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let header = line.split_once(':').map(|(name, value)| (name.trim().to_ascii_lowercase(), value.trim()));
        let Some((name, value)) = header else {
            return Err(format!("line {number} is no header; write one such as `x-api-key: secret`"));
        };
        if HeaderName::try_from(&name).is_err() || HeaderValue::try_from(value).is_err() {
            return Err(format!("line {number} has characters that no header may have"));
        }
        if OURS.contains(&name.as_str()) {
            return Err(format!("the header `{name}` of line {number} is the server's to set; remove it"));
        }
        headers.push((name, value.to_owned()));
    }
    match headers.len() {
        0 => Err("it has no header; write one such as `x-api-key: secret`, or leave the setting out".into()),
        1..=HEADERS => Ok(headers),
        _ => Err(format!("it has more than {HEADERS} headers")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_read_line_by_line() {
        let read = parse("# a comment\n\nAuthorization: Bearer a:b\n X-Team :rooms \n").unwrap();
        let expected = [("authorization", "Bearer a:b"), ("x-team", "rooms")];
        assert_eq!(read, expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
    }

    #[test]
    fn a_bad_line_is_named_by_its_number_and_never_shown() {
        let many = "a: b\n".repeat(HEADERS + 1);
        let long = "#".repeat(FILE_BYTES + 1);
        for bad in
            ["", "# only a comment", "a: b\nSECRET", "a b: SECRET", "a: SEC\u{1}RET", "Host: SECRET", &many, &long]
        {
            let problem = parse(bad).unwrap_err();
            assert!(!problem.contains("SECRET") && !problem.contains("SEC\u{1}"), "{problem}");
        }
        assert!(parse("a: b\nSECRET").unwrap_err().contains("line 2"));
    }
}
