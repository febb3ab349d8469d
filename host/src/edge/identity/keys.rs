//! The keys that tokens may be signed with: read from files, each bound to one algorithm.
//!
//! Each key is tested when it is read. So the operator learns at once of a key that could never verify a token, and no
//! key makes the library panic later. This module also decides which key fits which token; it does not judge claims.

use std::fs::{self, File, Metadata};
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::alphabet::{STANDARD, URL_SAFE};
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use jsonwebtoken::crypto;
use jsonwebtoken::{Algorithm, DecodingKey, DecodingKeyKind, EncodingKey};
use serde::Deserialize;

use super::token::{KeyUse, Signed};
use crate::config::{Encoding, Identity, Key};
use crate::file_problem::FileProblem;

/// The shortest secret for HS256, in bytes: as long as its hash, as RFC 7518 requires.
pub(in crate::edge) const SECRET_BYTES: usize = 32;
/// The lengths of RSA keys, in bits: the minimum of RFC 7518, and the maximum of the library.
const RSA_BITS: std::ops::RangeInclusive<usize> = 2_048..=4_096;
/// The largest key file, in bytes. A longer file is not a key.
const FILE_BYTES: u64 = 1 << 20;
/// The most keys of a set. The number is limited because a token without a key id is checked against all keys of its
/// algorithm.
const KEYS_OF_A_SET: usize = 100;
/// Keys of a set whose problems an error names, so that the error stays readable.
const PROBLEMS_SHOWN: usize = 5;

/// Why a key cannot be used. The operator must act.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// Its file cannot be read.
    #[error("{setting}: {path} cannot be read")]
    Read {
        /// The setting that names it.
        setting: &'static str,
        /// The file.
        path: PathBuf,
        /// The error.
        source: FileProblem,
    },
    /// Its file holds no key for the configured algorithm.
    #[error("{setting}: {path} holds no key for {algorithm}: {problem}; name a file with such a key")]
    Bad {
        /// The setting that names it.
        setting: &'static str,
        /// The file.
        path: PathBuf,
        /// The configured algorithm.
        algorithm: String,
        /// The problem.
        problem: String,
    },
    /// A set holds no key that can be used.
    #[error("identity.jwks: the key set {path} cannot be used: {problem}; name a file with a key set of RFC 7517")]
    Set {
        /// The file.
        path: PathBuf,
        /// The problem.
        problem: String,
    },
    /// The algorithm is not supported.
    #[error(
        "identity.keys.algorithm: no token is signed with `{algorithm}`, as the key in {path} has it; write HS256, RS256, \
         ES256 or EdDSA"
    )]
    Algorithm {
        /// The file of the key.
        path: PathBuf,
        /// The configured algorithm.
        algorithm: String,
    },
    /// A key for services is also an ordinary one, so that its ordinary tokens could claim to be a service's.
    #[error(
        "identity.keys.service: the key in {path} is marked `service = true`, and the same key is here without the \
         mark ({other}); give services a key of their own"
    )]
    SharedByServices {
        /// The file of the key for services.
        path: PathBuf,
        /// The setting and the file of the other one.
        other: String,
    },
    /// No key for services can sign.
    #[error(
        "identity.keys: no key with `service = true` that can sign: HS256 signs with `file`, the others need \
         `private_file`; mark a key that only your back end has, such as\n\n[[identity.keys]]\nalgorithm = \
         \"HS256\"\nfile = \"service.secret\"\nservice = true"
    )]
    NothingToSignForServices,
    /// No key can sign.
    #[error(
        "identity.keys: no key that can sign: HS256 signs with `file`, the others need `private_file`; a key set never signs"
    )]
    NothingToSign,
}

/// All verification keys of a server.
pub(in crate::edge) struct Keys(Vec<VerifyKey>);

/// The result of checking a token's signature.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::edge) enum SignatureCheck {
    /// One of the keys signed it.
    Valid(KeyUse),
    /// None of the keys that fit the token signed it.
    Invalid,
    /// No key fits the token.
    UnknownKey,
}

