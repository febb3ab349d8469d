//! Maps tokens to users. Keys and tokens end here: no component and no log sees one. `http` calls it for each request,
//! and `renewal` for open sockets.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

use jsonwebtoken::{Header, encode};
use serde::Serialize;

use super::keys::{self, KeyError, Keys, SignatureCheck, Stamp};
use super::token::{Expected, Judged, SERVICE, Signed};
use super::verified::{Invalid, Role, Verified};
use crate::clock;
use crate::config::{AccessMode, Auth, Config, Identity, Key};
use crate::limits::CLAIMS_BYTES;
use crate::lock::Lock;
use crate::model::User;
use crate::random;

/// The longest token, in bytes. It is half of the longest request head, and more than cookies can carry.
pub(in crate::edge) const TOKEN_BYTES: usize = 16 << 10;
/// How often the key set's file is checked for changes, while tokens arrive.
const CHECK_INTERVAL: Duration = Duration::from_secs(10);
/// The same if a token names a key that we do not have: most likely the file has it by now.
const CHECK_INTERVAL_FOR_UNKNOWN_KEY: Duration = Duration::from_secs(1);

/// How often the operator is warned of tokens with long claims: every user may have one.
const LONG_CLAIMS_WARNED_EVERY: Duration = Duration::from_secs(60);

/// Turns tokens into users.
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
    /// The settings that name its key files.
    identity: Identity,
    expected: Expected,
    keys: RwLock<Arc<Keys>>,
    set: Option<KeySet>,
    /// When the operator was last warned of long claims.
    long_claims_warned: Lock<Option<Instant>>,
}

/// The file of a key set, which may be replaced at any time.
struct KeySet {
    path: PathBuf,
    /// Held while the keys are read, so that other requests wait for the new keys.
    last_check: Mutex<FileCheck>,
}

struct FileCheck {
    at: Instant,
    stamp: Stamp,
}

impl Verifier {
    /// Makes the verifier that the configuration describes. It reads the key files.
    pub fn new(config: &Config) -> Result<Self, KeyError> {
        match config.identity.auth {
            Auth::Dev => Ok(Verifier(Kind::Dev)),
            Auth::Jwt => Ok(Verifier(Kind::Jwt(Arc::new(Jwt::new(config)?)))),
        }
    }

    /// Your own function, for an embedder: from a token to a user or to the reason for the refusal.
    pub fn custom(verify: impl Fn(&str) -> Result<Verified, Invalid> + Send + Sync + 'static) -> Self {
        Verifier(Kind::Custom(Arc::new(verify)))
    }

    /// Verifies a token and returns its user.
    pub fn verify(&self, token: &str) -> Result<Verified, Invalid> {
        if token.len() > TOKEN_BYTES {
            return Err(Invalid(format!("the token is longer than {TOKEN_BYTES} bytes")));
        }
        let verified = match &self.0 {
            Kind::Dev => dev(token),
            Kind::Jwt(jwt) => jwt.verify(token),
            Kind::Custom(verify) => verify(token),
        }?;
        verified.check()
    }

    /// Reads the key files again. If one does not work, all keys stay as they were.
    pub fn reload(&self) -> Result<(), KeyError> {
        match &self.0 {
            Kind::Jwt(jwt) => jwt.reload(),
            Kind::Dev | Kind::Custom(_) => Ok(()),
        }
    }

    /// Returns whether tokens are accepted without proof.
    pub(in crate::edge) fn is_dev(&self) -> bool {
        matches!(self.0, Kind::Dev)
    }
}

/// `USERID:USERNAME`; the name may be left out.
fn dev(token: &str) -> Result<Verified, Invalid> {
    let (id, name) = token.split_once(':').unwrap_or((token, token));
    let name = if name.is_empty() { id } else { name };
    Ok(Verified::new(User { id: id.into(), name: name.into() }))
}

impl Jwt {
    fn new(config: &Config) -> Result<Self, KeyError> {
        let identity = &config.identity;
        let is_granted = config.namespaces.keys().any(|name| config.access(name) == AccessMode::Granted);
        let needs_grants = is_granted && identity.authorize.is_none();
        // The stamp is taken before the file is read, so that a write in between is noticed later.
        let set = identity.jwks.clone().map(|path| {
            let stamp = Stamp::of(&path);
            KeySet { path, last_check: Mutex::new(FileCheck { at: clock::monotonic(), stamp }) }
        });
        let keys = RwLock::new(Arc::new(Keys::load(identity)?));
        let expected = Expected::new(identity, needs_grants);
        Ok(Jwt { identity: identity.clone(), expected, keys, set, long_claims_warned: Lock::default() })
    }

