//! Addresses and networks in a configuration. An address to listen on may be a name, which is looked up.

use std::net::{IpAddr, SocketAddr, ToSocketAddrs};

use ipnet::IpNet;
use serde::{Deserialize, Deserializer};
use url::{Host, Url};

/// Parses an address to listen on, such as `127.0.0.1:8787`, or a name and a port, which is looked up. An IPv4 address
/// is preferred, since the default is one.
pub fn resolve_address(text: &str) -> Result<SocketAddr, String> {
    read_address(text)?.map_or_else(
        || {
            let found = text.to_socket_addrs().map_err(|error| format!("`{text}` cannot be looked up: {error}"))?;
            let found = found.collect::<Vec<_>>();
            let first = found.iter().find(|address| address.is_ipv4()).or(found.first());
            first.copied().ok_or_else(|| format!("`{text}` has no address"))
        },
        Ok,
    )
}

/// Parses an address without a look-up; absent for a name other than `localhost`.
fn read_address(text: &str) -> Result<Option<SocketAddr>, String> {
    if let Ok(address) = text.parse() {
        return Ok(Some(address));
    }
    let no_address = |problem: &str| {
        format!(
            "`{text}` is not an address to listen on: {problem}; write 127.0.0.1:8787 or localhost:8787, for example"
        )
    };
    let (name, port) = text.rsplit_once(':').ok_or_else(|| no_address("it has no port"))?;
    let port = port.parse::<u16>().map_err(|_| no_address("its port is not a number up to 65535"))?;
    let is_name = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte));
    // A name that ends in a number is most likely a mistyped address.
    let last_is_number = name.trim_end_matches('.').rsplit('.').next().is_some_and(|part| part.parse::<u64>().is_ok());
    if name.is_empty() || !is_name || last_is_number {
        return Err(no_address("its host is not valid"));
    }
    let is_this_machine = name.eq_ignore_ascii_case("localhost");
    Ok(is_this_machine.then(|| SocketAddr::from(([127, 0, 0, 1], port))))
}

/// Whether the host of a URL is this machine, so that nobody on the network can read what is sent there.
pub(super) fn is_this_machine(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => is_loopback(address.into()),
        Some(Host::Ipv6(address)) => is_loopback(address.into()),
        None => false,
    }
}

/// Whether an address is of this machine, also as IPv6 writes one of IPv4: `::ffff:127.0.0.1`.
pub(super) fn is_loopback(address: IpAddr) -> bool {
    address.to_canonical().is_loopback()
}

pub(super) fn address<'de, D: Deserializer<'de>>(deserializer: D) -> Result<SocketAddr, D::Error> {
    let text = String::deserialize(deserializer)?;
    let address = read_address(&text).map_err(serde::de::Error::custom)?;
    address.ok_or_else(|| serde::de::Error::custom(format!("`{text}` cannot be looked up, or has no address")))
}

/// The text of a file, with addresses in the place of names to listen on. Names that cannot be looked up stay, and
/// [`Config::parse`] reports them.
pub(super) fn with_numbers_for_names(text: String) -> String {
    let Ok(mut file) = text.parse::<toml::Table>() else { return text };
    let mut names = 0;
    let mut look_up = |value: Option<&mut toml::Value>| {
        if let Some(toml::Value::String(name)) = value
            && matches!(read_address(name), Ok(None))
            && let Ok(address) = resolve_address(name)
        {
            *name = address.to_string();
            names += 1;
        }
    };
    look_up(file.get_mut("listen"));
    look_up(file.get_mut("admin").and_then(|admin| admin.get_mut("listen")));
    // The original text has the line numbers for errors.
    if names > 0 { file.to_string() } else { text }
}

/// Parses networks such as `10.0.0.0/8`, and single addresses.
pub(super) fn networks<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<IpNet>, D::Error> {
    let texts = Vec::<String>::deserialize(deserializer)?;
    texts.iter().map(|text| network(text).map_err(serde::de::Error::custom)).collect()
}

fn network(text: &str) -> Result<IpNet, String> {
    if let Ok(address) = text.parse::<IpAddr>() {
        return Ok(address.into());
    }
    let network = text.parse::<IpNet>().map_err(|_| {
        format!("`{text}` is neither an address nor a network; write one such as `10.0.0.5` or `10.0.0.0/8`")
    })?;
    if network.trunc() == network {
        return Ok(network);
    }
    let (whole, address) = (network.trunc(), network.addr());
    Err(format!("`{text}` is an address in the network {whole}; write `{whole}` for all of it, or `{address}` alone"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    #[test]
    fn an_address_to_listen_on_may_be_a_name() {
        let listens = |text: &str| Config::parse(text).map(|config| config.listen.to_string());
        assert_eq!(listens("listen = \"localhost:80\""), Ok("127.0.0.1:80".into()));
        assert_eq!(listens("listen = \"[::1]:80\""), Ok("[::1]:80".into()));
        assert_eq!(resolve_address("LOCALHOST:0").map(|address| address.to_string()), Ok("127.0.0.1:0".into()));
        let admin = Config::parse("[admin]\nlisten = \"localhost:81\"").unwrap().admin.unwrap();
        assert_eq!(admin.listen.to_string(), "127.0.0.1:81");
        for (bad, says) in [
            ("", "no port"),
            ("localhost", "no port"),
            ("localhost:", "not a number"),
            ("localhost:65536", "not a number"),
            ("localhost:http", "not a number"),
            (":80", "its host is not valid"),
            ("local host:80", "its host is not valid"),
            ("http://localhost:80", "its host is not valid"),
            ("127.0.0.256:80", "its host is not valid"),
            ("::1:80", "its host is not valid"),
        ] {
            for problem in [resolve_address(bad).unwrap_err(), listens(&format!("listen = \"{bad}\"")).unwrap_err()] {
                assert!(problem.contains(says), "{bad}: {problem}");
            }
        }
        assert!(listens("listen = \"name.invalid:80\"").unwrap_err().contains("cannot be looked up"));
    }
}
