//! The hand-over of rooms from node to node, as the driver sees it: it passes what rooms and other nodes say to the rules
//! of ownership, and what these ask for to the rooms and to the cluster. It knows no link and no socket.

use super::rooms::{Log, Room, State};
use super::worker::Worker;
use crate::cluster::ownership::{Ended, Input, NodeId, Peer, RoomId, Tenure};
use crate::model::Address;
use crate::panics::guard;
use crate::store::membership::Step;

impl Worker {
    /// A room shall go to another node.
    pub(super) fn hand_over_to(&mut self, address: &Address, to: NodeId) {
        let id = self.state.rooms.known(address);
        let room = id.and_then(|id| self.state.rooms.get(id));
        // A room without a log is let go soon, and then may be opened anywhere.
        let is_ready =
            |room: &Room| matches!((&room.state, &room.log), (State::Open(_), Log::Open(Some(_)))) && !room.is_leaving;
        let begins = match id.filter(|_| room.is_some_and(is_ready)) {
            Some(id) => {
                self.input(Input::HandOver { room: id, to });
                self.state.rooms.get(id).is_some_and(|room| room.is_leaving)
            }
            None => false,
        };
        if !begins {
            self.tell(Step::Stays(address.clone()));
        }
    }

    /// A room runs no more turns.
    pub(super) fn paused(&mut self, address: &Address, tenure: Option<Tenure>) {
        let Some(id) = self.state.rooms.known(address) else { return };
        if self.state.rooms.get(id).is_some_and(|room| room.is_leaving && room.tenure() == tenure) {
            self.input(Input::Paused(id));
        }
    }

    /// Another node says something about a room.
    pub(super) fn said(&mut self, from: NodeId, address: &Address, message: Peer) {
        let id = self.state.rooms.at(address);
        if let (Peer::Yours { .. }, Some(room)) = (&message, self.state.rooms.get_mut(id))
            && room.is_offered
            && room.state == State::Closed
        {
            room.state = State::Opening;
        }
        self.input(Input::Message { from, room: id, message });
        self.state.rooms.tidy(id);
    }

    /// The rules want no further turn of a room.
    pub(super) fn pause(&mut self, id: RoomId) {
        let Some(room) = self.state.rooms.get_mut(id) else { return };
        room.is_leaving = true;
        if let Log::Open(Some(listener)) = &room.log {
            guard(|| listener.pause());
        }
    }

    /// The room stays here.
    pub(super) fn resume(&mut self, id: RoomId) {
        let Some(room) = self.state.rooms.get_mut(id) else { return };
        room.is_leaving = false;
        if let Log::Open(Some(listener)) = &room.log {
            guard(|| listener.resume());
        }
        self.step(id, Step::Stays);
    }

    /// The rules have a message for another node.
    pub(super) fn send(&mut self, to: NodeId, id: RoomId, message: Peer) {
        let Some(room) = self.state.rooms.get_mut(id) else { return };
        room.is_offered |= matches!(message, Peer::Accept { .. });
        let room = room.address.clone();
        self.tell(Step::Send { to, room, message });
    }

    /// A room that this node has accepted does not come.
    pub(super) fn offer_ends(&mut self, id: RoomId) {
        let Some(room) = self.state.rooms.get_mut(id) else { return };
        if std::mem::take(&mut room.is_offered) {
            self.step(id, Step::OfferEnds);
            self.state.rooms.tidy(id);
        }
    }

    /// The tenure of a room has ended: was that its hand-over?
    pub(super) fn moved(&mut self, id: RoomId, why: Ended) {
        let Some(room) = self.state.rooms.get_mut(id) else { return };
        if std::mem::take(&mut room.is_leaving) {
            self.step(id, if matches!(why, Ended::HandedOver(_)) { Step::Left } else { Step::Lost });
        }
    }

    pub(super) fn step(&self, id: RoomId, step: fn(Address) -> Step) {
        if let Some(room) = self.state.rooms.get(id) {
            self.tell(step(room.address.clone()));
        }
    }

    fn tell(&self, step: Step) {
        // A server alone has no rooms of others.
        if let Some(nodes) = &self.nodes {
            nodes.step(step);
        }
    }
}
