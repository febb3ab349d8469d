//! Writes the component for `wasmtime serve` to the file given as the argument.

use std::io::Write;
use std::process::ExitCode;

fn main() -> ExitCode {
    let Some(file) = std::env::args_os().nth(1) else {
        return fail("name the file to write, such as target/dormouse-serve.wasm");
    };
    match std::fs::write(&file, dormouse_bundle::SERVE) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&format!("{} cannot be written: {error}", file.display())),
    }
}

/// Prints an error and returns the exit code. A failed print is ignored: the exit code reports the failure too.
fn fail(why: &str) -> ExitCode {
    let _ = writeln!(std::io::stderr(), "{why}");
    ExitCode::FAILURE
}
