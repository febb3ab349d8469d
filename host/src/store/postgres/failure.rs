//! What an error of the database says about the transaction. It knows no statement and no connection.

use std::error::Error as _;

use tokio_postgres::error::Severity;

/// The fate of a transaction that did not succeed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Failure {
    /// It was rolled back, and the connection goes on.
    RolledBack {
        /// The same statement may succeed later.
        retry: bool,
    },
    /// It may have run, may run now, or may run later. The connection is not used again.
    Unknown,
}

/// Sorts an error. Anything but an error of the server on a connection that goes on is unknown.
pub(super) fn failure(error: &tokio_postgres::Error) -> Failure {
    match error.as_db_error() {
        Some(db) if db.parsed_severity() == Some(Severity::Error) => of_state(db.code().code()),
        _ => Failure::Unknown,
    }
}

/// Sorts the SQLSTATE of an ERROR.
fn of_state(state: &str) -> Failure {
    match state {
        // The server takes no writes: the connection leads to a standby. 40003: the server itself does not know.
        "25006" | "40003" => Failure::Unknown,
        // Lost connections, and a server that stops.
        _ if state.starts_with("08") || state.starts_with("57P") => Failure::Unknown,
        // Serialization, deadlock, lock not available, cancelled.
        "40001" | "40P01" | "55P03" | "57014" => Failure::RolledBack { retry: true },
        // A shortage of memory, disk or connections.
        _ if state.starts_with("53") => Failure::RolledBack { retry: true },
        _ => Failure::RolledBack { retry: false },
    }
}

/// An error in one line, without the values that the statement had.
pub(super) fn describe(error: &tokio_postgres::Error) -> String {
    if let Some(db) = error.as_db_error() {
        return format!("{} ({})", db.message(), db.code().code());
    }
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_says_whether_to_try_again() {
        let sorted = |states: &[&str], failure| states.iter().all(|state| of_state(state) == failure);
        let conflicts = ["40001", "40P01", "55P03", "57014", "53100", "53200", "53300"];
        assert!(sorted(&conflicts, Failure::RolledBack { retry: true }));
        assert!(sorted(&["22021", "23505", "42501", "42P01", "XX000", "54000"], Failure::RolledBack { retry: false }));
        assert!(sorted(&["25006", "40003", "08006", "57P01", "57P02", "57P03"], Failure::Unknown));
    }
}
