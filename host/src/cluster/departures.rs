//! Rooms that this node hands over to others, from the moment when they run no more turns until they have gone or stay.
//! It keeps what belongs to them meanwhile, and knows no link.

use std::collections::HashMap;

use tokio::sync::oneshot;

use super::link::wire;
use crate::lock::Lock;
use crate::model::Address;

/// How a hand-over ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    /// The room goes on at the other node.
    Left,
    /// It goes on here.
    Stays,
    /// It is unknown where it goes on, so its clients were closed with 1012.
    Lost,
}

/// The rooms that are on their way from this node.
#[derive(Default)]
pub(super) struct Departures {
    offers: Lock<HashMap<Address, wire::Offer>>,
    waiting: Lock<HashMap<Address, oneshot::Sender<Outcome>>>,
}

impl Departures {
    /// A room runs no more turns: its sockets are kept for the offer.
    pub(super) fn pack(&self, address: &Address, offer: wire::Offer) {
        self.offers.lock().insert(address.clone(), offer);
    }

    /// The offer of a room in this tenure.
    pub(super) fn take(&self, address: &Address, tenure: wire::Tenure) -> Option<wire::Offer> {
        self.offers.lock().remove(address).filter(|offer| offer.tenure == tenure)
    }

    /// Resolves when the hand-over of a room has ended.
    pub(super) fn until_ended(&self, address: &Address) -> oneshot::Receiver<Outcome> {
        let (ended, has_ended) = oneshot::channel();
        self.waiting.lock().insert(address.clone(), ended);
        has_ended
    }

    /// The hand-over of a room has ended.
    pub(super) fn end(&self, address: &Address, outcome: Outcome) {
        self.offers.lock().remove(address);
        if let Some(waiting) = self.waiting.lock().remove(address) {
            // The waiter may have given up.
            let _ = waiting.send(outcome);
        }
    }
}
