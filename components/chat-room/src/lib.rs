//! A chat room. This file handles its events; the other files hold the rules.
//!
//! ```text
//! command.rs       the input of clients                   history.rs  the stored messages, one key each
//! chat_message.rs  one message, as it is stored and sent  paging.rs   the messages that a client asks for
//! truncate.rs      the longest message                    frames.rs   the output of the room
//! idempotency.rs   messages that were sent before         mutes.rs    users who may not send for a time
//! deletions.rs     deletions, for clients that were away
//! personal_data.rs the export and the erasure of one user
//! unannounced.rs   users who come and go without a word to the others
//! ```
//!
//! Memory is only a cache: the instance may be dropped after any event, and the next instance reads all it needs from
//! storage and from the host's list of sockets.

mod chat_message;
mod command;
mod deletions;
mod frames;
mod history;
mod idempotency;
mod mutes;
mod paging;
mod personal_data;
mod truncate;
mod unannounced;

use dormouse_room::json::{ClientError, PING, PONG};
use dormouse_room::personal_data::{Erased, Exported};
use dormouse_room::sockets::{self, Selection};
use dormouse_room::{
    Close, Message, Permission, PersonalData, Refusal, Request, Response, Result, Room, Socket, User, access, context,
    percent_decode,
};

use crate::chat_message::{ChatMessage, Deleted, Stored};
use crate::command::{Command, MuteOrder, PostedMessage, Target};
use crate::deletions::Deletion;
use crate::frames::{ForbiddenError, Frame, MuteNotice, MutedError};
use crate::history::{History, SizeLimit};
use crate::idempotency::{IdempotencyRecords, MessageKey, MessageKeys};
use crate::mutes::{MAX_MUTES, Mute, Mutes, TooMany};
use crate::paging::Page;

struct Chat {
    history: History,
    records: IdempotencyRecords,
    mutes: Mutes,
    /// Names the numbering of the messages for clients, in hexadecimal digits. Numbers are comparable only within one
    /// incarnation.
    incarnation: String,
}

dormouse_room::export!(Chat);
dormouse_room::export_personal_data!(Chat);

dormouse_room::settings! {
    // The longest frame about one user has the longest name, with every character escaped.
    message_out_bytes >= 4096;
    // A short message with its `clientId`.
    message_in_bytes >= 256;
    "keep_messages": number 1..=1_000_000_000,
}

/// A namespace that the host has checked lets frames of this length through: the settings above demand it. So the turn
/// of most messages does not ask the host.
const ALWAYS_FITS_BYTES: usize = 4096;

impl Room for Chat {
    fn wake() -> Result<Self> {
        sockets::set_auto_response(PING, PONG)?;
        let incarnation = format!("{:016x}", context::incarnation());
        let (history, records, mutes) = (History::default(), IdempotencyRecords::default(), Mutes::default());
        Ok(Chat { history, records, mutes, incarnation })
    }

    fn connect(&mut self, request: Request, socket: &Socket) -> Result<(), Refusal> {
        let query = request.query();
        let since = paging::since(&query).map_err(|reason| Refusal { status: 400, reason })?;
        self.send_history(socket, since, query.get("incarnation"))?;

        if !socket.may(Permission::Presence) {
            return Ok(unannounced::mark(socket)?);
        }
        let user = socket.user();
        if unannounced::count_of_others(&user) == 1 {
            let (user_id, user_name) = (&user.id, &user.name);
            others(&user).broadcast_json(&Frame::UserJoined { user_id, user_name, timestamp: context::now() })?;
        }
        Ok(())
    }

    fn message(&mut self, sender: &Socket, message: Message) -> Result<()> {
        match Command::parse(&message) {
            Ok(Command::Message { content, client_id }) => {
                let keys = MessageKeys { client_id: client_id.as_deref(), idempotency_key: None };
                match self.store(&sender.user(), &content, keys)? {
                    Outcome::Stored(seq, message) => self.broadcast(seq, message),
                    Outcome::Duplicate(message) => sender.send_if_open(&message.into_frame()),
                    Outcome::Refused(_, error) => sender.send_error(&error.for_message(&message)),
                    Outcome::Muted(error) => sender.send_if_open(&Message::json(&error)?),
                }
            }
            Ok(Command::Typing) => {
                let user = sender.user();
                if self.mutes.of(&user.id, context::now())?.is_some() {
                    return Ok(());
                }
                others(&user).broadcast_json(&Frame::Typing { user_id: &user.id, user_name: &user.name })
            }
            Ok(Command::Delete(_) | Command::Mute(_)) if !moderates(sender) => {
                sender.send_if_open(&Message::json(&ForbiddenError::new().for_message(&message))?)
            }
            Ok(Command::Delete(target)) => match self.delete(&sender.user(), &target)? {
                Deletes::Now(_) => Ok(()),
                Deletes::Before(deletion) => sender.send_if_open(&Message::Text(frames::deleted(&deletion))),
                Deletes::Nothing => sender.send_error(&no_such_message().for_message(&message)),
            },
            Ok(Command::Mute(order)) => match self.mute(&sender.user(), &order)? {
                Ok(_) => Ok(()),
                Err(TooMany) => sender.send_error(&too_many_mutes().for_message(&message)),
            },
            Ok(Command::Ping) => sender.send_if_open(&Message::Text(PONG.into())),
            Err(error) => sender.send_error(&error),
        }
    }

