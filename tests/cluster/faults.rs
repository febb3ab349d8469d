//! Faults of nodes, of their network and of their database, under load: nothing that anyone has heard is lost, doubled
//! or out of order, and at most one owner of a room is heard. Each machine is a network namespace.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rand::{Rng, RngExt};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::cluster::Server as Postgres;
use crate::harness::{Server, TEST_TIMEOUT, within};
use crate::impatient::{Clients, open};
use crate::network::{At, CLIENTS, Network, with_network};
use crate::nodes::{CONFIG, Nodes};
use crate::registers::{self, Registers};
use crate::seeds::{Progress, random_choices, rounds, seed};
use crate::workload::Workload;

const NODES: usize = 3;

/// The machines of the databases; those of nodes are before them.
const PRIMARY: At = At(5);
const STANDBY: At = At(6);

/// Rooms with a number.
const REGISTERS: usize = 4;

/// The load before a fault, while it goes on elsewhere, and after the last one.
const BEFORE: Duration = Duration::from_millis(500);
const MEANWHILE: Duration = Duration::from_secs(2);
const AFTER: Duration = Duration::from_millis(700);

/// A room that is not back after this time is lost: one or two seconds are usual on a quiet machine after a fault of a
/// node, and some fifteen after one of a database that is silent.
const LONGEST_PAUSE: Duration = Duration::from_secs(45);

/// How often a node is started until it runs.
const STARTS: usize = 10;

/// How long a client waits for the answer of a node before it asks again whether a room is back.
const PROBE: Duration = Duration::from_millis(500);

/// A fault that begins and ends.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Fault {
    /// `kill -9`. In the end it starts again with its data directory, or with an empty one.
    Kill { node: usize, forgets: bool },
    /// SIGSTOP, and in the end SIGCONT.
    Pause { node: usize },
    /// Nothing passes in these directions.
    Cut { name: &'static str, of: usize, cuts: Vec<(At, At)> },
    /// The primary is lost in some way, and the standby replaces it.
    Replace { old: Old },
}

/// The primary that is replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Old {
    Killed,
    /// It is paused, and goes on at the end of the fault. It still takes itself for the primary.
    Paused,
    /// It goes on, with one node on its side of a cut network.
    CutOff {
        with: usize,
    },
}

fn machine(node: usize) -> At {
    At(u8::try_from(node + 1).unwrap())
}

/// Both directions between a machine and others.
fn between(one: At, others: impl IntoIterator<Item = At>) -> Vec<(At, At)> {
    others.into_iter().flat_map(|other| [(one, other), (other, one)]).collect()
}

fn others(node: usize) -> impl Iterator<Item = At> {
    (0..NODES).filter(move |other| *other != node).map(machine)
}

const DATABASES: [At; 2] = [PRIMARY, STANDBY];

/// Cuts of the network around one node.
impl Fault {
    /// Clients still reach it: whatever it says is heard.
    fn cut_off_from_servers(of: usize) -> Self {
        let cuts = between(machine(of), others(of).chain(DATABASES));
        Fault::Cut { name: "from all servers", of, cuts }
    }

    fn cut_off(of: usize) -> Self {
        let cuts = between(machine(of), others(of).chain(DATABASES).chain([CLIENTS]));
        Fault::Cut { name: "from everything", of, cuts }
    }

    fn without_database(of: usize) -> Self {
        Fault::Cut { name: "from the database", of, cuts: between(machine(of), DATABASES) }
    }

    fn without_peer(of: usize) -> Self {
        let peer = machine((of + 1) % NODES);
        Fault::Cut { name: "from one node", of, cuts: between(machine(of), [peer]) }
    }

    /// One direction each.
    fn one_way(of: usize, nth: usize) -> Self {
        let (me, peer) = (machine(of), machine((of + 1) % NODES));
        let database = |from_me: bool| DATABASES.map(|at| if from_me { (me, at) } else { (at, me) }).to_vec();
        let (name, cuts) = match nth % 4 {
            0 => ("to one node", vec![(me, peer)]),
            1 => ("of one node", vec![(peer, me)]),
            2 => ("to the database", database(true)),
            _ => ("of the database", database(false)),
        };
        Fault::Cut { name, of, cuts }
    }

