//! Takes the sockets that the service manager has opened (sd_listen_fds(3)). It keeps them open while the server
//! restarts, so that clients wait in their queues instead of being refused.
//!
//! It decides which socket is for clients and which for the operator, and does not know what the listeners do.

use std::ffi::OsStr;
use std::fmt::Display;
use std::net::TcpListener;
use std::os::fd::{FromRawFd, IntoRawFd, OwnedFd, RawFd};

use anyhow::{Context, bail};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketType, getsockname, sockopt};

use super::variable;

/// The first descriptor; the others follow it.
const FIRST: RawFd = 3;

/// The listeners of the server, in the order of sockets without names.
const ROLES: [Role; 2] = [Role::Edge, Role::Admin];

/// The listeners that the service manager has opened. The server opens those that are absent.
#[derive(Default)]
pub(crate) struct PassedSockets {
    /// For clients, in place of `listen`.
    pub(crate) edge: Option<TcpListener>,
    /// For the operator, in place of `admin.listen`.
    pub(crate) admin: Option<TcpListener>,
}

/// The use of a socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    Edge,
    Admin,
}

impl Role {
    fn name(self) -> &'static str {
        match self {
            Role::Edge => "edge",
            Role::Admin => "admin",
        }
    }
}

impl PassedSockets {
    /// Takes the sockets that `LISTEN_FDS` counts. Call it once, before anything else opens a file.
    ///
    /// Fails: if they are for another process, have names that the server does not know, or do not listen for TCP.
    pub(crate) fn take() -> anyhow::Result<Self> {
        let Some(count) = variable("LISTEN_FDS") else { return Ok(PassedSockets::default()) };
        let (pid, names) = (variable("LISTEN_PID"), variable("LISTEN_FDNAMES"));
        let roles = roles(&count, pid.as_deref(), names.as_deref()).map_err(anyhow::Error::msg)?;
        let mut sockets = PassedSockets::default();
        for (number, role) in (FIRST..).zip(roles) {
            let name = role.name();
            let listener = listener(number).with_context(|| format!("LISTEN_FDS: socket {number}, for `{name}`"))?;
            match role {
                Role::Edge => sockets.edge = Some(listener),
                Role::Admin => sockets.admin = Some(listener),
            }
        }
        Ok(sockets)
    }
}

/// The use of each socket: as it is named, or in order if no name is one of ours. systemd names a socket after its unit
/// if the unit gives no name.
fn roles(count: &OsStr, pid: Option<&OsStr>, names: Option<&OsStr>) -> Result<Vec<Role>, String> {
    let number = |name: &str, text: &OsStr| {
        let number = text.to_str().and_then(|text| text.parse::<usize>().ok());
        number.ok_or_else(|| format!("{name} is {text:?} and not a number"))
    };
    let count = number("LISTEN_FDS", count)?;
    let ours = std::process::id();
    let pid = pid.ok_or("LISTEN_FDS is set without LISTEN_PID; set both, or none")?;
    if number("LISTEN_PID", pid)? != ours as usize {
        let pid = pid.display();
        return Err(format!(
            "LISTEN_PID is {pid} and this process is {ours}, so the sockets of LISTEN_FDS are not for it; let the \
             service manager start dormouse itself, end a script with `exec dormouse serve`, or unset LISTEN_FDS"
        ));
    }
    let too_many = |all: &dyn Display| {
        format!("LISTEN_FDS: {all}, and the server has two listeners: pass one socket for `edge` and one for `admin`")
    };
    if count > ROLES.len() {
        return Err(too_many(&format_args!("{count} sockets were passed")));
    }
    let names = names.map(OsStr::to_string_lossy).unwrap_or_default();
    let names = if names.is_empty() { Vec::new() } else { names.split(':').collect::<Vec<_>>() };
    let of_name = |name: &str| ROLES.into_iter().find(|role| role.name() == name);
    if !names.iter().any(|name| of_name(name).is_some()) {
        return Ok(ROLES[..count].to_vec());
    }
    if names.len() != count {
        return Err(format!("LISTEN_FDNAMES has {} names, and LISTEN_FDS has {count} sockets", names.len()));
    }
    let unknown = |name: &str| format!("LISTEN_FDNAMES: a socket is named `{name}`; name each one `edge` or `admin`");
    let roles = names.iter().map(|name| of_name(name).ok_or_else(|| unknown(name)));
    let roles = roles.collect::<Result<Vec<_>, _>>()?;
    match roles[..] {
        [first, second] if first == second => Err(too_many(&format_args!("two sockets are named `{}`", first.name()))),
        _ => Ok(roles),
    }
}

