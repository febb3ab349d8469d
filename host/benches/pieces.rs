//! Times each piece of a room's life alone: a turn, a wake, a frame, a route, a commit.
//!
//! `cargo bench --package dormouse --bench pieces`. Times on a shared machine are noisy: compare within one run.

mod fixture;

use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};

use bytes::Bytes;
use divan::Bencher;
use dormouse::model::{Address, Changes, Writes};
use dormouse::store::{CommitError, CommitListener, Receipt, Store, StoreOptions};
use futures_util::FutureExt;

use fixture::{Room, Router, chat_line};

fn main() {
    divan::main();
}

/// The `message` turn of a chat room: parse, check, store one message, broadcast it. The instance is awake.
#[divan::bench]
fn message_turn(bencher: Bencher<'_, '_>) {
    let mut room = Room::new();
    bencher.bench_local(|| room.message());
}

/// The same in a sleeping room: make an instance, run the turn, drop the instance.
#[divan::bench]
fn wake_and_message_turn(bencher: Bencher<'_, '_>) {
    let mut room = Room::new();
    bencher.bench_local(|| {
        room.hibernate();
        room.message();
    });
}

/// Encodes a chat message of usual length as the frame that all receivers share.
#[divan::bench]
fn encode(bencher: Bencher<'_, '_>) {
    let message = chat_line();
    bencher.bench_local(|| dormouse::edge::encode(&message));
}

/// Routes a request: make an instance of the router, call it, drop it.
#[divan::bench]
fn route(bencher: Bencher<'_, '_>) {
    let router = Router::new();
    bencher.bench_local(|| router.route());
}

/// Commits two keys of 200 B to a real disk, with this many rooms committing at the same time. The result is the time
/// for each commit.
#[divan::bench(args = [1, 16, 256, 1_000])]
fn commit(bencher: Bencher<'_, '_>, rooms: usize) {
    let directory = tempfile::TempDir::new().expect("a temporary directory");
    let store = Store::open(directory.path(), StoreOptions::default()).expect("it opens");
    let (done, is_done) = channel();
    let waiting = Arc::new(Done(done));
    let mut logs = (0..rooms)
        .map(|room| {
            let address = Address::new("BENCH", &room.to_string()).expect("a good name");
            let opened = store.open_room(&address, None).now_or_never().expect("an embedded store opens rooms at once");
            opened.expect("it opens").log
        })
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

impl CommitListener for Done {
    fn committed(&self, _: Receipt, _: bool) {
        let _ = self.0.send(());
    }

    fn failed(&self, error: &CommitError) {
        panic!("{error}");
    }
}