    fn any(rng: &mut impl Rng, may_replace: bool) -> Self {
        let node = rng.random_range(0..NODES);
        match rng.random_range(0..if may_replace { 11 } else { 8 }) {
            0 | 1 => Fault::Kill { node, forgets: rng.random_range(0..2) == 0 },
            2 | 3 => Fault::Pause { node },
            4 => Fault::cut_off_from_servers(node),
            5 => Fault::cut_off(node),
            6 => Fault::without_database(node),
            7 if rng.random_range(0..3) == 0 => Fault::without_peer(node),
            7 => Fault::one_way(node, rng.random_range(0..4)),
            8 => Fault::Replace { old: Old::Killed },
            9 => Fault::Replace { old: Old::Paused },
            _ => Fault::Replace { old: Old::CutOff { with: node } },
        }
    }

    /// The node that is not well during it.
    fn node(&self) -> Option<usize> {
        match self {
            Fault::Kill { node, .. } | Fault::Pause { node } | Fault::Cut { of: node, .. } => Some(*node),
            Fault::Replace { old: Old::CutOff { with } } => Some(*with),
            Fault::Replace { .. } => None,
        }
    }

    fn cuts(&self) -> Vec<(At, At)> {
        match self {
            Fault::Cut { cuts, .. } => cuts.clone(),
            // All others are with the standby.
            Fault::Replace { old: Old::CutOff { with } } => [
                between(PRIMARY, others(*with).chain([STANDBY])),
                between(machine(*with), others(*with)),
                between(machine(*with), [STANDBY]),
            ]
            .concat(),
            _ => Vec::new(),
        }
    }
}

/// The nodes, their databases and the network between them.
struct World {
    network: Network,
    nodes: Nodes,
    directories: Vec<Arc<TempDir>>,
    primary: Postgres,
    /// Absent once it is the primary, or if there is none.
    standby: Option<Postgres>,
    /// The primary that was replaced.
    old: Option<Postgres>,
    active: Vec<Fault>,
}

impl World {
    async fn start(network: Network, with_standby: bool) -> Self {
        let primary = Postgres::start_at(PRIMARY.machine(), &[]);
        let mut database = primary.empty_database().await;
        let mut standby = None;
        if with_standby {
            let server = primary.standby_at(STANDBY.machine()).await;
            database.url = database.url_or_on(&server);
            primary.wait_for_standby().await;
            standby = Some(server);
        }
        let nodes = Nodes::on(database, "");
        let directories = (0..NODES).map(|_| nodes.directory()).collect();
        let mut world = World { network, nodes, directories, primary, standby, old: None, active: Vec::new() };
        for node in 0..NODES {
            let server = world.start_node(node).await;
            world.nodes.nodes.push(Some(server));
        }
        world.nodes.until_all_know(NODES).await;
        world
    }

    async fn start_node(&self, node: usize) -> Server {
        let (at, host) = (machine(node), machine(node).host());
        let config = format!(
            "admin.listen = \"{host}:0\"\n{CONFIG}\n{}\n[cluster]\naddress = \"{host}:0\"\nkey = \"cluster.key\"\n",
            registers::NAMESPACE
        );
        // The arguments are those of a server on this machine.
        let script =
            format!("set -- serve --listen {host}:0 --config \"$5\" --data \"$7\"; {} \"$0\" \"$@\"", at.enter());
        // A node that does not reach its database ends, and is started again by whatever supervises it.
        let mut log = String::new();
        for _ in 0..STARTS {
            let directory = self.directories[node].clone();
            match Server::by_shell(directory, &config, &script, |_| {}).await {
                Ok(server) => return server,
                Err(refused) => log = refused,
            }
        }
        panic!("node {node} did not start:\n{log}")
    }

    fn addresses(&self) -> Vec<SocketAddr> {
        self.nodes.living().map(|node| node.address).collect()
    }

    fn signal(&self, node: usize, signal: Signal) {
        let pid = Pid::from_raw(i32::try_from(self.nodes.node(node).pid()).unwrap()).unwrap();
        kill_process(pid, signal).unwrap();
    }

