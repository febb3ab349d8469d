//! Hands rooms over to other nodes, and takes those of others: it carries the steps that the rules of ownership ask for
//! over links, and decides which rooms go when this node ends, and when another one joins. It knows no SQL and no guest.

use std::sync::Arc;
use std::time::Duration;

use futures_util::{StreamExt, stream};
use tokio::sync::mpsc::Receiver;

use super::arrivals::Arrivals;
use super::convert;
use super::departures::{Departures, Outcome};
use super::far::Far;
use super::link::wire::{Passed, Yours};
use super::metrics::Metrics;
use super::near::Near;
use super::ownership::{NodeId, Peer, Tenure};
use crate::clock;
use crate::limits::HAND_OVER_MS;
use crate::model::Address;
use crate::room::Rooms;
use crate::store::{Hint, Membership, Step};

/// Rooms that a node that ends hands over at once.
const AT_ONCE: usize = 64;

/// How often a node that ends tries to hand a room over: the next owner may have been opening it.
const ATTEMPTS: usize = 3;

/// The pause before it tries again.
const PAUSE: Duration = Duration::from_millis(100);

/// The pause between two rooms that go to a node that has joined: 100 rooms a second at most, one after another.
const JOIN_PAUSE: Duration = Duration::from_millis(10);

/// How long a room that has gone may take to tell its sockets.
const TOLD_TIME: Duration = Duration::from_millis(HAND_OVER_MS);

/// Each hand-over ends in this time.
const OUTCOME_TIME: Duration = Duration::from_millis(3 * HAND_OVER_MS);

/// The hand-overs of a node.
pub(super) struct HandOvers {
    pub(super) rooms: Rooms,
    pub(super) membership: Membership,
    pub(super) far: Arc<Far>,
    pub(super) near: Arc<Near>,
    pub(super) arrivals: Arc<Arrivals>,
    pub(super) departures: Arc<Departures>,
    pub(super) metrics: Arc<Metrics>,
}

impl HandOvers {
    /// Carries out the steps that the rules ask for.
    pub(super) async fn run(self: Arc<Self>, mut steps: Receiver<Step>) {
        while let Some(step) = steps.recv().await {
            match step {
                Step::Send { to, room, message } => self.send(to, room, message),
                Step::Stays(room) => self.departures.end(&room, Outcome::Stays),
                Step::Left(room) => self.left(room),
                Step::Lost(room) => self.departures.end(&room, Outcome::Lost),
                Step::AdoptionEnds(room) => {
                    let lost = self.arrivals.give_up(&room);
                    if lost > 0 {
                        tracing::warn!(%room, clients = lost, "clients have not followed their room to this node in time");
                    }
                }
                Step::OfferEnds(room) => self.arrivals.end(&room),
            }
        }
    }

    /// The other node has a room. The hand-over ends when its sockets were told: until then they are still here.
    fn left(self: &Arc<Self>, room: Address) {
        let this = self.clone();
        tokio::spawn(async move {
            clock::sleep(TOLD_TIME).await;
            this.departures.end(&room, Outcome::Left);
        });
    }

    fn send(self: &Arc<Self>, to: NodeId, room: Address, message: Peer) {
        match message {
            Peer::Accept { .. } => self.arrivals.answer(&room, true),
            Peer::Decline { .. } => self.arrivals.answer(&room, false),
            Peer::Offer { tenure } => {
                let this = self.clone();
                tokio::spawn(async move { this.offer(to, room, tenure).await });
            }
            Peer::Yours { tenure, number } => {
                let (namespace, name) = (room.namespace().into(), room.name().into());
                let yours = Yours { namespace, name, tenure: convert::tenure_from(tenure), number };
                let this = self.clone();
                // Without an answer the next owner gives the offer up, and its clients come back.
                tokio::spawn(async move { this.far.pass(to, Passed::Yours(yours)).await });
            }
        }
    }

    async fn offer(&self, to: NodeId, room: Address, tenure: Tenure) {
        let is_accepted = match self.departures.take(&room, convert::tenure_from(tenure)) {
            Some(offer) => self.far.pass(to, Passed::Offer(offer)).await,
            None => false,
        };
        let message = if is_accepted { Peer::Accept { tenure } } else { Peer::Decline { tenure } };
        self.membership.tell(Hint::Said { from: to, room, message });
    }

    /// Hands a room over to another node.
    async fn hand_over(&self, room: Address, to: NodeId) -> Outcome {
        let began = clock::monotonic();
        let ended = self.departures.until_ended(&room);
        self.membership.tell(Hint::HandOver(room.clone(), to));
        let outcome = match clock::timeout(OUTCOME_TIME, ended).await {
            Ok(Ok(outcome)) => outcome,
            _ => Outcome::Stays,
        };
        let took = clock::since(began);
        self.metrics.handed_over(outcome, took);
        match outcome {
            Outcome::Lost => {
                tracing::warn!(%room, node = to.0, "a room was not handed over in order; its clients come back")
            }
            _ => tracing::debug!(%room, node = to.0, ?outcome, ?took, "a room was to go to another node"),
        }
        outcome
    }

    /// This node ends: rooms with clients of other nodes go to others. It takes no longer than `at_most`.
    pub(super) async fn leave(&self, at_most: Duration) {
        let began = clock::monotonic();
        let (mut left, mut attempts) = (0, 0);
        let all = async {
            while attempts < ATTEMPTS {
                attempts += 1;
                let rooms = self.near.rooms().into_iter().filter_map(|room| {
                    let to = self.far.better_place(&room)?;
                    Some(self.hand_over(room, to))
                });
                let mut outcomes = stream::iter(rooms).buffer_unordered(AT_ONCE);
                let mut has_stayed = false;
                while let Some(outcome) = outcomes.next().await {
                    left += usize::from(outcome == Outcome::Left);
                    has_stayed |= outcome == Outcome::Stays;
                }
                if !has_stayed {
                    return;
                }
                clock::sleep(PAUSE).await;
            }
        };
        let _ = clock::timeout(at_most, all).await;
        let stay = self.near.rooms().len();
        if left + stay > 0 {
            let took = clock::since(began);
            tracing::info!(
                rooms = left,
                not_handed_over = stay,
                ?took,
                "this node has handed its rooms over to others"
            );
        }
    }

    /// Another node has joined: it gets the rooms that should be there, one after another.
    pub(super) async fn share(&self) {
        let (mut left, mut others) = (0, 0);
        for room in self.rooms.in_memory() {
            let Some(to) = self.far.better_place(&room) else { continue };
            match self.hand_over(room, to).await {
                Outcome::Left => left += 1,
                Outcome::Stays | Outcome::Lost => others += 1,
            }
            clock::sleep(JOIN_PAUSE).await;
        }
        tracing::info!(rooms = left, not_handed_over = others, "rooms were handed over to a node that has joined");
    }
}
