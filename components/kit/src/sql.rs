//! SQL: SQLite in the room, with its pages in the room's storage. This is the feature `sql` of the crate.
//!
//! The changes of statements become durable with the turn, like all storage, and are gone with a turn that fails. Each
//! statement is atomic. There is one database for each room, and it is empty at first.
//!
//! ```no_run
//! use dormouse_room::{Message, Result, Room, Socket, sql};
//!
//! /// Keeps the points of its users.
//! struct Scores;
//! dormouse_room::export!(Scores);
//!
//! impl Room for Scores {
//!     fn wake() -> Result<Self> {
//!         sql::execute("CREATE TABLE IF NOT EXISTS scores (user TEXT PRIMARY KEY, points INTEGER NOT NULL)", ())?;
//!         Ok(Scores)
//!     }
//!
//!     fn message(&mut self, sender: &Socket, message: Message) -> Result<()> {
//!         let points: i64 = message.as_text().unwrap_or_default().parse()?;
//!         sql::execute("INSERT OR REPLACE INTO scores VALUES (?, ?)", (&sender.user().id, points))?;
//!         for row in sql::query("SELECT user, points FROM scores ORDER BY points DESC LIMIT 10", ())? {
//!             let row = row?;
//!             let (user, points): (String, i64) = (row.get("user")?, row.get("points")?);
//!             sender.send_json(&(user, points))?;
//!         }
//!         Ok(())
//!     }
//! }
//! ```
//!
//! Limits: 15 MiB of changed pages a turn, 100 parameters, 100 columns, 2 MiB a value; `docs/sql.md` has all of them.
//! Statements cannot begin transactions: use [`transaction`].

use std::rc::Rc;

use dormouse_sql::{Cursor, Ended, Storage, TooLarge};

use crate::bindings::room::dormouse::room::{context, storage};

pub use dormouse_sql::{Error, Value};

/// Runs the statements of a text, and returns how many rows the last one has inserted, changed or removed. The
/// parameters are those of the last one.
///
/// Fails: with the message of SQLite. The statement that failed has changed nothing; those before it have.
pub fn execute(sql: &str, parameters: impl Parameters) -> Result<u64, Error> {
    let mut cursor = open(sql, parameters)?;
    while cursor.next_row()?.is_some() {}
    Ok(cursor.rows_written())
}

/// Runs the statements of a text, and returns the rows of the last one.
///
/// Fails: as [`execute`] does.
pub fn query(sql: &str, parameters: impl Parameters) -> Result<Rows, Error> {
    let cursor = open(sql, parameters)?;
    let columns = cursor.columns().into();
    Ok(Rows { cursor, columns })
}

fn open(sql: &str, parameters: impl Parameters) -> Result<Cursor, Error> {
    let values = parameters.into_values();
    dormouse_sql::execute(&OwnStorage, sql, &values.iter().map(Value::as_ref).collect::<Vec<_>>())
}

/// Runs `work`, and undoes what its SQL has changed if it returns an error. Transactions may be nested. Keys that it has
/// written with [`storage`](crate::storage) stay.
///
/// Fails: with the error of `work`, and if a constraint that was deferred is not met.
pub fn transaction<T, E: From<Error>>(work: impl FnOnce() -> Result<T, E>) -> Result<T, E> {
    let savepoint = dormouse_sql::begin(&OwnStorage)?;
    match work() {
        Ok(value) => match dormouse_sql::commit(savepoint)? {
            Ended::Lost(error) => Err(Error::new(format!("the transaction was rolled back: {error}")).into()),
            Ended::Done | Ended::Before | Ended::NotInnermost => Ok(value),
        },
        Err(error) => {
            dormouse_sql::roll_back(savepoint)?;
            Err(error)
        }
    }
}

/// The bytes of the database, without free pages.
pub fn database_size() -> Result<u64, Error> {
    dormouse_sql::database_size(&OwnStorage)
}

/// Deletes the database. Rows that are not read yet are an error then.
pub fn delete_all() -> Result<(), Error> {
    dormouse_sql::delete_all(&OwnStorage)
}

/// The rows of a statement, one after the other.
pub struct Rows {
    cursor: Cursor,
    columns: Rc<[String]>,
}

impl Rows {
    /// The names of the columns. They may be equal.
    pub fn columns(&self) -> &[String] {
        &self.columns
    }

    /// The only row.
    ///
    /// Fails: if there are none, or several.
    pub fn one(self) -> Result<Row, Error> {
        self.optional()?.ok_or_else(|| Error::new("one row is expected, and there is none"))
    }

