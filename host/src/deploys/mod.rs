//! Deploys: replaces the code of a namespace or of the router while it runs, after checks that change nothing.
//!
//! A deploy is checked ([`Deploys::deploy`]), written to the [`Journal`], and begun in the [`Rollout`] of its target;
//! from then on each room takes the new code at its next event. A room in which it fails stops the deploy, and without
//! a failure it settles. It knows no HTTP and no sockets. The admin listener, the command line's SIGHUP and embedders
//! call it.

mod error;
mod journal;
mod low_priority;
mod status;

use std::collections::BTreeMap;
use std::io;
use std::pin::pin;
use std::sync::{Arc, Weak};
use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;
use tokio::sync::Mutex;

use crate::clock::{self, UnixMillis};
use crate::config::{Config, ConfigError};
use crate::guest::{CompiledRoom, CompiledRouter, Engine, LoadError, component_hash};
use crate::limits::{COMPONENT_BYTES, MAX_SETTLE_AFTER, SETTLE_AFTER};
use crate::lock::Lock;
use crate::rollout::{Progress, Rollout, Selection};
use crate::room::{Rooms, Tried};

pub use error::DeployError;
pub use journal::{BadDeploys, Candidate, Failure, Journal, Kept, Record};
pub use status::{CandidateStatus, DeployStatus, RoomsOfVersion, VersionStatus};

/// The name of the router among the targets of deploys. A namespace of this name cannot be deployed to.
pub const ROUTER: &str = "router";

/// Prefix of the name of a component that is part of the binary.
pub const BUILTIN: &str = "builtin:";

/// A deploy: a component for a namespace or the router, and the rooms that take it.
#[derive(Debug, Clone)]
pub struct Deploy {
    target: String,
    wasm: Vec<u8>,
    selection: Selection,
    settle_after: Duration,
}

/// The deploy that has begun.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Deployed {
    /// The namespace, or `router`.
    pub target: String,
    /// The hash of the component: the name of the version.
    pub version: String,
    /// Whether something has changed. If not, the target runs this version already.
    pub changed: bool,
    /// Whether only some rooms take it.
    pub canary: bool,
    /// How many rooms it was tried on, with copies of their storage.
    pub tried_rooms: usize,
    /// How many of these it has migrated.
    pub migrated_rooms: usize,
    /// Why the code before cannot run on migrated data: such a room cannot return to it. Absent if it can.
    pub no_way_back: Option<String>,
}

/// The deploys of one host. Cheap to clone.
#[derive(Clone)]
pub struct Deploys(Arc<Inner>);

struct Inner {
    engine: Engine,
    config: Config,
    rooms: Rooms,
    router: Arc<Rollout<CompiledRouter>>,
    /// The components that the configuration named at the start, by target.
    configured: BTreeMap<String, Configured>,
    /// Held during a deploy: there is one at a time.
    one_at_a_time: Mutex<()>,
    journal: Arc<Lock<Journal>>,
    /// The hash that the file of each target had when it was last read for a reload.
    seen: Lock<BTreeMap<String, String>>,
    outcomes: Family<[(&'static str, &'static str); 1], Counter>,
    /// When the host started: the components that the configuration names run since then.
    started: UnixMillis,
}

/// A component that the configuration names.
#[derive(Debug, Clone)]
pub struct Configured {
    /// Its hash.
    pub hash: String,
    /// Its bytes. They are kept in memory because its file may be overwritten, and a rollback needs them.
    pub wasm: Arc<[u8]>,
}

impl Deploy {
    /// A deploy of a component to all rooms of a namespace, or to the [`ROUTER`].
    pub fn new(target: &str, wasm: impl Into<Vec<u8>>) -> Self {
        let (target, wasm) = (target.into(), wasm.into());
        Deploy { target, wasm, selection: Selection::all(), settle_after: SETTLE_AFTER }
    }

    /// Only to these rooms, until it is deployed to all or rolled back.
    #[must_use]
    pub fn to_rooms(self, selection: Selection) -> Self {
        Deploy { selection, ..self }
    }

