//! What a command was asked for, on stdout.

use std::fmt;
use std::io::{self, Write};

use anyhow::Context;

/// Print a line. A reader that has read enough and gone away is no fault; a disk that is full is one.
pub(crate) fn line(text: impl fmt::Display) -> anyhow::Result<()> {
    match writeln!(io::stdout().lock(), "{text}") {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        printed => printed.context("stdout cannot be written"),
    }
}
