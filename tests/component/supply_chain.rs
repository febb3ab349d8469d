//! The dependencies: their sources, their licences, and where `unsafe` code is.
//!
//! `make audit` asks more, of a database of known faults; this needs no tool, and no network once the crates are there.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use dormouse_bundle::{CHAT_ROOM, PRESENCE_TRACKER, ROUTER};
use serde_json::Value;

const CRATES_IO: &str = "registry+https://github.com/rust-lang/crates.io-index";

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize().unwrap()
}

/// Whether an SPDX expression can be met with licences that are allowed.
fn is_licence_allowed(expression: &str, allowed: &BTreeSet<String>) -> bool {
    // Some crates still write the old form, `MIT/Apache-2.0`.
    let expression = expression.replace(['(', ')'], " ").replace('/', " OR ");
    let any = |one_of: &str| one_of.split(" OR ").any(|licence| allowed.contains(licence.trim()));
    expression.split(" AND ").all(any)
}

fn allowed_licences() -> BTreeSet<String> {
    let text = fs::read_to_string(root().join(".cargo-deny.toml")).unwrap();
    let deny = toml::from_str::<toml::Table>(&text).unwrap();
    let allow = deny["licenses"]["allow"].as_array().unwrap().iter();
    allow.map(|licence| licence.as_str().unwrap().to_owned()).collect()
}

#[test]
fn licence_expressions_are_parsed_correctly() {
    let allowed = ["MIT", "Apache-2.0 WITH LLVM-exception"].map(str::to_owned).into();
    for met in
        ["MIT", "GPL-2.0-only OR MIT", "Apache-2.0/MIT", "(MIT OR ISC) AND MIT", "Apache-2.0 WITH LLVM-exception"]
    {
        assert!(is_licence_allowed(met, &allowed), "{met}");
    }
    for unmet in ["", "GPL-2.0-only", "MIT AND GPL-2.0-only", "Apache-2.0", "(GPL-2.0-only OR ISC) AND MIT"] {
        assert!(!is_licence_allowed(unmet, &allowed), "{unmet}");
    }
}

#[test]
fn every_crate_is_from_the_registry_under_an_allowed_licence() {
    let metadata = Command::new(env!("CARGO"))
        // Not `--offline`: no build downloads the crates of features that are off, and cargo fetches them for this.
        .args(["metadata", "--format-version", "1", "--locked"])
        .current_dir(root())
        .output()
        .unwrap();
    assert!(metadata.status.success(), "{}", String::from_utf8_lossy(&metadata.stderr));
    let metadata = serde_json::from_slice::<Value>(&metadata.stdout).unwrap();
    let allowed = allowed_licences();
    let packages = metadata["packages"].as_array().unwrap();
    assert!(packages.len() > 100);
    for package in packages {
        let name = package["name"].as_str().unwrap();
        let licence = package["license"].as_str().unwrap_or_default();
        assert!(is_licence_allowed(licence, &allowed), "{name} is under {licence:?}; see .cargo-deny.toml");
        match package["source"].as_str() {
            Some(source) => assert_eq!(source, CRATES_IO, "{name}"),
            None => assert_eq!(licence, "Apache-2.0", "{name} is ours"),
        }
    }
    // The lock file names what each must be, byte for byte.
    let lock = fs::read_to_string(root().join("Cargo.lock")).unwrap();
    let lock = toml::from_str::<toml::Table>(&lock).unwrap();
    for package in lock["package"].as_array().unwrap() {
        let (source, checksum) = (package.get("source"), package.get("checksum"));
        assert_eq!(source.is_some(), checksum.is_some(), "{package}");
    }
}

