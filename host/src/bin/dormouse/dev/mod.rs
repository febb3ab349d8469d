//! `dormouse dev`: serves a project while its author writes it. An edit is built and deployed, and sockets stay open.
//!
//! The builder (`builder.rs`) works on a thread of its own: it builds the project, waits until a file changes
//! (`watch.rs`), and builds again. This takes what it has built, and deploys what has changed into a host of this process
//! (`server.rs`). `project.rs` knows what there is to build.

mod builder;
mod project;
mod server;
mod watch;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use anyhow::Context;
use clap::Args;
use dormouse::config::{Auth, resolve_address};
use dormouse::{log, log_filter};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

use builder::{Built, ProjectBuilder};
use project::Given;
use server::Server;

use crate::children;

/// Serve a project while you write it: an edit is built and live at once, and sockets stay open
///
/// The project is an entry in TypeScript, a dormouse.toml or a wrangler.jsonc; without one, the file of these that is in
/// this folder. Rooms are kept in .dormouse/data beside it. A build that fails changes nothing: the version before goes
/// on running. Ctrl-C ends everything.
#[derive(Args)]
pub(crate) struct Dev {
    /// The entry or the configuration, such as src/room.ts; or a folder with a dormouse.toml or a wrangler.jsonc
    #[arg(value_name = "PROJECT")]
    project: Option<PathBuf>,
    /// The address to listen on, such as 127.0.0.1:8787; port 0 chooses a free one [default: that of the configuration,
    /// or 127.0.0.1:8787]
    #[arg(long, value_name = "ADDR", env = "DORMOUSE_LISTEN", value_parser = resolve_address)]
    listen: Option<SocketAddr>,
    /// The data directory [default: .dormouse/data in the folder of the project]
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// The kind of tokens [default: that of the configuration, or dev]
    #[arg(long, env = "DORMOUSE_AUTH")]
    auth: Option<Auth>,
    /// The engine of rooms in JavaScript [default: as for `dormouse build`]
    #[arg(long, value_name = "FILE", env = "DORMOUSE_ENGINE")]
    engine: Option<PathBuf>,
    /// The log filter: off, error, warn, info, debug, trace, or a filter such as info,dormouse::store=debug
    #[arg(long, value_name = "FILTER", env = "DORMOUSE_LOG", default_value = "info,dormouse::deploys=warn",
          value_parser = log_filter::read)]
    pub(crate) log: String,
}

/// Runs until a signal. The log has been started.
pub(crate) fn run(args: &Dev) -> anyhow::Result<()> {
    let given = Given::find(args.project.as_deref())?;
    let runtime =
        tokio::runtime::Builder::new_multi_thread().enable_all().build().context("the runtime cannot start")?;
    runtime.block_on(develop(args, given))
}

async fn develop(args: &Dev, given: Given) -> anyhow::Result<()> {
    // Signal handlers come first, so that a signal during the first build is not missed.
    let mut terminate = signal(SignalKind::terminate()).context("signals cannot be received")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("signals cannot be received")?;
    let mut hangup = signal(SignalKind::hangup()).context("signals cannot be received")?;
    let is_over = Arc::new(AtomicBool::new(false));
    log::line(&format!("dormouse: building {}", given.shown()));
    // The builder waits until its last result was taken.
    let (results, mut built) = mpsc::channel(1);
    let builder = ProjectBuilder::new(given, args.engine.clone(), args.data.clone());
    let builder = {
        let is_over = is_over.clone();
        let run = move || builder.run(&results, &is_over);
        thread::Builder::new().name("dormouse-dev".into()).spawn(run).context("a thread cannot be started")?
    };
    let mut server = Server::new(args.listen, args.auth);
    let ended = loop {
        let next = tokio::select! {
            next = built.recv() => next,
            _ = interrupt.recv() => break Ok(()),
            _ = terminate.recv() => break Ok(()),
            _ = hangup.recv() => break Ok(()),
        };
        let taken = tokio::select! {
            taken = take(&mut server, next.expect("the builder goes on until this ends")) => taken,
            _ = interrupt.recv() => break Ok(()),
            _ = terminate.recv() => break Ok(()),
            _ = hangup.recv() => break Ok(()),
        };
        if let Err(error) = taken {
            break Err(error);
        }
    };
    is_over.store(true, Ordering::Relaxed);
    children::end_all();
    drop(built);
    tokio::select! {
        () = server.shutdown() => {}
        // A second signal waits for nobody.
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    // It ends at its next look at the files, or with the program that it waits for.
    let _ = tokio::task::spawn_blocking(move || builder.join()).await;
    ended
}

/// Serves what was built, or says why it was not.
///
/// Fails: if no edit can help, such as for an address that is in use.
async fn take(server: &mut Server, built: anyhow::Result<Built>) -> anyhow::Result<()> {
    match built {
        Ok(built) => server.take(built).await,
        Err(error) => {
            let goes_on = if server.is_running() { "the version before goes on running" } else { "nothing is served" };
            log::line(&format!("dormouse: not built, {goes_on}:\n{error:#}"));
            Ok(())
        }
    }
}
