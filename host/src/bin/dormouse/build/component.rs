//! Makes a component of the engine's core module, with the worlds that the bundle needs and no others.
//!
//! The engine declares everything that it could import or export. A room that reaches no other rooms must not import
//! `rooms`: its imports are what an operator sees, and what the host allows. So the rest is taken out of the
//! declaration, and modules that only trap stand where the engine's code still names such an import.

use anyhow::{Context, anyhow, bail};
use wasmtime::ValType;
use wit_component_of_wasmtime::{ComponentEncoder, StringEncoding, embed_component_metadata, metadata};

use super::snapshot::Snapshot;

/// The contract's package. The engine repeats its version, and the host checks it when it loads the component.
const CONTRACT: &str = "dormouse:room/";

/// The interfaces of requests to servers.
const REQUESTS: &str = "wasi:http/";

/// The kind of a component, by the hooks of its bundle.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Worlds {
    kind: Kind,
    has_personal_data: bool,
    has_migration: bool,
    /// It sends requests to servers.
    is_outbound: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Room,
    ConnectedRoom,
    Router,
    ConnectedRouter,
}

impl Worlds {
    /// Reads the words with which the engine describes a bundle.
    pub(super) fn parse(words: &str) -> anyhow::Result<Worlds> {
        let mut worlds =
            Worlds { kind: Kind::Room, has_personal_data: false, has_migration: false, is_outbound: false };
        for word in words.split_whitespace() {
            match word {
                "room" => worlds.kind = Kind::Room,
                "connected-room" => worlds.kind = Kind::ConnectedRoom,
                "router" => worlds.kind = Kind::Router,
                "connected-router" => worlds.kind = Kind::ConnectedRouter,
                "personal-data" => worlds.has_personal_data = true,
                "outbound" => worlds.is_outbound = true,
                "migration" => worlds.has_migration = true,
                _ => {
                    bail!("the engine describes the bundle as {words:?}, which this version of Dormouse does not know")
                }
            }
        }
        Ok(worlds)
    }

    /// The worlds in words, for the author.
    pub(super) fn shown(&self) -> String {
        let kind = match self.kind {
            Kind::Room => "a room",
            Kind::ConnectedRoom => "a room that may reach other rooms",
            Kind::Router => "a router",
            Kind::ConnectedRouter => "a router that may call rooms",
        };
        let mut also = Vec::new();
        if self.is_outbound {
            also.push("may reach servers");
        }
        if self.has_personal_data {
            also.push("exports and erases personal data");
        }
        if self.has_migration {
            also.push("migrates its data");
        }
        if also.is_empty() { kind.to_owned() } else { format!("{kind} that {}", also.join(" and ")) }
    }

    fn is_router(&self) -> bool {
        matches!(self.kind, Kind::Router | Kind::ConnectedRouter)
    }

    /// Whether the component imports an interface, by its whole name. Those of WASI stay, except for that of requests.
    fn keeps(&self, name: &str) -> bool {
        match interface(name) {
            Some(interface) => self.imports(interface),
            None => self.is_outbound || !name.starts_with(REQUESTS),
        }
    }

    fn imports(&self, interface: &str) -> bool {
        match interface {
            "types" | "context" | "access" => true,
            "sockets" | "storage" | "timers" | "upgrade" => !self.is_router(),
            "rooms" => matches!(self.kind, Kind::ConnectedRoom | Kind::ConnectedRouter),
            "outbox" => self.kind == Kind::ConnectedRoom,
            "grants" => self.is_router(),
            _ => false,
        }
    }

    fn exports(&self, interface: &str) -> bool {
        match interface {
            "room" => !self.is_router(),
            "router" => self.is_router(),
            "personal-data" => self.has_personal_data,
            "migration" => self.has_migration,
            _ => false,
        }
    }
}

/// A function that the engine's code imports, with the types of its parameters and results.
pub(super) struct Import {
    pub(super) interface: String,
    pub(super) name: String,
    pub(super) parameters: Vec<ValType>,
    pub(super) results: Vec<ValType>,
}

