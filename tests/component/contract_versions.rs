//! The contract as a product: every item says what it is, older components go on working, and unknown ones are refused
//! with what to do.

use std::collections::BTreeMap;
use std::path::Path;

use dormouse::config::Limits;
use dormouse::guest::{CONTRACT, CompiledRoom, Engine};
use dormouse_bundle::{COUNTER, ROUTER};
use dormouse_test::{Permission, Request, TestRoom, TestUser};
use wit_parser::{Docs, Handle, InterfaceId, PackageId, Resolve, Stability, Type, TypeDefKind, TypeId};

use crate::wat_components::Module;

/// The first version. Later versions add to it.
const FIRST_VERSION: &str = include_str!("contract-0.1.0.wit");

fn current_contract() -> Resolve {
    let mut resolve = Resolve::default();
    resolve.push_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("../wit")).expect("wit/ is valid");
    resolve
}

fn first_contract() -> (Resolve, PackageId) {
    let mut resolve = Resolve::default();
    let package = resolve.push_str("contract-0.1.0.wit", FIRST_VERSION).expect("it was valid");
    (resolve, package)
}

/// A type in words that mean the same in every version: structures, not names, but for resources.
fn describe_type(resolve: &Resolve, ty: &Type) -> String {
    match ty {
        Type::Id(id) => describe_definition(resolve, *id),
        simple => format!("{simple:?}"),
    }
}

fn describe_definition(resolve: &Resolve, id: TypeId) -> String {
    let ty = &resolve.types[id];
    let maybe = |ty: &Option<Type>| ty.as_ref().map_or("_".into(), |ty| describe_type(resolve, ty));
    match &ty.kind {
        TypeDefKind::Record(record) => {
            let fields =
                record.fields.iter().map(|field| format!("{}: {}", field.name, describe_type(resolve, &field.ty)));
            format!("record {{{}}}", fields.collect::<Vec<_>>().join(", "))
        }
        TypeDefKind::Variant(variant) => {
            let cases = variant.cases.iter().map(|case| format!("{}({})", case.name, maybe(&case.ty)));
            format!("variant {{{}}}", cases.collect::<Vec<_>>().join(", "))
        }
        TypeDefKind::Enum(cases) => {
            let cases = cases.cases.iter().map(|case| case.name.as_str());
            format!("enum {{{}}}", cases.collect::<Vec<_>>().join(", "))
        }
        TypeDefKind::Flags(flags) => {
            let flags = flags.flags.iter().map(|flag| flag.name.as_str());
            format!("flags {{{}}}", flags.collect::<Vec<_>>().join(", "))
        }
        TypeDefKind::Tuple(tuple) => {
            let types = tuple.types.iter().map(|ty| describe_type(resolve, ty));
            format!("tuple<{}>", types.collect::<Vec<_>>().join(", "))
        }
        TypeDefKind::Resource => format!("resource {}", ty.name.as_deref().expect("a resource has a name")),
        TypeDefKind::Handle(Handle::Own(id)) => format!("own<{}>", describe_definition(resolve, *id)),
        TypeDefKind::Handle(Handle::Borrow(id)) => format!("borrow<{}>", describe_definition(resolve, *id)),
        TypeDefKind::Option(ty) => format!("option<{}>", describe_type(resolve, ty)),
        TypeDefKind::Result(result) => format!("result<{}, {}>", maybe(&result.ok), maybe(&result.err)),
        TypeDefKind::List(ty) => format!("list<{}>", describe_type(resolve, ty)),
        TypeDefKind::Type(ty) => describe_type(resolve, ty),
        other => panic!("a kind of type that the contract has not used yet: {other:?}"),
    }
}

fn interfaces(resolve: &Resolve) -> impl Iterator<Item = (String, InterfaceId)> + '_ {
    resolve.interfaces.iter().filter_map(|(id, interface)| Some((interface.name.clone()?, id)))
}

/// Every function and type, by interface and name, in words.
fn items(resolve: &Resolve) -> BTreeMap<String, String> {
    let mut items = BTreeMap::new();
    for (name, id) in interfaces(resolve) {
        let interface = &resolve.interfaces[id];
        for (function, does) in &interface.functions {
            let parameters =
                does.params.iter().map(|param| describe_type(resolve, &param.ty)).collect::<Vec<_>>().join(", ");
            let result = does.result.as_ref().map_or("_".into(), |ty| describe_type(resolve, ty));
            items.insert(format!("{name}.{function}"), format!("({parameters}) -> {result}"));
        }
        for (ty, id) in &interface.types {
            items.insert(format!("{name}.{ty}"), describe_definition(resolve, *id));
        }
    }
    items
}