    fn close(&mut self, socket: &Socket, _: Close) -> Result<()> {
        let user = socket.user();
        if unannounced::is_marked(socket) || unannounced::count_of_others(&user) > 0 {
            return Ok(());
        }
        let (user_id, user_name) = (&user.id, &user.name);
        others(&user).broadcast_json(&Frame::UserLeft { user_id, user_name, timestamp: context::now() })
    }

    fn request(&mut self, request: Request) -> Result<Response> {
        let Some(user) = &request.user else {
            return Ok(Response::problem(401, "this needs a valid identity").header("www-authenticate", "Bearer"));
        };
        match (request.method.as_str(), Route::find(&request.path)) {
            ("GET", Route::Messages) => self.list(&request),
            ("POST", Route::Messages) => self.post(user, &request),
            ("DELETE", Route::Message(_)) | ("GET" | "POST", Route::Mutes) | ("DELETE", Route::MuteOf(_))
                if !access::may(Permission::Moderate) =>
            {
                ForbiddenError::new().into_response()
            }
            ("DELETE", Route::Message(id)) => self.delete_over_http(user, id, &request),
            ("GET", Route::Mutes) => self.list_mutes(),
            ("POST", Route::Mutes) => match command::posted_mute(&request) {
                Ok(order) => self.mute_over_http(user, &order),
                Err(error) => Ok(error.into()),
            },
            ("DELETE", Route::MuteOf(muted)) => {
                self.mute_over_http(user, &MuteOrder { user: muted.into(), seconds: 0 })
            }
            (_, Route::Unknown) | (_, Route::Messages) => Ok(Response::problem(404, NOT_FOUND)),
            (_, route) => Ok(Response::problem(405, "this room does not answer this method here")
                .header("allow", if matches!(route, Route::Mutes) { "GET, POST" } else { "DELETE" })),
        }
    }
}

impl PersonalData for Chat {
    fn export_user(&mut self, user: &str, after: Option<&str>) -> Result<Exported> {
        personal_data::export(self, user, after)
    }

    fn erase_user(&mut self, user: &str, after: Option<&str>) -> Result<Erased> {
        personal_data::erase(self, user, after)
    }
}

const NOT_FOUND: &str = "this room answers GET and POST /messages and /mutes, DELETE /messages/{id} and /mutes/{user}";

/// The path of a request.
enum Route {
    Messages,
    /// By its id.
    Message(String),
    Mutes,
    /// By the id of the user.
    MuteOf(String),
    Unknown,
}

impl Route {
    fn find(path: &str) -> Self {
        let of = |prefix| path.strip_prefix(prefix).and_then(percent_decode);
        match path {
            "/messages" => Route::Messages,
            "/mutes" => Route::Mutes,
            _ => match (of("/messages/"), of("/mutes/")) {
                (Some(id), _) if command::is_message_id(&id) => Route::Message(id),
                (_, Some(user)) if command::is_user_id(&user) => Route::MuteOf(user),
                _ => Route::Unknown,
            },
        }
    }
}

/// The result of storing a message.
enum Outcome {
    /// Under this number.
    Stored(u64, ChatMessage),
    /// A retry of this message, which was stored before.
    Duplicate(ChatMessage),
    /// Nothing was stored. The status is for a request over HTTP.
    Refused(u16, ClientError),
    /// The sender is muted.
    Muted(MutedError),
}

/// The result of deleting a message. The deletion is JSON.
enum Deletes {
    Now(String),
    /// It was deleted earlier.
    Before(String),
    Nothing,
}

