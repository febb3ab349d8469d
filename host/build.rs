//! Rebuilds the binary when a file is added to the page or the client. The macro that embeds them sees changes of
//! files, but not new files.
//!
//! It also lists the modules and the dependencies that log, and the fields of spans, so that a filter of the log that
//! names none of them can be refused.
#![expect(clippy::disallowed_methods, reason = "a build script reads sources and writes its result")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::{env, fs};

fn main() {
    println!("cargo:rerun-if-changed=web");
    println!("cargo:rerun-if-changed=../client/src");
    println!("cargo:rerun-if-changed=src");
    println!("cargo:rerun-if-changed=../Cargo.lock");
    let (mut modules, mut fields) = (BTreeSet::new(), BTreeSet::new());
    collect(Path::new("src"), &mut |path, source| {
        if logs(source) {
            modules.insert(module(path));
        }
        fields.extend(span_fields(source));
    });
    write("modules_that_log.rs", &modules);
    write("fields_of_spans.rs", &fields);
    write("crates_that_log.rs", &crates_that_log());
}

/// Writes a list of texts as Rust.
fn write(name: &str, texts: &BTreeSet<String>) {
    let list = texts.iter().map(|text| format!("    {text:?},\n")).collect::<String>();
    let file = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets it")).join(name);
    fs::write(file, format!("&[\n{list}]\n")).expect("cargo made the directory");
}

fn collect(path: &Path, visit: &mut impl FnMut(&Path, &str)) {
    if path.is_dir() {
        for entry in fs::read_dir(path).expect("a directory of sources") {
            collect(&entry.expect("an entry of it").path(), visit);
        }
    } else if path.extension().is_some_and(|extension| extension == "rs") {
        visit(path, &fs::read_to_string(path).expect("a source"));
    }
}

/// The names of the fields of spans, such as `room` in `info_span!("room", room = %address)`.
fn span_fields(source: &str) -> Vec<String> {
    let spans = source.split("_span!(").skip(1).filter_map(|span| span.split_once(')'));
    let fields = spans.flat_map(|(arguments, _)| arguments.split(',').skip(1));
    fields.filter_map(|field| Some(field.split_once('=')?.0.trim().to_owned())).collect()
}

/// The names, as targets have them, of all dependencies that depend on `tracing`. What others log through `log` is not
/// written. Empty if there is no lock file.
fn crates_that_log() -> BTreeSet<String> {
    let lock = fs::read_to_string("../Cargo.lock").unwrap_or_default();
    let mut packages = BTreeMap::<&str, Vec<&str>>::new();
    for package in lock.split("[[package]]").skip(1) {
        let mut lines = package.lines().map(str::trim);
        let name = lines.find_map(|line| line.strip_prefix("name = ")).map(|name| name.trim_matches('"'));
        // A dependency is `"name"`, or `"name version"` if there are several versions.
        let needs = lines.skip_while(|line| *line != "dependencies = [").skip(1).take_while(|line| *line != "]");
        let needs = needs.filter_map(|line| line.trim_matches(['"', ',']).split(' ').next());
        packages.entry(name.unwrap_or_default()).or_default().extend(needs);
    }
    let manifest = fs::read_to_string("Cargo.toml").expect("the manifest of this crate");
    let section = manifest.split("\n[").find_map(|section| section.strip_prefix("dependencies]")).unwrap_or_default();
    let mut left = section.lines().filter_map(|line| line.split(['.', ' ']).next()).collect::<Vec<_>>();
    let mut reached = BTreeSet::new();
    while let Some(name) = left.pop() {
        if let Some(needs) = packages.get(name)
            && reached.insert(name)
        {
            left.extend(needs);
        }
    }
    let logs = |name: &&str| packages[name].contains(&"tracing");
    reached.into_iter().filter(logs).map(|name| name.replace('-', "_")).collect()
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
