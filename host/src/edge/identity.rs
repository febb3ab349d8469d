//! Who asks: tokens to users. Keys and tokens end here; no component sees one.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation, decode, decode_header, encode};
use serde::{Deserialize, Serialize};

use crate::clock::{self, UnixMillis};
use crate::config::{Auth, Identity, Key};
use crate::model::User;

/// The shortest secret for HS256: a key as long as its hash, as RFC 7518 asks.
const SECRET_BYTES: usize = 32;
/// The longest `userId` and `userName`.
const NAME_BYTES: usize = 256;

/// Somebody whose token was valid. A server that mounts the host, and knows by itself who asks, puts one into the
/// extensions of the request; then no token is looked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    /// Who it is.
    pub user: User,
    /// When the token expires, where it does.
    pub expires_at: Option<UnixMillis>,
}

impl Verified {
    /// Rooms may rely on the form of names.
    pub(super) fn check(self) -> Result<Self, Invalid> {
        for (what, text) in [("user id", &self.user.id), ("user name", &self.user.name)] {
            if text.is_empty() || text.len() > NAME_BYTES || text.chars().any(char::is_control) {
                return Err(Invalid(format!("the {what} must be 1 to {NAME_BYTES} bytes without control characters")));
            }
        }
        Ok(self)
    }
}

/// Why a token is not valid, for the client to read.
#[derive(Debug, Clone, thiserror::Error, PartialEq, Eq)]
#[error("{0}")]
pub struct Invalid(pub String);

/// How tokens become users.
#[derive(Clone)]
pub struct Verifier(Kind);

#[derive(Clone)]
enum Kind {
    Dev,
    Jwt(Arc<Jwt>),
    Custom(Arc<Custom>),
}

type Custom = dyn Fn(&str) -> Result<Verified, Invalid> + Send + Sync;

struct Jwt {
    keys: Vec<VerifyKey>,
    validation: Validation,
}

struct VerifyKey {
    id: Option<String>,
    algorithm: Algorithm,
    key: DecodingKey,
}

/// What a token says. Everything else in it is ignored.
#[derive(Debug, Serialize, Deserialize)]
struct Claims {
    sub: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    exp: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    aud: Option<serde_json::Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    iss: Option<String>,
}

/// Why a key cannot be used. The operator must act.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// Its file cannot be read.
    #[error("the key file {path} cannot be read: {source}")]
    Read {
        /// Which file.
        path: std::path::PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Its file holds no such key.
    #[error("the key file {path} holds no key for {algorithm}: {problem}")]
    Bad {
        /// Which file.
        path: std::path::PathBuf,
        /// What it should be for.
        algorithm: String,
        /// What is wrong.
        problem: String,
    },
    /// No such algorithm.
    #[error("`{0}` is no algorithm that tokens can be signed with; use HS256, RS256, ES256 or EdDSA")]
    Algorithm(String),
    /// There is nothing to sign with.
    #[error("no key that can sign: HS256 signs with `file`, the others need `private_file`")]
    NothingToSign,
}

impl Verifier {
    /// As the configuration says. Reads the key files.
    pub fn new(identity: &Identity) -> Result<Self, KeyError> {
        match identity.auth {
            Auth::Dev => Ok(Verifier(Kind::Dev)),
            Auth::Jwt => Ok(Verifier(Kind::Jwt(Arc::new(Jwt::new(identity)?)))),
        }
    }

    /// A way of your own, for a host that you embed: from a token to a user, or to the reason why not.
    pub fn custom(verify: impl Fn(&str) -> Result<Verified, Invalid> + Send + Sync + 'static) -> Self {
        Verifier(Kind::Custom(Arc::new(verify)))
    }

    /// Who a token stands for.
    pub fn verify(&self, token: &str) -> Result<Verified, Invalid> {
        let verified = match &self.0 {
            Kind::Dev => dev(token),
            Kind::Jwt(jwt) => jwt.verify(token),
            Kind::Custom(verify) => verify(token),
        }?;
        verified.check()
    }

    /// Whether tokens are believed as they are.
    pub(super) fn is_dev(&self) -> bool {
        matches!(self.0, Kind::Dev)
    }
}

/// `USERID:USERNAME`; the name may be left out.
fn dev(token: &str) -> Result<Verified, Invalid> {
    let (id, name) = token.split_once(':').unwrap_or((token, token));
    let name = if name.is_empty() { id } else { name };
    Ok(Verified { user: User { id: id.into(), name: name.into() }, expires_at: None })
}

impl Jwt {
    fn new(identity: &Identity) -> Result<Self, KeyError> {
        let keys = identity.keys.iter().map(VerifyKey::load).collect::<Result<_, _>>()?;
        let mut validation = Validation::new(Algorithm::HS256);
        validation.leeway = identity.leeway.as_secs();
        validation.validate_nbf = true;
        let mut required = vec!["exp", "sub"];
        match &identity.audience {
            Some(audience) => {
                validation.set_audience(&[audience]);
                required.push("aud");
            }
            None => validation.validate_aud = false,
        }
        if let Some(issuer) = &identity.issuer {
            validation.set_issuer(&[issuer]);
            required.push("iss");
        }
        validation.set_required_spec_claims(&required);
        Ok(Jwt { keys, validation })
    }