/// Every file of Rust below a folder that is ours.
fn rust_files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap().flatten() {
        let (path, name) = (entry.path(), entry.file_name());
        if path.is_dir() && name != "node_modules" && name != "target" {
            rust_files(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// The files with `unsafe` code, and how much each has. A new one needs a reason beside the code, and a line here.
#[test]
fn unsafe_code_is_only_in_listed_files_with_a_reason() {
    let known = [
        ("components/javascript/engine/src/build.rs", 1),
        ("components/javascript/engine/src/codec.rs", 2),
        ("components/javascript/engine/src/convert.rs", 1),
        ("components/javascript/engine/src/engine.rs", 1),
        ("components/javascript/engine/src/events.rs", 1),
        ("components/javascript/engine/src/flat/mod.rs", 1),
        ("components/javascript/engine/src/flat/sockets.rs", 1),
        ("components/javascript/engine/src/flat/sql.rs", 1),
        ("components/javascript/engine/src/memory.rs", 1),
        ("components/kit/src/bindings.rs", 1),
        ("components/kit/src/settings.rs", 1),
        ("components/serve/disk/src/exports/mod.rs", 1),
        ("components/sql/src/sqlite.rs", 1),
        ("components/sql/src/vfs.rs", 1),
        ("host/src/bin/dormouse/systemd/sockets.rs", 1),
        ("host/src/guest/mod.rs", 1),
    ];
    let mut found = Vec::new();
    for folder in ["components", "host", "tests"] {
        rust_files(&root().join(folder), &mut found);
    }
    let mut places = Vec::new();
    for path in found.iter().filter(|path| !path.ends_with("component/supply_chain.rs")) {
        let text = fs::read_to_string(path).unwrap();
        assert!(!text.contains("allow(unsafe_code"), "{}: expect it, with a reason", path.display());
        let expected = text.match_indices("expect(unsafe_code").map(|(at, _)| &text[at..]);
        let reasons = expected.map(|rest| rest.starts_with("expect(unsafe_code, reason = \"")).collect::<Vec<_>>();
        assert!(reasons.iter().all(|given| *given), "{}: unsafe code without a reason", path.display());
        if !reasons.is_empty() {
            places.push((path.strip_prefix(root()).unwrap().display().to_string(), reasons.len()));
        }
    }
    places.sort();
    assert_eq!(places, known.map(|(path, times)| (path.to_owned(), times)));
    let manifest = fs::read_to_string(root().join("Cargo.toml")).unwrap();
    let lints = toml::from_str::<toml::Table>(&manifest).unwrap();
    assert_eq!(lints["workspace"]["lints"]["rust"]["unsafe_code"].as_str(), Some("deny"));
    for member in lints["workspace"]["members"].as_array().unwrap() {
        let member = root().join(member.as_str().unwrap()).join("Cargo.toml");
        let manifest = toml::from_str::<toml::Table>(&fs::read_to_string(&member).unwrap()).unwrap();
        let inherits = manifest.get("lints").and_then(|lints| lints.get("workspace")).and_then(toml::Value::as_bool);
        assert_eq!(inherits, Some(true), "{} does not take the workspace's lints", member.display());
    }
}

/// Two builds of one commit are the same bytes, wherever they are made: nothing in them says where that was.
#[test]
fn no_component_contains_a_build_path() {
    let cargo = std::env::var("CARGO_HOME").or_else(|_| std::env::var("HOME")).unwrap_or_default();
    let places = [root().display().to_string(), cargo, "registry/src/index".into()];
    let engine = fs::read(root().join("target/javascript/dormouse-engine.wasm"));
    let engine = engine.expect("the JavaScript engine is built: `make javascript-engine`");
    let engine = ("dormouse-engine.wasm", engine.as_slice());
    let with_sql =
        fs::read(root().join("target/javascript/dormouse-engine-sql.wasm")).expect("it is built with the other");
    let with_sql = ("dormouse-engine-sql.wasm", with_sql.as_slice());
    let shipped = [("chat-room", CHAT_ROOM), ("presence-tracker", PRESENCE_TRACKER), ("router", ROUTER)];
    for (name, wasm) in shipped.into_iter().chain([engine, with_sql]) {
        for place in places.iter().filter(|place| place.len() > 1) {
            let found = wasm.windows(place.len()).any(|window| window == place.as_bytes());
            assert!(!found, "{name} holds {place:?}");
        }
    }
}
