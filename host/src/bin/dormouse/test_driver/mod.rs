//! `dormouse test-driver`: one room for a test kit, over standard input and output.
//!
//! A test kit starts this program, writes commands and reads events, one JSON object per line; docs/test-driver.md
//! describes the protocol. The room runs in the real engine through the real contract. Its clients, clock, storage and
//! surroundings are simulated: `room` plays the host, and the test kit plays the rooms and servers that the room calls.
//!
//! This module knows the engine and the model. It knows no network, no store and no configuration file.

mod channel;
mod protocol;
mod room;
mod storage;
mod world;

use std::collections::{BTreeMap, HashMap};
use std::future::Future;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, anyhow, ensure};
use clap::Parser;
use dormouse::code_cache_dir::CompiledCode;
use dormouse::config::Limits;
use dormouse::guest::{CompiledRoom, CompiledRouter, Engine, LongTurns, Moment, Outbound, RouterGrants};
use dormouse::limits::COMPONENT_BYTES;
use dormouse::model::{self, Address, DataOf, Permissions, UserAccess};
use serde_json::{Value, json};

use channel::{Commands, Incoming, LineChannel};
use protocol::{Command, Reply};
use room::{Ended, TestRoom};
use world::World;

/// Drive one room for a test kit: commands on standard input, events on standard output, one JSON object per line
#[derive(Parser)]
pub(crate) struct TestDriver {
    /// A directory that keeps compiled components from run to run
    #[arg(long, value_name = "DIR")]
    code_cache: Option<PathBuf>,
}

/// The most components that stay loaded. A test kit uses few, again and again; a fuzzer uses many, once each.
const LOADED: usize = 16;

/// How long the driving thread sleeps while a guest waits. An answer wakes it sooner; a wait that takes too long is
/// only noticed when the guest is polled.
const POLL_EVERY: Duration = Duration::from_millis(5);

pub(crate) fn run(args: &TestDriver) -> anyhow::Result<()> {
    let (wire, commands) = LineChannel::start();
    channel::log_to(&wire)?;
    let limits = Limits { awake_rooms: 8, requests: 8, ..Limits::default() };
    let engine = Engine::new(Arc::new(limits))?;
    let engine = match args.code_cache.as_deref().map(CompiledCode::open) {
        Some(Ok(code)) => engine.with_cache(Arc::new(code)),
        // Without the cache, tests are only slower.
        Some(Err(_)) | None => engine,
    };
    wire.say(&Reply::hello());
    Driver { engine, wire, rooms: HashMap::new(), room: None, router: None }.obey(&commands);
    Ok(())
}

/// The permissions in rooms, as the test names them for a router.
struct Grants(BTreeMap<Address, Permissions>);

impl Grants {
    fn read(grants: BTreeMap<String, Vec<String>>) -> anyhow::Result<Self> {
        let grant = |(room, names): (String, Vec<String>)| {
            let (namespace, name) = room.split_once('/').context("a room is NAMESPACE/NAME")?;
            Ok((Address::new(namespace, name)?, protocol::permissions(&names)?))
        };
        Ok(Grants(grants.into_iter().map(grant).collect::<anyhow::Result<_>>()?))
    }
}

impl RouterGrants for Grants {
    fn permissions_in(&self, room: &Address) -> Permissions {
        self.0.get(room).copied().unwrap_or_default()
    }
}

struct Driver {
    engine: Engine,
    wire: Arc<LineChannel>,
    /// Loaded components of rooms, by the state of their files.
    rooms: HashMap<FileState, CompiledRoom>,
    room: Option<TestRoom>,
    router: Option<TestRouter>,
}

struct TestRouter {
    router: CompiledRouter,
    long_turns: LongTurns,
    world: Arc<World>,
}

/// The state of a file when it was read: in another state, it is read again.
type FileState = (PathBuf, u64, Option<SystemTime>);

/// How a command ended; an error if it could not be obeyed.
type CommandResult = anyhow::Result<Result<Value, Ended>>;

impl Driver {
    fn obey(&mut self, commands: &Commands) {
        while let Some(incoming) = commands.next() {
            let ended = match incoming {
                Incoming::Command(command) => self.command(*command),
                Incoming::Bad(problem) => Err(anyhow!(problem)),
            };
            self.wire.say(&match ended {
                Ok(Ok(done)) => Reply::Done(done),
                Ok(Err(failed)) => failed.into_line(),
                Err(error) => Reply::Error(format!("{error:#}")),
            });
        }
    }

