//! What a room's life is made of, each piece alone: a turn, a wake, a commit.
//!
//! `cargo bench --package dormouse --bench pieces`. Times on a shared machine are noisy: compare within one run.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use divan::Bencher;
use dormouse::config::Limits;
use dormouse::guest::{Engine, Instance, Lent, Moment, RoomKind};
use dormouse::model::{Address, Client, Event, Message, Request, Said, Socket, SocketKey, Storage, User, Writes};
use dormouse::store::{CommitError, MemoryDisk, Receipt, Store, StoreOptions, Waiting};

fn main() {
    divan::main();
}

/// A chat room's `message`: parse, check, store one message, broadcast it. The instance is awake.
#[divan::bench]
fn message_turn(bencher: Bencher<'_, '_>) {
    let mut room = Room::new();
    bencher.bench_local(|| room.message());
}

/// The same in a room that sleeps: make an instance, run the turn, drop the instance.
#[divan::bench]
fn wake_and_message_turn(bencher: Bencher<'_, '_>) {
    let mut room = Room::new();
    bencher.bench_local(|| {
        room.instance = None;
        room.message();
    });
}

/// A commit of two keys of 200 B, in flight alone and with those of other rooms, to a real disk: time a commit.
#[divan::bench(args = [1, 16, 256, 1_000])]
fn commit(bencher: Bencher<'_, '_>, rooms: usize) {
    let directory = tempfile::TempDir::new().expect("a temporary directory");
    let store = Store::open(directory.path(), StoreOptions::default()).expect("it opens");
    let (done, is_done) = channel();
    let waiting = Arc::new(Done(done));
    let mut logs = (0..rooms)
        .map(|room| store.room(&Address::new("BENCH", &room.to_string()).expect("a good name")).expect("it opens").0)
        .collect::<Vec<_>>();
    let value = Bytes::from(vec![7; 200]);
    let writes = Writes::from([("a".into(), Some(value.clone())), ("b".into(), Some(value))]);
    bencher.counter(divan::counter::ItemsCount::new(rooms)).bench_local(|| {
        for log in &mut logs {
            let number = log.number() + 1;
            log.commit(number, writes.clone(), Default::default(), waiting.clone()).expect("there is space");
        }
        for _ in 0..rooms {
            is_done.recv().expect("it commits");
        }
    });
}

struct Done(Sender<()>);

impl Waiting for Done {
    fn committed(&self, _: Receipt, _: bool) {
        let _ = self.0.send(());
    }

    fn failed(&self, error: &CommitError) {
        panic!("{error}");
    }
}

/// A chat room with ten members and what one message needs.
struct Room {
    kind: RoomKind,
    instance: Option<Box<Instance>>,
    lent: Option<Box<Lent>>,
    sender: SocketKey,
    now: u64,
    _store: Store,
}

impl Room {
    fn new() -> Self {
        let limits = Limits { awake_rooms: 100, requests: 10, ..Limits::default() };
        let engine = Engine::new(Arc::new(limits)).expect("the engine starts");
        let kind = engine.room("chat-room", dormouse_bundle::CHAT_ROOM).expect("it is a room");
        let store = Store::on_disk(Arc::new(MemoryDisk::default()), StoreOptions::default()).expect("memory opens");
        let address = Address::new("ROOMS", "bench").expect("a good name");
        let storage: Arc<dyn Storage> = Arc::new(store.room(&address).expect("it opens").0.reader());
        let lent = Lent {
            address,
            config: Arc::default(),
            sockets: Default::default(),
            timers: Default::default(),
            storage,
            message_out_bytes: 1 << 20,
        };
        let mut room =
            Room { kind, instance: None, lent: Some(Box::new(lent)), sender: 0, now: 1_735_689_600_000, _store: store };
        for number in 0..10 {
            room.join(number);
        }
        room
    }

    fn join(&mut self, number: u64) {
        let user = User { id: number.to_string(), name: format!("user {number}") };
        let socket = Socket {
            id: number,
            user: Arc::new(user.clone()),
            tags: Vec::new(),
            attachment: Bytes::new(),
            gone: false,
            client: Arc::new(Nobody),
        };
        let lent = self.lent.as_mut().expect("lent only while a turn runs");
        self.sender = lent.sockets.insert(socket).expect("few sockets");
        let request = Request { method: "GET".into(), path: "/ws".into(), user: Some(user), ..Request::default() };
        self.run(Event::Connect(self.sender, request));
    }

    fn message(&mut self) {
        let text = r#"{"type":"message","content":"a message of a usual length, as people write them"}"#;
        self.run(Event::Message(self.sender, Message::Text(text.into())));
    }

    fn run(&mut self, event: Event) {
        let instance = match self.instance.take() {
            Some(instance) => instance,
            None => drive(self.kind.instantiate()).expect("there is space"),
        };
        self.now += 1;
        let moment = Moment { now: self.now, seed: [7; 32] };
        let lent = self.lent.take().expect("lent only while a turn runs");
        let ran = drive(instance.run(lent, event, moment));
        drop(divan::black_box(ran.turn.expect("the turn succeeds")));
        self.lent = Some(ran.lent);
        self.instance = ran.instance;
    }
}

struct Nobody;

impl Client for Nobody {
    fn say(&self, _: &Said) -> bool {
        false
    }
    fn flush(&self) {}
    fn close(&self, _: u16, _: &str) {}
    fn taken(&self) {}
    fn resume(&self) {}
    fn buffered(&self) -> usize {
        0
    }
}

fn drive<T>(run: impl Future<Output = T>) -> T {
    let mut run = pin!(run);
    loop {
        if let Poll::Ready(done) = run.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            return done;
        }
    }
}
