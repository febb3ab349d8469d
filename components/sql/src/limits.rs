//! The limits of SQL. Those of statements are Cloudflare's for Durable Objects.

/// The bytes of a page. Stored databases have pages of this size, so it never changes.
pub const PAGE_BYTES: usize = 4096;

/// The pages that one turn may change: 15 MiB. The host takes 16 MiB of writes a turn, and a page costs 77 B more than
/// its content; 700 KiB are left for other keys.
pub const TURN_PAGES: usize = 3840;

/// The pages of a database: 10 GiB, as on Cloudflare.
pub const DATABASE_PAGES: u32 = 10 * 1024 * 1024 / 4;

/// The KiB of pages that an awake instance caches. Reading a page that is not there costs about a microsecond.
pub const CACHE_KIBIBYTES: u32 = 1024;

/// The bytes of a text, a blob or a row.
pub const VALUE_BYTES: i32 = 2 << 20;

/// The bytes of a text with statements.
pub const SQL_BYTES: i32 = 100_000;

/// The columns of a table, a result or an index.
pub const COLUMNS: i32 = 100;

/// The parameters of a statement.
pub const PARAMETERS: i32 = 100;

/// The arguments of a function.
pub const ARGUMENTS: i32 = 127;

/// The depth of an expression, which is parsed recursively.
pub const EXPRESSION_DEPTH: i32 = 100;

/// The terms of a compound `SELECT`.
pub const COMPOUND_TERMS: i32 = 5;

/// The bytes of a pattern of `LIKE` or `GLOB`.
pub const PATTERN_BYTES: i32 = 50;

/// The depth of triggers.
pub const TRIGGER_DEPTH: i32 = 10;

/// The instructions of a prepared statement.
pub const INSTRUCTIONS: i32 = 25_000;

/// The prepared statements that an instance keeps for the next use. Each takes some kilobytes.
pub const CACHED_STATEMENTS: usize = 40;

/// The longest statement that is kept prepared, in bytes: longer ones are mostly made once, with their values inside.
pub const CACHED_SQL_BYTES: usize = 4096;

/// The pages that [`delete_all`](crate::delete_all) removes at once. More are removed in later turns that write.
pub const DELETED_AT_ONCE: u32 = 100_000;

/// The pages of a deleted database that each later turn removes, if it writes.
pub const DELETED_LATER: u32 = 2_000;

/// The deleted databases whose pages are not yet removed.
pub const DELETED_DATABASES: usize = 16;

/// The keys that one call of the host removes.
pub const REMOVED_KEYS: u32 = 1000;

/// The transactions that may be open at once, one in the other.
pub const OPEN_TRANSACTIONS: usize = 64;
