//! Why a file that a setting names cannot be read, in words that say what to look at.

use std::{fmt, io};

use rustls::pki_types::pem;

/// Why a file cannot be read. It completes "… cannot be read: ".
#[derive(Debug)]
pub struct FileProblem(io::Error);

impl From<io::Error> for FileProblem {
    fn from(error: io::Error) -> Self {
        FileProblem(error)
    }
}

impl fmt::Display for FileProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.kind() {
            io::ErrorKind::NotFound => f.write_str("it does not exist"),
            io::ErrorKind::PermissionDenied => f.write_str("the user of this process may not read it"),
            io::ErrorKind::IsADirectory => f.write_str("it is a directory, and must be a file"),
            io::ErrorKind::NotADirectory => f.write_str("a part of its path is a file, and must be a directory"),
            io::ErrorKind::InvalidData => f.write_str("it is not text in UTF-8"),
            _ => {
                // The number of the operating system helps nobody.
                let text = self.0.to_string();
                f.write_str(text.split(" (os error").next().unwrap_or(&text))
            }
        }
    }
}

impl std::error::Error for FileProblem {}

/// Why a file in PEM cannot be read. `item` is what it should hold.
pub(crate) fn pem_problem(error: pem::Error, item: &str) -> String {
    match error {
        pem::Error::Io(error) => FileProblem(error).to_string(),
        pem::Error::NoItemsFound => format!("it holds no {item} in PEM"),
        error => format!("it is damaged PEM: {error}"),
    }
}
