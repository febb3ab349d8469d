//! The way of a room from one node to another: here it stops to run turns and gives its sockets away, and there it gets
//! them before its first turn. It does not know how they travel. When it cannot go now, it stays: the store lets its turns
//! run again after a while.

use std::sync::Arc;

use super::{Broken, RoomTask};
use crate::clock;
use crate::model::{Client, SocketKey, TenureId};
use crate::room::mailbox::MovedSeats;
use crate::room::output_gate::{Delivery, TurnOutput};
use crate::room::peers::{Arrived, SetsOut};
use crate::room::reply::Reply;
use crate::room::seat::Seat;

impl RoomTask {
    /// Hands in what has run, and gives the sockets away when all of it was confirmed and has left.
    pub(super) fn leave(&mut self) -> Result<(), Broken> {
        self.submit()?;
        if !self.mailbox.output_gate.is_empty() {
            return Ok(());
        }
        self.is_offered = true;
        self.hibernate();
        let opened = self.opened();
        // A close that could not run yet is not stored, so its room cannot go.
        let (Some(tenure), true) = (opened.log.tenure(), opened.waiting_closes.is_empty()) else { return Ok(()) };
        let sockets = opened.resources().sockets.iter().map(|(_, socket)| socket.clone()).collect();
        let (auto_response, address) = (self.mailbox.output_gate.current_auto_response(), self.state().address.clone());
        if let Some(peers) = self.shared.peers.get() {
            peers.leaves(&address, tenure, sockets, auto_response);
            self.opened().log.paused();
        }
        Ok(())
    }

    /// The room has gone: the places that clients of this node have at the other node, and what lets them set out.
    pub(super) fn moved_seats(&self, clients: &[(SocketKey, u64, Arc<dyn Client>)]) -> (MovedSeats, Vec<SetsOut>) {
        let (Some(moved), Some(peers)) = (&self.handed_over, self.shared.peers.get()) else {
            return (MovedSeats::new(), Vec::new());
        };
        let here = clients.iter().filter(|(.., client)| client.is_here());
        let take = |(key, id, client): &(SocketKey, u64, Arc<dyn Client>)| {
            let (seat, sets_out) = peers.takes_along(moved, *id, client.clone());
            ((*key, seat), sets_out)
        };
        here.map(take).unzip()
    }

    /// The room was opened: takes the sockets that came with it.
    pub(super) fn arrived(&mut self, continues: Option<TenureId>) {
        let address = self.state().address.clone();
        let arrived = self.shared.peers.get().and_then(|peers| peers.arrives(&address, continues));
        let Some(Arrived { sockets, auto_response }) = arrived else { return };
        let now = clock::steady_millis();
        if !sockets.is_empty() {
            self.opened().counted_asleep = true;
            self.usage.asleep.step(1, now);
        }
        for (socket, seated) in sockets {
            let (client, user) = (socket.client.clone(), socket.user.clone());
            let key = self.opened().resources().sockets.insert(socket).expect("a new table has keys for all of them");
            self.usage.user(&user.id).sockets.step(1, now);
            seated(Box::new(Seat::new(self.shared.clone(), self.mailbox.clone(), key, client)));
        }
        let deliveries = vec![Delivery::AutoResponse(auto_response)];
        self.mailbox.output_gate.hold(0, TurnOutput { deliveries, reply: Reply::None, taken_at: None, span: None });
        self.release();
    }
}
