//! `GET /usage`: what rooms, namespaces and users have used, as JSON or CSV, a page at a time.
//!
//! It reads the query and writes the rows. What is counted, and how it is kept, is in `room` and `store`.

use std::fmt::Write;
use std::time::{Duration, UNIX_EPOCH};

use bytes::Bytes;
use hyper::header::{self, HeaderName, HeaderValue};
use hyper::{Method, Response, StatusCode};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Value, json};

use super::Admin;
use super::request::{AdminRequest, bad};
use crate::clock::{self, UnixMillis};
use crate::edge::response::body::Body;
use crate::edge::response::json::json_response;
use crate::edge::response::problem::problem;
use crate::edge::response::refusals::Refusal;
use crate::limits::USAGE_ROWS;
use crate::model::{
    Address, HOUR_MS, Hour, StorageFailed, Usage, UsageBy, UsagePage, UsageQuery, UsageSubject, hour_of, may_mislead,
};
use crate::room::{Rooms, USAGE_KEPT_HOURS};

/// The rows of a page, if the request does not say.
const DEFAULT_ROWS: usize = 100;
/// The time that is shown, if the request does not say.
const DEFAULT_SINCE_MS: u64 = 24 * HOUR_MS;
/// The header of an answer in CSV that has the parameter `after` of the next page, percent-encoded.
const NEXT: HeaderName = HeaderName::from_static("dormouse-next");

/// The columns of an amount: its name in JSON, its name in CSV, and its value in units for people.
const COLUMNS: [(&str, &str); Usage::AMOUNTS] = [
    ("events", "events"),
    ("turns", "turns"),
    ("cpuSeconds", "cpu_seconds"),
    ("awakeSeconds", "awake_seconds"),
    ("asleepSeconds", "asleep_seconds"),
    ("connectedSeconds", "connected_seconds"),
    ("bytesIn", "bytes_in"),
    ("bytesOut", "bytes_out"),
    ("deliveries", "deliveries"),
    ("storageByteSeconds", "storage_byte_seconds"),
    ("timers", "timers"),
    ("calls", "calls"),
];

/// The amounts in the order of the columns: times in seconds, the others as they are.
fn values(usage: &Usage) -> [Value; Usage::AMOUNTS] {
    let seconds = |amount: u64, a_second: f64| json!(amount as f64 / a_second);
    [
        json!(usage.events),
        json!(usage.turns),
        seconds(usage.cpu_ns, 1e9),
        seconds(usage.awake_ms, 1e3),
        seconds(usage.asleep_ms, 1e3),
        seconds(usage.connected_ms, 1e3),
        json!(usage.bytes_in),
        json!(usage.bytes_out),
        json!(usage.deliveries),
        json!(usage.byte_seconds),
        json!(usage.timers),
        json!(usage.calls),
    ]
}

/// The format of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Format {
    Json,
    Csv,
}

impl Admin {
    /// Answers with a page of usage.
    pub(super) async fn usage(&self, mut request: AdminRequest) -> Result<Response<Body>, Refusal> {
        let (query, format) = read_query(&mut request)?;
        if let Some(node) = self.cluster(&request) {
            // Each node stores what it has counted before it answers. One that does not answer stores it within a minute.
            self.ask_all(node, &request, &Method::GET, "/usage?by=namespace&limit=1", &Bytes::new()).await;
        }
        let page = self.edge.rooms.usage(query.clone()).await.map_err(unreadable)?;
        Ok(match format {
            Format::Json => json_response(&as_json(&query, &page)),
            Format::Csv => csv_response(&query, &page),
        })
    }
}

/// The sums of a user over the time that is kept, as in an answer; absent if the user has none.
pub(super) async fn user_row(rooms: &Rooms, user: &str) -> Result<Option<Value>, Refusal> {
    let until = hour_of(clock::unix_millis()) + 1;
    let query = UsageQuery {
        by: UsageBy::User,
        from: until.saturating_sub(USAGE_KEPT_HOURS + 1),
        until,
        namespace: None,
        prefix: user.into(),
        after: None,
        // The shortest id with this prefix comes first.
        limit: 1,
    };
    let page = rooms.usage(query.clone()).await.map_err(unreadable)?;
    let is_meant = page.rows.first().is_some_and(|(subject, _)| name_of(subject) == user);
    Ok(is_meant.then(|| as_json(&query, &page)["rows"][0].take()))
}