    /// The only row, or none.
    ///
    /// Fails: if there are several.
    pub fn optional(mut self) -> Result<Option<Row>, Error> {
        let row = self.next().transpose()?;
        if self.cursor.is_done() { Ok(row) } else { Err(Error::new("one row is expected, and there are several")) }
    }
}

impl Iterator for Rows {
    type Item = Result<Row, Error>;

    fn next(&mut self) -> Option<Result<Row, Error>> {
        let values = self.cursor.next_row().transpose()?;
        Some(values.map(|values| Row { columns: Rc::clone(&self.columns), values }))
    }
}

/// One row.
#[derive(Debug, Clone)]
pub struct Row {
    columns: Rc<[String]>,
    values: Vec<Value>,
}

impl Row {
    /// The value of a column, which is known by its name or by its number from 0 on.
    ///
    /// Fails: if there is no such column, or if its value has another type.
    pub fn get<T: FromValue>(&self, column: impl Column) -> Result<T, Error> {
        let number = column.number(&self.columns);
        let Some(value) = number.and_then(|number| self.values.get(number)) else {
            return Err(Error::new(format!("no such column: {}", column.shown())));
        };
        T::from_value(value).ok_or_else(|| {
            let (column, kind) = (column.shown(), kind(value));
            Error::new(format!("the column {column} is {kind}, which is no {}", std::any::type_name::<T>()))
        })
    }

    /// All values.
    pub fn values(&self) -> &[Value] {
        &self.values
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "NULL",
        Value::Integer(_) => "an INTEGER",
        Value::Real(_) => "a REAL",
        Value::Text(_) => "a TEXT",
        Value::Blob(_) => "a BLOB",
    }
}

/// The name or the number of a column.
pub trait Column {
    /// Its number, if there is such a column. Of equal names the last one counts.
    fn number(&self, columns: &[String]) -> Option<usize>;
    /// As errors show it.
    fn shown(&self) -> String;
}

impl Column for usize {
    fn number(&self, _: &[String]) -> Option<usize> {
        Some(*self)
    }

    fn shown(&self) -> String {
        self.to_string()
    }
}

impl Column for &str {
    fn number(&self, columns: &[String]) -> Option<usize> {
        columns.iter().rposition(|column| column == self)
    }

    fn shown(&self) -> String {
        (*self).to_owned()
    }
}

/// The values of the parameters of a statement: `()`, a tuple, an array or a `Vec` of [`Value`].
pub trait Parameters {
    /// The values in order.
    fn into_values(self) -> Vec<Value>;
}

impl Parameters for () {
    fn into_values(self) -> Vec<Value> {
        Vec::new()
    }
}

impl<T: Into<Value>> Parameters for Vec<T> {
    fn into_values(self) -> Vec<Value> {
        self.into_iter().map(Into::into).collect()
    }
}

impl<T: Into<Value>, const N: usize> Parameters for [T; N] {
    fn into_values(self) -> Vec<Value> {
        self.into_iter().map(Into::into).collect()
    }
}

macro_rules! tuples {
    ($($name:ident),*) => {
        impl<$($name: Into<Value>),*> Parameters for ($($name,)*) {
            #[expect(non_snake_case, reason = "a variable for each type")]
            fn into_values(self) -> Vec<Value> {
                let ($($name,)*) = self;
                vec![$($name.into()),*]
            }
        }
    };
}

tuples!(A);
tuples!(A, B);
tuples!(A, B, C);
tuples!(A, B, C, D);
tuples!(A, B, C, D, E);
tuples!(A, B, C, D, E, F);
tuples!(A, B, C, D, E, F, G);
tuples!(A, B, C, D, E, F, G, H);

/// A type that a value of a column can have.
pub trait FromValue: Sized {
    /// The value, if it fits.
    fn from_value(value: &Value) -> Option<Self>;
}

impl FromValue for Value {
    fn from_value(value: &Value) -> Option<Self> {
        Some(value.clone())
    }
}

impl<T: FromValue> FromValue for Option<T> {
    fn from_value(value: &Value) -> Option<Self> {
        if *value == Value::Null { Some(None) } else { T::from_value(value).map(Some) }
    }
}

macro_rules! integers {
    ($($type:ty),*) => {$(
        impl FromValue for $type {
            fn from_value(value: &Value) -> Option<Self> {
                if let Value::Integer(number) = value { (*number).try_into().ok() } else { None }
            }
        }
    )*};
}

integers!(i32, i64, u32, u64);

impl FromValue for bool {
    fn from_value(value: &Value) -> Option<Self> {
        match value {
            Value::Integer(0) => Some(false),
            Value::Integer(1) => Some(true),
            _ => None,
        }
    }
}

