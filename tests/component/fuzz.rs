//! Arbitrary messages of clients and calls of rooms: nothing crashes, and the stored state is as expected.

use std::collections::BTreeMap;
use std::ops::Bound;

use dormouse_bundle::{CHAT_ROOM, PRESENCE_TRACKER, ROUTER, UNRULY};
use dormouse_fuzz::proptest::collection::vec;
use dormouse_fuzz::proptest::option;
use dormouse_fuzz::proptest::prelude::*;
use dormouse_fuzz::{fuzz, mutated};
use dormouse_test::{Message, Request, TestRoom, TestRouter, User};

#[path = "../guests/unruly/src/operation.rs"]
mod operation;

use operation::{Bytes, Operation, Text};

const CHAT: [&[u8]; 9] = [
    br#"{"type":"message","content":"hello"}"#,
    br#"{"type":"message","content":"hello","clientId":"c-1"}"#,
    br#"{"type":"message","content":"\ud83d\ude00 \u0000 \\ \"","clientId":"\u00e9"}"#,
    br#"{"type":"typing"}"#,
    br#"{"type":"status","status":"away"}"#,
    br#"{"type":"heartbeat"}"#,
    br#"[{"type":"message"},[1e308,-0,null,true]]"#,
    br#"{"type":"message","content":{"content":["hello"]},"content":1}"#,
    b"",
];

/// Every room continues after any message of a client; only the room's own code may refuse one, without failing.
fn fuzz_room(room: impl Fn() -> TestRoom, examples: &'static [&'static [u8]]) {
    let input = (mutated(examples), any::<bool>());
    fuzz(vec(input, 1..12), |inputs| {
        let mut room = room();
        let (ana, bo) = (room.join("ana"), room.join("bo"));
        for (bytes, binary) in inputs {
            let message = match String::from_utf8(bytes) {
                Ok(text) if !binary => Message::Text(text),
                Ok(text) => Message::Binary(text.into_bytes()),
                Err(error) => Message::Binary(error.into_bytes()),
            };
            room.try_send(&ana, message).unwrap_or_else(|failure| panic!("{failure}"));
            // Whatever it was, others receive of it in JSON or not at all.
            for received in bo.received_raw().into_iter().chain(ana.received_raw()) {
                let Message::Text(text) = received else { panic!("a binary message was sent") };
                let received = serde_json::from_str::<serde_json::Value>(&text).expect("it is JSON");
                assert!(received["type"].is_string(), "{text}");
            }
        }
        room.leave(&ana);
        room.hibernate();
        room.leave(&bo);
    });
}

#[test]
fn fuzzed_messages_do_not_fail_a_chat_room() {
    fuzz_room(|| TestRoom::new(CHAT_ROOM), &CHAT);
}

#[test]
fn fuzzed_messages_do_not_fail_a_presence_room() {
    fuzz_room(|| TestRoom::new(PRESENCE_TRACKER), &CHAT);
}