fn unreadable(error: StorageFailed) -> Refusal {
    tracing::error!(%error, "the usage cannot be read");
    problem(StatusCode::INTERNAL_SERVER_ERROR, &format!("the usage cannot be read: {error}")).into()
}

fn read_query(request: &mut AdminRequest) -> Result<(UsageQuery, Format), Refusal> {
    let by = request.parameter("by")?.unwrap_or_else(|| UsageBy::Room.name().into());
    let by = UsageBy::from_name(&by).ok_or_else(|| bad("the parameter `by` is room, namespace or user"))?;
    let now = clock::unix_millis();
    let since = time(request, "since", now)?.unwrap_or(now.saturating_sub(DEFAULT_SINCE_MS));
    let until = time(request, "until", now)?.unwrap_or(now);
    let namespace = request.parameter("namespace")?;
    let prefix = request.parameter("prefix")?.unwrap_or_default();
    let after = request.parameter("after")?;
    let limit = request.limit(DEFAULT_ROWS, USAGE_ROWS)?;
    let format = match request.parameter("format")?.as_deref() {
        None | Some("json") => Format::Json,
        Some("csv") => Format::Csv,
        Some(_) => return Err(bad("the parameter `format` is json or csv")),
    };
    request.no_more_parameters()?;
    if namespace.is_some() && by != UsageBy::Room {
        return Err(bad("the parameter `namespace` selects rooms: write by=room"));
    }
    if let Some(namespace) = &namespace {
        Address::check_namespace(namespace).map_err(|error| bad(format_args!("the parameter `namespace`: {error}")))?;
    }
    if by == UsageBy::Room && namespace.is_none() && !prefix.is_empty() {
        return Err(bad("the parameter `prefix` is that of a room's name: give `namespace` too"));
    }
    if since >= until {
        return Err(bad("the parameter `since` must be before `until`"));
    }
    let oldest = hour_of(now).saturating_sub(USAGE_KEPT_HOURS);
    let from = hour_of(since).max(oldest);
    let until = hour_of(until - 1).min(hour_of(now)).saturating_add(1).max(from);
    let after = after.map(|after| key_of(by, &after)).transpose()?;
    Ok((UsageQuery { by, from, until, namespace, prefix, after, limit }, format))
}

/// Takes a parameter with a time.
fn time(request: &mut AdminRequest, name: &str, now: UnixMillis) -> Result<Option<UnixMillis>, Refusal> {
    let Some(text) = request.parameter(name)? else { return Ok(None) };
    if let Ok(ago) = humantime::parse_duration(&text) {
        return Ok(Some(now.saturating_sub(u64::try_from(ago.as_millis()).unwrap_or(u64::MAX))));
    }
    match humantime::parse_rfc3339(&text) {
        Ok(time) => Ok(Some(clock::to_unix_millis(time))),
        Err(_) => Err(bad(format_args!(
            "the parameter `{name}` is how long ago, such as 24h or 7d, or a time such as 2026-01-31T00:00:00Z"
        ))),
    }
}

/// The key of the subject that `text` names, as in the field `next` of an answer.
fn key_of(by: UsageBy, text: &str) -> Result<Bytes, Refusal> {
    if by != UsageBy::Room {
        return Ok(Bytes::copy_from_slice(text.as_bytes()));
    }
    let wrong = || bad("the parameter `after` is what `next` was: NAMESPACE/NAME of a room");
    let (namespace, name) = text.split_once('/').ok_or_else(wrong)?;
    Ok([namespace.as_bytes(), &[0], name.as_bytes()].concat().into())
}

/// The name of a subject. The rest of an hour has the name of its namespace, or none.
fn name_of(subject: &UsageSubject) -> String {
    match subject {
        UsageSubject::Room(address) => address.to_string(),
        UsageSubject::OtherRooms(namespace) => format!("{namespace}/"),
        UsageSubject::Namespace(name) | UsageSubject::User(name) => name.clone(),
        UsageSubject::OtherUsers => String::new(),
    }
}

fn is_other(subject: &UsageSubject) -> bool {
    matches!(subject, UsageSubject::OtherRooms(_) | UsageSubject::OtherUsers)
}

