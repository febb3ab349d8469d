//! The command line: it turns arguments into a configuration, starts the server, and turns errors into exit codes.

// Both panic if the stream cannot be written.
#![warn(clippy::print_stdout, clippy::print_stderr)]

#[expect(clippy::disallowed_methods, reason = "a command may wait")]
mod admin;
#[expect(clippy::disallowed_methods, reason = "a load generator measures time, waits, and chooses at random")]
mod bench;
#[expect(clippy::disallowed_methods, reason = "it reads sources and writes a component")]
mod build;
mod children;
mod cluster_key;
mod database;
#[expect(clippy::disallowed_methods, reason = "it reads sources, builds them, and waits for changes")]
mod dev;
mod json_log;
mod move_rooms;
#[expect(clippy::disallowed_methods, reason = "it writes a new project")]
mod new;
mod print;
mod restore;
mod standing;
mod systemd;
#[expect(clippy::disallowed_methods, reason = "it reads the component under test")]
mod test_driver;
mod token;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::pin::pin;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::builder::Resettable;
use clap::error::{ContextKind, ContextValue};
use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand, ValueEnum};
use database::Database;
use dormouse::config::{AccessMode, Auth, Config, Tls, full_path, read_duration, resolve_address};
use dormouse::{Host, clock};
use dormouse::{log, log_filter};
use json_log::JsonLine;
use systemd::{Notifier, PassedSockets, Watchdog};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

/// Rooms wake and hibernate by the thousand: their memory must go back to the system, and allocating must be cheap.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Durable rooms: sandboxed programs with their own WebSockets, timers and storage, found by name.
#[derive(Parser)]
#[command(version, propagate_version = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run the server
    Serve(Serve),
    /// Print a token that the configured server accepts, for trying things out
    Token(token::Token),
    /// Check a configuration and its components, and print the access and the imports of each
    Check(Check),
    /// List rooms, show one, and act on one
    Rooms(admin::rooms::Rooms),
    /// List connected users, show and disconnect one, and export or erase the data of one
    Users(admin::users::Users),
    /// Refuse a user or a token from now on, and close its sockets
    Revoke(admin::revocations::Revoke),
    /// List what is revoked, and remove a revocation
    Revocations(admin::revocations::Revocations),
    /// List the nodes of a cluster
    Nodes(admin::nodes::Nodes),
    /// Follow what happens in rooms, as it happens
    Tail(admin::tail::Tail),
    /// Print the last actions of operators
    Audit(admin::audit::Audit),
    /// Print what rooms, namespaces or users have used
    Usage(admin::usage::Usage),
    /// Copy everything that a running server stores into a new directory
    Backup(admin::backup::Backup),
    /// Make a data directory from a backup, or check a backup
    Restore(restore::Restore),
    /// Move the rooms of a stopped server into a PostgreSQL database, or back
    Move(move_rooms::Move),
    /// Print a new key for a cluster. All its nodes share it, and nothing else may have it
    ClusterKey,
    /// Replace the code of a namespace or of the router while the server runs, without ending a socket
    Deploy(admin::deploy::Deploy),
    New(new::New),
    Build(build::Build),
    Dev(dev::Dev),
    Bench(bench::Bench),
    TestDriver(test_driver::TestDriver),
}

#[derive(Args)]
struct Common {
    /// The configuration file [default: dormouse.toml if it exists]
    #[arg(long, value_name = "FILE", env = "DORMOUSE_CONFIG")]
    config: Option<PathBuf>,
    /// The kind of tokens [default: dev]
    #[arg(long, env = "DORMOUSE_AUTH")]
    auth: Option<Auth>,
}

