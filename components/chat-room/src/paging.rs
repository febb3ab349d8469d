//! Reads from a query which messages a client asks for, by number. This module does not read storage.

use dormouse_room::Query;

/// The most messages in a `history`.
pub(crate) const HISTORY_LIMIT: u64 = 50;

/// A client that missed more messages than this cannot resume.
pub(crate) const MAX_MISSED: u64 = 500;

/// Messages in an answer to GET /messages, by default and at most.
const DEFAULT_PAGE_LIMIT: u64 = 100;
const MAX_PAGE_LIMIT: u64 = 500;

/// A range of consecutive messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Page {
    pub(crate) start: Start,
    /// At most this many.
    pub(crate) limit: u64,
}

/// The start and the direction of a page. Its messages are always returned oldest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Start {
    /// The newest messages.
    Newest,
    /// The messages just before this number.
    Before(u64),
    /// The messages just after this number.
    After(u64),
}

/// The newest hundred messages.
impl Default for Page {
    fn default() -> Self {
        Page::latest(DEFAULT_PAGE_LIMIT)
    }
}

impl Page {
    pub(crate) fn latest(limit: u64) -> Self {
        Page { start: Start::Newest, limit }
    }

    /// The page in a query; `None` if the query names none. The error text is for the client.
    pub(crate) fn from_query(query: &Query) -> Result<Option<Self>, String> {
        let (limit, before, after) = (number(query, "limit")?, number(query, "before")?, number(query, "after")?);
        let start = match (before, after) {
            (None, None) if limit.is_none() => return Ok(None),
            (None, None) => Start::Newest,
            (Some(seq), None) => Start::Before(seq),
            (None, Some(seq)) => Start::After(seq),
            (Some(_), Some(_)) => return Err("give before or after, not both".into()),
        };
        match limit.unwrap_or(DEFAULT_PAGE_LIMIT) {
            limit @ 1..=MAX_PAGE_LIMIT => Ok(Some(Page { start, limit })),
            _ => Err(format!("limit must be 1 to {MAX_PAGE_LIMIT}")),
        }
    }
}

/// The last message that the client has seen, if the query says so. The error text is for the client.
pub(crate) fn since(query: &Query) -> Result<Option<u64>, String> {
    number(query, "since")
}

/// How many messages a client missed that has seen `since`, if the newest is `last`. `None` if the client cannot
/// resume: it missed too many, or this room never gave the number (its storage is older than the client's data).
pub(crate) fn missed(since: u64, last: u64) -> Option<u64> {
    last.checked_sub(since).filter(|missed| *missed <= MAX_MISSED)
}

/// The number of the message that a client wants to delete, if the query says it. The error text is for the client.
pub(crate) fn seq(query: &Query) -> Result<Option<u64>, String> {
    number(query, "seq")
}

fn number(query: &Query, name: &str) -> Result<Option<u64>, String> {
    let Some(text) = query.get(name) else { return Ok(None) };
    // `parse` alone would accept a plus sign.
    let is_number = text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|_| is_number).map(Some).ok_or_else(|| format!("{name} must be a whole number"))
}

#[cfg(test)]
mod tests {
    use dormouse_room::Request;

    use super::*;

    fn request(query: &str) -> Request {
        let (method, path) = ("GET".into(), "/messages".into());
        Request { method, path, query: Some(query.into()), headers: vec![], body: vec![], user: None }
    }

    fn page(query: &str) -> Result<Option<Page>, String> {
        Page::from_query(&request(query).query())
    }

    #[test]
    fn a_page_matches_its_query() {
        use Start::{After, Before, Newest};
        for (query, start, limit) in [
            ("limit=1", Newest, 1),
            ("limit=500&ignored=x", Newest, 500),
            ("before=7", Before(7), 100),
            ("after=0", After(0), 100),
            ("limit=20&after=7", After(7), 20),
            ("before=18446744073709551615", Before(u64::MAX), 100),
        ] {
            assert_eq!(page(query), Ok(Some(Page { start, limit })), "{query}");
        }
    }

    #[test]
    fn an_empty_query_uses_the_defaults_of_the_room() {
        assert_eq!(page(""), Ok(None));
        assert_eq!(page("ignored=1"), Ok(None));
        assert_eq!(Page::default().limit, 100);
    }

    #[test]
    fn a_bad_number_is_refused() {
        for query in [
            "limit=0",
            "limit=501",
            "limit=",
            "limit=ten",
            "limit=-1",
            "limit=1.5",
            "limit=+5",
            "limit=%2B5",
            "before=x",
            "after=99999999999999999999",
            "before=1&after=2",
        ] {
            assert!(page(query).is_err(), "{query}");
        }
        for query in ["since=", "since=x", "since=-1", "since=1e3"] {
            assert!(since(&request(query).query()).is_err(), "{query}");
        }
    }

    #[test]
    fn a_client_resumes_while_it_missed_at_most_five_hundred() {
        assert_eq!(missed(0, 0), Some(0));
        assert_eq!(missed(0, 500), Some(500));
        assert_eq!(missed(700, 700), Some(0));
        assert_eq!(missed(200, 700), Some(500));
        assert_eq!(missed(199, 700), None);
    }

    #[test]
    fn a_client_ahead_of_the_history_starts_over() {
        assert_eq!(missed(701, 700), None);
        assert_eq!(missed(1, 0), None);
        assert_eq!(missed(u64::MAX, 700), None);
    }
}