impl FromValue for f64 {
    fn from_value(value: &Value) -> Option<Self> {
        match value {
            Value::Real(number) => Some(*number),
            Value::Integer(number) => Some(*number as f64),
            _ => None,
        }
    }
}

impl FromValue for String {
    fn from_value(value: &Value) -> Option<Self> {
        if let Value::Text(text) = value { Some(text.clone()) } else { None }
    }
}

impl FromValue for Vec<u8> {
    fn from_value(value: &Value) -> Option<Self> {
        if let Value::Blob(bytes) = value { Some(bytes.clone()) } else { None }
    }
}

impl From<Error> for crate::Refusal {
    fn from(error: Error) -> Self {
        crate::Error::from(error).into()
    }
}

/// The storage of the room, under the pages.
struct OwnStorage;

impl Storage for OwnStorage {
    fn get(&self, key: &[u8]) -> Option<Vec<u8>> {
        storage::get(key)
    }

    fn put_many(&self, entries: Vec<(Vec<u8>, Vec<u8>)>) -> Result<(), TooLarge> {
        storage::put_many(&entries).map_err(|_| TooLarge)
    }

    fn delete_range(&self, start: &[u8], end: &[u8], limit: u32) -> u32 {
        storage::delete_range(start, end, limit)
    }

    fn now(&self) -> u64 {
        context::now()
    }

    fn random(&self) -> u64 {
        context::random()
    }
}

/// The turn ends: its pages reach the storage, or, if it fails, are forgotten.
pub(crate) fn end_turn<T, E: From<crate::Error>>(result: Result<T, E>) -> Result<T, E> {
    ended(result, dormouse_sql::end_turn)
}

/// The same for an event that may only read.
pub(crate) fn end_reading<T, E: From<crate::Error>>(result: Result<T, E>) -> Result<T, E> {
    ended(result, dormouse_sql::end_reading)
}

pub(crate) use dormouse_sql::end_wake;

fn ended<T, E: From<crate::Error>>(
    result: Result<T, E>,
    end: impl FnOnce() -> Result<Option<&'static str>, Error>,
) -> Result<T, E> {
    let ended = result.and_then(|value| match end() {
        Ok(warning) => {
            warning.into_iter().for_each(crate::context::warn);
            Ok(value)
        }
        Err(error) => Err(crate::Error::from(error).into()),
    });
    if ended.is_err() {
        dormouse_sql::forget();
    }
    ended
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row() -> Row {
        let columns = ["a", "b", "a", "c"].map(str::to_owned);
        let values = vec![Value::Integer(1), Value::Text("two".into()), Value::Integer(-3), Value::Null];
        Row { columns: columns.into(), values }
    }

    #[test]
    fn columns_are_found_by_name_and_number() {
        let row = row();
        assert_eq!((row.get(0), row.get("a")), (Ok(1_i64), Ok(-3_i64)));
        assert_eq!(row.get("b"), Ok("two".to_owned()));
        assert_eq!((row.get("c"), row.get("a")), (Ok(None::<i64>), Ok(Some(-3_i32))));
        assert_eq!(row.get::<i64>("d").unwrap_err().to_string(), "no such column: d");
        assert_eq!(row.get::<i64>(4).unwrap_err().to_string(), "no such column: 4");
    }

    #[test]
    fn a_value_of_another_type_is_an_error() {
        let row = row();
        assert_eq!(row.get::<u32>("a").unwrap_err().to_string(), "the column a is an INTEGER, which is no u32");
        assert_eq!(
            row.get::<String>(0).unwrap_err().to_string(),
            "the column 0 is an INTEGER, which is no alloc::string::String"
        );
        assert!(row.get::<bool>(2).is_err() && row.get::<f64>("c").is_err() && row.get::<Vec<u8>>("b").is_err());
        assert_eq!((row.get(0), row.get(2)), (Ok(true), Ok(-3.0)));
    }

    #[test]
    fn parameters_are_tuples_arrays_and_vectors() {
        let values = (1, "a", None::<&str>, true, 0.5, vec![9_u8]).into_values();
        let expected = [
            Value::Integer(1),
            Value::Text("a".into()),
            Value::Null,
            Value::Integer(1),
            Value::Real(0.5),
            Value::Blob(vec![9]),
        ];
        assert_eq!(values, expected);
        assert_eq!(["a", "b"].into_values(), vec![Value::from("a"), Value::from("b")].into_values());
        assert!(().into_values().is_empty());
    }
}
