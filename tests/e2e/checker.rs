//! Checks that everything that clients received is true of the server, whatever happened to the server meanwhile.
//!
//! Clients record all that they send and receive ([`ClientRecord`], [`RoomCommands`]). In the end [`check_room`] and
//! [`check_commands`] compare the records with the data of the server. They use no server and no network, so they have
//! tests of their own, with records of faulty runs.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

/// A broken promise, with its evidence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Violation {
    /// A client received it, but the server does not have it, or has it changed.
    Lost(String),
    /// The server has it twice.
    Duplicated(String),
    /// The numbers of messages are not 1, 2, 3 …
    Gap(String),
    /// A client received messages out of order, or the room stored them so.
    OutOfOrder(String),
    /// A part of a turn is stored, and another part is not.
    Partial(String),
    /// The history of a client that joined ended before messages that it had received.
    HistoryTooShort(String),
}

/// The record of one client of a chat room: the messages that it sent, and all that it received over its connections.
#[derive(Debug, Clone, Default)]
pub(crate) struct ClientRecord {
    pub(crate) user: String,
    /// The messages that it sent over its socket, in order. Each text is the content and the `clientId`.
    pub(crate) sent: Vec<String>,
    /// The messages that it sent again although they were acknowledged.
    pub(crate) resent: BTreeSet<String>,
    /// Its connections, in order.
    pub(crate) connections: Vec<Connection>,
    /// The messages in the answers to its requests.
    pub(crate) answers: Vec<Value>,
    /// A turn failed. Messages that were sent after it may be stored before it is sent again.
    pub(crate) turns_failed: bool,
    /// Its last request, if that was not answered.
    pub(crate) unanswered: Option<String>,
}

/// The frames of one connection.
#[derive(Debug, Clone, Default)]
pub(crate) struct Connection {
    /// The client had received all messages up to this number before.
    pub(crate) since: u64,
    /// Whether the room reported a complete `history`; `None` if the connection ended before.
    pub(crate) resumed: Option<bool>,
    pub(crate) history: Vec<Value>,
    /// The messages after the history, in order.
    pub(crate) received: Vec<Value>,
}

impl ClientRecord {
    pub(crate) fn of(user: &str) -> Self {
        ClientRecord { user: user.into(), ..ClientRecord::default() }
    }

    /// The content of a message, if the message is its own.
    fn own<'a>(&self, message: &'a Value) -> Option<&'a str> {
        (message["userId"] == self.user.as_str()).then(|| message["content"].as_str().unwrap_or_default())
    }

    /// All messages that it received.
    pub(crate) fn seen_messages(&self) -> impl Iterator<Item = &Value> {
        let connections = self.connections.iter().flat_map(|one| one.history.iter().chain(&one.received));
        connections.chain(&self.answers)
    }

    /// Messages that it sent and that were not acknowledged, in order.
    pub(crate) fn unacknowledged(&self) -> Vec<String> {
        let settled = self.seen_messages().filter_map(|message| self.own(message)).collect::<BTreeSet<_>>();
        self.sent.iter().filter(|sent| !settled.contains(sent.as_str())).cloned().collect()
    }

    /// The number up to which it has received all messages.
    pub(crate) fn received_until(&self) -> u64 {
        self.connections.iter().map(Connection::end).max().unwrap_or(0)
    }
}

impl Connection {
    fn end(&self) -> u64 {
        self.history.iter().chain(&self.received).map(number).max().unwrap_or(0).max(self.since)
    }
}

/// The number of a message.
pub(crate) fn number(message: &Value) -> u64 {
    message["seq"].as_u64().unwrap_or(0)
}