/// Paths, queries, headers and bodies, as the router and then the room get them.
#[test]
fn rooms_and_their_router_answer_every_request() {
    let paths =
        mutated(&[b"/rooms/a/ws", b"/rooms/a/messages", b"/rooms/%F0%9F%98%80/events", b"/presence/list", b"/"]);
    let queries =
        option::of(mutated(&[b"since=4&limit=10", b"before=18446744073709551615", b"token=%zz&x=+%2B", b"&&=&="]));
    let headers = (
        prop_oneof![Just("last-event-id"), Just("accept"), Just("upgrade"), Just("idempotency-key")],
        mutated(&[b"7", b"text/event-stream", b"websocket", b"\xf0\x9f\x98\x80"]),
    );
    let bodies = mutated(&[br#"{"content":"hello"}"#, br#"{"status":"busy"}"#, b""]);
    let methods = prop_oneof![Just("GET"), Just("POST"), Just("DELETE"), Just("")];
    let router = TestRouter::new(ROUTER);
    fuzz(
        (methods, paths, queries, vec(headers, 0..4), bodies, any::<bool>()),
        |(method, path, query, headers, body, known)| {
            let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
            let request = Request {
                method: method.into(),
                path: text(path),
                query: query.map(text),
                headers: headers.into_iter().map(|(name, value)| (name.into(), text(value))).collect(),
                body,
                user: known.then(|| User { id: "1".into(), name: "ana".into() }),
            };
            router.try_route(request.clone()).unwrap_or_else(|failure| panic!("{failure}"));
            for wasm in [CHAT_ROOM, PRESENCE_TRACKER] {
                let answer =
                    TestRoom::new(wasm).try_request(request.clone()).unwrap_or_else(|failure| panic!("{failure}"));
                assert!((200..600).contains(&answer.status), "{}", answer.status);
            }
        },
    );
}

/// The room's storage, timers and sockets as they should be after its commands.
#[derive(Clone, Default)]
struct Model {
    entries: BTreeMap<Vec<u8>, Vec<u8>>,
    timers: BTreeMap<String, (u64, Vec<u8>)>,
    /// Tags and attachment of each.
    sockets: Vec<(Vec<String>, Vec<u8>)>,
    /// The bytes that the turn has written so far.
    written: usize,
}

const KEY: std::ops::RangeInclusive<usize> = 1..=2_048;
const MAX_TURN_BYTES: usize = 16 << 20;
/// The bytes that a record counts in addition to its own.
const RECORD_OVERHEAD: usize = 64;

impl Model {
    /// The expected answer of the host to an operation; absent if this model does not know it.
    fn expected_result(&mut self, operation: &Operation) -> Option<String> {
        let done = |done: bool| Some(if done { "done" } else { "refused" }.to_owned());
        match operation {
            Operation::Get { key } => {
                Some(self.entries.get(&key.all()).map_or("nothing".into(), |value| format!("{} B", value.len())))
            }
            Operation::Put { key, value } => {
                let (key, value) = (key.all(), value.all());
                let written = self.written + RECORD_OVERHEAD + key.len() + value.len();
                let taken = KEY.contains(&key.len()) && value.len() <= 2 << 20 && written <= MAX_TURN_BYTES;
                if taken {
                    self.written = written;
                    self.entries.insert(key, value);
                }
                done(taken)
            }
            Operation::Delete { key } => Some(self.remove(&key.all()).to_string()),
            Operation::DeleteRange { start, end, limit } => {
                let (start, end) = (start.all(), end.all());
                let most = (*limit).min(1_000) as usize;
                let keys = self.entries.keys().filter(|key| **key >= start && **key < end);
                let keys = keys.take(most).cloned().collect::<Vec<_>>();
                for key in &keys {
                    self.remove(key);
                }
                Some(keys.len().to_string())
            }
            Operation::List { prefix, start, end, reverse, limit } => {
                let (prefix, start, end) = (prefix.all(), start.all(), end.all());
                let most = (*limit).min(1_000) as usize;
                let from = self.entries.range((Bound::Included(start), Bound::Unbounded));
                let found = from.filter(|(key, _)| key.starts_with(&prefix) && **key < end);
                let mut found = found.map(|(key, value)| (key.len(), key.len() + value.len())).collect::<Vec<_>>();
                if *reverse {
                    found.reverse();
                }
                let mut bytes = 0;
                let fits = |(_, entry): &&(usize, usize)| {
                    bytes += entry;
                    bytes <= MAX_TURN_BYTES
                };
                let listed = found.iter().take(most).take_while(fits).count();
                Some(format!("{listed} from {:?}", found.first().filter(|_| listed > 0).map(|(key, _)| key)))
            }
            Operation::SetTimer { name, at, payload } => {
                let (name, payload) = (name.all(), payload.all());
                let taken = (1..=256).contains(&name.len()) && payload.len() <= 16_384;
                if taken {
                    self.timers.insert(name, (*at, payload));
                }
                done(taken)
            }
            Operation::CancelTimer { name } => Some(self.timers.remove(&name.all()).is_some().to_string()),
            Operation::GetTimer { name } => Some(format!("{:?}", self.timers.get(&name.all()).map(|(at, _)| at))),
            Operation::Tags { socket, tags } => {
                let tags = tags.iter().map(Text::all).collect::<Vec<_>>();
                let fit = tags.len() <= 10 && tags.iter().all(|tag| tag.len() <= 256);
                done(fit && self.sockets.get_mut(*socket).map(|socket| socket.0 = tags).is_some())
            }
            Operation::Attach { socket, note } => {
                let note = note.all();
                done(note.len() <= 16_384 && self.sockets.get_mut(*socket).map(|socket| socket.1 = note).is_some())
            }
            Operation::Send { socket, id, text } => {
                done(is_event_id(id) && text.all().len() <= 1 << 20 && *socket < self.sockets.len())
            }
            Operation::Close { socket, code, reason } => {
                let may = matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999);
                done(may && reason.all().len() <= 123 && *socket < self.sockets.len())
            }
            Operation::Count { tag, user } => {
                let tag = tag.as_ref().map(Text::all);
                let user = user.as_ref().map(Text::all);
                let tagged = |tags: &Vec<String>| tag.as_ref().is_none_or(|tag| tags.contains(tag));
                let named = |nth: usize| user.as_ref().is_none_or(|user| *user == ["id-ana", "id-bo"][nth]);
                let count = self.sockets.iter().enumerate().filter(|(nth, socket)| tagged(&socket.0) && named(*nth));
                Some(count.count().to_string())
            }
            Operation::Log { .. } => done(true),
            Operation::Config { .. } => Some("None".into()),
            Operation::Broadcast { id, text, .. } => done(is_event_id(id) && text.all().len() <= 1 << 20),
            Operation::Find { .. } | Operation::AutoResponse { .. } | Operation::Fail => None,
        }
    }

    fn remove(&mut self, key: &[u8]) -> bool {
        let was_there = self.entries.remove(key).is_some();
        self.written += if was_there { RECORD_OVERHEAD + key.len() } else { 0 };
        was_there
    }

    fn assert_matches(&self, room: &TestRoom) {
        let entries = room.storage().into_iter().map(|(key, value)| (key.to_vec(), value.to_vec()));
        assert_eq!(entries.collect::<BTreeMap<_, _>>(), self.entries);
        let timers = room.timers().into_iter().map(|timer| (timer.name, (timer.at, timer.payload.to_vec())));
        assert_eq!(timers.collect::<BTreeMap<_, _>>(), self.timers);
        let sockets = room.open_sockets().into_iter().map(|socket| (socket.tags, socket.attachment.to_vec()));
        assert_eq!(sockets.collect::<Vec<_>>(), self.sockets);
    }
}

/// Whether a message may have this id, or none.
fn is_event_id(id: &Option<Text>) -> bool {
    let id = id.as_ref().map(Text::all);
    id.is_none_or(|id| (1..=128).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_graphic()))
}

