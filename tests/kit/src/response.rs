//! Checks HTTP answers in tests.

use serde_json::Value;

use crate::types::Response;

/// The JSON body of an answer with status 200. Fails the test for any other answer.
#[track_caller]
pub fn body(response: &Response) -> Value {
    assert_eq!(response.status, 200, "{}", response.body.escape_ascii());
    parse(response, "application/json")
}

/// The status of a problem answer (RFC 9457). Fails the test for any other answer.
#[track_caller]
pub fn problem(response: &Response) -> u16 {
    let problem = parse(response, "application/problem+json");
    assert_eq!(problem["status"], response.status, "{problem}");
    assert!(problem["detail"].as_str().is_some_and(|detail| !detail.is_empty()), "{problem}");
    response.status
}

/// The value of a header, by its name in lower case. Fails the test if it is repeated.
#[track_caller]
pub fn header<'a>(response: &'a Response, name: &str) -> Option<&'a str> {
    let mut values = response.headers.iter().filter(|(key, _)| key == name).map(|(_, value)| value.as_str());
    let value = values.next();
    assert_eq!(values.next(), None, "{name} comes twice");
    value
}

#[track_caller]
fn parse(response: &Response, content_type: &str) -> Value {
    assert_eq!(header(response, "content-type"), Some(content_type), "{}", response.body.escape_ascii());
    match serde_json::from_slice(&response.body) {
        Ok(value) => value,
        Err(error) => panic!("{} is not JSON: {error}", response.body.escape_ascii()),
    }
}
