//! Each module knows one thing that the others do not, and the arrows between them go one way.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// The code of every file below a folder of the host, without comments and without its own tests.
fn code(folder: &str) -> Vec<(PathBuf, String)> {
    let mut files = Vec::new();
    collect(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src").join(folder), &mut files);
    assert!(!files.is_empty(), "nothing in {folder}");
    files
}

fn collect(path: &Path, files: &mut Vec<(PathBuf, String)>) {
    if path.is_file() {
        let text = fs::read_to_string(path).unwrap();
        // Tests end a file, except if they are in a file of their own.
        let is_inside = |at: &usize| {
            let item = text[*at..].lines().find(|line| !line.starts_with('#'));
            item.is_some_and(|line| line.starts_with("mod ") && line.ends_with('{'))
        };
        let tests = text.match_indices("#[cfg(test)]\n").map(|(at, _)| at).find(is_inside);
        let lines = text[..tests.unwrap_or(text.len())].lines().filter(|line| !line.trim_start().starts_with("//"));
        files.push((path.to_owned(), lines.collect::<Vec<_>>().join("\n")));
        return;
    }
    for entry in fs::read_dir(path).unwrap() {
        collect(&entry.unwrap().path(), files);
    }
}

fn never(folder: &str, words: &[&str]) {
    never_but(folder, words, "no file");
}

fn never_but(folder: &str, words: &[&str], exception: &str) {
    for (path, code) in code(folder).into_iter().filter(|(path, _)| !path.ends_with(exception)) {
        for word in words {
            assert!(!code.contains(word), "{} must not say `{word}`", path.display());
        }
    }
}

#[test]
fn dependencies_between_modules_go_one_way() {
    never("model", &["crate::edge", "crate::room", "crate::guest", "crate::store", "crate::config"]);
    never("store", &["crate::edge", "crate::room", "crate::guest"]);
    never("guest", &["crate::edge", "crate::room", "crate::store"]);
    never("room", &["crate::edge"]);
    never("outbound", &["crate::edge", "crate::room", "crate::guest", "crate::store", "crate::config"]);
    never("config", &["crate::edge", "crate::room", "crate::guest", "crate::store", "crate::telemetry"]);
    never("telemetry", &["crate::edge", "crate::room", "crate::guest", "crate::store"]);
    // The rules of ownership, and of who lives, are plain values in and out.
    let rules = ["cluster/ownership", "cluster/members.rs", "cluster/place.rs"];
    for rule in rules {
        never(rule, &["crate::clock", "crate::random", "crate::lock", "tokio", "async ", "std::time", "rand"]);
        for folder in ["edge", "room", "guest", "store", "config"] {
            never(rule, &[&format!("crate::{folder}")]);
        }
    }
    never("cluster/ownership", &["crate::model"]);
    // Links carry messages; they know no room and no store.
    never("cluster/link", &["crate::edge", "crate::room", "crate::guest", "crate::store", "crate::model"]);
    // A truth may have tenures and other nodes, which are plain values of the rules; it knows nothing else of a cluster.
    for (path, code) in code("store") {
        let others = code.replace("crate::cluster::ownership", "").replace("crate::cluster::members", "");
        assert!(!others.contains("crate::cluster"), "{} must not know the cluster", path.display());
    }
    for folder in ["model", "guest", "room", "config", "outbound", "telemetry"] {
        never(folder, &["crate::cluster"]);
    }
    never("revocations.rs", &["crate::edge", "crate::room", "crate::guest", "crate::store", "crate::model"]);
}

#[test]
fn each_dependency_is_used_in_one_module() {
    for folder in
        ["model", "room", "edge", "store", "outbound", "revocations.rs", "host.rs", "bin/dormouse/main.rs", "config"]
    {
        never(folder, &["wasmtime::"]);
    }
    for folder in ["model", "room", "guest", "store", "revocations.rs"] {
        never(folder, &["tokio::net", "tungstenite"]);
    }
    // `wasi:http` comes in HTTP's own types; there, and nowhere else, they are turned into plain data.
    for folder in ["model", "room", "guest", "store", "revocations.rs"] {
        never_but(folder, &["hyper::"], "guest/imports/web.rs");
    }
    for folder in ["model", "room", "guest", "outbound", "store", "edge", "config", "host.rs"] {
        never(folder, &["opentelemetry", "prost::"]);
    }
    for folder in ["cluster", "config", "edge", "guest", "model", "outbound", "room", "host.rs", "bin"] {
        never(folder, &["tokio_postgres"]);
    }
    // Below the store, only `postgres` names it.
    for (path, code) in code("store") {
        let is_postgres = path.components().any(|part| part.as_os_str() == "postgres");
        assert!(is_postgres || !code.contains("tokio_postgres"), "{}", path.display());
    }
    for folder in ["model", "room", "guest", "outbound", "edge/http", "edge/sockets", "edge/admission", "edge/response"]
    {
        never(folder, &["fjall::"]);
    }
}

/// Files that import each other, directly or through others, are a circle: none of them can be read alone. Only a room
/// and its mailbox are one, because a sleeping room is kept in its mailbox, and a delivery starts it.
#[test]
fn only_a_room_and_its_mailbox_import_each_other() {
    let room = ["incoming", "life", "life::turn", "mailbox", "registry", "reply", "seat", "shared"];
    let room = room.map(|name| format!("room::{name}"));
    let circles = Imports::read().circles();
    let others = circles.iter().filter(|circle| **circle != room);
    assert_eq!(others.collect::<Vec<_>>(), Vec::<&Vec<String>>::new());
    assert!(circles.contains(&room.to_vec()), "it is opened: say so above. {circles:?}");
}

/// The imports of the library, by module; the library itself is the module with the empty name.
struct Imports {
    modules: BTreeMap<String, Vec<String>>,
    /// Names that a module passes on, with the path behind each.
    reexports: BTreeMap<(String, String), String>,
}

impl Imports {
    fn read() -> Self {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
        let mut files = Vec::new();
        collect(&source, &mut files);
        let of_library = files.into_iter().filter(|(path, _)| !path.starts_with(source.join("bin")));
        let texts = of_library.map(|(path, text)| (module_of(path.strip_prefix(&source).unwrap()), text));
        let texts = texts.collect::<BTreeMap<_, _>>();
        let mut imports = Imports { modules: BTreeMap::new(), reexports: BTreeMap::new() };
        for (module, text) in &texts {
            let mut paths = Vec::new();
            for (is_public, path) in uses(text) {
                let Some(path) = absolute(module, &path, &texts) else { continue };
                let name = path.rsplit("::").next().unwrap().to_owned();
                if is_public {
                    imports.reexports.insert((module.clone(), name), path);
                } else {
                    paths.push(path);
                }
            }
            imports.modules.insert(module.clone(), paths);
        }
        imports
    }

    /// The module that defines the item at a path.
    fn definition(&self, path: &str) -> String {
        let mut module = path;
        while !self.modules.contains_key(module) {
            module = module.rsplit_once("::").map_or("", |(parent, _)| parent);
        }
        let rest = path[module.len()..].trim_start_matches("::");
        let name = rest.split("::").next().unwrap().to_owned();
        self.reexports.get(&(module.to_owned(), name)).map_or(module.to_owned(), |path| self.definition(path))
    }

    /// Groups of modules that can all reach each other, each sorted by name.
    fn circles(&self) -> Vec<Vec<String>> {
        let reached = |start: &String| {
            let (mut reached, mut next) = (BTreeSet::new(), vec![start.clone()]);
            while let Some(module) = next.pop() {
                for imported in self.modules[&module].iter().map(|path| self.definition(path)) {
                    if imported != module && reached.insert(imported.clone()) {
                        next.push(imported);
                    }
                }
            }
            reached
        };
        let reached = self.modules.keys().map(|module| (module, reached(module))).collect::<BTreeMap<_, _>>();
        let in_circles = reached.keys().filter(|module| reached[**module].contains(**module));
        let circle = |module: &&String| {
            let members = reached[*module].iter().filter(|other| reached[other].contains(*module));
            members.cloned().collect::<Vec<_>>()
        };
        in_circles.map(circle).collect::<BTreeSet<_>>().into_iter().collect()
    }
}

/// `room::life` for `room/life/mod.rs`.
fn module_of(path: &Path) -> String {
    let name = path.with_extension("").iter().map(|part| part.to_str().unwrap()).collect::<Vec<_>>().join("::");
    if name == "lib" { String::new() } else { name.strip_suffix("::mod").map_or(name.clone(), str::to_owned) }
}

/// The paths of all `use` items, and whether each is public.
fn uses(text: &str) -> Vec<(bool, String)> {
    let mut uses = Vec::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        let line = line.trim();
        let is_public = line.starts_with("pub");
        let item = if is_public { line.split_once(' ').map_or("", |(_, item)| item) } else { line };
        let Some(tree) = item.strip_prefix("use ") else { continue };
        let mut tree = tree.to_owned();
        while !tree.ends_with(';') {
            tree.push_str(lines.next().expect("an item ends").trim());
        }
        uses.extend(expand(tree.trim_end_matches(';')).into_iter().map(|path| (is_public, path)));
    }
    uses
}

