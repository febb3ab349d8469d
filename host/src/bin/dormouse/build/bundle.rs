//! The bundle: one module in JavaScript, with its source map.
//!
//! esbuild makes it of the entry and all that the entry imports. It writes to its output with the map inside, so that the
//! names of sources are relative to the working directory.

use std::env;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;

use crate::children;

/// The name under which the engine knows the bundle, in stack traces without a source map.
const NAME: &str = "bundle.js";

/// The start of the line with which a bundler says where the source map is.
const MAP_COMMENT: &str = "//# sourceMappingURL=";

/// The longest bundle, in bytes. The memory of an instance is 64 MiB, and the engine needs about ten times the source.
const MAX_BYTES: usize = 4 << 20;

#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Bundle {
    pub(super) name: String,
    pub(super) source: String,
    /// The source map in the form that the engine reads: the names of the sources, one a line, an empty line, and the
    /// mappings. Empty if there is none.
    pub(super) map: String,
    /// The files of which it was made, as far as they are known.
    pub(crate) inputs: Vec<PathBuf>,
}

/// A source map in JSON.
#[derive(Deserialize)]
struct Map {
    sources: Vec<String>,
    mappings: String,
}

impl Bundle {
    /// Reads a file that is a bundle already, with the map that it names.
    pub(crate) fn read(entry: &Path) -> anyhow::Result<Bundle> {
        let shown = entry.display();
        let is_typescript =
            entry.extension().is_some_and(|extension| ["ts", "tsx", "mts"].iter().any(|ts| extension == *ts));
        ensure!(!is_typescript, "{shown} is TypeScript, which must be bundled: leave out --no-bundle");
        let text = fs::read_to_string(entry).with_context(|| format!("{shown} cannot be read"))?;
        let name = entry.file_name().map_or(NAME.into(), |name| name.to_string_lossy().into_owned());
        Bundle::of(name, &text, entry.parent().unwrap_or(Path::new("")))
    }

    /// Bundles an entry with esbuild. Errors of esbuild go to its own output, with file and line.
    pub(crate) fn make(entry: &Path, more: &[String]) -> anyhow::Result<Bundle> {
        let shown = entry.display();
        ensure!(entry.is_file(), "{shown} is no file; give the entry of the room, such as src/room.ts");
        let esbuild = find("esbuild", entry)?;
        let Some(esbuild) = esbuild else {
            bail!(
                "esbuild is missing, which bundles a room: run `npm install --save-dev esbuild` in the project, or pass \
                 --no-bundle for a file that is a bundle already"
            );
        };
        let mut command = Command::new(&esbuild);
        command
            .arg(entry)
            .args(["--bundle", "--format=esm", "--target=es2022", "--platform=neutral", "--main-fields=module,main"])
            .args([
                "--conditions=dormouse,worker",
                "--external:dormouse:*",
                "--sourcemap=inline",
                "--sources-content=false",
            ])
            .args(["--log-level=warning", "--log-limit=20", "--color=false"])
            .args(more);
        let output = children::output(&mut command).with_context(|| format!("{} cannot be run", esbuild.display()))?;
        let errors = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "{shown} cannot be bundled:\n{}", with_our_advice(errors.trim_end()));
        if !errors.trim().is_empty() {
            crate::print::line(format_args!("{}", errors.trim_end()))?;
        }
        let text = String::from_utf8(output.stdout).context("esbuild has written a bundle that is not UTF-8")?;
        Bundle::of(NAME.into(), &text, Path::new(""))
    }

    /// Whether the bundle names a property `sql`, as in `ctx.storage.sql` and in `const { sql } = ctx.storage`. A bundle
    /// that means something else by it gets a larger engine than it needs, and works. The getter with which
    /// `@dormouse/durable-objects` defines the property is in every bundle, so it does not count.
    pub(super) fn mentions_sql(&self) -> bool {
        let is_part_of_a_word = |text: char| text.is_alphanumeric() || text == '_' || text == '$';
        self.source.match_indices("sql").any(|(at, word)| {
            let (before, after) = (&self.source[..at], &self.source[at + word.len()..]);
            let is_word = !before.ends_with(is_part_of_a_word) && !after.starts_with(is_part_of_a_word);
            is_word && !(before.ends_with("get ") && after.starts_with('('))
        })
    }

    /// Separates a bundle from its map. A map that cannot be read is left out, as the positions in the bundle are correct
    /// without it.
    fn of(name: String, text: &str, folder: &Path) -> anyhow::Result<Bundle> {
        let (source, map) = match text.rfind(MAP_COMMENT) {
            Some(at) => (&text[..at], read_map(text[at + MAP_COMMENT.len()..].trim(), folder)),
            None => (text, None),
        };
        ensure!(
            source.len() <= MAX_BYTES,
            "the bundle has {} bytes, and at most {MAX_BYTES} fit: import less, or let esbuild shorten it with `-- --minify`",
            source.len()
        );
        let inputs = map.iter().flat_map(|map| &map.sources).map(|source| folder.join(source)).collect();
        let map = map.map(|map| for_engine(&map)).unwrap_or_default();
        Ok(Bundle { name, source: source.to_owned(), map, inputs })
    }
}