/// Makes the component of a snapshot.
pub(super) fn make(snapshot: &Snapshot) -> anyhow::Result<Vec<u8>> {
    let Snapshot { module, imports: functions, worlds, .. } = snapshot;
    let (module, mut declared) = metadata::decode(module)?;
    let mut module = module.ok_or_else(|| anyhow!("the engine declares no world"))?;
    let resolve = &mut declared.resolve;
    let names = resolve.worlds[declared.world].clone();
    let imports = names.imports.iter().filter(|(key, _)| worlds.keeps(&resolve.name_world_key(key)));
    let imports = imports.map(|(key, item)| (key.clone(), item.clone())).collect();
    let is_exported = |key| interface(&resolve.name_world_key(key)).is_none_or(|name| worlds.exports(name));
    let exports = names.exports.iter().filter(|(key, _)| is_exported(key));
    let exports = exports.map(|(key, item)| (key.clone(), item.clone())).collect();
    let world = &mut resolve.worlds[declared.world];
    (world.imports, world.exports) = (imports, exports);
    // The encoder gives a module without a declaration the name that the engine's world has, and would merge the two.
    if let Some(package) = world.package {
        resolve.packages[package].name.name = "javascript".into();
    }
    let unused = unused(functions, worlds);
    rename_imports(&mut module, &unused)?;
    embed_component_metadata(&mut module, resolve, declared.world, StringEncoding::UTF8)?;

    let mut encoder = ComponentEncoder::default().validate(true).module(&module)?;
    if !unused.is_empty() {
        encoder = encoder.adapter(UNUSED, &trapping_module(&unused)?)?;
    }
    encoder.encode().context("the component cannot be made")
}

/// The name of an interface of the contract, such as `rooms` of `dormouse:room/rooms@0.1.6`.
fn interface(name: &str) -> Option<&str> {
    name.strip_prefix(CONTRACT).map(|name| name.split_once('@').map_or(name, |(name, _)| name))
}

/// The functions that the engine's code imports and the component does not.
fn unused<'a>(imports: &'a [Import], worlds: &Worlds) -> Vec<&'a Import> {
    imports.iter().filter(|import| !worlds.keeps(&import.interface)).collect()
}

/// The name of the module that stands for all unused interfaces. With one for each, a component would have more core
/// instances than the host's pool has for it.
const UNUSED: &str = "unused";

/// The name of an unused function in that module.
fn unused_name(interface: &str, name: &str) -> String {
    format!("{interface}#{name}")
}

/// Lets a core module import unused functions from the module [`UNUSED`]. Nothing else of it changes.
fn rename_imports(module: &mut Vec<u8>, unused: &[&Import]) -> anyhow::Result<()> {
    const HEADER_BYTES: usize = 8;
    const IMPORTS: u8 = 2;

    let mut rest = Reader(module.get(HEADER_BYTES..).context("the engine is no module")?);
    while !rest.0.is_empty() {
        let begin = module.len() - rest.0.len();
        let id = rest.byte()?;
        let bytes = rest.number()?;
        let section = rest.take(bytes)?;
        if id != IMPORTS {
            continue;
        }
        let end = module.len() - rest.0.len();
        let section = renamed(section, unused)?;
        let mut replacement = vec![IMPORTS];
        replacement.extend(length(section.len()));
        replacement.extend(section);
        module.splice(begin..end, replacement);
        return Ok(());
    }
    Ok(())
}

/// An import section with other names. All imports are functions, as `snapshot.rs` has checked.
fn renamed(section: &[u8], unused: &[&Import]) -> anyhow::Result<Vec<u8>> {
    const FUNCTION: u8 = 0;

    let mut rest = Reader(section);
    let count = rest.number()?;
    let mut out = length(count);
    for _ in 0..count {
        let (interface, name) = (rest.text()?, rest.text()?);
        let is_unused = unused.iter().any(|import| import.interface == interface && import.name == name);
        let renamed = unused_name(interface, name);
        let names = if is_unused { [UNUSED, &renamed] } else { [interface, name] };
        for name in names {
            out.extend(length(name.len()));
            out.extend(name.as_bytes());
        }
        anyhow::ensure!(rest.byte()? == FUNCTION, "the engine imports more than functions");
        out.push(FUNCTION);
        out.extend(length(rest.number()?));
    }
    Ok(out)
}

