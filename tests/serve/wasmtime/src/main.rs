//! `wasmtime serve`, and nothing else of wasmtime's command line: what `cargo install wasmtime-cli` gives, without its
//! other commands, built with what is built here anyway.

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
