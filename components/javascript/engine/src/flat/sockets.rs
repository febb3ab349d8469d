//! The clients of the room. A socket is known by its id, in decimal digits.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::ptr;

use rquickjs::prelude::Opt;
use rquickjs::{Ctx, FromJs, Object, Value};

use super::{Problem, functions};
use crate::bindings::dormouse::room::sockets::{self, EventError, Except, Filter, Socket, SocketError};
use crate::bindings::dormouse::room::types::{Message, Response};
use crate::bindings::dormouse::room::upgrade::{self, AnswerError};
use crate::convert::{Bytes, Text, number, permissions};

thread_local! {
    /// Handles, which an instance may keep between turns: the host finds a socket by its id only slowly.
    static HANDLES: RefCell<BTreeMap<u64, Socket>> = const { RefCell::new(BTreeMap::new()) };
    /// The socket whose `on-close` runs. No other function of the contract finds it.
    static LEAVING: Cell<*const Socket> = const { Cell::new(ptr::null()) };
}

/// Runs the event of a socket that has left.
pub(crate) fn leaving<T>(socket: &Socket, work: impl FnOnce() -> T) -> T {
    HANDLES.with_borrow_mut(|handles| handles.remove(&socket.id()));
    LEAVING.set(socket);
    let result = work();
    LEAVING.set(ptr::null());
    result
}

/// Lends the socket with this id, if there is one.
#[expect(unsafe_code, reason = "the socket that leaves is lent for the time of its event")]
fn with<T>(id: &Text, work: impl FnOnce(&Socket) -> T) -> Option<T> {
    let id = number(&id.0)?;
    let left = LEAVING.get();
    // SAFETY: `leaving` holds the reference as long as the pointer is set.
    if let Some(socket) = unsafe { left.as_ref() }
        && socket.id() == id
    {
        return Some(work(socket));
    }
    HANDLES.with_borrow_mut(|handles| {
        if let std::collections::btree_map::Entry::Vacant(entry) = handles.entry(id) {
            entry.insert(sockets::get(id)?);
        }
        handles.get(&id).map(work)
    })
}

/// As `with`, for functions that fail with `gone` if there is no such socket.
fn change(id: &Text, work: impl FnOnce(&Socket) -> Result<(), SocketError>) -> rquickjs::Result<Problem> {
    Ok(Problem::of(with(id, work).unwrap_or(Err(SocketError::Gone)), problem))
}

fn problem(error: SocketError) -> &'static str {
    match error {
        SocketError::Gone => "gone",
        SocketError::TooLarge(_) => "too-large",
        SocketError::TooMany(_) => "too-many",
        SocketError::BadCloseCode => "bad-close-code",
    }
}

fn event_problem(error: EventError) -> &'static str {
    match error {
        EventError::BadId => "bad-id",
        EventError::NotSent(error) => problem(error),
    }
}

pub(super) fn install<'js>(object: &Object<'js>) -> rquickjs::Result<()> {
    functions!(object, ctx;
        turn "socketIds"(filter: Opt<FilterArgument>) => Ok(ids(&FilterArgument::or_everyone(filter)));
        turn "socketCount"(filter: Opt<FilterArgument>) => Ok(sockets::count(&FilterArgument::or_everyone(filter)));
        turn "user"(id: Text) => Ok(with(&id, Socket::user));
        turn "socketClaims"(id: Text) => Ok(with(&id, Socket::claims_json));
        turn "socketPermissions"(id: Text) => {
            Ok(with(&id, Socket::permissions).map(permissions).unwrap_or_default())
        };
        turn "tags"(id: Text) => Ok(with(&id, Socket::tags).unwrap_or_default());
        turn "setTags"(id: Text, tags: Vec<Text>) => {
            let tags = tags.into_iter().map(|Text(tag)| tag).collect::<Vec<_>>();
            change(&id, |socket| socket.set_tags(&tags))
        };
        turn "attachment"(id: Text) => Ok(Bytes(with(&id, Socket::attachment).unwrap_or_default()));
        turn "setAttachment"(id: Text, bytes: Bytes) => change(&id, |socket| socket.set_attachment(&bytes.0));
        turn "send"(id: Text, message: Message, event: Opt<Option<Text>>) => match event.0.flatten() {
            None => change(&id, |socket| socket.send(&message)),
            Some(event) => {
                let result = with(&id, |socket| socket.send_with_id(&message, &event.0));
                Ok(Problem::of(result.unwrap_or(Err(EventError::NotSent(SocketError::Gone))), event_problem))
            }
        };
        turn "broadcast"(message: Message, filter: Opt<FilterArgument>, event: Opt<Option<Text>>) => {
            let filter = FilterArgument::or_everyone(filter);
            Ok(match event.0.flatten() {
                None => Problem::of(sockets::broadcast(&message, &filter), problem),
                Some(event) => Problem::of(sockets::broadcast_with_id(&message, &event.0, &filter), event_problem),
            })
        };
        turn "close"(id: Text, code: u16, reason: Text) => change(&id, |socket| socket.close(code, &reason.0));
        turn "buffered"(id: Text) => Ok(with(&id, Socket::buffered).unwrap_or(0) as f64);
        turn "autoRespondedAt"(id: Text) => {
            Ok(with(&id, Socket::auto_responded_at).flatten().map(|at| at as f64))
        };
        turn "answer"(response: Response) => Ok(Problem::of(upgrade::answer(&response), |error| match error {
            AnswerError::NoClient => "no-client",
            AnswerError::BadAnswer => "bad-answer",
        }));
        turn "maxMessageBytes"() => Ok(sockets::max_message_bytes());
        turn "setAutoResponse"(request: Text, reply: Text) => {
            Ok(Problem::of(sockets::set_auto_response(&request.0, &reply.0), problem))
        };
        turn "clearAutoResponse"() => {
            sockets::clear_auto_response();
            Ok(())
        };
    );
    Ok(())
}

/// The ids of the matching sockets. Their handles are kept.
fn ids(filter: &Filter) -> Vec<String> {
    let found = sockets::all(filter);
    HANDLES.with_borrow_mut(|handles| {
        let keep = |socket: Socket| {
            let id = socket.id();
            handles.entry(id).or_insert(socket);
            id.to_string()
        };
        found.into_iter().map(keep).collect()
    })
}

struct FilterArgument(Filter);

impl FilterArgument {
    fn or_everyone(filter: Opt<FilterArgument>) -> Filter {
        filter.0.map_or_else(everyone, |FilterArgument(filter)| filter)
    }
}

impl<'js> FromJs<'js> for FilterArgument {
    fn from_js(_: &Ctx<'js>, value: Value<'js>) -> rquickjs::Result<FilterArgument> {
        let Some(object) = value.as_object() else { return Ok(FilterArgument(everyone())) };
        let text = |name| Ok::<_, rquickjs::Error>(object.get::<_, Option<Text>>(name)?.map(|Text(text)| text));
        let except = match (text("exceptSocket")?.as_deref().and_then(number), text("exceptUser")?) {
            (Some(id), _) => Except::Socket(id),
            (None, Some(user)) => Except::User(user),
            (None, None) => Except::Nobody,
        };
        Ok(FilterArgument(Filter { tag: text("tag")?, user: text("user")?, except }))
    }
}

fn everyone() -> Filter {
    Filter { tag: None, user: None, except: Except::Nobody }
}
