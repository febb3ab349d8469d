//! A presence room: it tells its clients which users are present. This file handles its events; the other files hold
//! the rules.
//!
//! ```text
//! command.rs       the input of clients            roster.rs        the listed users, one key each
//! status.rs        online, away or busy            expiry.rs        removes users who did not come back
//! frames.rs        the output of the room          listing.rs       the list of users, as one message
//! audience.rs      the audience of a change        saved_status.rs  the status of users whose connection was lost
//! ```
//!
//! The host knows the connected users; storage holds the listed users. After a restart of the host the two differ on
//! purpose: all sockets ended without a close event, but the users stay listed while they reconnect. Users who do not
//! reconnect are removed.

mod audience;
mod command;
mod expiry;
mod frames;
mod listing;
mod roster;
mod saved_status;
mod status;

use dormouse_room::json::{PING, PONG};
use dormouse_room::sockets::{self, Selection};
use dormouse_room::{Close, Error, Message, Refusal, Request, Response, Result, Room, Socket, Timer, context};

use crate::audience::Audience;
use crate::command::Said;
use crate::frames::{Frame, UserPresence};
use crate::listing::Listing;
use crate::roster::Entry;
use crate::status::Status;

struct Presence;

dormouse_room::export!(Presence);

dormouse_room::settings! {
    // The longest frame about one user has the longest name, with every character escaped.
    message_out_bytes >= 4096;
}

impl Room for Presence {
    fn wake() -> Result<Self> {
        sockets::set_auto_response(PING, PONG)?;
        expiry::mend()?;
        Ok(Presence)
    }

    fn connect(&mut self, _: Request, socket: &Socket) -> Result<(), Refusal> {
        let user = socket.user();
        let remembered = saved_status::take(&user.id)?;
        let listed = roster::get(&user.id)?.map(|listed| listed.status);
        let status = listed.or(remembered).unwrap_or(Status::Online);
        // The newest socket gives the user's name: an older one may have a token from before the name changed.
        let entry = Entry { name: user.name, status, last_seen: context::now(), missing_since: None };
        roster::put(&user.id, &entry)?;
        expiry::watch()?;

        let max_bytes = listing::frame_bytes(sockets::max_message_bytes());
        let list = Listing::beginning_with(&user.id, &entry, max_bytes)?;
        socket.tell(&Message::Text(frames::presence_list(&list)?))?;
        // Sent also if the user was listed already: the number of connections changed, and the name may have changed.
        Ok(tell(sockets::everyone().except(socket), &user.id, &entry)?)
    }

    fn message(&mut self, sender: &Socket, message: Message) -> Result<()> {
        match Said::read(&message) {
            Ok(Said::Heartbeat) => seen(sender, None),
            Ok(Said::Status(status)) => seen(sender, Some(status)),
            Ok(Said::Ping) => sender.tell(&Message::Text(PONG.into())),
            Err(complaint) => sender.complain(&complaint),
        }
    }

    fn close(&mut self, socket: &Socket, close: Close) -> Result<()> {
        let user_id = &socket.user().id;
        let Some(entry) = roster::get(user_id)? else { return Ok(()) };
        if roster::connections(user_id) > 0 {
            return tell(sockets::everyone(), user_id, &entry);
        }
        roster::remove(user_id);
        if !saved_status::is_on_purpose(&close) {
            saved_status::put(user_id, entry.status)?;
        }
        sockets::everyone().broadcast_json(&Frame::PresenceRemove { user_id })
    }

    fn timer(&mut self, timer: Timer) -> Result<()> {
        match timer.name.as_str() {
            expiry::TIMER => expiry::look(),
            saved_status::TIMER => saved_status::forget(),
            name => Err(Error::new(format!("no such timer: {name}"))),
        }
    }

    fn request(&mut self, request: Request) -> Result<Response> {
        let Some(user) = &request.user else {
            return Ok(Response::problem(401, "this needs a valid identity").header("www-authenticate", "Bearer"));
        };
        match (request.method.as_str(), request.path.as_str()) {
            ("GET", "/list") => {
                let after = request.query().get("after");
                let page = Listing::page(after.as_deref(), listing::MAX_BYTES)?;
                Ok(Response::json_text(frames::list(&page)?))
            }
            ("POST", "/update") => match command::posted(&request) {
                Ok(Said::Status(status)) => update(&user.id, Some(status)),
                Ok(Said::Heartbeat | Said::Ping) => update(&user.id, None),
                Err(complaint) => Ok(complaint.into()),
            },
            _ => Ok(Response::problem(404, "this room answers GET /list and POST /update")),
        }
    }
}

/// A client sent a sign of life, perhaps with a status.
fn seen(sender: &Socket, chosen: Option<Status>) -> Result<()> {
    let user = sender.user();
    let listed = roster::get(&user.id)?;
    let before = listed.as_ref().map(|entry| entry.status);
    let status = chosen.or(before).unwrap_or(Status::Online);
    let name = listed.map_or(user.name, |entry| entry.name);
    let entry = Entry { name, status, last_seen: context::now(), missing_since: None };
    roster::put(&user.id, &entry)?;
    if before.is_none() {
        expiry::watch()?;
    }
    match audience::of(before, chosen) {
        Audience::Nobody => Ok(()),
        Audience::Others => tell(sockets::everyone().except(sender), &user.id, &entry),
        Audience::All => tell(sockets::everyone(), &user.id, &entry),
    }
}

/// POST /update: like a message from a socket, but it adds no user to the list.
fn update(user_id: &str, chosen: Option<Status>) -> Result<Response> {
    if let Some(listed) = roster::get(user_id)? {
        let (before, status) = (listed.status, chosen.unwrap_or(listed.status));
        let entry = Entry { status, last_seen: context::now(), ..listed };
        roster::put(user_id, &entry)?;
        if status != before {
            tell(sockets::everyone(), user_id, &entry)?;
        }
    }
    Ok(Response::json_text(r#"{"success":true}"#))
}

fn tell(audience: Selection, user_id: &str, entry: &Entry) -> Result<()> {
    let user = UserPresence::new(user_id, entry, roster::connections(user_id));
    audience.broadcast_json(&Frame::PresenceUpdate { user })
}
