//! `/rooms`: lists rooms, shows one with its storage, and acts on one.

use std::sync::Arc;

use bytes::Bytes;
use hyper::{Method, Response, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};

use super::Admin;
use super::elsewhere::{OfNode, missing, uri};
use super::request::{AdminRequest, bad};
use super::rooms_everywhere::{PLACE, Page, merged};
use crate::clock;
use crate::edge::response::body::Body;
use crate::edge::response::json::json_response;
use crate::edge::response::problem::problem;
use crate::edge::response::refusals::{Refusal, overloaded};
use crate::model::{Address, CLOSED_BY_OPERATOR, Message, StorageFailed};
use crate::room::{
    AwakeBecause, DeleteError, Failure, LookError, Numbers, PostDetails, RequestError, RoomDetails, RoomsQuery,
    SocketDetails, TimerDetails,
};
use crate::store::EntriesQuery;

/// The rooms of a page that does not say how many, and the most.
const ROOMS: (usize, usize) = (100, 1_000);
/// The entries of a page of storage that does not say how many, and the most.
const ENTRIES: (usize, usize) = (100, 1_000);
/// A value is cut behind so many bytes, unless it is asked for in full.
const VALUE_BYTES: usize = 4 << 10;
/// A page of storage ends behind so many bytes. It has one entry at least, and a value has a few megabytes at most.
const PAGE_BYTES: usize = 4 << 20;
/// The longest reason of a close frame, in bytes: RFC 6455.
const REASON_BYTES: usize = 123;

/// How the values of entries are shown.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Format {
    /// As JSON where they are JSON, as text where they are UTF-8, and in hexadecimal digits otherwise.
    Json,
    /// As text where they are UTF-8.
    Text,
    Hex,
}

impl Admin {
    /// The address of a room. A namespace may be written as it is in paths, in lower case.
    pub(super) fn room(&self, namespace: &str, name: &str) -> Result<Address, Refusal> {
        let namespace = self.namespace(namespace)?;
        Address::new(namespace, name).map_err(bad)
    }

    /// The same for a room that is only read: its namespace may be one that the configuration has no more.
    pub(super) fn stored_room(&self, namespace: &str, name: &str) -> Result<Address, Refusal> {
        Address::new(self.namespace(namespace).unwrap_or(namespace), name).map_err(bad)
    }

    /// A room as a parameter or a body names it: NAMESPACE/NAME.
    pub(super) fn room_of(&self, text: &str) -> Result<Address, Refusal> {
        let (namespace, name) = text.split_once('/').ok_or_else(|| bad("a room is named as NAMESPACE/NAME"))?;
        self.room(namespace, name)
    }

    pub(super) fn namespace(&self, text: &str) -> Result<&str, Refusal> {
        let namespaces = || self.edge.rooms.namespaces();
        let found = namespaces().find(|name| *name == text);
        let found = found.or_else(|| namespaces().find(|name| name.eq_ignore_ascii_case(text)));
        found.ok_or_else(|| {
            let names = namespaces().collect::<Vec<_>>().join(", ");
            problem(StatusCode::NOT_FOUND, &format!("there is no such namespace; there are {names}")).into()
        })
    }

