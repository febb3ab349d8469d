//! The database that an operator has named by a URL: its hosts, user, database, password and TLS. It opens no
//! connection. `connect` asks it, and the configuration parses it at start.

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;

use percent_encoding::percent_decode_str;

use super::passfile;
use super::tls::Verification;

const DEFAULT_PORT: u16 = 5432;

/// A database, and how to reach it. Cheap to clone. Neither its `Debug` nor its `Display` has the password.
#[derive(Debug, Clone)]
pub struct Target(Arc<Parts>);

#[derive(Debug)]
struct Parts {
    hosts: Vec<Host>,
    user: String,
    database: String,
    password_in_url: bool,
    sslrootcert: Option<PathBuf>,
}

/// One server of the database.
#[derive(Debug, Clone)]
pub(super) struct Host {
    pub(super) place: Place,
    pub(super) port: u16,
    pub(super) password: Option<Password>,
    pub(super) verification: Verification,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Place {
    Name(String),
    /// The directory of a unix socket.
    Directory(PathBuf),
}

/// A password. Only `connect` may see it.
#[derive(Clone)]
pub(super) struct Password(String);

/// Where passwords may be, beside the URL.
#[derive(Default)]
pub struct Secrets {
    /// The password of the user.
    pub password: Option<String>,
    /// A file of passwords in the format of libpq.
    pub passfile: Option<PathBuf>,
}

/// The reason why a URL names no database. It never shows a part of the URL, since a password that is not
/// percent-encoded may be anywhere in it.
#[derive(Debug, thiserror::Error)]
pub enum TargetError {
    /// It does not begin as one.
    #[error("the URL of the store begins with `postgres://`, as in `postgres://user@host/database`")]
    Scheme,
    /// No user, or no host, or no database.
    #[error("the URL of the store has no {0}; write `postgres://user@host/database`")]
    Missing(&'static str),
    /// A character that separates parts is inside one.
    #[error(
        "the {0} in the URL of the store cannot be read; percent-encode `@`, `:`, `/`, `?`, `#` and `%` in a password, \
         or leave it out and set PGPASSWORD"
    )]
    Part(&'static str),
    /// A port is not a number.
    #[error("the port of host {0} in the URL of the store is not a number from 1 to 65535")]
    Port(usize),
    /// A parameter is not known.
    #[error(
        "a parameter in the URL of the store is not known; there are `sslmode`, `sslrootcert`, `passfile` and `host`"
    )]
    Parameter,
    /// A value of `sslmode` is not supported.
    #[error("`sslmode` in the URL of the store is `verify-full`, `verify-ca`, `require` or `disable`")]
    SslMode,
    /// A file of passwords cannot be used.
    #[error(transparent)]
    Passfile(#[from] passfile::PassfileError),
}

impl Target {
    /// Parses `postgres://user[:password]@host[:port][,host[:port]]/database[?sslmode=…&sslrootcert=…&passfile=…]`.
    /// The password is taken from the URL, else from `secrets`: its password, then its file.
    ///
    /// Without `sslmode`, the certificate and the name of each host beyond loopback is verified; connections to
    /// loopback and to unix sockets have no TLS.
    pub fn parse(url: &str, secrets: &Secrets) -> Result<Self, TargetError> {
        let rest = url.strip_prefix("postgres://").or_else(|| url.strip_prefix("postgresql://"));
        let rest = rest.ok_or(TargetError::Scheme)?;
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (authority, database) = rest.split_once('/').ok_or(TargetError::Missing("database"))?;
        let (user_info, hosts) = authority.rsplit_once('@').ok_or(TargetError::Missing("user"))?;
        let (user, password) = match user_info.split_once(':') {
            Some((user, password)) => (user, Some(decoded(password, "password")?)),
            None => (user_info, None),
        };
        let (user, database) = (decoded(user, "user")?, decoded(database, "database")?);
        let parameters = Parameters::parse(query)?;
        let mut places = parameters.host.iter().map(|host| (place(host), DEFAULT_PORT)).collect::<Vec<_>>();
        if !hosts.is_empty() {
            for (index, host) in hosts.split(',').enumerate() {
                places.push(place_and_port(host, index + 1)?);
            }
        }
        for (part, is_missing) in
            [("user", user.is_empty()), ("host", places.is_empty()), ("database", database.is_empty())]
        {
            if is_missing {
                return Err(TargetError::Missing(part));
            }
        }
        let password_in_url = password.is_some();
        let given = password.or_else(|| secrets.password.clone()).map(Password);
        let lines = match (&given, parameters.passfile.as_ref().or(secrets.passfile.as_ref())) {
            (None, Some(path)) => passfile::read(path, parameters.passfile.is_some())?,
            _ => Vec::new(),
        };
        let host = |(place, port): (Place, u16)| {
            let found = || passfile::find(&lines, place.name(), port, &database, &user).map(Password);
            let password = given.clone().or_else(found);
            let verification = parameters.verification.unwrap_or_else(|| place.default_verification());
            Host { place, port, password, verification }
        };
        let hosts = places.into_iter().map(host).collect();
        let sslrootcert = parameters.sslrootcert;
        Ok(Target(Arc::new(Parts { hosts, user, database, password_in_url, sslrootcert })))
    }

