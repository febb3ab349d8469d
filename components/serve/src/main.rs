//! Writes the component that `wasmtime serve` runs to the file that is named.

use std::process::ExitCode;

fn main() -> ExitCode {
    let Some(file) = std::env::args_os().nth(1) else {
        eprintln!("name the file to write, such as target/dormouse-serve.wasm");
        return ExitCode::FAILURE;
    };
    match std::fs::write(&file, dormouse_bundle::SERVE) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{} cannot be written: {error}", file.display());
            ExitCode::FAILURE
        }
    }
}
