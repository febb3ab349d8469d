//! The texts of the statements. Two of them write the same content of rooms, one of them with a fence: that part is in
//! one file. `lane` prepares them, and tests look at their plans.

/// Adds the rows of rooms that are not there.
pub const INSERT: &str = include_str!("sql/insert.sql");
/// Makes a node the owner of rooms.
pub const CLAIM: &str = include_str!("sql/claim.sql");
/// Reads rooms.
pub const READ: &str = include_str!("sql/read.sql");
/// Commits that change entries only, and proofs.
pub const ROUND_ENTRIES: &str = include_str!("sql/round_entries.sql");
/// Fences rooms in doubt, and says what is stored of them.
pub const RESOLVE: &str = include_str!("sql/resolve.sql");
/// Gives rooms away.
pub const LET_GO: &str = include_str!("sql/let_go.sql");

/// Commits that change anything, and proofs.
pub fn round_all() -> String {
    // `IS TRUE` for the same reason as in `round_entries.sql`.
    with_content(include_str!("sql/round_all.sql"), "(i.room IN (SELECT id FROM ok)) IS TRUE")
}

/// Records that belong to no owned room.
pub fn write() -> String {
    with_content(include_str!("sql/write.sql"), "true")
}

/// Puts the part for the content into a statement, for the rooms that this condition names.
fn with_content(statement: &str, condition: &str) -> String {
    statement.replace("{content}\n", &include_str!("sql/content.sql").replace("{condition}", condition))
}
