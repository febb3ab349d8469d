//! The calls of SQLite: a connection, its statements, and the errors as texts.

#![expect(unsafe_code, reason = "SQLite is C")]

use std::cell::{Cell, RefCell};
use std::collections::HashSet;
use std::ffi::{CStr, c_char, c_int, c_void};
use std::ptr::{self, NonNull};
use std::slice;

use libsqlite3_sys as sys;

use crate::limits;
use crate::pages::Pages;
use crate::rules;
use crate::value::{Error, ValueRef};
use crate::vfs;

thread_local! {
    /// Raised when all statements are finalized at once, so that their owners leave them alone.
    static GENERATION: Cell<u64> = const { Cell::new(0) };
    /// The statements that are not finalized. SQLite's own list has those of its extensions, too.
    static STATEMENTS: RefCell<HashSet<NonNull<sys::sqlite3_stmt>>> = RefCell::default();
    /// Whether this crate itself runs a statement, to which no rule applies.
    static IS_OURS: Cell<bool> = const { Cell::new(false) };
    /// Whether the statement that is being prepared alters a table.
    static ALTERS: Cell<bool> = const { Cell::new(false) };
    /// Why the last statement was refused, in better words than SQLite's.
    static REFUSAL: RefCell<Option<&'static str>> = const { RefCell::new(None) };
}

const NO_TRANSACTIONS: &str = "To execute a transaction, please use the state.storage.transaction() or state.storage.transactionSync() APIs: \
     SQL statements such as BEGIN TRANSACTION and SAVEPOINT are not allowed, because they would not be rolled back by an \
     exception.";

/// Prepares SQLite. It can be done while a component is built, so that no instance needs to.
pub(crate) fn initialize() {
    // SAFETY: no other call of SQLite runs.
    let result = unsafe { sys::sqlite3_initialize() };
    assert_eq!(result, sys::SQLITE_OK, "SQLite needs nothing for it but a few bytes of memory");
}

/// The connection to the one database.
pub(crate) struct Connection {
    /// Absent when it is closed.
    db: Cell<Option<NonNull<sys::sqlite3>>>,
}

impl Connection {
    /// Opens the database, whose pages `vfs.rs` has.
    pub(crate) fn open() -> Result<Connection, Error> {
        initialize();
        let mut db = ptr::null_mut();
        let flags = sys::SQLITE_OPEN_READWRITE | sys::SQLITE_OPEN_CREATE | sys::SQLITE_OPEN_EXRESCODE;
        // SAFETY: the name ends with a zero, and the result has a place.
        let code = unsafe { sys::sqlite3_open_v2(vfs::NAME.as_ptr(), &raw mut db, flags, vfs::NAME.as_ptr()) };
        let Some(db) = NonNull::new(db) else { return Err(Error::new("SQLite has no memory for a database")) };
        let connection = Connection { db: Cell::new(Some(db)) };
        if code != sys::SQLITE_OK {
            return Err(connection.error(code));
        }
        connection.set_limits();
        for pragma in [
            "PRAGMA journal_mode = MEMORY".to_owned(),
            format!("PRAGMA cache_size = -{}", limits::CACHE_KIBIBYTES),
            format!("PRAGMA max_page_count = {}", limits::DATABASE_PAGES),
        ] {
            connection.run_own(&pragma)?;
        }
        Ok(connection)
    }

    fn set_limits(&self) {
        let db = self.raw();
        for (limit, value) in [
            (sys::SQLITE_LIMIT_LENGTH, limits::VALUE_BYTES),
            (sys::SQLITE_LIMIT_SQL_LENGTH, limits::SQL_BYTES),
            (sys::SQLITE_LIMIT_COLUMN, limits::COLUMNS),
            (sys::SQLITE_LIMIT_EXPR_DEPTH, limits::EXPRESSION_DEPTH),
            (sys::SQLITE_LIMIT_COMPOUND_SELECT, limits::COMPOUND_TERMS),
            (sys::SQLITE_LIMIT_VDBE_OP, limits::INSTRUCTIONS),
            (sys::SQLITE_LIMIT_FUNCTION_ARG, limits::ARGUMENTS),
            (sys::SQLITE_LIMIT_ATTACHED, 0),
            (sys::SQLITE_LIMIT_LIKE_PATTERN_LENGTH, limits::PATTERN_BYTES),
            (sys::SQLITE_LIMIT_VARIABLE_NUMBER, limits::PARAMETERS),
            (sys::SQLITE_LIMIT_TRIGGER_DEPTH, limits::TRIGGER_DEPTH),
            (sys::SQLITE_LIMIT_WORKER_THREADS, 0),
        ] {
            // SAFETY: the connection is open.
            unsafe { sys::sqlite3_limit(db, limit, value) };
        }
        // SAFETY: as above; a null pointer is no place for the old value. The authorizer needs no data.
        unsafe {
            sys::sqlite3_db_config(db, sys::SQLITE_DBCONFIG_DEFENSIVE, 1 as c_int, ptr::null_mut::<c_int>());
            sys::sqlite3_set_authorizer(db, Some(authorize), ptr::null_mut());
        }
    }

