//! SQL, in the variant of the engine that has it. The other one can only say so, and delete what the first has stored.

#[cfg(feature = "sql")]
pub(crate) use present::{end_reading, end_turn, end_wake, forget, install, set_up};

#[cfg(not(feature = "sql"))]
pub(crate) use absent::{end_reading, end_turn, end_wake, forget, install, set_up};

use dormouse_sql::{Storage, TooLarge};

use crate::bindings::dormouse::room::{context, storage};

/// The storage of the room.
struct Room;

impl Storage for Room {
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

#[cfg(feature = "sql")]
mod present {
    use dormouse_sql::{Cursor, Ended, Error, Savepoint, Value as SqlValue};
    use rquickjs::atom::Atom;
    use rquickjs::class::{JsClass, Trace, Tracer, Writable};
    use rquickjs::function::Constructor;
    use rquickjs::{Array, ArrayBuffer, Class, Ctx, Exception, IntoJs, JsLifetime, Object, Type, Value};

    use super::Room;
    use crate::convert::{Bytes, Text};
    use crate::flat::{display, functions, log_line};

    /// A cursor as a value of JavaScript. Its statement ends when nothing refers to it any more.
    struct SqlCursor(Cursor);

    impl<'js> Trace<'js> for SqlCursor {
        fn trace<'a>(&self, _: Tracer<'a, 'js>) {}
    }

    #[expect(unsafe_code, reason = "it has no values of JavaScript, so no lifetime")]
    // SAFETY: as the reason says.
    unsafe impl<'js> JsLifetime<'js> for SqlCursor {
        type Changed<'to> = SqlCursor;
    }

    impl<'js> JsClass<'js> for SqlCursor {
        const NAME: &'static str = "SqlCursor";
        type Mutable = Writable;

        fn constructor(_: &Ctx<'js>) -> rquickjs::Result<Option<Constructor<'js>>> {
            Ok(None)
        }
    }

    /// Prepares SQLite while the component is built.
    pub(crate) fn set_up() {
        dormouse_sql::set_up();
    }

    /// The turn ends well: hands the pages that it has changed to the storage.
    pub(crate) fn end_turn() -> Result<(), String> {
        ended(dormouse_sql::end_turn())
    }

    /// The same for a turn that may only read.
    pub(crate) fn end_reading() -> Result<(), String> {
        ended(dormouse_sql::end_reading())
    }

    /// The same for `wake`: an event follows in its turn.
    pub(crate) fn end_wake() {
        dormouse_sql::end_wake();
    }

    fn ended(ended: Result<Option<&'static str>, Error>) -> Result<(), String> {
        match ended {
            Ok(warning) => {
                warning.into_iter().for_each(|warning| log_line(2, warning));
                Ok(())
            }
            Err(error) => {
                forget();
                Err(error.to_string())
            }
        }
    }

    /// The turn fails: nothing of it may stay in the cache of pages.
    pub(crate) fn forget() {
        dormouse_sql::forget();
    }

