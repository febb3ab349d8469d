//! Hashes and HMAC for `crypto.subtle`, by their names on the Web.

use hmac::{Hmac, KeyInit, Mac};
use sha1::Sha1;
use sha2::{Digest, Sha256, Sha384, Sha512};

/// The hash of bytes, if there is such an algorithm.
pub(crate) fn digest(algorithm: &str, bytes: &[u8]) -> Option<Vec<u8>> {
    Some(match algorithm {
        "SHA-1" => Sha1::digest(bytes).to_vec(),
        "SHA-256" => Sha256::digest(bytes).to_vec(),
        "SHA-384" => Sha384::digest(bytes).to_vec(),
        "SHA-512" => Sha512::digest(bytes).to_vec(),
        _ => return None,
    })
}

/// The authentication code of bytes, if there is such an algorithm.
pub(crate) fn hmac(algorithm: &str, key: &[u8], bytes: &[u8]) -> Option<Vec<u8>> {
    fn code<M: Mac + KeyInit>(key: &[u8], bytes: &[u8]) -> Option<Vec<u8>> {
        let mut mac = <M as KeyInit>::new_from_slice(key).ok()?;
        mac.update(bytes);
        Some(mac.finalize().into_bytes().to_vec())
    }
    match algorithm {
        "SHA-1" => code::<Hmac<Sha1>>(key, bytes),
        "SHA-256" => code::<Hmac<Sha256>>(key, bytes),
        "SHA-384" => code::<Hmac<Sha384>>(key, bytes),
        "SHA-512" => code::<Hmac<Sha512>>(key, bytes),
        _ => None,
    }
}
