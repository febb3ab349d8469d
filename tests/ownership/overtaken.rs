//! Frames that overtake the messages of a node whose link is slow. Random seeds reach some of these cases once in
//! hundreds of thousands.

use dormouse_ownership::ownership::{
    Down, Edge, EdgeEffect, EdgeInput, Fence, NodeId, RoomId, SocketId, Tenure, To, Up,
};

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

    /// All that clients got to see: frames, or that they were closed.
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
fn a_socket_gets_all_frames_of_a_node_that_overtakes_its_seat() {
    let (seated, connecting) = (SocketId(1), SocketId(2));
    let mut edge = Driven::default();
    edge.connect(seated);
    edge.receive(FIRST, Down::Seated { socket: seated, tenure: tenure(1) });
    edge.receive(FIRST, Down::HandedOver { tenure: tenure(1), to: SLOW });
    edge.connect(connecting);
    // The slow node has refused the one, seated the other and handed the room over. The last node is quicker, and holds
    // its frames until it is asked.
    edge.receive(SLOW, Down::NotAdopted { from: tenure(1) });
    assert_eq!(edge.seen(), [(seated, None)]);
    edge.receive(SLOW, Down::Seated { socket: connecting, tenure: tenure(2) });
    edge.receive(SLOW, Down::HandedOver { tenure: tenure(2), to: LAST });
    let asks = Up::Adopt { tenure: tenure(2), sockets: vec![connecting] };
    assert!(edge.effects.contains(&EdgeEffect::Send { to: LAST, room: ROOM, message: asks }), "{:?}", edge.effects);
    edge.receive(LAST, Down::Adopted { from: tenure(2), tenure: tenure(3) });
    edge.receive(LAST, Down::Say { tenure: tenure(3), to: To::Everyone, frame: 7 });
    edge.receive(LAST, Down::Say { tenure: tenure(3), to: To::Everyone, frame: 8 });
    assert_eq!(edge.seen(), [(connecting, Some(7)), (connecting, Some(8))]);
}

#[test]
fn an_edge_takes_no_frame_of_a_node_that_it_has_not_asked() {
    let socket = SocketId(1);
    let mut edge = Driven::default();
    edge.connect(socket);
    edge.receive(FIRST, Down::Seated { socket, tenure: tenure(1) });
    edge.receive(LAST, Down::Say { tenure: tenure(2), to: To::Everyone, frame: 8 });
    edge.receive(FIRST, Down::Say { tenure: tenure(1), to: To::Everyone, frame: 7 });
    assert_eq!(edge.seen(), [(socket, Some(7))]);
}