struct VerifyKey {
    id: Option<String>,
    algorithm: Algorithm,
    key: DecodingKey,
    usage: KeyUse,
    /// The setting that names its file, and the file.
    source: (&'static str, PathBuf),
}

impl Keys {
    /// Loads all keys that a configuration names.
    pub(in crate::edge) fn load(identity: &Identity) -> Result<Self, KeyError> {
        let mut keys = identity.keys.iter().map(VerifyKey::load).collect::<Result<Vec<_>, _>>()?;
        if let Some(path) = &identity.jwks {
            keys.extend(load_set(path)?);
        }
        check_services_have_own_keys(&keys)?;
        Ok(Keys(keys))
    }

    /// Returns whether a token names a key that is not here.
    pub(in crate::edge) fn lacks_key_of(&self, signed: &Signed<'_>) -> bool {
        signed.key_id.is_some() && !self.0.iter().any(|key| key.id == signed.key_id)
    }

    /// Checks a token's signature. A key is used only with its own algorithm, whatever the token's head asks for
    /// (algorithm confusion). A key with an id is used only for tokens that name it. If several fit, the one that
    /// signed the token says whether it may be a service's.
    pub(in crate::edge) fn check_signature(&self, signed: &Signed<'_>) -> SignatureCheck {
        let named = algorithm(&signed.algorithm);
        let fits = |key: &&VerifyKey| Some(key.algorithm) == named && (key.id.is_none() || key.id == signed.key_id);
        let mut check = SignatureCheck::UnknownKey;
        for key in self.0.iter().filter(fits) {
            match crypto::verify(signed.signature, signed.message.as_bytes(), &key.key, key.algorithm) {
                Ok(true) => return SignatureCheck::Valid(key.usage),
                Ok(false) | Err(_) => check = SignatureCheck::Invalid,
            }
        }
        check
    }
}

impl VerifyKey {
    fn load(key: &Key) -> Result<Self, KeyError> {
        let algorithm = algorithm_of(key)?;
        let bytes = read("identity.keys.file", &key.file)?;
        let decoding = match algorithm {
            Algorithm::HS256 => Ok(DecodingKey::from_secret(&secret(key, &bytes)?)),
            Algorithm::RS256 => DecodingKey::from_rsa_pem(&bytes),
            Algorithm::ES256 => DecodingKey::from_ec_pem(&bytes),
            _ => DecodingKey::from_ed_pem(&bytes),
        };
        let works = decoding.map_err(|error| error.to_string()).and_then(|key| try_out(algorithm, key));
        let decoding = works.map_err(|problem| bad(key, &key.file, problem))?;
        let usage = if key.service { KeyUse::Services } else { KeyUse::Users };
        Ok(VerifyKey {
            id: key.id.clone(),
            algorithm,
            key: decoding,
            usage,
            source: ("identity.keys.file", key.file.clone()),
        })
    }
}

/// Refuses a key for services that is here as an ordinary key too. The id in a token's head cannot distinguish
/// the two, because the signer chooses it.
fn check_services_have_own_keys(keys: &[VerifyKey]) -> Result<(), KeyError> {
    for service in keys.iter().filter(|key| key.usage == KeyUse::Services) {
        let same = keys.iter().find(|key| key.usage == KeyUse::Users && key.is_same_as(service));
        if let Some(VerifyKey { source: (setting, other), .. }) = same {
            let other = format!("{setting}: {}", other.display());
            return Err(KeyError::SharedByServices { path: service.source.1.clone(), other });
        }
    }
    Ok(())
}

impl VerifyKey {
    /// Returns whether both verify the same signatures.
    fn is_same_as(&self, other: &VerifyKey) -> bool {
        if self.algorithm != other.algorithm {
            return false;
        }
        match (self.key.kind(), other.key.kind()) {
            // HMAC takes some secrets of different lengths for the same one, so that comparing bytes is not enough.
            (DecodingKeyKind::SecretOrDer(one), DecodingKeyKind::SecretOrDer(two))
                if self.algorithm == Algorithm::HS256 =>
            {
                let sign = |secret: &[u8]| crypto::sign(b"", &EncodingKey::from_secret(secret), Algorithm::HS256).ok();
                sign(one) == sign(two)
            }
            (DecodingKeyKind::SecretOrDer(one), DecodingKeyKind::SecretOrDer(two)) => one == two,
            (
                DecodingKeyKind::RsaModulusExponent { n: one, .. },
                DecodingKeyKind::RsaModulusExponent { n: two, .. },
            ) => significant(one) == significant(two),
            // A key of a set has its modulus, and one in PEM holds the same bytes.
            (DecodingKeyKind::RsaModulusExponent { n, .. }, DecodingKeyKind::SecretOrDer(der))
            | (DecodingKeyKind::SecretOrDer(der), DecodingKeyKind::RsaModulusExponent { n, .. }) => {
                let n = significant(n);
                der.windows(n.len()).any(|part| part == n)
            }
        }
    }
}

/// A number's bytes without leading zeros.
fn significant(number: &[u8]) -> &[u8] {
    number.iter().position(|byte| *byte != 0).map_or(&[], |first| &number[first..])
}

fn algorithm_of(key: &Key) -> Result<Algorithm, KeyError> {
    let unknown = || KeyError::Algorithm { path: key.file.clone(), algorithm: key.algorithm.clone() };
    algorithm(&key.algorithm).ok_or_else(unknown)
}

/// Finds an algorithm by its name in tokens, key sets and configurations. RFC 9864 has a new name for EdDSA.
fn algorithm(name: &str) -> Option<Algorithm> {
    match name {
        "HS256" => Some(Algorithm::HS256),
        "RS256" => Some(Algorithm::RS256),
        "ES256" => Some(Algorithm::ES256),
        "EdDSA" | "Ed25519" => Some(Algorithm::EdDSA),
        _ => None,
    }
}

/// Tests that a key can verify something: the library only finds out when it is used.
fn try_out(algorithm: Algorithm, key: DecodingKey) -> Result<DecodingKey, String> {
    let bytes = key.try_get_as_bytes().map_or(0, <[u8]>::len);
    match algorithm {
        // The library takes the first 32 bytes, and panics if there are fewer.
        Algorithm::EdDSA if bytes != 32 => return Err("a key for Ed25519 has 32 bytes".into()),
        // In DER, 10 to 20 bytes surround the modulus. A key given as `n` and `e` was measured before.
        Algorithm::RS256 if bytes > 0 && !(RSA_BITS.start() / 8..=RSA_BITS.end() / 8 + 32).contains(&bytes) => {
            return Err(wrong_rsa());
        }
        _ => {}
    }
    match crypto::verify("", b"", &key, algorithm) {
        Ok(_) => Ok(key),
        Err(error) => Err(error.to_string()),
    }
}

fn wrong_rsa() -> String {
    format!("a key for RSA has {} to {} bits", RSA_BITS.start(), RSA_BITS.end())
}

/// A JSON Web Key Set of RFC 7517.
#[derive(Deserialize)]
struct Set {
    keys: Vec<serde_json::Value>,
}

/// One key of a set. Private parts of a key are not read.
#[derive(Deserialize)]
struct Jwk {
    kty: String,
    #[serde(rename = "use")]
    usage: Option<String>,
    key_ops: Option<Vec<String>>,
    alg: Option<String>,
    kid: Option<String>,
    crv: Option<String>,
    n: Option<String>,
    e: Option<String>,
    x: Option<String>,
    y: Option<String>,
    k: Option<String>,
}

/// Loads the usable keys of a set. A set may hold keys for other purposes: they are skipped and logged.
fn load_set(path: &Path) -> Result<Vec<VerifyKey>, KeyError> {
    let refuse = |problem: String| KeyError::Set { path: path.into(), problem };
    // serde's own error might quote a secret.
    let set = serde_json::from_slice::<Set>(&read("identity.jwks", path)?)
        .map_err(|error| refuse(format!("it is not JSON with a list `keys` (line {})", error.line())))?;
    if set.keys.len() > KEYS_OF_A_SET {
        return Err(refuse(format!("it has more than {KEYS_OF_A_SET} keys")));
    }
    if set.keys.is_empty() {
        return Err(refuse("it holds no key that can be used: its list `keys` is empty".into()));
    }
    let (mut keys, mut problems) = (Vec::new(), Vec::new());
    for (index, jwk) in set.keys.into_iter().enumerate() {
        let kid = jwk.get("kid").and_then(serde_json::Value::as_str).unwrap_or_default().to_owned();
        let jwk = serde_json::from_value::<Jwk>(jwk).map_err(|_| "it is not a key of RFC 7517".to_owned());
        match jwk.and_then(|jwk| VerifyKey::from_jwk(jwk, path)) {
            Ok(key) => keys.push(key),
            Err(problem) => problems.push((index, kid, problem)),
        }
    }
    if keys.is_empty() {
        let shown = problems.iter().take(PROBLEMS_SHOWN);
        let shown = shown.map(|(index, kid, problem)| format!("key {} ({kid:?}): {problem}", index + 1));
        let shown = shown.collect::<Vec<_>>().join("; ");
        return Err(refuse(format!("it holds no key that can be used: {shown}")));
    }
    for (index, kid, problem) in problems {
        tracing::warn!(path = %path.display(), index, kid, problem, "a key of a set is not used");
    }
    Ok(keys)
}

impl VerifyKey {
    fn from_jwk(jwk: Jwk, path: &Path) -> Result<Self, String> {
        if jwk.usage.as_deref().is_some_and(|usage| usage != "sig") {
            return Err("its `use` is not `sig`".into());
        }
        if jwk.key_ops.as_ref().is_some_and(|operations| !operations.iter().any(|operation| operation == "verify")) {
            return Err("its `key_ops` do not include `verify`".into());
        }
        let (algorithm, key) = match (jwk.kty.as_str(), jwk.crv.as_deref()) {
            ("RSA", _) => (Algorithm::RS256, rsa(jwk.n.as_deref(), jwk.e.as_deref())?),
            ("EC", Some("P-256")) => (Algorithm::ES256, p256(jwk.x.as_deref(), jwk.y.as_deref())?),
            ("OKP", Some("Ed25519")) => (Algorithm::EdDSA, DecodingKey::from_ed_der(&part("x", jwk.x.as_deref())?)),
            ("oct", _) => (Algorithm::HS256, octets(jwk.k.as_deref())?),
            _ => return Err("its kind is not RSA, EC on P-256, OKP on Ed25519 or oct".into()),
        };
        // `alg` counts more than the kind: a key for PS256 or RS512 must not be used for RS256.
        if jwk.alg.as_deref().is_some_and(|name| self::algorithm(name) != Some(algorithm)) {
            return Err(format!("its `alg` is not {algorithm:?}"));
        }
        let (key, source) = (try_out(algorithm, key)?, ("identity.jwks", path.to_owned()));
        // A set is often an identity provider's, whose tokens are for users.
        Ok(VerifyKey { id: jwk.kid, algorithm, key, usage: KeyUse::Users, source })
    }
}

fn part(name: &str, value: Option<&str>) -> Result<Vec<u8>, String> {
    let decoded = value.and_then(|value| BASE64_URL_SAFE_NO_PAD.decode(value).ok());
    decoded.ok_or_else(|| format!("its `{name}` is missing or is not base64url"))
}

fn rsa(n: Option<&str>, e: Option<&str>) -> Result<DecodingKey, String> {
    let (n, e) = (part("n", n)?, part("e", e)?);
    let significant = significant(&n);
    let bits = significant.first().map_or(0, |first| significant.len() * 8 - first.leading_zeros() as usize);
    if !RSA_BITS.contains(&bits) {
        return Err(wrong_rsa());
    }
    // Odd, above 1, and of a usual length: with other exponents the library verifies nothing, or is slow.
    let exponent = e.iter().try_fold(0_u64, |sum, byte| sum.checked_mul(256)?.checked_add(u64::from(*byte)));
    if !exponent.is_some_and(|exponent| exponent >= 3 && exponent % 2 == 1 && exponent < 1 << 33) {
        return Err("its `e` is not a usual exponent".into());
    }
    Ok(DecodingKey::from_rsa_raw_components(&n, &e))
}

fn p256(x: Option<&str>, y: Option<&str>) -> Result<DecodingKey, String> {
    let (x, y) = (part("x", x)?, part("y", y)?);
    if x.len() != 32 || y.len() != 32 {
        return Err("a point on P-256 has two coordinates of 32 bytes".into());
    }
    Ok(DecodingKey::from_ec_der(&[&[4][..], &x, &y].concat()))
}

fn octets(k: Option<&str>) -> Result<DecodingKey, String> {
    let secret = part("k", k)?;
    if secret.len() < SECRET_BYTES {
        return Err(format!("a secret has at least {SECRET_BYTES} bytes"));
    }
    Ok(DecodingKey::from_secret(&secret))
}

/// The signing key that belongs to a verification key, if there is one.
pub(in crate::edge) fn signing_key(key: &Key) -> Result<Option<(Algorithm, EncodingKey)>, KeyError> {
    let algorithm = algorithm_of(key)?;
    let (setting, file) = match algorithm {
        Algorithm::HS256 => ("identity.keys.file", Some(&key.file)),
        _ => ("identity.keys.private_file", key.private_file.as_ref()),
    };
    let Some(file) = file else { return Ok(None) };
    let bytes = read(setting, file)?;
    let encoding = match algorithm {
        Algorithm::HS256 => Ok(EncodingKey::from_secret(&secret(key, &bytes)?)),
        Algorithm::RS256 => EncodingKey::from_rsa_pem(&bytes),
        Algorithm::ES256 => EncodingKey::from_ec_pem(&bytes),
        _ => EncodingKey::from_ed_pem(&bytes),
    };
    encoding.map(|encoding| Some((algorithm, encoding))).map_err(|error| bad(key, file, error.to_string()))
}

/// The secret in a file: its bytes without one final line end, which editors add; or its decoded bytes, for base64 in
/// either alphabet.
fn secret(key: &Key, bytes: &[u8]) -> Result<Vec<u8>, KeyError> {
    let secret = match key.encoding {
        Encoding::Raw => {
            let line = bytes.strip_suffix(b"\n").map(|line| line.strip_suffix(b"\r").unwrap_or(line));
            line.unwrap_or(bytes).to_vec()
        }
        Encoding::Base64 => from_base64(bytes)
            .ok_or_else(|| bad(key, &key.file, "it is not base64, although `encoding` says so".into()))?,
    };
    if secret.len() < SECRET_BYTES {
        let found = secret.len();
        return Err(bad(key, &key.file, format!("a secret has at least {SECRET_BYTES} bytes, and this has {found}")));
    }
    Ok(secret)
}

fn from_base64(text: &[u8]) -> Option<Vec<u8>> {
    let config = GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
    // Many tools break long lines.
    let text = text.iter().copied().filter(|byte| !byte.is_ascii_whitespace()).collect::<Vec<_>>();
    let decode = |alphabet| GeneralPurpose::new(alphabet, config).decode(&text).ok();
    decode(&STANDARD).or_else(|| decode(&URL_SAFE))
}

pub(in crate::edge) fn bad(key: &Key, path: &Path, problem: String) -> KeyError {
    let is_private = key.private_file.as_deref() == Some(path);
    let setting = if is_private { "identity.keys.private_file" } else { "identity.keys.file" };
    KeyError::Bad { setting, path: path.into(), algorithm: key.algorithm.clone(), problem }
}

/// Reads a file that holds a secret or a key.
#[expect(clippy::disallowed_methods, reason = "it reads the files of keys")]
pub(in crate::edge) fn read(setting: &'static str, path: &Path) -> Result<Vec<u8>, KeyError> {
    let cannot = |error: std::io::Error| KeyError::Read { setting, path: path.into(), source: error.into() };
    let mut bytes = Vec::new();
    File::open(path).and_then(|file| file.take(FILE_BYTES + 1).read_to_end(&mut bytes)).map_err(cannot)?;
    if bytes.len() as u64 > FILE_BYTES {
        return Err(cannot(std::io::Error::new(std::io::ErrorKind::FileTooLarge, "it is longer than any key")));
    }
    Ok(bytes)
}

/// File metadata that changes when a file is written or replaced. `None` if the file does not exist.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::edge) struct Stamp(Option<[u64; 5]>);

impl Stamp {
    #[expect(clippy::disallowed_methods, reason = "it looks at the files of keys")]
    pub(in crate::edge) fn of(path: &Path) -> Self {
        let stamp = |found: Metadata| {
            let [seconds, nanoseconds, changed] = [found.mtime(), found.mtime_nsec(), found.ctime_nsec()];
            [found.ino(), found.len(), seconds.cast_unsigned(), nanoseconds.cast_unsigned(), changed.cast_unsigned()]
        };
        Stamp(fs::metadata(path).ok().map(stamp))
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "tests make files")]
mod tests {
    use serde_json::{Value, json};
    use tempfile::TempDir;