#[derive(Args)]
struct Serve {
    #[command(flatten)]
    common: Common,
    /// The address to listen on, such as 127.0.0.1:8787 or localhost:8787; port 0 chooses a free one [default:
    /// 127.0.0.1:8787]
    #[arg(long, value_name = "ADDR", env = "DORMOUSE_LISTEN", value_parser = resolve_address)]
    listen: Option<SocketAddr>,
    /// The data directory [default: dormouse-data, beside the configuration file]
    #[arg(long, value_name = "DIR", env = "DORMOUSE_DATA")]
    data: Option<PathBuf>,
    #[command(flatten)]
    database: Database,
    #[command(flatten)]
    cluster: cluster_key::Cluster,
    /// A certificate in PEM, followed by its intermediate certificates: serve TLS. Read again at SIGHUP
    #[arg(long, value_name = "FILE", env = "DORMOUSE_TLS_CERT")]
    tls_cert: Option<PathBuf>,
    /// The certificate's private key in PEM
    #[arg(long, value_name = "FILE", env = "DORMOUSE_TLS_KEY")]
    tls_key: Option<PathBuf>,
    /// Hibernate a room after this time without events, such as 10s [default: 10s]
    #[arg(long, value_name = "TIME", env = "DORMOUSE_HIBERNATE_AFTER", value_parser = read_duration)]
    hibernate_after: Option<Duration>,
    /// The log filter: off, error, warn, info, debug, trace, or a filter such as info,dormouse::store=debug
    #[arg(long, value_name = "FILTER", env = "DORMOUSE_LOG", default_value = "info", value_parser = log_filter::read)]
    log: String,
    /// The format of the log
    #[arg(long, value_enum, env = "DORMOUSE_LOG_FORMAT", default_value_t = LogFormat::Text)]
    log_format: LogFormat,
}

#[derive(Clone, Copy, ValueEnum)]
enum LogFormat {
    /// For people
    Text,
    /// One JSON object per line
    Json,
}

#[derive(Args)]
struct Check {
    #[command(flatten)]
    common: Common,
    #[command(flatten)]
    database: Database,
    #[command(flatten)]
    cluster: cluster_key::Cluster,
    /// Say instead what the user of this token may do in ROOM, and why. With `-` the token is read from stdin, so that it
    /// is not in the list of processes
    #[arg(long = "as", value_name = "TOKEN", requires = "room")]
    token: Option<String>,
    /// The room for --as, such as rooms/team-7
    #[arg(value_name = "ROOM", requires = "token")]
    room: Option<String>,
}

fn main() -> ExitCode {
    let command = without_empty_variables(Cli::command());
    let matches = command.clone().try_get_matches();
    let cli = matches.and_then(|matches| Cli::from_arg_matches(&matches));
    let cli = cli.unwrap_or_else(|error| naming_variables(error, &command).exit());
    let done = match cli.command {
        Command::Serve(args) => return serve(args),
        Command::Token(args) => token::run(args),
        Command::Check(args) => check(&args),
        Command::Rooms(args) => admin::rooms::run(&args),
        Command::Users(args) => admin::users::run(&args),
        Command::Revoke(args) => admin::revocations::revoke(&args),
        Command::Revocations(args) => admin::revocations::run(&args),
        Command::Nodes(args) => admin::nodes::run(&args),
        Command::Tail(args) => admin::tail::run(&args),
        Command::Audit(args) => admin::audit::run(&args),
        Command::Usage(args) => admin::usage::run(&args),
        Command::Backup(args) => admin::backup::run(&args),
        Command::Restore(args) => restore::run(&args),
        Command::Move(args) => move_rooms::run(&args),
        Command::ClusterKey => cluster_key::run(),
        Command::Deploy(args) => admin::deploy::run(&args),
        Command::New(args) => new::run(&args),
        Command::Build(args) => build::run(&args),
        Command::Dev(args) => dev(&args),
        Command::TestDriver(args) => test_driver::run(&args),
        Command::Bench(args) => {
            raise_file_limit();
            bench::run(args)
        }
    };
    match done {
        Ok(()) => {
            log::at_end(|| {});
            ExitCode::SUCCESS
        }
        Err(error) => failed(&error),
    }
}

fn dev(args: &dev::Dev) -> anyhow::Result<()> {
    start_log(&args.log, LogFormat::Text)?;
    raise_file_limit();
    dev::run(args)
}

/// Says why the process ends.
fn failed(error: &anyhow::Error) -> ExitCode {
    log::at_end(|| log::line(&format!("dormouse: {error:#}")));
    ExitCode::FAILURE
}

/// An empty variable counts as unset: scripts and container files leave one out that way.
fn without_empty_variables(command: clap::Command) -> clap::Command {
    let command = command.mut_args(|arg| {
        let is_empty = |name| std::env::var_os(name).is_some_and(|value| value.is_empty());
        if arg.get_env().is_some_and(is_empty) { arg.env(Resettable::Reset) } else { arg }
    });
    command.mut_subcommands(without_empty_variables)
}

