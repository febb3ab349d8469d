//! Converts between values of JavaScript and the types of the contract, in the forms that `host.d.ts` describes.

use rquickjs::{Array, ArrayBuffer, Ctx, Exception, FromJs, IntoJs, Object, TypedArray, Value};

use crate::bindings::dormouse::room::access::PermissionSet;
use crate::bindings::dormouse::room::types::{Message, Request, Response, User};
use crate::flat::display;

/// Bytes: a `Uint8Array` on the side of JavaScript; an `ArrayBuffer` is accepted too.
pub(crate) struct Bytes(pub(crate) Vec<u8>);

impl<'js> FromJs<'js> for Bytes {
    #[expect(unsafe_code, reason = "the bytes are copied before anything else runs")]
    fn from_js(ctx: &Ctx<'js>, value: Value<'js>) -> rquickjs::Result<Bytes> {
        let object = value.as_object();
        if let Some(array) = object.and_then(|object| object.as_typed_array::<u8>()) {
            // SAFETY: no script runs while the slice exists.
            return Ok(Bytes(unsafe { array.as_bytes() }.unwrap_or_default().to_vec()));
        }
        if let Some(buffer) = object.and_then(|object| object.as_array_buffer()) {
            // SAFETY: as above.
            return Ok(Bytes(unsafe { ArrayBuffer::as_bytes(buffer) }.unwrap_or_default().to_vec()));
        }
        Err(Exception::throw_type(ctx, &format!("a Uint8Array is expected, not {}", kind(&value))))
    }
}

