//! A poll: each user has one vote and may change it, and everybody sees the count.
//!
//! Shows storage (one key a vote, so a poll has no size to outgrow) and broadcasting. `POST` asks the question.

use std::collections::BTreeMap;

use dormouse_room::said::{self, Complaint};
use dormouse_room::storage::{self, Value};
use dormouse_room::{Message, Refusal, Request, Response, Result, Room, Socket, sockets};
use serde::{Deserialize, Serialize};

const QUESTION: Value<Question> = Value::new("question");

/// Whom a vote is by stands behind this in its key.
const VOTE: &str = "vote/";

#[derive(Clone, Default, Serialize, Deserialize)]
struct Question {
    text: String,
    options: Vec<String>,
}

/// What everybody sees.
#[derive(Serialize)]
struct Poll<'a> {
    question: &'a str,
    votes: BTreeMap<&'a str, u32>,
}

#[derive(Deserialize)]
struct Vote {
    option: String,
}

/// A cache of what was asked, and of how often each option was chosen.
struct PollRoom {
    question: Question,
    votes: BTreeMap<String, u32>,
}

dormouse_room::export!(PollRoom);

impl Room for PollRoom {
    fn wake() -> Result<Self> {
        let mut room = PollRoom { question: QUESTION.get()?.unwrap_or_default(), votes: BTreeMap::new() };
        for option in storage::prefix(VOTE).list_json::<String>()? {
            room.count(&option, 1);
        }
        Ok(room)
    }

    fn connect(&mut self, _request: Request, socket: &Socket) -> Result<(), Refusal> {
        Ok(socket.send_json(&self.poll())?)
    }

    fn message(&mut self, sender: &Socket, message: Message) -> Result<()> {
        match said::object::<Vote>(&message) {
            Ok(vote) if self.question.options.contains(&vote.option) => self.vote(&sender.user().id, vote.option),
            Ok(_) => sender.tell(&Message::json(&Complaint::new("no_such_option", "choose one of the options"))?),
            Err(complaint) => sender.tell(&Message::json(&complaint)?),
        }
    }

    fn request(&mut self, request: Request) -> Result<Response> {
        if request.method == "POST" {
            let Ok(question) = request.json() else { return Ok(Response::problem(400, "send text and options")) };
            QUESTION.put(&question)?;
            self.question = question;
            sockets::everyone().broadcast_json(&self.poll())?;
        }
        Response::json(&self.poll())
    }
}

impl PollRoom {
    fn vote(&mut self, user: &str, option: String) -> Result<()> {
        let key = format!("{VOTE}{user}");
        if let Some(before) = storage::get_json::<String>(&key)? {
            self.count(&before, -1);
        }
        storage::put_json(&key, &option)?;
        self.count(&option, 1);
        sockets::everyone().broadcast_json(&self.poll())
    }

    fn count(&mut self, option: &str, by: i32) {
        let votes = self.votes.entry(option.into()).or_default();
        *votes = votes.saturating_add_signed(by);
    }

    fn poll(&self) -> Poll<'_> {
        let votes = |option: &'_ String| self.votes.get(option).copied().unwrap_or(0);
        let options = self.question.options.iter();
        Poll { question: &self.question.text, votes: options.map(|option| (option.as_str(), votes(option))).collect() }
    }
}
