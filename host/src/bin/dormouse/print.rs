//! Prints the results of commands on stdout.
//!
//! `main` and the subcommands print with it; the log goes to stderr, by `log`.

use std::fmt;
use std::io::{self, Write};

use anyhow::Context;

/// Prints a line. A reader that closed the pipe is not an error; a full disk is.
pub(crate) fn line(text: impl fmt::Display) -> anyhow::Result<()> {
    match writeln!(io::stdout().lock(), "{text}") {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        printed => printed.context("stdout cannot be written"),
    }
}
