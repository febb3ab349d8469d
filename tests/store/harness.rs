//! Servers of PostgreSQL for tests: primaries and standbys that can be killed, paused and promoted. Each has its own
//! directory and a port from the kernel, and ends with its test, or with the process of the tests.

use std::fs;
use std::io::Write;
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Sender, channel};
use std::sync::{LazyLock, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use dormouse::cluster::ownership::NodeId;
use dormouse::store::postgres::{Connection, Lane, Purpose, Secrets, Target, connect, new_node, prepare};
use rustix::process::{Pid, Signal, kill_process};
use tokio_postgres::{Client, NoTls};

/// How long anything of a server may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// A machine for servers: this one, or one of a network that a test has made.
#[derive(Debug, Clone)]
pub(crate) struct Machine {
    pub(crate) host: Ipv4Addr,
    /// The file of its network namespace; absent for that of the tests.
    pub(crate) namespace: Option<PathBuf>,
}

/// A server with its data directory.
pub(crate) struct Server {
    directory: PathBuf,
    machine: Machine,
    port: u16,
    process: Child,
}

/// A database of a server, without a schema at first.
pub(crate) struct Database {
    pub(crate) url: String,
    pub(crate) target: Target,
    host: Ipv4Addr,
    port: u16,
    name: String,
}

/// Most tests share a server, with a database for each.
static SHARED: LazyLock<Server> = LazyLock::new(|| Server::start(&[]));

/// A data directory that was made once, and is copied for each server.
static TEMPLATE: LazyLock<PathBuf> = LazyLock::new(|| {
    let directory = new_directory("template");
    run(program("initdb")
        .args(["--username=postgres", "--auth=trust", "--encoding=UTF8", "--no-locale", "--no-sync"])
        .arg(&directory));
    // The first line that fits counts. `+` means the role and its members.
    let access = "host all +with_password 127.0.0.0/8 scram-sha-256\n\
                  host all all 127.0.0.0/8 trust\n\
                  host replication all 127.0.0.0/8 trust\n";
    write(&directory.join("pg_hba.conf"), access);
    directory
});

/// Starts processes, as long as the tests run: a process ends with the thread that started it, and the thread of a test
/// ends before others are done with a shared server.
static STARTER: LazyLock<Mutex<Sender<Start>>> = LazyLock::new(|| {
    let (starts, received) = channel::<Start>();
    thread::spawn(move || received.iter().for_each(|start| start()));
    Mutex::new(starts)
});

type Start = Box<dyn FnOnce() + Send>;

/// The server programs.
static BIN: LazyLock<PathBuf> = LazyLock::new(|| {
    let asked = Command::new("pg_config").arg("--bindir").output().ok();
    let asked = asked.map(|output| PathBuf::from(String::from_utf8_lossy(&output.stdout).trim()));
    let installed = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let installed = installed.map(|version| version.path().join("bin"));
    let has_server = |bin: &PathBuf| bin.join("postgres").exists() && bin.join("initdb").exists();
    asked.into_iter().chain(installed).find(has_server).expect(
        "PostgreSQL is missing: these tests start servers of their own. Install it (apt-get install postgresql), then \
         try again; its own service is not needed",
    )
});

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// A command that runs as the user `postgres` if the tests run as root, since the server refuses root. It ends with the
/// thread that starts it.
fn program(name: &str) -> Command {
    Machine::this().program(name)
}

impl Machine {
    /// The machine of the tests.
    pub(crate) fn this() -> Self {
        Machine { host: Ipv4Addr::LOCALHOST, namespace: None }
    }

    /// A command that runs on this machine, as `program` says.
    fn program(&self, name: &str) -> Command {
        let mut command = match &self.namespace {
            Some(namespace) => {
                let mut command = Command::new("nsenter");
                command.arg(format!("--net={}", namespace.display())).args(["--", "setpriv"]);
                command
            }
            None => Command::new("setpriv"),
        };
        complete(&mut command, name);
        command
    }
}

/// Adds to `setpriv` who runs the program, when it ends, and where it is.
fn complete(command: &mut Command, name: &str) {
    if is_root() {
        command.args(["--reuid=postgres", "--regid=postgres", "--init-groups"]);
    }
    // To a server, this is an immediate end of all its processes.
    command.args(["--pdeathsig=QUIT", "--"]).arg(BIN.join(name));
    command.env_clear().env("LC_ALL", "C").stdin(Stdio::null());
    command.current_dir("/");
}

fn run(command: &mut Command) {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// A directory that the user of the server owns.
fn new_directory(name: &str) -> PathBuf {
    static NUMBER: Mutex<u32> = Mutex::new(0);
    let number = {
        let mut number = NUMBER.lock().unwrap();
        *number += 1;
        *number
    };
    let directory = ROOT.join(format!("{}-{number}-{name}", std::process::id()));
    fs::create_dir_all(&directory).unwrap();
    own(&directory);
    directory
}

/// Below `target`, unless the user of the server cannot reach it there.
static ROOT: LazyLock<PathBuf> = LazyLock::new(|| {
    let root = Path::new(env!("CARGO_TARGET_TMPDIR")).join("store");
    fs::create_dir_all(&root).unwrap();
    let mut reach = Command::new("setpriv");
    if is_root() {
        reach.args(["--reuid=postgres", "--regid=postgres", "--init-groups"]);
    }
    let can_reach = reach.args(["--", "test", "-x"]).arg(&root).status().is_ok_and(|status| status.success());
    let root = if can_reach { root } else { std::env::temp_dir().join("dormouse-test-store") };
    fs::create_dir_all(&root).unwrap();
    // Directories of processes that have ended.
    for old in fs::read_dir(&root).unwrap().flatten() {
        let name = old.file_name().to_string_lossy().into_owned();
        let process = name.split('-').next().unwrap_or_default().to_owned();
        if !Path::new("/proc").join(process).exists() {
            let _ = fs::remove_dir_all(old.path()).or_else(|_| fs::remove_file(old.path()));
        }
    }
    root
});

fn own(path: &Path) {
    if is_root() {
        run(Command::new("chown").arg("-R").arg("postgres:postgres").arg(path));
    }
    run(Command::new("chmod").arg("go=").arg(path));
}

fn write(path: &Path, text: &str) {
    fs::write(path, text).unwrap();
    own(path);
}

impl Server {
    /// The server that tests share.
    pub(crate) fn shared() -> &'static Server {
        &SHARED
    }

    /// A primary with settings such as `fsync=off`.
    pub(crate) fn start(settings: &[&str]) -> Self {
        Self::start_at(Machine::this(), settings)
    }

    /// The same on another machine.
    pub(crate) fn start_at(machine: Machine, settings: &[&str]) -> Self {
        let directory = new_directory("primary");
        run(Command::new("cp").arg("-rT").arg(&*TEMPLATE).arg(&directory));
        own(&directory);
        Self::on(machine, directory, settings)
    }

    /// A standby, which calls itself `standby`. It follows the primary when this returns.
    pub(crate) async fn standby(&self) -> Self {
        self.standby_at(Machine::this()).await
    }

    /// The same on another machine.
    pub(crate) async fn standby_at(&self, machine: Machine) -> Self {
        let directory = new_directory("standby");
        let (host, port) = (self.machine.host, self.port);
        let source = format!("host={host} port={port} user=postgres application_name=standby");
        let mut copy = program("pg_basebackup");
        copy.args(["--write-recovery-conf", "--checkpoint=fast", "--no-sync", "--dbname", &source, "--pgdata"]);
        // A commit of the copy itself must not wait for a standby.
        run(copy.arg(&directory));
        let standby = Self::on(machine, directory, &[]);
        let admin = self.admin("postgres").await;
        let is_streaming = "SELECT count(*) = 1 FROM pg_stat_replication WHERE state = 'streaming' AND \
                            application_name = 'standby'";
        until("the standby follows", async || admin.query_one(is_streaming, &[]).await.unwrap().get(0)).await;
        standby
    }

    fn on(machine: Machine, directory: PathBuf, settings: &[&str]) -> Self {
        // Another process may take the port before the server does.
        for _ in 0..10 {
            let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
            let log = fs::File::create(directory.with_extension("log")).unwrap();
            let mut command = machine.program("postgres");
            command.arg("-D").arg(&directory).arg("-p").arg(port.to_string());
            command.args(own_settings(&machine));
            for setting in settings {
                command.args(["-c", setting]);
            }
            command.process_group(0).stdout(log.try_clone().unwrap()).stderr(log);
            let mut process = started(command);
            let until = Instant::now() + PATIENCE;
            loop {
                if process.try_wait().unwrap().is_some() {
                    break;
                }
                if is_ready(&machine, port) {
                    return Server { directory, machine, port, process };
                }
                assert!(Instant::now() < until, "{}", Self::log_of(&directory));
                thread::sleep(Duration::from_millis(20));
            }
            let log = Self::log_of(&directory);
            assert!(log.contains("Address already in use"), "the server does not start:\n{log}");
        }
        panic!("no port is free");
    }

    fn log_of(directory: &Path) -> String {
        fs::read_to_string(directory.with_extension("log")).unwrap_or_default()
    }

    /// The log of the server.
    pub(crate) fn log(&self) -> String {
        Self::log_of(&self.directory)
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Writes a file that only the server can read into its data directory.
    pub(crate) fn write(&self, name: &str, text: &str) {
        write(&self.directory.join(name), text);
    }

    /// A connection for the test itself.
    pub(crate) async fn admin(&self, database: &str) -> Client {
        admin(self.machine.host, self.port, database).await
    }

    /// A new, empty database.
    pub(crate) async fn empty_database(&self) -> Database {
        let admin = self.admin("postgres").await;
        let name = format!("d{}", rand::random::<u32>());
        admin.batch_execute(&format!("CREATE DATABASE {name}")).await.unwrap();
        self.database(&name)
    }

    /// A database with the schema.
    pub(crate) async fn new_database(&self) -> Database {
        let database = self.empty_database().await;
        prepare(&mut database.setup().await).await.unwrap();
        database
    }

    /// A database that is there, on this server only.
    pub(crate) fn database(&self, name: &str) -> Database {
        let (host, port) = (self.machine.host, self.port);
        let url = format!("postgres://postgres@{host}:{port}/{name}");
        Database { target: target(&url), url, host, port, name: name.to_owned() }
    }

    /// The processes of the server, the first one last.
    fn processes(&self) -> Vec<Pid> {
        let first = self.process.id().cast_signed();
        let mut processes = Vec::new();
        for entry in fs::read_dir("/proc").unwrap().flatten() {
            let Ok(process) = entry.file_name().to_string_lossy().parse::<i32>() else { continue };
            let Ok(stat) = fs::read_to_string(entry.path().join("stat")) else { continue };
            let parent = stat.rsplit(')').next().unwrap().split_whitespace().nth(1).unwrap();
            if parent == first.to_string() {
                processes.push(Pid::from_raw(process).unwrap());
            }
        }
        processes.push(Pid::from_raw(first).unwrap());
        processes
    }

    /// The CPU time of its processes. That of processes that have ended is missing.
    pub(crate) fn cpu(&self) -> Duration {
        self.processes().into_iter().map(|process| cpu_of(process.as_raw_nonzero().get().unsigned_abs())).sum()
    }

    fn signal(&self, signal: Signal) {
        for process in self.processes() {
            let _ = kill_process(process, signal);
        }
    }

    /// Ends all its processes, as a machine that fails.
    pub(crate) fn kill(&mut self) {
        // The first one before the others, so that it does not start them again.
        let mut processes = self.processes();
        processes.reverse();
        for process in processes {
            let _ = kill_process(process, Signal::KILL);
        }
        self.process.wait().unwrap();
    }

    /// Starts it again at the same port, after it was killed.
    pub(crate) fn start_again(&mut self) {
        let log = fs::OpenOptions::new().append(true).open(self.directory.with_extension("log")).unwrap();
        let mut command = self.machine.program("postgres");
        command.arg("-D").arg(&self.directory).arg("-p").arg(self.port.to_string());
        command.args(own_settings(&self.machine));
        command.process_group(0).stdout(log.try_clone().unwrap()).stderr(log);
        self.process = started(command);
        let until = Instant::now() + PATIENCE;
        while !is_ready(&self.machine, self.port) {
            assert!(Instant::now() < until, "{}", self.log());
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// Stops all its processes, until they go on.
    pub(crate) fn pause(&self) {
        self.signal(Signal::STOP);
    }

    pub(crate) fn go_on(&self) {
        self.signal(Signal::CONT);
    }

    /// Stops what sends commits to the standby, for good. The standby itself would still read what was sent before.
    pub(crate) async fn stop_sending(&self) {
        let sender = self.admin("postgres").await.query_one("SELECT pid FROM pg_stat_replication", &[]).await.unwrap();
        kill_process(Pid::from_raw(sender.get(0)).unwrap(), Signal::STOP).unwrap();
    }

    /// Commits wait for the standby from now on. Its copy of the settings is older, so it waits for none after a
    /// promotion.
    pub(crate) async fn wait_for_standby(&self) {
        let admin = self.admin("postgres").await;
        admin.batch_execute("ALTER SYSTEM SET synchronous_standby_names = 'standby'").await.unwrap();
        admin.batch_execute("SELECT pg_reload_conf()").await.unwrap();
        let is_synchronous = "SELECT count(*) = 1 FROM pg_stat_replication WHERE sync_state = 'sync'";
        until("the standby is synchronous", async || admin.query_one(is_synchronous, &[]).await.unwrap().get(0)).await;
    }

    /// Makes a standby the primary.
    pub(crate) async fn promote(&self) {
        let promoted = self.admin("postgres").await.query_one("SELECT pg_promote()", &[]).await.unwrap();
        assert!(promoted.get::<_, bool>(0));
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if self.process.try_wait().is_ok_and(|ended| ended.is_none()) {
            self.go_on();
            self.kill();
        }
        if thread::panicking() {
            let log = self.log();
            let lines = log.lines().collect::<Vec<_>>();
            eprintln!("the end of the log of {}:\n{}", self.port, lines[lines.len().saturating_sub(20)..].join("\n"));
        }
        let _ = fs::remove_dir_all(&self.directory);
        let _ = fs::remove_file(self.directory.with_extension("log"));
    }
}

/// The CPU time of the threads of a process.
pub(crate) fn cpu_of(process: u32) -> Duration {
    let threads = fs::read_dir(format!("/proc/{process}/task")).into_iter().flatten().flatten();
    let times = threads.filter_map(|thread| {
        let text = fs::read_to_string(thread.path().join("schedstat")).ok()?;
        text.split(' ').next()?.parse::<u64>().ok()
    });
    Duration::from_nanos(times.sum())
}

/// The settings of each server.
fn own_settings(machine: &Machine) -> impl Iterator<Item = String> {
    let listens = format!("listen_addresses={}", machine.host);
    let settings = [listens, "unix_socket_directories=".into(), "max_connections=200".into()];
    settings.into_iter().flat_map(|setting| ["-c".into(), setting])
}

/// Whether a server takes connections.
fn is_ready(machine: &Machine, port: u16) -> bool {
    let mut asked = program("pg_isready");
    asked.args(["-q", "-h", &machine.host.to_string(), "-p", &port.to_string()]);
    asked.status().unwrap().success()
}

/// Starts a command on the thread that does not end before the tests.
fn started(mut command: Command) -> Child {
    let (sender, receiver) = channel();
    let start = Box::new(move || sender.send(command.spawn()).unwrap());
    STARTER.lock().unwrap().send(start).unwrap();
    receiver.recv().unwrap().unwrap()
}

async fn admin(host: Ipv4Addr, port: u16, database: &str) -> Client {
    let parameters = format!("host={host} port={port} user=postgres dbname={database}");
    let (client, connection) = tokio_postgres::connect(&parameters, NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

pub(crate) fn target(url: &str) -> Target {
    Target::parse(url, &Secrets::default()).unwrap()
}

/// Waits until a condition holds.
pub(crate) async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !holds().await {
        assert!(Instant::now() < end, "in vain: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

impl Database {
    pub(crate) async fn admin(&self) -> Client {
        admin(self.host, self.port, &self.name).await
    }

    pub(crate) async fn setup(&self) -> Connection {
        connect(&self.target, Purpose::Setup).await.unwrap()
    }

    pub(crate) async fn new_node(&self) -> NodeId {
        new_node(&self.setup().await).await.unwrap()
    }

    pub(crate) async fn lane(&self, me: NodeId) -> Lane {
        Lane::connect(&self.target, Purpose::Lane, me).await.unwrap()
    }

    /// The same database, on either of two servers.
    pub(crate) fn or_on(&self, other: &Server) -> Target {
        target(&self.url_or_on(other))
    }

    /// The address of the same database, on either of two servers.
    pub(crate) fn url_or_on(&self, other: &Server) -> String {
        let (host, port, name) = (self.host, self.port, &self.name);
        format!("postgres://postgres@{host}:{port},{}:{}/{name}", other.machine.host, other.port)
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// All rooms, by `pg_dump`.
    pub(crate) fn dump(&self) -> Vec<u8> {
        let mut dump = self.tool("pg_dump");
        let output = dump.args(["--schema=dormouse", "--format=custom"]).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        output.stdout
    }

    /// Puts a dump into this database, which has no schema yet.
    pub(crate) fn restore(&self, dump: &[u8]) {
        let mut restore = self.tool("pg_restore");
        restore.args(["--exit-on-error", "--single-transaction"]).stdin(Stdio::piped()).stderr(Stdio::piped());
        let mut restore = restore.spawn().unwrap();
        restore.stdin.take().unwrap().write_all(dump).unwrap();
        let output = restore.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    /// A program that asks this database.
    fn tool(&self, name: &str) -> Command {
        let mut command = program(name);
        command.args(["--host", &self.host.to_string(), "--username=postgres", "--port", &self.port.to_string()]);
        command.args(["--dbname", &self.name]);
        command
    }
}
