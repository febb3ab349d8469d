//! Where a request to the admin listener comes from: a program, the dashboard, or a page of another origin (CSRF).
//!
//! It is pure. A browser says the truth in these headers, and no page can set them. A program may say anything, so
//! nothing here takes the place of a credential.

use hyper::header::HeaderMap;
use hyper::{Method, Uri};

use crate::edge::admission::origin::{Origin, Origins};

/// The sender of a request, as far as a browser tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Source {
    /// No page, or one whose browser says nothing: over plain HTTP beyond this machine, a GET of the own page too.
    Program,
    /// The dashboard.
    OwnPage,
    /// A link that was followed from another origin. The page there cannot read the answer.
    Link,
    /// A page of another origin.
    OtherPage,
}

impl Source {
    /// Reads the headers of a request. `names` are those of the listener.
    pub(super) fn of(names: &Origins, method: &Method, uri: &Uri, headers: &HeaderMap) -> Self {
        let says = |name: &str, value: &str| headers.get(name).is_some_and(|said| said == value);
        let own_site = says("sec-fetch-site", "same-origin");
        if headers.contains_key("sec-fetch-site") && !own_site && !says("sec-fetch-site", "none") {
            let is_link = *method == Method::GET
                && says("sec-fetch-mode", "navigate")
                && says("sec-fetch-dest", "document")
                && !headers.contains_key("origin");
            return if is_link { Source::Link } else { Source::OtherPage };
        }
        match names.of(uri, headers) {
            Origin::Same => Source::OwnPage,
            Origin::None if own_site => Source::OwnPage,
            Origin::None => Source::Program,
            Origin::Allowed(_) | Origin::Foreign => Source::OtherPage,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_browser_tells_where_a_request_comes_from() {
        let of = |method: Method, given: &[(&'static str, &'static str)]| {
            let given = [("host", "127.0.0.1:8788")].iter().chain(given);
            let headers = given.map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect();
            Source::of(&Origins::of_dashboard(&[]), &method, &Uri::from_static("/rooms"), &headers)
        };
        assert_eq!(of(Method::GET, &[]), Source::Program);
        assert_eq!(of(Method::GET, &[("sec-fetch-site", "none")]), Source::Program);
        assert_eq!(of(Method::GET, &[("sec-fetch-site", "same-origin")]), Source::OwnPage);
        assert_eq!(of(Method::POST, &[("origin", "http://127.0.0.1:8788")]), Source::OwnPage);
        let link = [("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "navigate"), ("sec-fetch-dest", "document")];
        assert_eq!(of(Method::GET, &link), Source::Link);
        assert_eq!(of(Method::POST, &link), Source::OtherPage);
        for other in [
            &[("origin", "https://evil.example")][..],
            &[("origin", "null")],
            &[("origin", "http://127.0.0.1:3000")],
            &[("origin", "http://localhost:8788")],
            &[("origin", "https://evil.example"), ("sec-fetch-site", "same-origin")],
            &[("origin", "http://127.0.0.1:8788"), ("sec-fetch-site", "same-site")],
            &[("sec-fetch-site", "cross-site")],
            &[("sec-fetch-site", "same-site")],
            &[("sec-fetch-site", "SAME-ORIGIN")],
            &[("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "navigate"), ("sec-fetch-dest", "iframe")],
            &[("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "no-cors"), ("sec-fetch-dest", "image")],
        ] {
            assert_eq!(of(Method::GET, other), Source::OtherPage, "{other:?}");
        }
    }
}
