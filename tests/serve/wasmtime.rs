//! `wasmtime serve`, and nothing else of wasmtime's command line: what `cargo install wasmtime-cli` gives, without its
//! other commands. It is built in the tests' own workspace, since most of it is built there anyway: a build of its own takes
//! ten minutes of CPU. The price is that in tests, and only there, the host's wasmtime has more features than it ships with.

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
