//! Component files of tests. Each component is built, written and compiled once, however many tests use it.

use std::collections::HashMap;
use std::env;
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process;
use std::sync::{Arc, LazyLock, Mutex, OnceLock, PoisonError};

use crate::build;

/// The origin of a component.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(crate) enum Source {
    Bytes(&'static [u8]),
    File(PathBuf),
    /// The folder of its `Cargo.toml`.
    Crate(PathBuf),
}

/// The file of a component, and its name in messages.
#[derive(Clone)]
pub(crate) struct Component {
    pub(crate) file: PathBuf,
    pub(crate) name: String,
    first: Arc<OnceLock<()>>,
}

impl Component {
    /// Makes the first test load it alone. That compiles it, and all other tests take it from the cache.
    pub(crate) fn loaded_once<T>(&self, mut load: impl FnMut() -> T) -> T {
        let mut loaded = None;
        self.first.get_or_init(|| loaded = Some(load()));
        loaded.unwrap_or_else(load)
    }
}

/// The file of a component, or the reason why there is none.
pub(crate) fn file(source: Source, name: &str) -> Result<Component, String> {
    type Files = HashMap<Source, Arc<OnceLock<Result<Component, String>>>>;
    static FILES: LazyLock<Mutex<Files>> = LazyLock::new(Mutex::default);
    let mut files = FILES.lock().unwrap_or_else(PoisonError::into_inner);
    let file = files.entry(source.clone()).or_default().clone();
    drop(files);
    // Only tests that need this component wait for it.
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

/// A file with these bytes. The file of an earlier run is used again.
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

/// The target directory of cargo, found by its tag above the running test.
pub(crate) fn target_directory() -> Option<PathBuf> {
    let test = env::current_exe().ok()?;
    test.ancestors().find(|folder| folder.join("CACHEDIR.TAG").is_file()).map(Path::to_owned)
}

/// The folder of the source of Dormouse, in which this library was built.
pub(crate) fn repository() -> &'static Path {
    let kit = Path::new(env!("CARGO_MANIFEST_DIR"));
    kit.ancestors().nth(2).unwrap_or(kit)
}
