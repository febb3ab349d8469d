//! The side of the build: `dormouse build` writes a bundle into this module, runs its top level, and reads what the
//! component is.
//!
//! These functions are exports of the core module, not of the component. They run once, before the snapshot. The
//! numbers are offsets in the memory.

#![expect(unsafe_code, reason = "the builder reads and writes the memory of the module")]

use std::cell::RefCell;
use std::fmt::Write as _;

use rquickjs::module::Evaluated;
use rquickjs::{Ctx, Function, Module, Object, Value};

use crate::engine::{Engine, explain, run_own};
use crate::flat;
use crate::hooks::{Hook, Hooks};
use crate::trace::SourceMap;

thread_local! {
    static INPUT: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
    static OUTPUT: RefCell<String> = const { RefCell::new(String::new()) };
    static LOG: RefCell<String> = const { RefCell::new(String::new()) };
}

/// The bytes of log lines that a build keeps.
const MAX_LOG_BYTES: usize = 1 << 20;

/// Makes room for the input, and returns its offset.
#[unsafe(export_name = "dormouse-build-input")]
extern "C" fn input(bytes: usize) -> *mut u8 {
    INPUT.with_borrow_mut(|input| {
        *input = vec![0; bytes];
        input.as_mut_ptr()
    })
}

/// Runs the top level of the bundle. The input is its name, its source and its source map in JSON (which may be empty),
/// one behind the other, with these lengths. Returns 0, or 1 if the bundle cannot be built; `output` says more.
#[unsafe(export_name = "dormouse-build-run")]
extern "C" fn run(name: usize, source: usize, map: usize) -> u32 {
    let mut input = INPUT.take();
    let result = parts(&input, [name, source, map]).and_then(|[name, source, map]| {
        let map = if map.is_empty() { None } else { Some(SourceMap::parse(name, map)?) };
        Engine::start(name, source, map)
    });
    let (status, output) = match result {
        Ok(()) => (0, Engine::with(|engine| description(engine.hooks()))),
        Err(error) => (1, error),
    };
    OUTPUT.set(output);
    // The snapshot has all of the memory, also what is free. Zeros cost nothing in it.
    input.fill(0);
    std::hint::black_box(&input);
    status
}

/// The offset of the output: the worlds of the component, in words; or the error.
#[unsafe(export_name = "dormouse-build-output")]
extern "C" fn output() -> *const u8 {
    OUTPUT.with_borrow(|output| output.as_ptr())
}

/// The length of the output in bytes.
#[unsafe(export_name = "dormouse-build-output-bytes")]
extern "C" fn output_bytes() -> usize {
    OUTPUT.with_borrow(String::len)
}

/// Makes the log of the top level the output.
#[unsafe(export_name = "dormouse-build-log")]
extern "C" fn log() {
    OUTPUT.set(LOG.take());
}

/// Frees what only the build needs, before the snapshot.
#[unsafe(export_name = "dormouse-build-end")]
extern "C" fn end() {
    OUTPUT.take();
    LOG.take();
}

/// Cuts the input into texts with these lengths.
fn parts<const N: usize>(input: &[u8], lengths: [usize; N]) -> Result<[&str; N], String> {
    let mut rest = input;
    let mut parts = [""; N];
    for (part, length) in parts.iter_mut().zip(lengths) {
        let (bytes, after) = rest.split_at_checked(length).ok_or("the input is too short")?;
        *part = std::str::from_utf8(bytes).map_err(|_| "the bundle is not UTF-8")?;
        rest = after;
    }
    Ok(parts)
}

/// The worlds of a component with these hooks.
fn description(hooks: &Hooks) -> String {
    let mut text = hooks.world.name().to_owned();
    if hooks.outbound {
        text.push_str(" outbound");
    }
    if hooks.has(Hook::ExportUser) {
        text.push_str(" personal-data");
    }
    if hooks.has(Hook::Migrate) {
        text.push_str(" migration");
    }
    text
}

/// Keeps a line that the top level logs.
pub(crate) fn log_line(level: &str, line: &str) {
    LOG.with_borrow_mut(|log| {
        if log.len() + line.len() < MAX_LOG_BYTES {
            let _ = writeln!(log, "{level}: {line}");
        }
    });
}

/// The error of an import that the engine does not have.
pub(crate) fn refused_import(name: &str) -> String {
    let reason = if name.starts_with("node:") || is_node_builtin(name) {
        "it is a part of Node.js, and a room has neither files nor a network of its own; use what the contract offers"
    } else if name.starts_with("dormouse:") {
        "the engine has no such module; update Dormouse, or correct the name"
    } else {
        "it is not in the bundle; let `dormouse build` bundle the entry, or bundle it before"
    };
    format!("cannot import \"{name}\": {reason}")
}

fn is_node_builtin(name: &str) -> bool {
    let builtins = [
        "assert",
        "buffer",
        "child_process",
        "cluster",
        "crypto",
        "dgram",
        "dns",
        "events",
        "fs",
        "http",
        "http2",
        "https",
        "net",
        "os",
        "path",
        "process",
        "readline",
        "stream",
        "tls",
        "url",
        "util",
        "vm",
        "worker_threads",
        "zlib",
    ];
    builtins.contains(&name.split('/').next().unwrap_or(name))
}

/// Registers the default export of a bundle that did not call `serve`.
pub(crate) fn adopt_default_export<'js>(ctx: &Ctx<'js>, module: &Module<'js, Evaluated>) -> Result<(), String> {
    if Hooks::are_registered() {
        return Ok(());
    }
    let export: Value = module.get("default").unwrap_or_else(|_| Value::new_undefined(ctx.clone()));
    ctx.catch();
    if !export.is_object() {
        return Err(
            "the module has no default export: write `export default class { message(socket, data) { … } }`, or \
            call `serve` of \"dormouse:host\""
                .into(),
        );
    }
    let adopt = || {
        let adopt: Function = run_own(ctx, "dormouse:adopt", include_str!("adopt.js"))?.get("default")?;
        let host: Object = Module::import(ctx, flat::MODULE)?.finish()?;
        adopt.call::<_, ()>((export, host.get::<_, Function>("serve")?))
    };
    adopt().map_err(|error| explain(ctx, error))?;
    if Hooks::are_registered() { Ok(()) } else { Err("the default export has registered no hooks".into()) }
}

/// Ends what is only there while the top level runs: a clock that refuses to tell the time.
pub(crate) fn end_of_top_level(ctx: &Ctx<'_>) -> rquickjs::Result<()> {
    let end: Function = ctx.globals().get("__endOfTopLevel")?;
    ctx.globals().remove("__endOfTopLevel")?;
    end.call(())
}
