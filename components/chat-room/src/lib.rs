//! A chat room. This file handles its events; the other files hold the rules.
//!
//! ```text
//! command.rs       the input of clients                   history.rs  the stored messages, one key each
//! chat_message.rs  one message, as it is stored and sent  paging.rs   the messages that a client asks for
//! truncate.rs      the longest message                    frames.rs   the output of the room
//! idempotency.rs   messages that were sent before
//! ```
//!
//! Memory is only a cache: the instance may be dropped after any event, and the next instance reads all it needs from
//! storage and from the host's list of sockets.

mod chat_message;
mod command;
mod frames;
mod history;
mod idempotency;
mod paging;
mod truncate;

use dormouse_room::json::{ClientError, PING, PONG};
use dormouse_room::sockets::{self, Selection};
use dormouse_room::{Close, Message, Refusal, Request, Response, Result, Room, Socket, User, context};

use crate::chat_message::ChatMessage;
use crate::command::{Command, PostedMessage};
use crate::frames::Frame;
use crate::history::{History, SizeLimit};
use crate::idempotency::{IdempotencyRecords, MessageKey, MessageKeys};
use crate::paging::Page;

struct Chat {
    history: History,
    records: IdempotencyRecords,
    /// Names the numbering of the messages for clients, in hexadecimal digits. Numbers are comparable only within one
    /// incarnation.
    incarnation: String,
}

dormouse_room::export!(Chat);

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
        Ok(Chat { history: History::default(), records: IdempotencyRecords::default(), incarnation })
    }

    fn connect(&mut self, request: Request, socket: &Socket) -> Result<(), Refusal> {
        let query = request.query();
        let since = paging::since(&query).map_err(|reason| Refusal { status: 400, reason })?;
        self.send_history(socket, since, query.get("incarnation"))?;

        let user = socket.user();
        if sockets_of(&user).count() == 1 {
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
                }
            }
            Ok(Command::Typing) => {
                let user = sender.user();
                others(&user).broadcast_json(&Frame::Typing { user_id: &user.id, user_name: &user.name })
            }
            Ok(Command::Ping) => sender.send_if_open(&Message::Text(PONG.into())),
            Err(error) => sender.send_error(&error),
        }
    }

    fn close(&mut self, socket: &Socket, _: Close) -> Result<()> {
        let user = socket.user();
        if sockets_of(&user).count() > 0 {
            return Ok(());
        }
        let (user_id, user_name) = (&user.id, &user.name);
        sockets::everyone().broadcast_json(&Frame::UserLeft { user_id, user_name, timestamp: context::now() })
    }

    fn request(&mut self, request: Request) -> Result<Response> {
        let Some(user) = &request.user else {
            return Ok(Response::problem(401, "this needs a valid identity").header("www-authenticate", "Bearer"));
        };
        match (request.method.as_str(), request.path.as_str()) {
            ("GET", "/messages") => self.list(&request),
            ("POST", "/messages") => self.post(user, &request),
            _ => Ok(Response::problem(404, "this room answers GET and POST /messages")),
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
}

impl Chat {
    /// Sends the first frame to a socket: the messages after `since`, or the newest of the history. It is cut to the
    /// longest frame, so that no history keeps a client from connecting. Its id is that of its last message.
    ///
    /// A client that knows another incarnation starts over.
    fn send_history(&mut self, socket: &Socket, since: Option<u64>, known_incarnation: Option<String>) -> Result<()> {
        let size_limit = SizeLimit::AtMost(frames::history_bytes(sockets::max_message_bytes()));
        let since_here = since.filter(|_| known_incarnation.is_none_or(|known| known == self.incarnation));
        let missed = since_here.and_then(|seq| self.history.since(seq, size_limit));
        let resumed = since.map(|_| missed.is_some());
        let messages =
            missed.unwrap_or_else(|| self.history.page(Page::latest(paging::HISTORY_LIMIT), size_limit).messages);
        let frame = Message::Text(frames::history(&messages, resumed, &self.incarnation)?);
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

    /// Stores a message of `user`, unless the user sent it before with one of its keys.
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
        let seq = self.history.next_seq();
        let message = ChatMessage::new(chat_message::Fields {
            id: &context::random_uuid(),
            user_id: &user.id,
            user_name: &user.name,
            content,
            timestamp: now,
            seq,
            client_id: keys.client_id,
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
        }
    }
}

/// Refuses a message that is too long to be sent to clients: it is not stored either.
fn check_length(message: &ChatMessage) -> Option<Outcome> {
    let error = || ClientError::new("too_long", "this message is too long for this room");
    let bytes = message.frame_bytes();
    let fits = bytes <= ALWAYS_FITS_BYTES || bytes <= sockets::max_message_bytes();
    (!fits).then(|| Outcome::Refused(413, error()))
}

fn sockets_of(user: &User) -> Selection {
    sockets::everyone().of_user(&user.id)
}

fn others(user: &User) -> Selection {
    sockets::everyone().except_user(&user.id)
}
