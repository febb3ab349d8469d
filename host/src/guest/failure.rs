//! The errors of turns and of loading components, with texts for authors and operators.

use std::time::Duration;

use super::log_limiter::one_line;
use crate::config::Limits;
use crate::limits::{COMPONENT_BYTES, MESSAGE_BYTES};

/// The reason why a turn failed. The author of the room must act; the room goes on with its next event.
#[derive(Debug, thiserror::Error)]
pub enum TurnFailure {
    /// The room returned an error.
    #[error("the room returned an error: {}", one_line(.0))]
    Guest(String),
    /// The room returned an error when it woke.
    #[error("the room returned an error: wake: {}", one_line(.0))]
    Wake(String),
    /// It used too much CPU.
    #[error("it used its {limit:?} of CPU")]
    Cpu {
        /// The limit.
        limit: Duration,
    },
    /// It needed more memory than an instance may have.
    #[error("it used its {limit_bytes} B of memory")]
    Memory {
        /// The limit.
        limit_bytes: usize,
    },
    /// It needed more table elements than an instance may have.
    #[error("it used its {limit} elements of tables")]
    Tables {
        /// The limit.
        limit: usize,
    },
    /// It panicked, or did something that the contract forbids.
    #[error("it trapped: {cause}{}", last_output(.output))]
    Trap {
        /// The error of wasmtime.
        cause: String,
        /// Its last output to standard error, such as the message of a panic.
        output: String,
    },
    /// No instance could be made.
    #[error("no instance could be made: {0}")]
    Instantiate(String),
    /// It could not migrate the data of the room.
    #[error("the data of the room has version {from} and could not be migrated: {cause}")]
    Migration {
        /// The version of the data.
        from: u32,
        /// The failure of the migration.
        cause: Box<TurnFailure>,
    },
    /// The data has a version that the component does not know.
    #[error(
        "the data of the room has version {version}, and this code declares no version; deploy code that reads this data"
    )]
    DataVersion {
        /// The version of the data.
        version: u32,
    },
    /// The host panicked. This is a bug in the host; please report it.
    #[error("the host's own code panicked: {0}; please report this")]
    Host(String),
}

impl TurnFailure {
    /// Whether the code failed, and did not decide so: a room that returns an error for an event works as written, and
    /// a client may have caused it. A room that cannot wake does not work.
    pub fn is_of_code(&self) -> bool {
        !matches!(self, TurnFailure::Guest(_))
    }

    /// Whether two turns failed for the same kind of reason.
    pub fn is_like(&self, other: &TurnFailure) -> bool {
        std::mem::discriminant(self) == std::mem::discriminant(other)
    }

    /// Whether the code did not get as far as the event, because of the version of the data.
    pub fn is_of_data(&self) -> bool {
        matches!(self, TurnFailure::Migration { .. } | TurnFailure::DataVersion { .. })
    }
}

fn last_output(output: &str) -> String {
    match output.trim() {
        "" => String::new(),
        output => format!("; last output: {}", one_line(output)),
    }
}

/// The reason why a component cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// This machine does not have the resources that the limits require.
    #[error(
        "limits: wasmtime cannot start with these: {0}; lower `limits.awake_rooms`, `limits.requests`, \
         `limits.memory_bytes` or `limits.table_elements`"
    )]
    Engine(String),
    /// It is not a valid component.
    #[error("{name} is not a WebAssembly component for wasm32-wasip2: {cause}")]
    Compile {
        /// The component.
        name: String,
        /// The error.
        cause: String,
    },
    /// It needs more than an instance may have.
    #[error("{key}: {value} is too little for {name}, which needs {needed}; write at least {needed}")]
    Limit {
        /// Which component.
        name: String,
        /// The limit.
        key: &'static str,
        /// The value of the limit.
        value: usize,
        /// The amount that the component needs.
        needed: usize,
    },
    /// It is too large to compile.
    #[error("{name} has {bytes} B, and a component may have {COMPONENT_BYTES} B; strip it, or split it into several")]
    TooLarge {
        /// The component.
        name: String,
        /// Its size.
        bytes: usize,
    },
    /// It was built against a version of the contract that this host does not support.
    #[error("{name} was built against dormouse:room@{built}, and this dormouse supports {supported}: {advice}")]
    Version {
        /// The component.
        name: String,
        /// The version that it was built against.
        built: String,
        /// The version of this host. Older versions that differ only in the last number work too.
        supported: &'static str,
        /// Advice for the author.
        advice: &'static str,
    },
    /// It is a room where a router is needed, or the reverse.
    #[error("{name} is a {is}, and a {needed} is needed here; {advice}")]
    OtherKind {
        /// The component.
        name: String,
        /// `room` or `router`.
        is: &'static str,
        /// The other one.
        needed: &'static str,
        /// Advice: the setting to write instead.
        advice: &'static str,
    },
    /// It exports nothing that the host can call.
    #[error(
        "{name} exports no {kind}: a crate in Rust names its type in {macro_name}, once, in its lib.rs; in other languages \
         the component exports the interface {interface}"
    )]
    NoExport {
        /// The component.
        name: String,
        /// `room` or `router`.
        kind: &'static str,
        /// The macro that exports it.
        macro_name: &'static str,
        /// The missing interface.
        interface: String,
    },
    /// It imports an interface that the host does not offer.
    #[error("{name} imports {import}, which this dormouse does not offer: {advice}")]
    NoImport {
        /// The component.
        name: String,
        /// The interface.
        import: String,
        /// Advice for the author.
        advice: &'static str,
    },
    /// It imports or exports something that does not match the contract.
    #[error("{name} does not fit the contract dormouse:room@{contract}: {cause}")]
    Contract {
        /// The component.
        name: String,
        /// The version of the contract.
        contract: &'static str,
        /// The mismatch.
        cause: String,
    },
}

/// Memory that an instance needs beside what it has at its start, in bytes: to hold one of the longest messages.
const WORKING_BYTES: usize = MESSAGE_BYTES;

/// The limit for which wasmtime's pool refused a component, its value, and what the component needs. wasmtime has no
/// type for that, only words.
fn exceeded_limit(cause: &str, limits: &Limits) -> Option<(&'static str, usize, usize)> {
    let number = |before: &str| {
        let (_, number) = cause.split_once(before)?;
        number.split(|char: char| !char.is_ascii_digit()).next()?.parse().ok()
    };
    let memory = number("minimum byte size of ");
    let memory = memory.map(|least: usize| ("limits.memory_bytes", limits.memory_bytes, least + WORKING_BYTES));
    let table =
        || number("minimum element size of ").map(|needed| ("limits.table_elements", limits.table_elements, needed));
    memory.or_else(table)
}

impl LoadError {
    pub(super) fn engine(error: wasmtime::Error) -> Self {
        LoadError::Engine(format!("{error:#}"))
    }

    pub(super) fn compile(name: &str, limits: &Limits, error: wasmtime::Error) -> Self {
        let cause = format!("{error:#}");
        match exceeded_limit(&cause, limits) {
            Some((key, value, needed)) => LoadError::Limit { name: name.into(), key, value, needed },
            None => LoadError::Compile { name: name.into(), cause },
        }
    }

    /// Refuses a component that would have no memory left to work with. `initial_bytes` is its memory at its start.
    pub(super) fn check_memory(name: &str, limits: &Limits, initial_bytes: usize) -> Result<(), Self> {
        let (value, needed) = (limits.memory_bytes, initial_bytes + WORKING_BYTES);
        match value < needed {
            true => Err(LoadError::Limit { name: name.into(), key: "limits.memory_bytes", value, needed }),
            false => Ok(()),
        }
    }
}