    async fn begin(&mut self, fault: Fault) {
        match &fault {
            Fault::Kill { node, .. } => drop(self.nodes.kill(*node)),
            Fault::Pause { node } => self.signal(*node, Signal::STOP),
            Fault::Cut { .. } => {}
            Fault::Replace { old } => match old {
                Old::Killed => self.primary.kill(),
                Old::Paused => self.primary.pause(),
                Old::CutOff { .. } => {}
            },
        }
        self.active.push(fault.clone());
        self.cut();
        if matches!(fault, Fault::Replace { .. }) {
            let standby = self.standby.take().expect("there is a standby");
            standby.promote().await;
            let name = self.nodes.database.name().to_owned();
            let url = std::mem::take(&mut self.nodes.database.url);
            self.nodes.database = standby.database(&name);
            self.nodes.database.url = url;
            self.old = Some(std::mem::replace(&mut self.primary, standby));
        }
    }

    async fn end(&mut self, fault: &Fault, clients: &Clients) {
        self.active.retain(|active| active != fault);
        self.cut();
        match fault {
            Fault::Kill { node, forgets } => {
                self.end_old_primary();
                if *forgets {
                    self.directories[*node] = self.nodes.directory();
                }
                let server = self.start_node(*node).await;
                clients.set_address(*node, server.address);
                self.nodes.nodes[*node] = Some(server);
            }
            Fault::Pause { node } => self.signal(*node, Signal::CONT),
            Fault::Replace { old: Old::Paused } => self.old.as_ref().expect("it was replaced").go_on(),
            Fault::Cut { .. } | Fault::Replace { .. } => {}
        }
    }

    /// The network is cut as the faults of now say.
    fn cut(&self) {
        self.network.set(self.active.iter().flat_map(Fault::cuts).collect::<BTreeSet<_>>());
    }

    /// The operator ends a primary that was replaced and goes on. A server that starts might choose it.
    fn end_old_primary(&mut self) {
        let is_active = self.active.iter().any(|fault| matches!(fault, Fault::Replace { .. }));
        if let Some(mut old) = self.old.take_if(|_| !is_active) {
            old.kill();
        }
    }

    /// All nodes know each other again.
    async fn recover(&mut self) {
        self.end_old_primary();
        self.nodes.until_all_know(NODES).await;
    }

    fn logs(&self) -> String {
        let logs = self.nodes.living().map(|node| format!("{}:\n{}", node.address, node.log()));
        logs.collect::<Vec<_>>().join("\n----\n")
    }
}

/// The load of one test, and what it has heard.
struct Load {
    workload: Workload,
    registers: Registers,
}

impl Load {
    fn new(seed: u64, registers: Registers) -> Self {
        Load { workload: Workload::new(3, 3, seed), registers }
    }

    /// Clients talk while something happens.
    async fn during<T>(&mut self, clients: &Clients, happens: impl Future<Output = T>) -> T {
        let Load { workload, registers } = self;
        let again = || clients.goes_on();
        let (happened, (), ()) = tokio::join!(
            async {
                let happened = happens.await;
                clients.end();
                happened
            },
            workload.run_again(clients, 10, &again),
            registers.run(clients),
        );
        happened
    }

    /// Everything that was heard must be true.
    async fn check(&mut self, world: &World, about: &str) {
        let found = self.workload.settle_and_check(&Clients::patient(world.addresses()), TEST_TIMEOUT).await;
        let stale = self.registers.stale();
        assert!(found.is_empty() && stale.is_empty(), "{about}: {found:#?} {stale:#?}\n{}", world.logs());
    }
}