fn read_map(url: &str, folder: &Path) -> Option<Map> {
    let json = match url.strip_prefix("data:application/json;base64,") {
        Some(encoded) => STANDARD.decode(encoded).ok()?,
        None => fs::read(folder.join(url)).ok()?,
    };
    serde_json::from_slice(&json).ok()
}

fn for_engine(map: &Map) -> String {
    let sources = map.sources.iter().map(|source| source.replace('\n', " ")).collect::<Vec<_>>();
    format!("{}\n\n{}", sources.join("\n"), map.mappings)
}

/// The advice of esbuild about a module of Node.js, which is wrong for a room: no platform has it there.
const NODE_ADVICE: &str = "is built into node. Are you trying to bundle for node?";

/// The errors of esbuild, with our advice in place of its own where that is wrong.
fn with_our_advice(errors: &str) -> String {
    let line = |line: &str| match line.contains(NODE_ADVICE) {
        true => "  It is a part of Node.js. A room has neither files nor a network of its own: use what the contract \
                 offers, or a package that needs no Node.js."
            .to_owned(),
        false => line.to_owned(),
    };
    errors.lines().map(line).collect::<Vec<_>>().join("\n")
}

/// Finds a program: in the packages of the project, or on the path.
pub(crate) fn find(name: &str, entry: &Path) -> anyhow::Result<Option<PathBuf>> {
    let entry = fs::canonicalize(entry).with_context(|| format!("{} cannot be read", entry.display()))?;
    let here = env::current_dir().unwrap_or_default();
    let projects = entry.ancestors().skip(1).chain(here.ancestors());
    let packages = projects.map(|folder| folder.join("node_modules/.bin"));
    let path = env::var_os("PATH").unwrap_or_default();
    let mut found = packages.chain(env::split_paths(&path)).map(|folder| folder.join(OsStr::new(name)));
    Ok(found.find(|file| file.is_file()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_map_inside_the_bundle_is_separated_from_it() {
        let json = STANDARD.encode(r#"{"version":3,"sources":["src/a.ts","src/b.ts"],"mappings":"AAAA","names":[]}"#);
        let text = format!("export default {{}};\n{MAP_COMMENT}data:application/json;base64,{json}\n");
        let bundle = Bundle::of(NAME.into(), &text, Path::new("")).unwrap();
        assert_eq!(bundle.inputs, [Path::new("src/a.ts"), Path::new("src/b.ts")]);
        assert_eq!(bundle.source, "export default {};\n");
        assert_eq!(bundle.map, "src/a.ts\nsrc/b.ts\n\nAAAA");
    }

    #[test]
    fn a_bundle_that_uses_sql_is_known_by_its_text() {
        let mentions = |text: &str| Bundle::of(NAME.into(), text, Path::new("")).unwrap().mentions_sql();
        for text in ["ctx.storage.sql.exec('')", "const{sql}=this.ctx.storage", "storage[\"sql\"]", "sql"] {
            assert!(mentions(text), "{text}");
        }
        for text in ["get sql() {", "get sql(){", "host.sqlExec()", "mysql.x", "$sql", "SQL", "class SqlStorage"] {
            assert!(!mentions(text), "{text}");
        }
    }

    #[test]
    fn a_bundle_without_a_readable_map_is_taken_without_one() {
        for comment in ["", "//# sourceMappingURL=missing.map", "//# sourceMappingURL=data:application/json;base64,!"] {
            let bundle = Bundle::of(NAME.into(), &format!("1;\n{comment}"), Path::new("/nowhere")).unwrap();
            assert_eq!((bundle.source.as_str(), bundle.map.as_str()), ("1;\n", ""), "{comment}");
        }
    }
}
