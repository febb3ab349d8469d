//! The project of an author: its configuration, and from which sources each component of it is built.
//!
//! It is read anew for each build, because an edit may change the configuration too. It builds nothing; `builder.rs`
//! does.

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};

use anyhow::{bail, ensure};
use dormouse::config::{Config, Namespace, Store, full_path};
use dormouse::deploys::{BUILTIN, ROUTER};

use crate::build::is_wrangler;

/// The configurations that are looked for, in this order.
const DORMOUSE: &str = "dormouse.toml";
const WRANGLER: [&str; 3] = ["wrangler.jsonc", "wrangler.json", "wrangler.toml"];

/// The namespace of an entry that is served without a configuration.
const NAMESPACE: &str = "ROOMS";

/// What the author has named.
#[derive(Debug, Clone)]
pub(super) enum Given {
    /// A room in TypeScript or JavaScript.
    Entry(PathBuf),
    /// A dormouse.toml; a wrangler configuration may be beside it.
    Dormouse(PathBuf),
    Wrangler(PathBuf),
}

/// From what a component is built.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Source {
    /// An entry in TypeScript or JavaScript, which is bundled.
    Module(PathBuf),
    /// The module of a wrangler project with the name of the target.
    Worker,
    /// A crate in this folder. Its component is where the configuration says.
    Crate { folder: PathBuf, is_release: bool },
    /// Something else writes the file that the configuration names.
    File,
}

/// A project as it is now.
pub(super) struct Project {
    pub(super) config: Config,
    /// By namespace, or `router`. Components in the binary are not among them.
    pub(super) sources: BTreeMap<String, Source>,
    /// The wrangler configuration.
    pub(super) wrangler: Option<PathBuf>,
}

impl Given {
    /// Finds the project: what is named, or what is in the named folder, or in the working directory.
    pub(super) fn find(named: Option<&Path>) -> anyhow::Result<Given> {
        let named = full_path(named.unwrap_or(Path::new(".")))?;
        let shown = named.display();
        if named.is_dir() {
            if named.join(DORMOUSE).is_file() {
                return Ok(Given::Dormouse(named.join(DORMOUSE)));
            }
            return match wrangler_in(&named)? {
                Some(wrangler) => Ok(Given::Wrangler(wrangler)),
                None => bail!(
                    "{shown} has no {DORMOUSE} and no wrangler.jsonc: name the entry, such as `dormouse dev src/room.ts`, \
                     or begin with `dormouse new worker my-chat`"
                ),
            };
        }
        ensure!(
            named.is_file(),
            "{shown} is no file; name an entry such as src/room.ts, a {DORMOUSE} or a wrangler.jsonc"
        );
        if is_wrangler(&named)? {
            return Ok(Given::Wrangler(named));
        }
        match named.extension().and_then(|extension| extension.to_str()) {
            Some("toml") if named.ends_with("Cargo.toml") => {
                bail!("{shown}: a crate is served with its {DORMOUSE}, which names the component; write one beside it")
            }
            Some("toml") => Ok(Given::Dormouse(named)),
            Some("ts" | "tsx" | "mts" | "js" | "mjs" | "jsx") => Ok(Given::Entry(named)),
            _ => bail!("{shown}: it is no entry in TypeScript or JavaScript, no {DORMOUSE} and no wrangler.jsonc"),
        }
    }

    /// What was named or found, for the author.
    pub(super) fn shown(&self) -> String {
        let (Given::Entry(file) | Given::Dormouse(file) | Given::Wrangler(file)) = self;
        shown(file, self.folder())
    }

    /// The folder of the project, whose files are watched.
    pub(super) fn folder(&self) -> &Path {
        match self {
            Given::Dormouse(file) | Given::Wrangler(file) => parent(file),
            // An entry is a few folders below its package, or else below the folder in which the author works.
            Given::Entry(file) => {
                let here = full_path(Path::new(".")).unwrap_or_default();
                let is_package = |folder: &&Path| folder.join("package.json").is_file();
                let folders = || file.ancestors().skip(1);
                let found = folders().find(is_package).or_else(|| folders().find(|folder| *folder == here));
                found.unwrap_or(parent(file))
            }
        }
    }
}

impl Project {
    /// Reads the configuration, and finds out what each component is built from.
    pub(super) fn read(given: &Given) -> anyhow::Result<Project> {
        match given {
            Given::Entry(entry) => {
                let config = Config {
                    namespaces: BTreeMap::from([(NAMESPACE.into(), Namespace::of(""))]),
                    page: false,
                    ..Config::default()
                };
                let sources = BTreeMap::from([(NAMESPACE.into(), Source::Module(entry.clone()))]);
                Ok(Project { config, sources, wrangler: None })
            }
            Given::Wrangler(file) => {
                let config =
                    Config { namespaces: BTreeMap::new(), page: false, base_path: "/".into(), ..Config::default() };
                Ok(Project { config, sources: BTreeMap::new(), wrangler: Some(file.clone()) })
            }
            Given::Dormouse(file) => Project::configured(file),
        }
    }

