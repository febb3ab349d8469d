//! Records what clients were told, and checks that it is true, whatever happened to the server meanwhile.
//!
//! Clients write down all that they do and hear ([`Account`], [`Errands`]). In the end it is held against what the
//! server has: that is [`check_room`] and [`check_errands`], which know no server and no network, so that they are
//! themselves tested with stories in which something went wrong.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

/// A promise that was broken, and how it shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Violation {
    /// A client was told of it, and it is gone or has changed.
    Lost(String),
    /// It is there twice.
    Twice(String),
    /// Numbers are not 1, 2, 3 …
    NotDense(String),
    /// A client got messages out of order, or the room has stored them so.
    OutOfOrder(String),
    /// Of one turn, some is there and some is not.
    Torn(String),
    /// A client was let in with less than it had heard before.
    Forgotten(String),
}

/// One client of a chat room: what it said, and what it was told over all of its connections.
#[derive(Debug, Clone, Default)]
pub(crate) struct Account {
    pub(crate) user: String,
    /// Messages that it sent over its socket, in this order: content and `clientId`.
    pub(crate) said: Vec<String>,
    /// Messages that it sent again although it knew the answer.
    pub(crate) said_again: BTreeSet<String>,
    /// Connection after connection.
    pub(crate) connections: Vec<Connection>,
    /// Messages with which requests were answered.
    pub(crate) answers: Vec<Value>,
    /// The room said that it could not do what it was told: what was said behind that may be stored before it.
    pub(crate) turns_failed: bool,
    /// Its last request, if it got no answer.
    pub(crate) unanswered: Option<String>,
}

/// The frames of one connection.
#[derive(Debug, Clone, Default)]
pub(crate) struct Connection {
    /// The number up to which the client had heard all before.
    pub(crate) since: u64,
    /// Whether the room said that `history` is all that was missed; absent where the connection broke before that.
    pub(crate) resumed: Option<bool>,
    pub(crate) history: Vec<Value>,
    /// One after the other.
    pub(crate) heard: Vec<Value>,
}

impl Account {
    pub(crate) fn of(user: &str) -> Self {
        Account { user: user.into(), ..Account::default() }
    }

    /// Whether a message is its own: the content, if so.
    fn own<'a>(&self, message: &'a Value) -> Option<&'a str> {
        (message["userId"] == self.user.as_str()).then(|| message["content"].as_str().unwrap_or_default())
    }

    /// All messages that it was shown.
    pub(crate) fn shown(&self) -> impl Iterator<Item = &Value> {
        let connections = self.connections.iter().flat_map(|one| one.history.iter().chain(&one.heard));
        connections.chain(&self.answers)
    }

    /// Messages that it sent and that were not acknowledged, in order.
    pub(crate) fn unsettled(&self) -> Vec<String> {
        let settled = self.shown().filter_map(|message| self.own(message)).collect::<BTreeSet<_>>();
        self.said.iter().filter(|said| !settled.contains(said.as_str())).cloned().collect()
    }

    /// The number up to which it has heard all.
    pub(crate) fn heard_until(&self) -> u64 {
        self.connections.iter().map(Connection::end).max().unwrap_or(0)
    }
}

impl Connection {
    fn end(&self) -> u64 {
        self.history.iter().chain(&self.heard).map(number).max().unwrap_or(0).max(self.since)
    }
}

/// The number of a message.
pub(crate) fn number(message: &Value) -> u64 {
    message["seq"].as_u64().unwrap_or(0)
}

/// Hold what the clients of a room were told against all that it has stored, in its order.
pub(crate) fn check_room(accounts: &[Account], stored: &[Value]) -> Vec<Violation> {
    let mut found = Vec::new();
    for (index, message) in stored.iter().enumerate() {
        if number(message) != index as u64 + 1 {
            found.push(Violation::NotDense(format!("{message} in place {}", index + 1)));
        }
    }
    let mut known = BTreeSet::new();
    for message in stored {
        if !known.insert((message["userId"].as_str(), message["content"].as_str())) {
            found.push(Violation::Twice(message.to_string()));
        }
    }
    for account in accounts {
        for message in account.shown() {
            let there = number(message).checked_sub(1).and_then(|index| stored.get(index as usize));
            if there != Some(message) {
                found.push(Violation::Lost(format!("{} was shown {message}; there is {there:?}", account.user)));
            }
        }
        let own = stored
            .iter()
            .filter_map(|message| account.own(message))
            .filter(|said| account.said.iter().any(|all| all == said));
        let order = own.filter_map(|said| account.said.iter().position(|all| all == said));
        if !account.turns_failed && !order.is_sorted() {
            found.push(Violation::OutOfOrder(format!("what {} said is stored in another order", account.user)));
        }
        account.connections.iter().for_each(|connection| check_connection(account, connection, &mut found));
    }
    found
}