    fn verify(&self, token: &str) -> Result<Verified, Invalid> {
        let invalid = |error: jsonwebtoken::errors::Error| Invalid(format!("the token is not valid: {error}"));
        let header = decode_header(token).map_err(invalid)?;
        // A key is used with its own algorithm only, whatever the token's header asks for.
        let fits = |key: &&VerifyKey| {
            key.algorithm == header.alg && (key.id.is_none() || key.id.as_deref() == header.kid.as_deref())
        };
        let mut last = Invalid("the token is signed with no key that this server knows".into());
        for key in self.keys.iter().filter(fits) {
            let validation = Validation { algorithms: vec![key.algorithm], ..self.validation.clone() };
            match decode::<Claims>(token, &key.key, &validation) {
                Ok(token) => return Ok(token.claims.into()),
                Err(error) => last = invalid(error),
            }
        }
        Err(last)
    }
}

impl From<Claims> for Verified {
    fn from(claims: Claims) -> Self {
        let name = claims.name.filter(|name| !name.is_empty()).unwrap_or_else(|| claims.sub.clone());
        Verified { user: User { id: claims.sub, name }, expires_at: Some(claims.exp.saturating_mul(1_000)) }
    }
}

impl VerifyKey {
    fn load(key: &Key) -> Result<Self, KeyError> {
        let algorithm = algorithm(key)?;
        let bytes = read(&key.file)?;
        let decoding = match algorithm {
            Algorithm::HS256 => Ok(DecodingKey::from_secret(secret(key, &bytes)?)),
            Algorithm::RS256 => DecodingKey::from_rsa_pem(&bytes),
            Algorithm::ES256 => DecodingKey::from_ec_pem(&bytes),
            _ => DecodingKey::from_ed_pem(&bytes),
        };
        let decoding = decoding.map_err(|error| bad(key, &key.file, error.to_string()))?;
        Ok(VerifyKey { id: key.id.clone(), algorithm, key: decoding })
    }
}

/// A token that the configured server accepts, for trying things out.
pub fn mint(identity: &Identity, user: &User, valid_for: std::time::Duration) -> Result<String, KeyError> {
    if identity.auth == Auth::Dev {
        return Ok(format!("{}:{}", user.id, user.name));
    }
    for key in &identity.keys {
        let algorithm = algorithm(key)?;
        let file = if algorithm == Algorithm::HS256 { Some(&key.file) } else { key.private_file.as_ref() };
        let Some(file) = file else { continue };
        let bytes = read(file)?;
        let encoding = match algorithm {
            Algorithm::HS256 => Ok(EncodingKey::from_secret(secret(key, &bytes)?)),
            Algorithm::RS256 => EncodingKey::from_rsa_pem(&bytes),
            Algorithm::ES256 => EncodingKey::from_ec_pem(&bytes),
            _ => EncodingKey::from_ed_pem(&bytes),
        };
        let header = Header { kid: key.id.clone(), ..Header::new(algorithm) };
        let claims = Claims {
            sub: user.id.clone(),
            name: Some(user.name.clone()),
            exp: clock::unix_millis() / 1_000 + valid_for.as_secs(),
            aud: identity.audience.clone().map(Into::into),
            iss: identity.issuer.clone(),
        };
        let signed = encoding.and_then(|encoding| encode(&header, &claims, &encoding));
        return signed.map_err(|error| bad(key, file, error.to_string()));
    }
    Err(KeyError::NothingToSign)
}

fn algorithm(key: &Key) -> Result<Algorithm, KeyError> {
    match key.algorithm.as_str() {
        "HS256" => Ok(Algorithm::HS256),
        "RS256" => Ok(Algorithm::RS256),
        "ES256" => Ok(Algorithm::ES256),
        "EdDSA" => Ok(Algorithm::EdDSA),
        other => Err(KeyError::Algorithm(other.into())),
    }
}

fn read(path: &Path) -> Result<Vec<u8>, KeyError> {
    fs::read(path).map_err(|source| KeyError::Read { path: path.into(), source })
}

/// The secret in a file, without the line end that editors put behind it.
fn secret<'a>(key: &Key, bytes: &'a [u8]) -> Result<&'a [u8], KeyError> {
    let secret = bytes.trim_ascii_end();
    if secret.len() < SECRET_BYTES {
        return Err(bad(key, &key.file, format!("a secret has at least {SECRET_BYTES} bytes")));
    }
    Ok(secret)
}

fn bad(key: &Key, path: &Path, problem: String) -> KeyError {
    KeyError::Bad { path: path.into(), algorithm: key.algorithm.clone(), problem }
}
