//! A panic in the host's own code, or in an embedder's, affects one client or one room, and no other.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use dormouse::Host;
use dormouse::config::{Config, Limits, Namespace};
use dormouse::model::{Address, Client, Message, OutboundMessage, Request, User};
use dormouse::room::{LocalSocket, Received, Seat};
use dormouse::store::{Store, StoreOptions};
use serde_json::{Value, json};

use crate::faulty_disk::{Fault, FaultDisk};
use crate::harness::within;

/// A client whose code panics on request.
#[derive(Default)]
struct PanickingClient {
    panics: AtomicU8,
    closed: Mutex<Option<u16>>,
}

const AT_ENQUEUE: u8 = 1;
const AT_FLUSH: u8 = 2;
const AT_TURN_DONE: u8 = 3;
const AT_BUFFERED: u8 = 4;

impl PanickingClient {
    fn panic_at(&self, at: u8) {
        self.panics.store(at, Ordering::SeqCst);
    }

    fn panic_if(&self, here: u8) {
        if self.panics.load(Ordering::SeqCst) == here {
            panic!("as the test wanted");
        }
    }
}

impl Client for PanickingClient {
    fn enqueue(&self, _: &OutboundMessage) -> bool {
        self.panic_if(AT_ENQUEUE);
        true
    }

    fn flush(&self) {
        self.panic_if(AT_FLUSH);
    }

    fn close(&self, code: u16, _: &str) {
        self.closed.lock().unwrap().get_or_insert(code);
    }

    fn turn_done(&self) {
        self.panic_if(AT_TURN_DONE);
    }

    fn resume(&self) {}

    fn buffered(&self) -> usize {
        self.panic_if(AT_BUFFERED);
        0
    }
}

pub(crate) async fn host(disk: Arc<FaultDisk>, limits: Limits) -> Host {
    let of = |component: &str| Namespace { calls: ["CALLERS".to_owned()].into(), ..Namespace::of(component) };
    let namespaces = BTreeMap::from([
        ("ROOMS".into(), Namespace::of("builtin:chat-room")),
        ("CALLERS".into(), of("builtin:caller")),
        ("UNRULY".into(), Namespace::of("builtin:unruly")),
    ]);
    let limits = Limits { awake_rooms: 50, warm_rooms: 10, requests: 20, ..limits };
    let config = Config { listen: "127.0.0.1:0".parse().unwrap(), namespaces, limits, ..Config::default() };
    Host::builder(config)
        .component("caller", dormouse_bundle::CALLER)
        .component("unruly", dormouse_bundle::UNRULY)
        .store(Store::on_engine(disk, StoreOptions::default()).unwrap())
        .start()
        .await
        .unwrap()
}

pub(crate) fn disk() -> Arc<FaultDisk> {
    FaultDisk::new(BTreeMap::new(), Fault::None, 0)
}

pub(crate) async fn connect(host: &Host, namespace: &str, name: &str) -> LocalSocket {
    let room = host.rooms().get(namespace, name).unwrap();
    within(room.connect(Request::get("/ws"), User::new("bo", "bo"))).await.unwrap()
}

async fn connect_panicking_client(host: &Host, namespace: &str, name: &str) -> (Arc<PanickingClient>, Seat) {
    let (address, client) = (Address::new(namespace, name).unwrap(), Arc::new(PanickingClient::default()));
    let user = Arc::new(User::new("odd", "odd"));
    let seat = within(host.rooms().connect(&address, Request::get("/ws"), user, client.clone())).await.unwrap();
    (client, seat)
}

async fn recv_type(socket: &mut LocalSocket, kind: &str) -> Value {
    loop {
        match within(socket.recv()).await {
            Received::Message(Message::Text(text)) => {
                let received = serde_json::from_str::<Value>(&text).unwrap();
                if received["type"] == kind {
                    return received;
                }
            }
            other => panic!("expected a text, and got {other:?}"),
        }
    }
}

async fn send_chat(socket: &LocalSocket, content: &str) {
    let message = json!({ "type": "message", "content": content }).to_string();
    within(socket.send(Message::Text(message))).await.unwrap();
}

