//! Values and texts as bytes. These work while the top level runs, too.

use rquickjs::{Object, Value};

use super::functions;
use crate::codec;
use crate::convert::{Bytes, Text};

pub(super) fn install<'js>(object: &Object<'js>) -> rquickjs::Result<()> {
    functions!(object, ctx;
        any "encode"(value: Value<'js>) => codec::encode(&ctx, value).map(Bytes);
        any "decode"(bytes: Bytes) => codec::decode(&ctx, &bytes.0);
        any "utf8"(text: Text) => Ok(Bytes(text.0.into_bytes()));
        any "text"(bytes: Bytes) => Ok(String::from_utf8_lossy(&bytes.0).into_owned());
    );
    Ok(())
}