impl Chat {
    /// Sends the first frame to a socket: the messages after `since`, or the newest of the history. It is cut to the
    /// longest frame, so that no history keeps a client from connecting. Its id is that of its last message.
    ///
    /// A client that knows another incarnation starts over.
    fn send_history(&mut self, socket: &Socket, since: Option<u64>, known_incarnation: Option<String>) -> Result<()> {
        let (user, now) = (socket.user(), context::now());
        let muted = self.mutes.of(&user.id, now)?.map(|mute| serde_json::to_string(&MuteNotice::new(mute, now)));
        let muted = muted.transpose()?;
        let bytes = frames::history_bytes(sockets::max_message_bytes());
        let bytes = bytes.saturating_sub(muted.as_ref().map_or(0, String::len));
        let since_here = since.filter(|_| known_incarnation.is_none_or(|known| known == self.incarnation));
        let missed = since_here.and_then(|seq| {
            let deleted = deletions::since(seq)?;
            let left = bytes.checked_sub(frames::array_len(&deleted))?;
            Some((self.history.since(seq, SizeLimit::AtMost(left))?, deleted))
        });
        let resumed = since.map(|_| missed.is_some());
        let (messages, deleted) = missed.unwrap_or_else(|| {
            let latest = Page::latest(paging::HISTORY_LIMIT);
            (self.history.page(latest, SizeLimit::AtMost(bytes)).messages, Vec::new())
        });
        let (messages, deleted, muted, incarnation) = (&messages, &deleted, muted.as_deref(), &*self.incarnation);
        let frame = frames::History { messages, resumed, deleted, muted, incarnation };
        let frame = Message::Text(frame.to_json()?);
        if messages.is_empty() {
            return socket.send_if_open(&frame);
        }
        let last = self.history.last();
        socket.send_with_id_if_open(&frame, &self.event_id(last))
    }

    /// Sends a new message to all clients.
    fn broadcast(&self, seq: u64, message: ChatMessage) -> Result<()> {
        sockets::everyone().broadcast_with_id(&message.into_frame(), &self.event_id(seq))
    }

    /// The id of the event with this message: a client that knows it can resume.
    fn event_id(&self, seq: u64) -> String {
        format!("{seq}.{}", self.incarnation)
    }

    /// Stores a message of `user`, unless the user sent it before with one of its keys, or is muted. A mute binds its
    /// user with every permission: those may be of a service that acts for the user.
    fn store(&mut self, user: &User, content: &str, keys: MessageKeys) -> Result<Outcome> {
        let now = context::now();
        if let Some((key, stored)) = self.find_duplicate(user, keys, now)? {
            // Not a retry, but another message. An answer with the stored one would silently lose it.
            if !idempotency::has_content(&stored, content)? {
                return Ok(Outcome::Refused(422, key.reused_error()));
            }
            let message = ChatMessage::from_stored_json(&stored)?;
            if let Some(refused) = check_length(&message) {
                return Ok(refused);
            }
            self.record_new_keys(user, keys, now, &message)?;
            return Ok(Outcome::Duplicate(message));
        }
        // Behind the search for a retry: a message that was stored before the mute is stored.
        if let Some(mute) = self.mutes.of(&user.id, now)? {
            return Ok(Outcome::Muted(MutedError::new(mute, now).with_client_id(keys.client_id)));
        }
        let seq = self.history.next_seq();
        let message = ChatMessage::new(chat_message::Fields {
            id: &context::random_uuid(),
            user_id: &user.id,
            user_name: &user.name,
            content,
            timestamp: now,
            seq,
            client_id: keys.client_id,
            deleted: None,
        })?;
        if let Some(refused) = check_length(&message) {
            return Ok(refused);
        }
        self.history.append(seq, message.json())?;
        for key in keys.iter() {
            self.records.record(user, key, now, message.json())?;
        }
        Ok(Outcome::Stored(seq, message))
    }

