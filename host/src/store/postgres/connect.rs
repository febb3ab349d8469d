//! Connections to the server that takes writes: which of the hosts it is, and whether it is asked directly. It knows no
//! statement of ownership. `lane`, `reader` and the start of a server call it.

use std::fmt;
use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio_postgres::config::SslMode;
use tokio_postgres::error::Severity;
use tokio_postgres::{AsyncMessage, Client, Config};

use super::failure::describe;
use super::target::{Host, Place, Target};
use super::tls::{self, Verification};
use crate::{clock, random};

/// The time for one host: name, TCP, TLS, password, and the check of its options.
const CONNECT_TIME: Duration = Duration::from_secs(3);

/// The reason for a connection. It sets the name that the database shows, and the time limits of the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// Commits and proofs, and resolves of rooms whose commit is in doubt.
    Lane,
    /// Claims, reads, and rooms that are let go.
    Claims,
    /// Checks and the schema.
    Setup,
    /// Lists, exports and the operator.
    Reader,
    /// The beats of a node, and those of others.
    Beats,
    /// Revocations, usage, and the owners of rooms.
    Tables,
}

/// A connection to the server that takes writes. A task on the runtime drives it, and closes it when this is dropped.
pub struct Connection {
    client: Client,
    /// How many notices of the level WARNING have come.
    warnings: Arc<AtomicU64>,
    driver: JoinHandle<()>,
    host: String,
}

/// No host takes writes. The sentence names each host with its reason.
#[derive(Debug)]
pub struct ConnectError {
    target: String,
    /// The hosts in the order in which they were tried.
    pub hosts: Vec<(String, HostFailure)>,
}

/// The reason why a host is not used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HostFailure {
    /// It took too long.
    TimedOut,
    /// It is a standby, or set to take no writes.
    ReadOnly,
    /// The options of the connection have not reached the server.
    NotDirect,
    /// Anything else, in words.
    Failed(String),
}

/// Connects to the host that takes writes. All hosts are tried once, in random order, 3 s each.
pub async fn connect(target: &Target, purpose: Purpose) -> Result<Connection, ConnectError> {
    let mut hosts = target.hosts().iter().map(|host| (random::number(), host)).collect::<Vec<_>>();
    hosts.sort_by_key(|(order, _)| *order);
    let mut failures = Vec::new();
    for (_, host) in hosts {
        let connected = clock::timeout(CONNECT_TIME, connect_to(target, host, purpose)).await;
        match connected.unwrap_or(Err(HostFailure::TimedOut)) {
            Ok(connection) => return Ok(connection),
            Err(failure) => failures.push((host.to_string(), failure)),
        }
    }
    Err(ConnectError { target: target.to_string(), hosts: failures })
}

async fn connect_to(target: &Target, host: &Host, purpose: Purpose) -> Result<Connection, HostFailure> {
    let tls = tls::connector(host.verification, target.sslrootcert()).map_err(HostFailure::Failed)?;
    let (client, mut connection) = config(target, host, purpose).connect(tls).await.map_err(|error| {
        let text = describe(&error);
        // Without `ignore_startup_parameters`, PgBouncer refuses options.
        if text.contains("startup parameter") { HostFailure::NotDirect } else { HostFailure::Failed(text) }
    })?;
    let warnings = Arc::new(AtomicU64::new(0));
    let counted = warnings.clone();
    // The connection is polled here, and not as a future, which would drop notices. A notice is counted before the
    // result that follows it is passed on.
    let driver = tokio::spawn(async move {
        while let Some(Ok(message)) = poll_fn(|context| connection.poll_message(context)).await {
            if let AsyncMessage::Notice(notice) = message
                && notice.parsed_severity() == Some(Severity::Warning)
            {
                tracing::warn!(code = notice.code().code(), "the database warns: {}", notice.message());
                counted.fetch_add(1, Ordering::Release);
            }
        }
    });
    let connection = Connection { client, warnings, driver, host: host.to_string() };
    connection.check(purpose).await?;
    Ok(connection)
}

fn config(target: &Target, host: &Host, purpose: Purpose) -> Config {
    let mut config = Config::new();
    config.user(target.user()).dbname(target.database()).port(host.port).connect_timeout(CONNECT_TIME);
    match &host.place {
        Place::Name(name) => config.host(name),
        Place::Directory(path) => config.host_path(path),
    };
    if let Some(password) = &host.password {
        config.password(password.reveal());
    }
    // A server that is gone without a word is noticed while a connection waits.
    config.keepalives_idle(Duration::from_secs(10)).keepalives_interval(Duration::from_secs(5)).keepalives_retries(3);
    config.ssl_mode(match host.verification {
        Verification::Off => SslMode::Disable,
        Verification::None | Verification::Authority | Verification::Full => SslMode::Require,
    });
    let options = purpose.options().map(|(name, value)| format!("-c {name}={}", value.replace(' ', "\\ ")));
    config.application_name(purpose.application_name()).options(options.collect::<Vec<_>>().join(" "));
    config
}

/// The options of all connections, as the server shows them.
const OPTIONS: [(&str, &str); 7] = [
    // Warnings tell that a commit may not be on the standby.
    ("client_min_messages", "warning"),
    ("default_transaction_isolation", "read committed"),
    ("standard_conforming_strings", "on"),
    // A statement has a thousand rooms or one: its plan must not depend on the first executions.
    ("plan_cache_mode", "force_generic_plan"),
    ("enable_hashjoin", "off"),
    ("enable_mergejoin", "off"),
    ("jit", "off"),
];

