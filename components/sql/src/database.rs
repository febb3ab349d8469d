//! The database of this instance: it runs statements, keeps prepared ones, and nests transactions.

use std::cell::RefCell;
use std::collections::{HashMap, VecDeque};
use std::rc::Rc;

use crate::limits::{CACHED_SQL_BYTES, CACHED_STATEMENTS, OPEN_TRANSACTIONS, PAGE_BYTES};
use crate::pages::{Pages, Storage, TooLarge};
use crate::sqlite::{Connection, Statement, initialize};
use crate::value::{Error, Value, ValueRef};
use crate::vfs::{set_pages, with_pages};

thread_local! {
    static DATABASE: RefCell<Option<Rc<Database>>> = const { RefCell::new(None) };
}

struct Database {
    // Statements go before their connection.
    cache: RefCell<Cache>,
    transactions: RefCell<Transactions>,
    connection: Connection,
}

/// Prepares SQLite while the component is built, so that no instance needs to.
pub fn set_up() {
    initialize();
}

/// The open database. The first use opens it.
fn database(storage: &'static dyn Storage) -> Result<Rc<Database>, Error> {
    if let Some(database) = DATABASE.with_borrow(Clone::clone) {
        return Ok(database);
    }
    set_pages(Some(Pages::open(storage).map_err(Error::new)?));
    let database = Rc::new(Database {
        cache: RefCell::default(),
        transactions: RefCell::default(),
        connection: Connection::open()?,
    });
    DATABASE.set(Some(Rc::clone(&database)));
    Ok(database)
}

/// Runs the statements of a text. All but the last run to their end; the last one has the parameters, and its rows come
/// through the cursor.
///
/// Fails: with the message of SQLite. The statement that failed has changed nothing; those before it have.
pub fn execute(storage: &'static dyn Storage, sql: &str, parameters: &[ValueRef<'_>]) -> Result<Cursor, Error> {
    let database = database(storage)?;
    let result = database.execute(sql, parameters);
    if result.is_err() {
        database.check_transactions(&result);
    }
    result
}

impl Database {
    fn execute(self: &Rc<Self>, sql: &str, parameters: &[ValueRef<'_>]) -> Result<Cursor, Error> {
        let connection = &self.connection;
        let cached = self.cache.borrow_mut().take(sql);
        let (statement, key) = match cached {
            Some(statement) => (statement, Some(Rc::from(sql))),
            None => self.prepare_last(sql)?,
        };
        if statement.parameters() != parameters.len() {
            return Err(Error::new("Wrong number of parameter bindings for SQL query."));
        }
        for (number, value) in (1..).zip(parameters) {
            statement.bind(connection, number, *value)?;
        }
        let statement = Some(statement);
        let (columns, rows) = (Vec::new(), VecDeque::new());
        let mut cursor = Cursor { database: Rc::clone(self), statement, key, columns, rows, read: 0, written: 0 };
        cursor.start()?;
        Ok(cursor)
    }

    /// Runs all statements of a text but the last, which it returns; with the text as its key, if it is alone.
    fn prepare_last(&self, sql: &str) -> Result<(Statement, Option<Rc<str>>), Error> {
        let mut rest = sql;
        loop {
            let (statement, used) = self.connection.prepare(rest)?;
            let statement = statement.ok_or_else(|| Error::new("SQL code did not contain a statement."))?;
            let after = rest[used..].trim_start_matches([' ', '\t', '\n', '\r', '\u{b}', '\u{c}']);
            if after.is_empty() {
                let is_alone = rest.len() == sql.len() && sql.len() <= CACHED_SQL_BYTES;
                return Ok((statement, is_alone.then(|| Rc::from(sql))));
            }
            if statement.parameters() > 0 {
                return Err(Error::new(
                    "When executing multiple SQL statements in a single call, only the last statement can have \
                     parameters.",
                ));
            }
            statement.step(&self.connection)?;
            rest = after;
        }
    }

    /// After some errors SQLite has rolled back the whole transaction, with all that are nested in it.
    fn check_transactions<T>(&self, result: &Result<T, Error>) {
        if let Err(error) = result
            && self.connection.is_autocommit()
        {
            self.transactions.borrow_mut().lose(error);
        }
    }

    fn run_savepoint(&self, command: &str, number: u64) -> Result<(), Error> {
        let result = self.connection.run_own(&format!("{command} _cf_{number}"));
        self.check_transactions(&result);
        result
    }
}

/// Prepared statements that nobody uses at the moment.
#[derive(Default)]
struct Cache {
    statements: HashMap<Rc<str>, (Statement, u64)>,
    uses: u64,
}

impl Cache {
    fn take(&mut self, sql: &str) -> Option<Statement> {
        self.statements.remove(sql).map(|(statement, _)| statement)
    }

