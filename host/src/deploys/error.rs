//! The reasons why a deploy is refused, with the next step for the operator.

use super::journal::BadDeploys;
use crate::config::ConfigError;
use crate::file_problem::FileProblem;
use crate::guest::LoadError;
use crate::limits::MAX_SETTLE_AFTER;
use crate::room::TrialFailed;

/// The reason why a deploy or a rollback did not begin. Nothing has changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DeployError {
    /// Nothing of this name can be deployed to.
    #[error("there is no namespace {target}; the configuration lists the namespaces, and `router` is the router")]
    NoTarget {
        /// The name.
        target: String,
    },
    /// The component cannot be used.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// The settings of the namespace do not fit the component.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// It cannot wake on the data of a room.
    #[error(transparent)]
    Trial(#[from] TrialFailed),
    /// It cannot be written.
    #[error("it cannot be written to the data directory: {0}; nothing was changed")]
    NotKept(#[source] std::io::Error),
    /// The version before is not there.
    #[error(transparent)]
    Kept(#[from] BadDeploys),
    /// The file that the configuration names cannot be read.
    #[error("{target}: {path} cannot be read")]
    File {
        /// The namespace, or `router`.
        target: String,
        /// The file.
        path: String,
        /// The error of the operating system.
        source: FileProblem,
    },
    /// There is no version before.
    #[error("{target} has no version before this one; deploy a file instead")]
    NothingBefore {
        /// The namespace, or `router`.
        target: String,
    },
    /// A router has no rooms.
    #[error("a router has no rooms: deploy it without `canary` and `rooms`")]
    CanaryOfRouter,
    /// The rooms of a canary.
    #[error("a canary is for 0.01 % to 100 % of the rooms, and a pattern has 1 to 512 bytes")]
    Selection,
    /// The time until it settles.
    #[error("a deploy settles after at most {} days", MAX_SETTLE_AFTER.as_secs() / (24 * 60 * 60))]
    SettleAfter,
}

impl DeployError {
    /// Whether the host failed, and not the component or the request.
    pub fn is_of_host(&self) -> bool {
        matches!(self, DeployError::NotKept(_) | DeployError::Kept(_))
    }
}
