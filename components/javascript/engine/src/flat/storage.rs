//! The room's storage: keys with bytes, and keys with values that are encoded on the way.

use rquickjs::prelude::Opt;
use rquickjs::{Array, Ctx, Exception, FromJs, IntoJs, Object, Value};

use super::{Problem, functions};
use crate::bindings::dormouse::room::storage::{self, Range, StorageError};
use crate::codec;
use crate::convert::{Bytes, Key};

/// The most entries of one call.
const MAX_ENTRIES: u32 = 1000;

pub(super) fn install<'js>(object: &Object<'js>) -> rquickjs::Result<()> {
    functions!(object, ctx;
        turn "get"(key: Key) => Ok(storage::get(&key.0).map(Bytes));
        turn "getMany"(keys: Vec<Key>) => {
            Ok(storage::get_many(&plain(&ctx, keys)?).into_iter().map(|value| value.map(Bytes)).collect::<Vec<_>>())
        };
        turn "put"(key: Key, value: Bytes) => Ok(Problem::of(storage::put(&key.0, &value.0), problem));
        turn "putMany"(entries: Vec<Array<'js>>) => {
            let entries = entries.into_iter().map(|entry| Ok((entry.get::<Key>(0)?.0, entry.get::<Bytes>(1)?.0)));
            Ok(Problem::of(storage::put_many(&entries.collect::<rquickjs::Result<Vec<_>>>()?), problem))
        };
        turn "remove"(key: Key) => Ok(storage::delete(&key.0));
        turn "removeRange"(start: Key, end: Key, limit: u32) => {
            Ok(storage::delete_range(&start.0, &end.0, limit.min(MAX_ENTRIES)))
        };
        turn "list"(range: Opt<RangeArgument>) => {
            entries(&ctx, range.0, |_, value| Ok(Bytes(value)))
        };
        turn "getValue"(key: Key) => storage::get(&key.0).map(|value| codec::decode(&ctx, &value)).transpose();
        turn "getValues"(keys: Vec<Key>) => {
            let values = storage::get_many(&plain(&ctx, keys)?).into_iter();
            values.map(|value| value.map(|value| codec::decode(&ctx, &value)).transpose())
                .collect::<rquickjs::Result<Vec<_>>>()
        };
        turn "putValue"(key: Key, value: Value<'js>) => {
            Ok(Problem::of(storage::put(&key.0, &codec::encode(&ctx, value)?), problem))
        };
        turn "putValues"(entries: Vec<Array<'js>>) => {
            let entries = entries.into_iter()
                .map(|entry| Ok((entry.get::<Key>(0)?.0, codec::encode(&ctx, entry.get::<Value>(1)?)?)));
            Ok(Problem::of(storage::put_many(&entries.collect::<rquickjs::Result<Vec<_>>>()?), problem))
        };
        turn "listValues"(range: Opt<RangeArgument>) => {
            entries(&ctx, range.0, |ctx, value| codec::decode(ctx, &value))
        };
    );
    Ok(())
}

/// The name of a problem, as the contract has it.
fn problem(error: StorageError) -> &'static str {
    match error {
        StorageError::BadKey => "bad-key",
        StorageError::ValueTooLarge => "value-too-large",
        StorageError::TurnTooLarge => "turn-too-large",
    }
}

/// The bytes of keys, if they are not too many: the host would end the turn.
fn plain(ctx: &Ctx<'_>, keys: Vec<Key>) -> rquickjs::Result<Vec<Vec<u8>>> {
    if keys.len() > MAX_ENTRIES as usize {
        return Err(Exception::throw_range(ctx, "at most 1,000 keys can be read at once"));
    }
    Ok(keys.into_iter().map(|Key(key)| key).collect())
}

struct RangeArgument(Range);

impl<'js> FromJs<'js> for RangeArgument {
    fn from_js(_: &Ctx<'js>, value: Value<'js>) -> rquickjs::Result<RangeArgument> {
        let Some(object) = value.as_object() else { return Ok(RangeArgument(everything())) };
        let key = |name| Ok::<_, rquickjs::Error>(object.get::<_, Option<Key>>(name)?.map(|Key(key)| key));
        let limit = object.get::<_, Value>("limit")?.as_number().unwrap_or(f64::from(MAX_ENTRIES));
        Ok(RangeArgument(Range {
            prefix: key("prefix")?,
            start: key("start")?,
            end: key("end")?,
            reverse: object.get::<_, Option<bool>>("reverse")?.unwrap_or(false),
            limit: limit.clamp(0.0, f64::from(MAX_ENTRIES)) as u32,
        }))
    }
}

fn everything() -> Range {
    Range { prefix: None, start: None, end: None, reverse: false, limit: MAX_ENTRIES }
}

fn entries<'js, T: IntoJs<'js>>(
    ctx: &Ctx<'js>,
    range: Option<RangeArgument>,
    convert: impl Fn(&Ctx<'js>, Vec<u8>) -> rquickjs::Result<T>,
) -> rquickjs::Result<Array<'js>> {
    let list = Array::new(ctx.clone())?;
    let range = range.map_or_else(everything, |RangeArgument(range)| range);
    for (index, (key, value)) in storage::list(&range).into_iter().enumerate() {
        let entry = Array::new(ctx.clone())?;
        entry.set(0, Key(key))?;
        entry.set(1, convert(ctx, value)?)?;
        list.set(index, entry)?;
    }
    Ok(list)
}
