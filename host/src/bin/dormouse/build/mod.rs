//! `dormouse build`: a component out of a room or a router in JavaScript or TypeScript.
//!
//! The entry is bundled to one file (`bundle.rs`), run in the engine up to the end of its top level (`snapshot.rs`), and
//! the memory of the engine becomes a component (`component.rs`). The engine itself is a file, which
//! `make javascript-engine` builds: so neither this program nor the author of a room needs a compiler of C.

mod bundle;
mod component;
mod snapshot;
mod worker;

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};
use clap::Args;

use snapshot::PreparedEngine;

pub(crate) use bundle::Bundle;
pub(crate) use worker::{ROUTER, Worker, bundle_worker};

/// Make a component of a room or a router in JavaScript or TypeScript
///
/// The entry's default export is the room, as an object or a class; components/javascript/engine/README.md describes it.
/// It is bundled by esbuild, from the project's node_modules or the PATH. The top level of the bundle runs once, now, and
/// every instance starts with the memory that it leaves. A wrangler configuration as the entry makes a component of each
/// Durable Object, and one of the Worker, with the package @dormouse/bundle of the project.
#[derive(Args)]
pub(crate) struct Build {
    /// The entry, such as src/room.ts; or a wrangler.jsonc
    #[arg(value_name = "ENTRY")]
    entry: PathBuf,
    /// The file of the component; for a wrangler.jsonc the folder of the components
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
    /// The engine [default: dormouse-engine.wasm beside this program, or as `make javascript-engine` has built it]
    ///
    /// A bundle that uses SQL gets the engine beside it whose name ends with -sql.wasm.
    #[arg(long, value_name = "FILE", env = "DORMOUSE_ENGINE")]
    engine: Option<PathBuf>,
    /// Take the engine with SQL, also for a bundle that does not mention `sql`
    #[arg(long)]
    sql: bool,
    /// Take the entry as it is: one file in JavaScript without imports, except those that begin with `dormouse:`
    #[arg(long)]
    no_bundle: bool,
    /// More arguments for esbuild, such as --alias:cloudflare:workers=@dormouse/durable-objects
    #[arg(last = true, value_name = "ESBUILD_ARGUMENT", conflicts_with = "no_bundle")]
    esbuild: Vec<String>,
}

pub(crate) fn run(args: &Build) -> anyhow::Result<()> {
    let mut builder = Builder { always_sql: args.sql, ..Builder::new(args.engine.clone()) };
    if is_wrangler(&args.entry)? {
        let given = "is for one room, and a wrangler configuration has several modules";
        ensure!(args.esbuild.is_empty(), "an argument for esbuild {given}");
        ensure!(!args.no_bundle, "--no-bundle {given}");
        for (name, bundle) in bundle_worker(&args.entry, &args.output)?.modules {
            let shown = args.entry.display();
            save(&builder.component(&bundle, &format!("{shown}, {name}"))?, &args.output.join(format!("{name}.wasm")))?;
        }
        return Ok(());
    }
    let bundle = match args.no_bundle {
        true => Bundle::read(&args.entry)?,
        false => Bundle::make(&args.entry, &args.esbuild)?,
    };
    save(&builder.component(&bundle, &args.entry.display().to_string())?, &args.output)
}

/// Writes a component, and prints what its top level has logged.
fn save(component: &Component, file: &Path) -> anyhow::Result<()> {
    for line in component.log.lines() {
        crate::print::line(format_args!("{line}"))?;
    }
    write(file, &component.wasm)?;
    let (shown, megabytes) = (file.display(), component.wasm.len() as f64 / 1e6);
    crate::print::line(format_args!("made {shown}: {}, {megabytes:.1} MB", component.shown))
}

/// Whether an entry is a wrangler configuration.
///
/// Fails: for one in TOML, which is not read.
pub(crate) fn is_wrangler(entry: &Path) -> anyhow::Result<bool> {
    let name = entry.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    ensure!(
        name != "wrangler.toml",
        "{} is not read: write the same as wrangler.jsonc beside it, such as {{ \"main\": \"src/index.ts\", \
         \"durable_objects\": {{ \"bindings\": [{{ \"name\": \"ROOMS\", \"class_name\": \"Room\" }}] }} }}",
        entry.display()
    );
    Ok(name.ends_with(".jsonc") || name.ends_with(".json"))
}

/// Makes components of bundles. An engine is compiled when it is first needed, and once.
pub(crate) struct Builder {
    /// The file of the engine, if it is named.
    engine: Option<PathBuf>,
    /// Whether bundles that do not mention it get the engine with SQL, too.
    always_sql: bool,
    /// By their files.
    prepared: BTreeMap<PathBuf, PreparedEngine>,
}

