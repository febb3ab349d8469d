//! A presence room: it tells its clients which users are present. This file handles its events; the other files hold
//! the rules.
//!
//! ```text
//! command.rs       the input of clients            roster.rs        the listed users, one key each
//! status.rs        online, away or busy            expiry.rs        removes users who did not come back
//! frames.rs        the output of the room          user_presence.rs one user as clients see it
//! listing.rs       the list of users, one message  audience.rs      the audience of a change
//! saved_status.rs  the status of users whose connection was lost
//! personal_data.rs the export and the erasure of one user
//! unlisted.rs      sockets of users who may not be listed
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
mod personal_data;
mod roster;
mod saved_status;
mod status;
mod unlisted;
mod user_presence;

use dormouse_room::json::{PING, PONG};
use dormouse_room::personal_data::{Erased, Exported};
use dormouse_room::sockets::{self, Selection};
use dormouse_room::{
    Close, Error, Message, Permission, PersonalData, Refusal, Request, Response, Result, Room, Socket, Timer, context,
};

use crate::audience::{Audience, audience_of};
use crate::command::Command;
use crate::frames::Frame;
use crate::listing::Listing;
use crate::roster::Entry;
use crate::status::Status;
use crate::user_presence::UserPresence;

struct Presence;

dormouse_room::export!(Presence);
dormouse_room::export_personal_data!(Presence);

dormouse_room::settings! {
    // The longest frame about one user has the longest name, with every character escaped.
    message_out_bytes >= 4096;
    // A status, or a heartbeat.
    message_in_bytes >= 64;
}

impl Room for Presence {
    fn wake() -> Result<Self> {
        sockets::set_auto_response(PING, PONG)?;
        expiry::reset_future_timer()?;
        Ok(Presence)
    }

    fn connect(&mut self, _: Request, socket: &Socket) -> Result<(), Refusal> {
        let max_bytes = listing::frame_bytes(sockets::max_message_bytes());
        if !socket.may(Permission::Presence) {
            unlisted::mark(socket)?;
            let list = Listing::page(None, max_bytes)?;
            return Ok(socket.send_if_open(&Message::Text(frames::presence_list(&list)?))?);
        }
        let user = socket.user();
        let saved = saved_status::take(&user.id)?;
        let listed = roster::get(&user.id)?.map(|listed| listed.status);
        let status = listed.or(saved).unwrap_or(Status::Online);
        // The newest socket gives the user's name: an older one may have a token from before the name changed.
        let entry = Entry { name: user.name, status, last_seen: context::now(), missing_since: None };
        roster::put(&user.id, &entry)?;
        expiry::schedule_check()?;

        let list = Listing::starting_with(&user.id, &entry, max_bytes)?;
        socket.send_if_open(&Message::Text(frames::presence_list(&list)?))?;
        // Sent also if the user was listed already: the number of connections changed, and the name may have changed.
        Ok(send_update(sockets::everyone().except(socket), &user.id, &entry)?)
    }

    fn message(&mut self, sender: &Socket, message: Message) -> Result<()> {
        match Command::parse(&message) {
            Ok(Command::Heartbeat) => heartbeat(sender, None),
            Ok(Command::Status(status)) => heartbeat(sender, Some(status)),
            Ok(Command::Ping) => sender.send_if_open(&Message::Text(PONG.into())),
            Err(error) => sender.send_error(&error),
        }
    }

    fn close(&mut self, socket: &Socket, close: Close) -> Result<()> {
        if unlisted::is_marked(socket) {
            return Ok(());
        }
        let user_id = &socket.user().id;
        let Some(entry) = roster::get(user_id)? else { return Ok(()) };
        if roster::connections(user_id) > 0 {
            return send_update(sockets::everyone(), user_id, &entry);
        }
        roster::remove(user_id);
        if !saved_status::is_intentional(&close) {
            saved_status::put(user_id, entry.status)?;
        }
        sockets::everyone().broadcast_json(&Frame::PresenceRemove { user_id })
    }

    fn timer(&mut self, timer: Timer) -> Result<()> {
        match timer.name.as_str() {
            expiry::TIMER => expiry::check(),
            saved_status::TIMER => saved_status::remove_expired(),
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
            ("POST", "/update") => match command::parse_post(&request) {
                Ok(Command::Status(status)) => update(&user.id, Some(status)),
                Ok(Command::Heartbeat | Command::Ping) => update(&user.id, None),
                Err(error) => Ok(error.into()),
            },
            _ => Ok(Response::problem(404, "this room answers GET /list and POST /update")),
        }
    }
}

impl PersonalData for Presence {
    fn export_user(&mut self, user: &str, _: Option<&str>) -> Result<Exported> {
        personal_data::export(user)
    }

    fn erase_user(&mut self, user: &str, _: Option<&str>) -> Result<Erased> {
        personal_data::erase(user)
    }
}

/// A heartbeat from a socket, perhaps with a new status. It adds the user to the list.
fn heartbeat(sender: &Socket, chosen: Option<Status>) -> Result<()> {
    unlisted::unmark(sender)?;
    let user = sender.user();
    let listed = roster::get(&user.id)?;
    let before = listed.as_ref().map(|entry| entry.status);
    let status = chosen.or(before).unwrap_or(Status::Online);
    let name = listed.map_or(user.name, |entry| entry.name);
    let entry = Entry { name, status, last_seen: context::now(), missing_since: None };
    roster::put(&user.id, &entry)?;
    if before.is_none() {
        expiry::schedule_check()?;
    }
    match audience_of(before, chosen) {
        Audience::None => Ok(()),
        Audience::Others => send_update(sockets::everyone().except(sender), &user.id, &entry),
        Audience::All => send_update(sockets::everyone(), &user.id, &entry),
    }
}

/// POST /update: like a message from a socket, but it adds no user to the list who is not here. An event stream cannot
/// send a heartbeat: its user may have got the permission after it was opened.
fn update(user_id: &str, chosen: Option<Status>) -> Result<Response> {
    for socket in unlisted::of_user(user_id).list() {
        if socket.may(Permission::Presence) {
            heartbeat(&socket, chosen)?;
        }
    }
    if let Some(listed) = roster::get(user_id)? {
        let (before, status) = (listed.status, chosen.unwrap_or(listed.status));
        let entry = Entry { status, last_seen: context::now(), ..listed };
        roster::put(user_id, &entry)?;
        if status != before {
            send_update(sockets::everyone(), user_id, &entry)?;
        }
    }
    Ok(Response::json_text(r#"{"success":true}"#))
}

fn send_update(audience: Selection, user_id: &str, entry: &Entry) -> Result<()> {
    let user = UserPresence::new(user_id, entry, roster::connections(user_id));
    audience.broadcast_json(&Frame::PresenceUpdate { user })
}
