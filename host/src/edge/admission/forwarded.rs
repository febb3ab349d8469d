//! The client's address as a proxy reports it: `X-Forwarded-For`, and `Forwarded` of RFC 7239. Pure functions;
//! `connection_limits` knows the trusted proxies.
//!
//! Each proxy appends the address that it was called from. A client can write anything before that, so the list is read
//! from its end, and only past our own proxies.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use hyper::header::{FORWARDED, HeaderMap, HeaderName};

use crate::edge::headers::items;

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// The client that a proxy names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::edge) enum ForwardedClient {
    /// This address.
    Address(IpAddr),
    /// The headers are absent or unreadable, or they name different clients.
    Unclear,
}

/// One entry of a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Node {
    /// The entry is empty.
    Empty,
    Address(IpAddr),
    Unclear,
}

/// Returns the last address that is not one of our proxies. If all are, the first one: each trusted address vouches for
/// the one before it, so the first is a client inside a trusted network. If both headers are present, they must name
/// the same client: a proxy that sets only one of them passes the other on as the client wrote it.
pub(in crate::edge) fn client(headers: &HeaderMap, is_proxy: impl Fn(IpAddr) -> bool) -> ForwardedClient {
    let list = headers.contains_key(FORWARDED_FOR).then(|| last(items(headers, FORWARDED_FOR).map(node), &is_proxy));
    let standard = headers.contains_key(FORWARDED).then(|| {
        let nodes = headers.get_all(FORWARDED).into_iter().flat_map(|value| nodes(value.as_bytes()));
        last(nodes.collect::<Vec<_>>().into_iter(), &is_proxy)
    });
    match (list, standard) {
        (None, None) => ForwardedClient::Unclear,
        (Some(client), None) | (None, Some(client)) => client,
        (Some(one), Some(other)) if one == other => one,
        (Some(_), Some(_)) => ForwardedClient::Unclear,
    }
}

fn last(nodes: impl DoubleEndedIterator<Item = Node>, is_proxy: impl Fn(IpAddr) -> bool) -> ForwardedClient {
    // An empty header names no client.
    let mut client = ForwardedClient::Unclear;
    for node in nodes.rev().filter(|node| *node != Node::Empty) {
        let Node::Address(address) = node else { return ForwardedClient::Unclear };
        client = ForwardedClient::Address(address);
        if !is_proxy(address) {
            break;
        }
    }
    client
}

/// Parses an address with or without a port: `192.0.2.1`, `192.0.2.1:4711`, `2001:db8::1`, `[2001:db8::1]:4711`.
fn node(text: &[u8]) -> Node {
    if text.is_empty() {
        return Node::Empty;
    }
    std::str::from_utf8(text)
        .ok()
        .and_then(address)
        .map_or(Node::Unclear, |address| Node::Address(address.to_canonical()))
}

fn address(text: &str) -> Option<IpAddr> {
    if let Some(rest) = text.strip_prefix('[') {
        let (address, port) = rest.split_once(']')?;
        let has_port = port.is_empty() || port.strip_prefix(':').is_some_and(is_port);
        return address.parse::<Ipv6Addr>().ok().filter(|_| has_port).map(IpAddr::from);
    }
    match text.split_once(':') {
        Some((address, port)) if !port.contains(':') => {
            address.parse::<Ipv4Addr>().ok().filter(|_| is_port(port)).map(IpAddr::from)
        }
        _ => text.parse().ok(),
    }
}

/// Returns whether a text is a port: a number, or an obfuscated port, which begins with an underscore.
fn is_port(text: &str) -> bool {
    let is_name = |name: &str| name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte));
    text.parse::<u16>().is_ok() || text.strip_prefix('_').is_some_and(is_name)
}

/// The nodes of one `Forwarded` header. Commas separate its elements, semicolons their parameters, and a value may be
/// quoted.
fn nodes(value: &[u8]) -> Vec<Node> {
    // An unterminated quote of the client would hide what the proxy appended.
    split(value, b',').map_or(vec![Node::Unclear], |elements| elements.into_iter().map(element).collect())
}

