//! Builds the component of a crate with its own cargo process, while the tests of the crate run.
//!
//! The first `cargo test` of a new room is a newcomer's first minute, and half of it compiled macros a second time. So
//! the component has the profile and the directory of the tests: cargo takes the macros from there, if both builds want
//! the same debug information for them (`[profile.dev.build-override] debug = false` in the crate).

use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

/// The target of rooms.
const TARGET: &str = "wasm32-wasip2";

/// The profile of the component. Without optimisation it is twice as large, and the engine takes as much longer to
/// compile it; a release build takes half as long again. Settings of the crate for `profile.dev` are for its tests.
const PROFILE: [&str; 2] = ["profile.dev.opt-level=\"s\"", "profile.dev.debug=false"];

/// Builds the crate in a folder, in the target directory of the running tests, and returns the path of its component.
///
/// Cargo has given back the lock on that directory before it runs tests. A build that goes on there is waited for.
pub(crate) fn component(folder: &Path, target_directory: &Path) -> Result<PathBuf, String> {
    let cargo = env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo"));
    let mut command = Command::new(cargo);
    command
        .current_dir(folder)
        .args(["build", "--lib", "--target", TARGET, "--message-format", "json-render-diagnostics"])
        .args(PROFILE.into_iter().flat_map(|setting| ["--config", setting]))
        .arg("--target-dir")
        .arg(target_directory)
        .stdin(Stdio::null());
    // Settings for the build of the tests, or for clippy, would change the component.
    for (name, _) in env::vars_os() {
        if is_build_setting(&name.to_string_lossy()) {
            command.env_remove(name);
        }
    }
    let shown = folder.display();
    let output = command.output().map_err(|error| format!("cargo cannot be run to build {shown}: {error}"))?;
    if !output.status.success() {
        let errors = String::from_utf8_lossy(&output.stderr);
        return Err(format!("{shown} does not build for {TARGET}{}:\n{errors}", hint(&errors)));
    }
    let report = String::from_utf8_lossy(&output.stdout);
    report.lines().filter_map(component_of).next_back().ok_or_else(|| {
        format!("{shown} makes no component; give it `crate-type = [\"cdylib\"]` under [lib] in its Cargo.toml")
    })
}

fn is_build_setting(name: &str) -> bool {
    name.starts_with("CARGO_BUILD_")
        || name.starts_with("CARGO_PROFILE_")
        || name.starts_with("RUSTC")
        || ["CARGO_ENCODED_RUSTFLAGS", "CARGO_TARGET_DIR", "RUSTFLAGS"].contains(&name)
}

/// Advice, if the output of the compiler tells the cause.
fn hint(errors: &str) -> &'static str {
    let target_is_missing =
        errors.contains("target may not be installed") || errors.contains("can't find crate for `std`");
    if target_is_missing { "; add the target with: rustup target add wasm32-wasip2" } else { "" }
}

/// The component in a line of cargo's report. Components of dependencies come earlier.
fn component_of(line: &str) -> Option<PathBuf> {
    let report = serde_json::from_str::<Value>(line).ok()?;
    let files = report["filenames"].as_array()?.iter().filter_map(Value::as_str);
    files.filter(|file| file.ends_with(".wasm")).map(PathBuf::from).next_back()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_component_is_found_in_the_report_of_cargo() {
        let line = r#"{"reason":"compiler-artifact","filenames":["/t/wasm32-wasip2/debug/quiz.wasm"]}"#;
        assert_eq!(component_of(line), Some(PathBuf::from("/t/wasm32-wasip2/debug/quiz.wasm")));
        for other in ["", "{}", r#"{"filenames":["/t/libserde.rlib"]}"#] {
            assert_eq!(component_of(other), None, "{other}");
        }
    }

    #[test]
    fn a_missing_target_is_explained() {
        assert!(hint("error[E0463]: can't find crate for `std`").contains("rustup target add"));
        assert_eq!(hint("error[E0308]: mismatched types"), "");
    }
}