    /// The connection as SQLite knows it.
    ///
    /// Panics: when it is closed. Its statements are dead then, and nothing else calls it.
    fn raw(&self) -> *mut sys::sqlite3 {
        self.db.get().expect("nobody uses a connection that is closed").as_ptr()
    }

    /// Lets this crate do what statements of a room may not.
    pub(crate) fn own<T>(&self, work: impl FnOnce() -> T) -> T {
        IS_OURS.set(true);
        let result = work();
        IS_OURS.set(false);
        result
    }

    /// Runs a statement of this crate.
    pub(crate) fn run_own(&self, sql: &str) -> Result<(), Error> {
        self.own(|| match self.prepare(sql)? {
            (Some(statement), _) => statement.step(self).map(|_| ()),
            (None, _) => Ok(()),
        })
    }

    /// Prepares the first statement of a text, and returns it with the bytes that it takes. There is none in a text of
    /// comments and blanks.
    pub(crate) fn prepare(&self, sql: &str) -> Result<(Option<Statement>, usize), Error> {
        let bytes = c_int::try_from(sql.len()).unwrap_or(c_int::MAX);
        let (mut raw, mut tail) = (ptr::null_mut(), ptr::null());
        REFUSAL.take();
        ALTERS.set(false);
        // SAFETY: the text has this length, and the results have places.
        let (code, used) = unsafe {
            let start = sql.as_ptr().cast::<c_char>();
            let code = sys::sqlite3_prepare_v3(self.raw(), start, bytes, 0, &raw mut raw, &raw mut tail);
            (code, if tail.is_null() { 0 } else { tail.offset_from(start) as usize })
        };
        if code != sys::SQLITE_OK {
            return Err(self.error(code));
        }
        let statement = NonNull::new(raw).map(|raw| {
            STATEMENTS.with_borrow_mut(|statements| statements.insert(raw));
            Statement { raw, generation: GENERATION.get() }
        });
        // SQLite does not say to which name a table is renamed.
        if ALTERS.get() && rules::has_reserved_name(&sql[..used]) {
            return Err(Error::new("not authorized: SQLITE_AUTH"));
        }
        Ok((statement, used))
    }

    /// Whether no transaction is open.
    pub(crate) fn is_autocommit(&self) -> bool {
        // SAFETY: the connection is open.
        unsafe { sys::sqlite3_get_autocommit(self.raw()) != 0 }
    }

    /// The rows that all statements have changed.
    pub(crate) fn total_changes(&self) -> u64 {
        // SAFETY: the connection is open.
        unsafe { sys::sqlite3_total_changes64(self.raw()) as u64 }
    }

    /// Lets the next random number come from the turn that runs then.
    pub(crate) fn forget_seed(&self) {
        // SAFETY: without a buffer, SQLite forgets its seed.
        unsafe { sys::sqlite3_randomness(0, ptr::null_mut()) };
    }

    /// Ends the connection and all its statements, whoever has them.
    pub(crate) fn close(&self) {
        let Some(db) = self.db.take().map(NonNull::as_ptr) else { return };
        GENERATION.set(GENERATION.get() + 1);
        for statement in STATEMENTS.take() {
            // SAFETY: no owner uses its statement after the generation has changed.
            unsafe { sys::sqlite3_finalize(statement.as_ptr()) };
        }
        // SAFETY: it has no statements of ours any more.
        unsafe { sys::sqlite3_close(db) };
    }

    /// The text of the error that the last call returned.
    fn error(&self, code: c_int) -> Error {
        let primary = code & 0xFF;
        if primary == sys::SQLITE_AUTH
            && let Some(refusal) = REFUSAL.take()
        {
            return Error::new(refusal);
        }
        // SAFETY: the connection is open; the text is copied before the next call.
        let (text, offset) = unsafe {
            let text = CStr::from_ptr(sys::sqlite3_errmsg(self.raw())).to_string_lossy().into_owned();
            (text, sys::sqlite3_error_offset(self.raw()))
        };
        let offset = if offset >= 0 { format!(" at offset {offset}") } else { String::new() };
        let extended = extended_name(code).map(|name| format!(" (extended: {name})")).unwrap_or_default();
        let advice = if primary == sys::SQLITE_FULL { full_advice() } else { "" };
        Error::new(format!("{text}{offset}: {}{extended}{advice}", primary_name(primary)))
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.close();
    }
}