    fn verify(&self, token: &str) -> Result<Verified, Invalid> {
        let signed = Signed::read(token)?;
        let mut keys = self.keys();
        if let Some(set) = &self.set {
            let interval = if keys.lacks_key_of(&signed) { CHECK_INTERVAL_FOR_UNKNOWN_KEY } else { CHECK_INTERVAL };
            self.reload_if_changed(set, interval);
            keys = self.keys();
        }
        match keys.check_signature(&signed) {
            SignatureCheck::Valid(key) => {
                let Judged { verified, has_long_claims } =
                    signed.verify_claims(&self.expected, key, clock::unix_millis())?;
                if has_long_claims {
                    self.warn_of_long_claims(&verified.user.id);
                }
                Ok(verified)
            }
            SignatureCheck::Invalid => Err(Invalid("the token is not valid: its signature is wrong".into())),
            SignatureCheck::UnknownKey => {
                Err(Invalid("the token is not signed with a key that this server knows".into()))
            }
        }
    }

    fn warn_of_long_claims(&self, user: &str) {
        let now = clock::monotonic();
        let mut warned = self.long_claims_warned.lock();
        if warned.is_some_and(|at| now.saturating_duration_since(at) < LONG_CLAIMS_WARNED_EVERY) {
            return;
        }
        *warned = Some(now);
        drop(warned);
        tracing::warn!(
            user,
            "the claims of a token are longer than {CLAIMS_BYTES} bytes, so rooms get none of them; choose those that \
             they need with identity.claims, or write identity.claims = []"
        );
    }

    fn keys(&self) -> Arc<Keys> {
        self.keys.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Reads the keys again if their file has changed since the last check, and that check is long enough ago.
    fn reload_if_changed(&self, set: &KeySet, interval: Duration) {
        let mut last_check = set.last_check.lock().unwrap_or_else(PoisonError::into_inner);
        if clock::since(last_check.at) < interval {
            return;
        }
        last_check.at = clock::monotonic();
        let stamp = Stamp::of(&set.path);
        if stamp == last_check.stamp {
            return;
        }
        last_check.stamp = stamp;
        match self.read_keys() {
            Ok(()) => tracing::info!(path = %set.path.display(), "the key set's file has changed; its keys are in use"),
            Err(error) => tracing::error!(
                error = format!("{:#}", anyhow::Error::new(error)),
                "the key set's file has changed but cannot be used; the old keys stay"
            ),
        }
    }

    fn reload(&self) -> Result<(), KeyError> {
        let Some(set) = &self.set else { return self.read_keys() };
        let mut last_check = set.last_check.lock().unwrap_or_else(PoisonError::into_inner);
        *last_check = FileCheck { at: clock::monotonic(), stamp: Stamp::of(&set.path) };
        self.read_keys()
    }

    fn read_keys(&self) -> Result<(), KeyError> {
        let keys = Arc::new(Keys::load(&self.identity)?);
        *self.keys.write().unwrap_or_else(PoisonError::into_inner) = keys;
        Ok(())
    }
}

/// The claims that only `mint` itself may set.
pub const MINTED_CLAIMS: [&str; 9] = ["sub", "name", "iat", "exp", "nbf", "jti", "aud", "iss", "act"];

/// The claims of a token that `mint` makes.
#[derive(Serialize)]
struct Claims<'a> {
    sub: &'a str,
    name: &'a str,
    iat: u64,
    exp: u64,
    jti: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    aud: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    iss: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    role: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    act: Option<Act<'a>>,
    #[serde(flatten)]
    more: &'a serde_json::Map<String, serde_json::Value>,
}

/// The user for whom a service acts, in its token.
#[derive(Serialize)]
struct Act<'a> {
    sub: &'a str,
    name: &'a str,
}

/// Makes a token that the configured server accepts, for trying things out: of a user, or of a service and the user for
/// whom it acts. `more` has further claims, and none of [`MINTED_CLAIMS`]. A token of dev auth has no claims.
pub fn mint(
    identity: &Identity,
    user: &User,
    role: &Role,
    valid_for: Duration,
    more: &serde_json::Map<String, serde_json::Value>,
) -> Result<String, KeyError> {
    if identity.auth == Auth::Dev {
        return Ok(format!("{}:{}", user.id, user.name));
    }
    let is_service = matches!(role, Role::Service { .. });
    // A user's token is signed with a key of services only if there is no other.
    let signs = |key: &&Key| key.service == is_service || (!is_service && identity.keys.iter().all(|key| key.service));
    for key in identity.keys.iter().filter(signs) {
        let Some((algorithm, signing)) = keys::signing_key(key)? else { continue };
        let header = Header { kid: key.id.clone(), ..Header::new(algorithm) };
        let id = random::bytes::<16>();
        let iat = clock::unix_millis() / 1_000;
        let claims = Claims {
            sub: &user.id,
            name: &user.name,
            iat,
            exp: iat.saturating_add(valid_for.as_secs()),
            jti: id.iter().map(|byte| format!("{byte:02x}")).collect(),
            aud: identity.audience.as_deref(),
            iss: identity.issuer.as_deref(),
            role: is_service.then_some(SERVICE),
            act: match role {
                Role::Service { acts_for: Some(user) } => Some(Act { sub: &user.id, name: &user.name }),
                Role::Service { acts_for: None } | Role::User => None,
            },
            more,
        };
        return encode(&header, &claims, &signing).map_err(|error| keys::bad(key, &key.file, error.to_string()));
    }
    Err(if is_service { KeyError::NothingToSignForServices } else { KeyError::NothingToSign })
}
