//! Secrets that a client shows: the token of the listener, and the two halves of a session. Only their hashes are kept.

use std::fs;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::file_problem::FileProblem;

/// The shortest token, in bytes.
const TOKEN_BYTES: usize = 32;

/// The hash of a secret. Comparing hashes leaks nothing about the secret by its timing.
#[derive(Clone, Copy)]
pub(super) struct SecretHash([u8; 32]);

/// Why the token of the admin listener cannot be used. The operator must act.
#[derive(Debug, thiserror::Error)]
#[error("admin.token_file: the token in {path} cannot be used: {problem}")]
pub struct AdminTokenError {
    path: PathBuf,
    problem: String,
}

impl SecretHash {
    pub(super) fn of(secret: &[u8]) -> Self {
        SecretHash(Sha256::digest(secret).into())
    }

    /// Reads the file of a token.
    #[expect(clippy::disallowed_methods, reason = "it reads the file of the token")]
    pub(super) fn of_token_in(path: &Path) -> Result<Self, AdminTokenError> {
        let bad = |problem: String| AdminTokenError { path: path.into(), problem };
        let bytes = fs::read(path).map_err(|error| bad(FileProblem::from(error).to_string()))?;
        let token = bytes.trim_ascii();
        if token.len() < TOKEN_BYTES || !token.iter().all(u8::is_ascii_graphic) {
            return Err(bad(format!(
                "a token is a line of at least {TOKEN_BYTES} characters, such as `openssl rand -hex 32` prints"
            )));
        }
        Ok(Self::of(token))
    }

    /// Whether two tokens are the same, or both are absent.
    pub(super) fn are_same(one: Option<&Self>, other: Option<&Self>) -> bool {
        match (one, other) {
            (None, None) => true,
            (Some(one), Some(other)) => one.is(other),
            _ => false,
        }
    }

    pub(super) fn is(&self, other: &Self) -> bool {
        let differ = self.0.iter().zip(&other.0).fold(0, |differ, (one, other)| differ | (one ^ other));
        differ == 0
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "tests make files")]
mod tests {
    use super::*;

    #[test]
    fn an_admin_token_is_one_line_of_the_minimum_length() {
        let directory = tempfile::TempDir::new().unwrap();
        let path = directory.path().join("token");
        assert!(SecretHash::of_token_in(&path).is_err(), "it is not there");
        let long = "0123456789abcdef0123456789abcdef";
        for (text, good) in [(long, true), (&long[1..], false), ("", false), (&format!("{long}\n{long}"), false)] {
            fs::write(&path, text).unwrap();
            assert_eq!(SecretHash::of_token_in(&path).is_ok(), good, "{text:?}");
        }
        fs::write(&path, format!("{long}\n")).unwrap();
        let token = SecretHash::of_token_in(&path).unwrap();
        assert!(token.is(&SecretHash::of(long.as_bytes())));
        assert!(!token.is(&SecretHash::of(&long.as_bytes()[1..])) && !token.is(&SecretHash::of(b"")));
    }
}
