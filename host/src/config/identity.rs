//! How users are identified: the settings below `[identity]`.

use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;

use super::authorize::AuthorizeUrl;
use super::duration;

/// How users are identified, and which pages may act for them.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Identity {
    /// The kind of tokens.
    pub auth: Auth,
    /// Keys that tokens may be signed with; only with `auth = "jwt"`.
    pub keys: Vec<Key>,
    /// A file with more keys, as RFC 7517 defines it. It is read again when it changes.
    pub jwks: Option<PathBuf>,
    /// The value that a token's `aud` must contain, if set.
    pub audience: Option<String>,
    /// The value that a token's `iss` must have, if set.
    pub issuer: Option<String>,
    /// The cookie that may carry the token.
    pub cookie: String,
    /// Origins whose pages may use cookies, open sockets and read answers, such as `https://example.org`; the server's
    /// own is always allowed.
    pub allowed_origins: Vec<String>,
    /// Host names, without a port, that browsers may call the server by, such as `rooms.example`. If none is given,
    /// `auth = "jwt"` allows all. With `auth = "dev"` the names of this machine (`localhost`, `127.0.0.1`, `[::1]`) are
    /// always allowed, and others only if they are given: a page could otherwise reach the server under its own name
    /// (DNS rebinding).
    pub hosts: Vec<String>,
    /// The access to rooms. Absent: `open` with `auth = "dev"`, whose names carry no grants, and `granted` with
    /// `auth = "jwt"`.
    pub access: Option<AccessMode>,
    /// The claim of a token that holds its grants: an object of patterns of rooms, each with a list of permissions.
    pub grants_claim: String,
    /// The claims of a token that rooms get; absent for all but the registered ones of RFC 7519 and the grants.
    pub claims: Option<Vec<String>>,
    /// Your own server, which decides who may enter which room, in place of the grants of users' tokens. Absent: the
    /// grants decide.
    pub authorize: Option<AuthorizeUrl>,
    /// A file with the secret that signs the questions to it, at least 32 bytes.
    pub authorize_secret: Option<PathBuf>,
    /// How long a request waits for its decision.
    #[serde(with = "duration")]
    pub authorize_timeout: Duration,
    /// How far clocks may differ when a token's `exp`, `nbf` and `iat` are checked.
    #[serde(with = "duration")]
    pub leeway: Duration,
}

/// The kind of tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Auth {
    /// `USERID:USERNAME`, accepted without proof. Only on a loopback address, and without rate limits.
    Dev,
    /// Signed JSON Web Tokens.
    Jwt,
}

/// The access to the rooms of a namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AccessMode {
    /// Everybody with an identity may enter every room, read and write.
    Open,
    /// A user may do in a room what the grants of the token say, and nothing else.
    Granted,
}

/// A key that tokens may be signed with.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Key {
    /// The one algorithm that it is used with: `HS256`, `RS256`, `ES256` or `EdDSA`.
    pub algorithm: String,
    /// The `kid` of the tokens that it is for; all tokens if absent.
    pub id: Option<String>,
    /// A file with the secret for HS256 (at least 32 bytes), or with a public key in PEM for the others.
    pub file: PathBuf,
    /// How the secret for HS256 is encoded in its file.
    #[serde(default)]
    pub encoding: Encoding,
    /// A file with the private key in PEM, for `dormouse token`; not used by the server.
    pub private_file: Option<PathBuf>,
    /// Whether a token that it signed may have the claim `role` with the value `service`: such a token is a back end's.
    #[serde(default)]
    pub service: bool,
}

/// How a secret is encoded in its file.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Encoding {
    /// As its bytes; one final line end does not count.
    #[default]
    Raw,
    /// In base64, with or without padding, in the standard alphabet or in the one for URLs.
    Base64,
}

impl Default for Identity {
    fn default() -> Self {
        Identity {
            auth: Auth::Dev,
            keys: Vec::new(),
            jwks: None,
            audience: None,
            issuer: None,
            cookie: "dormouse_token".into(),
            allowed_origins: Vec::new(),
            hosts: Vec::new(),
            access: None,
            grants_claim: "rooms".into(),
            claims: None,
            authorize: None,
            authorize_secret: None,
            authorize_timeout: Duration::from_secs(3),
            leeway: Duration::from_secs(30),
        }
    }
}

impl AccessMode {
    /// Its name in the configuration.
    pub fn name(self) -> &'static str {
        match self {
            AccessMode::Open => "open",
            AccessMode::Granted => "granted",
        }
    }
}

impl Identity {
    /// The access to the rooms of namespaces that do not say it themselves.
    pub fn access(&self) -> AccessMode {
        self.access.unwrap_or(match self.auth {
            Auth::Dev => AccessMode::Open,
            Auth::Jwt => AccessMode::Granted,
        })
    }

    /// Whether tokens may be those of services.
    pub(crate) fn has_services(&self) -> bool {
        self.keys.iter().any(|key| key.service)
    }

    /// Whether tokens are accepted without proof.
    pub(crate) fn is_dev(&self) -> bool {
        self.auth == Auth::Dev
    }
}
