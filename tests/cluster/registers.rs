//! Rooms with one number each, to see that at most one owner is heard. One client stores another number again and
//! again; others ask for it at each node, and stay there. A question stores nothing, so it is a silent turn. An answer
//! that was known to be old before the question comes from an owner whose room had another one.

use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use dormouse::cluster::ownership::NodeId;
use dormouse::cluster::place::Bucket;
use dormouse::model::Address;
use futures_util::future::join_all;

use crate::impatient::Clients;
use crate::nodes::{Nodes, node_address};
use crate::workload::ChatSocket;

/// The namespace of the rooms: `tests/guests/unruly`.
pub(crate) const NAMESPACE: &str = "[namespaces.REGISTERS]\ncomponent = \"unruly.wasm\"\n";

/// Between two questions of a client.
const PAUSE: Duration = Duration::from_millis(10);

/// Between two numbers.
const STORE_PAUSE: Duration = Duration::from_millis(150);

/// Rooms with a number.
pub(crate) struct Registers {
    rooms: Vec<Register>,
    stale: Mutex<Vec<String>>,
}

struct Register {
    name: String,
    /// The node at which no number is stored: an owner there that was replaced would have a commit that it cannot make,
    /// and say nothing at all, so nobody would hear what is stale.
    only_asked_at: usize,
    sent: AtomicU64,
    heard: Mutex<Heard>,
    answers: AtomicU64,
}

/// The numbers that clients have heard. Each is stored at most once, but perhaps late: one that was sent and not
/// answered may come after later ones. So a number is old as soon as another one was heard by a client that began to
/// ask after it had been heard.
#[derive(Default)]
struct Heard {
    time: u64,
    last: u64,
    /// Since when a number is old.
    old: HashMap<u64, u64>,
}

/// The begin of a question.
struct Asked {
    time: u64,
    last: u64,
}

impl Heard {
    fn ask(&mut self) -> Asked {
        self.time += 1;
        Asked { time: self.time, last: self.last }
    }

    /// Takes an answer. False if the number was old when the question began.
    fn hear(&mut self, asked: &Asked, number: u64) -> bool {
        self.time += 1;
        if asked.last != number {
            self.old.entry(asked.last).or_insert(self.time);
        }
        match self.old.get(&number) {
            Some(since) => *since > asked.time,
            None => {
                self.last = number;
                true
            }
        }
    }
}

impl Registers {
    pub(crate) fn new(count: usize) -> Self {
        Self::named((0..count).map(|nth| (format!("number{nth}"), nth)))
    }

    /// So many rooms whose place is one of the nodes.
    pub(crate) fn placed_at(nodes: &Nodes, node: usize, count: usize) -> Self {
        let addresses = nodes.living().map(node_address).collect::<Vec<_>>();
        let is_there = |name: &String| {
            let all = addresses.iter().enumerate().map(|(nth, address)| (NodeId(nth as u64), address.as_str()));
            let room = Address::new("REGISTERS", name).expect("a good name");
            Bucket::of(&room).place(all) == Some(NodeId(node as u64))
        };
        let names = (0..).map(|nth| format!("number{nth}")).filter(is_there).take(count);
        Self::named(names.map(|name| (name, node)))
    }

    fn named(names: impl Iterator<Item = (String, usize)>) -> Self {
        let register = |(name, only_asked_at)| {
            let (sent, heard, answers) = Default::default();
            Register { name, only_asked_at, sent, heard, answers }
        };
        Registers { rooms: names.map(register).collect(), stale: Mutex::default() }
    }

    /// Stores numbers and asks for them, until the clients end.
    pub(crate) async fn run(&self, clients: &Clients) {
        let of_room = |register| async move {
            let asking = (0..clients.nodes()).map(|node| self.ask(register, clients, node));
            tokio::join!(self.store(register, clients), join_all(asking));
        };
        join_all(self.rooms.iter().map(of_room)).await;
    }