fn bytes(lengths: &'static [u32]) -> impl Strategy<Value = Bytes> {
    // Few different ones, so that they meet, and lengths at the limits and beyond them.
    let piece = vec(prop_oneof![Just(0), Just(b'a'), Just(b'b'), Just(0xff)], 0..3);
    (piece, prop_oneof![9 => Just(1), 1 => prop::sample::select(lengths)])
        .prop_map(|(piece, times)| Bytes { piece, times })
}

fn text(lengths: &'static [u32]) -> impl Strategy<Value = Text> {
    let piece = prop::sample::select(vec!["", "a", "b", "é", "id-ana", "\0\n"]).prop_map(str::to_owned);
    (piece, prop_oneof![9 => Just(1), 1 => prop::sample::select(lengths)])
        .prop_map(|(piece, times)| Text { piece, times })
}

fn operation() -> impl Strategy<Value = Operation> {
    let key = || bytes(&[0, 1_024, 2_048, 2_049, 70_000]);
    let value = || bytes(&[0, 1_000, 2_097_152, 2_097_153]);
    let name = || text(&[0, 128, 256, 257]);
    let id = || option::of(text(&[0, 64, 128, 129]));
    let number = || prop_oneof![Just(0), Just(1), Just(u64::MAX), any::<u64>()];
    let limit = || prop_oneof![Just(0), Just(1), Just(1_000), any::<u32>()];
    prop_oneof![
        key().prop_map(|key| Operation::Get { key }),
        (key(), value()).prop_map(|(key, value)| Operation::Put { key, value }),
        (key(), value()).prop_map(|(key, value)| Operation::Put { key, value }),
        key().prop_map(|key| Operation::Delete { key }),
        (key(), key(), limit()).prop_map(|(start, end, limit)| Operation::DeleteRange { start, end, limit }),
        (key(), key(), key(), any::<bool>(), limit()).prop_map(|(prefix, start, end, reverse, limit)| {
            Operation::List { prefix, start, end, reverse, limit }
        }),
        (name(), number(), bytes(&[0, 8_192, 16_385]))
            .prop_map(|(name, at, payload)| { Operation::SetTimer { name, at, payload } }),
        name().prop_map(|name| Operation::CancelTimer { name }),
        name().prop_map(|name| Operation::GetTimer { name }),
        (0..3_usize, vec(name(), 0..12)).prop_map(|(socket, tags)| Operation::Tags { socket, tags }),
        (0..3_usize, bytes(&[0, 8_192, 16_385])).prop_map(|(socket, note)| Operation::Attach { socket, note }),
        (0..3_usize, id(), text(&[0, 1_048_576, 1_048_577])).prop_map(|(socket, id, text)| Operation::Send {
            socket,
            id,
            text
        }),
        (0..3_usize, any::<u16>(), text(&[0, 61, 123, 124]))
            .prop_map(|(socket, code, reason)| { Operation::Close { socket, code, reason } }),
        (option::of(name()), option::of(name()), id(), text(&[0, 1_048_577]))
            .prop_map(|(tag, user, id, text)| { Operation::Broadcast { tag, user, id, text } }),
        (option::of(name()), option::of(name())).prop_map(|(tag, user)| Operation::Count { tag, user }),
        number().prop_map(|id| Operation::Find { id }),
        (name(), text(&[0, 2_048, 2_049])).prop_map(|(request, reply)| Operation::AutoResponse { request, reply }),
        text(&[0, 4_096, 100_000]).prop_map(|line| Operation::Log { line }),
        text(&[0, 100_000]).prop_map(|key| Operation::Config { key }),
        Just(Operation::Fail),
    ]
}

