//! Rooms that no compiler makes: a core module in text, made into a component by the tool that all toolchains use.

use dormouse::guest::CONTRACT;
use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::{PackageId, Resolve};

/// Interfaces of WASI that such a room misuses: as much of them as is needed here.
const WASI: &str = "
package wasi:random@0.2.0;
interface random { get-random-bytes: func(len: u64) -> list<u8>; }
world needs { import random; }
";

/// The imports of a core module, with the types of the canonical ABI. `@CONTRACT` stands for the contract's version.
const IMPORTS: &str = r#"
    (import "dormouse:room/context@CONTRACT" "now" (func $now (result i64)))
    (import "dormouse:room/context@CONTRACT" "log" (func $log (param i32 i32 i32)))
    (import "dormouse:room/storage@CONTRACT" "get" (func $get (param i32 i32 i32)))
    (import "dormouse:room/storage@CONTRACT" "get-many" (func $get-many (param i32 i32 i32)))
    (import "dormouse:room/storage@CONTRACT" "put" (func $put (param i32 i32 i32 i32 i32)))
    (import "dormouse:room/storage@CONTRACT" "put-many" (func $put-many (param i32 i32 i32)))
    (import "dormouse:room/sockets@CONTRACT" "[method]socket.id" (func $id (param i32) (result i64)))
    (import "dormouse:room/sockets@CONTRACT" "[resource-drop]socket" (func $drop (param i32)))
    (import "dormouse:room/sockets@CONTRACT" "get" (func $socket (param i64 i32)))
    (import "wasi:random/random@0.2.0" "get-random-bytes" (func $random (param i64 i32)))
"#;

/// A core module, and where it differs from one that does nothing.
pub(crate) struct Module {
    /// Its own definitions.
    pub(crate) fields: &'static str,
    /// The function by which the host allocates space for its data. The default returns the same space each time.
    pub(crate) realloc: &'static str,
    /// The code of `on-request`, before it answers with the bytes at address 1024.
    pub(crate) request: &'static str,
}

impl Default for Module {
    fn default() -> Self {
        Module { fields: "(memory (export \"memory\") 16)", realloc: "(i32.const 65536)", request: "" }
    }
}

impl Module {
    pub(crate) fn component(&self) -> &'static [u8] {
        let mut resolve = Resolve::default();
        let (package, _) = resolve.push_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../wit")).unwrap();
        self.build(CONTRACT, resolve, package)
    }

    /// The same, built against this version of the contract.
    pub(crate) fn build(&self, version: &str, mut resolve: Resolve, contract: PackageId) -> &'static [u8] {
        let with_version = |text: &str| text.replace("@CONTRACT", &format!("@{version}"));
        let Module { fields, realloc, request } = self;
        let text = format!(
            r#"(module {IMPORTS} {fields}
                (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) {realloc})
                (func (export "dormouse:room/room@CONTRACT#wake") (result i32) (i32.const 1024))
                (func (export "dormouse:room/room@CONTRACT#on-connect") (param i32) (result i32)
                    (call $drop (i32.load offset=64 (local.get 0))) (i32.const 1024))
                (func (export "dormouse:room/room@CONTRACT#on-message")
                    (param i32 i32 i32 i32) (result i32) (call $drop (local.get 0)) (i32.const 1024))
                (func (export "dormouse:room/room@CONTRACT#on-close")
                    (param i32 i32 i32 i32 i32) (result i32) (call $drop (local.get 0)) (i32.const 1024))
                (func (export "dormouse:room/room@CONTRACT#on-timer")
                    (param i32 i32 i64 i32 i32 i32) (result i32) (i32.const 1024))
                (func (export "dormouse:room/room@CONTRACT#on-request")
                    (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32) (result i32)
                    {request} (i32.const 1024)))"#
        );
        let mut module = wat::parse_str(with_version(&text)).unwrap_or_else(|error| panic!("{error}"));
        resolve.push_str("wasi.wit", WASI).unwrap();
        let hostile = "package test:hostile;
            world hostile { include dormouse:room/room-component@CONTRACT; import wasi:random/random@0.2.0; }";
        let world = resolve.push_str("hostile.wit", &with_version(hostile)).unwrap();
        let world = resolve.select_world(&[world, contract], Some("test:hostile/hostile")).unwrap();
        embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8, false).unwrap();
        let mut encoder = ComponentEncoder::default();
        // Some of them are not valid, and it is for the host to say so.
        let encoded = encoder.validate(false).module(&module).and_then(|encoder| encoder.encode());
        encoded.unwrap_or_else(|error| panic!("{error:?}")).leak()
    }
}