    /// Watches a deploy to all rooms for this long; afterwards a failure no longer stops it.
    #[must_use]
    pub fn settle_after(self, settle_after: Duration) -> Self {
        Deploy { settle_after, ..self }
    }
}

/// A compiled component of a target.
enum Compiled {
    Room(Box<CompiledRoom>),
    Router(Box<CompiledRouter>),
}

impl Deploys {
    /// The deploys of a host. Those that were under way when the journal was written go on.
    pub(crate) fn start(
        engine: Engine,
        config: Config,
        rooms: Rooms,
        router: Arc<Rollout<CompiledRouter>>,
        configured: BTreeMap<String, Configured>,
        journal: Journal,
    ) -> Self {
        let seen = configured.iter().map(|(target, component)| (target.clone(), component.hash.clone())).collect();
        let under_way =
            journal.records().iter().filter_map(|(target, record)| Some((target.clone(), record.candidate.clone()?)));
        let under_way = under_way.collect::<Vec<_>>();
        let deploys = Deploys(Arc::new(Inner {
            engine,
            config,
            rooms,
            router,
            configured,
            one_at_a_time: Mutex::new(()),
            journal: Arc::new(Lock::new(journal)),
            seen: Lock::new(seen),
            outcomes: Family::default(),
            started: clock::unix_millis(),
        }));
        for (target, candidate) in under_way {
            deploys.watch(&target, &candidate);
        }
        deploys
    }

    /// Checks a component and begins to deploy it. When this returns, the deploy is on disk, and each selected room
    /// takes the new code at its next event.
    ///
    /// If the same component is under way in some rooms, it only changes the rooms. A deploy to all rooms that is under
    /// way counts as settled.
    ///
    /// Fails: if a check fails, or the component cannot be kept. Then nothing has changed.
    pub async fn deploy(&self, deploy: Deploy) -> Result<Deployed, DeployError> {
        let deploys = self.clone();
        // On its own task: a caller that goes away must not leave it half done.
        let began = tokio::spawn(async move { deploys.begin(deploy).await }).await;
        let began = began.expect("a deploy reports its errors and does not panic");
        let outcome = match &began {
            Ok(Deployed { changed: false, .. }) => "unchanged",
            Ok(_) => "begun",
            Err(_) => "refused",
        };
        self.count(outcome);
        began
    }

    async fn begin(&self, deploy: Deploy) -> Result<Deployed, DeployError> {
        let Deploy { target, wasm, selection, settle_after } = deploy;
        let progress = self.progress(&target)?;
        self.check_options(&target, &wasm, &selection, settle_after)?;
        let _one = self.0.one_at_a_time.lock().await;
        self.note_failure(&target).await;
        let inner = self.0.clone();
        let (wasm, version) = low_priority::run(move || {
            let (since, compiled) = (clock::unix_millis(), inner.engine.cached_as(&wasm));
            let hash = component_hash(&wasm);
            (wasm, Kept { hash, since, compiled })
        })
        .await;
        let versions = progress.versions();
        let deployed = |changed, tried: &Tried| Deployed {
            target: target.clone(),
            version: version.hash.clone(),
            changed,
            canary: !selection.is_all(),
            tried_rooms: tried.rooms,
            migrated_rooms: tried.migrated,
            no_way_back: tried.no_way_back.as_ref().map(ToString::to_string),
        };
        let mut tried = Tried::default();
        let is_same = |hash: &str| hash == version.hash;
        match &versions.candidate {
            Some((hash, current)) if is_same(hash) => {
                if *current == selection {
                    return Ok(deployed(false, &tried));
                }
                let settle_after_ms = millis(settle_after);
                let candidate = Candidate { version: version.clone(), selection: selection.clone(), settle_after_ms };
                let next = candidate.clone();
                let selected = selection.clone();
                self.change(&target, move |target| {
                    target.record.candidate = Some(next);
                    target.write()?;
                    target.progress().select(selected);
                    Ok(())
                })
                .await?;
                self.watch(&target, &candidate);
                tracing::info!(
                    target = target.as_str(),
                    version = short(&version.hash),
                    "the deploy takes other rooms"
                );
                return Ok(deployed(true, &tried));
            }
            None if is_same(&versions.stable) => return Ok(deployed(false, &tried)),
            _ => {}
        }
        let (wasm, compiled) = self.compile(&target, wasm).await?;
        if let Compiled::Room(room) = &compiled {
            tried = self.0.rooms.try_code(&target, room).await?;
        }
        let candidate =
            Candidate { version: version.clone(), selection: selection.clone(), settle_after_ms: millis(settle_after) };
        let next = candidate.clone();
        let is_stable = self.change(&target, move |target| target.begin(next, &wasm, compiled)).await?;
        if is_stable {
            return Ok(deployed(true, &tried));
        }
        self.watch(&target, &candidate);
        let (canary, version) = (!selection.is_all(), short(&version.hash));
        let (tried_rooms, migrated_rooms) = (tried.rooms, tried.migrated);
        tracing::info!(target = target.as_str(), version, canary, tried_rooms, migrated_rooms, "deployed");
        Ok(deployed(true, &tried))
    }

