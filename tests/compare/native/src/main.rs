//! The chat room of Dormouse as a plain Rust server: the limit that Dormouse is measured against.
//!
//! It speaks the chat part of the wire protocol, in memory: no sandbox, no disk, no hibernation, and nothing of what
//! they promise. What it does, it does in full, for every message and every member, so that the difference between the
//! two is the price of Dormouse and nothing else. Left out is what no comparison asks for: resuming, retries, paging,
//! tickets, cookies, origins, and goodbyes when it ends.
//!
//! ```text
//! http.rs    requests, identity, the upgrade      room.rs      members, delivery of messages, the history
//! socket.rs  one WebSocket: its queue, its task   protocol.rs  the JSON and the frames
//! ```
//!
//! It is fast because a room is a lock and not a task, so the task that read a message also runs it. A frame is encoded
//! once for all clients, waiting frames leave in one system call, and a socket that is awake is not woken.

mod http;
mod protocol;
mod room;
mod socket;

use std::io;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::Parser;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use rustix::net::sockopt;
use tokio::net::{TcpListener, TcpSocket, TcpStream};

use crate::room::Rooms;

/// Connections that the kernel holds until they are accepted: a crowd that comes at once.
const BACKLOG: u32 = 4_096;
/// The interval of TCP keepalive probes to a silent client. They cost a socket no memory of ours.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(30);
/// A client that misses this many TCP keepalive probes is disconnected.
const KEEPALIVE_PROBES: u32 = 2;
/// The longest request head, in bytes, and how long it may take.
const HEAD_BYTES: usize = 32 << 10;
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);

/// The chat room as a plain Rust server, in memory.
#[derive(Parser)]
#[command(version)]
struct Args {
    /// Where to listen; port 0 chooses a free one
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8788")]
    listen: SocketAddr,
}

fn main() -> ExitCode {
    let args = Args::parse();
    raise_file_limit();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    match runtime.and_then(|runtime| runtime.block_on(serve(args.listen))) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("dormouse-compare-native: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn serve(address: SocketAddr) -> io::Result<()> {
    if !address.ip().is_loopback() {
        let problem = format!("every token is accepted here, so {address} must be a loopback address; pass --listen");
        return Err(io::Error::new(io::ErrorKind::InvalidInput, problem));
    }
    let listener = listen(address)?;
    eprintln!("ready on http://{}", listener.local_addr()?);
    let rooms = Arc::new(Rooms::default());
    loop {
        match listener.accept().await {
            Ok((stream, _)) => drop(tokio::spawn(http(stream, rooms.clone()))),
            Err(error) => {
                // Out of descriptors, most likely: go on with the open connections.
                eprintln!("a connection cannot be accepted: {error}");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
}

/// On Linux, the sockets that are accepted inherit the options: so each costs no system call of its own.
fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.set_reuseaddr(true)?;
    // Frames are written when they are whole; to wait for more would only delay them.
    socket.set_nodelay(true)?;
    socket.set_keepalive(true)?;
    sockopt::set_tcp_keepidle(&socket, KEEPALIVE_INTERVAL)?;
    sockopt::set_tcp_keepintvl(&socket, KEEPALIVE_INTERVAL)?;
    sockopt::set_tcp_keepcnt(&socket, KEEPALIVE_PROBES)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// One HTTP connection, until it ends or becomes a WebSocket.
async fn http(stream: TcpStream, rooms: Arc<Rooms>) {
    let service = service_fn(move |request| http::answer(rooms.clone(), request));
    // An error is a client that broke off or spoke no HTTP; no answer is possible.
    let _ = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(HEAD_BYTES)
        .half_close(false)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades()
        .await;
}

/// Each socket is a file: take as many as we are allowed to.
fn raise_file_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        eprintln!("the limit of open files stays as it is: {error}");
    }
}
