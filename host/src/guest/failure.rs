//! Why there is no turn, and why there is no component.

use std::time::Duration;

use wasmtime::Trap;

use super::contract::CONTRACT;
use super::limits::{Exceeded, LINE_BYTES};
use super::state::Host;
use crate::config::COMPONENT_BYTES;

/// Why a turn never happened. The room's author must act; the room itself goes on with its next event.
#[derive(Debug, thiserror::Error)]
pub enum TurnFailure {
    /// The room returned an error.
    #[error("the room said: {}", one_line(.0))]
    Guest(String),
    /// It computed for too long.
    #[error("it used its {limit:?} of CPU")]
    Cpu {
        /// The limit.
        limit: Duration,
    },
    /// It asked for more memory than an instance may have.
    #[error("it used its {limit_bytes} B of memory")]
    Memory {
        /// The limit.
        limit_bytes: usize,
    },
    /// It asked for more elements of its tables than an instance may have, and could not go on without them.
    #[error("it used its {limit} elements of tables")]
    Tables {
        /// The limit.
        limit: usize,
    },
    /// It panicked, or did what a component may not do.
    #[error("it trapped: {cause}{}", last_words(.output))]
    Trap {
        /// What wasmtime says.
        cause: String,
        /// What it last wrote to standard error, such as a panic's message.
        output: String,
    },
    /// No instance could be made.
    #[error("no instance could be made: {0}")]
    Instantiate(String),
    /// The host's own code panicked. It must be mended; please report it.
    #[error("the host's own code failed: {0}; please report this")]
    Host(String),
}

fn last_words(output: &str) -> String {
    match output.trim() {
        "" => String::new(),
        output => format!("; its last words: {}", one_line(output)),
    }
}

/// A guest's text as one line of the log: it cannot begin another, speak to the operator's terminal, or go on for ever.
pub(super) fn one_line(text: &str) -> String {
    let line = &text[..text.floor_char_boundary(LINE_BYTES)];
    line.chars().map(|char| if char.is_control() { ' ' } else { char }).collect()
}

impl TurnFailure {
    pub(super) fn trap(host: &Host, error: &wasmtime::Error) -> Self {
        match host.meter.exceeded {
            Some(Exceeded::Cpu) => TurnFailure::Cpu { limit: host.limits.turn_cpu },
            Some(Exceeded::Memory) => TurnFailure::Memory { limit_bytes: host.limits.memory_bytes },
            Some(Exceeded::Table) => TurnFailure::Tables { limit: host.limits.table_elements },
            None => TurnFailure::Trap { cause: one_line(&error.root_cause().to_string()), output: host.last_words() },
        }
    }

    /// There is no instance: because of what its code did, or because none could be had.
    pub(super) fn instantiate(host: &Host, error: &wasmtime::Error) -> Self {
        if host.meter.exceeded.is_some() || error.is::<Trap>() {
            Self::trap(host, error)
        } else {
            TurnFailure::Instantiate(format!("{error:#}"))
        }
    }
}

/// Why a component cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// This machine cannot hold what the limits ask for.
    #[error("wasmtime cannot start: {0}; lower `limits.awake_rooms` or `limits.memory_bytes`")]
    Engine(String),
    /// It is no valid component.
    #[error("{name} is no WebAssembly component for wasm32-wasip2: {cause}")]
    Compile {
        /// Which component.
        name: String,
        /// What is wrong with it.
        cause: String,
    },
    /// It is too large to be compiled.
    #[error("{name} has {bytes} B, and a component may have {COMPONENT_BYTES} B; strip it, or split what it does")]
    TooLarge {
        /// Which component.
        name: String,
        /// Its size.
        bytes: usize,
    },
    /// It was built against a contract that this host does not speak.
    #[error("{name} was built against dormouse:room@{built}, and this dormouse speaks {spoken}: {advice}")]
    Version {
        /// Which component.
        name: String,
        /// The version it was built against.
        built: String,
        /// The version that is spoken here, with all older ones that differ from it in the last number.
        spoken: &'static str,
        /// What to do.
        advice: &'static str,
    },
    /// It exports nothing that the host could call.
    #[error(
        "{name} exports no {kind}: a crate in Rust names its type in {macro_name}, once, in its lib.rs; in other languages \
         the component exports the interface {interface}{hint}"
    )]
    NoExport {
        /// Which component.
        name: String,
        /// `room` or `router`.
        kind: &'static str,
        /// The macro that exports one.
        macro_name: &'static str,
        /// The interface that is missing.
        interface: String,
        /// More, where the component is something else.
        hint: &'static str,
    },
    /// It imports an interface that no room can have.
    #[error("{name} imports {import}, which this dormouse does not offer: {advice}")]
    NoImport {
        /// Which component.
        name: String,
        /// The interface.
        import: String,
        /// What to do instead.
        advice: &'static str,
    },
    /// It imports what a room cannot have, or does not export what one must.
    #[error("{name} does not fit the contract dormouse:room@{CONTRACT}: {cause}")]
    Contract {
        /// Which component.
        name: String,
        /// What does not fit.
        cause: String,
    },
}

impl LoadError {
    pub(super) fn engine(error: wasmtime::Error) -> Self {
        LoadError::Engine(format!("{error:#}"))
    }

    pub(super) fn compile(name: &str, error: wasmtime::Error) -> Self {
        LoadError::Compile { name: name.into(), cause: format!("{error:#}") }
    }

    pub(super) fn contract(name: &str, error: wasmtime::Error) -> Self {
        LoadError::Contract { name: name.into(), cause: format!("{error:#}") }
    }
}