/// Names the environment variable in an error about its value. clap names the flag, which may not have been passed.
fn naming_variables(mut error: clap::Error, command: &clap::Command) -> clap::Error {
    let variable = |shown: &str| {
        // Such as `--listen <ADDR>`.
        let flag = shown.split(' ').next().unwrap_or(shown);
        let long = flag.strip_prefix("--")?;
        let mut args = command.get_subcommands().flat_map(clap::Command::get_arguments);
        let arg = args.find(|arg| arg.get_env().is_some() && arg.get_long() == Some(long))?;
        let is_passed = std::env::args_os().any(|passed| {
            let passed = passed.to_string_lossy();
            passed == flag || passed.strip_prefix(flag).is_some_and(|rest| rest.starts_with('='))
        });
        let name = arg.get_env().filter(|name| !is_passed && std::env::var_os(name).is_some())?;
        Some(name.to_string_lossy().into_owned())
    };
    if let Some(ContextValue::String(shown)) = error.get(ContextKind::InvalidArg)
        && let Some(name) = variable(shown)
    {
        error.insert(ContextKind::InvalidArg, ContextValue::String(name));
    }
    error
}

/// Flags and environment override the file, and the file overrides the defaults.
fn load(common: &Common) -> anyhow::Result<Config> {
    let beside = PathBuf::from("dormouse.toml");
    let file = common.config.clone().or_else(|| beside.exists().then_some(beside));
    let mut config = match file {
        Some(file) => Config::load(&file)?,
        None => Config::default(),
    };
    if let Some(auth) = common.auth {
        config.identity.auth = auth;
    }
    Ok(config)
}

fn serve(args: Serve) -> ExitCode {
    let format = args.log_format;
    if let Err(error) = start_log(&args.log, format) {
        return failed(&error);
    }
    match (run(args), format) {
        (Ok(()), _) => {
            log::at_end(|| {});
            ExitCode::SUCCESS
        }
        (Err(error), LogFormat::Text) => failed(&error),
        (Err(error), LogFormat::Json) => {
            let error = format!("{error:#}");
            log::at_end(|| tracing::error!(target: ANNOUNCED, error, "the server stops"));
            ExitCode::FAILURE
        }
    }
}

fn run(args: Serve) -> anyhow::Result<()> {
    let sockets = PassedSockets::take()?;
    let tls = match (args.tls_cert, args.tls_key) {
        (Some(cert), Some(key)) => Some(Tls { cert, key }),
        (Some(_), None) => {
            bail!("a certificate is given without its key: pass --tls-key or set DORMOUSE_TLS_KEY as well")
        }
        (None, Some(_)) => {
            bail!("a key is given without its certificate: pass --tls-cert or set DORMOUSE_TLS_CERT as well")
        }
        (None, None) => None,
    };
    let mut config = load(&args.common)?;
    config.listen = args.listen.unwrap_or(config.listen);
    config.data = args.data.unwrap_or(config.data);
    // Made absolute, so that the ready line shows where it is. An empty path is refused with the rest.
    if !config.data.as_os_str().is_empty() {
        config.data = full_path(&config.data).context("the data directory cannot be resolved")?;
    }
    args.database.set(&mut config)?;
    args.cluster.set(&mut config)?;
    config.hibernate_after = args.hibernate_after.unwrap_or(config.hibernate_after);
    config.tls = tls.or(config.tls);
    raise_file_limit();
    // Files of the server belong to its user alone, including those that a library writes.
    rustix::process::umask(rustix::fs::Mode::RWXG | rustix::fs::Mode::RWXO);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        // Sockets are polled often even while turns keep every thread busy: a turn may take 10 ms of its thread.
        .event_interval(16)
        .build()
        .context("the runtime cannot start")?;
    runtime.block_on(run_host(config, args.log_format, sockets))
}