/// Compares the records of the clients of a room with all messages that it has stored, in its order.
pub(crate) fn check_room(clients: &[ClientRecord], stored: &[Value]) -> Vec<Violation> {
    let mut found = Vec::new();
    for (index, message) in stored.iter().enumerate() {
        if number(message) != index as u64 + 1 {
            found.push(Violation::Gap(format!("{message} in place {}", index + 1)));
        }
    }
    let mut known = BTreeSet::new();
    for message in stored {
        if !known.insert((message["userId"].as_str(), message["content"].as_str())) {
            found.push(Violation::Duplicated(message.to_string()));
        }
    }
    for client in clients {
        for message in client.seen_messages() {
            let there = number(message).checked_sub(1).and_then(|index| stored.get(index as usize));
            if there != Some(message) {
                found.push(Violation::Lost(format!("{} received {message}; the room has {there:?}", client.user)));
            }
        }
        let own = stored
            .iter()
            .filter_map(|message| client.own(message))
            .filter(|sent| client.sent.iter().any(|all| all == sent));
        let order = own.filter_map(|sent| client.sent.iter().position(|all| all == sent));
        if !client.turns_failed && !order.is_sorted() {
            found.push(Violation::OutOfOrder(format!("the messages of {} are stored in another order", client.user)));
        }
        client.connections.iter().for_each(|connection| check_connection(client, connection, &mut found));
    }
    found
}

/// A client that joins gets all missed messages and then all new ones, once and in order.
fn check_connection(client: &ClientRecord, connection: &Connection, found: &mut Vec<Violation>) {
    let user = &client.user;
    let Some(resumed) = connection.resumed else { return };
    let mut last = connection.since;
    match connection.history.first() {
        // It missed too many messages, so the history starts later.
        Some(first) if !resumed && number(first) > connection.since => last = number(first) - 1,
        _ if !resumed => {
            found.push(Violation::HistoryTooShort(format!(
                "{user} had received {last}, and the history does not go so far"
            )));
            return;
        }
        _ => {}
    }
    for message in connection.history.iter().chain(&connection.received) {
        let seq = number(message);
        let is_resent = client.own(message).is_some_and(|sent| client.resent.contains(sent));
        if seq == last + 1 {
            last = seq;
        } else if !(is_resent && seq <= last) {
            found.push(Violation::OutOfOrder(format!("{user} received {message} after number {last}")));
            last = last.max(seq);
        }
    }
}

/// Commands to a room of `tests/guests/caller`, by unique names, and whether the room acknowledged them.
#[derive(Debug, Clone, Default)]
pub(crate) struct RoomCommands {
    /// Increment a count, and post the same to another room.
    pub(crate) posts: BTreeMap<String, bool>,
    /// Increment a count when a timer fires.
    pub(crate) timers: BTreeMap<String, bool>,
}

/// The value of each count, by its name.
pub(crate) type Counts = BTreeMap<String, u64>;

