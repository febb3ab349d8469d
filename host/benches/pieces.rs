//! What a room's life is made of, each piece alone: a turn, a wake, a frame, a route, a commit.
//!
//! `cargo bench --package dormouse --bench pieces`. Times on a shared machine are noisy: compare within one run.

mod fixture;

use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};

use bytes::Bytes;
use divan::Bencher;
use dormouse::model::{Address, Writes};
use dormouse::store::{Changes, CommitError, Receipt, Store, StoreOptions, Waiting};

use fixture::{Room, Router, chat_line};

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
        room.hibernate();
        room.message();
    });
}

/// A message as the frame that all who hear it share: a chat line of a usual length.
#[divan::bench]
fn encode(bencher: Bencher<'_, '_>) {
    let message = chat_line();
    bencher.bench_local(|| dormouse::edge::encode(&message));
}

/// A request through the router: make an instance, ask it, drop it.
#[divan::bench]
fn route(bencher: Bencher<'_, '_>) {
    let router = Router::new();
    bencher.bench_local(|| router.route());
}

/// A commit of two keys of 200 B, in flight alone and with those of other rooms, to a real disk: time a commit.
#[divan::bench(args = [1, 16, 256, 1_000])]
fn commit(bencher: Bencher<'_, '_>, rooms: usize) {
    let directory = tempfile::TempDir::new().expect("a temporary directory");
    let store = Store::open(directory.path(), StoreOptions::default()).expect("it opens");
    let (done, is_done) = channel();
    let waiting = Arc::new(Done(done));
    let mut logs = (0..rooms)
        .map(|room| store.room(&Address::new("BENCH", &room.to_string()).expect("a good name")).expect("it opens").log)
        .collect::<Vec<_>>();
    let value = Bytes::from(vec![7; 200]);
    let writes = Writes::from([("a".into(), Some(value.clone())), ("b".into(), Some(value))]);
    bencher.counter(divan::counter::ItemsCount::new(rooms)).bench_local(|| {
        for log in &mut logs {
            let number = log.number() + 1;
            log.commit(number, Changes { writes: writes.clone(), ..Changes::default() }, waiting.clone())
                .expect("there is space");
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