/// The plans of lanes are made once for each connection, perhaps while a table is empty. Then a scan of all of it seems
/// the cheapest, and stays when the table has grown. A bitmap scan always has a condition.
const CONDITIONS_ONLY: [(&str, &str); 4] = [
    ("enable_seqscan", "off"),
    ("enable_indexscan", "off"),
    ("enable_indexonlyscan", "off"),
    ("enable_memoize", "off"),
];

/// Pages of a scan come in the order of an index.
const IN_ORDER: [(&str, &str); 3] = [("enable_seqscan", "off"), ("enable_bitmapscan", "off"), ("enable_sort", "off")];

impl Purpose {
    fn application_name(self) -> &'static str {
        match self {
            Purpose::Lane => "dormouse lane",
            Purpose::Claims => "dormouse claims",
            Purpose::Setup => "dormouse setup",
            Purpose::Reader => "dormouse reader",
            Purpose::Beats => "dormouse beats",
            Purpose::Tables => "dormouse tables",
        }
    }

    /// Time for a statement, without the wait for the standby, and for a transaction that waits for its next statement.
    fn time_limits(self) -> [(&'static str, &'static str); 2] {
        match self {
            // Less than the time limit of a lane, so that a statement that waits for a row has a known end. A node that
            // was paused in the middle of a transaction must not block other nodes.
            Purpose::Lane | Purpose::Claims | Purpose::Tables => {
                [("statement_timeout", "4s"), ("idle_in_transaction_session_timeout", "2s")]
            }
            // Another node may be migrating the schema.
            Purpose::Setup => [("statement_timeout", "1min"), ("idle_in_transaction_session_timeout", "1min")],
            // A late beat says nothing.
            Purpose::Beats => [("statement_timeout", "2s"), ("idle_in_transaction_session_timeout", "2s")],
            // A receiver of an export may be slow.
            Purpose::Reader => [("statement_timeout", "30s"), ("idle_in_transaction_session_timeout", "10min")],
        }
    }

    /// The options of such a connection, as the server shows them.
    pub fn options(self) -> impl Iterator<Item = (&'static str, &'static str)> {
        let plans: &[_] = match self {
            Purpose::Lane | Purpose::Claims => &CONDITIONS_ONLY,
            Purpose::Reader => &IN_ORDER,
            Purpose::Setup | Purpose::Beats | Purpose::Tables => &[],
        };
        OPTIONS.into_iter().chain(self.time_limits()).chain(plans.iter().copied())
    }
}

impl Connection {
    /// The host and the port.
    pub fn host(&self) -> &str {
        &self.host
    }

    pub(super) fn client(&self) -> &Client {
        &self.client
    }

    pub(super) fn client_mut(&mut self) -> &mut Client {
        &mut self.client
    }

    /// How many warnings have come. If it grows during a statement, the outcome of that is unknown.
    pub(super) fn warnings(&self) -> u64 {
        self.warnings.load(Ordering::Acquire)
    }

    /// Checks that the server takes writes, and that it has our options.
    async fn check(&self, purpose: Purpose) -> Result<(), HostFailure> {
        let failed = |error: tokio_postgres::Error| HostFailure::Failed(describe(&error));
        let (names, values) = purpose.options().unzip::<_, _, Vec<_>, Vec<_>>();
        let query = "SELECT pg_is_in_recovery() OR current_setting('transaction_read_only')::bool, \
                     ARRAY(SELECT current_setting(name) FROM unnest($1::text[]) WITH ORDINALITY AS t (name, i) ORDER BY i)";
        let row = self.client.query_one(query, &[&names]).await.map_err(failed)?;
        if row.get::<_, Vec<String>>(1) != values {
            return Err(HostFailure::NotDirect);
        }
        if row.get(0) {
            return Err(HostFailure::ReadOnly);
        }
        Ok(())
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        // Closes the socket at once, even if the server does not answer any more.
        self.driver.abort();
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").field("host", &self.host).finish_non_exhaustive()
    }
}

impl fmt::Display for HostFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            HostFailure::TimedOut => write!(f, "no answer in {} s", CONNECT_TIME.as_secs()),
            HostFailure::ReadOnly => f.write_str("it takes no writes, as a standby"),
            HostFailure::NotDirect => f.write_str(
                "the options of the connection do not reach the server, as behind PgBouncer; name PostgreSQL itself",
            ),
            HostFailure::Failed(text) => f.write_str(text),
        }
    }
}

impl ConnectError {
    /// A failure in words, after the connection was made.
    pub(super) fn failed(target: &Target, host: &str, text: String) -> Self {
        Self::of(target, host, HostFailure::Failed(text))
    }

    /// The failure of one host.
    pub(super) fn of(target: &Target, host: &str, failure: HostFailure) -> Self {
        ConnectError { target: target.to_string(), hosts: vec![(host.to_owned(), failure)] }
    }
}

impl fmt::Display for ConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} cannot be used", self.target)?;
        for (index, (host, failure)) in self.hosts.iter().enumerate() {
            write!(f, "{}{host}: {failure}", if index == 0 { ": " } else { "; " })?;
        }
        Ok(())
    }
}

impl std::error::Error for ConnectError {}
