//! Components, compiled: once a process however many tests use them, and not at all where an earlier run has done it.

use std::collections::HashMap;
use std::env;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock, Mutex, OnceLock};

use dormouse::compiled::CompiledCode;
use dormouse::guest::{Engine, RoomKind};

use crate::build;

pub(crate) static ENGINE: LazyLock<Engine> = LazyLock::new(|| {
    let engine = Engine::new(Arc::new(crate::limits())).expect("the engine starts with small limits");
    // Compiling a component of JavaScript takes seconds. Where nothing can be kept, it takes them in every run.
    match target_directory().map(|target| CompiledCode::open(&target.join("dormouse-compiled"))) {
        Some(Ok(code)) => engine.with_cache(Arc::new(code)),
        Some(Err(_)) | None => engine,
    }
});

/// Where a component comes from.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(crate) enum Source {
    Bytes(&'static [u8]),
    File(PathBuf),
    /// The folder with its `Cargo.toml`.
    Crate(PathBuf),
}

/// The compiled component, or why there is none.
pub(crate) fn kind(source: Source) -> Result<RoomKind, String> {
    type Kinds = HashMap<Source, Arc<OnceLock<Result<RoomKind, String>>>>;
    static KINDS: LazyLock<Mutex<Kinds>> = LazyLock::new(Mutex::default);
    let kind = KINDS.lock().expect("no holder of this lock panics").entry(source.clone()).or_default().clone();
    // All tests that need the same one wait for it, and no others.
    kind.get_or_init(|| load(&source)).clone()
}

fn load(source: &Source) -> Result<RoomKind, String> {
    let compile = |name: &str, wasm: &[u8]| ENGINE.room(name, wasm).map_err(|error| error.to_string());
    let read = |file: &Path| {
        let wasm = std::fs::read(file).map_err(|error| format!("{} cannot be read: {error}", file.display()))?;
        compile(&file.display().to_string(), &wasm)
    };
    match source {
        Source::Bytes(wasm) => compile("the room under test", wasm),
        Source::File(file) => read(file),
        Source::Crate(folder) => {
            let target = target_directory().unwrap_or_else(|| folder.join("target"));
            read(&build::component(folder, &target)?)
        }
    }
}

/// Cargo's target directory, in which the running test lies; cargo marks it.
fn target_directory() -> Option<PathBuf> {
    let test = env::current_exe().ok()?;
    test.ancestors().find(|folder| folder.join("CACHEDIR.TAG").is_file()).map(Path::to_owned)
}