    /// Whether the URL itself has the password. Then it must not come from a command line, which other users of the
    /// machine can read.
    pub fn has_password_in_url(&self) -> bool {
        self.0.password_in_url
    }

    pub(super) fn hosts(&self) -> &[Host] {
        &self.0.hosts
    }

    pub(super) fn user(&self) -> &str {
        &self.0.user
    }

    pub(super) fn database(&self) -> &str {
        &self.0.database
    }

    /// The file of the authorities that are trusted instead of those of browsers.
    pub(super) fn sslrootcert(&self) -> Option<&std::path::Path> {
        self.0.sslrootcert.as_deref()
    }
}

impl Secrets {
    /// Those of the environment: `PGPASSWORD`; `PGPASSFILE`, else `~/.pgpass`.
    pub fn of_environment() -> Self {
        let home = || std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".pgpass"));
        Secrets {
            password: std::env::var("PGPASSWORD").ok(),
            passfile: std::env::var_os("PGPASSFILE").map(PathBuf::from).or_else(home),
        }
    }
}

impl Password {
    /// The password itself. It may go only to the server.
    pub(super) fn reveal(&self) -> &str {
        &self.0
    }
}

impl Place {
    /// The host in a file of passwords.
    fn name(&self) -> &str {
        match self {
            Place::Name(name) => name,
            Place::Directory(_) => "localhost",
        }
    }

    fn default_verification(&self) -> Verification {
        match self {
            Place::Name(name) if is_loopback(name) => Verification::Off,
            Place::Name(_) => Verification::Full,
            Place::Directory(_) => Verification::Off,
        }
    }
}

fn is_loopback(name: &str) -> bool {
    name == "localhost" || name.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[derive(Default)]
struct Parameters {
    verification: Option<Verification>,
    sslrootcert: Option<PathBuf>,
    passfile: Option<PathBuf>,
    host: Option<String>,
}

impl Parameters {
    fn parse(query: &str) -> Result<Self, TargetError> {
        let mut parameters = Parameters::default();
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').ok_or(TargetError::Parameter)?;
            let value = decoded(value, "parameters")?;
            match name {
                "sslmode" => {
                    let verification = match value.as_str() {
                        "disable" => Verification::Off,
                        "require" => Verification::None,
                        "verify-ca" => Verification::Authority,
                        "verify-full" => Verification::Full,
                        _ => return Err(TargetError::SslMode),
                    };
                    parameters.verification = Some(verification);
                }
                "sslrootcert" => parameters.sslrootcert = Some(value.into()),
                "passfile" => parameters.passfile = Some(value.into()),
                "host" => parameters.host = Some(value),
                _ => return Err(TargetError::Parameter),
            }
        }
        Ok(parameters)
    }
}

fn place_and_port(host: &str, index: usize) -> Result<(Place, u16), TargetError> {
    // An IPv6 address is in brackets.
    let end_of_name = host.rfind(']').map_or(0, |end| end + 1);
    let (name, port) = match host[end_of_name..].find(':') {
        Some(colon) => {
            let (name, port) = host.split_at(end_of_name + colon);
            let port = port[1..].parse().ok().filter(|port| *port > 0).ok_or(TargetError::Port(index))?;
            (name, port)
        }
        None => (host, DEFAULT_PORT),
    };
    let name = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name);
    let name = decoded(name, "host")?;
    if name.is_empty() {
        return Err(TargetError::Missing("host"));
    }
    Ok((place(&name), port))
}