    /// `GET /rooms`
    pub(super) async fn list_rooms(self: Arc<Self>, mut request: AdminRequest) -> Result<Response<Body>, Refusal> {
        let namespace = request.parameter("namespace")?;
        let order = request.parsed("sort", "name, sockets, cpu, memory, storage, messages, active or awake")?;
        let query = RoomsQuery {
            namespace: namespace.map(|name| self.namespace(&name).map(str::to_owned)).transpose()?,
            prefix: request.parameter("prefix")?.unwrap_or_default(),
            awake: request.parsed("awake", "true or false")?,
            order: order.unwrap_or_default(),
            after: request.parameter("after")?,
            limit: request.limit(ROOMS.0, ROOMS.1)?,
        };
        request.no_more_parameters()?;
        let Some(node) = self.cluster(&request) else {
            let page = self.rooms_here(query, request.via.is_some()).await?;
            return Ok(json_response(&json!({ "rooms": page.rooms, "next": page.next })));
        };
        let (order, awake, limit) = (query.order, query.awake, query.limit);
        // A room that is asleep here may be awake elsewhere, so the merged list is filtered.
        let query = RoomsQuery { awake: awake.filter(|awake| *awake), ..query };
        let parameters = [
            ("namespace", query.namespace.clone()),
            ("prefix", Some(query.prefix.clone())),
            ("awake", query.awake.map(|awake| awake.to_string())),
            ("sort", Some(order.name().to_owned())),
            ("after", query.after.clone()),
            ("limit", Some(limit.to_string())),
        ];
        let uri = uri("/rooms", &parameters);
        let nothing = Bytes::new();
        let asked = self.ask_all(node, &request, &Method::GET, &uri, &nothing);
        let (here, answers) = tokio::join!(self.rooms_here(query, true), asked);
        let mut pages = vec![here?];
        for OfNode { answer, .. } in &answers {
            let Ok(answer) = answer else { continue };
            let rooms = answer["rooms"].as_array().cloned().unwrap_or_default();
            pages.push(Page { rooms, next: answer["next"].as_str().map(str::to_owned) });
        }
        let page = merged(order, pages, awake, limit);
        Ok(json_response(&json!({ "rooms": page.rooms, "next": page.next, "missing": missing(&answers) })))
    }

    /// The rooms of a page as this node knows them, with their places in the order if another list is to have them.
    async fn rooms_here(&self, query: RoomsQuery, with_places: bool) -> Result<Page, Refusal> {
        let (rooms, order, node) = (self.edge.rooms.clone(), query.order, self.number());
        let read = tokio::task::spawn_blocking(move || rooms.page(&query)).await;
        let page = read.expect("reading reports its errors and does not panic").map_err(|error| match error {
            LookError::After => bad(error),
            LookError::Storage(error) => unreadable(&error),
        })?;
        let rooms = page.rooms.iter().map(|room| {
            let mut listed = summary(&room.address, room.in_memory, &room.numbers);
            listed["awakeBecause"] = room.awake_because.iter().map(reason).collect();
            if let Some(node) = node {
                listed["node"] = room.in_memory.then_some(node).into();
            }
            if with_places {
                listed[PLACE] = room.place(order).into();
            }
            listed
        });
        Ok(Page { rooms: rooms.collect(), next: page.next })
    }

    /// `GET /rooms/{namespace}/{name}`
    pub(super) async fn show_room(&self, address: &Address, request: AdminRequest) -> Result<Response<Body>, Refusal> {
        request.no_more_parameters()?;
        let details = self.edge.rooms.look(address).await.map_err(|error| unreadable(&error))?;
        let details = details.ok_or_else(no_such_room)?;
        let mut room = shown(&details);
        if let Some(node) = self.number() {
            room["node"] = details.in_memory.then_some(node).into();
        }
        Ok(json_response(&room))
    }

