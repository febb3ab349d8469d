//! `/session`: an operator signs in to the dashboard with the token, and out. It makes the cookie.

use hyper::body::Incoming;
use hyper::header::{self, HeaderMap, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use serde::Deserialize;
use serde_json::json;

use super::Admin;
use super::outcome::Outcome;
use super::permits::AdminPermit;
use super::request::AdminRequest;
use super::secret::SecretHash;
use super::sessions::{SESSION, SignedIn};
use super::source::Source;
use crate::edge::headers::cookies;
use crate::edge::response::body::Body;
use crate::edge::response::json::json_response;
use crate::edge::response::problem::{problem, problem_with};
use crate::edge::response::refusals::{Refusal, too_many, unauthorized};
use crate::limits::ADMIN_SESSION_TIME;

/// The longest name of an operator, in characters: as in the header `dormouse-operator`.
const OPERATOR_CHARS: usize = 128;

/// The names that the cookie may have. Cookies are shared by all ports of a host, so the port is in the name: two
/// servers that are reached under one host name do not end each other's sessions. With the prefix a browser takes it
/// over TLS only.
fn cookie_names(headers: &HeaderMap) -> [String; 2] {
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    let port = host.rsplit_once(':').map(|(_, port)| port);
    let port = port.filter(|port| !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit()));
    let name = port.map_or_else(|| "dormouse-session".to_owned(), |port| format!("dormouse-session-{port}"));
    [format!("__Host-{name}"), name]
}

fn set_cookie(response: &mut Response<Body>, name: &str, id: &str, seconds: u64) {
    let secure = if name.starts_with("__Host-") { "; Secure" } else { "" };
    let cookie = format!("{name}={id}; Path=/; HttpOnly; SameSite=Strict; Max-Age={seconds}{secure}");
    let cookie = HeaderValue::try_from(cookie).expect("names and digits are a header's text");
    response.headers_mut().append(header::SET_COOKIE, cookie);
}

impl Admin {
    /// The operator whose session a request belongs to. `token` is the one that is required now.
    pub(super) fn signed_in(&self, headers: &HeaderMap, token: Option<&SecretHash>) -> Option<SignedIn> {
        let value = headers.get(SESSION)?.as_bytes();
        let names = cookie_names(headers);
        let ids = names.iter().flat_map(|name| cookies(headers, name));
        self.sessions.find(ids, value, token)
    }

    /// Answers `/session`, with or without one.
    pub(super) async fn session(
        &self,
        request: Request<Incoming>,
        source: Source,
        signed_in: Option<SignedIn>,
        permit: &AdminPermit,
    ) -> Result<Response<Body>, Refusal> {
        let method = request.method().clone();
        match (method, signed_in) {
            (Method::GET | Method::HEAD, signed_in) => {
                let mut state = json!({ "signedIn": signed_in.is_some(), "token": self.present_token().is_some() });
                if let Some(SignedIn { operator, since, .. }) = signed_in {
                    state["operator"] = operator.into();
                    state["since"] = since.into();
                    state["version"] = env!("CARGO_PKG_VERSION").into();
                }
                Ok(json_response(&state))
            }
            (Method::POST, _) if source != Source::OwnPage => {
                Err(problem(StatusCode::FORBIDDEN, "only the dashboard signs in; a program shows the token").into())
            }
            (Method::POST, _) => {
                let request = AdminRequest::new(request, permit.address, self.edge.limits.body_timeout)?;
                self.sign_in(request).await
            }
            (Method::DELETE, Some(_)) => Ok(self.sign_out(request.headers())),
            (Method::DELETE, None) => Err(unauthorized("there is no session to end").into()),
            _ => {
                let detail = "only GET, POST, DELETE here";
                let allow = "GET, HEAD, POST, DELETE";
                Err(problem_with(StatusCode::METHOD_NOT_ALLOWED, detail, header::ALLOW, allow).into())
            }
        }
    }

    async fn sign_in(&self, mut request: AdminRequest) -> Result<Response<Body>, Refusal> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct SignIn {
            #[serde(default)]
            token: String,
            #[serde(default)]
            operator: String,
        }
        request.no_more_parameters()?;
        // A form of another origin cannot have this type.
        if request.headers.get(header::CONTENT_TYPE).is_none_or(|kind| kind != "application/json") {
            return Err(problem(StatusCode::UNSUPPORTED_MEDIA_TYPE, "the body is `application/json`").into());
        }
        let SignIn { token, operator } = request.json(r#"{"token":"TOKEN","operator":"NAME"}"#).await?;
        let required = self.present_token();
        if required.as_ref().is_some_and(|required| !required.is(&SecretHash::of(token.as_bytes()))) {
            // The right token is not limited: others at the same address, such as a proxy, must not keep the operator out.
            if !self.connections.spend_refusal(request.from) {
                return Err(too_many("too many requests without the token from this address").into());
            }
            return Err(unauthorized("this is not the token of the file `admin.token_file`").into());
        }
        let operator = operator.chars().filter(|char| !char.is_control()).take(OPERATOR_CHARS).collect::<String>();
        let operator = Some(operator.trim().to_owned()).filter(|name| !name.is_empty());
        let signed_in = SignedIn::new(operator);
        request.signed_in = Some(signed_in.clone());
        self.audit.record(&request, "sign in", "dashboard", None).await?;
        let new = self.sessions.begin(signed_in, required);
        self.audit.finish(&request.recorded, Outcome::Done).await;
        let mut response = json_response(&json!({ "value": new.value }));
        let [over_tls, plain] = cookie_names(&request.headers);
        // The listener itself has no TLS. The browser tells whether a proxy before it has.
        let origin = request.headers.get(header::ORIGIN);
        let is_tls = origin.is_some_and(|origin| origin.as_bytes().starts_with(b"https://"));
        let name = if is_tls { over_tls } else { plain };
        set_cookie(&mut response, &name, &new.id, ADMIN_SESSION_TIME.as_secs());
        Ok(response)
    }

    fn sign_out(&self, headers: &HeaderMap) -> Response<Body> {
        let names = cookie_names(headers);
        let ids = names.iter().flat_map(|name| cookies(headers, name));
        let value = headers.get(SESSION).map_or(&b""[..], HeaderValue::as_bytes);
        self.sessions.end(ids, value);
        self.credentials_changed.send_replace(());
        let mut response = json_response(&json!({ "signedIn": false }));
        for name in names.iter().filter(|name| cookies(headers, name).next().is_some()) {
            set_cookie(&mut response, name, "", 0);
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cookie_has_the_port_in_its_name() {
        let names = |host: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::HOST, HeaderValue::from_static(host));
            cookie_names(&headers)
        };
        assert_eq!(names("127.0.0.1:8788")[1], "dormouse-session-8788");
        assert_eq!(names("[::1]:80")[0], "__Host-dormouse-session-80");
        for without in ["admin.example", "[::1]", "admin.example:", "admin.example:; Domain=x"] {
            assert_eq!(names(without)[1], "dormouse-session", "{without}");
        }
    }
}