    use super::*;

    // The examples of RFC 7515 (A.2, A.3) and RFC 8037 (A.2): public keys, of which only the form matters here.
    const RSA_N: &str = concat!(
        "ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0B",
        "m4d4QlL-yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5",
        "z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7",
        "aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ",
    );
    const EC_X: &str = "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU";
    const EC_Y: &str = "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0";
    const ED_X: &str = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo";
    const OCT_K: &str = "AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow";

    fn use_it(jwk: Value) -> Result<Algorithm, String> {
        let jwk = serde_json::from_value::<Jwk>(jwk).map_err(|error| error.to_string())?;
        VerifyKey::from_jwk(jwk, Path::new("keys.json")).map(|key| key.algorithm)
    }

    /// A valid key with one member changed.
    fn but(mut jwk: Value, member: &str, value: Value) -> Value {
        jwk[member] = value;
        jwk
    }

    fn good() -> [(Value, Algorithm); 4] {
        [
            (json!({ "kty": "RSA", "n": RSA_N, "e": "AQAB" }), Algorithm::RS256),
            (json!({ "kty": "EC", "crv": "P-256", "x": EC_X, "y": EC_Y }), Algorithm::ES256),
            (json!({ "kty": "OKP", "crv": "Ed25519", "x": ED_X }), Algorithm::EdDSA),
            (json!({ "kty": "oct", "k": OCT_K }), Algorithm::HS256),
        ]
    }

