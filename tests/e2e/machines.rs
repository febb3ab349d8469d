//! What programs that run servers see of this one: load balancers and service managers.

use std::ffi::OsString;
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsFd;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use hyper::Method;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixDatagram;

use crate::harness::{self, Answer, Server, within};

/// The answer at a path, which has the same status on both listeners.
async fn answer_of_both(server: &Server, path: &str) -> Answer {
    let get = async |address: SocketAddr| harness::request(address, Method::GET, path, &[], "").await;
    let (edge, admin) = (get(server.address).await, get(server.admin_address()).await);
    assert_eq!(edge.status, admin.status);
    edge
}

/// The reason why the server is not ready.
async fn reason(server: &Server) -> Value {
    let answer = answer_of_both(server, "/readyz").await;
    answer.is_problem(503);
    answer.json()["detail"].clone()
}

#[tokio::test]
async fn a_server_is_ready_once_it_has_started() {
    let server = Server::start().await;
    let answer = answer_of_both(&server, "/readyz").await;
    assert_eq!((answer.status.as_u16(), answer.json()["status"].as_str()), (200, Some("ready")));
    let wrong = harness::request(server.admin_address(), Method::POST, "/readyz", &[], "").await;
    assert_eq!((wrong.status.as_u16(), wrong.header("allow")), (405, "GET, HEAD"));
}

