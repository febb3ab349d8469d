//! Two nodes that live and do not reach each other.

use std::net::SocketAddr;

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::watch;

use crate::harness::{BASE, Server, within};
use crate::nodes::{CONFIG, Nodes, join_when_free};

/// Passes connections on to an address, as long as it is not cut.
pub(crate) struct Relay {
    address: SocketAddr,
    cut: watch::Sender<bool>,
}

/// A relay, and the configuration of a node that others reach through it.
pub(crate) async fn behind_a_relay() -> (Relay, String) {
    let (held, listen) = free_address();
    let relay = Relay::to(listen).await;
    let address = relay.address;
    drop(held);
    let cluster = format!("[cluster]\naddress = \"{address}\"\nlisten = \"{listen}\"\nkey = \"cluster.key\"\n");
    (relay, format!("{CONFIG}\n{cluster}"))
}

impl Relay {
    /// Nothing more is passed on.
    pub(crate) fn cut(&self) {
        self.cut.send_replace(true);
    }

    async fn to(target: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, cut) = (listener.local_addr().unwrap(), watch::Sender::new(false));
        let seen = cut.subscribe();
        tokio::spawn(async move {
            while let Ok((mut one, _)) = listener.accept().await {
                let mut seen = seen.clone();
                tokio::spawn(async move {
                    let is_cut = async |seen: &mut watch::Receiver<bool>| drop(seen.wait_for(|cut| *cut).await);
                    let pass = async {
                        let mut other = TcpStream::connect(target).await?;
                        copy_bidirectional(&mut one, &mut other).await
                    };
                    tokio::select! {
                        _ = pass => {}
                        // Nothing more is passed on, and nothing is closed, as if a cable was pulled.
                        () = is_cut(&mut seen) => {
                            let _ = seen.wait_for(|cut| !*cut).await;
                        }
                    }
                });
            }
        });
        Relay { address, cut }
    }
}

/// An address that a server gets later.
fn free_address() -> (TcpSocket, SocketAddr) {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_reuseport(true).unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = socket.local_addr().unwrap();
    (socket, address)
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_of_a_room_that_is_not_reached_get_1012_and_503_until_the_network_is_back() {
    let mut nodes = Nodes::start(1, CONFIG).await;
    let (relay, cluster) = behind_a_relay().await;
    let behind = Server::in_directory(nodes.directory(), &cluster).await;
    nodes.nodes.push(Some(behind));
    nodes.until_all_know(2).await;
    let room = nodes.room_of(1).await;
    let (mut here, mut there) = (nodes.node(0).join(&room, "ana").await, nodes.node(1).join(&room, "bo").await);
    here.recv_type("history").await;
    there.recv_type("history").await;
    relay.cut();
    assert_eq!(here.recv_close().await.0, 1012);
    let path = format!("{BASE}/rooms/{room}/ws?token=id-ana:ana");
    let refused = nodes.node(0).connect(&path, &[]).await.err().expect("the owner lives, and is not reached");
    assert_eq!(refused.status, 503);
    assert!(!refused.header("retry-after").is_empty());
    // The owner goes on, and rooms of the first node are served.
    there.send_chat("still here").await;
    assert_eq!(there.recv_content().await, "still here");
    assert_eq!(nodes.owner(&room).await, Some(1));
    let own = nodes.room_of(0).await;
    let mut cy = nodes.node(0).join(&own, "cy").await;
    cy.recv_type("history").await;
    relay.cut.send_replace(false);
    let mut here = join_when_free(nodes.node(0), &path).await;
    assert_eq!(here.recv_type("history").await["messages"][0]["content"], "still here");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_does_not_read_is_closed_with_1013_and_its_link_goes_on() {
    let nodes =
        Nodes::start(2, "[limits]\nsocket_queue_bytes = 65536\n[namespaces.ROOMS]\ncomponent = \"unruly.wasm\"\n");
    let nodes = nodes.await;
    let room = nodes.room_of(0).await;
    let (slow, mut quick) = (nodes.node(1).join(&room, "slow").await, nodes.node(1).join(&room, "quick").await);
    quick.expect_text("welcome").await;
    let long = "x".repeat(100_000);
    // Until the buffers of the kernel and the queue are full.
    let closed = within(async {
        loop {
            quick.send(&format!("all {long}")).await;
            let heard = quick.recv_text().await;
            if heard.starts_with("gone id-slow") {
                return heard;
            }
        }
    });
    assert!(closed.await.starts_with("gone id-slow"));
    drop(slow);
    quick.expect_reply("who", "quick").await;
}
