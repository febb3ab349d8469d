//! Rooms that other nodes hand over to this one, from their offer until their sockets are in the room and their edges
//! have followed. The rules of ownership decide whether a room comes; this keeps its sockets meanwhile. It knows no link
//! but those of edges that follow.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::oneshot;

use super::convert;
use super::link::wire;
use super::near_client::{NearClient, NearLink};
use crate::lock::Lock;
use crate::model::{Address, AutoResponse, Socket, TenureId, User};
use crate::room::{Arrived, FarSeat};

/// Rooms that may be offered at once. A node offers some at a time.
const OFFERS: usize = 4_096;

/// The rooms that are on their way to this node.
#[derive(Default)]
pub(super) struct Arrivals {
    rooms: Lock<HashMap<Address, Offered>>,
    /// Clients whose edges have not followed yet.
    awaited: Lock<HashMap<(TenureId, u64), Arc<NearClient>>>,
    /// Nodes that wait for the answer to their offer.
    asked: Lock<HashMap<Address, oneshot::Sender<bool>>>,
}

/// A room that was offered, and is not open here.
struct Offered {
    tenure: TenureId,
    sockets: Vec<(Socket, Arc<NearClient>)>,
    auto_response: Option<AutoResponse>,
}

impl Arrivals {
    /// Keeps the sockets of an offered room. The answer to the offer comes with [`answer`](Self::answer). Absent if too
    /// many rooms are on their way.
    pub(super) fn offer(&self, address: &Address, offer: wire::Offer) -> Option<oneshot::Receiver<bool>> {
        if self.rooms.lock().len() >= OFFERS {
            return None;
        }
        let tenure = convert::tenure_in(offer.tenure);
        let sockets = offer.sockets.into_iter().map(|socket| {
            let client = NearClient::arriving(address.clone(), convert::kind_in(socket.kind));
            (socket_of(socket, client.clone()), client)
        });
        let sockets = sockets.collect::<Vec<_>>();
        let auto_response = offer.auto_response.map(|(request, reply)| AutoResponse { request, reply });
        let clients = sockets.iter().map(|(socket, client)| ((tenure, socket.id), client.clone())).collect::<Vec<_>>();
        // A node that offers the room again has started anew.
        self.end(address);
        self.awaited.lock().extend(clients);
        self.rooms.lock().insert(address.clone(), Offered { tenure, sockets, auto_response });
        let (answer, answered) = oneshot::channel();
        self.asked.lock().insert(address.clone(), answer);
        Some(answered)
    }

    /// The rules have decided about an offer.
    pub(super) fn answer(&self, address: &Address, is_accepted: bool) {
        if let Some(answer) = self.asked.lock().remove(address) {
            // The node that has offered may have gone.
            let _ = answer.send(is_accepted);
        }
    }

    /// The room is open here. Returns its sockets if it continues the tenure that was offered; else they are closed.
    pub(super) fn open(&self, address: &Address, continues: Option<TenureId>) -> Option<Arrived> {
        let offered = self.rooms.lock().remove(address)?;
        if continues != Some(offered.tenure) {
            self.refuse(offered);
            return None;
        }
        let Offered { sockets, auto_response, .. } = offered;
        let seated = |(socket, client): (Socket, Arc<NearClient>)| {
            let take: Box<dyn FnOnce(Box<dyn FarSeat>) + Send> = Box::new(move |seat| client.seated(seat, false));
            (socket, take)
        };
        Some(Arrived { sockets: sockets.into_iter().map(seated).collect(), auto_response })
    }

    /// The room that was offered does not come.
    pub(super) fn end(&self, address: &Address) {
        self.asked.lock().remove(address);
        let offered = self.rooms.lock().remove(address);
        if let Some(offered) = offered {
            self.refuse(offered);
        }
    }

    fn refuse(&self, offered: Offered) {
        for (socket, client) in offered.sockets {
            self.awaited.lock().remove(&(offered.tenure, socket.id));
            client.refuse();
        }
    }

    /// A client has followed its room over a link.
    pub(super) fn adopt(&self, link: &Arc<NearLink>, adopt: &wire::Adopt) {
        let client = self.awaited.lock().remove(&(convert::tenure_in(adopt.tenure), adopt.id));
        match client {
            Some(client) => client.bind(link, adopt.socket),
            None => link.refuse(adopt.socket),
        }
    }

    /// Clients of a room whose edges have not followed in time are lost. Returns how many.
    pub(super) fn give_up(&self, address: &Address) -> usize {
        let late = {
            let mut awaited = self.awaited.lock();
            awaited.extract_if(|_, client| client.address == *address).map(|(_, client)| client).collect::<Vec<_>>()
        };
        late.iter().for_each(|client| client.lost());
        late.len()
    }
}

fn socket_of(socket: wire::OfferedSocket, client: Arc<NearClient>) -> Socket {
    let wire::OfferedSocket { id, user: (user, name), access, tags, attachment, since, .. } = socket;
    let (user, access) = (Arc::new(User { id: user, name }), convert::access_in(&access));
    Socket { id, user, access, tags, attachment: Bytes::from(attachment.0), since, gone: false, client }
}