fn place(name: &str) -> Place {
    if name.starts_with('/') { Place::Directory(name.into()) } else { Place::Name(name.to_owned()) }
}

/// A part of the URL without its percent-encoding.
fn decoded(text: &str, part: &'static str) -> Result<String, TargetError> {
    if text.contains(['@', '/', '?', '#']) && part != "parameters" {
        return Err(TargetError::Part(part));
    }
    let decoded = percent_decode_str(text).decode_utf8().map_err(|_| TargetError::Part(part))?;
    if decoded.contains('\0') {
        return Err(TargetError::Part(part));
    }
    Ok(decoded.into_owned())
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("…")
    }
}

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let password = self.password.as_ref().map(|_| "…");
        f.debug_struct("Secrets").field("password", &password).field("passfile", &self.passfile).finish()
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.place {
            Place::Name(name) if name.contains(':') => write!(f, "[{name}]:{}", self.port),
            Place::Name(name) => write!(f, "{name}:{}", self.port),
            Place::Directory(path) => write!(f, "{}:{}", path.display(), self.port),
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "postgres://{}@", self.0.user)?;
        for (index, host) in self.0.hosts.iter().enumerate() {
            write!(f, "{}{host}", if index == 0 { "" } else { "," })?;
        }
        write!(f, "/{}", self.0.database)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(url: &str) -> Result<Target, TargetError> {
        Target::parse(url, &Secrets::default())
    }

    #[test]
    fn a_url_names_hosts_user_and_database() {
        let target = parse("postgres://a%40b:se%2Fcret@db1,db2:6000,[::1]:7000/rooms").unwrap();
        assert_eq!(target.to_string(), "postgres://a@b@db1:5432,db2:6000,[::1]:7000/rooms");
        assert!(target.has_password_in_url());
        assert!(target.hosts().iter().all(|host| host.password.as_ref().unwrap().reveal() == "se/cret"));
        let verified = target.hosts().iter().map(|host| host.verification).collect::<Vec<_>>();
        assert_eq!(verified, [Verification::Full, Verification::Full, Verification::Off]);
        let unix = parse("postgresql://u@/d?host=/run/postgresql").unwrap();
        assert_eq!(unix.hosts()[0].place, Place::Directory("/run/postgresql".into()));
        assert_eq!(unix.hosts()[0].verification, Verification::Off);
        let chosen = parse("postgres://u@localhost/d?sslmode=verify-ca&sslrootcert=/etc/ca.pem").unwrap();
        assert_eq!(chosen.hosts()[0].verification, Verification::Authority);
        assert_eq!(chosen.sslrootcert(), Some(std::path::Path::new("/etc/ca.pem")));
    }

    #[test]
    fn a_url_that_is_none_is_refused_without_showing_it() {
        // The password is `s3cr3t` with a character that would have to be encoded.
        for url in [
            "http://u@h/d",
            "postgres://h/d",
            "postgres://u@h",
            "postgres://@h/d",
            "postgres://u@/d",
            "postgres://u@h/",
            "postgres://u:s3cr3t/x@h/d",
            "postgres://u:s3cr3t?x@h/d",
            "postgres://u:s3cr3t#x@h/d",
            "postgres://u:s3cr3t@x@h/d",
            "postgres://u:%ff@h/d",
            "postgres://u@h:s3cr3t/d",
            "postgres://u@h:0/d",
            "postgres://u@h/d?s3cr3t=1",
            "postgres://u@h/d?sslmode=prefer",
        ] {
            let error = parse(url).expect_err(url);
            assert!(!format!("{error} {error:?}").contains("s3cr3t"), "{error}");
        }
    }

    #[test]
    fn no_form_of_a_target_shows_its_password() {
        let secrets = Secrets { password: Some("s3cr3t".into()), passfile: None };
        assert!(!format!("{secrets:?}").contains("s3cr3t"));
        for target in [parse("postgres://u:s3cr3t@h/d").unwrap(), Target::parse("postgres://u@h/d", &secrets).unwrap()]
        {
            assert_eq!(target.hosts()[0].password.as_ref().unwrap().reveal(), "s3cr3t");
            assert!(!format!("{target} {target:?} {:?}", target.hosts()).contains("s3cr3t"));
        }
    }
}