    fn load(set: &str) -> Result<usize, String> {
        let directory = TempDir::new().unwrap();
        let path = directory.path().join("keys.json");
        fs::write(&path, set).unwrap();
        load_set(&path).map(|keys| keys.len()).map_err(|error| format!("{:#}", anyhow::Error::new(error)))
    }

    #[test]
    fn a_key_of_a_set_has_only_the_algorithm_of_its_type() {
        for (jwk, algorithm) in good() {
            assert_eq!(use_it(jwk.clone()), Ok(algorithm));
            let named = but(jwk.clone(), "alg", json!(format!("{algorithm:?}")));
            assert_eq!(use_it(named), Ok(algorithm));
            for other in ["none", "PS256", "RS384", "RS512", "ES384", "HS512", "RSA-OAEP", "", "hs256"] {
                let refused = use_it(but(jwk.clone(), "alg", json!(other))).unwrap_err();
                assert!(refused.contains("`alg`"), "{jwk} {other}: {refused}");
            }
            for (_, other) in good().iter().filter(|(_, other)| *other != algorithm) {
                assert!(use_it(but(jwk.clone(), "alg", json!(format!("{other:?}")))).is_err(), "{jwk} {other:?}");
            }
        }
        assert_eq!(use_it(but(good()[2].0.clone(), "alg", json!("Ed25519"))), Ok(Algorithm::EdDSA));
    }