async fn run_host(config: Config, format: LogFormat, sockets: PassedSockets) -> anyhow::Result<()> {
    // Signal handlers come first, so that a signal during the start is not missed.
    let mut terminate = signal(SignalKind::terminate()).context("signals cannot be received")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("signals cannot be received")?;
    let mut hangup = signal(SignalKind::hangup()).context("signals cannot be received")?;
    let service_manager = Notifier::from_environment();
    service_manager.starting();
    let scheme = if config.tls.is_some() { "https" } else { "http" };
    let (auth, data) = (config.identity.auth, config.data.display().to_string());
    let access = config.access_summary();
    let store = dormouse::database(&config)?.map(|database| database.target.to_string());
    let is_node = config.cluster.is_some();
    let mut builder = Host::builder(config);
    if let Some(listener) = sockets.edge {
        builder = builder.listener(TcpListener::from_std(listener).context("the socket for `edge` cannot be used")?);
    }
    if let Some(listener) = sockets.admin {
        let listener = TcpListener::from_std(listener).context("the socket for `admin` cannot be used")?;
        builder = builder.admin_listener(listener);
    }
    let host = builder.start().await?;
    let auth = if auth == Auth::Dev { "dev: names are accepted without proof" } else { "jwt" };
    let address = host.address().expect("a host that was started listens");
    let url = format!("{scheme}://{address}");
    let admin = host.admin_address().map(|address| format!("http://{address}"));
    match format {
        LogFormat::Text => {
            if let Some(admin) = admin {
                log::line(&format!("dormouse: admin on {admin}"));
            }
            let store = store.map(|store| format!("rooms in {store}, ")).unwrap_or_default();
            if let Some(node) = host.node_address().filter(|_| is_node) {
                log::line(&format!("dormouse: node on {node}"));
            }
            log::line(&format!("dormouse: ready on {url} ({store}data in {data}, auth {auth}, access {access})"));
        }
        LogFormat::Json => tracing::info!(target: ANNOUNCED, url, admin, store, data, auth, access, "ready"),
    }
    service_manager.ready(&format!("serving on {url}"));
    let (watchdog, liveness) = (Watchdog::from_environment(&service_manager), host.liveness());
    let mut pings = pin!(watchdog.ping(&service_manager, &liveness));
    loop {
        tokio::select! {
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
            _ = hangup.recv() => {
                service_manager.reloading();
                // Compiling a component may take minutes. A deploy that has begun goes on until the shutdown.
                let outcome = tokio::select! {
                    outcome = reload(&host) => outcome,
                    _ = terminate.recv() => break,
                    _ = interrupt.recv() => break,
                    never = pings.as_mut() => match never {},
                };
                service_manager.ready(&format!("serving on {url}; {outcome}"));
            }
            never = pings.as_mut() => match never {},
        }
    }
    let began = clock::monotonic();
    tracing::info!("shutting down");
    service_manager.stopping("shutting down");
    let shutdown = async {
        tokio::select! {
            () = host.announce_shutdown() => {}
            // A second signal cuts the delay short.
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        host.shutdown().await;
    };
    tokio::select! {
        () = shutdown => {}
        never = pings => match never {},
    }
    let seconds = clock::since(began).as_secs_f64();
    tracing::info!(took = format_args!("{seconds:.3}s"), "stopped");
    Ok(())
}

/// Reads the files of the server again. Returns the outcome in a few words; the reasons of failures are in the log.
async fn reload(host: &Host) -> &'static str {
    let failed = host.reload();
    let deployed = host.reload_components().await;
    let refused = deployed.into_iter().filter_map(Result::err).map(anyhow::Error::new).collect::<Vec<_>>();
    let all = failed.is_empty() && refused.is_empty();
    let outcome = if all { "reloaded" } else { "not all of it could be reloaded, see the log" };
    if all {
        tracing::info!("reloaded");
    }
    for error in failed {
        let error = anyhow::Error::new(error);
        tracing::error!("not reloaded; the old one stays in use: {error:#}");
    }
    for error in refused {
        tracing::error!("not deployed; the old code stays in use: {error:#}");
    }
    outcome
}

