//! HTTP responses, and errors as `application/problem+json` (RFC 9457).

use serde_json::json;

/// An HTTP response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpResponse {
    /// 200 to 599.
    pub status: u16,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    /// The complete body.
    pub body: Vec<u8>,
}

/// An error response.
pub fn problem(status: u16, detail: &str) -> HttpResponse {
    let body = json!({ "type": "about:blank", "title": title(status), "status": status, "detail": detail });
    let headers = vec![("content-type".to_owned(), "application/problem+json".to_owned())];
    HttpResponse { status, headers, body: body.to_string().into_bytes() }
}

impl HttpResponse {
    /// Adds a header.
    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }
}

fn title(status: u16) -> &'static str {
    match status {
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        408 => "Request Timeout",
        413 => "Payload Too Large",
        426 => "Upgrade Required",
        500 => "Internal Server Error",
        503 => "Service Unavailable",
        _ => "Error",
    }
}