#[test]
fn the_contract_only_grows_since_its_first_version() {
    let (first, today) = (items(&first_contract().0), items(&current_contract()));
    assert!(first.len() > 50, "{}", first.len());
    for (item, was) in first {
        assert_eq!(
            today.get(&item),
            Some(&was),
            "{item} must stay as it was, or the contract needs another minor version"
        );
    }
}

/// The version in `@since(version = …)` of each interface, world, function and type that has one. A gate on an
/// interface is one on everything in it.
fn gates(resolve: &Resolve) -> BTreeMap<String, Option<String>> {
    let since = |stability: &Stability| match stability {
        Stability::Stable { since, .. } => Some(since.to_string()),
        Stability::Unknown => None,
        Stability::Unstable { .. } => panic!("the contract has no unstable items"),
    };
    let mut gates = BTreeMap::new();
    for (_, world) in resolve.worlds.iter() {
        gates.insert(format!("world {}", world.name), since(&world.stability));
    }
    for (name, id) in interfaces(resolve) {
        let interface = &resolve.interfaces[id];
        let of_all = since(&interface.stability);
        for (function, does) in &interface.functions {
            gates.insert(format!("{name}.{function}"), since(&does.stability).or(of_all.clone()));
        }
        for (ty, id) in &interface.types {
            gates.insert(format!("{name}.{ty}"), since(&resolve.types[*id].stability).or(of_all.clone()));
        }
        gates.insert(name, of_all);
    }
    gates
}

#[test]
fn every_item_after_the_first_version_says_since_when() {
    let (first, today) = (gates(&first_contract().0), gates(&current_contract()));
    assert!(first.values().all(Option::is_none) && today.len() > first.len());
    let changelog = include_str!("../../wit/CHANGELOG.md");
    for (item, since) in today {
        match since {
            None => assert!(first.contains_key(&item), "{item} has no `@since`, and 0.1.0 does not have it"),
            Some(since) => {
                assert!(!first.contains_key(&item), "{item} has `@since`, and 0.1.0 has it already");
                assert!(changelog.contains(&format!("## {since}\n")), "{item}: wit/CHANGELOG.md does not know {since}");
            }
        }
    }
}

#[test]
fn the_version_in_the_wit_is_the_supported_one() {
    let resolve = current_contract();
    let versions = resolve.packages.iter().map(|(_, package)| package.name.version.as_ref().unwrap().to_string());
    assert_eq!(versions.collect::<Vec<_>>(), [CONTRACT]);
    let changelog = include_str!("../../wit/CHANGELOG.md");
    assert!(changelog.contains(&format!("## {CONTRACT}\n")), "wit/CHANGELOG.md says nothing of {CONTRACT}");
}

/// Files that must name the version in full, because their formats have no other way.
const WITH_VERSION: [(&str, &str); 5] = [
    ("components/javascript/engine/wit/engine.wit", include_str!("../../components/javascript/engine/wit/engine.wit")),
    ("components/serve/wit/serve.wit", include_str!("../../components/serve/wit/serve.wit")),
    ("components/examples/javascript/kit.js", include_str!("../../components/examples/javascript/kit.js")),
    ("components/examples/javascript/room.js", include_str!("../../components/examples/javascript/room.js")),
    ("docs/test-driver.md", include_str!("../../docs/test-driver.md")),
];

