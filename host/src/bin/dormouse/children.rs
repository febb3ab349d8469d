//! Runs other programs, such as a bundler or a compiler, and ends them when this one ends.
//!
//! Each runs in a process group of its own, so that its own children end with it. `build` and `dev` call this.

use std::io;
use std::os::unix::process::CommandExt;
use std::process::{Command, Output, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustix::process::{Pid, Signal, kill_process_group};

static CHILDREN: Mutex<Children> = Mutex::new(Children { groups: Vec::new(), is_over: false });

struct Children {
    groups: Vec<Pid>,
    /// Nothing is started any more.
    is_over: bool,
}

/// Runs a program to its end, without input. Returns what it has written.
///
/// Fails: if it cannot be started, and after [`end_all`].
pub(crate) fn output(command: &mut Command) -> io::Result<Output> {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
    let (child, group) = {
        let mut children = children();
        if children.is_over {
            return Err(io::Error::new(io::ErrorKind::Interrupted, "this program ends"));
        }
        let child = command.spawn()?;
        let group = Pid::from_child(&child);
        children.groups.push(group);
        (child, group)
    };
    let output = child.wait_with_output();
    children().groups.retain(|running| *running != group);
    output
}

/// Ends all that run, with their own children, and lets no other begin.
pub(crate) fn end_all() {
    let mut children = children();
    children.is_over = true;
    for group in children.groups.drain(..) {
        // It may have ended by itself.
        let _ = kill_process_group(group, Signal::KILL);
    }
}

fn children() -> MutexGuard<'static, Children> {
    // The list is whole at each moment, so a panic elsewhere does not matter.
    CHILDREN.lock().unwrap_or_else(PoisonError::into_inner)
}
