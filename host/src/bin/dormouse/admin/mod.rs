//! Commands that ask a running server, through its admin listener.
//!
//! This file finds the listener and its token, sends requests, and turns problem documents into errors. `table` prints
//! for people. Each command is a file beside it.

pub(crate) mod audit;
pub(crate) mod backup;
pub(crate) mod deploy;
pub(crate) mod nodes;
mod personal_data;
pub(crate) mod progress;
pub(crate) mod revocations;
mod room_file;
pub(crate) mod rooms;
pub(crate) mod table;
pub(crate) mod tail;
pub(crate) mod usage;
pub(crate) mod users;

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use bytes::Bytes;
use clap::Args;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Body, Incoming};
use hyper::client::conn::http1;
use hyper::header::{self, HeaderValue};
use hyper::{Method, Request, Response, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;
use tokio::net::TcpStream;

use crate::{Common, load, print};

/// Which characters of a name are escaped in a path.
const IN_PATH: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');
/// How long the listener may take to accept and to begin its answer. It is on this machine or near it.
const PATIENCE: Duration = Duration::from_secs(30);
/// The longest answer that is read whole, in bytes.
const ANSWER_BYTES: usize = 64 << 20;

/// Where the admin listener is, and how the answer is printed.
#[derive(Args)]
pub(crate) struct AdminArgs {
    /// The admin listener, such as http://127.0.0.1:8788 [default: `admin.listen` of the configuration]
    #[arg(long, value_name = "URL", env = "DORMOUSE_ADMIN")]
    admin: Option<String>,
    /// The file with its token [default: `admin.token_file` of the configuration]
    #[arg(long, value_name = "FILE", env = "DORMOUSE_ADMIN_TOKEN_FILE")]
    token_file: Option<PathBuf>,
    /// The configuration file [default: dormouse.toml if it exists]
    #[arg(long, value_name = "FILE", env = "DORMOUSE_CONFIG")]
    config: Option<PathBuf>,
    /// Print the answer as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// A client of the admin listener. Each request has a connection of its own.
pub(crate) struct AdminClient {
    authority: String,
    address: SocketAddr,
    token: Option<HeaderValue>,
    /// The user who runs this command, for the audit log.
    operator: Option<HeaderValue>,
}

impl AdminArgs {
    /// Runs a command with a client.
    pub(crate) fn run(&self, command: impl AsyncFnOnce(&AdminClient) -> anyhow::Result<()>) -> anyhow::Result<()> {
        let client = AdminClient::new(self)?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(command(&client))
    }

    /// Prints an answer: as it is with `--json`, and otherwise as `people` prints it.
    pub(crate) fn print(
        &self,
        answer: &Value,
        people: impl FnOnce(&Value) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        if self.json { print::line(table::shown_json(&serde_json::to_string_pretty(answer)?)) } else { people(answer) }
    }
}

/// A path of the admin listener. Each name becomes one segment, and absent parameters are left out.
pub(crate) fn path(segments: &[&str], parameters: &[(&str, Option<String>)]) -> String {
    let segments = segments.iter().map(|segment| format!("/{}", utf8_percent_encode(segment, IN_PATH)));
    let mut path = segments.collect::<String>();
    let mut before = '?';
    for (name, value) in parameters {
        if let Some(value) = value {
            path.push(before);
            path.push_str(&format!("{name}={}", utf8_percent_encode(value, IN_PATH)));
            before = '&';
        }
    }
    path
}

impl AdminClient {
    fn new(args: &AdminArgs) -> anyhow::Result<Self> {
        // The configuration is not needed if both are given.
        let needs_config = args.admin.is_none() || args.token_file.is_none();
        let beside = Common { config: args.config.clone(), auth: None };
        let configured = if needs_config { load(&beside)?.admin } else { None };
        let url = match (&args.admin, &configured) {
            (Some(url), _) => url.clone(),
            (None, Some(admin)) => {
                ensure!(admin.listen.port() != 0, "`admin.listen` has port 0, which is chosen anew: pass --admin URL");
                let mut address = admin.listen;
                if address.ip().is_unspecified() {
                    let loopback = match address.ip() {
                        IpAddr::V4(_) => IpAddr::from([127, 0, 0, 1]),
                        IpAddr::V6(_) => IpAddr::from([0, 0, 0, 0, 0, 0, 0, 1]),
                    };
                    address.set_ip(loopback);
                }
                format!("http://{address}")
            }
            (None, None) => bail!(
                "the configuration has no admin listener: add the section [admin] and restart the server, or pass --admin URL"
            ),
        };
        let token_file = args.token_file.clone().or(configured.and_then(|admin| admin.token_file));
        let token = token_file.map(|file| {
            let text = std::fs::read_to_string(&file);
            let text = text.with_context(|| format!("the token in {} cannot be read", file.display()))?;
            let header = HeaderValue::try_from(format!("Bearer {}", text.trim()));
            header.with_context(|| format!("the token in {} is not one line of plain text", file.display()))
        });
        // It is not shown before it is known to have nothing that may be a secret.
        let uri: Uri = url.parse().context("--admin is not a URL")?;
        ensure!(uri.scheme_str() == Some("http"), "--admin must begin with http://");
        let authority = uri.authority().context("--admin names no server")?;
        let is_only_address = matches!(uri.path(), "" | "/") && uri.query().is_none();
        ensure!(
            is_only_address && !authority.as_str().contains('@'),
            "--admin has more than an address: write only that, such as http://127.0.0.1:8788; the token is in \
             --token-file"
        );
        let with_port = format!("{}:{}", authority.host(), authority.port_u16().unwrap_or(80));
        let found = std::net::ToSocketAddrs::to_socket_addrs(&with_port);
        let mut found = found.with_context(|| format!("the server of --admin, {}, is not found", authority.host()))?;
        let address =
            found.next().with_context(|| format!("the server of --admin, {}, has no address", authority.host()))?;
        let operator = std::env::var("USER").ok().and_then(|user| HeaderValue::try_from(user).ok());
        Ok(AdminClient { authority: authority.to_string(), address, token: token.transpose()?, operator })
    }

    /// Sends a request, and returns an answer that is no error. Its body is not read yet.
    pub(crate) async fn send(&self, method: Method, path: &str, body: Bytes) -> anyhow::Result<Response<Incoming>> {
        let kind = (!body.is_empty()).then_some("application/json");
        self.send_body(method, path, kind, Full::new(body)).await
    }

    /// The same with any body, and its type if there is one.
    pub(crate) async fn send_body<B>(
        &self,
        method: Method,
        path: &str,
        kind: Option<&'static str>,
        body: B,
    ) -> anyhow::Result<Response<Incoming>>
    where
        B: Body<Data = Bytes, Error: std::error::Error + Send + Sync> + Send + 'static,
    {
        let unreachable = || format!("the admin listener at http://{} cannot be reached", self.authority);
        let connected = tokio::time::timeout(PATIENCE, TcpStream::connect(self.address)).await;
        let stream = connected.with_context(unreachable)?.with_context(unreachable)?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.with_context(unreachable)?;
        tokio::spawn(connection);
        let mut request = Request::builder().method(method).uri(path).header(header::HOST, &self.authority);
        if let Some(token) = &self.token {
            request = request.header(header::AUTHORIZATION, token);
        }
        if let Some(operator) = &self.operator {
            request = request.header("dormouse-operator", operator);
        }
        if let Some(kind) = kind {
            request = request.header(header::CONTENT_TYPE, kind);
        }
        let request = request.body(body).context("the request cannot be made")?;
        let answer = sender.send_request(request).await.context("the admin listener gave no answer")?;
        if answer.status().is_success() { Ok(answer) } else { Err(refused(answer).await) }
    }

    /// Asks, and reads the answer.
    pub(crate) async fn get(&self, path: &str) -> anyhow::Result<Value> {
        whole(self.send(Method::GET, path, Bytes::new()).await?).await
    }
}

/// Reads a whole answer in JSON.
pub(crate) async fn whole(answer: Response<Incoming>) -> anyhow::Result<Value> {
    let body = Limited::new(answer.into_body(), ANSWER_BYTES).collect().await;
    let body = body.map_err(anyhow::Error::from_boxed).context("the answer broke off")?.to_bytes();
    serde_json::from_slice(&body).context("the answer is not JSON: is this the admin listener?")
}

/// The error of a refusal: what its problem document says.
async fn refused(answer: Response<Incoming>) -> anyhow::Error {
    let status = answer.status();
    match whole(answer).await.ok().as_ref().and_then(|problem| problem["detail"].as_str()) {
        Some(_) if status == StatusCode::UNAUTHORIZED => {
            anyhow::anyhow!("the server wants its admin token: name the file with --token-file ({status})")
        }
        Some(detail) => anyhow::anyhow!("{} ({status})", table::shown(detail)),
        None => anyhow::anyhow!("the admin listener answered {status}"),
    }
}