    #[test]
    fn a_key_for_another_use_is_ignored() {
        for (jwk, algorithm) in good() {
            for other in ["enc", "", "SIG"] {
                assert!(use_it(but(jwk.clone(), "use", json!(other))).unwrap_err().contains("`use`"), "{jwk}");
            }
            for others in [json!([]), json!(["sign"]), json!(["encrypt", "wrapKey"])] {
                assert!(use_it(but(jwk.clone(), "key_ops", others)).unwrap_err().contains("`key_ops`"), "{jwk}");
            }
            let all = but(but(jwk, "use", json!("sig")), "key_ops", json!(["sign", "verify"]));
            assert_eq!(use_it(all), Ok(algorithm));
        }
    }

    #[test]
    fn a_malformed_or_weak_key_is_ignored() {
        let [(rsa, _), (ec, _), (ed, _), (oct, _)] = good();
        let short_n = BASE64_URL_SAFE_NO_PAD.encode([0xff; 128]);
        let padded_n = BASE64_URL_SAFE_NO_PAD.encode([&[0; 200][..], &[0xff; 128]].concat());
        let long_n = BASE64_URL_SAFE_NO_PAD.encode([0xff; 1_024]);
        let long = BASE64_URL_SAFE_NO_PAD.encode([7; 33]);
        let bad = [
            but(rsa.clone(), "n", json!(short_n)),
            but(rsa.clone(), "n", json!(padded_n)),
            but(rsa.clone(), "n", json!(long_n)),
            but(rsa.clone(), "n", json!("")),
            but(rsa.clone(), "n", json!(format!("{RSA_N}=="))),
            but(rsa.clone(), "e", json!("AQ")),
            but(rsa.clone(), "e", json!("AA")),
            but(rsa.clone(), "e", json!("AQAA")),
            but(rsa.clone(), "e", json!(RSA_N)),
            but(rsa, "e", json!(null)),
            // Not on the curve.
            but(ec.clone(), "y", json!(EC_X)),
            but(ec.clone(), "x", json!("AA")),
            but(ec.clone(), "x", json!(long)),
            but(ec.clone(), "crv", json!("P-384")),
            but(ec, "crv", json!("secp256k1")),
            // Too short, too long, and on a curve that cannot sign.
            but(ed.clone(), "x", json!("AAAA")),
            but(ed.clone(), "x", json!(long)),
            but(ed.clone(), "crv", json!("X25519")),
            but(ed, "crv", json!("Ed448")),
            but(oct.clone(), "k", json!("c2hvcnQ")),
            but(oct.clone(), "k", json!(BASE64_URL_SAFE_NO_PAD.encode([1; SECRET_BYTES - 1]))),
            but(oct.clone(), "kty", json!("OCT")),
            but(oct, "kty", json!("AKP")),
        ];
        for jwk in bad {
            assert!(use_it(jwk.clone()).is_err(), "{jwk}");
        }
    }

