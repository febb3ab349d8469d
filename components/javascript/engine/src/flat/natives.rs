//! Functions in Rust that `web.js` needs and no bundle sees: they are taken out of the globals before the bundle runs.

use rquickjs::prelude::Opt;
use rquickjs::{Ctx, Exception, Object};
use url::Url;

use super::functions;
use crate::convert::{Bytes, Text};
use crate::{codec, crypto, urls};

pub(super) fn make<'js>(ctx: &Ctx<'js>) -> rquickjs::Result<Object<'js>> {
    let object = Object::new(ctx.clone())?;
    functions!(object, ctx;
        any "parseUrl"(input: Text, base: Opt<Option<Text>>) => {
            let base = base.0.flatten();
            Ok(urls::parse(&input.0, base.as_ref().map(|Text(base)| base.as_str())).map(|url| urls::parts(&url).to_vec()))
        };
        any "setUrl"(href: Text, part: Text, value: Text) => {
            let url = Url::parse(&href.0).map_err(|_| Exception::throw_type(&ctx, "Invalid URL"))?;
            Ok(urls::set(url, &part.0, &value.0).map(|url| urls::parts(&url).to_vec()))
        };
        any "parseQuery"(query: Text) => Ok(urls::parse_query(&query.0));
        any "writeQuery"(pairs: Vec<Text>) => {
            Ok(urls::write_query(&pairs.into_iter().map(|Text(pair)| pair).collect::<Vec<_>>()))
        };
        any "digest"(algorithm: Text, bytes: Bytes) => Ok(crypto::digest(&algorithm.0, &bytes.0).map(Bytes));
        any "hmac"(algorithm: Text, key: Bytes, bytes: Bytes) => {
            Ok(crypto::hmac(&algorithm.0, &key.0, &bytes.0).map(Bytes))
        };
        any "isUtf8"(bytes: Bytes) => Ok(std::str::from_utf8(&bytes.0).is_ok());
    );
    Ok(object)
}

/// Takes what only the engine uses out of the globals. Call it when `web.js` has run.
pub(crate) fn take(ctx: &Ctx<'_>) -> rquickjs::Result<()> {
    let globals = ctx.globals();
    codec::prepare(ctx, globals.get("__codec")?)?;
    for name in ["__host", "__native", "__codec"] {
        globals.remove(name)?;
    }
    Ok(())
}
