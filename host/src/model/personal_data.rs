//! A room's data about one user: the event that asks for a part of it, or erases one, and the answers.

use std::sync::Arc;

/// A user whose data a room exports or erases, and the part that is meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DataOf {
    /// The id of the user.
    pub user: Arc<str>,
    /// The `next` of the part before; absent for the first part.
    pub after: Option<String>,
}

/// A part of the data of a user.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ExportedData {
    /// JSON texts of one line each.
    pub items: Vec<String>,
    /// Where the next part begins; absent after the last one.
    pub next: Option<String>,
}

/// A part of the data of a user was erased.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ErasedData {
    /// So many items.
    pub items: u32,
    /// Where the next part begins; absent after the last one.
    pub next: Option<String>,
}
