//! The Makefile: what it needs is checked before anything is built, and everything that it does is listed.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use tempfile::TempDir;

const SOURCE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");

/// A machine: its commands are in one folder.
struct Machine(TempDir);

impl Machine {
    /// One that has everything.
    fn new() -> Self {
        let machine = Machine(TempDir::new().unwrap());
        for tool in ["sh", "sed", "awk", "test"] {
            symlink(which(tool), machine.0.path().join(tool)).unwrap();
        }
        machine
            .with_command("cargo", "echo cargo 1.95.0")
            .with_command("rustc", "case $1 in --print) echo / ;; *) echo rustc 1.95.0 ;; esac")
            .with_command("cc", "true")
            .with_command("npm", "true")
            .with_command("node", "echo v20.19.0")
    }

    fn with_command(self, name: &str, script: &str) -> Self {
        let file = self.0.path().join(name);
        let _ = fs::remove_file(&file);
        fs::write(&file, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).unwrap();
        self
    }

    fn without_command(self, name: &str) -> Self {
        fs::remove_file(self.0.path().join(name)).unwrap();
        self
    }

    fn make(&self, target: &str) -> Output {
        self.make_with(target, &[])
    }

    fn make_with(&self, target: &str, variables: &[&str]) -> Output {
        let mut make = Command::new(which("make"));
        make.current_dir(SOURCE).arg(target).args(variables).env_clear().env("PATH", self.0.path());
        make.output().expect("make runs")
    }

    /// `make` says what is missing, and fails.
    fn fails_with_advice(&self, target: &str, advice: &str) {
        self.fails_with_variable(target, "UNUSED=", advice);
    }

    fn fails_with_variable(&self, target: &str, variable: &str, advice: &str) {
        let output = self.make_with(target, &[variable]);
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success(), "make {target} should fail: {text}");
        assert!(text.contains(advice), "{text}");
    }
}

fn which(program: &str) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap();
    let found = std::env::split_paths(&path).map(|folder| folder.join(program)).find(|file| file.is_file());
    found.unwrap_or_else(|| panic!("{program} is not on the PATH"))
}

#[test]
fn setup_succeeds_with_all_tools_present() {
    for target in ["setup", "node"] {
        let output = Machine::new().make(target);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
}

#[test]
fn setup_fails_without_rust_or_a_part_of_it() {
    Machine::new().without_command("cargo").fails_with_advice("setup", "install it from rustup.rs");
    Machine::new().without_command("rustc").fails_with_advice("setup", "its compiler rustc is not");
    Machine::new().without_command("cc").fails_with_advice("setup", "install gcc or clang");
    let no_toolchain = "echo \"error: toolchain '1.95.0' is not installed\" >&2; exit 1";
    Machine::new().with_command("rustc", no_toolchain).fails_with_advice("setup", "rustup toolchain install");
    Machine::new().with_command("cargo", no_toolchain).fails_with_advice("setup", "rustup toolchain install");
    let old = Machine::new().with_command("rustc", "echo rustc 1.75.0");
    old.fails_with_advice("setup", "or newer is needed");
}

#[test]
fn setup_fails_if_the_wasm_target_cannot_be_added() {
    for folder in ["/nowhere", ""] {
        let rustc = format!("case $1 in --print) echo {folder} ;; *) echo rustc 1.95.0 ;; esac");
        let without = Machine::new().with_command("rustc", &rustc);
        without.fails_with_advice("setup", "The target wasm32-wasip2 is missing");
        let with_rustup = without.with_command("rustup", "test \"$*\" = 'target add wasm32-wasip2'");
        let output = with_rustup.make("setup");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
}

#[test]
fn setup_names_the_node_version_it_needs() {
    Machine::new().without_command("node").fails_with_advice("node", "install Node.js 20.19 or newer");
    Machine::new().without_command("npm").fails_with_advice("node", "install Node.js 20.19 or newer");
    for version in ["20.18.9", "18.20.1", "9.99.9"] {
        let machine = Machine::new().with_command("node", &format!("echo v{version}"));
        machine.fails_with_advice("node", &format!("is v{version}"));
    }
    for version in ["20.19.0", "20.20.0", "22.0.0", "100.1.0"] {
        let output = Machine::new().with_command("node", &format!("echo v{version}")).make("node");
        assert!(output.status.success(), "{version}: {}", String::from_utf8_lossy(&output.stderr));
    }
}

#[test]
fn engine_setup_names_the_packages_it_needs() {
    let headers = TempDir::new().unwrap();
    let with_headers = format!("WASI_HEADERS={}", headers.path().display());
    let machine = Machine::new();
    machine.fails_with_advice("engine-setup", "apt-get install clang-19");
    let no_wasm = machine.with_command("clang", "exit 1");
    no_wasm.fails_with_advice("engine-setup", "apt-get install clang-19");
    let no_archiver = no_wasm.with_command("clang", "true");
    no_archiver.fails_with_advice("engine-setup", "apt-get install llvm-19");
    let no_headers = no_archiver.with_command("llvm-ar", "true");
    no_headers.fails_with_variable("engine-setup", &with_headers, "apt-get install wasi-libc");
    fs::write(headers.path().join("stdio.h"), "").unwrap();
    let output = no_headers.make_with("engine-setup", &[&with_headers]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn help_lists_every_target_with_its_purpose() {
    let output = Machine::new().make("help");
    let text = String::from_utf8_lossy(&output.stdout);
    let makefile = fs::read_to_string(Path::new(SOURCE).join("Makefile")).unwrap();
    let named = makefile.lines().filter_map(|line| line.strip_prefix(".PHONY: "));
    let targets = named.flat_map(str::split_whitespace).filter(|target| !target.contains('/')).collect::<Vec<_>>();
    assert!(targets.len() > 20, "{targets:?}");
    for target in targets {
        let listed = text.lines().find(|line| line.split_whitespace().next() == Some(target));
        assert!(listed.is_some_and(|line| line.split_whitespace().count() > 2), "{target} is not in\n{text}");
    }
}

#[test]
fn every_filter_of_make_durability_matches_a_test() {
    let makefile = fs::read_to_string(format!("{SOURCE}/Makefile")).unwrap();
    for (variable, tests) in [("DURABILITY_TESTS = ", "e2e"), ("CLUSTER_TESTS = ", "cluster")] {
        let filters = makefile.lines().find_map(|line| line.strip_prefix(variable)).expect("it has filters");
        let folder = fs::read_dir(format!("{SOURCE}/tests/{tests}")).unwrap().map(|entry| entry.unwrap().path());
        let files = folder.filter(|path| path.extension().is_some_and(|extension| extension == "rs"));
        let code = files.map(|path| fs::read_to_string(path).unwrap()).collect::<String>();
        let functions = code.lines().filter_map(|line| line.trim_start().split_once("fn ")).map(|(_, rest)| rest);
        let names = functions.filter_map(|rest| rest.split_once('(')).map(|(name, _)| name).collect::<Vec<_>>();
        for filter in filters.split_whitespace() {
            assert!(names.iter().any(|name| name.contains(filter)), "no test of tests/{tests} is named like {filter}");
        }
    }
}
