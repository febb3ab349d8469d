//! Rebuilds the binary when a file is added to the page or the client. The macro that embeds them sees changes of
//! files, but not new files.
//!
//! It also lists the modules that log, so that a filter of the log that names none of them can be refused.
#![expect(clippy::disallowed_methods, reason = "a build script reads sources and writes its result")]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::{env, fs};

fn main() {
    println!("cargo:rerun-if-changed=web");
    println!("cargo:rerun-if-changed=../client/src");
    println!("cargo:rerun-if-changed=src");
    let mut modules = BTreeSet::new();
    collect(Path::new("src"), &mut modules);
    let list = modules.iter().map(|module| format!("    {module:?},\n")).collect::<String>();
    let file = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets it")).join("modules_that_log.rs");
    fs::write(file, format!("&[\n{list}]\n")).expect("cargo made the directory");
}

fn collect(path: &Path, modules: &mut BTreeSet<String>) {
    if path.is_dir() {
        for entry in fs::read_dir(path).expect("a directory of sources") {
            collect(&entry.expect("an entry of it").path(), modules);
        }
    } else if path.extension().is_some_and(|extension| extension == "rs")
        && logs(&fs::read_to_string(path).expect("a source"))
    {
        modules.insert(module(path));
    }
}

/// Whether a source has an event of the log without a target of its own.
fn logs(source: &str) -> bool {
    ["error", "warn", "info", "debug", "trace"].iter().any(|level| {
        let event = format!("tracing::{level}!(");
        source.split(&event).skip(1).any(|arguments| !arguments.trim_start().starts_with("target:"))
    })
}

/// The path of a module, as `module_path!` gives it. The library and the binary have the same name.
fn module(path: &Path) -> String {
    let path = path.strip_prefix("src").expect("it is below the sources");
    let path = path.strip_prefix("bin/dormouse").unwrap_or(path).with_extension("");
    let parts = path.iter().map(|part| part.to_str().expect("names of sources are ASCII"));
    let parts = parts.filter(|part| !matches!(*part, "lib" | "main" | "mod"));
    ["dormouse"].into_iter().chain(parts).collect::<Vec<_>>().join("::")
}