#[tokio::test]
async fn a_server_with_a_full_disk_is_not_ready() {
    let server = Server::with(&harness::more_than_is_free()).await;
    let reason = reason(&server).await;
    assert!(reason.as_str().unwrap().contains("disk"), "{reason}");
    answer_of_both(&server, "/healthz").await.is_problem(503);
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_server_without_memory_is_healthy_and_not_ready() {
    // Little more than the least that is accepted.
    let server = Server::unruly("[limits]\nmemory_total_bytes = 130_000_000\nturn_cpu = \"1h\"\n").await;
    let mut busy = Vec::new();
    for number in 0..3 {
        busy.push(server.join(&number.to_string(), "bo").await);
    }
    // Rooms that have something to do keep their memory.
    for room in &mut busy {
        room.send("allocate 48; loop").await;
    }
    server.wait_for_log("memory is above its limit").await;
    assert_eq!(reason(&server).await, "the server has too little memory now");
    assert_eq!(answer_of_both(&server, "/healthz").await.status, 200);
}

#[tokio::test]
async fn a_shutdown_first_tells_load_balancers() {
    let mut server = Server::with("[limits]\ndrain_delay = \"1h\"\n").await;
    let mut ana = server.join("lobby", "ana").await;
    ana.recv_type("history").await;
    server.send_sigterm();
    within(async { while server.get("/readyz").await.status == 200 {} }).await;
    assert_eq!(reason(&server).await, "the server is shutting down");
    assert_eq!(answer_of_both(&server, "/healthz").await.status, 200);
    // Clients that a load balancer still sends are let in, and all go on.
    let mut bo = server.join("lobby", "bo").await;
    bo.send_chat("hello").await;
    assert_eq!(ana.recv_content().await, "hello");
    server.send_sigterm();
    assert_eq!((ana.recv_close().await.0, bo.recv_close().await.0), (1001, 1001));
    assert!(server.wait_for_exit().await.success());
}

/// A service manager: it gives the variables of its socket, and receives the messages to it.
struct ServiceManager {
    socket: UnixDatagram,
    name: OsString,
    _directory: TempDir,
}

impl ServiceManager {
    fn new() -> Self {
        let directory = TempDir::new().unwrap();
        let path = directory.path().join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        ServiceManager { socket, name: path.into(), _directory: directory }
    }

    /// With a name in the abstract namespace.
    #[cfg(target_os = "linux")]
    fn abstract_name() -> Self {
        use std::os::linux::net::SocketAddrExt;
        let directory = TempDir::new().unwrap();
        let name = directory.path().display().to_string();
        let address = std::os::unix::net::SocketAddr::from_abstract_name(&name).unwrap();
        let socket = std::os::unix::net::UnixDatagram::bind_addr(&address).unwrap();
        socket.set_nonblocking(true).unwrap();
        let socket = UnixDatagram::from_std(socket).unwrap();
        ServiceManager { socket, name: format!("@{name}").into(), _directory: directory }
    }

    async fn start(&self, config: &str, variables: &[(&str, &str)]) -> Server {
        let variables = variables.iter().map(|(name, value)| (*name, Path::new(value)));
        let variables = variables.chain([("NOTIFY_SOCKET", Path::new(&self.name))]).collect::<Vec<_>>();
        Server::with_variables(Arc::new(TempDir::new().unwrap()), config, &variables).await
    }

    /// The next message, as its lines.
    async fn recv(&self) -> Vec<String> {
        let mut message = [0; 1_024];
        let length = within(self.socket.recv(&mut message)).await.unwrap();
        let message = std::str::from_utf8(&message[..length]).unwrap();
        message.lines().map(str::to_owned).collect()
    }

    /// The next message, which must begin with these lines and end with a status that contains a text.
    async fn expect(&self, lines: &[&str], status: &str) {
        let message = self.recv().await;
        let (last, others) = message.split_last().unwrap();
        assert_eq!(others, lines);
        assert!(last.strip_prefix("STATUS=").is_some_and(|text| text.contains(status)), "{message:?}");
    }

    /// Takes all messages that have arrived, which must be pings. Returns their number.
    fn take_pings(&self) -> usize {
        let (mut message, mut pings) = ([0; 1_024], 0);
        while let Ok(length) = self.socket.try_recv(&mut message) {
            assert_eq!(&message[..length], b"WATCHDOG=1");
            pings += 1;
        }
        pings
    }
}

#[tokio::test]
async fn the_service_manager_is_told_of_every_state() {
    let manager = ServiceManager::new();
    let mut server = manager.start("", &[]).await;
    manager.expect(&[], "starting").await;
    let serving = format!("serving on http://{}", server.address);
    manager.expect(&["READY=1"], &serving).await;
    let before = dormouse::clock::monotonic_micros();
    server.send_sighup();
    let reloading = manager.recv().await;
    assert_eq!((&*reloading[0], &*reloading[2]), ("RELOADING=1", "STATUS=reloading"));
    let at = reloading[1].strip_prefix("MONOTONIC_USEC=").unwrap().parse::<u64>().unwrap();
    assert!((before..=dormouse::clock::monotonic_micros()).contains(&at), "it is the clock of the system");
    manager.expect(&["READY=1"], &format!("{serving}; reloaded")).await;
    server.send_sigterm();
    manager.expect(&["STOPPING=1"], "shutting down").await;
    assert!(server.wait_for_exit().await.success());
}

#[tokio::test]
async fn a_failed_reload_is_in_the_status() {
    let manager = ServiceManager::new();
    let directory = TempDir::new().unwrap();
    let token = directory.path().join("token");
    std::fs::write(&token, "a".repeat(32)).unwrap();
    let config = format!("[admin]\nlisten = \"127.0.0.1:0\"\ntoken_file = {token:?}\n");
    let server = manager.start(&config, &[]).await;
    manager.expect(&[], "starting").await;
    manager.expect(&["READY=1"], "serving on").await;
    std::fs::remove_file(&token).unwrap();
    server.send_sighup();
    assert_eq!(manager.recv().await[0], "RELOADING=1");
    manager.expect(&["READY=1"], "not all of it could be reloaded").await;
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn the_service_manager_may_have_an_abstract_name() {
    let manager = ServiceManager::abstract_name();
    let _server = manager.start("", &[]).await;
    manager.expect(&[], "starting").await;
    manager.expect(&["READY=1"], "serving on").await;
}

#[tokio::test]
async fn a_server_without_its_service_manager_serves() {
    let mut manager = ServiceManager::new();
    manager.name.push("-gone");
    let server = manager.start("", &[("WATCHDOG_USEC", "2s")]).await;
    server.wait_for_log("the service manager at NOTIFY_SOCKET takes no message").await;
    server.wait_for_log("WATCHDOG_USEC is \"2s\" and not a number").await;
    assert_eq!(server.get("/readyz").await.status, 200);
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_stopped_server_does_not_ping_its_watchdog() {
    let manager = ServiceManager::new();
    let server = manager.start("", &[("WATCHDOG_USEC", "100000")]).await;
    manager.expect(&[], "starting").await;
    manager.expect(&["READY=1"], "serving on").await;
    for _ in 0..3 {
        assert_eq!(manager.recv().await, ["WATCHDOG=1"]);
    }
    let signal = |signal| kill_process(Pid::from_raw(server.pid().cast_signed()).unwrap(), signal).unwrap();
    signal(Signal::STOP);
    let status = format!("/proc/{}/status", server.pid());
    within(async {
        while !std::fs::read_to_string(&status).unwrap().contains("State:\tT") {
            tokio::task::yield_now().await;
        }
    })
    .await;
    manager.take_pings();
    assert_eq!(manager.take_pings(), 0);
    signal(Signal::CONT);
    assert_eq!(manager.recv().await, ["WATCHDOG=1"]);
}

/// The disk refuses every write, because the files of the process may not grow.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_server_whose_store_has_failed_does_not_ping() {
    use rustix::process::{Resource, Rlimit, prlimit};
    let manager = ServiceManager::new();
    let directory = Arc::new(TempDir::new().unwrap());
    // The signal of a file that grows too long would end the process. Ignored, it becomes an error of the write.
    let server = Server::by_shell(directory, "", "trap '' XFSZ", |command| {
        command.env("NOTIFY_SOCKET", &manager.name).env("WATCHDOG_USEC", "20000");
    });
    let mut server = server.await.unwrap();
    manager.expect(&[], "starting").await;
    manager.expect(&["READY=1"], "serving on").await;
    assert_eq!(manager.recv().await, ["WATCHDOG=1"]);
    let mut ana = server.join("lobby", "ana").await;
    ana.recv_type("history").await;
    let pid = Pid::from_raw(server.pid().cast_signed());
    prlimit(pid, Resource::Fsize, Rlimit { current: Some(0), maximum: None }).unwrap();
    ana.send_chat("hello").await;
    assert_eq!(ana.recv_close().await.0, 1011);
    answer_of_both(&server, "/readyz").await.is_problem(503);
    server.wait_for_log("the server does not work, so the service manager will restart it").await;
    manager.take_pings();
    // The time of a few requests, in which there would be pings.
    for name in ["bo", "cy", "di"] {
        server.api(Method::POST, "/rooms/lobby/messages", name, r#"{"content":"hello"}"#).await.is_problem(503);
    }
    assert_eq!(manager.take_pings(), 0);
    server.send_sigterm();
    manager.expect(&["STOPPING=1"], "shutting down").await;
    server.wait_for_exit().await;
}

/// Listens on a free port.
fn listen() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

/// A stream for a process, as the same socket.
fn stream(socket: &impl AsFd) -> Stdio {
    socket.as_fd().try_clone_to_owned().unwrap().into()
}

/// A server with sockets that it finds open; the first is for clients, unless `names` says otherwise.
async fn with_sockets(
    directory: &Arc<TempDir>,
    config: &str,
    variables: &str,
    sockets: [Stdio; 2],
) -> Result<Server, String> {
    // A shell can move its streams to other descriptors, and keeps its process id when it becomes the server.
    let script = format!("exec 3<&0 4<&1 0</dev/null 1>/dev/null\nexport LISTEN_PID=$$ {variables}");
    let [first, second] = sockets;
    let prepare = |command: &mut Command| {
        command.stdin(first).stdout(second);
    };
    Server::by_shell(directory.clone(), config, &script, prepare).await
}

#[tokio::test]
async fn a_server_serves_on_the_sockets_that_it_is_given() {
    let directory = Arc::new(TempDir::new().unwrap());
    let ((edge, edge_address), (admin, admin_address)) = (listen(), listen());
    for (variables, sockets) in [
        ("LISTEN_FDS=2", [&edge, &admin]),
        ("LISTEN_FDS=2 LISTEN_FDNAMES=dormouse.socket:dormouse.socket", [&edge, &admin]),
        ("LISTEN_FDS=2 LISTEN_FDNAMES=admin:edge", [&admin, &edge]),
    ] {
        let mut server = with_sockets(&directory, "", variables, sockets.map(stream)).await.unwrap();
        assert_eq!((server.address, server.admin_address()), (edge_address, admin_address), "{variables}");
        assert_eq!(answer_of_both(&server, "/readyz").await.status, 200);
        assert_eq!(harness::try_get(edge_address, "/metrics").await, Some(404), "the operator has the other one");
        server.send_sigterm();
        assert!(server.wait_for_exit().await.success());
    }
    let server = with_sockets(&directory, "", "LISTEN_FDS=1 LISTEN_FDNAMES=admin", [&admin, &edge].map(stream)).await;
    let server = server.unwrap();
    assert_eq!(server.admin_address(), admin_address);
    assert_ne!(server.address, edge_address, "it was not passed");
}

#[tokio::test]
async fn sockets_that_cannot_be_used_are_refused() {
    let directory = Arc::new(TempDir::new().unwrap());
    let (good, address) = listen();
    let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
    let unix = UnixListener::bind(directory.path().join("socket")).unwrap();
    let connected = TcpStream::connect(address).unwrap();
    let public = TcpListener::bind("0.0.0.0:0").unwrap();
    let file = || Stdio::from(std::fs::File::open("/dev/null").unwrap());
    let two = |first: Stdio| [first, file()];
    let admin = "admin.listen = \"127.0.0.1:0\"\n";
    for (variables, sockets, config, says) in [
        ("LISTEN_FDS=1", two(file()), "", "socket 3, for `edge`: it is not a socket"),
        ("LISTEN_FDS=1", two(stream(&udp)), "", "socket 3, for `edge`: it is not a TCP socket"),
        ("LISTEN_FDS=1", two(stream(&unix)), "", "socket 3, for `edge`: it is not a TCP socket"),
        ("LISTEN_FDS=1", two(stream(&connected)), "", "socket 3, for `edge`: it does not listen"),
        ("LISTEN_FDS=2; exec 4<&-", two(stream(&good)), "", "socket 4, for `admin`: it is not open"),
        ("LISTEN_FDS=3", two(stream(&good)), "", "3 sockets were passed, and the server has two listeners"),
        ("LISTEN_FDS=1 LISTEN_PID=1", two(stream(&good)), "", "LISTEN_PID is 1 and this process is"),
        ("LISTEN_FDS=1", two(stream(&public)), "", "loopback"),
        ("LISTEN_FDS=1 LISTEN_FDNAMES=admin", two(stream(&public)), admin, "admin.token_file: "),
        // The word keeps the harness from adding a section.
        ("LISTEN_FDS=1 LISTEN_FDNAMES=admin", two(stream(&good)), "# no admin\n", "add [admin]"),
    ] {
        let log = with_sockets(&directory, config, variables, sockets).await.err().expect("it does not start");
        assert!(log.contains(says), "{variables}:\n{log}");
    }
}

/// What clients met that connect all the time, each for one request.
#[derive(Default)]
struct Met {
    answered: AtomicUsize,
    /// Connections that ended without an answer, because the server ended.
    ended: AtomicUsize,
}

async fn keep_asking(address: SocketAddr, met: Arc<Met>) {
    loop {
        let mut stream = tokio::net::TcpStream::connect(address).await.expect("no connection is refused");
        let request = b"GET /healthz HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
        let mut answer = String::new();
        let asked = async {
            stream.write_all(request).await?;
            stream.read_to_string(&mut answer).await
        };
        let count = match within(asked).await {
            Ok(_) if answer.starts_with("HTTP/1.1 200 ") => &met.answered,
            _ => &met.ended,
        };
        count.fetch_add(1, Ordering::Relaxed);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_with_a_passed_socket_refuses_no_connection() {
    const CLIENTS: usize = 4;
    let directory = Arc::new(TempDir::new().unwrap());
    let ((edge, address), (admin, _)) = (listen(), listen());
    let start = async || with_sockets(&directory, "", "LISTEN_FDS=2", [&edge, &admin].map(stream)).await.unwrap();
    let met = Arc::new(Met::default());
    let clients = (0..CLIENTS).map(|_| tokio::spawn(keep_asking(address, met.clone()))).collect::<Vec<_>>();
    let more_are_answered = async || {
        let enough = met.answered.load(Ordering::Relaxed) + 10 * CLIENTS;
        within(async {
            while met.answered.load(Ordering::Relaxed) < enough {
                tokio::task::yield_now().await
            }
        })
        .await;
    };
    for _ in 0..3 {
        let mut server = start().await;
        more_are_answered().await;
        let mut ana = server.join("lobby", "ana").await;
        server.send_sigterm();
        assert_eq!(ana.recv_close().await.0, 1001);
        assert!(server.wait_for_exit().await.success());
    }
    let _server = start().await;
    more_are_answered().await;
    for client in &clients {
        assert!(!client.is_finished(), "it was refused");
        client.abort();
    }
    assert_eq!(met.ended.load(Ordering::Relaxed), 0, "connections without an answer");
}
