//! The paths of the admin listener, and which function answers each.

use std::sync::Arc;

use hyper::header::{self, HeaderValue};
use hyper::{Method, Response, StatusCode};

use super::Admin;
use super::audit::audit_entries;
use super::elsewhere::Passed;
use super::request::AdminRequest;
use crate::edge::http::health;
use crate::edge::response::body::Body;
use crate::edge::response::problem::{problem, problem_with};
use crate::edge::response::refusals::Refusal;

/// Every path, with the methods that it has. A segment in braces is a parameter: any one segment matches it. HEAD is
/// answered as GET, without the body. A path whose GET begins work for its body has no HEAD.
const ROUTES: &[(&str, &str)] = &[
    ("/audit", "GET, HEAD"),
    ("/backup", "GET"),
    ("/deploys", "GET, HEAD"),
    ("/deploys/{target}", "POST"),
    ("/deploys/{target}/rollback", "POST"),
    ("/erasures", "GET, HEAD"),
    ("/erasures/{id}", "GET, HEAD, DELETE"),
    ("/healthz", "GET, HEAD"),
    ("/metrics", "GET, HEAD"),
    ("/nodes", "GET, HEAD"),
    ("/openapi.json", "GET, HEAD"),
    ("/overview", "GET, HEAD"),
    ("/readyz", "GET, HEAD"),
    ("/revocations", "GET, HEAD, POST, DELETE"),
    ("/rooms", "GET, HEAD"),
    ("/rooms/{namespace}/{name}", "GET, HEAD, DELETE"),
    ("/rooms/{namespace}/{name}/broadcast", "POST"),
    ("/rooms/{namespace}/{name}/close", "POST"),
    ("/rooms/{namespace}/{name}/export", "GET"),
    ("/rooms/{namespace}/{name}/import", "POST"),
    ("/rooms/{namespace}/{name}/sleep", "POST"),
    ("/rooms/{namespace}/{name}/storage", "GET, HEAD"),
    ("/session", "GET, HEAD, POST, DELETE"),
    ("/tail", "GET"),
    ("/users", "GET, HEAD"),
    ("/users/{user}", "GET, HEAD"),
    ("/users/{user}/disconnect", "POST"),
    ("/users/{user}/erase", "POST"),
    ("/users/{user}/export", "GET"),
    ("/usage", "GET, HEAD"),
];

/// The description of all routes, in OpenAPI 3.1.
const OPENAPI: &str = include_str!("openapi.json");

/// The segments that a pattern's parameters stand for, if it matches.
fn matched(pattern: &str, segments: &[String]) -> Option<Vec<String>> {
    let mut parameters = Vec::new();
    let mut rest = segments.iter();
    for expected in pattern.split('/').skip(1) {
        let segment = rest.next()?;
        if expected.starts_with('{') {
            parameters.push(segment.clone());
        } else if expected != segment {
            return None;
        }
    }
    rest.next().is_none().then_some(parameters)
}

/// The parameters of a path, by the names in its pattern. No URL can have the segments `.` and `..`, so that names like
/// these come as parameters of the query, and their segment is `-`.
fn named(pattern: &str, mut segments: Vec<String>, request: &mut AdminRequest) -> Result<Vec<String>, Refusal> {
    let names = pattern.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'));
    for (name, segment) in names.zip(&mut segments) {
        if segment == "-"
            && let Some(value) = request.parameter(name)?
        {
            *segment = value;
        }
    }
    Ok(segments)
}

fn text(body: impl Into<String>, kind: &'static str) -> Response<Body> {
    let mut response = Response::new(Body::whole(body.into()));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}

