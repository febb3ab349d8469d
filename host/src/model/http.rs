//! HTTP as a component sees it: whole, and without credentials.

/// Who somebody is, as the host verified it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// Stable and unique.
    pub id: String,
    /// For people to read.
    pub name: String,
}

/// One request, whole.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Request {
    /// Upper case.
    pub method: String,
    /// Starts with `/`.
    pub path: String,
    /// What follows `?`.
    pub query: Option<String>,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
    /// Who asks, where the host could verify it.
    pub user: Option<User>,
}

impl User {
    /// Somebody, by a stable id and a name for people to read.
    pub fn new(id: impl Into<String>, name: impl Into<String>) -> Self {
        User { id: id.into(), name: name.into() }
    }
}

impl Request {
    /// `GET` of a path, such as `/messages?limit=5`.
    pub fn get(path: &str) -> Self {
        let (path, query) = path.split_once('?').map_or((path, None), |(path, query)| (path, Some(query.to_owned())));
        Request { method: "GET".into(), path: path.into(), query, ..Request::default() }
    }

    /// `POST` of a JSON value to a path.
    pub fn post_json(path: &str, value: &serde_json::Value) -> Self {
        let headers = vec![("content-type".into(), "application/json".into())];
        Request { method: "POST".into(), headers, body: value.to_string().into_bytes(), ..Request::get(path) }
    }

    /// The same, asked by somebody.
    pub fn by(mut self, user: User) -> Self {
        self.user = Some(user);
        self
    }
}

/// One response, whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    /// 200 to 599.
    pub status: u16,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
}

impl Response {
    /// The body, from JSON.
    pub fn json<T: serde::de::DeserializeOwned>(&self) -> Result<T, serde_json::Error> {
        serde_json::from_slice(&self.body)
    }
}
