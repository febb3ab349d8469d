//! An identity as limits count it.
//!
//! It knows no credential: `identity` names the subject of one, and `admission` counts it.

/// An identity as limits count it: a user and a service with the same id share none.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(in crate::edge) enum Subject {
    /// A user, by id.
    User(String),
    /// A service, by id.
    Service(String),
}

impl Subject {
    /// The id, as revocations name it.
    pub(in crate::edge) fn id(&self) -> &str {
        match self {
            Subject::User(id) | Subject::Service(id) => id,
        }
    }

    /// The service's id, for the log; absent for a user.
    pub(in crate::edge) fn service(&self) -> Option<&str> {
        match self {
            Subject::Service(id) => Some(id),
            Subject::User(_) => None,
        }
    }
}