/// A prepared statement.
pub(crate) struct Statement {
    raw: NonNull<sys::sqlite3_stmt>,
    generation: u64,
}

impl Statement {
    /// Whether its database is still there.
    pub(crate) fn is_alive(&self) -> bool {
        self.generation == GENERATION.get()
    }

    pub(crate) fn parameters(&self) -> usize {
        // SAFETY: the statement is alive, as in all methods below: `database.rs` asks before.
        unsafe { sys::sqlite3_bind_parameter_count(self.raw.as_ptr()) as usize }
    }

    /// Whether it changes nothing in the database.
    pub(crate) fn is_read_only(&self) -> bool {
        // SAFETY: see `parameters`.
        unsafe { sys::sqlite3_stmt_readonly(self.raw.as_ptr()) != 0 }
    }

    /// Binds a value to the parameter with this number, from 1 on. SQLite copies it.
    pub(crate) fn bind(&self, connection: &Connection, number: usize, value: ValueRef<'_>) -> Result<(), Error> {
        let (raw, number) = (self.raw.as_ptr(), number as c_int);
        // A null pointer would bind NULL.
        let start = |bytes: &[u8]| if bytes.is_empty() { c"".as_ptr().cast() } else { bytes.as_ptr() };
        let copy = sys::SQLITE_TRANSIENT();
        // SAFETY: the bytes have this length, and are copied at once.
        let code = unsafe {
            match value {
                ValueRef::Null => sys::sqlite3_bind_null(raw, number),
                ValueRef::Integer(value) => sys::sqlite3_bind_int64(raw, number, value),
                ValueRef::Real(value) => sys::sqlite3_bind_double(raw, number, value),
                ValueRef::Text(text) => {
                    let (start, bytes) = (start(text).cast(), text.len() as u64);
                    sys::sqlite3_bind_text64(raw, number, start, bytes, copy, sys::SQLITE_UTF8 as u8)
                }
                ValueRef::Blob(blob) => {
                    sys::sqlite3_bind_blob64(raw, number, start(blob).cast::<c_void>(), blob.len() as u64, copy)
                }
            }
        };
        if code == sys::SQLITE_OK { Ok(()) } else { Err(connection.error(code)) }
    }

    /// Runs to the next row. Returns whether there is one.
    pub(crate) fn step(&self, connection: &Connection) -> Result<bool, Error> {
        REFUSAL.take();
        // SAFETY: see `parameters`.
        match unsafe { sys::sqlite3_step(self.raw.as_ptr()) } {
            sys::SQLITE_ROW => Ok(true),
            sys::SQLITE_DONE => Ok(false),
            code => Err(connection.error(code)),
        }
    }

    pub(crate) fn columns(&self) -> Vec<String> {
        // SAFETY: see `parameters`; a name is copied at once.
        unsafe {
            let count = sys::sqlite3_column_count(self.raw.as_ptr());
            let name = |column| sys::sqlite3_column_name(self.raw.as_ptr(), column);
            let text = |name: *const c_char| CStr::from_ptr(name).to_string_lossy().into_owned();
            (0..count).map(|column| if name(column).is_null() { String::new() } else { text(name(column)) }).collect()
        }
    }

    /// The value of a column of the present row.
    pub(crate) fn value(&self, column: usize) -> ValueRef<'_> {
        let (raw, column) = (self.raw.as_ptr(), column as c_int);
        // SAFETY: see `parameters`; the bytes are valid until the statement runs on, which needs no borrow. `Cursor`
        // lends rows only until then.
        unsafe {
            let bytes = |start: *const u8| match start.is_null() {
                true => &[][..],
                false => slice::from_raw_parts(start, sys::sqlite3_column_bytes(raw, column) as usize),
            };
            match sys::sqlite3_column_type(raw, column) {
                sys::SQLITE_INTEGER => ValueRef::Integer(sys::sqlite3_column_int64(raw, column)),
                sys::SQLITE_FLOAT => ValueRef::Real(sys::sqlite3_column_double(raw, column)),
                sys::SQLITE_TEXT => ValueRef::Text(bytes(sys::sqlite3_column_text(raw, column))),
                sys::SQLITE_BLOB => ValueRef::Blob(bytes(sys::sqlite3_column_blob(raw, column).cast())),
                _ => ValueRef::Null,
            }
        }
    }

    /// The rows that it has visited since it was reset.
    pub(crate) fn rows_read(&self) -> u64 {
        let mut total = 0;
        for scan in 0.. {
            let mut visited = 0_i64;
            // SAFETY: see `parameters`; the result has a place of this type.
            let code = unsafe {
                sys::sqlite3_stmt_scanstatus_v2(
                    self.raw.as_ptr(),
                    scan,
                    sys::SQLITE_SCANSTAT_NVISIT,
                    0,
                    (&raw mut visited).cast(),
                )
            };
            if code != sys::SQLITE_OK {
                break;
            }
            total += visited.max(0) as u64;
        }
        total
    }

    /// Prepares it for the next use.
    pub(crate) fn reset(&self) {
        // SAFETY: see `parameters`. The result repeats the error of the last step.
        unsafe {
            sys::sqlite3_reset(self.raw.as_ptr());
            sys::sqlite3_clear_bindings(self.raw.as_ptr());
            sys::sqlite3_stmt_scanstatus_reset(self.raw.as_ptr());
        }
    }
}

