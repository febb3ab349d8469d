//! Tells the service manager about the state of this process: one datagram of lines such as `READY=1` to the socket
//! that `NOTIFY_SOCKET` names (sd_notify(3)). It does not know when which state begins.

use std::cell::Cell;
use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

use dormouse::clock;

use super::variable;

/// How long a service manager may take to accept a message. It reads them at once, unless it hangs itself; then the
/// message is lost and the server goes on.
const SEND_TIMEOUT: Duration = Duration::from_secs(1);

/// The way to the service manager, or to nobody if there is none.
pub(crate) struct Notifier(Option<NotifySocket>);

struct NotifySocket {
    socket: UnixDatagram,
    address: SocketAddr,
    /// A failure is logged once, until a message is accepted again.
    has_failed: Cell<bool>,
}

impl Notifier {
    /// The service manager that `NOTIFY_SOCKET` names. A socket that cannot be used is logged: the server works without.
    pub(crate) fn from_environment() -> Self {
        let Some(name) = variable("NOTIFY_SOCKET") else { return Notifier(None) };
        let opened = address_of(&name).and_then(|address| {
            let socket = UnixDatagram::unbound()?;
            socket.set_write_timeout(Some(SEND_TIMEOUT))?;
            Ok(NotifySocket { socket, address, has_failed: Cell::new(false) })
        });
        match opened {
            Ok(socket) => Notifier(Some(socket)),
            Err(error) => {
                tracing::warn!(?name, %error, "NOTIFY_SOCKET cannot be used: the service manager is told nothing");
                Notifier(None)
            }
        }
    }

    /// Whether there is a service manager to tell.
    pub(crate) fn is_used(&self) -> bool {
        self.0.is_some()
    }

    /// The server begins to start.
    pub(crate) fn starting(&self) {
        self.send(&format!("STATUS={}", one_line("starting: opens the store and compiles the components")));
    }

    /// The server accepts connections, after its start or after a reload.
    pub(crate) fn ready(&self, status: &str) {
        self.send(&format!("READY=1\nSTATUS={}", one_line(status)));
    }

    /// The server reads its files again. [`ready`](Self::ready) must follow.
    pub(crate) fn reloading(&self) {
        let micros = clock::monotonic_micros();
        self.send(&format!("RELOADING=1\nMONOTONIC_USEC={micros}\nSTATUS=reloading"));
    }

    /// The server shuts down.
    pub(crate) fn stopping(&self, status: &str) {
        self.send(&format!("STOPPING=1\nSTATUS={}", one_line(status)));
    }

    /// The server works. Within the time of the watchdog, this must come again.
    pub(crate) fn alive(&self) {
        self.send("WATCHDOG=1");
    }

    fn send(&self, message: &str) {
        let Some(NotifySocket { socket, address, has_failed }) = &self.0 else { return };
        match socket.send_to_addr(message.as_bytes(), address) {
            Ok(_) => has_failed.set(false),
            Err(error) if has_failed.replace(true) => drop(error),
            Err(error) => tracing::warn!(%error, "the service manager at NOTIFY_SOCKET takes no message"),
        }
    }
}

/// A path, or after an `@` a name in the abstract namespace of Linux.
fn address_of(name: &OsStr) -> io::Result<SocketAddr> {
    match name.as_bytes() {
        [b'/', ..] => SocketAddr::from_pathname(name),
        #[cfg(target_os = "linux")]
        [b'@', name @ ..] => {
            use std::os::linux::net::SocketAddrExt;
            SocketAddr::from_abstract_name(name)
        }
        _ => Err(io::Error::new(io::ErrorKind::Unsupported, "it is neither a path nor an abstract name")),
    }
}

/// A line break would begin another variable.
fn one_line(status: &str) -> String {
    status.replace('\n', " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_is_a_path_or_an_abstract_name() {
        assert!(address_of(OsStr::new("/run/systemd/notify")).unwrap().as_pathname().is_some());
        assert_eq!(address_of(OsStr::new("@dormouse")).is_ok(), cfg!(target_os = "linux"));
        for bad in ["run/notify", "vsock:2:1234"] {
            assert!(address_of(OsStr::new(bad)).unwrap_err().to_string().contains("neither a path"), "{bad}");
        }
    }

    #[test]
    fn a_status_is_one_line() {
        assert_eq!(one_line("a\nREADY=1"), "a READY=1");
    }
}