    fn configured(file: &Path) -> anyhow::Result<Project> {
        let mut config = Config::load(file)?;
        let folder = parent(file);
        // A project is tried on its own machine, and never on the rooms of others.
        config.cluster = None;
        config.store = Store::default();
        let wrangler = wrangler_in(folder)?;
        let named = config
            .namespaces
            .iter()
            .map(|(name, namespace)| (name.as_str(), namespace.component.as_str(), namespace.source.as_deref()));
        let mut sources = BTreeMap::new();
        for (name, component, source) in named.chain([(ROUTER, config.router.as_str(), None)]) {
            let source = match source {
                Some(source) if Path::new(source).is_file() => Source::Module(source.into()),
                Some(source) => {
                    bail!("namespaces.{name}.source: {source} is no file; name an entry such as src/room.ts")
                }
                None if component.starts_with(BUILTIN) => continue,
                None => match crate_of(component) {
                    Some(of_crate) => of_crate,
                    // The builder knows whether the Worker has such a module.
                    None if wrangler.is_some() => Source::Worker,
                    None => Source::File,
                },
            };
            sources.insert(name.to_owned(), source);
        }
        let has_worker = sources.values().any(|source| *source == Source::Worker);
        Ok(Project { config, sources, wrangler: wrangler.filter(|_| has_worker) })
    }

    /// The file of a target's component, as the configuration names it.
    pub(super) fn component(&self, target: &str) -> Option<&Path> {
        let component =
            if target == ROUTER { &self.config.router } else { &self.config.namespaces.get(target)?.component };
        Some(Path::new(component))
    }
}

/// The wrangler configuration in a folder.
///
/// Fails: for one in TOML, which is not read.
fn wrangler_in(folder: &Path) -> anyhow::Result<Option<PathBuf>> {
    let found = WRANGLER.iter().map(|name| folder.join(name)).find(|file| file.is_file());
    match found {
        Some(file) => is_wrangler(&file).map(|_| Some(file)),
        None => Ok(None),
    }
}

/// The crate of a component in the folder in which cargo builds, such as `target/wasm32-wasip2/release/room.wasm`.
fn crate_of(component: &str) -> Option<Source> {
    let component = Path::new(component);
    let profile = component.parent()?;
    let target = profile.parent()?;
    let is_release = match profile.file_name()?.to_str()? {
        "release" => true,
        "debug" => false,
        _ => return None,
    };
    let folder = target.parent()?.parent()?;
    let is_built = target.ends_with("target/wasm32-wasip2") && folder.join("Cargo.toml").is_file();
    is_built.then(|| Source::Crate { folder: folder.to_owned(), is_release })
}

fn parent(file: &Path) -> &Path {
    file.parent().unwrap_or(Path::new("/"))
}

/// A path below a folder as the author would write it; others as they are.
pub(super) fn shown(path: &Path, folder: &Path) -> String {
    let below =
        path.strip_prefix(folder).ok().filter(|below| below.components().all(|part| part != Component::ParentDir));
    below.unwrap_or(path).display().to_string()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_configuration_says_what_each_component_is_built_from() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        let write = |name: &str, text: &str| fs::write(folder.join(name), text).unwrap();
        write("Cargo.toml", "");
        write("room.ts", "");
        write(
            "dormouse.toml",
            "router = \"builtin:router\"\n[store]\nurl = \"postgres://db/rooms\"\n\
             [namespaces.A]\ncomponent = \"target/wasm32-wasip2/release/a.wasm\"\n\
             [namespaces.B]\ncomponent = \"b.wasm\"\nsource = \"room.ts\"\n\
             [namespaces.C]\ncomponent = \"c.wasm\"\n[namespaces.D]\ncomponent = \"builtin:chat-room\"\n",
        );
        let read = || Project::read(&Given::find(Some(folder)).unwrap());
        let project = read().unwrap();
        let of_crate = Source::Crate { folder: folder.to_owned(), is_release: true };
        let expected = [("A", of_crate), ("B", Source::Module(folder.join("room.ts"))), ("C", Source::File)];
        assert_eq!(project.sources, expected.map(|(name, source)| (name.to_owned(), source)).into());
        assert!(project.wrangler.is_none() && project.config.store.url.is_none());
        write("wrangler.jsonc", "{}");
        assert_eq!(read().unwrap().sources["C"], Source::Worker);
        fs::remove_file(folder.join("room.ts")).unwrap();
        assert!(read().err().unwrap().to_string().contains("namespaces.B.source"));
    }

    #[test]
    fn other_folders_and_files_are_refused_with_advice() {
        let folder = tempfile::tempdir().unwrap();
        let refused = |name: &str| Given::find(Some(&folder.path().join(name))).unwrap_err().to_string();
        assert!(refused("").contains("dormouse new worker"), "{}", refused(""));
        assert!(refused("room.ts").contains("is no file"));
        for (name, advice) in [("room.rs", "no entry in TypeScript"), ("Cargo.toml", "dormouse.toml")] {
            fs::write(folder.path().join(name), "").unwrap();
            assert!(refused(name).contains(advice), "{}", refused(name));
        }
        fs::write(folder.path().join("wrangler.toml"), "").unwrap();
        assert!(refused("").contains("write the same as wrangler.jsonc"), "{}", refused(""));
    }
}
