//! Frames that overtake the messages of a node whose link is slow. Random seeds reach some of these cases once in
//! hundreds of thousands.

use dormouse_ownership::ownership::{Down, Edge, EdgeEffect, EdgeInput, Fence, NodeId, RoomId, SocketId, Tenure, To};

const ROOM: RoomId = RoomId(1);
const FIRST: NodeId = NodeId(1);
const SLOW: NodeId = NodeId(2);
const LAST: NodeId = NodeId(3);

fn tenure(epoch: u64) -> Tenure {
    Tenure(Fence { epoch, token: epoch })
}

/// An edge, and what it has done since it was last asked.
#[derive(Default)]
struct Driven {
    edge: Edge<(), u64>,
    effects: Vec<EdgeEffect<(), u64>>,
}

impl Driven {
    fn connect(&mut self, socket: SocketId) {
        self.edge.handle(EdgeInput::Connect { socket, room: ROOM, place: FIRST, event: () }, &mut self.effects);
    }

    fn receive(&mut self, from: NodeId, message: Down<u64>) {
        self.edge.handle(EdgeInput::Message { from, room: ROOM, message }, &mut self.effects);
    }

    /// What clients got to see: frames, or that they were closed.
    fn seen(&mut self) -> Vec<(SocketId, Option<u64>)> {
        let seen = self.effects.drain(..).filter_map(|effect| match effect {
            EdgeEffect::Deliver { socket, frame } => Some((socket, Some(frame))),
            EdgeEffect::Close(socket) => Some((socket, None)),
            _ => None,
        });
        seen.collect()
    }
}

#[test]
fn a_socket_gets_the_frames_that_overtook_its_seat() {
    let (seated, connecting) = (SocketId(1), SocketId(2));
    let mut edge = Driven::default();
    edge.connect(seated);
    edge.receive(FIRST, Down::Seated { socket: seated, tenure: tenure(1) });
    edge.receive(FIRST, Down::HandedOver { tenure: tenure(1), to: SLOW });
    edge.connect(connecting);
    // The slow node has refused the one, seated the other and handed the room over. The last node is quicker.
    edge.receive(LAST, Down::Say { tenure: tenure(3), to: To::Everyone, frame: 7 });
    edge.receive(SLOW, Down::NotAdopted { from: tenure(1) });
    assert_eq!(edge.seen(), [(seated, None)]);
    edge.receive(SLOW, Down::Seated { socket: connecting, tenure: tenure(2) });
    edge.receive(SLOW, Down::HandedOver { tenure: tenure(2), to: LAST });
    edge.receive(LAST, Down::Adopted { from: tenure(2), tenure: tenure(3) });
    edge.receive(LAST, Down::Say { tenure: tenure(3), to: To::Everyone, frame: 8 });
    assert_eq!(edge.seen(), [(connecting, Some(7)), (connecting, Some(8))]);
}
