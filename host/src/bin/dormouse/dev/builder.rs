//! Builds a project again whenever one of its files has changed. It runs on a thread of its own, since all of this waits.
//!
//! It keeps what makes the next build fast: the compiled engine of JavaScript, and each component with the bundle that it
//! was made of. `mod.rs` takes the results.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Instant;

use anyhow::{Context, bail};
use dormouse::config::{Config, Namespace};
use dormouse::deploys::ROUTER;
use dormouse::log;
use tokio::sync::mpsc::Sender;

use super::project::{Given, Project, Source, shown};
use super::watch::{Look, pause};
use crate::build::{self, Builder, Bundle, Worker, bundle_worker};
use crate::children;

/// The folder beside the project with all that is made for it.
const OWN_FOLDER: &str = ".dormouse";

/// A project, built.
pub(super) struct Built {
    /// All components that are not in the binary are files.
    pub(super) config: Config,
    /// By namespace, or `router`: all that can be deployed.
    pub(super) targets: BTreeMap<String, Target>,
    /// When the files were seen to have changed.
    pub(super) since: Instant,
    /// The folder that is watched.
    pub(super) folder: PathBuf,
}

/// A component of the project.
pub(super) struct Target {
    pub(super) wasm: Arc<[u8]>,
    /// What it is built from, for the author.
    pub(super) source: String,
}

pub(super) struct ProjectBuilder {
    given: Given,
    builder: Builder,
    data: PathBuf,
    /// The last component of each target, with its bundle.
    made: BTreeMap<String, (Bundle, Arc<[u8]>)>,
    /// Files outside the folder of the project of which it is made.
    others: BTreeSet<PathBuf>,
}

impl ProjectBuilder {
    pub(super) fn new(given: Given, engine: Option<PathBuf>, data: Option<PathBuf>) -> Self {
        let data = data.unwrap_or_else(|| given.folder().join(OWN_FOLDER).join("data"));
        ProjectBuilder { given, builder: Builder::new(engine), data, made: BTreeMap::new(), others: BTreeSet::new() }
    }

    /// Builds, and builds again after each change, until it is over.
    pub(super) fn run(mut self, results: &Sender<anyhow::Result<Built>>, is_over: &AtomicBool) {
        let folder = self.given.folder().to_owned();
        let mut seen = Look::at(&folder, &self.others);
        if seen.is_incomplete {
            let shown = folder.display();
            log::line(&format!(
                "dormouse: {shown} has too many files to watch all of them: restart after an edit that is not seen"
            ));
        }
        let mut since = Instant::now();
        loop {
            let built = self.build(&folder, since);
            if results.blocking_send(built).is_err() {
                return;
            }
            loop {
                if is_over.load(Ordering::Relaxed) {
                    return;
                }
                let began = Instant::now();
                let now = Look::at(&folder, &self.others);
                if now != seen {
                    (seen, since) = (now, began);
                    break;
                }
                thread::sleep(pause(began.elapsed()));
            }
        }
    }

    fn build(&mut self, folder: &Path, since: Instant) -> anyhow::Result<Built> {
        let mut project = Project::read(&self.given)?;
        let own = self.own_folder(folder)?;
        let mut targets = BTreeMap::new();
        let mut inputs = BTreeSet::new();
        if let Some(wrangler) = project.wrangler.clone() {
            let source = shown(&wrangler, folder);
            let Worker { modules, assets } = bundle_worker(&wrangler, &own.join("modules"))?;
            if let Given::Wrangler(_) = self.given {
                project.add_worker(modules.keys());
                project.config.assets = assets;
            }
            for (name, bundle) in
                modules.into_iter().filter(|(name, _)| project.sources.get(name) == Some(&Source::Worker))
            {
                inputs.extend(bundle.inputs.iter().cloned());
                let wasm = self.component(&name, bundle, &format!("{source}, {name}"))?;
                targets.insert(name, Target { wasm, source: source.clone() });
            }
        }
        for (name, source) in &project.sources {
            if let Source::Module(entry) = source {
                let source = shown(entry, folder);
                let bundle = Bundle::make(&relative(entry), &[])?;
                inputs.extend(bundle.inputs.iter().cloned());
                let wasm = self.component(name, bundle, &source)?;
                targets.insert(name.clone(), Target { wasm, source });
            }
        }
        for (name, Target { wasm, .. }) in &targets {
            let file = own.join("build").join(format!("{name}.wasm"));
            build::write(&file, wasm)?;
            project.set_component(name, &file);
        }
        let crates = project.sources.values().filter_map(|source| match source {
            Source::Crate { folder, is_release } => Some((folder, *is_release)),
            _ => None,
        });
        for (of_crate, is_release) in crates.collect::<BTreeSet<_>>() {
            cargo(of_crate, is_release)?;
        }
        for (name, source) in &project.sources {
            if targets.contains_key(name) {
                continue;
            }
            let file = project.component(name).expect("a source is of a target").to_owned();
            let shown = match source {
                Source::Crate { folder: of_crate, .. } => shown(&of_crate.join("Cargo.toml"), folder),
                _ => {
                    // It may be missing now.
                    self.others.insert(file.clone());
                    inputs.insert(file.clone());
                    shown(&file, folder)
                }
            };
            let wasm = fs::read(&file).with_context(|| missing(name, source, &file))?.into();
            let source = shown;
            targets.insert(name.clone(), Target { wasm, source });
        }
        self.made.retain(|name, _| targets.contains_key(name));
        // Those in the folder are watched anyway. A map may name sources that are no files.
        self.others = inputs.into_iter().filter_map(|file| fs::canonicalize(file).ok()).collect();
        project.config.data = self.data.clone();
        Ok(Built { config: project.config, targets, since, folder: folder.to_owned() })
    }