    /// `GET /rooms/{namespace}/{name}/storage`
    pub(super) async fn show_storage(
        &self,
        address: &Address,
        mut request: AdminRequest,
    ) -> Result<Response<Body>, Refusal> {
        let hex = |name: &str, text: String| {
            from_hex(&text).ok_or_else(|| bad(format_args!("the parameter `{name}` is in hexadecimal digits")))
        };
        let prefix = match (request.parameter("prefix")?, request.parameter("prefixHex")?) {
            (Some(_), Some(_)) => return Err(bad("give either `prefix` or `prefixHex`")),
            (Some(text), None) => text.into(),
            (None, Some(text)) => hex("prefixHex", text)?,
            (None, None) => Bytes::new(),
        };
        let format = match request.parameter("format")?.as_deref() {
            None | Some("json") => Format::Json,
            Some("text") => Format::Text,
            Some("hex") => Format::Hex,
            Some(_) => return Err(bad("the parameter `format` is json, text or hex")),
        };
        let is_full = request.parsed("full", "true or false")?.unwrap_or(false);
        let query = EntriesQuery {
            prefix,
            after: request.parameter("after")?.map(|text| hex("after", text)).transpose()?,
            limit: request.limit(ENTRIES.0, ENTRIES.1)?,
            value_bytes: if is_full { usize::MAX } else { VALUE_BYTES },
            page_bytes: PAGE_BYTES,
        };
        request.no_more_parameters()?;
        let (rooms, room) = (self.edge.rooms.clone(), address.clone());
        let read = tokio::task::spawn_blocking(move || rooms.entries(&room, &query)).await;
        let page = read.expect("reading reports its errors and does not panic").map_err(|error| unreadable(&error))?;
        let entry = |(key, value, bytes): &(Bytes, Bytes, usize)| {
            let mut entry = json!({ "bytes": bytes, "cut": value.len() < *bytes });
            match std::str::from_utf8(key) {
                Ok(key) => entry["key"] = key.into(),
                Err(_) => entry["keyHex"] = to_hex(key).into(),
            }
            let (name, value) = shown_value(value, *bytes, format);
            entry[name] = value;
            entry
        };
        let next = page.entries.last().filter(|_| page.more).map(|(key, _, _)| to_hex(key));
        let entries = page.entries.iter().map(entry).collect::<Vec<_>>();
        Ok(json_response(&json!({ "room": address.to_string(), "entries": entries, "next": next })))
    }

    /// `DELETE /rooms/{namespace}/{name}`
    pub(super) async fn delete_room(
        &self,
        address: &Address,
        mut request: AdminRequest,
    ) -> Result<Response<Body>, Refusal> {
        let force = request.parsed("force", "true or false")?.unwrap_or(false);
        request.no_more_parameters()?;
        self.audit.record(&request, "delete a room", &target(address), Some(json!({ "force": force }))).await?;
        match self.in_time(self.edge.rooms.delete(address, force)).await? {
            Ok(deleted) => Ok(json_response(&json!({ "deleted": address.to_string(), "closed": deleted.closed }))),
            Err(DeleteError::NotFound) => Err(no_such_room()),
            Err(error @ DeleteError::HasSockets(_)) => Err(problem(StatusCode::CONFLICT, &error.to_string()).into()),
            Err(DeleteError::NoAnswer(error)) => Err(no_answer(&error)),
            Err(DeleteError::Storage(error)) => Err(unreadable(&error)),
        }
    }

    /// `POST /rooms/{namespace}/{name}/close`
    pub(super) async fn close_room(
        &self,
        address: &Address,
        mut request: AdminRequest,
    ) -> Result<Response<Body>, Refusal> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Close {
            reason: String,
        }
        request.no_more_parameters()?;
        let given: Option<Close> = request.optional_json(r#"{"reason":"TEXT"}, or empty"#).await?;
        let reason = given.map_or_else(|| "the room was closed by the operator".into(), |close| close.reason);
        if reason.len() > REASON_BYTES {
            return Err(bad(format_args!("the reason is at most {REASON_BYTES} bytes long")));
        }
        self.audit.record(&request, "close a room", &target(address), Some(json!({ "reason": reason }))).await?;
        let closed = self.in_time(self.edge.rooms.close_sockets(address, CLOSED_BY_OPERATOR, &reason)).await?;
        Ok(json_response(&json!({ "closed": closed.map_err(|error| no_answer(&error))? })))
    }

    /// `POST /rooms/{namespace}/{name}/broadcast`
    pub(super) async fn broadcast(
        &self,
        address: &Address,
        mut request: AdminRequest,
    ) -> Result<Response<Body>, Refusal> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Broadcast {
            text: String,
        }
        request.no_more_parameters()?;
        let Broadcast { text }: Broadcast = request.json(r#"{"text":"TEXT"}"#).await?;
        let max = self.edge.rooms.namespace(address.namespace()).map_or(0, |namespace| namespace.message_out_bytes);
        if text.len() > max {
            return Err(bad(format_args!("the text is at most {max} bytes long, as messages of this namespace are")));
        }
        let detail = Some(json!({ "bytes": text.len() }));
        self.audit.record(&request, "broadcast to a room", &target(address), detail).await?;
        let sockets = self.in_time(self.edge.rooms.broadcast(address, Message::Text(text))).await?;
        Ok(json_response(&json!({ "sockets": sockets.map_err(|error| no_answer(&error))? })))
    }

