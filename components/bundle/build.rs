//! Builds the components with a nested cargo: another target, another profile, the same lock file.

#[cfg(feature = "serve")]
mod compose;

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

const SHIPPED: [&str; 3] = ["chat-room", "presence-tracker", "router"];
const FOR_TESTS: [&str; 11] =
    ["badge", "caller", "counter", "cursors", "echo", "game", "gatekeeper", "keeper", "poll", "unruly", "versioned"];
const FOR_SERVE: [&str; 2] = ["dormouse-serve-disk", "dormouse-serve-front"];

/// The sources of the components. `components` as a whole is not in the list: the JavaScript room there has its own
/// build.
const SOURCES: [&str; 11] = [
    "wit",
    "components/kit",
    "components/chat-room",
    "components/presence-tracker",
    "components/router",
    "components/examples/cursors",
    "components/examples/game",
    "components/examples/poll",
    "tests/guests",
    "Cargo.toml",
    "Cargo.lock",
];

/// The folder in which cargo stores the sources of dependencies.
fn cargo_home() -> Option<PathBuf> {
    let home = || env::var_os("HOME").map(|home| PathBuf::from(home).join(".cargo"));
    env::var_os("CARGO_HOME").map(PathBuf::from).or_else(home)
}

fn main() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    for source in SOURCES {
        println!("cargo:rerun-if-changed={}", root.join(source).display());
    }
    let for_tests = env::var_os("CARGO_FEATURE_TEST_GUESTS").is_some();
    let for_serve = cfg!(feature = "serve");
    let packages = SHIPPED.into_iter().chain(FOR_TESTS.into_iter().filter(|_| for_tests));
    let packages = packages.chain(FOR_SERVE.into_iter().filter(|_| for_serve));

    // Another directory than the host's build, which holds the lock on its own while this runs.
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets it for build scripts"));
    let target = out
        .ancestors()
        .find(|path| path.ends_with("build"))
        .map_or(out.clone(), |build| build.parent().and_then(Path::parent).unwrap_or(&out).join("guests"));
    let mut cargo = Command::new(env::var_os("CARGO").expect("cargo sets it for build scripts"));
    cargo
        .current_dir(&root)
        .args(["build", "--profile", "guest", "--target", "wasm32-wasip2", "--target-dir"])
        .arg(&target);
    for package in packages.clone() {
        cargo.args(["--package", package]);
    }
    // Settings of the host's build, or of clippy, would change the components.
    let meant_for_the_host = |name: &str| {
        name.starts_with("CARGO_BUILD_")
            || name.starts_with("CARGO_PROFILE_")
            || name.starts_with("RUSTC")
            || ["CARGO_ENCODED_RUSTFLAGS", "CARGO_TARGET_DIR", "RUSTFLAGS"].contains(&name)
    };
    for (name, _) in env::vars_os() {
        if meant_for_the_host(&name.to_string_lossy()) {
            cargo.env_remove(&name);
        }
    }
    // Panic messages contain source paths, and dependencies are in the builder's home. Replace that part of the path,
    // so that a commit gives the same bytes on every machine.
    if let Some(sources) = cargo_home().map(|home| home.join("registry/src")) {
        cargo.env("CARGO_ENCODED_RUSTFLAGS", format!("--remap-path-prefix={}=crates", sources.display()));
    }
    let status = cargo.status().expect("cargo runs this, so it can be run");
    assert!(
        status.success(),
        "the components did not build; if the target is missing, run: rustup target add wasm32-wasip2"
    );
    for package in packages {
        let file = format!("{}.wasm", package.replace('-', "_"));
        let built = target.join("wasm32-wasip2/guest").join(&file);
        std::fs::copy(&built, out.join(&file)).expect("what cargo has built can be copied");
    }
    #[cfg(feature = "serve")]
    {
        let part = |file: &str| std::fs::read(out.join(file)).expect("it was copied above");
        let composed = compose::compose(compose::Parts {
            disk: part("dormouse_serve_disk.wasm"),
            router: part("router.wasm"),
            chat_room: part("chat_room.wasm"),
            presence_tracker: part("presence_tracker.wasm"),
            front: part("dormouse_serve_front.wasm"),
        });
        let composed = composed.unwrap_or_else(|error| panic!("the parts of components/serve do not fit: {error:?}"));
        std::fs::write(out.join("serve.wasm"), composed).expect("this directory is ours");
    }
}
