//! Machines in a network that only one test has, so that the test can cut it: each machine is a network namespace with
//! one address, and the router between them drops what the test says.
//!
//! A test with a network runs in a process of its own, which is the clients' machine. It needs Linux with network
//! namespaces, which root has, and else users in a namespace of users. Without them it fails, unless
//! `DORMOUSE_TEST_WITHOUT_NETWORK=1` says that it is left out. `ip`, `unshare`, `nsenter` and `setpriv` are needed.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Mutex;

use crate::cluster::Machine;

/// Set in the process that has the network, to the name of its test.
const INSIDE: &str = "DORMOUSE_TEST_NETWORK";

/// Set to `1` by whoever knows that the tests cannot have networks.
const LEFT_OUT: &str = "DORMOUSE_TEST_WITHOUT_NETWORK";

/// The machines of a network, with the clients' one.
const MACHINES: u8 = 7;

/// Ways to become the owner of a new network: as root, and as any user. The second one keeps the user, since PostgreSQL
/// does not run as root.
const WAYS: [&[&str]; 2] =
    [&["--net", "--mount"], &["--user", "--map-current-user", "--keep-caps", "--net", "--mount"]];

/// Addresses of the loopback network are used between machines: a server believes clients in dev auth, and a database
/// without TLS, only there. Linux routes them if it is told to, and if `lo` does not have all of them.
const PREPARE: &str = "set -e; ip link set lo up; ip address delete 127.0.0.1/8 dev lo; \
                       ip address add 127.0.0.1/32 dev lo; echo 1 > /proc/sys/net/ipv4/conf/all/route_localnet";

/// One of the machines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct At(pub(crate) u8);

/// The machine of this process and of all clients.
pub(crate) const CLIENTS: At = At(0);

/// The network of this process.
pub(crate) struct Network {
    /// Directions in which nothing passes.
    cuts: Mutex<BTreeSet<(At, At)>>,
}

/// Runs a test with a network. `function` is the test itself, for its name.
pub(crate) fn with_network<T: Fn()>(_function: T, test: impl AsyncFnOnce(Network)) {
    let (_, name) = std::any::type_name::<T>().split_once("::").expect("it is in a module");
    if std::env::var(INSIDE).is_ok_and(|inside| inside == name) {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
        return runtime.block_on(async { test(Network::build()).await });
    }
    if std::env::var(LEFT_OUT).is_ok_and(|left_out| left_out == "1") {
        println!("NOT TESTED: {name} has no network, because {LEFT_OUT}=1");
        return;
    }
    let succeeds = |way: &&[&str]| {
        let tried = Command::new("unshare").args(*way).arg("true").stderr(Stdio::null()).status();
        tried.is_ok_and(|status| status.success())
    };
    let way = WAYS.into_iter().find(succeeds).unwrap_or_else(|| {
        panic!(
            "this test cuts a network, and cannot make one: run it on Linux with `unshare` and `ip` (apt-get install \
             iproute2), as root or where users may have namespaces, or leave out such tests with {LEFT_OUT}=1"
        )
    });
    let mut inside = Command::new("unshare");
    inside.args(way).args(["--", "setpriv", "--pdeathsig=KILL", "--"]).arg(std::env::current_exe().unwrap());
    inside.args([name, "--exact", "--nocapture", "--test-threads=1"]).env(INSIDE, name);
    // Standard error comes with the output.
    let (reader, writer) = std::io::pipe().unwrap();
    inside.stdin(Stdio::null()).stdout(writer.try_clone().unwrap()).stderr(writer);
    let mut process = inside.spawn().unwrap();
    drop(inside);
    let mut has_run = false;
    for line in BufReader::new(reader).lines().map_while(Result::ok) {
        has_run |= line.starts_with("test result: ok. 1 passed");
        println!("{line}");
    }
    let status = process.wait().unwrap();
    assert!(status.success() && has_run, "{name} failed in its network: {status}");
}

impl At {
    pub(crate) fn host(self) -> Ipv4Addr {
        Ipv4Addr::new(127, 77, self.0, 2)
    }

    fn namespace(self) -> String {
        format!("machine{}", self.0)
    }

    fn file(self) -> PathBuf {
        format!("/run/netns/{}", self.namespace()).into()
    }

    /// The machine for servers of a database.
    pub(crate) fn machine(self) -> Machine {
        Machine { host: self.host(), namespace: Some(self.file()) }
    }

    /// The begin of a command of a shell that goes on at this machine, in the same process.
    pub(crate) fn enter(self) -> String {
        format!("exec nsenter --net={} -- setpriv --pdeathsig=KILL --", self.file().display())
    }
}

impl Network {
    /// All machines, and nothing is cut.
    fn build() -> Self {
        // The names of namespaces are files here, which only this process and its children see.
        sh("mount -t tmpfs tmpfs /run && mkdir /run/netns && ip netns add router");
        sh(PREPARE);
        sh(&format!("nsenter --net=/run/netns/router sh -c '{PREPARE}; echo 1 > /proc/sys/net/ipv4/ip_forward'"));
        for at in (0..MACHINES).map(At) {
            let (number, host) = (at.0, at.host());
            // The clients' machine is this one, so it has no other name.
            let (add, prepare, inside, of) = match at {
                CLIENTS => (String::new(), String::new(), String::new(), String::new()),
                _ => {
                    let (name, file) = (at.namespace(), at.file());
                    let prepare = format!("nsenter --net={} sh -c '{PREPARE}'", file.display());
                    (format!("ip netns add {name}"), prepare, format!("netns {name}"), format!("-n {name}"))
                }
            };
            sh(&format!(
                "set -e; {add}\n{prepare}\n\
                 ip link add wire{number} type veth peer name eth0 {inside}; ip link set wire{number} netns router\n\
                 ip -n router address add 127.77.{number}.1/24 dev wire{number} scope global\n\
                 ip -n router link set wire{number} up\n\
                 ip {of} address add {host}/24 dev eth0 scope global; ip {of} link set eth0 up\n\
                 ip {of} route add 127.77.0.0/16 via 127.77.{number}.1"
            ));
        }
        Network { cuts: Mutex::default() }
    }

    /// From now on nothing passes in these directions, and everything in others. No machine is told.
    pub(crate) fn set(&self, cuts: BTreeSet<(At, At)>) {
        let mut before = self.cuts.lock().unwrap();
        before.difference(&cuts).for_each(|(from, to)| rule("delete", *from, *to));
        cuts.difference(&before).for_each(|(from, to)| rule("add", *from, *to));
        *before = cuts;
    }
}

fn rule(change: &str, from: At, to: At) {
    sh(&format!("ip -n router rule {change} from {} to {} blackhole", from.host(), to.host()));
}

fn sh(script: &str) {
    let output = Command::new("sh").args(["-c", script]).output().unwrap();
    assert!(output.status.success(), "{script}: {}", String::from_utf8_lossy(&output.stderr));
}
