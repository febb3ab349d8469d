//! Why a configuration cannot be used.

use std::path::PathBuf;

use crate::file_problem::FileProblem;

/// Why a configuration cannot be used. The operator must act.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("{path} cannot be read")]
    Read {
        /// The file.
        path: PathBuf,
        /// The error.
        source: FileProblem,
    },
    /// It is not TOML, has an unknown key, or a value of the wrong type.
    #[error("{path}: {message}")]
    Parse {
        /// The file.
        path: PathBuf,
        /// The problem, its place, and the key that may have been meant.
        message: String,
    },
    /// A value cannot be used.
    #[error("{key}: {problem}")]
    Invalid {
        /// The key, with dots.
        key: String,
        /// The problem, and how to solve it.
        problem: String,
    },
}

impl ConfigError {
    pub(crate) fn invalid(key: impl Into<String>, problem: impl Into<String>) -> Self {
        ConfigError::Invalid { key: key.into(), problem: problem.into() }
    }
}
