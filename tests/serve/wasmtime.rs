//! `wasmtime serve` as `cargo install wasmtime-cli` gives it, without its other commands. It is built in the workspace
//! of the tests, because most of it is built there anyway and a separate build takes ten minutes of CPU. So in tests,
//! and only there, the host's wasmtime has more features than it ships with.

use clap::Parser;
use wasmtime_cli::commands::ServeCommand;

/// As `wasmtime` parses it.
#[derive(Parser)]
#[command(name = "wasmtime")]
enum Wasmtime {
    /// Serve a component.
    Serve(ServeCommand),
}

fn main() {
    let Wasmtime::Serve(serve) = Wasmtime::parse();
    if let Err(error) = serve.execute() {
        eprintln!("{error:?}");
        std::process::exit(1);
    }
}