    /// Returns to the version before: the stable one if a deploy is under way, or else the one that ran before. All
    /// rooms take it at their next event. There is no trial and no way back by itself.
    pub async fn roll_back(&self, target: &str) -> Result<Deployed, DeployError> {
        let (deploys, target) = (self.clone(), target.to_owned());
        let rolled_back = tokio::spawn(async move { deploys.return_to_version_before(&target).await }).await;
        rolled_back.expect("a rollback reports its errors and does not panic")
    }

    async fn return_to_version_before(&self, target: &str) -> Result<Deployed, DeployError> {
        let progress = self.progress(target)?;
        let _one = self.0.one_at_a_time.lock().await;
        self.note_failure(target).await;
        let versions = progress.versions();
        let deployed = |version: String| Deployed {
            target: target.to_owned(),
            version,
            changed: true,
            canary: false,
            tried_rooms: 0,
            migrated_rooms: 0,
            no_way_back: None,
        };
        if let Some((candidate, _)) = &versions.candidate {
            self.change(target, |target| {
                target.record.candidate = None;
                target.write()?;
                target.progress().cancel();
                Ok(())
            })
            .await?;
            tracing::info!(target, version = short(candidate), "the deploy was rolled back");
            self.count("rolled_back");
            return Ok(deployed(versions.stable.to_string()));
        }
        let record = self.0.journal.lock().record(target);
        let earlier = record.versions.iter().rev().find(|kept| *kept.hash != *versions.stable).cloned();
        let Some(earlier) = earlier else { return Err(DeployError::NothingBefore { target: target.into() }) };
        let (journal, of, hash) = (self.0.journal.clone(), target.to_owned(), earlier.hash.clone());
        let wasm = low_priority::run(move || journal.lock().component(&of, &hash)).await?;
        let (_, compiled) = self.compile(target, wasm).await?;
        let (next, stable) = (Kept { since: clock::unix_millis(), ..earlier }, versions.stable.clone());
        let version = next.hash.clone();
        let running = version.clone();
        self.change(target, move |target| {
            target.record.versions.retain(|kept| *kept.hash != *stable);
            target.run(next);
            target.write()?;
            target.replace(&running, compiled);
            Ok(())
        })
        .await?;
        tracing::info!(target, version = short(&version), "rolled back");
        self.count("rolled_back");
        Ok(deployed(version))
    }