    #[test]
    fn a_key_set_needs_at_least_one_usable_key() {
        let [(rsa, _), (ec, _), ..] = good();
        let mixed = json!({ "keys": [rsa, 7, { "kty": "PQ" }, ec, but(rsa.clone(), "use", json!("enc"))], "more": 1 });
        assert_eq!(load(&mixed.to_string()), Ok(2));
        for useless in ["{\"keys\":[]}", "{\"keys\":[{}]}", "{\"keys\":[{\"kty\":\"PQ\"}]}"] {
            assert!(load(useless).unwrap_err().contains("no key that can be used"), "{useless}");
        }
        for broken in ["", "{", "[]", "{}", "{\"keys\":{}}", "null"] {
            assert!(load(broken).unwrap_err().contains("not JSON with a list"), "{broken}");
        }
        let many = json!({ "keys": vec![rsa; KEYS_OF_A_SET + 1] });
        assert!(load(&many.to_string()).unwrap_err().contains("more than"));
        assert!(load(&" ".repeat(FILE_BYTES as usize + 1)).unwrap_err().contains("longer than any key"));
    }

    fn secret_of(encoding: Encoding, bytes: &[u8]) -> Result<Vec<u8>, String> {
        let key = Key {
            algorithm: "HS256".into(),
            id: None,
            file: "secret".into(),
            private_file: None,
            encoding,
            service: false,
        };
        secret(&key, bytes).map_err(|error| error.to_string())
    }