impl Drop for Statement {
    fn drop(&mut self) {
        if self.is_alive() {
            STATEMENTS.with_borrow_mut(|statements| statements.remove(&self.raw));
            // SAFETY: it is alive, and this is its only owner.
            unsafe { sys::sqlite3_finalize(self.raw.as_ptr()) };
        }
    }
}

/// Decides whether a statement may do something. SQLite asks while it prepares the statement.
unsafe extern "C" fn authorize(
    _: *mut c_void,
    action: c_int,
    first: *const c_char,
    second: *const c_char,
    database: *const c_char,
    _: *const c_char,
) -> c_int {
    // SAFETY: each text ends with a zero, or is absent. A name that is not UTF-8 is refused, as a reserved one is.
    let text =
        |text: *const c_char| (!text.is_null()).then(|| unsafe { CStr::from_ptr(text) }.to_str().unwrap_or("_cf_"));
    if IS_OURS.get() || is_allowed(action, text(first), text(second), text(database)) {
        sys::SQLITE_OK
    } else {
        sys::SQLITE_DENY
    }
}

fn is_allowed(action: c_int, first: Option<&str>, second: Option<&str>, database: Option<&str>) -> bool {
    let is_name = |name: Option<&str>| name.is_none_or(rules::is_name);
    // For these the names come in another order.
    let (first, second, database) = match action {
        sys::SQLITE_ALTER_TABLE | sys::SQLITE_DETACH => (second, database, first),
        _ => (first, second, database),
    };
    match database {
        None | Some("main") => {}
        Some("temp") => return matches!(action, sys::SQLITE_READ | sys::SQLITE_UPDATE) && is_name(first),
        Some(_) => return false,
    }
    match action {
        sys::SQLITE_SELECT | sys::SQLITE_RECURSIVE | sys::SQLITE_ANALYZE => true,
        sys::SQLITE_READ
        | sys::SQLITE_INSERT
        | sys::SQLITE_UPDATE
        | sys::SQLITE_DELETE
        | sys::SQLITE_CREATE_TABLE
        | sys::SQLITE_DROP_TABLE
        | sys::SQLITE_CREATE_VIEW
        | sys::SQLITE_DROP_VIEW
        | sys::SQLITE_REINDEX => is_name(first),
        sys::SQLITE_ALTER_TABLE => {
            ALTERS.set(true);
            is_name(first)
        }
        sys::SQLITE_CREATE_INDEX | sys::SQLITE_DROP_INDEX | sys::SQLITE_CREATE_TRIGGER | sys::SQLITE_DROP_TRIGGER => {
            is_name(first) && is_name(second)
        }
        sys::SQLITE_CREATE_VTABLE | sys::SQLITE_DROP_VTABLE => is_name(first) && second.is_some_and(rules::is_module),
        sys::SQLITE_FUNCTION => second.is_some_and(rules::is_function),
        sys::SQLITE_PRAGMA => first.is_some_and(|pragma| rules::is_pragma(pragma, second)),
        sys::SQLITE_TRANSACTION | sys::SQLITE_SAVEPOINT => {
            REFUSAL.set(Some(NO_TRANSACTIONS));
            false
        }
        // Attached databases, temporary tables, and whatever comes with later versions.
        _ => false,
    }
}

/// Advice for the author about a full database.
fn full_advice() -> &'static str {
    if vfs::with_pages(Pages::take_was_full) {
        "; one event changes at most 15 MiB of SQL data: spread it over several events, with an alarm"
    } else {
        ""
    }
}