/// Reads the numbers and texts of a core module.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, bytes: usize) -> anyhow::Result<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(bytes).context("the engine ends too early")?;
        self.0 = rest;
        Ok(taken)
    }

    fn byte(&mut self) -> anyhow::Result<u8> {
        Ok(self.take(1)?[0])
    }

    fn number(&mut self) -> anyhow::Result<usize> {
        let mut number = 0;
        for shift in (0..35).step_by(7) {
            let byte = self.byte()?;
            number |= usize::from(byte & 0x7F) << shift;
            if byte < 0x80 {
                return Ok(number);
            }
        }
        bail!("the engine has a number that is too long")
    }

    fn text(&mut self) -> anyhow::Result<&'a str> {
        let bytes = self.number()?;
        std::str::from_utf8(self.take(bytes)?).context("the engine has a name that is not UTF-8")
    }
}

/// Makes a core module that exports these functions. Each of them traps.
fn trapping_module(functions: &[&Import]) -> anyhow::Result<Vec<u8>> {
    const FUNCTION_TYPE: u8 = 0x60;
    const FUNCTION_EXPORT: u8 = 0;
    /// Three bytes: no locals, `unreachable`, `end`.
    const BODY: [u8; 4] = [3, 0, 0x00, 0x0B];

    let count = length(functions.len());
    let (mut types, mut declarations, mut exports, mut bodies) =
        (count.clone(), count.clone(), count.clone(), count.clone());
    for (index, function) in functions.iter().enumerate() {
        types.push(FUNCTION_TYPE);
        for list in [&function.parameters, &function.results] {
            types.extend(length(list.len()));
            types.extend(list.iter().map(type_code).collect::<anyhow::Result<Vec<_>>>()?);
        }
        declarations.extend(length(index));
        let name = unused_name(&function.interface, &function.name);
        exports.extend(length(name.len()));
        exports.extend(name.as_bytes());
        exports.push(FUNCTION_EXPORT);
        exports.extend(length(index));
        bodies.extend(BODY);
    }
    let mut module = b"\0asm\x01\0\0\0".to_vec();
    for (section, contents) in [(1, types), (3, declarations), (7, exports), (10, bodies)] {
        module.push(section);
        module.extend(length(contents.len()));
        module.extend(contents);
    }
    Ok(module)
}

fn type_code(value: &ValType) -> anyhow::Result<u8> {
    match value {
        ValType::I32 => Ok(0x7F),
        ValType::I64 => Ok(0x7E),
        ValType::F32 => Ok(0x7D),
        ValType::F64 => Ok(0x7C),
        other => bail!("the engine imports a function with a value of the type {other}"),
    }
}

/// LEB128, as WebAssembly writes numbers.
fn length(mut number: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    while number >= 0x80 {
        bytes.push(number as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
    bytes
}

#[cfg(test)]
mod tests {
    use wasmtime::{Engine, Module};

    use super::*;

    #[test]
    fn the_words_of_the_engine_are_understood() {
        let worlds = Worlds::parse("connected-room personal-data migration").unwrap();
        assert_eq!(
            worlds,
            Worlds { kind: Kind::ConnectedRoom, has_personal_data: true, has_migration: true, is_outbound: false }
        );
        assert!(worlds.imports("outbox") && !worlds.imports("grants") && worlds.exports("migration"));
        assert!(worlds.keeps("wasi:io/streams@0.2.12") && !worlds.keeps("wasi:http/types@0.2.12"));
        assert!(Worlds::parse("room outbound").unwrap().keeps("wasi:http/types@0.2.12"));
        let router = Worlds::parse("router").unwrap();
        assert!(router.imports("grants") && !router.imports("storage") && !router.exports("room"));
        let router = Worlds::parse("connected-router").unwrap();
        assert!(router.imports("rooms") && router.imports("grants") && router.exports("router"));
        assert!(!router.imports("outbox") && !router.imports("upgrade"));
        Worlds::parse("actor").unwrap_err();
    }

    #[test]
    fn a_module_of_trapping_functions_is_valid() {
        let parameters = vec![ValType::I32, ValType::I64, ValType::F32, ValType::F64];
        let function = |number: u32| Import {
            interface: "dormouse:room/rooms".into(),
            name: format!("f{number}"),
            parameters: parameters.clone(),
            results: vec![ValType::I32],
        };
        let functions = (0..200).map(function).collect::<Vec<_>>();
        let module = trapping_module(&functions.iter().collect::<Vec<_>>()).unwrap();
        let module = Module::new(&Engine::default(), module).unwrap();
        assert_eq!(module.exports().len(), 200);
    }
}
