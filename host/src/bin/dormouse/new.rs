//! `dormouse new`: makes a project that builds and has a passing test, as a start for a room, a Worker or a router.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};
use clap::{Args, Parser, Subcommand, ValueEnum};

/// Make a new room, Worker or router
#[derive(Parser)]
pub(crate) struct New {
    #[command(subcommand)]
    kind: Kind,
}

#[derive(Subcommand)]
enum Kind {
    /// A room, with a test
    Room(NewRoom),
    /// A Worker with a Durable Object and a page, in TypeScript: a chat
    Worker(Project),
    /// A router in Rust, with a test: it chooses the room of a request
    Router(Project),
}

#[derive(Args)]
struct NewRoom {
    #[command(flatten)]
    project: Project,
    /// The language of the room
    #[arg(long, value_enum, default_value_t = Language::Rust)]
    language: Language,
}

#[derive(Clone, Copy, ValueEnum)]
enum Language {
    Rust,
    Typescript,
}

#[derive(Args)]
struct Project {
    /// The name of the folder and of the project; or a path that ends with it
    #[arg(value_name = "NAME")]
    path: PathBuf,
    /// The folder of Dormouse's source, for its libraries [default: the one this program was built in]
    #[arg(long, value_name = "PATH")]
    kit: Option<PathBuf>,
}

/// The longest name, in bytes. With `.wasm` appended, it fits every file system.
const NAME_BYTES: usize = 64;

/// The files of a project, with their contents.
type Files = &'static [(&'static str, &'static str)];

/// A kind of project.
struct Template {
    /// The kind of project, for errors.
    kind: &'static str,
    files: Files,
    language: Language,
}

const ROOM: Files = &[
    ("Cargo.toml", include_str!("../../../templates/room/Cargo.toml.txt")),
    ("src/lib.rs", include_str!("../../../templates/room/lib.rs")),
    ("tests/room.rs", include_str!("../../../templates/room/test.rs")),
    ("dormouse.toml", include_str!("../../../templates/room/dormouse.toml")),
    ("README.md", include_str!("../../../templates/room/README.md")),
    (".gitignore", include_str!("../../../templates/room/gitignore")),
];

const ROUTER: Files = &[
    ("Cargo.toml", include_str!("../../../templates/router/Cargo.toml.txt")),
    ("src/lib.rs", include_str!("../../../templates/router/lib.rs")),
    ("dormouse.toml", include_str!("../../../templates/router/dormouse.toml")),
    ("README.md", include_str!("../../../templates/router/README.md")),
    (".gitignore", include_str!("../../../templates/router/gitignore")),
];

const TYPESCRIPT_ROOM: Files = &[
    ("package.json", include_str!("../../../templates/room-typescript/package.json.txt")),
    ("tsconfig.json", include_str!("../../../templates/room-typescript/tsconfig.json")),
    ("src/room.ts", include_str!("../../../templates/room-typescript/room.ts")),
    ("tests/room.test.js", include_str!("../../../templates/room-typescript/room.test.js")),
    ("dormouse.toml", include_str!("../../../templates/room-typescript/dormouse.toml")),
    ("README.md", include_str!("../../../templates/room-typescript/README.md")),
    (".gitignore", include_str!("../../../templates/room-typescript/gitignore")),
];

const WORKER: Files = &[
    ("package.json", include_str!("../../../templates/worker/package.json.txt")),
    ("tsconfig.json", include_str!("../../../templates/worker/tsconfig.json")),
    ("wrangler.jsonc", include_str!("../../../templates/worker/wrangler.jsonc")),
    ("src/index.ts", include_str!("../../../templates/worker/index.ts")),
    ("public/index.html", include_str!("../../../templates/worker/index.html")),
    ("public/chat.js", include_str!("../../../templates/worker/chat.js")),
    ("public/style.css", include_str!("../../../templates/worker/style.css")),
    ("tests/chat.test.js", include_str!("../../../templates/worker/chat.test.js")),
    ("dormouse.toml", include_str!("../../../templates/worker/dormouse.toml")),
    ("README.md", include_str!("../../../templates/worker/README.md")),
    (".gitignore", include_str!("../../../templates/worker/gitignore")),
];

/// Files that are copied from Dormouse's own source for a crate: the tested versions, and the compiler with its target.
const COPIED: [&str; 2] = ["Cargo.lock", "rust-toolchain.toml"];

/// The libraries in Dormouse's source.
const KIT: &str = "components/kit";
const TEST_KIT: &str = "tests/kit";
const PACKAGES: &str = "components/javascript";