/// A client that joins gets all missed messages and then all new ones, once and in order.
fn check_connection(account: &Account, connection: &Connection, found: &mut Vec<Violation>) {
    let user = &account.user;
    let Some(resumed) = connection.resumed else { return };
    let mut last = connection.since;
    match connection.history.first() {
        // Too much was missed: it begins anew, further on.
        Some(first) if !resumed && number(first) > connection.since => last = number(first) - 1,
        _ if !resumed => {
            found.push(Violation::Forgotten(format!("{user} had heard {last}, and the history does not go so far")));
            return;
        }
        _ => {}
    }
    for message in connection.history.iter().chain(&connection.heard) {
        let seq = number(message);
        let told_again = account.own(message).is_some_and(|said| account.said_again.contains(said));
        if seq == last + 1 {
            last = seq;
        } else if !(told_again && seq <= last) {
            found.push(Violation::OutOfOrder(format!("{user} heard {message} after number {last}")));
            last = last.max(seq);
        }
    }
}

/// Commands to a room besides chat messages, by unique names, and whether the room acknowledged them.
#[derive(Debug, Clone, Default)]
pub(crate) struct Errands {
    /// Count in its own storage, and have another room count.
    pub(crate) posts: BTreeMap<String, bool>,
    /// Count later, when a timer fires.
    pub(crate) timers: BTreeMap<String, bool>,
}

/// How often something was counted, by its name.
pub(crate) type Marks = BTreeMap<String, u64>;

/// Hold what was acknowledged against the counts of the room itself and of the one it posts to.
pub(crate) fn check_errands(errands: &Errands, own: &Marks, others: &Marks) -> Vec<Violation> {
    let mut found = Vec::new();
    for (name, acknowledged) in &errands.posts {
        let (here, there) = (own.get(name).copied().unwrap_or(0), others.get(name).copied().unwrap_or(0));
        match (here, there) {
            (0, 0) if *acknowledged => found.push(Violation::Lost(format!("the post {name}"))),
            (0, 0) | (1, 1) => {}
            (0 | 1, 0 | 1) => found.push(Violation::Torn(format!("{name}: counted {here} times, and by post {there}"))),
            _ => found.push(Violation::Twice(format!("{name}: counted {here} times, and by post {there}"))),
        }
    }
    for (name, acknowledged) in &errands.timers {
        // It may fire more than once; never is another matter.
        if *acknowledged && !own.contains_key(name) {
            found.push(Violation::Lost(format!("the timer {name}")));
        }
    }
    found
}

mod tests {
    use serde_json::json;

    use super::*;

    fn message(seq: u64, user: &str, content: &str) -> Value {
        json!({ "seq": seq, "userId": user, "content": content, "clientId": content })
    }

    /// Two clients who heard everything over two connections, and a room that has it.
    fn correct_history() -> (Vec<Account>, Vec<Value>) {
        let stored = (1..=6).map(|seq| message(seq, ["ana", "bo"][seq as usize % 2], &format!("m{seq}")));
        let stored = stored.collect::<Vec<_>>();
        let account = |user: &str| Account {
            said: stored
                .iter()
                .filter(|message| message["userId"] == user)
                .map(|one| one["content"].as_str().unwrap().into())
                .collect(),
            connections: vec![
                Connection { since: 0, resumed: Some(true), history: vec![], heard: stored[..3].to_vec() },
                Connection {
                    since: 3,
                    resumed: Some(true),
                    history: stored[3..5].to_vec(),
                    heard: stored[5..].to_vec(),
                },
            ],
            answers: vec![stored[0].clone()],
            ..Account::of(user)
        };
        (vec![account("ana"), account("bo")], stored)
    }

    /// The story with one change, and what is found in it.
    fn found_after(change: impl FnOnce(&mut Vec<Account>, &mut Vec<Value>)) -> Vec<Violation> {
        let (mut accounts, mut stored) = correct_history();
        change(&mut accounts, &mut stored);
        check_room(&accounts, &stored)
    }

    #[test]
    fn a_correct_history_passes() {
        assert_eq!(found_after(|_, _| {}), []);
    }

    #[test]
    fn a_tail_lost_at_recovery_is_detected() {
        let found = found_after(|_, stored| stored.truncate(5));
        assert!(matches!(found[..], [Violation::Lost(_), Violation::Lost(_)]), "{found:?}");
    }