    pub(crate) fn install<'js>(object: &Object<'js>) -> rquickjs::Result<()> {
        functions!(object, ctx;
            any "hasSql"() => Ok(true);
            turn "sqlExec"(query: Text, bindings: Vec<Value<'js>>) => {
                let bindings = bindings.iter().map(|value| binding(&ctx, value)).collect::<rquickjs::Result<Vec<_>>>()?;
                let bindings = bindings.iter().map(SqlValue::as_ref).collect::<Vec<_>>();
                let cursor = dormouse_sql::execute(&Room, &query.0, &bindings).map_err(|error| thrown(&ctx, &error))?;
                Class::instance(ctx.clone(), SqlCursor(cursor))
            };
            turn "sqlColumns"(cursor: Class<'js, SqlCursor>) => Ok(cursor.borrow().0.columns().to_vec());
            turn "sqlNext"(cursor: Class<'js, SqlCursor>) => {
                let row = cursor.borrow_mut().0.next_row().map_err(|error| thrown(&ctx, &error))?;
                row.map(|row| array(&ctx, row)).transpose()
            };
            turn "sqlObjects"(cursor: Class<'js, SqlCursor>) => {
                let names = cursor.borrow().0.columns().to_vec();
                let names = names.iter().map(|name| Atom::from_str(ctx.clone(), name)).collect::<rquickjs::Result<Vec<_>>>()?;
                let rows = Array::new(ctx.clone())?;
                for index in 0.. {
                    let row = cursor.borrow_mut().0.next_row().map_err(|error| thrown(&ctx, &error))?;
                    let Some(row) = row else { break };
                    let object = Object::new(ctx.clone())?;
                    for (name, value) in names.iter().zip(row) {
                        object.set(name.clone(), into_js(&ctx, value)?)?;
                    }
                    rows.set(index, object)?;
                }
                Ok(rows)
            };
            turn "sqlIsDone"(cursor: Class<'js, SqlCursor>) => Ok(cursor.borrow().0.is_done());
            turn "sqlEnd"(cursor: Class<'js, SqlCursor>) => {
                cursor.borrow_mut().0.close();
                Ok(())
            };
            turn "sqlCounts"(cursor: Class<'js, SqlCursor>) => {
                let cursor = &cursor.borrow().0;
                Ok(vec![cursor.rows_read() as f64, cursor.rows_written() as f64])
            };
            turn "sqlSize"() => Ok(dormouse_sql::database_size(&Room).map_err(|error| thrown(&ctx, &error))? as f64);
            turn "sqlDelete"() => dormouse_sql::delete_all(&Room).map_err(|error| thrown(&ctx, &error));
            turn "sqlBegin"() => Ok(dormouse_sql::begin(&Room).map_err(|error| thrown(&ctx, &error))?.0 as f64);
            turn "sqlCommit"(number: f64) => {
                end(&ctx, dormouse_sql::commit(Savepoint(number as u64)), true)
            };
            turn "sqlRollBack"(number: f64) => {
                end(&ctx, dormouse_sql::roll_back(Savepoint(number as u64)), false)
            };
        );
        Ok(())
    }

    fn thrown(ctx: &Ctx<'_>, error: &Error) -> rquickjs::Error {
        Exception::throw_message(ctx, &error.to_string())
    }

    /// The end of a transaction.
    fn end(ctx: &Ctx<'_>, ended: Result<Ended, Error>, is_commit: bool) -> rquickjs::Result<()> {
        let text = match ended.map_err(|error| thrown(ctx, &error))? {
            Ended::Done => return Ok(()),
            Ended::Before if is_commit => return Ok(()),
            Ended::Lost(_) if !is_commit => return Ok(()),
            Ended::Lost(error) => format!("Cannot commit transaction due to an earlier SQL critical error: {error}"),
            Ended::Before => "Cannot roll back: the event in which the transaction began has committed its SQL".into(),
            Ended::NotInnermost => "Cannot roll back: a transaction that began later is open".into(),
        };
        Err(Exception::throw_message(ctx, &text))
    }

    /// A parameter. Numbers are `REAL`, as in Durable Objects; the affinity of a column makes them `INTEGER`.
    fn binding<'js>(ctx: &Ctx<'js>, value: &Value<'js>) -> rquickjs::Result<SqlValue> {
        Ok(match value.type_of() {
            Type::Null | Type::Undefined => SqlValue::Null,
            Type::Int | Type::Float => SqlValue::Real(value.as_number().unwrap_or(f64::NAN)),
            Type::String => SqlValue::Text(display(value)),
            Type::Object => SqlValue::Blob(value.get::<Bytes>()?.0),
            other => {
                return Err(Exception::throw_type(ctx, &format!("a value of the type {other} cannot be bound")));
            }
        })
    }

    fn array<'js>(ctx: &Ctx<'js>, row: Vec<SqlValue>) -> rquickjs::Result<Array<'js>> {
        let array = Array::new(ctx.clone())?;
        for (index, value) in row.into_iter().enumerate() {
            array.set(index, into_js(ctx, value)?)?;
        }
        Ok(array)
    }

    fn into_js<'js>(ctx: &Ctx<'js>, value: SqlValue) -> rquickjs::Result<Value<'js>> {
        match value {
            SqlValue::Null => Ok(Value::new_null(ctx.clone())),
            // Above 2^53 a number is not exact, as in Durable Objects.
            SqlValue::Integer(number) => match i32::try_from(number) {
                Ok(number) => number.into_js(ctx),
                Err(_) => (number as f64).into_js(ctx),
            },
            SqlValue::Real(number) => number.into_js(ctx),
            SqlValue::Text(text) => text.into_js(ctx),
            SqlValue::Blob(bytes) => ArrayBuffer::new(ctx.clone(), bytes)?.into_js(ctx),
        }
    }
}

#[cfg(not(feature = "sql"))]
mod absent {
    use rquickjs::prelude::Rest;
    use rquickjs::{Ctx, Exception, Function, Object, Value};

    use super::Room;
    use crate::flat::functions;

    pub(crate) fn set_up() {}

    pub(crate) fn end_turn() -> Result<(), String> {
        Ok(())
    }

    pub(crate) fn end_reading() -> Result<(), String> {
        Ok(())
    }

    pub(crate) fn end_wake() {}

    pub(crate) fn forget() {}

    pub(crate) fn install<'js>(object: &Object<'js>) -> rquickjs::Result<()> {
        functions!(object, ctx;
            any "hasSql"() => Ok(false);
            turn "sqlDelete"() => {
                dormouse_sql::delete_stored(&Room);
                Ok(())
            };
        );
        let names = [
            "sqlExec",
            "sqlColumns",
            "sqlNext",
            "sqlObjects",
            "sqlIsDone",
            "sqlEnd",
            "sqlCounts",
            "sqlSize",
            "sqlBegin",
            "sqlCommit",
            "sqlRollBack",
        ];
        for name in names {
            let refuse = |ctx: Ctx<'js>, _: Rest<Value<'js>>| -> rquickjs::Result<()> {
                let text = "this component was built without SQL: build it with `dormouse build --sql`";
                Err(Exception::throw_message(&ctx, text))
            };
            object.set(name, Function::new(object.ctx().clone(), refuse)?.with_name(name)?)?;
        }
        Ok(())
    }
}