fn check(args: &Check) -> anyhow::Result<()> {
    let mut config = load(&args.common)?;
    args.database.set(&mut config)?;
    args.cluster.set(&mut config)?;
    config.check()?;
    if let (Some(token), Some(room)) = (&args.token, &args.room) {
        return standing::print(&config, token, room);
    }
    config.check_data()?;
    database::check(&config)?;
    cluster_key::check(&config)?;
    dormouse::edge::Verifier::new(&config)?;
    config.admin.as_ref().map_or(Ok(()), dormouse::edge::Admin::check)?;
    config.tls.as_ref().map_or(Ok(()), dormouse::edge::check_certificate)?;
    config.assets.as_deref().map_or(Ok(()), |folder| dormouse::edge::Assets::open(folder).map(drop))?;
    let outbound = dormouse::outbound::HttpClient::new(config.outbound_ca.as_deref())?;
    dormouse::edge::Authorizer::new(&config, &outbound)?;
    dormouse::telemetry::Exporter::new(&config, &outbound)?;
    let journal = dormouse::deploys::Journal::open(&config.data)?;
    let loaded = dormouse::components(&config, &Default::default(), None, None, &journal)?;
    for (name, namespace) in &loaded.namespaces {
        print::line(format_args!("namespace {name}: {}", config.namespaces[name].component))?;
        let decides = config.identity.authorize.as_ref().filter(|_| config.access(name) == AccessMode::Granted);
        let decides = decides.map(|url| format!(", decided by {}{}", url.origin(), url.path())).unwrap_or_default();
        print::line(format_args!("  access {}{decides}", config.access(name).name()))?;
        print_imports(namespace.code.stable().component.imports())?;
    }
    for key in config.identity.keys.iter().filter(|key| key.service) {
        let id = key.id.as_ref().map(|id| format!(" for tokens with the kid {id:?}")).unwrap_or_default();
        let file = key.file.display();
        print::line(format_args!("key {file} ({}){id}: may sign tokens of services", key.algorithm))?;
    }
    print::line(format_args!("router: {}", config.router))?;
    print_imports(loaded.router.stable().component.imports())?;
    for route in dormouse::routes::routes(&config) {
        if let Some(path) = route.path {
            print::line(format_args!("route {path}: rooms of {}", route.namespace))?;
        }
    }
    let warnings = loaded.deployed.into_iter().chain(dormouse::routes::warnings(&config));
    for warning in warnings.chain(config.warnings()).chain(config.machine_warnings()) {
        print::line(format_args!("warning: {warning}"))?;
    }
    print::line("the configuration is good")
}

fn print_imports(imports: &[String]) -> anyhow::Result<()> {
    imports.iter().try_for_each(|import| print::line(format_args!("  imports {import}")))
}

/// The log target of messages that appear whatever the filter is: in JSON, every line on stderr is a line of the log.
const ANNOUNCED: &str = "server";

/// Libraries that log warnings about what clients send. A client could fill the log with them.
const CLIENT_DRIVEN: [&str; 2] = ["h2", "hyper"];

/// Silences those libraries, unless the filter names them or has the level debug or trace.
fn silence_libraries(filter: &str) -> String {
    let asks_for_all = |part: &str| ["debug", "trace"].iter().any(|level| part.trim().eq_ignore_ascii_case(level));
    if filter.split(',').any(asks_for_all) {
        return filter.to_owned();
    }
    // The last directive for a name wins, so the filter can override this.
    let silent = CLIENT_DRIVEN.map(|name| format!("{name}=off"));
    [&silent.join(","), filter].join(",")
}

fn start_log(filter: &str, format: LogFormat) -> anyhow::Result<()> {
    let filter = EnvFilter::try_new(silence_libraries(filter)).context("the log filter cannot be used")?;
    let lines = tracing_subscriber::fmt().with_writer(log::Writer);
    match format {
        LogFormat::Text => {
            let ansi = std::io::IsTerminal::is_terminal(&std::io::stderr());
            lines.with_env_filter(filter).with_ansi(ansi).init();
        }
        LogFormat::Json => {
            let announced = format!("{ANNOUNCED}=info").parse().expect("it is a directive");
            lines.with_env_filter(filter.add_directive(announced)).json().event_format(JsonLine).init();
        }
    }
    // Rust's own hook would write to stderr directly, and block if stderr is not read.
    std::panic::set_hook(Box::new(|panic| tracing::error!("a panic, which is a bug in the server: {panic}")));
    Ok(())
}

/// Each socket is a file descriptor: raise the soft limit to the hard limit.
fn raise_file_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        tracing::warn!(%error, files = limit.current, "the limit of open files cannot be raised");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_that_log_client_input_are_silent_by_default() {
        assert_eq!(silence_libraries("info,room=debug"), "h2=off,hyper=off,info,room=debug");
        assert_eq!(silence_libraries("info, h2=debug"), "h2=off,hyper=off,info, h2=debug");
        for all in ["debug", "room=info,TRACE"] {
            assert_eq!(silence_libraries(all), all);
        }
    }
}
