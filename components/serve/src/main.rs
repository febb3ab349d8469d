//! Writes the component that `wasmtime serve` runs to the file that is named.

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

/// Where even this cannot be said, there is still the code.
fn fail(why: &str) -> ExitCode {
    let _ = writeln!(std::io::stderr(), "{why}");
    ExitCode::FAILURE
}
