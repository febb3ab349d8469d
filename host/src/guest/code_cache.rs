//! Seals compiled code for the cache, and checks the seal before the code is loaded. It does not know where the cache
//! is.
//!
//! Cached machine code is executed, so a corrupt byte must be noticed first. Each entry is named by a hash of
//! everything that it was compiled from, and begins with a hash of that name and of its content. The hash detects
//! corruption, not an attacker with write access: the cache directory must protect itself.

use std::fmt;
use std::hash::{Hash, Hasher};

use sha2::digest::Output;
use sha2::{Digest, Sha256};

/// Change this text when components are compiled or sealed in another way.
const FORMAT: &str = "dormouse code 1";

/// The length of a seal: a SHA-256 hash.
const SEAL_BYTES: usize = 32;

/// A cache of compiled code that survives a restart. A lost entry only costs time.
pub trait CodeCache: Send + Sync {
    /// The entry with this name, unchanged.
    fn get(&self, name: &str) -> Option<Vec<u8>>;

    /// Stores an entry. It may fail silently.
    fn put(&self, name: &str, sealed: &[u8]);

    /// Removes an entry that is not needed any more. It may fail silently.
    fn remove(&self, _name: &str) {}
}

/// A hash of the inputs of compilation: the component, wasmtime with its settings, and the processor of this machine.
pub(super) struct CodeKey(Output<Sha256>);

impl CodeKey {
    pub(super) fn new(engine: &wasmtime::Engine, wasm: &[u8]) -> Self {
        let mut digest = DigestHasher(Sha256::new_with_prefix(FORMAT));
        engine.precompile_compatibility_hash().hash(&mut digest);
        digest.0.update(wasm);
        CodeKey(digest.0.finalize())
    }

    /// The name of the entry.
    pub(super) fn name(&self) -> String {
        self.to_string()
    }

    /// Puts the seal in front of compiled code.
    pub(super) fn seal(&self, code: &[u8]) -> Vec<u8> {
        [&self.seal_of(code)[..], code].concat()
    }

    /// The code behind the seal; absent if anything has changed.
    pub(super) fn unseal<'a>(&self, sealed: &'a [u8]) -> Option<&'a [u8]> {
        let (seal, code) = sealed.split_first_chunk::<SEAL_BYTES>()?;
        (seal[..] == self.seal_of(code)[..]).then_some(code)
    }

    fn seal_of(&self, code: &[u8]) -> Output<Sha256> {
        Sha256::new().chain_update(self.0).chain_update(code).finalize()
    }
}

impl fmt::Display for CodeKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// The hash of a component, SHA-256 in hexadecimal: it names the version of the code.
pub fn component_hash(wasm: &[u8]) -> String {
    Sha256::digest(wasm).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A `Hasher` that feeds a SHA-256 digest, which is the same at each start.
struct DigestHasher(Sha256);

impl Hasher for DigestHasher {
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

    fn key(wasm: &[u8]) -> CodeKey {
        CodeKey::new(&wasmtime::Engine::default(), wasm)
    }

    #[test]
    fn sealed_code_can_be_opened_again() {
        let key = key(b"wasm");
        assert_eq!(key.unseal(&key.seal(b"code")), Some(&b"code"[..]));
    }

    #[test]
    fn any_flipped_bit_is_detected() {
        let key = key(b"wasm");
        let sealed = key.seal(b"code");
        for bit in 0..sealed.len() * 8 {
            let mut damaged = sealed.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(key.unseal(&damaged), None, "bit {bit}");
        }
        for length in 0..sealed.len() {
            assert_eq!(key.unseal(&sealed[..length]), None, "cut to {length}");
        }
    }

    #[test]
    fn code_of_another_component_or_settings_is_refused() {
        let other = wasmtime::Engine::new(wasmtime::Config::new().epoch_interruption(true)).unwrap();
        for other in [key(b"other"), CodeKey::new(&other, b"wasm")] {
            assert_eq!(key(b"wasm").unseal(&other.seal(b"code")), None);
            assert_ne!(key(b"wasm").name(), other.name());
        }
        assert_eq!(key(b"wasm").name(), key(b"wasm").name());
    }
}