/// The listener with this descriptor, which must listen for TCP.
fn listener(number: RawFd) -> anyhow::Result<TcpListener> {
    #[expect(unsafe_code, reason = "the service manager gave this descriptor to the process, and it is taken once")]
    let socket = unsafe { OwnedFd::from_raw_fd(number) };
    let kind = match sockopt::socket_type(&socket) {
        Ok(kind) => kind,
        Err(Errno::BADF) => {
            // There is nothing to close.
            let _ = socket.into_raw_fd();
            bail!("it is not open; LISTEN_FDS counts more sockets than were passed");
        }
        Err(_) => bail!("it is not a socket"),
    };
    let family = getsockname(&socket).context("it has no address")?.address_family();
    if kind != SocketType::STREAM || !matches!(family, AddressFamily::INET | AddressFamily::INET6) {
        bail!("it is not a TCP socket; write ListenStream= with an address and a port, or a port alone");
    }
    if !listens(&socket) {
        bail!("it does not listen; write Accept=no in its unit");
    }
    let listener = TcpListener::from(socket);
    listener.set_nonblocking(true).context("it cannot be used without blocking")?;
    Ok(listener)
}

#[cfg(not(target_vendor = "apple"))]
fn listens(socket: &OwnedFd) -> bool {
    sockopt::socket_acceptconn(socket).unwrap_or(false)
}

/// The system cannot tell; accepting fails if it does not listen.
#[cfg(target_vendor = "apple")]
fn listens(_: &OwnedFd) -> bool {
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(count: &str, names: &str) -> Result<Vec<Role>, String> {
        let ours = std::process::id().to_string();
        let names = (!names.is_empty()).then_some(OsStr::new(names));
        roles(OsStr::new(count), Some(OsStr::new(&ours)), names)
    }

    #[test]
    fn sockets_are_used_as_named_or_in_order() {
        use Role::{Admin, Edge};
        for (count, names, roles) in [
            ("0", "", &[][..]),
            ("1", "", &[Edge]),
            ("2", "", &[Edge, Admin]),
            ("2", "dormouse.socket:dormouse.socket", &[Edge, Admin]),
            ("2", "admin:edge", &[Admin, Edge]),
            ("1", "admin", &[Admin]),
        ] {
            assert_eq!(of(count, names).as_deref(), Ok(roles), "{count} {names}");
        }
    }

    #[test]
    fn sockets_that_cannot_be_meant_are_refused() {
        for (count, names, says) in [
            ("three", "", "LISTEN_FDS is \"three\" and not a number"),
            ("3", "", "3 sockets were passed, and the server has two listeners"),
            ("2", "edge:edge", "two sockets are named `edge`, and the server has two listeners"),
            ("2", "edge:metrics", "a socket is named `metrics`; name each one `edge` or `admin`"),
            ("2", "edge", "LISTEN_FDNAMES has 1 names, and LISTEN_FDS has 2 sockets"),
        ] {
            let problem = of(count, names).unwrap_err();
            assert!(problem.contains(says), "{count} {names}: {problem}");
        }
        let other = roles(OsStr::new("1"), Some(OsStr::new("1")), None).unwrap_err();
        assert!(other.contains("LISTEN_PID is 1 and this process is"), "{other}");
        assert!(roles(OsStr::new("1"), None, None).unwrap_err().contains("without LISTEN_PID"));
    }
}