/// The errors that may end a turn of allowed operations: there were too many, or the room ended it.
const ALLOWED_FAILURES: [&str; 3] =
    ["the room returned an error: told to fail", "the turn sent more than", "the turn wrote and removed more"];

/// Turn after turn of calls with whatever arguments. A model says what the host should answer to each; a turn that ends
/// is as if it had never begun; and what is kept is what the model kept.
#[test]
fn fuzzed_host_calls_follow_the_contract() {
    fuzz((vec(vec(operation(), 1..16), 1..4), any::<bool>()), |(turns, hibernating)| {
        let mut room = TestRoom::new(UNRULY).hibernate_after_each_event(hibernating);
        let _here = [room.join("ana"), room.join("bo")];
        let mut kept = Model { sockets: vec![Default::default(); 2], ..Model::default() };
        for operations in turns {
            let mut model = Model { written: 0, ..kept.clone() };
            let expected = operations.iter().map(|operation| model.expected_result(operation)).collect::<Vec<_>>();
            let body = serde_json::to_vec(&operations).unwrap();
            match room.try_request(Request { path: "/operations".into(), body, ..Request::default() }) {
                Ok(answer) => {
                    let answers = serde_json::from_slice::<Vec<String>>(&answer.body).unwrap();
                    for ((operation, answer), expected) in operations.iter().zip(answers).zip(expected) {
                        assert!(
                            expected.as_ref().is_none_or(|expected| *expected == answer),
                            "{operation:?}: {answer}"
                        );
                    }
                    kept = model;
                }
                Err(failure) => {
                    let failure = failure.to_string();
                    assert!(ALLOWED_FAILURES.iter().any(|ending| failure.contains(ending)), "{failure}");
                }
            }
            kept.assert_matches(&room);
        }
    });
}