    /// Deploys the components of the configuration whose files have changed since they were last read. Returns the
    /// result for each of them. `read` reads a file.
    pub async fn reload(&self, read: fn(&str) -> io::Result<Vec<u8>>) -> Vec<Result<Deployed, DeployError>> {
        let mut results = Vec::new();
        for target in self.targets() {
            let Some(path) = self.file(target).map(str::to_owned) else { continue };
            let file = path.clone();
            let wasm = match low_priority::run(move || read(&file)).await {
                Ok(wasm) => wasm,
                Err(error) => {
                    let (target, source) = (target.to_owned(), error.into());
                    results.push(Err(DeployError::File { target, path, source }));
                    continue;
                }
            };
            let hash = component_hash(&wasm);
            if self.0.seen.lock().get(target) == Some(&hash) {
                continue;
            }
            let deployed = self.deploy(Deploy::new(target, wasm)).await;
            // A component that was refused is tried again at the next reload.
            if deployed.is_ok() {
                self.0.seen.lock().insert(target.to_owned(), hash);
            }
            results.push(deployed);
        }
        results
    }

    /// Whether something of this name can be deployed to.
    pub fn has(&self, target: &str) -> bool {
        self.progress(target).is_ok()
    }

    /// The versions of all namespaces and of the router. Blocks while the journal is written.
    pub fn status(&self) -> Vec<DeployStatus> {
        let journal = self.0.journal.lock();
        let status = |target: &str| {
            let versions = self.progress(target).ok()?.versions();
            let configured = self.0.configured.get(target).map(|component| component.hash.as_str());
            Some(DeployStatus::new(target, &versions, &journal.record(target), configured, self.0.started))
        };
        self.targets().filter_map(status).collect()
    }

    /// The namespaces, and the router.
    fn targets(&self) -> impl Iterator<Item = &str> {
        let namespaces = self.0.config.namespaces.keys().map(String::as_str);
        namespaces.filter(|name| *name != ROUTER).chain([ROUTER])
    }

    /// The file of a target's component, if it has one.
    fn file(&self, target: &str) -> Option<&str> {
        let config = &self.0.config;
        let of_namespace = || config.namespaces.get(target).map(|namespace| &namespace.component);
        let component = if target == ROUTER { Some(&config.router) } else { of_namespace() };
        component.map(String::as_str).filter(|component| !component.starts_with(BUILTIN))
    }

    /// Registers the metrics of deploys.
    pub(crate) fn register(&self, registry: &mut Registry) {
        let outcomes = self.0.outcomes.clone();
        registry.register("deploys", "Deploys of a namespace or the router, by outcome", outcomes);
    }

    fn count(&self, outcome: &'static str) {
        self.0.outcomes.get_or_create(&[("outcome", outcome)]).inc();
    }

    fn progress(&self, target: &str) -> Result<&dyn Progress, DeployError> {
        if target == ROUTER {
            return Ok(&*self.0.router);
        }
        match self.0.rooms.namespace(target) {
            Some(namespace) => Ok(&namespace.code),
            None => Err(DeployError::NoTarget { target: target.into() }),
        }
    }

    fn check_options(
        &self,
        target: &str,
        wasm: &[u8],
        selection: &Selection,
        settle_after: Duration,
    ) -> Result<(), DeployError> {
        if wasm.len() > COMPONENT_BYTES {
            let (name, bytes) = ("the component".into(), wasm.len());
            return Err(DeployError::Load(LoadError::TooLarge { name, bytes }));
        }
        if target == ROUTER && !selection.is_all() {
            return Err(DeployError::CanaryOfRouter);
        }
        if !selection.is_valid() {
            return Err(DeployError::Selection);
        }
        if settle_after > MAX_SETTLE_AFTER {
            return Err(DeployError::SettleAfter);
        }
        Ok(())
    }

