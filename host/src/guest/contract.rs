//! Checks which version of the contract a component was built against, and whether this host supports it.
//!
//! Versions of `dormouse:room` that differ only in the last number are compatible: the newer one only adds to the older
//! one. Any other version is refused here, with advice for the author. wasmtime finds mismatches within a known
//! version, such as a function with the wrong type.

use super::failure::LoadError;

/// The name of the contract, without its version.
const PACKAGE: &str = "dormouse:room/";

/// A version of the contract.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Version {
    major: u64,
    minor: u64,
    patch: u64,
}

/// The version of the contract in `wit/`, which this host supports.
pub const CONTRACT: &str = version_of(include_str!("../../../wit/worlds.wit"));

/// Checks a component by the names of its imports and exports.
pub(super) fn check<'a>(component: &str, names: impl Iterator<Item = &'a str>) -> Result<(), LoadError> {
    let refuse = |built: &str, advice: &'static str| LoadError::Version {
        name: component.into(),
        built: built.into(),
        supported: CONTRACT,
        advice,
    };
    let ours = parse(CONTRACT).expect("a test parses it too");
    for name in names.filter(|name| name.starts_with(PACKAGE)) {
        let version = name.split_once('@').map_or("no version", |(_, version)| version);
        let Some(built) = parse(version) else {
            return Err(refuse(version, "build it against the files in wit/ of this dormouse"));
        };
        if built > ours {
            return Err(refuse(version, "run a newer dormouse, or build it against the files in wit/ of this one"));
        }
        if (built.major, built.minor) != (ours.major, ours.minor) {
            return Err(refuse(
                version,
                "build it again, against the files in wit/ of this dormouse; wit/CHANGELOG.md says what has changed",
            ));
        }
    }
    Ok(())
}

/// The newest version of the contract that a component names; empty if it names none. Its names were checked.
pub(super) fn built_against<'a>(names: impl Iterator<Item = &'a str>) -> String {
    let versions = names.filter_map(|name| parse(name.strip_prefix(PACKAGE)?.split_once('@')?.1));
    versions.max().map(|Version { major, minor, patch }| format!("{major}.{minor}.{patch}")).unwrap_or_default()
}

/// A kind of component, by the interface that it must export.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Room,
    Router,
}

/// Checks by the names of its exports that a component is of this kind.
pub(super) fn check_exports<'a>(
    component: &str,
    kind: Kind,
    exports: impl Iterator<Item = &'a str>,
) -> Result<(), LoadError> {
    let (mut is_room, mut is_router) = (false, false);
    for export in exports {
        is_room |= export.starts_with("dormouse:room/room@");
        is_router |= export.starts_with("dormouse:room/router@");
    }
    let other = |is, needed, advice| Err(LoadError::OtherKind { name: component.into(), is, needed, advice });
    let (kind, macro_name) = match kind {
        Kind::Room if is_room => return Ok(()),
        Kind::Router if is_router => return Ok(()),
        Kind::Room if is_router => {
            return other(
                "router",
                "room",
                "configure it as `router`, and name a room such as `builtin:chat-room` here",
            );
        }
        Kind::Router if is_room => {
            let advice = "configure it as a namespace's `component`, and name a router such as `builtin:router` here";
            return other("room", "router", advice);
        }
        Kind::Room => ("room", "`dormouse_room::export!(…)`"),
        Kind::Router => ("router", "`dormouse_room::export_router!(…)`"),
    };
    let interface = format!("{PACKAGE}{kind}@{CONTRACT}");
    Err(LoadError::NoExport { name: component.into(), kind, macro_name, interface })
}

/// Interfaces that a component cannot import, with advice for its author.
const NOT_OFFERED: [(&str, &str); 5] = [
    (
        "wasi:sockets/",
        "a room has no network, so std::net and what is built on it do not work; ask servers with `dormouse_room::web` \
         (its feature `web`) and `outbound` in the configuration, and let clients connect to the room itself",
    ),
    ("wasi:http/", "only rooms ask servers, and requests come to them as an event"),
    ("dormouse:room/grants@", "only a router chooses among rooms; a room asks `access` for what its own users may do"),
    ("dormouse:room/", "a router sees the request and nothing else; let a room do what needs more"),
    (
        "wasi:",
        "a room sees its storage, its sockets, its timers and what the operator allows; wit/ lists it all. Leave out the \
         function or the crate that needs this",
    ),
];

/// Explains why a component cannot be linked, from the names of its imports and the error of wasmtime. Absent if these
/// do not show the cause.
pub(super) fn not_offered(component: &str, imports: &[String], cause: &str) -> Option<LoadError> {
    let import = imports.iter().find(|import| cause.contains(&format!("`{import}`")))?;
    let (_, advice) = NOT_OFFERED.iter().find(|(prefix, _)| import.starts_with(prefix))?;
    Some(LoadError::NoImport { name: component.into(), import: import.clone(), advice })
}

/// The error for an import or an export that has another type than in the contract.
pub(super) fn mismatch(component: &str, error: &wasmtime::Error) -> LoadError {
    LoadError::Contract { name: component.into(), contract: CONTRACT, cause: format!("{error:#}") }
}

/// The version in the first line of a WIT file, `package dormouse:room@…;`.
const fn version_of(wit: &'static str) -> &'static str {
    let (_, version) = wit.split_at("package dormouse:room@".len());
    let mut end = 0;
    while version.as_bytes()[end] != b';' {
        end += 1;
    }
    version.split_at(end).0
}

fn parse(text: &str) -> Option<Version> {
    let mut numbers = text.split('.').map(|number| number.parse::<u64>().ok());
    let version = Version { major: numbers.next()??, minor: numbers.next()??, patch: numbers.next()?? };
    numbers.next().is_none().then_some(version)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judge(name: &str) -> Result<(), String> {
        check("poll.wasm", [name].into_iter()).map_err(|error| error.to_string())
    }

    #[test]
    fn older_minor_versions_are_supported() {
        let ours = parse(CONTRACT).unwrap();
        for patch in 0..=ours.patch {
            let name = format!("dormouse:room/storage@{}.{}.{patch}", ours.major, ours.minor);
            assert_eq!(judge(&name), Ok(()), "{name}");
        }
        assert_eq!(judge("wasi:cli/stdout@0.2.6"), Ok(()), "no matter of ours");
    }

    #[test]
    fn other_versions_are_refused_with_advice() {
        let ours = parse(CONTRACT).unwrap();
        let next = format!("dormouse:room/storage@{}.{}.{}", ours.major, ours.minor, ours.patch + 1);
        for (name, advice) in [
            (next.as_str(), "run a newer dormouse"),
            ("dormouse:room/storage@0.2.0", "run a newer dormouse"),
            ("dormouse:room/room@1.0.0", "run a newer dormouse"),
            ("dormouse:room/room@0.0.9", "build it again"),
            ("dormouse:room/room", "build it against"),
            ("dormouse:room/room@next", "build it against"),
        ] {
            let refused = judge(name).unwrap_err();
            assert!(refused.contains(advice) && refused.contains("poll.wasm"), "{name}: {refused}");
        }
    }
}