    fn give_back(&mut self, sql: Rc<str>, statement: Statement) {
        statement.reset();
        self.uses += 1;
        if self.statements.len() >= CACHED_STATEMENTS && !self.statements.contains_key(&sql) {
            let oldest = self.statements.iter().min_by_key(|(_, (_, used))| *used).map(|(sql, _)| Rc::clone(sql));
            oldest.map(|sql| self.statements.remove(&sql));
        }
        self.statements.insert(sql, (statement, self.uses));
    }
}

/// The rows of a statement. It is one row ahead of what it has lent, so that it knows its end.
pub struct Cursor {
    database: Rc<Database>,
    /// Absent behind the last row.
    statement: Option<Statement>,
    key: Option<Rc<str>>,
    columns: Vec<String>,
    /// The rows of a statement that writes.
    rows: VecDeque<Vec<Value>>,
    read: u64,
    written: u64,
}

impl Cursor {
    /// The names of the columns. They may be equal.
    pub fn columns(&self) -> &[String] {
        &self.columns
    }

    /// Whether there is no row left.
    pub fn is_done(&self) -> bool {
        self.statement.is_none() && self.rows.is_empty()
    }

    /// The values of the next row. `None` behind the last one.
    ///
    /// Fails: with the message of SQLite, if the row behind this one cannot be read; the cursor ends then.
    pub fn next_row(&mut self) -> Result<Option<Vec<Value>>, Error> {
        let Some(statement) = &self.statement else { return Ok(self.rows.pop_front()) };
        if !statement.is_alive() {
            self.statement = None;
            return Err(Error::new("SQL cursor was closed because the database was deleted."));
        }
        let row = (0..self.columns.len()).map(|column| statement.value(column).to_value()).collect();
        self.advance()?;
        Ok(Some(row))
    }

    /// Drops the rows that are left.
    pub fn close(&mut self) {
        self.rows.clear();
        self.end();
    }

    /// The rows that were visited so far. Those of other statements of the same text do not count.
    pub fn rows_read(&self) -> u64 {
        self.statement.as_ref().filter(|statement| statement.is_alive()).map_or(self.read, Statement::rows_read)
    }

    /// The rows that were inserted, changed and removed so far; entries of indexes do not count.
    pub fn rows_written(&self) -> u64 {
        self.written
    }

    fn start(&mut self) -> Result<(), Error> {
        self.advance()?;
        // The writes of a statement are committed at its end, which must not wait for somebody who reads its rows.
        if self.statement.as_ref().is_some_and(|statement| !statement.is_read_only()) {
            let mut rows = VecDeque::new();
            while let Some(row) = self.next_row()? {
                rows.push_back(row);
            }
            self.rows = rows;
        }
        Ok(())
    }

    fn advance(&mut self) -> Result<(), Error> {
        let Some(statement) = &self.statement else { return Ok(()) };
        let connection = &self.database.connection;
        let changes = connection.total_changes();
        let stepped = statement.step(connection);
        self.written += connection.total_changes() - changes;
        // The first step prepares the statement again if a table has changed, so the columns are known behind it.
        if self.columns.is_empty() {
            self.columns = statement.columns();
        }
        let is_row = *stepped.as_ref().unwrap_or(&false);
        if !is_row {
            self.end();
        }
        self.database.check_transactions(&stepped);
        stepped.map(|_| ())
    }