    /// The message that was stored before with one of these keys.
    fn find_duplicate<'a>(
        &mut self,
        user: &User,
        keys: MessageKeys<'a>,
        now: u64,
    ) -> Result<Option<(MessageKey<'a>, Vec<u8>)>> {
        for key in keys.iter() {
            if let Some(stored) = self.records.find(user, key, now)? {
                return Ok(Some((key, stored)));
            }
        }
        Ok(None)
    }

    /// After a retry, stores the keys that are new. From now on they identify the same message.
    fn record_new_keys(&mut self, user: &User, keys: MessageKeys, now: u64, message: &ChatMessage) -> Result<()> {
        for key in keys.iter() {
            if self.records.find(user, key, now)?.is_none() {
                self.records.record(user, key, now, message.json())?;
            }
        }
        Ok(())
    }

    /// GET /messages
    fn list(&mut self, request: &Request) -> Result<Response> {
        let size_limit = SizeLimit::AtLeastOne(frames::PAGE_BYTES);
        Ok(match Page::from_query(&request.query()) {
            Ok(None) => {
                let found = self.history.page(Page::default(), size_limit);
                Response::json_text(frames::messages(&found.messages, None))
            }
            Ok(Some(page)) => {
                let found = self.history.page(page, size_limit);
                Response::json_text(frames::messages(&found.messages, Some(found.has_more)))
            }
            Err(reason) => Response::problem(400, reason),
        })
    }

    /// POST /messages
    fn post(&mut self, user: &User, request: &Request) -> Result<Response> {
        let posted = match PostedMessage::parse(request) {
            Ok(posted) => posted,
            Err(error) => return Ok(error.into()),
        };
        match self.store(user, &posted.content, posted.keys())? {
            Outcome::Stored(seq, message) => {
                let response = Response::json_text(frames::posted(&message));
                self.broadcast(seq, message)?;
                Ok(response)
            }
            Outcome::Duplicate(message) => Ok(Response::json_text(frames::posted(&message))),
            Outcome::Refused(status, error) => Ok(error.for_body(request).into_response(status)),
            Outcome::Muted(error) => error.into_response(),
        }
    }

    /// Replaces a message by a tombstone wherever its content is stored, and tells all clients.
    fn delete(&mut self, by: &User, target: &Target) -> Result<Deletes> {
        if !command::is_message_id(&target.id) {
            return Ok(Deletes::Nothing);
        }
        let Some((seq, json)) = self.history.find(&target.id, target.seq) else { return Ok(Deletes::Nothing) };
        let (stored, id) = (Stored::parse(&json)?, &*target.id);
        if let Some(Deleted { by, at }) = &stored.deleted {
            return Ok(Deletes::Before(serde_json::to_string(&Deletion { id, seq, by, at: *at })?));
        }
        let at = context::now();
        let tombstone = stored.tombstone(id, Deleted { by: (&*by.id).into(), at })?;
        self.history.replace(seq, tombstone.json())?;
        self.records.erase(&stored.user_id, id, tombstone.json())?;
        let deletion = serde_json::to_string(&Deletion { id, seq, by: &by.id, at })?;
        deletions::record(self.history.last(), seq, &deletion)?;
        sockets::everyone().broadcast(&Message::Text(frames::deleted(&deletion)))?;
        Ok(Deletes::Now(deletion))
    }

    /// DELETE /messages/{id}
    fn delete_over_http(&mut self, by: &User, id: String, request: &Request) -> Result<Response> {
        let seq = match paging::seq(&request.query()) {
            Ok(seq) => seq,
            Err(reason) => return Ok(Response::problem(400, reason)),
        };
        match self.delete(by, &Target { id: id.into(), seq })? {
            Deletes::Now(deletion) | Deletes::Before(deletion) => {
                Ok(Response::json_text(frames::deleted_answer(&deletion)))
            }
            Deletes::Nothing => Ok(no_such_message().into_response(404)),
        }
    }

    /// Mutes a user from now on, or ends the mute, and tells all clients.
    fn mute(&mut self, by: &User, order: &MuteOrder) -> Result<Result<Mute, TooMany>> {
        let now = context::now();
        let mute = Mute { user: order.user.to_string(), until: now + order.seconds * 1_000, by: by.id.clone() };
        if let Err(too_many) = self.mutes.set(mute.clone(), now)? {
            return Ok(Err(too_many));
        }
        sockets::everyone().broadcast_json(&Frame::Muted(MuteNotice::new(&mute, now)))?;
        Ok(Ok(mute))
    }

    /// POST /mutes and DELETE /mutes/{user}
    fn mute_over_http(&mut self, by: &User, order: &MuteOrder) -> Result<Response> {
        match self.mute(by, order)? {
            Ok(mute) => Response::json(&frames::MutedAnswer::new(&mute, context::now())),
            Err(TooMany) => Ok(too_many_mutes().into_response(409)),
        }
    }

    /// GET /mutes
    fn list_mutes(&mut self) -> Result<Response> {
        let now = context::now();
        let mutes = self.mutes.all(now)?.map(|mute| MuteNotice::new(mute, now)).collect();
        Response::json(&frames::Mutes { mutes })
    }
}

fn moderates(socket: &Socket) -> bool {
    socket.may(Permission::Moderate)
}

fn no_such_message() -> ClientError {
    ClientError::new("not_found", "no message here has this id")
}

fn too_many_mutes() -> ClientError {
    ClientError::new("too_many_mutes", format!("{MAX_MUTES} users are muted here; end a mute first"))
}

/// Refuses a message that is too long to be sent to clients: it is not stored either.
fn check_length(message: &ChatMessage) -> Option<Outcome> {
    let error = || ClientError::new("too_long", "this message is too long for this room");
    let bytes = message.frame_bytes();
    let fits = bytes <= ALWAYS_FITS_BYTES || bytes <= sockets::max_message_bytes();
    (!fits).then(|| Outcome::Refused(413, error()))
}

fn others(user: &User) -> Selection {
    sockets::everyone().except_user(&user.id)
}
