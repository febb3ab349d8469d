//! A room where people talk. This file is its events; the rules stand beside it.
//!
//! ```text
//! said.rs     what a client may say              line.rs     one message, as it is stored and sent
//! cut.rs      how long it may be                 history.rs  the messages, one key each
//! retries.rs  what was sent before               paging.rs   which messages somebody asks for
//! frames.rs   what the room says
//! ```
//!
//! Memory is a cache here: the instance may go after any event, and the next one finds all it needs in storage and in
//! the host's list of sockets.

mod cut;
mod frames;
mod history;
mod line;
mod paging;
mod retries;
mod said;

use dormouse_room::said::{PING, PONG};
use dormouse_room::sockets::{self, Selection};
use dormouse_room::{Close, Message, Refusal, Request, Response, Result, Room, Socket, User, context};

use crate::frames::Frame;
use crate::history::History;
use crate::line::Line;
use crate::paging::Page;
use crate::retries::{Named, Retries};
use crate::said::{Posted, Said};

struct Chat {
    history: History,
    retries: Retries,
}

dormouse_room::export!(Chat);

impl Room for Chat {
    fn wake() -> Result<Self> {
        sockets::set_auto_response(PING, PONG)?;
        Ok(Chat { history: History::default(), retries: Retries::default() })
    }

    fn connect(&mut self, request: Request, socket: &Socket) -> Result<(), Refusal> {
        let since = paging::since(&request.query()).map_err(|reason| Refusal { status: 400, reason })?;
        let missed = self.missed(since)?;
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
                let retry_of = client_id.as_deref().map(Named::ClientId);
                match self.say(&sender.user(), &content, retry_of)? {
                    Outcome::New(line) => sockets::everyone().broadcast(&line.into_frame()),
                    Outcome::SaidBefore(line) => sender.tell(&line.into_frame()),
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
            return Ok(Response::problem(401, "who is asking?").header("www-authenticate", "Bearer"));
        };
        match (request.method.as_str(), request.path.as_str()) {
            ("GET", "/messages") => self.list(&request),
            ("POST", "/messages") => self.post(user, &request),
            _ => Ok(Response::problem(404, "this room answers GET and POST /messages")),
        }
    }
}

/// What became of something that was said.
enum Outcome {
    New(Line),
    SaidBefore(Line),
}

impl Chat {
    /// The first frame for a socket: what it missed since `seq`, or the end of the history.
    fn missed(&mut self, since: Option<u64>) -> Result<String> {
        if let Some(seq) = since
            && let Some(missed) = self.history.since(seq)
            && frames::fit_together(&missed)
        {
            return frames::history(&missed, Some(true));
        }
        let latest = self.history.page(Page::latest(paging::IN_HISTORY)).messages;
        frames::history(frames::newest_that_fit(&latest), since.map(|_| false))
    }

    /// Store what `user` says, unless they said it before.
    fn say(&mut self, user: &User, content: &str, retry_of: Option<Named>) -> Result<Outcome> {
        let now = context::now();
        if let Some(named) = retry_of
            && let Some(stored) = self.retries.find(user, named, now)?
        {
            return Ok(Outcome::SaidBefore(Line::stored(&stored)?));
        }
        let seq = self.history.next_seq();
        let line = Line::new(line::Fields {
            id: &context::random_uuid(),
            user_id: &user.id,
            user_name: &user.name,
            content,
            timestamp: now,
            seq,
            client_id: retry_of.and_then(|named| named.client_id()),
        })?;
        self.history.append(seq, line.json())?;
        if let Some(named) = retry_of {
            self.retries.remember(user, named, now, line.json())?;
        }
        Ok(Outcome::New(line))
    }

    /// GET /messages
    fn list(&mut self, request: &Request) -> Result<Response> {
        Ok(match Page::from_query(&request.query()) {
            Ok(None) => Response::json_text(frames::messages(&self.history.page(Page::default()).messages, None)),
            Ok(Some(page)) => {
                let found = self.history.page(page);
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
        let outcome = self.say(user, &posted.content, posted.named())?;
        let answer = match &outcome {
            Outcome::New(line) | Outcome::SaidBefore(line) => Response::json_text(frames::posted(line)),
        };
        if let Outcome::New(line) = outcome {
            sockets::everyone().broadcast(&line.into_frame())?;
        }
        Ok(answer)
    }
}

fn sockets_of(user: &User) -> Selection {
    sockets::everyone().of_user(&user.id)
}

fn others(user: &User) -> Selection {
    sockets::everyone().except_user(&user.id)
}