fn next_of(query: &UsageQuery, page: &UsagePage) -> Option<String> {
    page.next.as_ref().and_then(|key| UsageSubject::from_key(query.by, key)).map(|subject| name_of(&subject))
}

fn begin_of(hour: Hour) -> String {
    humantime::format_rfc3339_seconds(UNIX_EPOCH + Duration::from_millis(u64::from(hour) * HOUR_MS)).to_string()
}

fn as_json(query: &UsageQuery, page: &UsagePage) -> Value {
    let row = |(subject, usage): &(UsageSubject, Usage)| {
        let amounts = COLUMNS.iter().zip(values(usage)).map(|((name, _), value)| ((*name).to_owned(), value));
        let name = (query.by.name().to_owned(), json!(name_of(subject)));
        let other = ("other".to_owned(), json!(is_other(subject)));
        Value::Object([name, other].into_iter().chain(amounts).collect())
    };
    json!({
        "by": query.by.name(),
        "from": begin_of(query.from),
        "until": begin_of(query.until),
        "rows": page.rows.iter().map(row).collect::<Vec<_>>(),
        "next": next_of(query, page),
    })
}

fn csv_response(query: &UsageQuery, page: &UsagePage) -> Response<Body> {
    let mut text = format!("{},other", query.by.name());
    COLUMNS.iter().for_each(|(_, name)| text.extend([",", name]));
    text.push_str("\r\n");
    for (subject, usage) in &page.rows {
        write!(text, "{},{}", csv_text(&name_of(subject)), is_other(subject)).expect("a string takes all text");
        values(usage).iter().for_each(|value| write!(text, ",{value}").expect("a string takes all text"));
        text.push_str("\r\n");
    }
    let mut response = Response::new(Body::whole(text));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/csv; charset=utf-8"));
    headers.insert(header::CONTENT_DISPOSITION, HeaderValue::from_static("attachment; filename=\"usage.csv\""));
    if let Some(next) = next_of(query, page) {
        let next = utf8_percent_encode(&next, NON_ALPHANUMERIC).to_string();
        headers.insert(NEXT, HeaderValue::try_from(next).expect("it is percent-encoded"));
    }
    response
}

/// A name as a field of CSV. Names come from clients: in a spreadsheet, one that begins like a formula would be run, so
/// it gets an apostrophe; a control character would break the line or a terminal, and an invisible one would make it look
/// like another name, so both are escaped.
fn csv_text(name: &str) -> String {
    let mut field = String::from("\"");
    if name.starts_with(['=', '+', '-', '@', '＝', '＋', '－', '＠', '\t', '\r', '\n', '\'']) {
        field.push('\'');
    }
    for letter in name.chars() {
        match letter {
            '"' => field.push_str("\"\""),
            letter if may_mislead(letter) => field.extend(letter.escape_unicode()),
            letter => field.push(letter),
        }
    }
    field.push('"');
    field
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hostile_name_is_plain_text_in_csv() {
        for (name, field) in [
            ("ROOMS/lobby", r#""ROOMS/lobby""#),
            ("a,b", r#""a,b""#),
            ("=1+1", r#""'=1+1""#),
            ("@SUM(A1)", r#""'@SUM(A1)""#),
            ("-2\",\"3", r#""'-2"",""3""#),
            ("＝1", r#""'＝1""#),
            ("a\r\n=1", r#""a\u{d}\u{a}=1""#),
            ("\x1b[2J", r#""\u{1b}[2J""#),
            ("lob\u{200b}by\u{202e}", r#""lob\u{200b}by\u{202e}""#),
            ("Grüße 日本", r#""Grüße 日本""#),
        ] {
            assert_eq!(csv_text(name), field);
        }
    }

    #[test]
    fn what_next_names_is_what_after_takes() {
        for (by, subject) in [
            (UsageBy::Room, UsageSubject::Room(Address::new("ROOMS", "a/b").unwrap())),
            (UsageBy::Room, UsageSubject::OtherRooms("ROOMS".into())),
            (UsageBy::User, UsageSubject::User("a/b".into())),
            (UsageBy::User, UsageSubject::OtherUsers),
        ] {
            assert_eq!(key_of(by, &name_of(&subject)).ok(), Some(subject.key()));
        }
        assert!(key_of(UsageBy::Room, "lobby").is_err());
    }
}