    /// `POST /rooms/{namespace}/{name}/sleep`
    pub(super) async fn sleep_room(&self, address: &Address, request: AdminRequest) -> Result<Response<Body>, Refusal> {
        request.no_more_parameters()?;
        self.audit.record(&request, "put a room to sleep", &target(address), None).await?;
        let slept = self.edge.rooms.sleep(address).await.map_err(|error| no_answer(&error))?;
        let because = slept.because.iter().map(reason).collect::<Vec<_>>();
        let answer = json!({ "asleep": slept.asleep, "wasAwake": slept.was_awake, "awakeBecause": because });
        Ok(json_response(&answer))
    }

    /// Waits for a room as long as a request from outside may.
    async fn in_time<T>(&self, answer: impl Future<Output = T>) -> Result<T, Refusal> {
        let answered = clock::timeout(self.edge.limits.answer_timeout, answer).await;
        answered.map_err(|_| overloaded("the room did not answer in time; look at it before you try again").into())
    }
}

fn target(address: &Address) -> String {
    format!("room {address}")
}

fn no_such_room() -> Refusal {
    problem(StatusCode::NOT_FOUND, "there is no such room: nothing is stored of it, and it is not in memory").into()
}

fn no_answer(error: &RequestError) -> Refusal {
    overloaded(&error.to_string()).into()
}

fn unreadable(error: &StorageFailed) -> Refusal {
    tracing::error!(%error, "the storage could not be read for the operator");
    problem(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string()).into()
}

/// A rate without digits that mean nothing.
fn rounded(rate: f64) -> f64 {
    (rate * 1e3).round() / 1e3
}

fn summary(address: &Address, in_memory: bool, numbers: &Numbers) -> Value {
    // Of a room that is not in memory they are not known without reading its records.
    let known = |count: u32| in_memory.then_some(count);
    json!({
        "room": address.to_string(),
        "namespace": address.namespace(),
        "name": address.name(),
        "inMemory": in_memory,
        "awake": numbers.awake,
        "since": numbers.since,
        "lastEventAt": numbers.last_event,
        "sockets": numbers.sockets,
        "events": numbers.events,
        "eventsPerSecond": rounded(numbers.events_per_second),
        "messages": numbers.messages,
        "messagesPerSecond": rounded(numbers.messages_per_second),
        "cpuMs": u64::try_from(numbers.cpu.as_millis()).unwrap_or(u64::MAX),
        "cpuShare": rounded(numbers.cpu_share),
        "memoryBytes": numbers.memory_bytes,
        "storageBytes": numbers.storage_bytes,
        "timers": known(numbers.timers),
        "posts": known(numbers.posts),
        "failures": numbers.failures,
    })
}

fn shown(details: &RoomDetails) -> Value {
    let mut room = summary(&details.address, details.in_memory, &details.numbers);
    room["timers"] = details.numbers.timers.into();
    room["posts"] = details.numbers.posts.into();
    room["component"] = details.component.as_str().into();
    room["version"] = details.version.as_str().into();
    room["contract"] = details.contract.as_str().into();
    room["commit"] = details.commit.into();
    // More digits than a number of JavaScript has.
    room["dataVersion"] = details.data_version.into();
    room["incarnation"] = format!("{:016x}", details.incarnation).into();
    room["entries"] = details.entries.into();
    room["moreEntries"] = details.more_entries.into();
    room["busy"] = details.busy.into();
    let client = |socket: &SocketDetails| {
        json!({
            "id": socket.id,
            "user": socket.user,
            "userName": socket.user_name,
            "tags": socket.tags,
            "queuedBytes": socket.queued_bytes,
            "since": socket.since,
            "kind": socket.kind.name(),
        })
    };
    room["clients"] = details.sockets.iter().map(client).collect();
    let timer = |timer: &TimerDetails| {
        let TimerDetails { name, due_at, failures, payload_bytes } = timer;
        json!({ "name": name, "dueAt": due_at, "failures": failures, "payloadBytes": payload_bytes })
    };
    room["nextTimers"] = details.timers.iter().map(timer).collect();
    let post = |post: &PostDetails| json!({ "to": post.to, "dueAt": post.due_at, "failures": post.failures, "bytes": post.bytes });
    room["waitingPosts"] = details.posts.iter().map(post).collect();
    let failure = |failure: &Failure| json!({ "time": failure.at, "event": failure.event, "user": failure.user, "error": failure.error });
    room["lastFailures"] = details.failures.iter().map(failure).collect();
    room["awakeBecause"] = details.awake_because.iter().map(reason).collect();
    room
}