/// `a::{b, c::d}` is `a::b` and `a::c::d`.
fn expand(tree: &str) -> Vec<String> {
    let tree = tree.trim();
    let Some((prefix, inner)) = tree.split_once('{') else {
        return vec![tree.split(" as ").next().unwrap().trim().to_owned()];
    };
    let inner = &inner[..inner.rfind('}').unwrap()];
    let (mut parts, mut depth, mut start) = (Vec::new(), 0, 0);
    for (at, letter) in inner.char_indices() {
        match letter {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                parts.push(&inner[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&inner[start..]);
    let parts = parts.into_iter().filter(|part| !part.trim().is_empty());
    parts.flat_map(|part| expand(&format!("{prefix}{}", part.trim()))).collect()
}

/// A path from the root of the library; absent if it leads out of it.
fn absolute(module: &str, path: &str, modules: &BTreeMap<String, String>) -> Option<String> {
    let path = path.trim_end_matches("::self");
    let mut base = module.to_owned();
    let rest = match path.split("::").next()? {
        "crate" => return Some(path.trim_start_matches("crate").trim_start_matches("::").to_owned()),
        "self" => path.strip_prefix("self::")?,
        "super" => {
            let mut rest = path;
            while let Some(after) = rest.strip_prefix("super::") {
                base = base.rsplit_once("::").map_or(String::new(), |(parent, _)| parent.to_owned());
                rest = after;
            }
            rest
        }
        child => {
            let child = if base.is_empty() { child.to_owned() } else { format!("{base}::{child}") };
            modules.contains_key(&child).then_some(path)?
        }
    };
    Some(if base.is_empty() { rest.to_owned() } else { format!("{base}::{rest}") })
}

#[test]
fn each_folder_of_the_edge_knows_only_its_own_part() {
    let others = |known: &[&str]| {
        ["accept", "access", "admin", "admission", "drain", "http", "identity", "listener", "response", "sockets"]
            .into_iter()
            .filter(|folder| !known.contains(folder))
            .map(|folder| format!("crate::edge::{folder}"))
            .collect::<Vec<_>>()
    };
    // The edge as a whole is the state of all requests: its parts below the pipeline do without.
    let edge = ["crate::edge::Edge", "crate::edge::{Edge"];
    for folder in ["edge/access", "edge/identity", "edge/admission", "edge/listener", "edge/response"] {
        never(folder, &edge);
    }
    for (path, code) in code("edge/sockets") {
        let opens = path.ends_with("upgrade.rs") || path.ends_with("event_stream.rs");
        assert!(opens || !edge.iter().any(|word| code.contains(word)), "{} must not know the edge", path.display());
    }
    for (folder, known, never_named) in [
        // Access is decided for a verified user, without a connection and without a room.
        (
            "edge/access",
            &["access", "identity"][..],
            &["crate::room", "crate::guest", "crate::store", "tokio::net", "hyper::"][..],
        ),
        // A credential is judged without a room and without a socket.
        ("edge/identity", &["identity", "access"], &["crate::room", "crate::guest", "crate::store", "tokio::net"]),
        // Limits are counted without knowledge of what is limited.
        ("edge/admission", &["admission"], &["crate::room", "crate::guest", "crate::store", "tokio::net"]),
        ("edge/listener", &["listener", "response"], &["crate::room", "crate::guest", "crate::store"]),
        // An answer knows nothing of what answers.
        ("edge/response", &["response"], &["crate::guest", "crate::store", "tungstenite"]),
        (
            "edge/sockets",
            &["sockets", "access", "admission", "identity", "listener", "response"],
            &["crate::guest", "crate::store"],
        ),
        (
            "edge/http",
            &["http", "access", "admission", "identity", "listener", "response", "sockets"],
            &["crate::store", "tungstenite"],
        ),
    ] {
        let others = others(known);
        never(folder, &others.iter().map(String::as_str).chain(never_named.iter().copied()).collect::<Vec<_>>());
    }
}