impl Admin {
    /// Answers a request whose sender showed the token.
    pub(super) async fn route(self: Arc<Self>, mut request: AdminRequest) -> Result<Response<Body>, Refusal> {
        let mut found =
            ROUTES.iter().filter_map(|(path, allow)| Some((*path, *allow, matched(path, &request.segments)?)));
        let (path, allow, parameters) = found.next().ok_or_else(|| problem(StatusCode::NOT_FOUND, "nothing here"))?;
        let parameters = named(path, parameters, &mut request)?;
        let method = match request.method.clone() {
            // hyper leaves the body out of the answer.
            Method::HEAD if allow.contains("HEAD") => Method::GET,
            method => method,
        };
        let method = method.as_str();
        let request = match self.pass_on(path, method, &parameters, request).await? {
            Passed::Answered(answer) => return Ok(answer),
            Passed::Here(request) => *request,
        };
        match (path, method, &parameters[..]) {
            ("/audit", "GET", []) => audit_entries(&self.audit, request).await,
            ("/backup", "GET", []) => self.backup(request).await,
            ("/deploys", "GET", []) => self.deploy_status(&request).await,
            ("/deploys/{target}", "POST", [target]) => self.deploy(target, request).await,
            ("/deploys/{target}/rollback", "POST", [target]) => self.roll_back(target, request).await,
            ("/erasures", "GET", []) => self.list_erasures(request),
            ("/erasures/{id}", "GET", [id]) => self.show_erasure(id, request),
            ("/erasures/{id}", "DELETE", [id]) => self.cancel_erasure(id, request).await,
            ("/healthz", "GET", []) => Ok(health::health(&self.edge)),
            ("/metrics", "GET", []) => {
                Ok(text((self.metrics)(), "application/openmetrics-text; version=1.0.0; charset=utf-8"))
            }
            ("/nodes", "GET", []) => self.nodes(request).await,
            ("/openapi.json", "GET", []) => Ok(text(OPENAPI, "application/json")),
            ("/overview", "GET", []) => self.overview(request).await,
            ("/readyz", "GET", []) => Ok(health::readiness(&self.edge)),
            ("/revocations", "GET", []) => self.revocations(request),
            ("/revocations", "POST", []) => self.revoke(request).await,
            ("/revocations", "DELETE", []) => self.unrevoke(request).await,
            ("/rooms", "GET", []) => self.list_rooms(request).await,
            ("/rooms/{namespace}/{name}", "GET", [namespace, name]) => {
                self.show_room(&self.room(namespace, name)?, request).await
            }
            ("/rooms/{namespace}/{name}", "DELETE", [namespace, name]) => {
                self.delete_room(&self.room(namespace, name)?, request).await
            }
            ("/rooms/{namespace}/{name}/broadcast", "POST", [namespace, name]) => {
                self.broadcast(&self.room(namespace, name)?, request).await
            }
            ("/rooms/{namespace}/{name}/close", "POST", [namespace, name]) => {
                self.close_room(&self.room(namespace, name)?, request).await
            }
            ("/rooms/{namespace}/{name}/export", "GET", [namespace, name]) => {
                let room = self.stored_room(namespace, name)?;
                self.export_room(request, room).await
            }
            ("/rooms/{namespace}/{name}/import", "POST", [namespace, name]) => {
                let room = self.room(namespace, name)?;
                self.import_room(request, &room).await
            }
            ("/rooms/{namespace}/{name}/sleep", "POST", [namespace, name]) => {
                self.sleep_room(&self.room(namespace, name)?, request).await
            }
            ("/rooms/{namespace}/{name}/storage", "GET", [namespace, name]) => {
                self.show_storage(&self.room(namespace, name)?, request).await
            }
            ("/tail", "GET", []) => self.tail(request),
            ("/users", "GET", []) => self.list_users(request).await,
            ("/users/{user}", "GET", [user]) => self.show_user(user, request).await,
            ("/users/{user}/disconnect", "POST", [user]) => self.disconnect_user(user, request).await,
            ("/users/{user}/erase", "POST", [user]) => self.erase_user(user, request).await,
            ("/users/{user}/export", "GET", [user]) => self.export_user(user, request).await,
            ("/usage", "GET", []) => self.usage(request).await,
            _ => {
                let detail = format!("only {} here", allow.replace(", HEAD", ""));
                Err(problem_with(StatusCode::METHOD_NOT_ALLOWED, &detail, header::ALLOW, allow).into())
            }
        }
    }

    /// The answer of a path for load balancers, which need no token; absent for other paths. The edge shows the same to
    /// everyone.
    pub(super) fn health(&self, path: &str, method: &Method) -> Option<Response<Body>> {
        let answer = match path {
            "/healthz" => health::health,
            "/readyz" => health::readiness,
            _ => return None,
        };
        Some(match *method {
            Method::GET | Method::HEAD => answer(&self.edge),
            _ => problem_with(StatusCode::METHOD_NOT_ALLOWED, "only GET here", header::ALLOW, "GET, HEAD"),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn openapi_describes_each_route() {
        let described: serde_json::Value = serde_json::from_str(OPENAPI).unwrap();
        let described = described["paths"].as_object().unwrap().iter();
        let described = described.flat_map(|(path, methods)| {
            let methods = methods.as_object().unwrap().keys().filter(|key| *key != "parameters");
            methods.map(move |method| format!("{} {path}", method.to_uppercase()))
        });
        let routed = ROUTES.iter().flat_map(|(path, methods)| {
            methods.split(", ").filter(|method| *method != "HEAD").map(move |method| format!("{method} {path}"))
        });
        assert_eq!(described.collect::<BTreeSet<_>>(), routed.collect::<BTreeSet<_>>());
    }

    #[test]
    fn a_head_begins_no_work() {
        let without_head = ROUTES.iter().filter(|(_, methods)| *methods == "GET").map(|(path, _)| *path);
        let expected = ["/backup", "/rooms/{namespace}/{name}/export", "/tail", "/users/{user}/export"];
        assert_eq!(without_head.collect::<Vec<_>>(), expected);
    }

    #[test]
    fn a_parameter_of_a_path_is_one_segment() {
        let segments = |path: &str| path.split('/').map(String::from).collect::<Vec<_>>();
        assert_eq!(matched("/a/{b}", &segments("a/x")), Some(vec!["x".into()]));
        assert_eq!(matched("/a/{b}/c", &segments("a/x/c")), Some(vec!["x".into()]));
        for other in ["a", "a/x/y", "b/x", "a/x/y/z"] {
            assert_eq!(matched("/a/{b}", &segments(other)), None, "{other}");
        }
    }
}
