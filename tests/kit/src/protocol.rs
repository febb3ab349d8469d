//! Conversions between the data of tests and the lines of the test driver protocol: docs/test-driver.md.

use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Map, Value, json};

use crate::types::{
    Address, CallError, Close, Decision, Destination, FailureKind, FetchError, Message, Request, Response, Timer,
    TurnFailure, User,
};

/// The result of reading a line; the error describes a violation of the protocol.
pub(crate) type Read<T> = Result<T, String>;

pub(crate) fn bytes(bytes: &[u8]) -> Value {
    // JSON needs six bytes for a control character, so base64 is shorter for data with many of them.
    let controls = bytes.iter().filter(|byte| byte.is_ascii_control()).count();
    match std::str::from_utf8(bytes) {
        Ok(text) if controls <= bytes.len() / 16 => text.into(),
        _ => json!({ "base64": BASE64_STANDARD.encode(bytes) }),
    }
}

pub(crate) fn message(message: &Message) -> Value {
    match message {
        Message::Text(text) => json!({ "text": text }),
        Message::Binary(binary) => json!({ "binary": bytes(binary) }),
    }
}

pub(crate) fn user(user: &User) -> Value {
    json!({ "id": user.id, "name": user.name })
}

pub(crate) fn close(close: &Close) -> Value {
    json!({ "code": close.code, "reason": close.reason, "clean": close.clean })
}

pub(crate) fn timer(timer: &Timer) -> Value {
    json!({ "name": timer.name, "at": timer.at, "payload": bytes(&timer.payload), "attempt": timer.attempt })
}

pub(crate) fn request(request: &Request) -> Value {
    json!({
        "method": request.method,
        "path": request.path,
        "query": request.query,
        "headers": request.headers,
        "body": bytes(&request.body),
        "user": request.user.as_ref().map(user),
    })
}

/// The answer of another room.
pub(crate) fn room_answer(answer: Result<Response, CallError>) -> Value {
    match answer {
        Ok(answer) => json!({ "response": response(&answer) }),
        Err(error) => json!({ "error": match error {
            CallError::Denied => "denied",
            CallError::NoSuchRoom => "no_such_room",
            CallError::Deadlock => "deadlock",
            CallError::TooLarge => "too_large",
            CallError::TooMany => "too_many",
            CallError::Failed => "failed",
            CallError::Overloaded => "overloaded",
            CallError::Timeout => "timeout",
        }}),
    }
}

/// The answer of a server.
pub(crate) fn server_answer(answer: Result<Response, FetchError>) -> Value {
    let (error, detail) = match answer {
        Ok(answer) => return json!({ "response": response(&answer) }),
        Err(FetchError::Denied(detail)) => ("denied", Some(detail)),
        Err(FetchError::Private(detail)) => ("private", Some(detail)),
        Err(FetchError::Bad(detail)) => ("bad", Some(detail)),
        Err(FetchError::Unknown(detail)) => ("unknown", Some(detail)),
        Err(FetchError::Unreachable(detail)) => ("unreachable", Some(detail)),
        Err(FetchError::Tls(detail)) => ("tls", Some(detail)),
        Err(FetchError::Body(detail)) => ("body", Some(detail)),
        Err(FetchError::TooLarge) => ("too_large", None),
        Err(FetchError::Timeout) => ("timeout", None),
    };
    json!({ "error": error, "detail": detail })
}

fn response(response: &Response) -> Value {
    json!({ "status": response.status, "headers": response.headers, "body": bytes(&response.body) })
}

/// The fields of an object from the driver.
pub(crate) struct Fields(Map<String, Value>);

impl Fields {
    pub(crate) fn of(value: Value) -> Read<Self> {
        match value {
            Value::Object(fields) => Ok(Fields(fields)),
            other => Err(format!("{other:.100} is not an object")),
        }
    }

    pub(crate) fn take(&mut self, name: &str) -> Option<Value> {
        self.0.remove(name).filter(|value| !value.is_null())
    }

    fn value(&mut self, name: &str) -> Read<Value> {
        self.take(name).ok_or_else(|| format!("{name} is missing"))
    }

    pub(crate) fn fields(&mut self, name: &str) -> Read<Fields> {
        Fields::of(self.value(name)?)
    }

    pub(crate) fn text(&mut self, name: &str) -> Read<String> {
        match self.value(name)? {
            Value::String(text) => Ok(text),
            other => Err(format!("{name} is {other:.100}, not a string")),
        }
    }

    pub(crate) fn number<T: TryFrom<u64>>(&mut self, name: &str) -> Read<T> {
        let number = self.value(name)?.as_u64().and_then(|number| T::try_from(number).ok());
        number.ok_or_else(|| format!("{name} is not a number in its range"))
    }

