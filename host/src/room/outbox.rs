//! The output gate: what turns said, held in order until it is durable.

use std::collections::VecDeque;

use tokio::sync::oneshot;

use super::{ConnectError, NoAnswer, Seat};
use crate::model::{Output, Response};
use crate::store::Receipt;

/// What one turn said, and to whom it answered.
pub(super) struct Held {
    /// The turn's number.
    pub(super) turn: u64,
    pub(super) outputs: Vec<Output>,
    pub(super) reply: Reply,
}

/// An answer, and who waits for it.
pub(super) enum Reply {
    None,
    Connect(Result<Seat, ConnectError>, oneshot::Sender<Result<Seat, ConnectError>>),
    Request(Result<Response, NoAnswer>, oneshot::Sender<Result<Response, NoAnswer>>),
}

/// What a room's turns said and nobody has heard yet.
#[derive(Default)]
pub(super) struct Outbox {
    held: VecDeque<(u64, Held)>,
    /// The number of the room's last durable commit.
    durable: u64,
}

impl Outbox {
    /// An outbox of a room whose commits up to `durable` are on disk.
    pub(super) fn after(durable: u64) -> Self {
        Outbox { held: VecDeque::new(), durable }
    }

    /// Hold what a turn said behind a commit: its own, or the last one before it.
    pub(super) fn hold(&mut self, commit: u64, held: Held) {
        self.held.push_back((commit, held));
    }

    /// A commit is durable.
    pub(super) fn show(&mut self, receipt: &Receipt) {
        self.durable = self.durable.max(receipt.number());
    }

    /// The next that may be said, if any: in order, and only behind durable commits.
    pub(super) fn release(&mut self) -> Option<Held> {
        let (commit, _) = self.held.front()?;
        if *commit > self.durable {
            return None;
        }
        self.held.pop_front().map(|(_, held)| held)
    }

    /// How many turns wait.
    pub(super) fn len(&self) -> usize {
        self.held.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.held.is_empty()
    }
}