fn reason(because: &AwakeBecause) -> Value {
    match because {
        AwakeBecause::Turn { since } => json!({ "reason": "turn", "since": since }),
        AwakeBecause::EventsWaiting { events } => json!({ "reason": "events-waiting", "events": events }),
        AwakeBecause::Disk { turns } => json!({ "reason": "disk", "turns": turns }),
        AwakeBecause::Events { per_second } => json!({ "reason": "events", "perSecond": rounded(*per_second) }),
        AwakeBecause::Timer { due_at } => json!({ "reason": "timer", "dueAt": due_at }),
        AwakeBecause::Posts { waiting, due_at } => json!({ "reason": "posts", "waiting": waiting, "dueAt": due_at }),
        AwakeBecause::RecentEvent { sleeps_at } => json!({ "reason": "recent-event", "sleepsAt": sleeps_at }),
    }
}

/// A value, or its beginning, with the name that says how it is shown. `bytes` is its whole length.
fn shown_value(value: &[u8], bytes: usize, format: Format) -> (&'static str, Value) {
    if format == Format::Json
        && value.len() == bytes
        && let Ok(json) = serde_json::from_slice(value)
    {
        return ("json", json);
    }
    let text = match std::str::from_utf8(value) {
        Ok(text) => Some(text),
        // It was cut within a character.
        Err(error) if error.error_len().is_none() && value.len() < bytes => {
            std::str::from_utf8(&value[..error.valid_up_to()]).ok()
        }
        Err(_) => None,
    };
    match text.filter(|_| format != Format::Hex) {
        Some(text) => ("text", text.into()),
        None => ("hex", to_hex(value).into()),
    }
}

fn to_hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn from_hex(text: &str) -> Option<Bytes> {
    let digits = text.chars().map(|digit| digit.to_digit(16)).collect::<Option<Vec<_>>>()?;
    let pairs = digits.chunks(2).map(|pair| match pair {
        [high, low] => u8::try_from(high * 16 + low).ok(),
        _ => None,
    });
    pairs.collect::<Option<Vec<_>>>().map(Bytes::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_shown_as_json_text_or_hex() {
        let whole = |value: &[u8], format| shown_value(value, value.len(), format);
        assert_eq!(whole(br#"{"a":1}"#, Format::Json), ("json", json!({ "a": 1 })));
        assert_eq!(whole(br#"{"a":1}"#, Format::Text), ("text", r#"{"a":1}"#.into()));
        assert_eq!(whole(b"lobby", Format::Json), ("text", "lobby".into()));
        assert_eq!(whole(b"lobby", Format::Hex), ("hex", "6c6f626279".into()));
        assert_eq!(whole(b"\xff\0", Format::Json), ("hex", "ff00".into()));
        assert_eq!(shown_value("é".as_bytes().split_at(1).0, 2, Format::Json), ("text", "".into()));
        assert_eq!(shown_value(b"12", 3, Format::Json), ("text", "12".into()), "a part of a number is another number");
    }

    #[test]
    fn hexadecimal_digits_are_read_back() {
        assert_eq!(from_hex(&to_hex(b"\0a\xff")), Some(Bytes::from_static(b"\0a\xff")));
        assert_eq!([from_hex("f"), from_hex("fg"), from_hex("")], [None, None, Some(Bytes::new())]);
    }
}