/// Compares the acknowledged commands with the counts of the room itself and of the room to which it posts.
pub(crate) fn check_commands(commands: &RoomCommands, own: &Counts, others: &Counts) -> Vec<Violation> {
    let mut found = Vec::new();
    for (name, acknowledged) in &commands.posts {
        let (here, there) = (own.get(name).copied().unwrap_or(0), others.get(name).copied().unwrap_or(0));
        match (here, there) {
            (0, 0) if *acknowledged => found.push(Violation::Lost(format!("the post {name}"))),
            (0, 0) | (1, 1) => {}
            (0 | 1, 0 | 1) => {
                found.push(Violation::Partial(format!("{name}: counted {here} times, and by post {there}")))
            }
            _ => found.push(Violation::Duplicated(format!("{name}: counted {here} times, and by post {there}"))),
        }
    }
    for (name, acknowledged) in &commands.timers {
        // A timer may fire more than once.
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

    /// Two clients who received everything over two connections, and a room that has it.
    fn correct_history() -> (Vec<ClientRecord>, Vec<Value>) {
        let stored = (1..=6).map(|seq| message(seq, ["ana", "bo"][seq as usize % 2], &format!("m{seq}")));
        let stored = stored.collect::<Vec<_>>();
        let client = |user: &str| ClientRecord {
            sent: stored
                .iter()
                .filter(|message| message["userId"] == user)
                .map(|one| one["content"].as_str().unwrap().into())
                .collect(),
            connections: vec![
                Connection { since: 0, resumed: Some(true), history: vec![], received: stored[..3].to_vec() },
                Connection {
                    since: 3,
                    resumed: Some(true),
                    history: stored[3..5].to_vec(),
                    received: stored[5..].to_vec(),
                },
            ],
            answers: vec![stored[0].clone()],
            ..ClientRecord::of(user)
        };
        (vec![client("ana"), client("bo")], stored)
    }

    /// The violations that are found after one change to the correct history.
    fn found_after(change: impl FnOnce(&mut Vec<ClientRecord>, &mut Vec<Value>)) -> Vec<Violation> {
        let (mut clients, mut stored) = correct_history();
        change(&mut clients, &mut stored);
        check_room(&clients, &stored)
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
        let found = found_after(|clients, _| clients[0].answers.push(message(7, "ana", "m7")));
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
        assert!(matches!(found[..], [Violation::Duplicated(_), Violation::OutOfOrder(_)]), "{found:?}");
    }

    #[test]
    fn a_gap_in_the_numbers_is_detected() {
        let found = found_after(|_, stored| stored[5]["seq"] = json!(7));
        assert!(found.iter().any(|one| matches!(one, Violation::Gap(_))), "{found:?}");
    }

    #[test]
    fn a_message_that_one_client_missed_is_detected() {
        let found = found_after(|clients, _| drop(clients[1].connections[0].received.remove(1)));
        assert!(matches!(found[..], [Violation::OutOfOrder(_)]), "{found:?}");
    }

    #[test]
    fn a_message_that_one_client_received_twice_is_detected() {
        let found = found_after(|clients, stored| clients[0].connections[1].received.push(stored[5].clone()));
        assert!(matches!(found[..], [Violation::OutOfOrder(_)]), "{found:?}");
        // A client that resends a message receives it again.
        let found = found_after(|clients, stored| {
            clients[0].connections[1].received.push(stored[5].clone());
            clients[0].resent.insert("m6".into());
        });
        assert_eq!(found, []);
    }

    #[test]
    fn messages_received_in_another_order_are_detected() {
        let found = found_after(|clients, _| clients[0].connections[0].received.swap(0, 1));
        assert!(found.iter().any(|one| matches!(one, Violation::OutOfOrder(_))), "{found:?}");
    }

    #[test]
    fn messages_of_one_sender_stored_out_of_order_are_detected() {
        let found = found_after(|clients, _| clients[0].sent.swap(0, 1));
        assert!(matches!(found[..], [Violation::OutOfOrder(_)]), "{found:?}");
    }

    #[test]
    fn a_room_that_lost_a_received_message_is_detected() {
        let found = found_after(|clients, stored| {
            clients[0].connections.push(Connection {
                since: 6,
                resumed: Some(false),
                history: stored[..4].to_vec(),
                received: vec![],
            });
        });
        assert!(matches!(found[..], [Violation::HistoryTooShort(_)]), "{found:?}");
    }

    #[test]
    fn lost_repeated_and_partial_commands_are_detected() {
        let commands = RoomCommands {
            posts: [("kept", true), ("unsure", false)].map(|(name, acknowledged)| (name.into(), acknowledged)).into(),
            timers: [("rings", true), ("unset", false)].map(|(name, acknowledged)| (name.into(), acknowledged)).into(),
        };
        let check = |own: &[(&str, u64)], others: &[(&str, u64)]| {
            let counts =
                |of: &[(&str, u64)]| of.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect::<Counts>();
            check_commands(&commands, &counts(own), &counts(others))
        };
        assert_eq!(check(&[("kept", 1), ("rings", 2)], &[("kept", 1)]), []);
        assert_eq!(check(&[("kept", 1), ("unsure", 1), ("rings", 1)], &[("kept", 1), ("unsure", 1)]), []);
        assert!(matches!(check(&[("rings", 1)], &[])[..], [Violation::Lost(_)]), "a post is lost");
        assert!(matches!(check(&[("kept", 1)], &[("kept", 1)])[..], [Violation::Lost(_)]), "a timer is lost");
        assert!(matches!(check(&[("kept", 1), ("rings", 1)], &[("kept", 2)])[..], [Violation::Duplicated(_)]));
        assert!(matches!(check(&[("kept", 1), ("rings", 1)], &[])[..], [Violation::Partial(_)]));
        let half = check(&[("kept", 1), ("rings", 1)], &[("kept", 1), ("unsure", 1)]);
        assert!(matches!(half[..], [Violation::Partial(_)]), "also without an acknowledgement, a turn is atomic");
    }
}