    fn command(&mut self, command: Command) -> CommandResult {
        match command {
            Command::Open { component, name } => return self.open(&component, name).map(Ok),
            Command::OpenRouter { component, name } => return self.open_router(&component, name).map(Ok),
            Command::Namespaces { names } => {
                let opened = self.router.take().context("open a router first")?;
                let router = opened.router.with_namespaces(names.iter().map(String::as_str));
                self.router = Some(TestRouter { router, ..opened });
                return Ok(Ok(json!({})));
            }
            Command::Route { request, claims, grants } => {
                let TestRouter { router, long_turns, world } = self.router.as_ref().context("open a router first")?;
                let mut request = model::Request::from(request);
                request.access = UserAccess::new(protocol::claims(claims)?, Permissions::OPEN);
                let grants = Arc::new(Grants::read(grants)?);
                let calls = Some(world.clone() as Arc<dyn Outbound>);
                let routed = drive(router.route(request, Some(grants), calls, Moment::default(), long_turns));
                return Ok(routed.map(protocol::decision).map_err(Ended::from));
            }
            Command::Play { rooms, servers } if self.room.is_none() => {
                let TestRouter { world, .. } = self.router.as_ref().context("open a component first")?;
                world.play(rooms, servers);
                return Ok(Ok(json!({})));
            }
            _ => {}
        }
        let room = self.room.as_mut().context("open a component first")?;
        match command {
            Command::Connect { user, query, access } => return room.connect(user.into(), query, access.read()?),
            Command::Renew { socket, access } => room.renew(socket, access.read()?)?,
            Command::Message { socket, message } => return room.message(socket, message.into()),
            Command::Close { socket, close } => return room.close(socket, close.into()),
            Command::Request { request, access } => {
                return Ok(room.request(model::Request { access: access.read()?, ..request.into() }));
            }
            Command::ExportUser { user, after } => return Ok(room.export_user(DataOf { user: user.into(), after })),
            Command::EraseUser { user, after } => return Ok(room.erase_user(DataOf { user: user.into(), after })),
            Command::Migrate { from } => return Ok(room.migrate(from)),
            Command::Advance { ms } => return room.advance(ms),
            Command::Fire { timer } => return Ok(room.fire(timer.into())),
            Command::Replay => return room.replay(),
            Command::Backup => return room.backup(),
            Command::Restore { backup } => return room.restore(backup),
            Command::Config { key, value } => room.config(key, value),
            Command::Forgetful { forgetful } => room.forgetful(forgetful),
            Command::MessageOutBytes { bytes } => room.message_out_bytes(bytes),
            Command::Clock { now } => room.set_clock(now),
            Command::Play { rooms, servers } => room.play(rooms, servers),
            Command::Fault { fault } => room.next_turn_meets(fault),
            Command::Hibernate => room.hibernate(),
            Command::Restart => room.restart(),
            Command::Put { key, value } => room.put(key.0, value.0),
            Command::Storage => room.report_storage(),
            Command::Timers => room.report_timers(),
            Command::Sockets => room.report_sockets(),
            Command::Posted => room.report_posted(),
            Command::Open { .. } | Command::OpenRouter { .. } | Command::Namespaces { .. } | Command::Route { .. } => {
                unreachable!("done above")
            }
        }
        Ok(Ok(json!({})))
    }

    fn open(&mut self, component: &Path, name: Option<String>) -> anyhow::Result<Value> {
        self.room = None;
        let shown = name.unwrap_or_else(|| component.display().to_string());
        let state = state(component).with_context(|| format!("{shown} cannot be read"))?;
        let kind = match self.rooms.get(&state) {
            Some(kind) => kind.clone(),
            None => {
                let kind = self.engine.room(&shown, &read(component, &shown)?)?;
                if self.rooms.len() == LOADED {
                    self.rooms.clear();
                }
                self.rooms.insert(state, kind.clone());
                kind
            }
        };
        let opened = json!({ "imports": kind.imports(), "now": room::START, "incarnation": room::INCARNATION });
        self.room = Some(TestRoom::new(kind, self.wire.clone()));
        Ok(opened)
    }

    fn open_router(&mut self, component: &Path, name: Option<String>) -> anyhow::Result<Value> {
        if let Some(before) = self.router.take() {
            before.world.close();
        }
        let shown = name.unwrap_or_else(|| component.display().to_string());
        let router = self.engine.router(&shown, &read(component, &shown)?)?;
        let opened = json!({ "imports": router.imports() });
        let long_turns = LongTurns::start().context("no threads for long turns can be started")?;
        let world = Arc::new(World::new(self.wire.clone()));
        self.router = Some(TestRouter { router, long_turns, world });
        Ok(opened)
    }
}

fn state(component: &Path) -> std::io::Result<FileState> {
    let found = component.metadata()?;
    Ok((component.to_owned(), found.len(), found.modified().ok()))
}

fn read(component: &Path, shown: &str) -> anyhow::Result<Vec<u8>> {
    let bytes = component.metadata().with_context(|| format!("{shown} cannot be read"))?.len();
    ensure!(bytes <= COMPONENT_BYTES as u64, "{shown} has {bytes} B, and a component may have {COMPONENT_BYTES} B");
    std::fs::read(component).with_context(|| format!("{shown} cannot be read"))
}

/// Drives a guest to its end, on this thread. A guest that yields wakes it at once; a guest that waits for an answer
/// wakes it when that arrives.
fn drive<T>(run: impl Future<Output = T>) -> T {
    struct Unpark(Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut run = pin!(run);
    loop {
        if let Poll::Ready(done) = run.as_mut().poll(&mut Context::from_waker(&waker)) {
            return done;
        }
        thread::park_timeout(POLL_EVERY);
    }
}