/// Waits until a room is open at a node.
async fn open_again(address: SocketAddr, room: &str) {
    let path = format!("/rooms/{room}/ws?token=probe:probe");
    within(async {
        loop {
            let opened = async {
                let mut socket = open(address, &path, PROBE).await?;
                crate::workload::ChatSocket::recv_text(&mut socket).await
            };
            if opened.await.is_some() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
}

/// One fault of one node under load: its rooms are open elsewhere while it lasts, and when it is over all is well.
async fn survive(network: Network, fault: Fault) {
    let of = fault.node().expect("it is a fault of a node");
    // It reaches all others that live.
    let from = (of + 2) % NODES;
    let mut world = World::start(network, false).await;
    let mut load = Load::new(seed(), Registers::placed_at(&world.nodes, of, REGISTERS));
    let room = world.nodes.room_of(of).await;
    let clients = Clients::of(world.addresses());
    let happens = async {
        tokio::time::sleep(BEFORE).await;
        let began = Instant::now();
        world.begin(fault.clone()).await;
        open_again(clients.address(from), &room).await;
        let back = began.elapsed();
        tokio::time::sleep(MEANWHILE).await;
        world.end(&fault, &clients).await;
        tokio::time::sleep(AFTER).await;
        back
    };
    let back = load.during(&clients, happens).await;
    world.recover().await;
    load.check(&world, &format!("{fault:?}")).await;
    let (messages, commands) = load.workload.totals();
    println!(
        "{fault:?}: a room of its node was open elsewhere after {back:?}; {messages} messages, {commands} commands, {} \
         answers",
        load.registers.answers()
    );
    assert!(back < LONGEST_PAUSE, "{back:?}");
    assert!(messages > 20 && load.registers.answers() > 10, "too little happened");
}

/// The primary is replaced under load, in one way.
async fn survive_replacement(network: Network, old: Old) {
    let mut world = World::start(network, true).await;
    let mut load = Load::new(seed(), Registers::placed_at(&world.nodes, 0, REGISTERS));
    let room = world.nodes.room_of(0).await;
    let clients = Clients::of(world.addresses());
    let fault = Fault::Replace { old };
    let happens = async {
        tokio::time::sleep(BEFORE).await;
        let began = Instant::now();
        world.begin(fault.clone()).await;
        // Node 1 is with the new primary.
        open_again(clients.address(1), &room).await;
        let back = began.elapsed();
        tokio::time::sleep(MEANWHILE).await;
        world.end(&fault, &clients).await;
        tokio::time::sleep(AFTER).await;
        back
    };
    let back = load.during(&clients, happens).await;
    world.recover().await;
    load.check(&world, &format!("{fault:?}")).await;
    let (messages, _) = load.workload.totals();
    println!("{fault:?}: a room was open again after {back:?}; {messages} messages");
    assert!(back < LONGEST_PAUSE, "{back:?}");
    assert!(messages > 20, "too little happened");
}

#[test]
fn a_killed_node_loses_nothing_that_was_heard() {
    with_network(a_killed_node_loses_nothing_that_was_heard, async |network| {
        survive(network, Fault::Kill { node: 0, forgets: false }).await;
    });
}

#[test]
fn a_paused_node_says_nothing_stale_under_load() {
    with_network(a_paused_node_says_nothing_stale_under_load, async |network| {
        survive(network, Fault::Pause { node: 0 }).await;
    });
}

#[test]
fn a_node_that_only_clients_reach_says_nothing_stale() {
    with_network(a_node_that_only_clients_reach_says_nothing_stale, async |network| {
        survive(network, Fault::cut_off_from_servers(0)).await;
    });
}

#[test]
fn a_node_cut_off_from_everything_loses_nothing() {
    with_network(a_node_cut_off_from_everything_loses_nothing, async |network| {
        survive(network, Fault::cut_off(0)).await;
    });
}

#[test]
fn a_node_cut_off_from_its_database_says_nothing_stale() {
    with_network(a_node_cut_off_from_its_database_says_nothing_stale, async |network| {
        survive(network, Fault::without_database(0)).await;
    });
}

#[test]
fn nodes_cut_off_from_each_other_lose_nothing() {
    with_network(nodes_cut_off_from_each_other_lose_nothing, async |network| {
        survive(network, Fault::without_peer(0)).await;
    });
}

#[test]
fn a_network_that_is_cut_one_way_to_a_node_loses_nothing() {
    with_network(a_network_that_is_cut_one_way_to_a_node_loses_nothing, async |network| {
        survive(network, Fault::one_way(0, 0)).await;
    });
}

#[test]
fn a_node_that_hears_nothing_of_another_loses_nothing() {
    with_network(a_node_that_hears_nothing_of_another_loses_nothing, async |network| {
        survive(network, Fault::one_way(0, 1)).await;
    });
}

#[test]
fn a_node_that_its_database_does_not_hear_says_nothing_stale() {
    with_network(a_node_that_its_database_does_not_hear_says_nothing_stale, async |network| {
        survive(network, Fault::one_way(0, 2)).await;
    });
}

#[test]
fn a_node_that_does_not_hear_its_database_says_nothing_stale() {
    with_network(a_node_that_does_not_hear_its_database_says_nothing_stale, async |network| {
        survive(network, Fault::one_way(0, 3)).await;
    });
}

#[test]
fn a_killed_primary_loses_nothing_of_a_cluster() {
    with_network(a_killed_primary_loses_nothing_of_a_cluster, async |network| {
        survive_replacement(network, Old::Killed).await;
    });
}

#[test]
fn a_paused_primary_that_was_replaced_proves_nothing() {
    with_network(a_paused_primary_that_was_replaced_proves_nothing, async |network| {
        survive_replacement(network, Old::Paused).await;
    });
}

#[test]
fn a_cut_off_primary_that_was_replaced_proves_nothing() {
    with_network(a_cut_off_primary_that_was_replaced_proves_nothing, async |network| {
        survive_replacement(network, Old::CutOff { with: 0 }).await;
    });
}

/// The most faults at once, and all of a round.
const AT_ONCE: usize = 2;
const FAULTS: usize = 4;

#[derive(Debug, Default)]
struct Stats {
    rounds: u64,
    faults: usize,
    messages: usize,
    commands: usize,
    answers: u64,
}

#[test]
fn random_faults_lose_nothing_and_no_stale_owner_is_heard() {
    with_network(random_faults_lose_nothing_and_no_stale_owner_is_heard, async |network| {
        let (seed, rounds) = (seed(), rounds(2));
        let (mut stats, mut progress) = (Stats::default(), Progress::new());
        let mut network = Some(network);
        for round in 0..rounds {
            let mut rng = random_choices(seed, round);
            let mut world = World::start(network.take().expect("it is given back"), true).await;
            let mut load = Load::new(rng.next_u64(), Registers::new(REGISTERS));
            let clients = Clients::of(world.addresses());
            let told = load.during(&clients, random_faults(&mut world, &clients, &mut rng)).await;
            let about = format!("in round {round} of the seed {seed}, after\n{}", told.join("\n"));
            let recovered = tokio::time::timeout(TEST_TIMEOUT, world.recover()).await;
            assert!(recovered.is_ok(), "the nodes do not find each other again, {about}\n{}", world.logs());
            load.check(&world, &about).await;
            let (messages, commands) = load.workload.totals();
            stats = Stats {
                rounds: stats.rounds + 1,
                faults: stats.faults + FAULTS,
                messages: stats.messages + messages,
                commands: stats.commands + commands,
                answers: stats.answers + load.registers.answers(),
            };
            progress.print(&stats);
            network = Some(world.network);
        }
        println!("{stats:?}");
        assert!(stats.messages as u64 > 20 * rounds, "too little happened: {stats:?}");
    });
}

/// Faults begin and end, some at the same time. Returns what happened.
async fn random_faults(world: &mut World, clients: &Clients, rng: &mut impl Rng) -> Vec<String> {
    let (began, mut told, mut left) = (Instant::now(), Vec::new(), FAULTS);
    while left > 0 || !world.active.is_empty() {
        tokio::time::sleep(Duration::from_millis(rng.random_range(20..1_500))).await;
        let begins =
            left > 0 && world.active.len() < AT_ONCE && (world.active.is_empty() || rng.random_range(0..3) == 0);
        if begins {
            let fault = loop {
                let fault = Fault::any(rng, world.standby.is_some());
                let of_same_node = |active: &Fault| fault.node().is_some() && active.node() == fault.node();
                if !world.active.iter().any(of_same_node) {
                    break fault;
                }
            };
            left -= 1;
            told.push(format!("{:?}: {fault:?} begins", began.elapsed()));
            world.begin(fault).await;
        } else {
            let fault = world.active[rng.random_range(0..world.active.len())].clone();
            told.push(format!("{:?}: {fault:?} ends", began.elapsed()));
            world.end(&fault, clients).await;
        }
    }
    tokio::time::sleep(AFTER).await;
    told
}
