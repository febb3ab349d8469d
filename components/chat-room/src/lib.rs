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

use dormouse_room::json::{Complaint, PING, PONG};
use dormouse_room::sockets::{self, Selection};
use dormouse_room::{Close, Message, Refusal, Request, Response, Result, Room, Socket, User, context};

use crate::chat_message::Line;
use crate::command::{Posted, Said};
use crate::frames::Frame;
use crate::history::{History, Size};
use crate::idempotency::{Named, Names, Retries};
use crate::paging::Page;

struct Chat {
    history: History,
    retries: Retries,
}

dormouse_room::export!(Chat);

dormouse_room::settings! {
    // The longest frame about one user has the longest name, with every character escaped.
    message_out_bytes >= 4096;
    "keep_messages": number 1..=1_000_000_000,
}

impl Room for Chat {
    fn wake() -> Result<Self> {
        sockets::set_auto_response(PING, PONG)?;
        Ok(Chat { history: History::default(), retries: Retries::default() })
    }

    fn connect(&mut self, request: Request, socket: &Socket) -> Result<(), Refusal> {
        let query = request.query();
        let since = paging::since(&query).map_err(|reason| Refusal { status: 400, reason })?;
        let missed = self.missed(since, query.get("incarnation"))?;
        socket.tell(&Message::Text(missed))?;

        let user = socket.user();
        if sockets_of(&user).count() == 1 {
            let (user_id, user_name) = (&user.id, &user.name);
            others(&user).broadcast_json(&Frame::UserJoined { user_id, user_name, timestamp: context::now() })?;
        }
        Ok(())
    }

    fn message(&mut self, sender: &Socket, message: Message) -> Result<()> {
        match Said::read(&message) {
            Ok(Said::Message { content, client_id }) => {
                let names = Names { client_id: client_id.as_deref(), idempotency_key: None };
                match self.say(&sender.user(), &content, names)? {
                    Outcome::New(line) => sockets::everyone().broadcast(&line.into_frame()),
                    Outcome::SaidBefore(line) => sender.tell(&line.into_frame()),
                    Outcome::Refused(_, complaint) => sender.complain(&complaint.about(&message)),
                }
            }
            Ok(Said::Typing) => {
                let user = sender.user();
                others(&user).broadcast_json(&Frame::Typing { user_id: &user.id, user_name: &user.name })
            }
            Ok(Said::Ping) => sender.tell(&Message::Text(PONG.into())),
            Err(complaint) => sender.complain(&complaint),
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

/// The result of sending a message to the room.
enum Outcome {
    New(Line),
    SaidBefore(Line),
    /// Nothing was stored. The status is for a request over HTTP.
    Refused(u16, Complaint),
}

impl Chat {
    /// The first frame for a socket: the messages after `since`, or the newest of the history. It is cut to the longest
    /// frame, so that no history keeps a client from connecting.
    ///
    /// Numbers are comparable only within one incarnation: a client that knows another one starts over.
    fn missed(&mut self, since: Option<u64>, known: Option<String>) -> Result<String> {
        let incarnation = format!("{:016x}", context::incarnation());
        let most = Size::AtMost(frames::history_bytes(sockets::max_message_bytes()));
        if let Some(seq) = since
            && known.is_none_or(|known| known == incarnation)
            && let Some(missed) = self.history.since(seq, most)
        {
            return frames::history(&missed, Some(true), &incarnation);
        }
        let latest = self.history.page(Page::latest(paging::IN_HISTORY), most).messages;
        frames::history(&latest, since.map(|_| false), &incarnation)
    }

    /// Stores a message of `user`, unless the user sent it before under one of its names.
    fn say(&mut self, user: &User, content: &str, names: Names) -> Result<Outcome> {
        let now = context::now();
        if let Some((known_by, stored)) = self.said_before(user, names, now)? {
            // It is no retry. To answer with the stored message would lose what is said now without a word.
            if !idempotency::says(&stored, content)? {
                return Ok(Outcome::Refused(422, known_by.reused()));
            }
            let line = Line::stored(&stored)?;
            if let Some(refused) = too_long(&line) {
                return Ok(refused);
            }
            self.remember_the_others(user, names, now, &line)?;
            return Ok(Outcome::SaidBefore(line));
        }
        let seq = self.history.next_seq();
        let line = Line::new(chat_message::Fields {
            id: &context::random_uuid(),
            user_id: &user.id,
            user_name: &user.name,
            content,
            timestamp: now,
            seq,
            client_id: names.client_id,
        })?;
        if let Some(refused) = too_long(&line) {
            return Ok(refused);
        }
        self.history.append(seq, line.json())?;
        for named in names.each() {
            self.retries.remember(user, named, now, line.json())?;
        }
        Ok(Outcome::New(line))
    }

    /// The message that was stored before under one of these names.
    fn said_before<'a>(&mut self, user: &User, names: Names<'a>, now: u64) -> Result<Option<(Named<'a>, Vec<u8>)>> {
        for named in names.each() {
            if let Some(stored) = self.retries.find(user, named, now)? {
                return Ok(Some((named, stored)));
            }
        }
        Ok(None)
    }

    /// After a retry, stores the names that are new. From now on they identify the same message.
    fn remember_the_others(&mut self, user: &User, names: Names, now: u64, line: &Line) -> Result<()> {
        for named in names.each() {
            if self.retries.find(user, named, now)?.is_none() {
                self.retries.remember(user, named, now, line.json())?;
            }
        }
        Ok(())
    }

    /// GET /messages
    fn list(&mut self, request: &Request) -> Result<Response> {
        let most = Size::AtLeastOne(frames::PAGE_BYTES);
        Ok(match Page::from_query(&request.query()) {
            Ok(None) => {
                let found = self.history.page(Page::default(), most);
                Response::json_text(frames::messages(&found.messages, None))
            }
            Ok(Some(page)) => {
                let found = self.history.page(page, most);
                Response::json_text(frames::messages(&found.messages, Some(found.has_more)))
            }
            Err(reason) => Response::problem(400, reason),
        })
    }

    /// POST /messages
    fn post(&mut self, user: &User, request: &Request) -> Result<Response> {
        let posted = match Posted::read(request) {
            Ok(posted) => posted,
            Err(complaint) => return Ok(complaint.into()),
        };
        match self.say(user, &posted.content, posted.names())? {
            Outcome::New(line) => {
                let answer = Response::json_text(frames::posted(&line));
                sockets::everyone().broadcast(&line.into_frame())?;
                Ok(answer)
            }
            Outcome::SaidBefore(line) => Ok(Response::json_text(frames::posted(&line))),
            Outcome::Refused(status, complaint) => Ok(complaint.about_body(request).into_response(status)),
        }
    }
}

/// Refuses a message that is too long to be sent to clients: it is not stored either.
fn too_long(line: &Line) -> Option<Outcome> {
    let complaint = || Complaint::new("too_long", "this message is too long for this room");
    (line.frame_bytes() > sockets::max_message_bytes()).then(|| Outcome::Refused(413, complaint()))
}

fn sockets_of(user: &User) -> Selection {
    sockets::everyone().of_user(&user.id)
}

fn others(user: &User) -> Selection {
    sockets::everyone().except_user(&user.id)
}
