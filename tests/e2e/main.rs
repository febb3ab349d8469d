//! A real process, real sockets, a real disk: every promise, kept by the binary that users run.
//!
//! In reading order: how a client gets in, what it hears, what survives, what cannot do harm, how it ends.

#[path = "../component/assembled.rs"]
mod assembled;
mod checker;
mod fault_disk;
mod harness;
mod seeds;
mod talkers;

mod bad_input;
mod bench;
mod clocks;
mod command_line;
mod compiled;
mod crashes;
mod damage;
mod disk;
mod door;
mod durability;
mod embedding;
mod events;
mod full_disk;
mod fuzz;
mod hibernation;
mod http2;
mod identity;
mod javascript;
mod joining;
mod keep_alive;
mod limits;
mod logging;
mod make;
mod new;
mod ordering;
mod panics;
mod posting;
mod power;
mod reaching;
mod renewal;
mod restored;
mod revoking;
mod rotation;
mod routes;
mod sandbox;
mod secrets;
mod shares;
mod shutdown;
mod test_driver;
mod timers;
mod tls;
mod tokens;
mod waiting;