#[test]
fn files_that_repeat_the_contracts_version_are_current() {
    for (file, text) in WITH_VERSION {
        let names = text.split("dormouse:room/").skip(1).filter_map(|name| name.split_once('@'));
        let names =
            names.filter(|(interface, _)| interface.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-'));
        let mut found = 0;
        for (interface, rest) in names {
            let is_current =
                rest.strip_prefix(CONTRACT).is_some_and(|rest| !rest.starts_with(|next: char| next.is_ascii_digit()));
            assert!(is_current, "{file} names another version of {interface} than {CONTRACT}");
            found += 1;
        }
        assert!(found > 0, "{file} names no interface of the contract");
    }
}

#[test]
fn every_item_of_the_contract_is_documented() {
    let resolve = current_contract();
    let mut silent = Vec::new();
    let mut ask = |item: String, docs: &Docs| {
        if docs.contents.as_deref().is_none_or(|docs| docs.trim().is_empty()) {
            silent.push(item);
        }
    };
    for (_, world) in resolve.worlds.iter() {
        ask(world.name.clone(), &world.docs);
    }
    for (name, id) in interfaces(&resolve) {
        let interface = &resolve.interfaces[id];
        ask(name.clone(), &interface.docs);
        for (function, does) in &interface.functions {
            ask(format!("{name}.{function}"), &does.docs);
        }
        for (ty, id) in &interface.types {
            let definition = &resolve.types[*id];
            match &definition.kind {
                // A name that is used from another interface says what it is there.
                TypeDefKind::Type(Type::Id(_)) => continue,
                TypeDefKind::Record(record) => {
                    record.fields.iter().for_each(|field| ask(format!("{name}.{ty}.{}", field.name), &field.docs));
                }
                TypeDefKind::Variant(variant) => {
                    variant.cases.iter().for_each(|case| ask(format!("{name}.{ty}.{}", case.name), &case.docs));
                }
                TypeDefKind::Enum(cases) => {
                    cases.cases.iter().for_each(|case| ask(format!("{name}.{ty}.{}", case.name), &case.docs));
                }
                TypeDefKind::Flags(flags) => {
                    flags.flags.iter().for_each(|flag| ask(format!("{name}.{ty}.{}", flag.name), &flag.docs));
                }
                _ => {}
            }
            ask(format!("{name}.{ty}"), &definition.docs);
        }
    }
    assert_eq!(silent, Vec::<String>::new());
}

/// A component as if it had been built against another version: the version is part of the names in it.
fn with_contract_version(version: &str, wasm: &[u8]) -> Vec<u8> {
    let (ours, other) = (format!("@{CONTRACT}"), format!("@{version}"));
    assert_eq!(ours.len(), other.len(), "names keep their length");
    let mut wasm = wasm.to_vec();
    let mut changed = 0;
    for at in 0..wasm.len() - ours.len() {
        if wasm[at..].starts_with(ours.as_bytes()) {
            wasm[at..at + ours.len()].copy_from_slice(other.as_bytes());
            changed += 1;
        }
    }
    assert!(changed > 5, "{changed} names in it had a version");
    wasm
}

fn load(version: &str) -> Result<CompiledRoom, String> {
    let engine = Engine::new(Limits { awake_rooms: 10, requests: 5, ..Limits::default() }.into()).unwrap();
    engine.room("poll.wasm", &with_contract_version(version, COUNTER)).map_err(|error| error.to_string())
}

#[test]
fn a_room_of_an_older_minor_version_still_works() {
    let old = with_contract_version("0.1.0", COUNTER);
    let mut room = TestRoom::new(Box::leak(old.into_boxed_slice()));
    let (ana, bo) = (room.join("ana"), room.join("bo"));
    room.send(&ana, "one");
    room.hibernate();
    assert_eq!(bo.received(), [0, 1]);
}

/// A component that was built against the first version: it knows no interface and no function of a later one.
#[test]
fn a_room_that_knows_only_the_first_version_still_works() {
    let (resolve, package) = first_contract();
    let mut room = TestRoom::new(Module::default().build("0.1.0", resolve, package));
    let imports = room.imports().iter().filter(|import| import.starts_with("dormouse:room/"));
    assert!(imports.clone().all(|import| import.ends_with("@0.1.0") && !import.contains("access")), "{imports:?}");
    let host = TestUser::new("ana").may([Permission::Moderate]).with_claim("role", "host");
    let ana = room.join_as(host.clone());
    room.send(&ana, "hello");
    room.renew(&ana, TestUser::new("ana").with_claim("role", "guest"));
    room.send(&ana, "hello");
    room.try_request_as(host, Request::get("/")).expect("its turn succeeds");
    room.leave(&ana);
}

#[test]
fn a_router_of_an_older_minor_version_still_works() {
    let engine = Engine::new(Limits { awake_rooms: 10, requests: 5, ..Limits::default() }.into()).unwrap();
    engine.router("router.wasm", &with_contract_version("0.1.0", ROUTER)).expect("it is spoken");
}

#[test]
fn a_component_of_an_unknown_version_is_refused_with_advice() {
    for version in ["0.1.9", "0.2.0", "1.0.0"] {
        let refused = load(version).err().expect("it is refused");
        let expected = format!(
            "poll.wasm was built against dormouse:room@{version}, and this dormouse supports {CONTRACT}: run a newer dormouse, or \
             build it against the files in wit/ of this one"
        );
        assert_eq!(refused, expected);
    }
}