    /// The component of a bundle; the last one, if the bundle is the same.
    fn component(&mut self, target: &str, bundle: Bundle, entry: &str) -> anyhow::Result<Arc<[u8]>> {
        if let Some((last, wasm)) = self.made.get(target)
            && *last == bundle
        {
            return Ok(wasm.clone());
        }
        let component = self.builder.component(&bundle, entry)?;
        if !component.log.is_empty() {
            log::line(component.log.trim_end());
        }
        let wasm = Arc::<[u8]>::from(component.wasm);
        self.made.insert(target.to_owned(), (bundle, wasm.clone()));
        Ok(wasm)
    }

    /// The folder for what is made. It keeps itself out of version control.
    fn own_folder(&self, folder: &Path) -> anyhow::Result<PathBuf> {
        let own = folder.join(OWN_FOLDER);
        let make = || {
            fs::create_dir_all(own.join("build"))?;
            let ignore = own.join(".gitignore");
            if ignore.exists() { Ok(()) } else { fs::write(ignore, "*\n") }
        };
        make().with_context(|| format!("{} cannot be made", own.display()))?;
        Ok(own)
    }
}

/// A path from the working directory, as esbuild and the author write it.
fn relative(file: &Path) -> PathBuf {
    let here = std::env::current_dir().and_then(fs::canonicalize).unwrap_or_default();
    file.strip_prefix(&here).unwrap_or(file).to_owned()
}

/// Builds a crate for its component.
fn cargo(folder: &Path, is_release: bool) -> anyhow::Result<()> {
    let mut command = Command::new("cargo");
    command.current_dir(folder).args(["build", "--quiet", "--target", "wasm32-wasip2"]);
    command.args(is_release.then_some("--release"));
    command.arg(if std::io::stderr().is_terminal() { "--color=always" } else { "--color=never" });
    let output = children::output(&mut command).context("cargo cannot be run; install Rust from rustup.rs")?;
    let written = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() {
        bail!("{} cannot be built:\n{}", folder.join("Cargo.toml").display(), written.trim_end());
    }
    // Warnings.
    if !written.trim().is_empty() {
        log::line(written.trim_end());
    }
    Ok(())
}

/// The advice for a component that is not there.
fn missing(target: &str, source: &Source, file: &Path) -> String {
    let shown = file.display();
    match source {
        Source::Worker => {
            format!("{target}: the wrangler configuration has no binding {target}, and {shown} cannot be read")
        }
        Source::Crate { .. } => format!("{target}: cargo has made no {shown}; is the crate a cdylib of this name?"),
        _ if target == ROUTER => format!("router: {shown} cannot be read; build it first"),
        _ => format!(
            "namespaces.{target}.component: {shown} cannot be read; build it first, or say in `source` from which entry \
             it is built, such as source = \"src/room.ts\""
        ),
    }
}

impl Project {
    /// The namespaces and the router of a wrangler project without another configuration. All objects and the Worker may
    /// call each other, and the Worker answers preflights, as at Cloudflare's.
    fn add_worker<'a>(&mut self, modules: impl Iterator<Item = &'a String>) {
        let modules = modules.cloned().collect::<BTreeSet<_>>();
        let namespaces = modules.iter().filter(|name| *name != build::ROUTER).cloned().collect::<BTreeSet<_>>();
        for name in &namespaces {
            let namespace = Namespace { calls: namespaces.clone(), ..Namespace::of("") };
            self.config.namespaces.insert(name.clone(), namespace);
        }
        self.config.router_calls = namespaces;
        self.config.router_cors = true;
        self.sources.extend(modules.into_iter().map(|name| (name, Source::Worker)));
    }

    fn set_component(&mut self, target: &str, file: &Path) {
        let file = file.to_string_lossy().into_owned();
        match self.config.namespaces.get_mut(target) {
            Some(namespace) => namespace.component = file,
            None => self.config.router = file,
        }
    }
}