/// A component of a bundle.
pub(crate) struct Component {
    pub(crate) wasm: Vec<u8>,
    /// The lines that its top level has logged.
    pub(crate) log: String,
    /// What it is, for the author.
    shown: String,
}

impl Builder {
    /// With this file of the engine, or with that where it usually is.
    pub(crate) fn new(engine: Option<PathBuf>) -> Builder {
        Builder { engine, always_sql: false, prepared: BTreeMap::new() }
    }

    /// Makes a component. `entry` is for errors.
    pub(crate) fn component(&mut self, bundle: &Bundle, entry: &str) -> anyhow::Result<Component> {
        let file = engine(self.engine.as_deref())?;
        let file = if self.always_sql || bundle.mentions_sql() { with_sql(&file)? } else { file };
        let engine = match self.prepared.entry(file) {
            Entry::Occupied(prepared) => prepared.into_mut(),
            Entry::Vacant(absent) => {
                let file = absent.key();
                let bytes = fs::read(file)
                    .with_context(|| format!("the engine {} cannot be read; {GET_ENGINE}", file.display()))?;
                absent.insert(PreparedEngine::new(bytes)?)
            }
        };
        let snapshot = engine.take(bundle).with_context(|| entry.to_owned())?;
        let wasm = component::make(&snapshot)?;
        Ok(Component { wasm, log: snapshot.log, shown: snapshot.worlds.shown() })
    }
}

/// The file of the engine.
fn engine(given: Option<&Path>) -> anyhow::Result<PathBuf> {
    if let Some(found) = given.map(Path::to_owned).or_else(engine_file) {
        return Ok(found);
    }
    let program = program().context("the path of this program is unknown")?;
    bail!("the JavaScript engine is missing: there is no {}; {GET_ENGINE}", places(&program));
}

/// The file of the engine with SQL beside this one: `dormouse-engine-sql.wasm` beside `dormouse-engine.wasm`.
fn with_sql(engine: &Path) -> anyhow::Result<PathBuf> {
    let stem = engine.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    if stem.ends_with("-sql") {
        return Ok(engine.to_owned());
    }
    let found = engine.with_file_name(format!("{stem}-sql.wasm"));
    ensure!(
        found.is_file(),
        "the bundle uses SQL, and the JavaScript engine with SQL is missing: {} is no file; `make javascript-engine` in \
         Dormouse's source makes it, beside the other one",
        found.display()
    );
    Ok(found)
}

/// The file of the engine that is used if none is named; absent if there is none.
pub(crate) fn engine_file() -> Option<PathBuf> {
    candidates(&program().ok()?).into_iter().find(|file| file.is_file())
}

fn program() -> std::io::Result<PathBuf> {
    env::current_exe().and_then(fs::canonicalize)
}

/// The name of the engine's file.
const ENGINE: &str = "dormouse-engine.wasm";

const GET_ENGINE: &str = "run `make javascript-engine` in Dormouse's source, which makes \
                          target/javascript/dormouse-engine.wasm, and put that file beside this program, or name it \
                          with --engine or DORMOUSE_ENGINE";

/// The places where the engine of a program may be: beside it, where packages of systems have such files, and in the
/// `target` folder in which both were built.
fn candidates(program: &Path) -> Vec<PathBuf> {
    let beside = program.with_file_name(ENGINE);
    let installed = program.ancestors().nth(2).map(|prefix| prefix.join("share/dormouse").join(ENGINE));
    let built = program.ancestors().skip(1).map(|folder| folder.join("javascript").join(ENGINE));
    std::iter::once(beside).chain(installed).chain(built).collect()
}

/// The two places of an installed program, for an error.
fn places(program: &Path) -> String {
    let places = candidates(program).into_iter().take(2).map(|file| file.display().to_string());
    places.collect::<Vec<_>>().join(" and no ")
}

/// Writes the component as a whole or not at all: a server may read the file at any time.
pub(crate) fn write(file: &Path, component: &[u8]) -> anyhow::Result<()> {
    let Some(name) = file.file_name() else { bail!("{} is not the name of a file", file.display()) };
    let mut unfinished = name.to_owned();
    unfinished.push(format!(".{}.tmp", std::process::id()));
    let unfinished = file.with_file_name(unfinished);
    let written = fs::write(&unfinished, component).and_then(|()| fs::rename(&unfinished, file));
    if written.is_err() {
        let _ = fs::remove_file(&unfinished);
    }
    written.with_context(|| format!("{} cannot be written", file.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_engine_is_beside_the_program_or_where_both_were_built() {
        let found = candidates(Path::new("/src/dormouse/target/release/dormouse"));
        assert_eq!(found[0], Path::new("/src/dormouse/target/release/dormouse-engine.wasm"));
        assert!(found.contains(&PathBuf::from("/src/dormouse/target/javascript/dormouse-engine.wasm")));
    }
}