    #[test]
    fn a_lost_answered_request_is_detected() {
        let found = found_after(|accounts, _| accounts[0].answers.push(message(7, "ana", "m7")));
        assert!(matches!(found[..], [Violation::Lost(_)]), "{found:?}");
    }

    #[test]
    fn a_changed_message_is_detected() {
        let found = found_after(|_, stored| stored[2]["timestamp"] = json!(1));
        assert!(found.iter().all(|one| matches!(one, Violation::Lost(_))) && found.len() == 2, "{found:?}");
    }

    #[test]
    fn a_message_stored_twice_is_detected() {
        let found = found_after(|_, stored| stored.push(message(7, "ana", "m2")));
        assert!(matches!(found[..], [Violation::Twice(_), Violation::OutOfOrder(_)]), "{found:?}");
    }

    #[test]
    fn a_gap_in_the_numbers_is_detected() {
        let found = found_after(|_, stored| stored[5]["seq"] = json!(7));
        assert!(found.iter().any(|one| matches!(one, Violation::NotDense(_))), "{found:?}");
    }

    #[test]
    fn a_message_that_one_client_missed_is_detected() {
        let found = found_after(|accounts, _| drop(accounts[1].connections[0].heard.remove(1)));
        assert!(matches!(found[..], [Violation::OutOfOrder(_)]), "{found:?}");
    }

    #[test]
    fn a_message_that_one_client_received_twice_is_detected() {
        let found = found_after(|accounts, stored| accounts[0].connections[1].heard.push(stored[5].clone()));
        assert!(matches!(found[..], [Violation::OutOfOrder(_)]), "{found:?}");
        // It is what was asked for where the client itself said it again.
        let found = found_after(|accounts, stored| {
            accounts[0].connections[1].heard.push(stored[5].clone());
            accounts[0].said_again.insert("m6".into());
        });
        assert_eq!(found, []);
    }

    #[test]
    fn messages_received_in_another_order_are_detected() {
        let found = found_after(|accounts, _| accounts[0].connections[0].heard.swap(0, 1));
        assert!(found.iter().any(|one| matches!(one, Violation::OutOfOrder(_))), "{found:?}");
    }

    #[test]
    fn messages_of_one_sender_stored_out_of_order_are_detected() {
        let found = found_after(|accounts, _| accounts[0].said.swap(0, 1));
        assert!(matches!(found[..], [Violation::OutOfOrder(_)]), "{found:?}");
    }

    #[test]
    fn a_room_that_lost_a_received_message_is_detected() {
        let found = found_after(|accounts, stored| {
            accounts[0].connections.push(Connection {
                since: 6,
                resumed: Some(false),
                history: stored[..4].to_vec(),
                heard: vec![],
            });
        });
        assert!(matches!(found[..], [Violation::Forgotten(_)]), "{found:?}");
    }

    #[test]
    fn errands_lost_done_twice_or_half_done_are_detected() {
        let errands = Errands {
            posts: [("kept", true), ("unheard", false)].map(|(name, acknowledged)| (name.into(), acknowledged)).into(),
            timers: [("rings", true), ("unset", false)].map(|(name, acknowledged)| (name.into(), acknowledged)).into(),
        };
        let check = |own: &[(&str, u64)], others: &[(&str, u64)]| {
            let marks =
                |of: &[(&str, u64)]| of.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect::<Marks>();
            check_errands(&errands, &marks(own), &marks(others))
        };
        assert_eq!(check(&[("kept", 1), ("rings", 2)], &[("kept", 1)]), []);
        assert_eq!(check(&[("kept", 1), ("unheard", 1), ("rings", 1)], &[("kept", 1), ("unheard", 1)]), []);
        assert!(matches!(check(&[("rings", 1)], &[])[..], [Violation::Lost(_)]), "a post is lost");
        assert!(matches!(check(&[("kept", 1)], &[("kept", 1)])[..], [Violation::Lost(_)]), "a timer is lost");
        assert!(matches!(check(&[("kept", 1), ("rings", 1)], &[("kept", 2)])[..], [Violation::Twice(_)]));
        assert!(matches!(check(&[("kept", 1), ("rings", 1)], &[])[..], [Violation::Torn(_)]));
        let half = check(&[("kept", 1), ("rings", 1)], &[("kept", 1), ("unheard", 1)]);
        assert!(matches!(half[..], [Violation::Torn(_)]), "nobody was told of it, and still it is whole or not at all");
    }
}
