//! Where rooms are stored: the settings below `[store]`. Without an address of a database it is the directory `data`.
//!
//! It does not know the database: `store::postgres` reads the rest of the address.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::Deserialize;

use super::duration;

/// The database that keeps the rooms.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Store {
    /// The address of the database; absent, rooms are kept in the data directory.
    pub url: Option<StoreUrl>,
    /// Connections that carry commits. Each room has one of them.
    pub lanes: u16,
    /// How long rooms wait while the database cannot be reached. After it their clients are asked to come back.
    #[serde(with = "duration")]
    pub patience: Duration,
    /// Refuses to start with a database that has no synchronous standby.
    pub require_synchronous: bool,
}

impl Default for Store {
    fn default() -> Self {
        Store { url: None, lanes: 2, patience: Duration::from_secs(60), require_synchronous: false }
    }
}

/// The address of a PostgreSQL database, such as `postgres://dormouse@db1,db2/dormouse`. It may hold a password, so it
/// is never shown as a whole.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(from = "String")]
pub struct StoreUrl(String);

/// A text is not such an address. It may hold a password, so the text is not shown. The operator must act.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("it is not the address of a PostgreSQL database; write one such as `postgres://dormouse@db1/dormouse`")]
pub struct BadStoreUrl;

const SCHEMES: [&str; 2] = ["postgres://", "postgresql://"];

impl From<String> for StoreUrl {
    fn from(text: String) -> Self {
        StoreUrl(text.trim().to_owned())
    }
}

impl FromStr for StoreUrl {
    type Err = BadStoreUrl;

    fn from_str(text: &str) -> Result<Self, BadStoreUrl> {
        let url = StoreUrl::from(text.to_owned());
        url.check().map(|()| url)
    }
}

impl StoreUrl {
    /// Whether it has the form of such an address. A configuration file is read first and checked later: an error of
    /// its reader would show the line, with the password.
    pub(super) fn check(&self) -> Result<(), BadStoreUrl> {
        let has_scheme = SCHEMES.iter().any(|scheme| self.0.starts_with(scheme));
        if has_scheme && !self.0.contains(char::is_control) { Ok(()) } else { Err(BadStoreUrl) }
    }

    /// The whole address, with its password. It belongs into no log and no answer.
    pub fn with_password(&self) -> &str {
        &self.0
    }

    /// Whether it holds a password.
    pub fn has_password(&self) -> bool {
        let (credentials, _) = self.parts();
        credentials.contains(':') || self.0.split_once('?').is_some_and(|(_, query)| query.contains("password="))
    }

    /// The credentials, and the hosts with the name of the database.
    fn parts(&self) -> (&str, &str) {
        let rest = SCHEMES.iter().find_map(|scheme| self.0.strip_prefix(scheme)).unwrap_or_default();
        // The options may hold a password, and nothing behind them is worth showing.
        let rest = rest.split(['?', '#']).next().unwrap_or_default();
        let authority = rest.find('/').map_or(rest, |end| &rest[..end]);
        // A password may contain `@`, and should be encoded then; one that is not must not be shown either.
        match rest.rfind('@').filter(|at| *at > 0) {
            Some(at) if authority.contains('@') || at > authority.len() => (&rest[..at], &rest[at + 1..]),
            _ => ("", rest),
        }
    }
}

/// Shows the hosts and the database, without user, password and options.
impl fmt::Display for StoreUrl {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "postgres://{}", self.parts().1)
    }
}

impl fmt::Debug for StoreUrl {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_shown_without_its_password() {
        for (text, shown, has_password) in [
            ("postgres://db1/rooms", "postgres://db1/rooms", false),
            ("postgres://dormouse@db1,db2:5433/rooms", "postgres://db1,db2:5433/rooms", false),
            ("postgres://dormouse:secret@db1/rooms?sslmode=require", "postgres://db1/rooms", true),
            ("postgresql://dormouse:se/cr@et@db1/rooms", "postgres://db1/rooms", true),
            ("postgres://dormouse@/rooms?host=/run/pg&password=secret", "postgres:///rooms", true),
        ] {
            let url = text.parse::<StoreUrl>().unwrap();
            assert_eq!((&*url.to_string(), url.has_password()), (shown, has_password), "{text}");
            assert!(!format!("{url:?}").contains("se"), "{url:?}");
            assert_eq!(url.with_password(), text);
        }
    }

    #[test]
    fn other_texts_are_refused_and_not_shown() {
        for text in ["", "db1", "mysql://root:secret@db1", "host=db1 password=secret", "postgres:/db1"] {
            let refused = text.parse::<StoreUrl>().unwrap_err().to_string();
            assert!(!refused.contains("secret"), "{refused}");
        }
    }
}