    /// Gives the statement back.
    fn end(&mut self) {
        let Some(statement) = self.statement.take().filter(Statement::is_alive) else { return };
        self.read = statement.rows_read();
        if let Some(key) = self.key.take()
            && let Ok(mut cache) = self.database.cache.try_borrow_mut()
        {
            cache.give_back(key, statement);
        }
    }
}

impl Drop for Cursor {
    fn drop(&mut self) {
        self.end();
    }
}

/// An open transaction, in the order of their beginnings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Savepoint(
    /// Its number, from 1 on.
    pub u64,
);

/// How a transaction ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ended {
    /// As it was asked.
    Done,
    /// The turn in which it began has committed what it had done.
    Before,
    /// An error has rolled it back, with this text.
    Lost(String),
    /// A later transaction is open, which would be rolled back with it. Nothing has happened.
    NotInnermost,
}

#[derive(Default)]
struct Transactions {
    /// From the outermost to the innermost.
    open: Vec<Open>,
    begun: u64,
    /// Transactions that an error has rolled back, until they are ended.
    lost: Vec<(u64, String)>,
}

struct Open {
    number: u64,
    /// Committed, as far as its caller knows; it is released when all within it have ended.
    is_committed: bool,
}

impl Transactions {
    /// SQLite has rolled back all transactions, because of this error.
    fn lose(&mut self, error: &Error) {
        let lost = self.open.drain(..).filter(|open| !open.is_committed);
        self.lost.extend(lost.map(|open| (open.number, error.to_string())));
        // Those that nobody ends are forgotten.
        self.lost.drain(..self.lost.len().saturating_sub(OPEN_TRANSACTIONS));
    }

    /// How a transaction has ended already, if it has.
    fn ended(&mut self, Savepoint(number): Savepoint) -> Option<Ended> {
        if let Some(at) = self.lost.iter().position(|(lost, _)| *lost == number) {
            return Some(Ended::Lost(self.lost.swap_remove(at).1));
        }
        (!self.open.iter().any(|open| open.number == number)).then_some(Ended::Before)
    }
}

/// Begins a transaction, in the one that is open.
pub fn begin(storage: &'static dyn Storage) -> Result<Savepoint, Error> {
    let database = database(storage)?;
    let number = {
        let mut transactions = database.transactions.borrow_mut();
        if transactions.open.len() == OPEN_TRANSACTIONS {
            return Err(Error::new(format!("at most {OPEN_TRANSACTIONS} transactions can be open at once")));
        }
        transactions.begun += 1;
        transactions.begun
    };
    database.run_savepoint("SAVEPOINT", number)?;
    database.transactions.borrow_mut().open.push(Open { number, is_committed: false });
    Ok(Savepoint(number))
}

/// Keeps what a transaction has done.
///
/// Fails: if a constraint that was deferred is not met; the transaction is rolled back then.
pub fn commit(savepoint: Savepoint) -> Result<Ended, Error> {
    let Some(database) = DATABASE.with_borrow(Clone::clone) else { return Ok(Ended::Before) };
    let innermost = {
        let mut transactions = database.transactions.borrow_mut();
        if let Some(ended) = transactions.ended(savepoint) {
            return Ok(ended);
        }
        if let Some(open) = transactions.open.iter_mut().find(|open| open.number == savepoint.0) {
            open.is_committed = true;
        }
        transactions.open.iter().rev().take_while(|open| open.is_committed).map(|open| open.number).collect::<Vec<_>>()
    };
    for number in innermost {
        if let Err(error) = database.run_savepoint("RELEASE", number) {
            let _ = roll_back(savepoint);
            return Err(error);
        }
        database.transactions.borrow_mut().open.pop();
    }
    Ok(Ended::Done)
}

