//! Short ways to build and to read requests and responses.

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::{Request, Response, Result, User};

impl Request {
    /// A `GET` request for a path, such as `/list?limit=5`, to another room or a server.
    pub fn get(path: &str) -> Self {
        Self::of("GET", path)
    }

    /// A `POST` request for a path, to another room or a server.
    pub fn post(path: &str) -> Self {
        Self::of("POST", path)
    }

    fn of(method: &str, path: &str) -> Self {
        let (path, query) = path.split_once('?').map_or((path, None), |(path, query)| (path, Some(query.to_owned())));
        Request { method: method.into(), path: path.into(), query, headers: Vec::new(), body: Vec::new(), user: None }
    }

    /// Sets a JSON body.
    pub fn with_json(mut self, value: &impl Serialize) -> Result<Self> {
        self.body = serde_json::to_vec(value)?;
        self.headers.push(("content-type".into(), "application/json".into()));
        Ok(self)
    }

    /// Sets the user for whom the request is made. The called room trusts this; a server does not see it.
    pub fn by(mut self, user: User) -> Self {
        self.user = Some(user);
        self
    }

    /// The value of a header, by its name in lower case. The first one, if there are several.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// The parameters after `?`.
    pub fn query(&self) -> Query<'_> {
        Query(self.query.as_deref().unwrap_or_default())
    }

    /// Reads the body as JSON.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, serde_json::Error> {
        serde_json::from_slice(&self.body)
    }
}

impl Response {
    /// A 200 with a JSON body.
    pub fn json(value: &impl Serialize) -> Result<Self> {
        Ok(Self::json_text(serde_json::to_vec(value)?))
    }

    /// A 200 whose body is already JSON text, such as stored values joined together.
    pub fn json_text(body: impl Into<Vec<u8>>) -> Self {
        Self::with_body(200, "application/json", body.into())
    }

    /// An error response as in RFC 9457: `application/problem+json` with title, status and detail.
    pub fn problem(status: u16, detail: impl AsRef<str>) -> Self {
        Self::problem_with(status, detail.as_ref(), None)
    }

    /// Like [`problem`](Self::problem), with one more member.
    pub(crate) fn problem_with(status: u16, detail: &str, member: Option<(&str, Value)>) -> Self {
        let mut body = json!({ "type": "about:blank", "title": title(status), "status": status, "detail": detail });
        if let Some((name, value)) = member {
            body[name] = value;
        }
        Self::with_body(status, "application/problem+json", body.to_string().into_bytes())
    }

    /// Reads the body as JSON.
    pub fn read_json<T: DeserializeOwned>(&self) -> Result<T, serde_json::Error> {
        serde_json::from_slice(&self.body)
    }

    /// Adds a header.
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    fn with_body(status: u16, content_type: &str, body: Vec<u8>) -> Self {
        Response { status, headers: vec![("content-type".into(), content_type.into())], body }
    }
}

/// HTTP's phrase for a status. RFC 9457 wants it as the title of a problem with the type `about:blank`.
fn title(status: u16) -> &'static str {
    match status {
        400 => "Bad Request",
        401 => "Unauthorized",
        402 => "Payment Required",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        406 => "Not Acceptable",
        408 => "Request Timeout",
        409 => "Conflict",
        410 => "Gone",
        411 => "Length Required",
        412 => "Precondition Failed",
        413 => "Payload Too Large",
        414 => "URI Too Long",
        415 => "Unsupported Media Type",
        416 => "Range Not Satisfiable",
        417 => "Expectation Failed",
        418 => "I'm a teapot",
        421 => "Misdirected Request",
        422 => "Unprocessable Entity",
        423 => "Locked",
        424 => "Failed Dependency",
        425 => "Too Early",
        426 => "Upgrade Required",
        428 => "Precondition Required",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        451 => "Unavailable For Legal Reasons",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        507 => "Insufficient Storage",
        _ => "Error",
    }
}

/// The query parameters of a request. They are percent-decoded when they are read.
#[derive(Debug, Clone, Copy)]
pub struct Query<'a>(&'a str);

impl Query<'_> {
    /// The value of a parameter: the first one, if there are several; empty, if it has no value. A value that cannot be
    /// decoded is returned as it was sent, so that reading a number from it fails.
    pub fn get(&self, name: &str) -> Option<String> {
        let pairs = self.0.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, "")));
        let (_, value) = pairs.into_iter().find(|(key, _)| *key == name)?;
        Some(percent_decode(&value.replace('+', " ")).unwrap_or_else(|| value.to_owned()))
    }
}

/// Decodes percent-encoding: `%41` becomes `A`. `None` if an escape is broken or the result is not UTF-8.
pub fn percent_decode(text: &str) -> Option<String> {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        match byte {
            b'%' => {
                let digit = |byte: Option<u8>| char::from(byte?).to_digit(16);
                let (high, low) = (digit(bytes.next())?, digit(bytes.next())?);
                out.push((high * 16 + low) as u8);
            }
            other => out.push(other),
        }
    }
    String::from_utf8(out).ok()
}

impl Request {
    /// The path's segments, percent-decoded: `/rooms/a%20b` gives `rooms` and `a b`. `None` if a segment is not UTF-8
    /// or has a broken escape.
    pub fn segments(&self) -> Option<Vec<String>> {
        self.path.strip_prefix('/')?.split('/').map(percent_decode).collect()
    }
}