impl<'js> IntoJs<'js> for Bytes {
    fn into_js(self, ctx: &Ctx<'js>) -> rquickjs::Result<Value<'js>> {
        Ok(TypedArray::<u8>::new(ctx.clone(), self.0)?.into_value())
    }
}

/// A text. A lone surrogate becomes U+FFFD, as the Web does with texts that leave a script.
pub(crate) struct Text(pub(crate) String);

impl<'js> FromJs<'js> for Text {
    fn from_js(ctx: &Ctx<'js>, value: Value<'js>) -> rquickjs::Result<Text> {
        match value.as_string() {
            Some(_) => Ok(Text(display(&value))),
            None => Err(Exception::throw_type(ctx, &format!("a string is expected, not {}", kind(&value)))),
        }
    }
}

/// A key of the storage: a string in UTF-8, or bytes as they are.
pub(crate) struct Key(pub(crate) Vec<u8>);

impl<'js> FromJs<'js> for Key {
    fn from_js(ctx: &Ctx<'js>, value: Value<'js>) -> rquickjs::Result<Key> {
        let Some(string) = value.as_string() else { return Bytes::from_js(ctx, value).map(|Bytes(key)| Key(key)) };
        match string.to_string() {
            Ok(key) => Ok(Key(key.into_bytes())),
            // Replacing the surrogate would make one key of two.
            Err(_) => Err(Exception::throw_type(ctx, "a key must be well-formed Unicode")),
        }
    }
}

impl<'js> IntoJs<'js> for Key {
    fn into_js(self, ctx: &Ctx<'js>) -> rquickjs::Result<Value<'js>> {
        match String::from_utf8(self.0) {
            Ok(key) => key.into_js(ctx),
            Err(error) => Bytes(error.into_bytes()).into_js(ctx),
        }
    }
}

/// The kind of a value, for errors.
fn kind(value: &Value<'_>) -> &'static str {
    if value.is_array() { "an array" } else { value.type_of().as_str() }
}

impl<'js> FromJs<'js> for Message {
    fn from_js(ctx: &Ctx<'js>, value: Value<'js>) -> rquickjs::Result<Message> {
        if value.is_string() {
            return Ok(Message::Text(display(&value)));
        }
        Bytes::from_js(ctx, value).map(|Bytes(bytes)| Message::Binary(bytes))
    }
}

impl<'js> IntoJs<'js> for Message {
    fn into_js(self, ctx: &Ctx<'js>) -> rquickjs::Result<Value<'js>> {
        match self {
            Message::Text(text) => text.into_js(ctx),
            Message::Binary(bytes) => Bytes(bytes).into_js(ctx),
        }
    }
}

impl<'js> IntoJs<'js> for User {
    fn into_js(self, ctx: &Ctx<'js>) -> rquickjs::Result<Value<'js>> {
        let object = Object::new(ctx.clone())?;
        object.set("id", self.id)?;
        object.set("name", self.name)?;
        Ok(object.into_value())
    }
}

impl<'js> FromJs<'js> for User {
    fn from_js(ctx: &Ctx<'js>, value: Value<'js>) -> rquickjs::Result<User> {
        let object = Object::from_js(ctx, value)?;
        Ok(User { id: object.get::<_, Text>("id")?.0, name: object.get::<_, Text>("name")?.0 })
    }
}

impl<'js> IntoJs<'js> for Request {
    fn into_js(self, ctx: &Ctx<'js>) -> rquickjs::Result<Value<'js>> {
        let object = Object::new(ctx.clone())?;
        object.set("method", self.method)?;
        object.set("path", self.path)?;
        if let Some(query) = self.query {
            object.set("query", query)?;
        }
        object.set("headers", headers_into_js(ctx, self.headers)?)?;
        object.set("body", Bytes(self.body))?;
        if let Some(user) = self.user {
            object.set("user", user)?;
        }
        Ok(object.into_value())
    }
}

impl<'js> FromJs<'js> for Request {
    fn from_js(ctx: &Ctx<'js>, value: Value<'js>) -> rquickjs::Result<Request> {
        let object = Object::from_js(ctx, value)?;
        Ok(Request {
            method: object.get::<_, Text>("method")?.0,
            path: object.get::<_, Text>("path")?.0,
            query: object.get::<_, Option<Text>>("query")?.map(|Text(query)| query),
            headers: headers_from_js(&object)?,
            body: body_from_js(&object)?,
            user: object.get("user")?,
        })
    }
}

impl<'js> FromJs<'js> for Response {
    fn from_js(ctx: &Ctx<'js>, value: Value<'js>) -> rquickjs::Result<Response> {
        let Some(object) = value.as_object() else {
            return Err(Exception::throw_type(ctx, &format!("a response is expected, not {}", kind(&value))));
        };
        Ok(Response { status: status(object)?, headers: headers_from_js(object)?, body: body_from_js(object)? })
    }
}

impl<'js> IntoJs<'js> for Response {
    fn into_js(self, ctx: &Ctx<'js>) -> rquickjs::Result<Value<'js>> {
        let object = Object::new(ctx.clone())?;
        object.set("status", self.status)?;
        object.set("headers", headers_into_js(ctx, self.headers)?)?;
        object.set("body", Bytes(self.body))?;
        Ok(object.into_value())
    }
}

/// The field `status` of an object: a whole number.
pub(crate) fn status(object: &Object<'_>) -> rquickjs::Result<u16> {
    match object.get::<_, Value>("status")?.as_number() {
        Some(status) if (0.0..=999.0).contains(&status) && status.fract() == 0.0 => Ok(status as u16),
        _ => Err(Exception::throw_type(object.ctx(), "`status` is not the number of a status, such as 200")),
    }
}

fn headers_into_js<'js>(ctx: &Ctx<'js>, headers: Vec<(String, String)>) -> rquickjs::Result<Array<'js>> {
    let list = Array::new(ctx.clone())?;
    for (index, (name, value)) in headers.into_iter().enumerate() {
        list.set(index, vec![name, value])?;
    }
    Ok(list)
}

fn headers_from_js(object: &Object<'_>) -> rquickjs::Result<Vec<(String, String)>> {
    let Some(list) = object.get::<_, Option<Array>>("headers")? else { return Ok(Vec::new()) };
    list.iter::<Array>()
        .map(|header| {
            let header = header?;
            Ok((header.get::<Text>(0)?.0, header.get::<Text>(1)?.0))
        })
        .collect()
}

fn body_from_js(object: &Object<'_>) -> rquickjs::Result<Vec<u8>> {
    let body: Value = object.get("body")?;
    if body.is_undefined() || body.is_null() {
        return Ok(Vec::new());
    }
    Message::from_js(object.ctx(), body).map(|body| match body {
        Message::Text(text) => text.into_bytes(),
        Message::Binary(bytes) => bytes,
    })
}

/// The names of permissions.
pub(crate) fn permissions(set: PermissionSet) -> Vec<&'static str> {
    [
        (PermissionSet::READ, "read"),
        (PermissionSet::WRITE, "write"),
        (PermissionSet::PRESENCE, "presence"),
        (PermissionSet::MODERATE, "moderate"),
        (PermissionSet::ADMIN, "admin"),
    ]
    .into_iter()
    .filter_map(|(permission, name)| set.contains(permission).then_some(name))
    .collect()
}

/// A whole number of 64 bits, such as the id of a socket, in decimal digits: a number of JavaScript has 53.
pub(crate) fn number(digits: &str) -> Option<u64> {
    digits.parse().ok()
}
