//! `dormouse build`: a component out of a room or a router in JavaScript or TypeScript.
//!
//! The entry is bundled to one file (`bundle.rs`), run in the engine up to the end of its top level (`snapshot.rs`), and
//! the memory of the engine becomes a component (`component.rs`). The engine itself is a file, which
//! `make javascript-engine` builds: so neither this program nor the author of a room needs a compiler of C.

mod bundle;
mod component;
mod snapshot;

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use clap::Args;

use bundle::Bundle;

/// Make a component of a room or a router in JavaScript or TypeScript
///
/// The entry's default export is the room, as an object or a class; components/javascript/engine/README.md describes it.
/// It is bundled by esbuild, from the project's node_modules or the PATH. The top level of the bundle runs once, now, and
/// every instance starts with the memory that it leaves.
#[derive(Args)]
pub(crate) struct Build {
    /// The entry, such as src/room.ts
    #[arg(value_name = "ENTRY")]
    entry: PathBuf,
    /// The file of the component
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
    /// The engine [default: dormouse-engine.wasm beside this program, or as `make javascript-engine` has built it]
    #[arg(long, value_name = "FILE", env = "DORMOUSE_ENGINE")]
    engine: Option<PathBuf>,
    /// Take the entry as it is: one file in JavaScript without imports, except those that begin with `dormouse:`
    #[arg(long)]
    no_bundle: bool,
    /// More arguments for esbuild, such as --alias:cloudflare:workers=@dormouse/durable-objects
    #[arg(last = true, value_name = "ESBUILD_ARGUMENT", conflicts_with = "no_bundle")]
    esbuild: Vec<String>,
}

pub(crate) fn run(args: &Build) -> anyhow::Result<()> {
    let engine = engine(args.engine.as_deref())?;
    let bundle = match args.no_bundle {
        true => Bundle::read(&args.entry)?,
        false => Bundle::make(&args.entry, &args.esbuild)?,
    };
    let snapshot = snapshot::take(&engine, &bundle).with_context(|| args.entry.display().to_string())?;
    for line in snapshot.log.lines() {
        crate::print::line(format_args!("{line}"))?;
    }
    let component = component::make(&snapshot)?;
    write(&args.output, &component)?;
    let (shown, megabytes) = (args.output.display(), component.len() as f64 / 1e6);
    crate::print::line(format_args!("made {shown}: {}, {megabytes:.1} MB", snapshot.worlds.shown()))
}

/// The bytes of the engine.
fn engine(given: Option<&Path>) -> anyhow::Result<Vec<u8>> {
    let found = match given {
        Some(given) => given.to_owned(),
        None => {
            let program =
                env::current_exe().and_then(fs::canonicalize).context("the path of this program is unknown")?;
            let Some(found) = candidates(&program).into_iter().find(|file| file.is_file()) else {
                bail!(
                    "the JavaScript engine is missing: give its file with --engine, or build it with \
                     `make javascript-engine` in Dormouse's source"
                );
            };
            found
        }
    };
    fs::read(&found).with_context(|| format!("the engine {} cannot be read", found.display()))
}

/// The places where the engine of a program may be: beside it, and in the `target` folder in which both were built.
fn candidates(program: &Path) -> Vec<PathBuf> {
    let beside = program.with_file_name("dormouse-engine.wasm");
    let built = program.ancestors().skip(1).map(|folder| folder.join("javascript/dormouse-engine.wasm"));
    std::iter::once(beside).chain(built).collect()
}

/// Writes the component as a whole or not at all: a server may read the file at any time.
fn write(file: &Path, component: &[u8]) -> anyhow::Result<()> {
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
