//! The file of passwords of libpq: lines `host:port:database:user:password`. It knows no connection.

use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::{fs, io};

use crate::file_problem::FileProblem;

/// The reason why a file of passwords cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PassfileError {
    /// It cannot be read.
    #[error("the file of passwords {path} cannot be read: {problem}")]
    Read {
        /// The file.
        path: PathBuf,
        /// The reason.
        problem: FileProblem,
    },
    /// Others may read it.
    #[error("other users may read the file of passwords {0}; run `chmod 600` on it")]
    Open(PathBuf),
}

/// The five fields of a line.
pub(super) type Line = [String; 5];

/// Reads the lines of a file. A file that nobody has named may be absent.
pub(super) fn read(path: &Path, is_named: bool) -> Result<Vec<Line>, PassfileError> {
    let unreadable = |error: io::Error| PassfileError::Read { path: path.into(), problem: error.into() };
    #[expect(clippy::disallowed_methods, reason = "the file of passwords is read here only")]
    let opened = fs::File::open(path);
    let mut file = match opened {
        Err(error) if error.kind() == io::ErrorKind::NotFound && !is_named => return Ok(Vec::new()),
        opened => opened.map_err(unreadable)?,
    };
    let metadata = file.metadata().map_err(unreadable)?;
    // As libpq does, but it goes on without the file, and the error of the server says nothing of it.
    if metadata.is_file() && metadata.mode() & 0o077 != 0 {
        return Err(PassfileError::Open(path.into()));
    }
    let mut text = String::new();
    file.read_to_string(&mut text).map_err(unreadable)?;
    Ok(text.lines().filter(|line| !line.starts_with('#')).filter_map(fields).collect())
}

/// The password of the first line that fits.
pub(super) fn find(lines: &[Line], host: &str, port: u16, database: &str, user: &str) -> Option<String> {
    let wanted = [host, &port.to_string(), database, user];
    let fits = |line: &&Line| wanted.iter().zip(&line[..4]).all(|(wanted, field)| field == "*" || field == wanted);
    lines.iter().find(fits).map(|line| line[4].clone())
}

/// The fields of a line, which are separated by colons. A backslash makes the next character part of its field. All
/// behind the fourth colon is the password.
fn fields(line: &str) -> Option<Line> {
    let mut fields = Line::default();
    let (mut index, mut is_escaped) = (0, false);
    for character in line.chars() {
        match character {
            '\\' if !is_escaped => is_escaped = true,
            ':' if !is_escaped && index < 4 => index += 1,
            _ => {
                fields[index].push(character);
                is_escaped = false;
            }
        }
    }
    (index == 4).then_some(fields)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_line_that_fits_has_the_password() {
        let lines = ["db:5432:rooms:u:one", r"*:*:*:u\:v:t\\wo:3", "*:*:*:*:three", "not a line"];
        let lines = lines.iter().filter_map(|line| fields(line)).collect::<Vec<_>>();
        let find = |host: &str, user| super::find(&lines, host, 5432, "rooms", user);
        assert_eq!(find("db", "u").as_deref(), Some("one"));
        assert_eq!(find("other", "u:v").as_deref(), Some(r"t\wo:3"));
        assert_eq!(find("other", "u").as_deref(), Some("three"));
        assert_eq!(super::find(&lines[..1], "db", 1, "rooms", "u"), None);
    }
}