    #[test]
    fn a_secret_loses_one_final_line_break() {
        let raw = |bytes: &[u8]| secret_of(Encoding::Raw, bytes);
        for last in [b' ', b'\t', b'\x0c', b'\r', 0, 0xff] {
            let secret = [&[7; 31][..], &[last]].concat();
            assert_eq!(raw(&secret), Ok(secret.clone()), "{last}");
            if last != b'\r' {
                assert_eq!(raw(&[&secret[..], b"\n"].concat()), Ok(secret), "{last}");
            }
        }
        let secret = vec![7; 32];
        assert_eq!(raw(&[&secret[..], b"\r\n"].concat()), Ok(secret.clone()));
        assert_eq!(raw(&[&secret[..], b"\n\n"].concat()), Ok([&secret[..], b"\n"].concat()), "one, and no more");
        let short = raw(&[&[7; 31][..], b"\n"].concat()).unwrap_err();
        assert!(short.contains("at least 32 bytes, and this has 31"), "{short}");
    }

    #[test]
    fn a_secret_may_be_in_base64() {
        let secret = (0..32).map(|number| number * 8 + 3).collect::<Vec<u8>>();
        for text in [
            base64::prelude::BASE64_STANDARD.encode(&secret),
            base64::prelude::BASE64_STANDARD_NO_PAD.encode(&secret),
            base64::prelude::BASE64_URL_SAFE.encode(&secret),
            BASE64_URL_SAFE_NO_PAD.encode(&secret),
        ] {
            assert_eq!(secret_of(Encoding::Base64, format!("{text}\r\n").as_bytes()), Ok(secret.clone()), "{text}");
        }
        let lines = [&[b'A'; 40][..], b"\n", &[b'A'; 4], b"\n"].concat();
        assert_eq!(secret_of(Encoding::Base64, &lines), Ok(vec![0; 33]));
        for bad in [&b"no base64, but a sentence."[..], &secret] {
            assert!(secret_of(Encoding::Base64, bad).unwrap_err().contains("not base64"), "{}", bad.escape_ascii());
        }
        assert!(secret_of(Encoding::Base64, b"AAAA").unwrap_err().contains("at least 32 bytes, and this has 3"));
    }