fn primary_name(code: c_int) -> &'static str {
    match code {
        sys::SQLITE_ERROR => "SQLITE_ERROR",
        sys::SQLITE_INTERNAL => "SQLITE_INTERNAL",
        sys::SQLITE_PERM => "SQLITE_PERM",
        sys::SQLITE_ABORT => "SQLITE_ABORT",
        sys::SQLITE_BUSY => "SQLITE_BUSY",
        sys::SQLITE_LOCKED => "SQLITE_LOCKED",
        sys::SQLITE_NOMEM => "SQLITE_NOMEM",
        sys::SQLITE_READONLY => "SQLITE_READONLY",
        sys::SQLITE_INTERRUPT => "SQLITE_INTERRUPT",
        sys::SQLITE_IOERR => "SQLITE_IOERR",
        sys::SQLITE_CORRUPT => "SQLITE_CORRUPT",
        sys::SQLITE_NOTFOUND => "SQLITE_NOTFOUND",
        sys::SQLITE_FULL => "SQLITE_FULL",
        sys::SQLITE_CANTOPEN => "SQLITE_CANTOPEN",
        sys::SQLITE_PROTOCOL => "SQLITE_PROTOCOL",
        sys::SQLITE_SCHEMA => "SQLITE_SCHEMA",
        sys::SQLITE_TOOBIG => "SQLITE_TOOBIG",
        sys::SQLITE_CONSTRAINT => "SQLITE_CONSTRAINT",
        sys::SQLITE_MISMATCH => "SQLITE_MISMATCH",
        sys::SQLITE_MISUSE => "SQLITE_MISUSE",
        sys::SQLITE_AUTH => "SQLITE_AUTH",
        sys::SQLITE_RANGE => "SQLITE_RANGE",
        sys::SQLITE_NOTADB => "SQLITE_NOTADB",
        _ => "SQLITE_UNKNOWN_ERROR_CODE",
    }
}

fn extended_name(code: c_int) -> Option<&'static str> {
    Some(match code {
        sys::SQLITE_ABORT_ROLLBACK => "SQLITE_ABORT_ROLLBACK",
        sys::SQLITE_CONSTRAINT_CHECK => "SQLITE_CONSTRAINT_CHECK",
        sys::SQLITE_CONSTRAINT_DATATYPE => "SQLITE_CONSTRAINT_DATATYPE",
        sys::SQLITE_CONSTRAINT_FOREIGNKEY => "SQLITE_CONSTRAINT_FOREIGNKEY",
        sys::SQLITE_CONSTRAINT_FUNCTION => "SQLITE_CONSTRAINT_FUNCTION",
        sys::SQLITE_CONSTRAINT_NOTNULL => "SQLITE_CONSTRAINT_NOTNULL",
        sys::SQLITE_CONSTRAINT_PINNED => "SQLITE_CONSTRAINT_PINNED",
        sys::SQLITE_CONSTRAINT_PRIMARYKEY => "SQLITE_CONSTRAINT_PRIMARYKEY",
        sys::SQLITE_CONSTRAINT_ROWID => "SQLITE_CONSTRAINT_ROWID",
        sys::SQLITE_CONSTRAINT_TRIGGER => "SQLITE_CONSTRAINT_TRIGGER",
        sys::SQLITE_CONSTRAINT_UNIQUE => "SQLITE_CONSTRAINT_UNIQUE",
        sys::SQLITE_CONSTRAINT_VTAB => "SQLITE_CONSTRAINT_VTAB",
        sys::SQLITE_CORRUPT_INDEX => "SQLITE_CORRUPT_INDEX",
        sys::SQLITE_CORRUPT_SEQUENCE => "SQLITE_CORRUPT_SEQUENCE",
        sys::SQLITE_CORRUPT_VTAB => "SQLITE_CORRUPT_VTAB",
        sys::SQLITE_ERROR_MISSING_COLLSEQ => "SQLITE_ERROR_MISSING_COLLSEQ",
        sys::SQLITE_IOERR_NOMEM => "SQLITE_IOERR_NOMEM",
        sys::SQLITE_IOERR_READ => "SQLITE_IOERR_READ",
        sys::SQLITE_IOERR_SHORT_READ => "SQLITE_IOERR_SHORT_READ",
        sys::SQLITE_IOERR_TRUNCATE => "SQLITE_IOERR_TRUNCATE",
        sys::SQLITE_IOERR_WRITE => "SQLITE_IOERR_WRITE",
        sys::SQLITE_LOCKED_VTAB => "SQLITE_LOCKED_VTAB",
        _ => return None,
    })
}
