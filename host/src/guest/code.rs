//! Compiled code that outlives its process: sealed where it is made, and looked at before it is believed.
//!
//! Machine code runs as it is, so a byte that changed on the disk must not get that far. Each piece is kept under a name
//! made of all that it was made from, and begins with the hash of that name and of itself. That finds damage, and not
//! somebody who may write to the place where it is kept: who else may is for whoever keeps it to see to.

use std::fmt;
use std::hash::{Hash, Hasher};

use sha2::digest::Output;
use sha2::{Digest, Sha256};

/// Raised when the same component is to be compiled in another way, or sealed in another form.
const FORM: &str = "dormouse code 1";

/// The length of a seal: that of a SHA-256.
const SEAL_BYTES: usize = 32;

/// A place that keeps compiled code between two starts. What it loses costs time, and nothing else.
pub trait CodeCache: Send + Sync {
    /// What was kept under a name, as it was given.
    fn get(&self, name: &str) -> Option<Vec<u8>>;

    /// Keep something, as well as may be.
    fn put(&self, name: &str, sealed: &[u8]);
}

/// What compiling depends on: the component, wasmtime with its settings, and this machine's processor.
pub(super) struct Origin(Output<Sha256>);

impl Origin {
    pub(super) fn new(engine: &wasmtime::Engine, wasm: &[u8]) -> Self {
        let mut digest = Digesting(Sha256::new_with_prefix(FORM));
        engine.precompile_compatibility_hash().hash(&mut digest);
        digest.0.update(wasm);
        Origin(digest.0.finalize())
    }

    /// What it is kept under.
    pub(super) fn name(&self) -> String {
        self.to_string()
    }

    /// Compiled code with its seal in front.
    pub(super) fn seal(&self, code: &[u8]) -> Vec<u8> {
        [&self.seal_of(code)[..], code].concat()
    }

    /// The code behind a seal that fits it. Absent where anything has changed since.
    pub(super) fn unseal<'a>(&self, sealed: &'a [u8]) -> Option<&'a [u8]> {
        let (seal, code) = sealed.split_first_chunk::<SEAL_BYTES>()?;
        (seal[..] == self.seal_of(code)[..]).then_some(code)
    }

    fn seal_of(&self, code: &[u8]) -> Output<Sha256> {
        Sha256::new().chain_update(self.0).chain_update(code).finalize()
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// Takes what others hash for a table as the bytes of a digest that stays the same from start to start.
struct Digesting(Sha256);

impl Hasher for Digesting {
    fn write(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    fn finish(&self) -> u64 {
        unreachable!("only the digest is asked for")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origin(wasm: &[u8]) -> Origin {
        Origin::new(&wasmtime::Engine::default(), wasm)
    }

    #[test]
    fn code_comes_back_from_behind_its_seal() {
        let origin = origin(b"wasm");
        assert_eq!(origin.unseal(&origin.seal(b"code")), Some(&b"code"[..]));
    }

    #[test]
    fn a_single_bit_that_changed_is_noticed_wherever_it_is() {
        let origin = origin(b"wasm");
        let sealed = origin.seal(b"code");
        for bit in 0..sealed.len() * 8 {
            let mut damaged = sealed.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(origin.unseal(&damaged), None, "bit {bit}");
        }
        for length in 0..sealed.len() {
            assert_eq!(origin.unseal(&sealed[..length]), None, "cut to {length}");
        }
    }

    #[test]
    fn code_of_another_component_or_of_other_settings_is_not_believed() {
        let other = wasmtime::Engine::new(wasmtime::Config::new().epoch_interruption(true)).unwrap();
        for other in [origin(b"other"), Origin::new(&other, b"wasm")] {
            assert_eq!(origin(b"wasm").unseal(&other.seal(b"code")), None);
            assert_ne!(origin(b"wasm").name(), other.name());
        }
        assert_eq!(origin(b"wasm").name(), origin(b"wasm").name());
    }
}