    #[test]
    fn errors_do_not_quote_a_broken_key_set() {
        let error = load(r#"{"keys":"a-secret-that-stands-in-the-wrong-place"}"#).unwrap_err();
        assert!(!error.contains("a-secret"), "{error}");
    }

    /// Loads a key for services with one setting for users: a secret in a file, or a set.
    fn load_with_service(service: &[u8], ordinary: &str, bytes: &[u8]) -> Result<usize, String> {
        let directory = TempDir::new().unwrap();
        let path = |name: &str| directory.path().join(name);
        fs::write(path("service"), service).unwrap();
        fs::write(path("ordinary"), bytes).unwrap();
        let text = format!(
            "auth = \"jwt\"\n{}\n[[keys]]\nalgorithm = \"HS256\"\nid = \"s\"\nfile = {:?}\nservice = true",
            ordinary.replace("PATH", &format!("{:?}", path("ordinary"))),
            path("service")
        );
        let identity = toml::from_str::<Identity>(&text).unwrap();
        Keys::load(&identity).map(|keys| keys.0.len()).map_err(|error| error.to_string())
    }

    #[test]
    fn a_key_for_services_is_no_key_of_users() {
        let secret = [7; 32];
        let set = |secret: &[u8]| json!({ "keys": [{ "kty": "oct", "k": BASE64_URL_SAFE_NO_PAD.encode(secret) }] });
        assert_eq!(load_with_service(&secret, "jwks = PATH", set(&[8; 32]).to_string().as_bytes()), Ok(2));
        // HMAC fills a short secret up with zeros.
        for same in [&secret[..], &[&secret[..], &[0]].concat()] {
            let problem = load_with_service(&secret, "jwks = PATH", set(same).to_string().as_bytes()).unwrap_err();
            assert!(problem.contains("identity.keys.service") && problem.contains("identity.jwks: /"), "{problem}");
        }
    }

    /// A public key in PEM, as a set has it.
    fn jwk_of(kind: &str, pem: &[u8]) -> Jwk {
        let key = match kind {
            "rs256" => DecodingKey::from_rsa_pem(pem),
            "es256" => DecodingKey::from_ec_pem(pem),
            _ => DecodingKey::from_ed_pem(pem),
        };
        let jwk = jsonwebtoken::jwk::Jwk::from_decoding_key(&key.unwrap(), None).unwrap();
        serde_json::from_value(serde_json::to_value(jwk).unwrap()).unwrap()
    }

    #[test]
    fn keys_are_the_same_in_a_set_and_in_a_file() {
        const KEYS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/e2e/keys");
        for (kind, algorithm) in [("rs256", "RS256"), ("es256", "ES256"), ("eddsa", "EdDSA")] {
            let load = |kind: &str, algorithm: &str| {
                let file = PathBuf::from(format!("{KEYS}/{kind}.public.pem"));
                let (id, private_file, encoding) = Default::default();
                VerifyKey::load(&Key { algorithm: algorithm.into(), id, file, encoding, private_file, service: true })
            };
            let in_file = load(kind, algorithm).unwrap();
            let pem = fs::read(&in_file.source.1).unwrap();
            let set = VerifyKey::from_jwk(jwk_of(kind, &pem), Path::new("keys.json")).unwrap();
            assert!(in_file.is_same_as(&set) && set.is_same_as(&in_file) && set.is_same_as(&set), "{kind}");
        }
        let [(rsa, _), ..] = good();
        let other = VerifyKey::from_jwk(serde_json::from_value(rsa).unwrap(), Path::new("keys.json")).unwrap();
        let pem = fs::read(format!("{KEYS}/rs256.public.pem")).unwrap();
        let set = VerifyKey::from_jwk(jwk_of("rs256", &pem), Path::new("keys.json")).unwrap();
        assert!(!set.is_same_as(&other));
    }
}