    /// A field that serde can read.
    pub(crate) fn read<T: serde::de::DeserializeOwned>(&mut self, name: &str) -> Read<T> {
        serde_json::from_value(self.value(name)?).map_err(|error| format!("{name}: {error}"))
    }

    pub(crate) fn bytes(&mut self, name: &str) -> Read<Vec<u8>> {
        match self.value(name)? {
            Value::String(text) => Ok(text.into_bytes()),
            encoded => {
                let encoded = Fields::of(encoded)?.text("base64")?;
                BASE64_STANDARD.decode(encoded).map_err(|error| format!("{name}: {error}"))
            }
        }
    }

    pub(crate) fn message(&mut self) -> Read<Message> {
        let mut message = self.fields("message")?;
        match message.0.contains_key("text") {
            true => message.text("text").map(Message::Text),
            false => message.bytes("binary").map(Message::Binary),
        }
    }

    pub(crate) fn user(&mut self) -> Read<User> {
        let mut user = self.fields("user")?;
        Ok(User { id: user.text("id")?, name: user.text("name")? })
    }

    pub(crate) fn timer(mut self) -> Read<Timer> {
        Ok(Timer {
            name: self.text("name")?,
            at: self.number("at")?,
            payload: self.bytes("payload")?.into(),
            attempt: self.number("attempt")?,
        })
    }

    pub(crate) fn request(&mut self) -> Read<Request> {
        let mut request = self.fields("request")?;
        Ok(Request {
            method: request.text("method")?,
            path: request.text("path")?,
            query: request.take("query").map(|query| query.as_str().unwrap_or_default().to_owned()),
            headers: request.read("headers")?,
            body: request.bytes("body")?,
            user: if request.0.get("user").is_some_and(Value::is_object) { Some(request.user()?) } else { None },
        })
    }

    pub(crate) fn response(&mut self, name: &str) -> Read<Response> {
        let mut response = self.fields(name)?;
        Ok(Response {
            status: response.number("status")?,
            headers: response.read("headers")?,
            body: response.bytes("body")?,
        })
    }

    pub(crate) fn destination(&mut self) -> Read<Destination> {
        let mut to = self.fields("to")?;
        if to.0.contains_key("server") {
            return to.text("server").map(Destination::Origin);
        }
        let mut room = to.fields("room")?;
        let address = Address::new(&room.text("namespace")?, &room.text("name")?);
        address.map(Destination::Room).map_err(|error| error.to_string())
    }

    pub(crate) fn decision(mut self) -> Read<Decision> {
        if self.0.contains_key("respond") {
            return self.response("respond").map(Decision::Respond);
        }
        let connect = self.0.contains_key("connect");
        let mut to = self.fields(if connect { "connect" } else { "request" })?;
        let (namespace, name, request) = (to.text("namespace")?, to.text("name")?, to.request()?);
        Ok(match connect {
            true => Decision::Connect { namespace, name, request },
            false => Decision::Request { namespace, name, request },
        })
    }

    pub(crate) fn failure(mut self) -> Read<TurnFailure> {
        let kind = match self.text("kind")?.as_str() {
            "guest" => FailureKind::Guest,
            "cpu" => FailureKind::Cpu,
            "memory" => FailureKind::Memory,
            "tables" => FailureKind::Tables,
            "instantiate" => FailureKind::Instantiate,
            _ => FailureKind::Trap,
        };
        let cpu = Duration::from_micros(self.number("cpu_us")?);
        let message = self.text("message")?;
        Ok(match self.take("timer") {
            Some(timer) => {
                let timer = timer.as_str().unwrap_or_default();
                TurnFailure { kind, message: format!("the timer {timer}: {message}"), cpu }
            }
            None => TurnFailure { kind, message, cpu },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_bytes_survive_a_round_trip() {
        for original in [&b""[..], b"text", "caf\u{e9} \u{1f42d}".as_bytes(), b"\xff\x00", &[7; 99], b"a\nb"] {
            let mut fields = Fields::of(json!({ "body": bytes(original) })).unwrap();
            assert_eq!(fields.bytes("body").unwrap(), original);
        }
    }

    #[test]
    fn a_request_survives_a_round_trip() {
        let plain = Request::get("/list?limit=5");
        let posted = Request::post_json("/", &json!(1)).by(User::new("1", "ana"));
        for original in [plain, posted, Request::default()] {
            let mut fields = Fields::of(json!({ "request": request(&original) })).unwrap();
            assert_eq!(fields.request().unwrap(), original);
        }
    }
}