    /// Compiles a component and checks it against the settings of its target.
    async fn compile(&self, target: &str, wasm: Vec<u8>) -> Result<(Vec<u8>, Compiled), DeployError> {
        let (inner, target) = (self.0.clone(), target.to_owned());
        low_priority::run(move || {
            let name = &*format!("the component {}", short(&component_hash(&wasm)));
            inner.engine.compile_into_cache(&wasm);
            let config = &inner.config;
            let compiled = if target == ROUTER {
                let router = inner.engine.router(name, &wasm)?;
                let missing = router.declared().namespaces.iter().find(|name| !config.namespaces.contains_key(*name));
                if let Some(missing) = missing {
                    let problem = format!("{name} names the namespace {missing}, which is not configured");
                    return Err(ConfigError::invalid("router", problem).into());
                }
                let router = router
                    .with_namespaces(config.namespaces.keys().map(String::as_str))
                    .with_reuse(config.router_reuse);
                Compiled::Router(Box::new(router))
            } else {
                let room = inner.engine.room(name, &wasm)?;
                if let (Some(declared), Some(namespace)) = (room.declared(), config.namespaces.get(&target)) {
                    namespace.of_component(name).check_declared(&target, declared, &config.limits)?;
                }
                Compiled::Room(Box::new(room))
            };
            Ok((wasm, compiled))
        })
        .await
    }

    /// Changes the record of a target, on disk first, and its versions in memory. The journal is locked meanwhile, so
    /// [`Deploys::status`] sees both or neither.
    async fn change<T: Send + 'static>(
        &self,
        target: &str,
        change: impl FnOnce(&mut Changing<'_>) -> io::Result<T> + Send + 'static,
    ) -> Result<T, DeployError> {
        let (deploys, target) = (self.clone(), target.to_owned());
        let changed = tokio::task::spawn_blocking(move || {
            let mut journal = deploys.0.journal.lock();
            let record = journal.record(&target);
            change(&mut Changing { deploys: &deploys, journal: &mut journal, target: &target, record })
        });
        changed.await.expect("writing a file does not panic").map_err(DeployError::NotKept)
    }

    /// Writes down a failure that has stopped a deploy.
    async fn note_failure(&self, target: &str) {
        let failed = self.progress(target).ok().and_then(Progress::take_failed);
        let Some(failed) = failed else { return };
        tracing::error!(
            target,
            version = short(&failed.hash),
            place = failed.place,
            event = failed.event,
            "the deploy has failed, and the version before runs again: {}",
            failed.reason
        );
        self.count("failed");
        let failure = Failure {
            hash: failed.hash.to_string(),
            at: clock::unix_millis(),
            place: failed.place,
            event: failed.event.into(),
            reason: failed.reason,
        };
        let written = self.change(target, |target| {
            // A later deploy may be under way already.
            target.record.candidate.take_if(|candidate| candidate.version.hash == failure.hash);
            target.record.last_failure = Some(failure);
            target.write()
        });
        if let Err(error) = written.await {
            tracing::error!(target, "a restart before the next deploy tries the failed version again: {error}");
        }
    }

    /// Watches a deploy: it settles after a time, unless a failure stops it.
    fn watch(&self, target: &str, candidate: &Candidate) {
        let Ok(progress) = self.progress(target) else { return };
        let (changed, deploys) = (progress.changed(), Arc::downgrade(&self.0));
        let (target, candidate) = (target.to_owned(), candidate.clone());
        tokio::spawn(watch(deploys, target, candidate, changed));
    }

    fn is_under_way(&self, target: &str, candidate: &Candidate) -> bool {
        let versions = self.progress(target).ok().map(Progress::versions);
        versions
            .and_then(|versions| versions.candidate)
            .is_some_and(|(hash, selection)| *hash == *candidate.version.hash && selection == candidate.selection)
    }

    /// Ends a deploy if it is still this one.
    async fn settle(&self, target: &str, candidate: &Candidate) {
        let _one = self.0.one_at_a_time.lock().await;
        let wanted = candidate.clone();
        let settled = self.change(target, move |target| {
            if !target.deploys.is_under_way(target.target, &wanted) || !target.progress().settle() {
                return Ok(false);
            }
            target.record.settle(target.configured());
            target.write()?;
            Ok(true)
        });
        match settled.await {
            Ok(false) => return self.note_failure(target).await,
            Ok(true) => tracing::info!(target, version = short(&candidate.version.hash), "the deploy has settled"),
            Err(error) => tracing::error!(target, "after a restart the deploy is watched again: {error}"),
        }
        self.count("settled");
    }
}

