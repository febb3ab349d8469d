//! The target of the load: addresses, names of rooms and users, and the way to connect.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::Context;
use bytes::Bytes;
use http_body_util::Full;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::header::{self, HeaderValue};
use hyper::{Request, Uri};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::Semaphore;

use super::Common;

/// The most connections from one loopback address. An address has about 28,000 ports, and Linux takes longer and longer
/// to find a free one when half of them are taken.
const CONNECTIONS_AN_ADDRESS: usize = 10_000;
/// How long a connection, an upgrade or an answer may take.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);

/// A server under load. Cheap to clone.
#[derive(Clone)]
pub(super) struct Target(Arc<Inner>);

struct Inner {
    /// One, or those of a cluster.
    servers: Vec<Server>,
    path: String,
    token: String,
    pid: Option<u32>,
    /// Makes the room names of this run unique.
    run: u32,
    connections: AtomicUsize,
    opening: Semaphore,
}

#[derive(Clone)]
struct Server {
    address: SocketAddr,
    authority: String,
}

impl Server {
    fn find(url: &str) -> anyhow::Result<Self> {
        let url: Uri = url.parse().context("--url is not a URL")?;
        anyhow::ensure!(url.scheme_str() == Some("http"), "--url must begin with http://");
        let authority = url.authority().context("--url names no server")?.to_string();
        let with_port = if url.port().is_some() { authority.clone() } else { format!("{authority}:80") };
        let found = std::net::ToSocketAddrs::to_socket_addrs(&with_port).context("the server of --url is not found")?;
        let address = found.into_iter().next().context("the server of --url has no address")?;
        Ok(Server { address, authority })
    }
}

impl Target {
    pub(super) fn new(common: &Common) -> anyhow::Result<Self> {
        let servers = common.url.iter().map(|url| Server::find(url)).collect::<anyhow::Result<Vec<_>>>()?;
        anyhow::ensure!(!servers.is_empty(), "--url names no server");
        anyhow::ensure!(common.path.starts_with('/'), "--path must begin with a slash");
        Ok(Target(Arc::new(Inner {
            servers,
            path: common.path.clone(),
            token: common.token.clone(),
            pid: common.pid,
            run: rand::random(),
            connections: AtomicUsize::new(0),
            opening: Semaphore::new(common.opening.max(1)),
        })))
    }

    /// The same server, with the token of another user.
    pub(super) fn with_token(&self, token: &str) -> Self {
        let Inner { servers, path, pid, run, .. } = &*self.0;
        Target(Arc::new(Inner {
            servers: servers.clone(),
            path: path.clone(),
            token: token.to_owned(),
            pid: *pid,
            run: *run,
            connections: AtomicUsize::new(0),
            opening: Semaphore::new(1),
        }))
    }

    pub(super) fn pid(&self) -> Option<u32> {
        self.0.pid
    }

    /// The name of this run's room with a number.
    pub(super) fn room(&self, number: usize) -> String {
        format!("bench-{:08x}-{number}", self.0.run)
    }

    /// Waits until one more connection may be opened.
    pub(super) async fn may_open(&self) -> impl Drop + use<'_> {
        self.0.opening.acquire().await.expect("the semaphore is never closed")
    }

    /// Opens a TCP connection, to each server in its turn. To a loopback address it uses many source addresses, since
    /// each has a limited number of ports.
    pub(super) async fn connect(&self) -> anyhow::Result<TcpStream> {
        let number = self.0.connections.fetch_add(1, Ordering::Relaxed);
        let address = self.0.servers[number % self.0.servers.len()].address;
        let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        if let (IpAddr::V4(server), part @ 1..) = (address.ip(), number / CONNECTIONS_AN_ADDRESS)
            && server.is_loopback()
        {
            let last = u8::try_from(1 + part % 250).expect("at most 250");
            socket.bind((Ipv4Addr::new(127, 0, 0, last), 0).into())?;
        }
        let stream = tokio::time::timeout(PATIENCE, socket.connect(address)).await.context("no connection")??;
        stream.set_nodelay(true)?;
        Ok(stream)
    }

    /// Opens a connection for requests, one after the other.
    pub(super) async fn http(&self) -> anyhow::Result<SendRequest<Full<Bytes>>> {
        let (sender, connection) = handshake(TokioIo::new(self.connect().await?)).await?;
        tokio::spawn(connection.with_upgrades());
        Ok(sender)
    }

    /// Makes a request for a room's socket.
    pub(super) fn upgrade(&self, room: &str, user: &str) -> anyhow::Result<Request<Full<Bytes>>> {
        let mut request = self.request("GET", &self.0.path.replace("{room}", room), user, Bytes::new())?;
        let headers = request.headers_mut();
        headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
        headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
        headers.insert(header::SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
        let key = tungstenite::handshake::client::generate_key();
        headers.insert(header::SEC_WEBSOCKET_KEY, HeaderValue::try_from(key)?);
        Ok(request)
    }

    /// Makes a request for a room's messages.
    pub(super) fn messages(
        &self,
        method: &str,
        room: &str,
        user: &str,
        body: Bytes,
    ) -> anyhow::Result<Request<Full<Bytes>>> {
        let path = self.0.path.replace("{room}", room);
        let beside = path.rsplit_once('/').map_or("", |(parent, _)| parent);
        self.request(method, &format!("{beside}/messages"), user, body)
    }

    fn request(&self, method: &str, path: &str, user: &str, body: Bytes) -> anyhow::Result<Request<Full<Bytes>>> {
        let token = self.0.token.replace("{user}", user);
        Ok(Request::builder()
            .method(method)
            .uri(path)
            // All nodes of a cluster serve the same names.
            .header(header::HOST, &self.0.servers[0].authority)
            .header(header::AUTHORIZATION, format!("Bearer {token}"))
            .header(header::CONTENT_TYPE, "application/json")
            .body(Full::new(body))?)
    }
}