pub(crate) async fn wait_until(condition: impl Fn() -> bool) {
    within(async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_panic_in_a_commit_callback_closes_only_its_client() {
    for at in [AT_ENQUEUE, AT_FLUSH] {
        let host = host(disk(), Limits::default()).await;
        let (mut bo, mut other) = (connect(&host, "ROOMS", "lobby").await, connect(&host, "ROOMS", "garden").await);
        let (panicking, _seat) = connect_panicking_client(&host, "ROOMS", "lobby").await;
        panicking.panic_at(at);
        // The commit thread itself says what few have committed.
        for content in ["one", "two", "three"] {
            send_chat(&bo, content).await;
            assert_eq!(recv_type(&mut bo, "message").await["message"]["content"], content);
            send_chat(&other, content).await;
            assert_eq!(recv_type(&mut other, "message").await["message"]["content"], content);
        }
        assert_eq!(*panicking.closed.lock().unwrap(), Some(1011));
        assert!(host.rooms().health().is_ok());
        host.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_room_whose_task_panics_closes_its_sockets_and_restarts() {
    let disk = disk();
    let host = host(disk.clone(), Limits { turn_cpu: Duration::from_secs(60), ..Limits::default() }).await;
    let mut bo = connect(&host, "UNRULY", "desk").await;
    let (panicking, seat) = connect_panicking_client(&host, "UNRULY", "desk").await;
    assert_eq!(within(bo.recv()).await, Received::Message(Message::Text("welcome".into())));
    within(bo.send(Message::Text("timer 100 put rang yes; say set".into()))).await.unwrap();
    assert_eq!(within(bo.recv()).await, Received::Message(Message::Text("set".into())));
    panicking.panic_at(AT_TURN_DONE);
    // The timer falls due while this runs, and waits in the room's mailbox when that is lost.
    seat.message(Message::Text("work 500".into()));
    let closed = loop {
        match within(bo.recv()).await {
            Received::Message(_) => {}
            closed => break closed,
        }
    };
    assert_eq!(closed, Received::Closed(1011, "the room failed; come back".into()));
    // No client visits the room: the disk shows that its timer fired.
    wait_until(|| disk.found().keys().any(|key| key.ends_with(b"rang"))).await;
    let mut again = connect(&host, "UNRULY", "desk").await;
    assert_eq!(within(again.recv()).await, Received::Message(Message::Text("welcome".into())));
    within(again.send(Message::Text("get rang; count".into()))).await.unwrap();
    for expected in ["rang=yes", "1"] {
        assert_eq!(within(again.recv()).await, Received::Message(Message::Text(expected.into())));
    }
    host.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_panic_in_a_host_call_fails_the_turn_and_no_socket() {
    let host = host(disk(), Limits::default()).await;
    let mut bo = connect(&host, "UNRULY", "lobby").await;
    let recv_text = async |socket: &mut LocalSocket| match within(socket.recv()).await {
        Received::Message(Message::Text(text)) => text,
        other => panic!("expected a text, and got {other:?}"),
    };
    assert_eq!(recv_text(&mut bo).await, "welcome");
    let (panicking, _seat) = connect_panicking_client(&host, "UNRULY", "lobby").await;
    panicking.panic_at(AT_BUFFERED);
    within(bo.send(Message::Text("put a 1; buffered".into()))).await.unwrap();
    assert!(recv_text(&mut bo).await.contains("room_failed"));
    panicking.panic_at(0);
    within(bo.send(Message::Text("get a; count; buffered".into()))).await.unwrap();
    for expected in ["a=", "2", "0"] {
        assert_eq!(recv_text(&mut bo).await, expected);
    }
    assert_eq!(*panicking.closed.lock().unwrap(), None);
    host.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tasks_that_share_a_local_socket_can_all_send() {
    let limits = Limits { events_per_room: 2, ..Limits::default() };
    let host = host(disk(), limits).await;
    let bo = Arc::new(connect(&host, "UNRULY", "lobby").await);
    let speak = (0..8).map(|_| {
        let bo = bo.clone();
        tokio::spawn(async move {
            for _ in 0..100 {
                bo.send(Message::Text("events".into())).await.unwrap();
            }
        })
    });
    for spoken in speak.collect::<Vec<_>>() {
        within(spoken).await.unwrap();
    }
    host.shutdown().await;
}