/// A target whose record and versions are changed.
struct Changing<'a> {
    deploys: &'a Deploys,
    journal: &'a mut Journal,
    target: &'a str,
    record: Record,
}

impl<'a> Changing<'a> {
    fn progress(&self) -> &'a dyn Progress {
        self.deploys.progress(self.target).expect("who changes a target has found it")
    }

    /// The hash of the component that the configuration names.
    fn configured(&self) -> Option<&'a str> {
        self.deploys.0.configured.get(self.target).map(|component| component.hash.as_str())
    }

    fn run(&mut self, version: Kept) {
        self.record.run(version, self.configured());
    }

    /// Writes the record. The compiled code that it needs no more is forgotten.
    fn write(&mut self) -> io::Result<()> {
        let unneeded = self.journal.set(self.target, std::mem::take(&mut self.record))?;
        unneeded.iter().for_each(|name| self.deploys.0.engine.forget(name));
        Ok(())
    }

    /// Begins a deploy. Returns true if this version runs already.
    fn begin(&mut self, next: Candidate, wasm: &[u8], compiled: Compiled) -> io::Result<bool> {
        let progress = self.progress();
        // A deploy to all rooms that is under way is what has run up to now.
        if progress.versions().candidate.is_some_and(|(_, current)| current.is_all()) {
            progress.settle();
        }
        let stable = progress.versions().stable;
        let is_stable = *next.version.hash == *stable;
        if self.record.candidate.as_ref().is_some_and(|candidate| *candidate.version.hash == *stable) {
            self.record.settle(self.configured());
        }
        // The code that has run up to now can run again.
        let configured = self.deploys.0.configured.get(self.target);
        if let Some(Configured { hash, wasm }) = configured.filter(|configured| *configured.hash == *stable)
            && self.record.versions.iter().all(|kept| kept.hash != *hash)
        {
            self.journal.keep(hash, wasm)?;
            self.run(Kept { hash: hash.clone(), since: self.deploys.0.started, compiled: None });
        }
        self.record.last_failure = None;
        if is_stable {
            self.record.candidate = None;
            self.write()?;
            progress.cancel();
            return Ok(true);
        }
        self.journal.keep(&next.version.hash, wasm)?;
        let (hash, selection) = (next.version.hash.clone(), next.selection.clone());
        self.record.candidate = Some(next);
        self.write()?;
        match compiled {
            Compiled::Room(room) => self.code().begin(&hash, *room, selection),
            Compiled::Router(router) => self.deploys.0.router.begin(&hash, *router, selection),
        }
        Ok(false)
    }

    /// Replaces the stable version.
    fn replace(&self, version: &str, compiled: Compiled) {
        match compiled {
            Compiled::Room(room) => self.code().replace(version, *room),
            Compiled::Router(router) => self.deploys.0.router.replace(version, *router),
        }
    }

    fn code(&self) -> &'a Rollout<CompiledRoom> {
        &self.deploys.0.rooms.namespace(self.target).expect("`progress` has found it").code
    }
}

async fn watch(
    deploys: Weak<Inner>,
    target: String,
    candidate: Candidate,
    mut changed: tokio::sync::watch::Receiver<u32>,
) {
    let settle_after = candidate.settle_after();
    let mut settles = pin!(clock::timer(settle_after.unwrap_or(MAX_SETTLE_AFTER)));
    let mut is_due = false;
    loop {
        let Some(inner) = deploys.upgrade().map(Deploys) else { return };
        if is_due {
            return inner.settle(&target, &candidate).await;
        }
        // It may have failed before this task began.
        if !inner.is_under_way(&target, &candidate) {
            let _one = inner.0.one_at_a_time.lock().await;
            return inner.note_failure(&target).await;
        }
        drop(inner);
        is_due = tokio::select! {
            changed = changed.changed() => match changed {
                Ok(()) => false,
                Err(_) => return,
            },
            () = settles.as_mut(), if settle_after.is_some() => true,
        };
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// The start of a hash, which is enough for people.
pub fn short(hash: &str) -> &str {
    hash.get(..12).unwrap_or(hash)
}