pub(crate) fn run(args: &New) -> anyhow::Result<()> {
    let (template, args) = match &args.kind {
        Kind::Room(NewRoom { project, language }) => {
            let files = match language {
                Language::Rust => ROOM,
                Language::Typescript => TYPESCRIPT_ROOM,
            };
            (Template { kind: "room", files, language: *language }, project)
        }
        Kind::Worker(project) => (Template { kind: "worker", files: WORKER, language: Language::Typescript }, project),
        Kind::Router(project) => (Template { kind: "router", files: ROUTER, language: Language::Rust }, project),
    };
    let name = args.path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    check_name(name, &template)?;
    let shown = args.path.display();
    ensure!(
        args.path.symlink_metadata().is_err(),
        "{shown} exists already and was not changed; choose another name, or remove it"
    );
    let source = match &args.kit {
        Some(path) => given_source(path)?,
        None => own_source()?,
    };
    let written = write(&args.path, &template, name, &source);
    written.with_context(|| format!("{shown} is incomplete; remove it and try again"))?;
    let steps = match template.language {
        Language::Rust => format!("cd {shown}\n  cargo test"),
        Language::Typescript => {
            let packages = source.join(PACKAGES);
            let mut steps = Vec::new();
            if !packages.join("room/dist").is_dir() {
                steps.push(format!("(cd {} && npm ci && npm run build)", packages.display()));
            }
            if crate::build::engine_file().is_none() {
                steps.push(format!("make -C {} javascript-engine", source.display()));
            }
            steps.extend([format!("cd {shown}"), "npm install".into(), "npm run dev".into()]);
            steps.join("\n  ")
        }
    };
    crate::print::line(format_args!("made {shown}; go on with\n\n  {steps}\n\nand with its README.md"))
}

/// Checks a name: cargo or npm, a component's file and Rust paths must all accept it.
fn check_name(name: &str, &Template { kind, language, .. }: &Template) -> anyhow::Result<()> {
    let good = |char: char| char.is_ascii_lowercase() || char.is_ascii_digit() || char == '-' || char == '_';
    ensure!(
        name.starts_with(|first: char| first.is_ascii_lowercase()) && name.chars().all(good),
        "{name:?} cannot be the name of a {kind}; begin with a letter and use lower-case letters, digits, - and _, \
         such as my-{kind}"
    );
    ensure!(name.len() <= NAME_BYTES, "the name has {} bytes; at most {NAME_BYTES} are allowed", name.len());
    let word = name.replace('-', "_");
    ensure!(
        matches!(language, Language::Typescript) || !TAKEN.contains(&word.as_str()),
        "{name} already has a meaning in Rust; choose a longer name, such as {name}-{kind}"
    );
    Ok(())
}

/// Words of the language, and the names of the crates that a room uses.
#[rustfmt::skip]
const TAKEN: &[&str] = &[
    "abstract", "alloc", "as", "async", "await", "become", "box", "break", "const", "continue", "core", "crate", "do",
    "dormouse_room", "dormouse_test", "dyn", "else", "enum", "extern", "false", "final", "fn", "for", "gen", "if",
    "impl", "in", "let", "loop", "macro", "match", "mod", "move", "mut", "override", "priv", "proc_macro", "pub", "ref",
    "return", "self", "serde", "static", "std", "struct", "super", "test", "trait", "true", "try", "type", "typeof",
    "union", "unsafe", "unsized", "use", "virtual", "where", "while", "yield",
];

fn given_source(path: &Path) -> anyhow::Result<PathBuf> {
    ensure!(
        is_source(path),
        "{} is not the folder of Dormouse's source: there is no {KIT} with a Cargo.toml in it; give the \
         folder that has it",
        path.display()
    );
    path.canonicalize().with_context(|| format!("{} cannot be read", path.display()))
}

/// Finds the source that this program was built in, if the program is still inside it.
fn own_source() -> anyhow::Result<PathBuf> {
    let program = env::current_exe().and_then(fs::canonicalize).context("the path of this program is unknown")?;
    match program.ancestors().find(|folder| is_source(folder)) {
        Some(source) => Ok(source.to_owned()),
        None => bail!(
            "the project needs Dormouse's source, and {} is not inside it; give its folder with --kit",
            program.display()
        ),
    }
}

fn is_source(folder: &Path) -> bool {
    [KIT, TEST_KIT].iter().all(|library| folder.join(library).join("Cargo.toml").is_file())
}

fn write(folder: &Path, template: &Template, name: &str, source: &Path) -> anyhow::Result<()> {
    let toml_path = |library| {
        let path = source.join(library);
        let path = path.to_str().with_context(|| format!("{} is not UTF-8", path.display()))?;
        Ok::<_, anyhow::Error>(toml::Value::from(path).to_string())
    };
    let (kit, test_kit) = (toml_path(KIT)?, toml_path(TEST_KIT)?);
    let packages = source.join(PACKAGES);
    let packages = packages.to_str().with_context(|| format!("{} is not UTF-8", packages.display()))?;
    for (file, text) in template.files {
        // In package.json the path is inside a string.
        let packages = match file.ends_with(".json") {
            true => serde_json::Value::from(packages).to_string().trim_matches('"').to_owned(),
            false => packages.to_owned(),
        };
        let text = text
            .replace("{{name}}", name)
            .replace("{{file}}", &name.replace('-', "_"))
            .replace("{{kit}}", &kit)
            .replace("{{test_kit}}", &test_kit)
            .replace("{{packages}}", &packages);
        let path = folder.join(file);
        fs::create_dir_all(path.parent().expect("it is in a folder"))?;
        fs::write(&path, text).with_context(|| format!("{} cannot be written", path.display()))?;
    }
    let copied: &[&str] = match template.language {
        Language::Rust => &COPIED,
        Language::Typescript => &[],
    };
    for file in copied {
        let from = source.join(file);
        fs::copy(&from, folder.join(file)).with_context(|| format!("{} cannot be copied", from.display()))?;
    }
    Ok(())
}
