//! A poll: each user has one vote and may change it, and all clients see the count. `POST` sets the question, once; a
//! vote is the name of an option.
//!
//! Shows broadcasting and storage: each user's vote has its own key, so the size limit of a value does not limit the
//! number of votes.

use std::collections::BTreeMap;

use dormouse_room::json::{self, ClientError};
use dormouse_room::personal_data::{Erased, Exported, PersonalData};
use dormouse_room::storage::{self, Value};
use dormouse_room::{Message, Refusal, Request, Response, Result, Room, Socket, sockets};
use serde::{Deserialize, Serialize};

/// The state that all clients see: the votes for each option.
#[derive(Default, Serialize, Deserialize)]
struct Poll {
    question: String,
    votes: BTreeMap<String, u32>,
}

const POLL: Value<Poll> = Value::new("poll");

#[derive(Deserialize)]
struct Question {
    text: String,
    options: Vec<String>,
}

struct PollRoom; // no cache: the poll is one small value, read from storage when it is needed
dormouse_room::export!(PollRoom);
dormouse_room::export_personal_data!(PollRoom);

impl Room for PollRoom {
    fn wake() -> Result<Self> {
        Ok(PollRoom)
    }

    fn connect(&mut self, _request: Request, socket: &Socket) -> Result<(), Refusal> {
        Ok(socket.send_json(&POLL.get()?.unwrap_or_default())?)
    }

    fn message(&mut self, sender: &Socket, message: Message) -> Result<()> {
        let mut poll = POLL.get()?.unwrap_or_default();
        let Some(option) = message.as_text().filter(|option| poll.votes.contains_key(*option)) else {
            let error = ClientError::new("no_such_option", "send one of the options");
            return sender.send_error(&error.for_message(&message));
        };
        let key = vote_of(&sender.user().id);
        if let Some(previous) = storage::get_json::<String>(&key)? {
            poll.votes.entry(previous).and_modify(|votes| *votes -= 1);
        }
        storage::put_json(&key, &option)?;
        *poll.votes.entry(option.into()).or_default() += 1;
        POLL.put(&poll)?;
        sockets::everyone().broadcast_json(&poll)
    }

    fn request(&mut self, request: Request) -> Result<Response> {
        let poll = POLL.get()?;
        if request.method != "POST" {
            return Response::json(&poll.unwrap_or_default());
        }
        match json::from_body(&request) {
            Ok(_) if poll.is_some() => Ok(Response::problem(409, "this poll has a question already; create another")),
            Ok(question) => set_question(question),
            Err(error) => Ok(error.into()),
        }
    }
}

/// The data of a user is the vote. Erased, it no longer counts.
impl PersonalData for PollRoom {
    fn export_user(&mut self, user: &str, _after: Option<&str>) -> Result<Exported> {
        Exported::all(storage::get_json::<String>(vote_of(user))?)
    }

    fn erase_user(&mut self, user: &str, _after: Option<&str>) -> Result<Erased> {
        let Some(option) = storage::get_json::<String>(vote_of(user))? else { return Ok(Erased::all(0)) };
        storage::delete(vote_of(user));
        let mut poll = POLL.get()?.unwrap_or_default();
        poll.votes.entry(option).and_modify(|votes| *votes -= 1);
        POLL.put(&poll)?;
        sockets::everyone().broadcast_json(&poll)?;
        Ok(Erased::all(1))
    }
}

fn vote_of(user: &str) -> String {
    format!("vote/{user}")
}

fn set_question(Question { text, options }: Question) -> Result<Response> {
    let poll = Poll { question: text, votes: options.into_iter().map(|option| (option, 0)).collect() };
    POLL.put(&poll)?;
    sockets::everyone().broadcast_json(&poll)?;
    Response::json(&poll)
}