    /// Answers that were old when they were asked for.
    pub(crate) fn stale(&self) -> Vec<String> {
        self.stale.lock().unwrap().clone()
    }

    /// How many questions were answered.
    pub(crate) fn answers(&self) -> u64 {
        self.rooms.iter().map(|register| register.answers.load(Ordering::Relaxed)).sum()
    }

    /// Asks at one node again and again.
    async fn ask(&self, register: &Register, clients: &Clients, node: usize) {
        while clients.goes_on() {
            self.ask_on_a_socket(register, clients, node).await;
            tokio::time::sleep(PAUSE).await;
        }
    }

    async fn ask_on_a_socket(&self, register: &Register, clients: &Clients, node: usize) -> Option<()> {
        let mut socket = clients.open(clients.address(node), &register.path(&format!("asks{node}"))).await?;
        while clients.goes_on() {
            let asked = register.heard.lock().unwrap().ask();
            socket.send_text("get number".into()).await?;
            let number = loop {
                if let Some(number) = socket.recv_text().await?.strip_prefix("number=") {
                    break if number.is_empty() { 0 } else { number.parse().expect("only numbers are stored") };
                }
            };
            self.hear(register, node, &asked, number);
            tokio::time::sleep(PAUSE).await;
        }
        Some(())
    }

    /// Stores numbers at any node but one.
    async fn store(&self, register: &Register, clients: &Clients) {
        let nodes = clients.nodes();
        let not_there = register.only_asked_at % nodes;
        for node in (0..nodes).cycle().filter(|node| *node != not_there) {
            if !clients.goes_on() {
                return;
            }
            self.store_on_a_socket(register, clients, node).await;
            tokio::time::sleep(PAUSE).await;
        }
    }

    async fn store_on_a_socket(&self, register: &Register, clients: &Clients, node: usize) -> Option<()> {
        let mut socket = clients.open(clients.address(node), &register.path("stores")).await?;
        while clients.goes_on() {
            let number = register.sent.fetch_add(1, Ordering::Relaxed) + 1;
            let done = format!("done {number}");
            let asked = register.heard.lock().unwrap().ask();
            socket.send_text(format!("put number {number}; say {done}")).await?;
            while socket.recv_text().await? != done {}
            self.hear(register, node, &asked, number);
            tokio::time::sleep(STORE_PAUSE).await;
        }
        Some(())
    }

    fn hear(&self, register: &Register, node: usize, asked: &Asked, number: u64) {
        register.answers.fetch_add(1, Ordering::Relaxed);
        let mut heard = register.heard.lock().unwrap();
        if !heard.hear(asked, number) {
            let (name, last) = (&register.name, asked.last);
            self.stale.lock().unwrap().push(format!("{name}: node {node} says {number} long after {last} was heard"));
        }
    }
}

impl Register {
    fn path(&self, user: &str) -> String {
        format!("/registers/{}/ws?token={user}:{user}", self.name)
    }
}

mod tests {
    use super::*;

    #[test]
    fn an_answer_that_was_old_before_the_question_is_found() {
        let mut heard = Heard::default();
        for number in [1, 2] {
            let asked = heard.ask();
            assert!(heard.hear(&asked, number));
        }
        let asked = heard.ask();
        assert!(!heard.hear(&asked, 1));
    }

    #[test]
    fn an_answer_that_was_on_its_way_is_not_stale() {
        let mut heard = Heard::default();
        let early = [heard.ask(), heard.ask()];
        assert!(heard.hear(&early[0], 1));
        let slow = heard.ask();
        let asked = heard.ask();
        assert!(heard.hear(&asked, 2));
        assert!(heard.hear(&slow, 1));
        assert!(heard.hear(&early[1], 0));
        let asked = heard.ask();
        assert!(heard.hear(&asked, 2));
    }

    #[test]
    fn a_number_that_was_stored_late_is_not_stale() {
        let mut heard = Heard::default();
        for number in [6, 5, 7] {
            let asked = heard.ask();
            assert!(heard.hear(&asked, number));
        }
    }
}