/// Undoes what a transaction has done.
pub fn roll_back(savepoint: Savepoint) -> Result<Ended, Error> {
    let Some(database) = DATABASE.with_borrow(Clone::clone) else { return Ok(Ended::Before) };
    {
        let mut transactions = database.transactions.borrow_mut();
        if let Some(ended) = transactions.ended(savepoint) {
            return Ok(ended);
        }
        if transactions.open.last().is_some_and(|open| open.number != savepoint.0) {
            return Ok(Ended::NotInnermost);
        }
    }
    database.run_savepoint("ROLLBACK TO", savepoint.0)?;
    database.run_savepoint("RELEASE", savepoint.0)?;
    database.transactions.borrow_mut().open.pop();
    Ok(Ended::Done)
}

/// The bytes of the database, without free pages.
pub fn database_size(storage: &'static dyn Storage) -> Result<u64, Error> {
    let size = "SELECT (SELECT * FROM pragma_page_count) - (SELECT * FROM pragma_freelist_count)";
    let connection = &database(storage)?.connection;
    let pages = connection.own(|| {
        let (statement, _) = connection.prepare(size)?;
        let statement = statement.ok_or_else(|| Error::new("SQL code did not contain a statement."))?;
        statement.step(connection)?;
        Ok::<_, Error>(statement.value(0).to_value())
    })?;
    match pages {
        Value::Integer(pages) => Ok(pages as u64 * PAGE_BYTES as u64),
        _ => Err(Error::new("the size of the database cannot be read")),
    }
}

/// Deletes the database, with everything that it has stored. Cursors end with an error.
pub fn delete_all(storage: &'static dyn Storage) -> Result<(), Error> {
    let mut pages = Pages::open(storage).map_err(Error::new)?;
    forget();
    pages.delete().map_err(Error::new)
}

/// The turn ends well: hands what it has changed to the storage. Returns a text for the log, if a transaction is open,
/// which is committed so far.
///
/// Fails: with a text for the author, if the turn has written too much; then it must fail.
pub fn end_turn() -> Result<Option<&'static str>, Error> {
    let Some(database) = DATABASE.with_borrow(Clone::clone) else { return Ok(None) };
    let outermost = database.transactions.borrow_mut().open.drain(..).next();
    if let Some(open) = &outermost {
        database.run_savepoint("RELEASE", open.number)?;
    }
    database.connection.forget_seed();
    with_pages(Pages::store).map_err(|TooLarge| {
        Error::new(
            "the event has written more than 16 MiB, with the pages of its SQL: spread it over several events, with an \
             alarm",
        )
    })?;
    Ok(outermost.filter(|open| !open.is_committed).map(|_| {
        "a transaction is still open at the end of its event: what its SQL has done so far is committed, and can no \
         longer be rolled back"
    }))
}

/// `wake` has ended, and an event follows in its turn.
pub fn end_wake() {
    if DATABASE.with_borrow(Option::is_some) {
        with_pages(Pages::expect_reading);
    }
}

/// A turn that may only read ends well. A table that `wake` before it has made is stored with the next turn that may
/// write; without that, `wake` makes it again. What the event itself has written goes to the storage, which refuses it.
///
/// Fails: as [`end_turn`] does.
pub fn end_reading() -> Result<Option<&'static str>, Error> {
    let Some(database) = DATABASE.with_borrow(Clone::clone) else { return Ok(None) };
    if with_pages(|pages| pages.has_changed()) {
        return end_turn();
    }
    database.connection.forget_seed();
    Ok(None)
}

/// The turn fails, or its database was deleted: forgets everything that is in memory.
pub fn forget() {
    // A cursor keeps the database, but not its statements: they end here.
    if let Some(database) = DATABASE.take() {
        database.cache.take();
        database.connection.close();
    }
    set_pages(None);
}
