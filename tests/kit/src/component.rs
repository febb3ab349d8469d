//! Components of tests, as files that the driver can read: built, written and compiled once however many tests use them.

use std::collections::HashMap;
use std::env;
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process;
use std::sync::{Arc, LazyLock, Mutex, OnceLock, PoisonError};

use crate::build;

/// Where a component comes from.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(crate) enum Source {
    Bytes(&'static [u8]),
    File(PathBuf),
    /// The folder with its `Cargo.toml`.
    Crate(PathBuf),
}

/// A component's file, and the name that messages give it.
#[derive(Clone)]
pub(crate) struct Component {
    pub(crate) file: PathBuf,
    pub(crate) name: String,
    first: Arc<OnceLock<()>>,
}

impl Component {
    /// Have the first test load it alone: it is compiled then, and taken from the cache by all others.
    pub(crate) fn loaded_once<T>(&self, mut load: impl FnMut() -> T) -> T {
        let mut loaded = None;
        self.first.get_or_init(|| loaded = Some(load()));
        loaded.unwrap_or_else(load)
    }
}

/// The file of a component, or why there is none.
pub(crate) fn file(source: Source, name: &str) -> Result<Component, String> {
    type Files = HashMap<Source, Arc<OnceLock<Result<Component, String>>>>;
    static FILES: LazyLock<Mutex<Files>> = LazyLock::new(Mutex::default);
    let mut files = FILES.lock().unwrap_or_else(PoisonError::into_inner);
    let file = files.entry(source.clone()).or_default().clone();
    drop(files);
    // All tests that need the same one wait for it, and no others.
    let found = file.get_or_init(|| {
        let file = find(&source)?;
        let name = if matches!(source, Source::Bytes(_)) { name.to_owned() } else { file.display().to_string() };
        Ok(Component { file, name, first: Arc::default() })
    });
    found.clone()
}

fn find(source: &Source) -> Result<PathBuf, String> {
    match source {
        Source::Bytes(wasm) => write(wasm),
        Source::File(file) => std::path::absolute(file).map_err(|error| format!("{}: {error}", file.display())),
        Source::Crate(folder) => {
            let target = target_directory().unwrap_or_else(|| folder.join("target"));
            build::component(folder, &target)
        }
    }
}

/// A file with these bytes. What an earlier run has written is used again.
fn write(wasm: &[u8]) -> Result<PathBuf, String> {
    let folder = target_directory().unwrap_or_else(env::temp_dir).join("dormouse-components");
    let mut hasher = DefaultHasher::new();
    wasm.hash(&mut hasher);
    let file = folder.join(format!("{:016x}.wasm", hasher.finish()));
    if fs::read(&file).is_ok_and(|found| found == wasm) {
        return Ok(file);
    }
    let unfinished = file.with_extension(format!("{}.unfinished", process::id()));
    let written = fs::create_dir_all(&folder).and_then(|()| fs::write(&unfinished, wasm));
    let written = written.and_then(|()| fs::rename(&unfinished, &file));
    written.map_err(|error| format!("the component cannot be written to {}: {error}", file.display()))?;
    Ok(file)
}

/// Cargo's target directory, in which the running test lies; cargo marks it.
pub(crate) fn target_directory() -> Option<PathBuf> {
    let test = env::current_exe().ok()?;
    test.ancestors().find(|folder| folder.join("CACHEDIR.TAG").is_file()).map(Path::to_owned)
}

/// The folder of Dormouse's source, which this library was built in.
pub(crate) fn repository() -> &'static Path {
    let kit = Path::new(env!("CARGO_MANIFEST_DIR"));
    kit.ancestors().nth(2).unwrap_or(kit)
}
