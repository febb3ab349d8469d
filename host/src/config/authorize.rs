//! The address of the operator's own server that decides who may enter which room.

use std::str::FromStr;

use serde::Deserialize;
use url::Url;

use super::address::is_this_machine;

/// The address that questions about access are sent to, such as `https://app.example/rooms/authorize`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct AuthorizeUrl(Url);

/// A text is not such an address. The operator must act. No text is shown, because it may hold a password or a key.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum BadAuthorizeUrl {
    /// It cannot be read.
    #[error("the text is not an address; write one such as `https://app.example/rooms/authorize`")]
    NoUrl,
    /// Others on the network could read and change the decisions.
    #[error("it is not encrypted, and its host is not this machine; write https, or a loopback address")]
    Plain,
    /// A password in it would be in logs.
    #[error("it holds a password or a fragment; leave them out: questions are signed with `identity.authorize_secret`")]
    Credentials,
}

impl TryFrom<String> for AuthorizeUrl {
    type Error = BadAuthorizeUrl;

    fn try_from(text: String) -> Result<Self, BadAuthorizeUrl> {
        text.parse()
    }
}

impl FromStr for AuthorizeUrl {
    type Err = BadAuthorizeUrl;

    fn from_str(text: &str) -> Result<Self, BadAuthorizeUrl> {
        let url = Url::parse(text).map_err(|_| BadAuthorizeUrl::NoUrl)?;
        if !url.username().is_empty() || url.password().is_some() || url.fragment().is_some() {
            return Err(BadAuthorizeUrl::Credentials);
        }
        if url.host().is_none() {
            return Err(BadAuthorizeUrl::NoUrl);
        }
        match url.scheme() {
            "https" => Ok(AuthorizeUrl(url)),
            "http" if is_this_machine(&url) => Ok(AuthorizeUrl(url)),
            "http" => Err(BadAuthorizeUrl::Plain),
            _ => Err(BadAuthorizeUrl::NoUrl),
        }
    }
}

impl AuthorizeUrl {
    /// Scheme, host and port, such as `https://app.example`.
    pub fn origin(&self) -> String {
        self.0.origin().ascii_serialization()
    }

    /// The path, such as `/rooms/authorize`.
    pub fn path(&self) -> &str {
        self.0.path()
    }

    /// The text after `?`.
    pub fn query(&self) -> Option<&str> {
        self.0.query()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decisions_are_asked_for_over_tls_or_on_this_machine() {
        for good in [
            "https://app.example/rooms/authorize",
            "https://10.0.0.5:8443/a?b=c",
            "http://localhost:3000/authorize",
            "http://127.0.0.1:3000",
            "http://[::1]:3000/",
            "http://[::ffff:127.0.0.1]:3000/",
        ] {
            assert!(good.parse::<AuthorizeUrl>().is_ok(), "{good}");
        }
        for plain in
            ["http://app.example/", "http://10.0.0.5/", "http://localhost.example/", "http://127.0.0.1.example"]
        {
            assert_eq!(plain.parse::<AuthorizeUrl>(), Err(BadAuthorizeUrl::Plain));
        }
        for bad in ["", "app.example", "/rooms/authorize", "ftp://app.example/", "unix:/run/app.sock", "https://"] {
            assert_eq!(bad.parse::<AuthorizeUrl>(), Err(BadAuthorizeUrl::NoUrl));
        }
        for secret in ["https://ana:secret@app.example/", "https://ana@app.example/", "https://app.example/#x"] {
            assert_eq!(secret.parse::<AuthorizeUrl>(), Err(BadAuthorizeUrl::Credentials));
        }
    }

    #[test]
    fn an_address_is_taken_apart() {
        let url = "https://App.example:443/a/b?c=d".parse::<AuthorizeUrl>().unwrap();
        assert_eq!((&*url.origin(), url.path(), url.query()), ("https://app.example", "/a/b", Some("c=d")));
        let url = "http://[::1]:3000".parse::<AuthorizeUrl>().unwrap();
        assert_eq!((&*url.origin(), url.path(), url.query()), ("http://[::1]:3000", "/", None));
    }
}
