//! The operator's view of deploys: the versions of a namespace or the router, and which rooms run them.

use serde::Serialize;

use super::journal::{Failure, Kept, Record};
use crate::clock::UnixMillis;
use crate::rollout::{Selection, Versions};

/// The versions of a namespace or the router.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct DeployStatus {
    /// The namespace, or `router`.
    pub target: String,
    /// The version that runs, or to which rooms return.
    pub version: VersionStatus,
    /// The version that is being deployed.
    pub candidate: Option<CandidateStatus>,
    /// The rooms of each version.
    pub rooms: Vec<RoomsOfVersion>,
    /// The versions that can run again, newest first.
    pub versions: Vec<VersionStatus>,
    /// Why the last deploy stopped.
    pub last_failure: Option<Failure>,
}

/// One version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct VersionStatus {
    /// The hash of its component.
    pub hash: String,
    /// Since when it runs, or when it last began to run, in Unix milliseconds: when it was deployed, or rolled back to. If
    /// it was not, when the host started with it.
    pub since: UnixMillis,
    /// Whether it is the component that the configuration named at the start.
    pub configured: bool,
}

/// The version that is being deployed.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CandidateStatus {
    /// The hash of its component.
    pub hash: String,
    /// When the deploy began, in Unix milliseconds.
    pub since: Option<UnixMillis>,
    /// The share of the rooms that take it, in percent.
    pub percent: f64,
    /// The pattern of the names of the rooms that take it.
    pub pattern: Option<String>,
    /// After how many seconds without a failure it settles. Absent if it is not for all rooms.
    pub settles_after_s: Option<u64>,
}

/// How many rooms run a version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RoomsOfVersion {
    /// The hash of its component.
    pub hash: String,
    /// The rooms in memory that ran it last. A room takes other code at its next event.
    pub rooms: usize,
    /// The rooms whose data it has migrated, since it was deployed or the server was started.
    pub migrated: usize,
}

impl DeployStatus {
    pub(super) fn new(
        target: &str,
        versions: &Versions,
        record: &Record,
        configured: Option<&str>,
        started: UnixMillis,
    ) -> Self {
        let kept = |hash: &str| record.versions.iter().find(|kept| kept.hash == hash);
        let version = |hash: &str, kept: Option<&Kept>| VersionStatus {
            hash: hash.to_owned(),
            since: kept.map_or(started, |kept| kept.since),
            configured: configured == Some(hash),
        };
        let candidate = versions.candidate.as_ref().map(|(hash, Selection { share, rooms })| {
            let kept = record.candidate.as_ref().filter(|candidate| *candidate.version.hash == **hash);
            CandidateStatus {
                hash: hash.to_string(),
                since: kept.map(|candidate| candidate.version.since),
                percent: f64::from(*share) / 100.0,
                pattern: rooms.clone(),
                settles_after_s: kept.and_then(|candidate| candidate.settle_after()).map(|after| after.as_secs()),
            }
        });
        let rooms = versions.rooms.iter().filter(|of| of.rooms > 0 || of.migrated > 0);
        DeployStatus {
            target: target.to_owned(),
            version: version(&versions.stable, kept(&versions.stable)),
            candidate,
            rooms: rooms
                .map(|of| RoomsOfVersion { hash: of.hash.to_string(), rooms: of.rooms, migrated: of.migrated })
                .collect(),
            versions: record.versions.iter().rev().map(|kept| version(&kept.hash, Some(kept))).collect(),
            last_failure: record.last_failure.clone(),
        }
    }
}