/// The node of an element. An element with no name, or with several, is unclear.
fn element(element: &[u8]) -> Node {
    if element.is_empty() {
        return Node::Empty;
    }
    let parameters = split(element, b';').unwrap_or_default().into_iter();
    let mut names = parameters.filter_map(|parameter| {
        let at = parameter.iter().position(|byte| *byte == b'=')?;
        parameter[..at].trim_ascii().eq_ignore_ascii_case(b"for").then(|| parameter[at + 1..].trim_ascii())
    });
    match (names.next(), names.next()) {
        (Some(name), None) if !name.is_empty() => node_of(&unquoted(name)),
        _ => Node::Unclear,
    }
}

/// As [`node`], but an empty name is unreadable.
fn node_of(name: &[u8]) -> Node {
    match node(name) {
        Node::Empty => Node::Unclear,
        node => node,
    }
}

/// Splits at separators outside quotes and trims the parts; absent if a quote is not closed.
fn split(value: &[u8], separator: u8) -> Option<Vec<&[u8]>> {
    let (mut parts, mut start, mut quoted, mut escaped) = (Vec::new(), 0, false, false);
    for (at, byte) in value.iter().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            _ if *byte == separator && !quoted => {
                parts.push(value[start..at].trim_ascii());
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(value[start..].trim_ascii());
    (!quoted).then_some(parts)
}

fn unquoted(value: &[u8]) -> Vec<u8> {
    let Some(inner) = value.strip_prefix(b"\"").and_then(|value| value.strip_suffix(b"\"")) else {
        return value.into();
    };
    let mut escaped = false;
    let keep = |byte: &&u8| {
        escaped = **byte == b'\\' && !escaped;
        !escaped
    };
    inner.iter().filter(keep).copied().collect()
}

#[cfg(test)]
mod tests {
    use hyper::header::HeaderValue;

    use super::*;

    fn named_by(of: &[(HeaderName, &[u8])]) -> ForwardedClient {
        let mut headers = HeaderMap::new();
        for (name, value) in of {
            headers.append(name, HeaderValue::from_bytes(value).unwrap());
        }
        client(&headers, |address| "10.0.0.0/8".parse::<ipnet::IpNet>().unwrap().contains(&address))
    }

    fn of_list(lists: &[&[u8]]) -> ForwardedClient {
        named_by(&lists.iter().map(|list| (FORWARDED_FOR, *list)).collect::<Vec<_>>())
    }

    fn forwarded(values: &[&str]) -> ForwardedClient {
        named_by(&values.iter().map(|value| (FORWARDED, value.as_bytes())).collect::<Vec<_>>())
    }

    fn is(address: &str) -> ForwardedClient {
        ForwardedClient::Address(address.parse().unwrap())
    }

    #[test]
    fn an_address_is_read_with_a_port_or_without() {
        for (list, address) in [
            ("203.0.113.5", "203.0.113.5"),
            ("203.0.113.5:4711", "203.0.113.5"),
            ("2001:db8::1", "2001:db8::1"),
            ("[2001:db8::1]", "2001:db8::1"),
            ("[2001:db8::1]:4711", "2001:db8::1"),
            ("::ffff:203.0.113.5", "203.0.113.5"),
            ("[::ffff:203.0.113.5]:1", "203.0.113.5"),
            ("6.6.6.6, 203.0.113.5:1 ,", "203.0.113.5"),
            (" , ,203.0.113.5, , 10.0.0.9:80 ,,", "203.0.113.5"),
        ] {
            assert_eq!(of_list(&[list.as_bytes()]), is(address), "{list}");
        }
        assert_eq!(of_list(&[b"6.6.6.6", b"203.0.113.5"]), is("203.0.113.5"), "the last header is the nearest");
        assert_eq!(of_list(&[b"203.0.113.5", b", ,"]), is("203.0.113.5"));
    }

    #[test]
    fn an_invalid_entry_is_unclear_and_hides_no_earlier_entry() {
        for list in [
            &b""[..],
            b",",
            b" , ",
            b"unknown",
            b"\xe9",
            b"6.6.6.6, \xe9",
            b"203.0.113.5:",
            b"203.0.113.5:99999",
            b"203.0.113.5:x",
            b"[2001:db8::1",
            b"[2001:db8::1]4711",
            b"[203.0.113.5]:1",
            b"2001:db8::1:zz",
            b"6.6.6.6, not an address",
            b"6.6.6.6, unknown, 10.0.0.1",
        ] {
            assert_eq!(of_list(&[list]), ForwardedClient::Unclear, "{}", list.escape_ascii());
        }
        assert_eq!(of_list(&[b"\xe9, 9.9.9.9"]), is("9.9.9.9"));
        assert_eq!(of_list(&[b"10.0.0.2, 10.0.0.1"]), is("10.0.0.2"), "a client inside a trusted network");
        assert_eq!(of_list(&[b"unknown, 10.0.0.1"]), ForwardedClient::Unclear);
        assert_eq!(of_list(&[]), ForwardedClient::Unclear, "an absent header names as few clients as an empty one");
    }

    #[test]
    fn forwarded_is_parsed_as_in_rfc_7239() {
        for (value, address) in [
            ("for=192.0.2.60;proto=http;by=203.0.113.43", "192.0.2.60"),
            ("for=6.6.6.6, For=\"192.0.2.60:4711\"", "192.0.2.60"),
            ("proto=https; FOR = \"[2001:db8:cafe::17]:_port\" ", "2001:db8:cafe::17"),
            ("for=192.0.2.60;by=\"a,b;for=6.6.6.6\", for=10.0.0.1,", "192.0.2.60"),
            ("for=\"1\\92.0.2.60\"", "192.0.2.60"),
        ] {
            assert_eq!(forwarded(&[value]), is(address), "{value}");
        }
        for value in [
            "",
            "for",
            "for=",
            "for=\"\"",
            "for=unknown",
            "for=_hidden",
            "proto=http",
            "for=192.0.2.60;for=6.6.6.6",
            "for=\"[2001:db8::1",
            "for=6.6.6.6, by=192.0.2.60",
            "for=6.6.6.6, \"",
            "for=6.6.6.6;x=\", for=192.0.2.60",
            "for=6.6.6.6;x=\", for=\"192.0.2.60\"",
        ] {
            assert_eq!(forwarded(&[value]), ForwardedClient::Unclear, "{value}");
        }
        assert_eq!(forwarded(&["for=6.6.6.6", "for=192.0.2.60"]), is("192.0.2.60"));
        assert_eq!(forwarded(&["for=10.0.0.1"]), is("10.0.0.1"));
    }

    #[test]
    fn headers_that_name_different_clients_are_unclear() {
        let both =
            |list: &str, value: &str| named_by(&[(FORWARDED_FOR, list.as_bytes()), (FORWARDED, value.as_bytes())]);
        assert_eq!(both("192.0.2.60", "for=192.0.2.60"), is("192.0.2.60"));
        assert_eq!(both("192.0.2.60", "for=6.6.6.6"), ForwardedClient::Unclear);
        assert_eq!(both("192.0.2.60", "for=10.0.0.1"), ForwardedClient::Unclear);
    }
}

#[cfg(test)]
mod fuzz {
    use dormouse_fuzz::{fuzz, mutated};
    use hyper::header::HeaderValue;

    use super::*;

    /// Whatever a client writes first, the address that a proxy appends is the one that counts.
    #[test]
    fn a_forged_start_of_a_list_does_not_hide_its_end() {
        const EXAMPLES: [&[u8]; 3] =
            [b"6.6.6.6, [2001:db8::1]:4711", b"for=6.6.6.6;by=\"a,b\", for=\"[::1]:_x\"", b"unknown, \xe9,, :1"];
        fuzz(mutated(&EXAMPLES), |bytes| {
            let ours = "192.0.2.60".parse().unwrap();
            let Ok(list) = HeaderValue::from_bytes(&[&bytes[..], b", 192.0.2.60"].concat()) else { return };
            let headers = HeaderMap::from_iter([(FORWARDED_FOR, list)]);
            assert_eq!(client(&headers, |_| false), ForwardedClient::Address(ours));
            let Ok(value) = HeaderValue::from_bytes(&bytes) else { return };
            let mut headers = HeaderMap::from_iter([(FORWARDED, value)]);
            headers.append(FORWARDED, HeaderValue::from_static("for=192.0.2.60"));
            assert_eq!(client(&headers, |_| false), ForwardedClient::Address(ours));
            // After an unterminated quote, no reading is reliable.
            let Ok(value) = HeaderValue::from_bytes(&[&bytes[..], b", for=192.0.2.60"].concat()) else { return };
            let named = client(&HeaderMap::from_iter([(FORWARDED, value)]), |_| false);
            assert!(named == ForwardedClient::Address(ours) || named == ForwardedClient::Unclear, "{named:?}");
        });
    }
}
