//! URLs and queries, as the Web has them: the part of `URL` and `URLSearchParams` that is not JavaScript.

use url::{Url, form_urlencoded, quirks};

/// The parts of a URL, in the order in which `web.js` reads them: `href`, `origin`, `protocol`, `username`, `password`,
/// `host`, `hostname`, `port`, `pathname`, `search`, `hash`.
pub type Parts = [String; 11];

/// Parses a URL, relative to a base if there is one.
pub fn parse(input: &str, base: Option<&str>) -> Option<Url> {
    match base {
        Some(base) => Url::parse(base).ok()?.join(input).ok(),
        None => Url::parse(input).ok(),
    }
}

/// Returns the parts of a URL.
pub fn parts(url: &Url) -> Parts {
    [
        quirks::href(url).to_owned(),
        quirks::origin(url),
        quirks::protocol(url).to_owned(),
        quirks::username(url).to_owned(),
        quirks::password(url).to_owned(),
        quirks::host(url).to_owned(),
        quirks::hostname(url).to_owned(),
        quirks::port(url).to_owned(),
        quirks::pathname(url).to_owned(),
        quirks::search(url).to_owned(),
        quirks::hash(url).to_owned(),
    ]
}

/// Sets one part of a URL by its name. A value that does not fit changes nothing, as on the Web.
///
/// Returns `None` if `href` is set to something that is no URL.
pub fn set(mut url: Url, part: &str, value: &str) -> Option<Url> {
    let result = match part {
        "href" => return Url::parse(value).ok(),
        "protocol" => quirks::set_protocol(&mut url, value),
        "username" => quirks::set_username(&mut url, value),
        "password" => quirks::set_password(&mut url, value),
        "host" => quirks::set_host(&mut url, value),
        "hostname" => quirks::set_hostname(&mut url, value),
        "port" => quirks::set_port(&mut url, value),
        "pathname" => {
            quirks::set_pathname(&mut url, value);
            Ok(())
        }
        "search" => {
            quirks::set_search(&mut url, value);
            Ok(())
        }
        "hash" => {
            quirks::set_hash(&mut url, value);
            Ok(())
        }
        _ => Ok(()),
    };
    let _unchanged_if_it_does_not_fit: Result<(), ()> = result;
    Some(url)
}

/// Returns the names and values of a query, one behind the other.
pub fn parse_query(query: &str) -> Vec<String> {
    form_urlencoded::parse(query.as_bytes()).flat_map(|(name, value)| [name.into_owned(), value.into_owned()]).collect()
}

/// Writes names and values, one behind the other, as a query.
pub fn write_query(pairs: &[String]) -> String {
    let mut query = form_urlencoded::Serializer::new(String::new());
    for pair in pairs.chunks_exact(2) {
        query.append_pair(&pair[0], &pair[1]);
    }
    query.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_parsed_and_changed_as_on_the_web() {
        let url = parse("../c?x=1#y", Some("https://ana:pw@Example.com:443/a/b/")).unwrap();
        assert_eq!(
            parts(&url),
            [
                "https://ana:pw@example.com/a/c?x=1#y",
                "https://example.com",
                "https:",
                "ana",
                "pw",
                "example.com",
                "example.com",
                "",
                "/a/c",
                "?x=1",
                "#y"
            ]
        );
        let url = set(set(url, "port", "8080").unwrap(), "search", "q=ü").unwrap();
        assert_eq!(url.as_str(), "https://ana:pw@example.com:8080/a/c?q=%C3%BC#y");
        assert_eq!(set(url.clone(), "port", "no").unwrap(), url);
        assert!(parse("/only/a/path", None).is_none() && set(url, "href", "no").is_none());
    }

    #[test]
    fn a_query_is_read_and_written_as_a_form() {
        let pairs = parse_query("a=1+2&b=%C3%BC&c&=d");
        assert_eq!(pairs, ["a", "1 2", "b", "ü", "c", "", "", "d"]);
        assert_eq!(write_query(&pairs), "a=1+2&b=%C3%BC&c=&=d");
    }
}
