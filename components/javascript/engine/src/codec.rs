//! Structured clones as bytes: how values are stored and sent to other rooms.
//!
//! The first byte says the form. 0: the bytes of a `Uint8Array`. 1: JSON in UTF-8, for values that JSON keeps as they
//! are; so most values of a room can be read in a dump. 2: tagged, for everything else that the structured clone
//! algorithm knows. The forms must never change, because rooms have stored them; a new one gets a new byte.
//!
//! Checking and writing JSON is one pass in Rust. It gives up at the first value that JSON does not keep.

use std::cell::RefCell;
use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::io::Write as _;

use rquickjs::atom::PredefinedAtom;
use rquickjs::object::Property;
use rquickjs::{
    Array, Ctx, Error, Exception, Function, IntoJs, Object, Persistent, String as JsString, Type, Value, qjs,
};

use crate::convert::Bytes;
use crate::flat::{display, with_utf8};

const BYTES: u8 = 0;
const JSON: u8 = 1;
const TAGGED: u8 = 2;

/// The depth to which values may be nested, so that a value cannot use up the stack.
const MAX_DEPTH: usize = 500;

/// The same for JSON: a deeper value is tagged.
const MAX_JSON_DEPTH: usize = 100;

/// The classes of the samples that `web.js` makes, in this order.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Class {
    Object,
    Array,
    Map,
    Set,
    Date,
    RegExp,
    Error,
    ArrayBuffer,
    Number,
    String,
    Boolean,
    BigInt,
    Int8Array,
    Uint8Array,
    Uint8ClampedArray,
    Int16Array,
    Uint16Array,
    Int32Array,
    Uint32Array,
    Float32Array,
    Float64Array,
    BigInt64Array,
    BigUint64Array,
    DataView,
}

const CLASSES: [Class; 24] = [
    Class::Object,
    Class::Array,
    Class::Map,
    Class::Set,
    Class::Date,
    Class::RegExp,
    Class::Error,
    Class::ArrayBuffer,
    Class::Number,
    Class::String,
    Class::Boolean,
    Class::BigInt,
    Class::Int8Array,
    Class::Uint8Array,
    Class::Uint8ClampedArray,
    Class::Int16Array,
    Class::Uint16Array,
    Class::Int32Array,
    Class::Uint32Array,
    Class::Float32Array,
    Class::Float64Array,
    Class::BigInt64Array,
    Class::BigUint64Array,
    Class::DataView,
];

impl Class {
    /// The number of a view's class in the tagged form.
    fn view_number(self) -> u8 {
        self as u8 - Class::Int8Array as u8
    }
}

/// The parts of JavaScript that the codec needs: the numbers of the classes, the identity of `Object.prototype`, and
/// functions that no bundle can replace.
struct Helpers {
    classes: Vec<(u32, Class)>,
    object_prototype: u64,
    functions: Persistent<Object<'static>>,
}

thread_local! {
    static HELPERS: RefCell<Option<Helpers>> = const { RefCell::new(None) };
}

/// Takes the samples and functions of `web.js`.
pub(crate) fn prepare<'js>(ctx: &Ctx<'js>, helpers: Object<'js>) -> rquickjs::Result<()> {
    let samples: Vec<Value> = helpers.get("samples")?;
    let classes = samples.iter().map(class_number).zip(CLASSES).collect();
    let functions: Object = helpers.get("functions")?;
    let object_prototype = helpers.get_prototype().map_or(0, |prototype| identity(prototype.as_value()));
    HELPERS.set(Some(Helpers { classes, object_prototype, functions: Persistent::save(ctx, functions) }));
    Ok(())
}

#[expect(unsafe_code, reason = "rquickjs does not tell the class of an object")]
fn class_number(value: &Value<'_>) -> u32 {
    // SAFETY: the value lives.
    unsafe { qjs::JS_GetClassID(value.as_raw()) }
}

fn class(value: &Value<'_>) -> Option<Class> {
    let number = class_number(value);
    HELPERS.with_borrow(|helpers| {
        let classes = &helpers.as_ref()?.classes;
        classes.iter().find(|(known, _)| *known == number).map(|(_, class)| *class)
    })
}

/// Whether an object has no class of its own: its prototype is `Object.prototype` or `null`.
fn is_plain(object: &Object<'_>) -> bool {
    let Some(prototype) = object.get_prototype() else { return true };
    let prototype = identity(prototype.as_value());
    HELPERS.with_borrow(|helpers| helpers.as_ref().is_some_and(|helpers| helpers.object_prototype == prototype))
}

/// Whether an array has neither holes nor properties that are no index. Indices come first, in order.
fn is_dense(array: &Array<'_>) -> bool {
    let mut keys = array.as_object().keys::<String>();
    let length = array.len();
    keys.len() == length
        && (length == 0 || keys.next_back().is_some_and(|key| key.is_ok_and(|key| key == (length - 1).to_string())))
}

fn helper<'js>(ctx: &Ctx<'js>, name: &str) -> rquickjs::Result<Function<'js>> {
    let functions = HELPERS.with_borrow(|helpers| helpers.as_ref().map(|helpers| helpers.functions.clone()));
    functions.ok_or(Error::Unknown)?.restore(ctx)?.get(name)
}

/// Encodes a value. Throws a `DataCloneError` for one that cannot be cloned.
pub(crate) fn encode<'js>(ctx: &Ctx<'js>, value: Value<'js>) -> rquickjs::Result<Vec<u8>> {
    if class(&value) == Some(Class::Uint8Array) && helper(ctx, "isBytes")?.call((value.clone(),))? {
        let Bytes(bytes) = value.get()?;
        let mut out = Vec::with_capacity(bytes.len() + 1);
        out.push(BYTES);
        out.extend(bytes);
        return Ok(out);
    }
    let mut json = Json { out: vec![JSON], seen: Seen::default() };
    if json.write(&value, 0)? {
        return Ok(json.out);
    }
    let mut tagged = Tagged { out: json.out, seen: Seen::default() };
    tagged.out.clear();
    tagged.out.push(TAGGED);
    tagged.write(ctx, &value, 0)?;
    Ok(tagged.out)
}

/// Decodes a value. Throws an error for bytes that `encode` has not made.
pub(crate) fn decode<'js>(ctx: &Ctx<'js>, bytes: &[u8]) -> rquickjs::Result<Value<'js>> {
    match bytes.split_first() {
        Some((&BYTES, bytes)) => Bytes(bytes.to_vec()).into_js(ctx),
        Some((&JSON, json)) => ctx.json_parse(json),
        Some((&TAGGED, rest)) => {
            let mut reader = Reader { ctx, rest, made: Vec::new() };
            let value = reader.value(0)?;
            if reader.rest.is_empty() { Ok(value) } else { Err(damaged(ctx)) }
        }
        _ => Err(damaged(ctx)),
    }
}

fn damaged(ctx: &Ctx<'_>) -> Error {
    Exception::throw_message(ctx, "these bytes are not an encoded value")
}

fn not_cloneable<'js>(ctx: &Ctx<'js>, value: &Value<'js>) -> Error {
    let shown = helper(ctx, "shown").and_then(|shown| shown.call::<_, String>((value.clone(),)));
    let text = |shown| {
        format!(
            "{shown} could not be cloned: keep data alone, such as texts, numbers, lists, plain objects, Map, Set, Date and bytes."
        )
    };
    shown.map_or_else(|error| error, |shown| clone_error(ctx, &text(shown)))
}

fn clone_error(ctx: &Ctx<'_>, text: &str) -> Error {
    let error = helper(ctx, "dataCloneError").and_then(|make| make.call::<_, Value>((text,)));
    error.map_or_else(|error| error, |error| ctx.throw(error))
}

/// The identities of objects, with the order in which they came.
type Seen = HashMap<u64, u32, BuildHasherDefault<AddressHasher>>;

/// Hashes the address of an object.
#[derive(Default)]
struct AddressHasher(u64);

impl Hasher for AddressHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64(u64::from(*byte));
        }
    }

    fn write_u64(&mut self, number: u64) {
        self.0 = (self.0 ^ number).wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(26);
    }
}

/// The identity of an object, while it lives.
fn identity(value: &Value<'_>) -> u64 {
    value.as_raw()
}

struct Json {
    out: Vec<u8>,
    seen: Seen,
}

impl Json {
    /// Writes a value. Returns false if JSON does not keep it.
    fn write(&mut self, value: &Value<'_>, depth: usize) -> rquickjs::Result<bool> {
        match value.type_of() {
            Type::Null => self.out.extend(b"null"),
            Type::Bool => self.out.extend(if value.as_bool() == Some(true) { &b"true"[..] } else { b"false" }),
            Type::Int => {
                let _ = write!(self.out, "{}", value.as_int().unwrap_or_default());
            }
            Type::Float => return Ok(self.write_float(value.as_float().unwrap_or(f64::NAN))),
            Type::String => self.write_string(value),
            Type::Array | Type::Object => {
                let order = self.seen.len() as u32;
                // An object that is there twice stays one object, which JSON does not keep.
                if depth > MAX_JSON_DEPTH || self.seen.insert(identity(value), order).is_some() {
                    return Ok(false);
                }
                return match class(value) {
                    Some(Class::Array) => self.write_array(value, depth),
                    Some(Class::Object) => self.write_object(value, depth),
                    _ => Ok(false),
                };
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn write_float(&mut self, number: f64) -> bool {
        if !number.is_finite() || (number == 0.0 && number.is_sign_negative()) {
            return false;
        }
        // Both forms are the shortest that read back as the same number.
        let magnitude = number.abs();
        let _ = if (1e-6..1e21).contains(&magnitude) || magnitude == 0.0 {
            write!(self.out, "{number}")
        } else {
            let text = format!("{number:e}");
            write!(self.out, "{}", if magnitude < 1.0 { text } else { text.replace('e', "e+") })
        };
        true
    }

    fn write_string(&mut self, value: &Value<'_>) {
        self.out.push(b'"');
        with_utf8(value, |bytes| escape(bytes, &mut self.out));
        self.out.push(b'"');
    }

    fn write_array(&mut self, value: &Value<'_>, depth: usize) -> rquickjs::Result<bool> {
        let Some(array) = value.as_array().filter(|array| is_dense(array)) else { return Ok(false) };
        self.out.push(b'[');
        for index in 0..array.len() {
            if index > 0 {
                self.out.push(b',');
            }
            if !self.write(&array.get(index)?, depth + 1)? {
                return Ok(false);
            }
        }
        self.out.push(b']');
        Ok(true)
    }

    fn write_object(&mut self, value: &Value<'_>, depth: usize) -> rquickjs::Result<bool> {
        let Some(object) = value.as_object().filter(|object| is_plain(object)) else { return Ok(false) };
        self.out.push(b'{');
        for (index, property) in object.props::<JsString, Value>().enumerate() {
            let (key, value) = property?;
            if index > 0 {
                self.out.push(b',');
            }
            self.write_string(key.as_value());
            self.out.push(b':');
            if !self.write(&value, depth + 1)? {
                return Ok(false);
            }
        }
        self.out.push(b'}');
        Ok(true)
    }
}

/// Writes the inside of a string of JSON. A lone surrogate, which is not UTF-8, becomes an escape.
fn escape(bytes: &[u8], out: &mut Vec<u8>) {
    let mut plain = 0;
    let mut index = 0;
    while index < bytes.len() {
        let byte = bytes[index];
        let is_surrogate = byte == 0xED && bytes.get(index + 1).is_some_and(|next| *next >= 0xA0);
        if byte >= 0x20 && byte != b'"' && byte != b'\\' && !is_surrogate {
            index += 1;
            continue;
        }
        out.extend(&bytes[plain..index]);
        let mut length = 1;
        match byte {
            b'"' | b'\\' => out.extend([b'\\', byte]),
            8 => out.extend(b"\\b"),
            12 => out.extend(b"\\f"),
            b'\n' => out.extend(b"\\n"),
            b'\r' => out.extend(b"\\r"),
            b'\t' => out.extend(b"\\t"),
            0xED => {
                length = 3.min(bytes.len() - index);
                let last = bytes.get(index + 2).copied().unwrap_or(0x80);
                let unit = 0xD000 | (u32::from(bytes[index + 1] & 0x3F) << 6) | u32::from(last & 0x3F);
                let _ = write!(out, "\\u{unit:04x}");
            }
            _ => {
                let _ = write!(out, "\\u{byte:04x}");
            }
        }
        index += length;
        plain = index;
    }
    out.extend(&bytes[plain..]);
}

/// The tags of the form 2. Lengths are LEB128, and a text is UTF-8 behind its length. Objects are numbered in the order
/// of their tags.
mod tag {
    pub(super) const UNDEFINED: u8 = b'_';
    pub(super) const NULL: u8 = b'0';
    pub(super) const TRUE: u8 = b'T';
    pub(super) const FALSE: u8 = b'F';
    /// 8 bytes.
    pub(super) const NUMBER: u8 = b'N';
    /// A text.
    pub(super) const STRING: u8 = b'S';
    /// A string with lone surrogates: its length in bytes, and UTF-16.
    pub(super) const WIDE_STRING: u8 = b'W';
    /// A text of digits.
    pub(super) const BIG_INT: u8 = b'I';
    /// The number of an object that came before.
    pub(super) const AGAIN: u8 = b'r';
    /// The number of properties; each is a string and a value.
    pub(super) const OBJECT: u8 = b'o';
    /// The number of elements, and each element.
    pub(super) const ARRAY: u8 = b'a';
    /// The length of an array with holes or other properties, and its properties as in an object.
    pub(super) const SPARSE_ARRAY: u8 = b'A';
    /// 8 bytes.
    pub(super) const DATE: u8 = b'd';
    /// The number of entries; each is two values.
    pub(super) const MAP: u8 = b'm';
    /// The number of values, and each value.
    pub(super) const SET: u8 = b's';
    /// Two texts.
    pub(super) const REG_EXP: u8 = b'x';
    /// A length, and bytes.
    pub(super) const BUFFER: u8 = b'b';
    /// A byte for the class, a length, and bytes.
    pub(super) const VIEW: u8 = b'v';
    /// Name and message as texts, the stack as a value, and the cause behind `CAUSE`, or `NO_CAUSE`.
    pub(super) const ERROR: u8 = b'e';
    pub(super) const CAUSE: u8 = b'1';
    pub(super) const NO_CAUSE: u8 = b'0';
    /// A value.
    pub(super) const BOXED: u8 = b'p';
}

struct Tagged {
    out: Vec<u8>,
    seen: Seen,
}

impl Tagged {
    fn write<'js>(&mut self, ctx: &Ctx<'js>, value: &Value<'js>, depth: usize) -> rquickjs::Result<()> {
        match value.type_of() {
            Type::Null => self.out.push(tag::NULL),
            Type::Undefined | Type::Uninitialized => self.out.push(tag::UNDEFINED),
            Type::Bool => self.out.push(if value.as_bool() == Some(true) { tag::TRUE } else { tag::FALSE }),
            Type::Int | Type::Float => self.number(tag::NUMBER, value.as_number().unwrap_or(f64::NAN)),
            Type::String => self.string(value),
            Type::BigInt => {
                self.out.push(tag::BIG_INT);
                self.text(value);
            }
            Type::Symbol => return Err(not_cloneable(ctx, value)),
            _ => return self.object(ctx, value, depth),
        }
        Ok(())
    }

    fn object<'js>(&mut self, ctx: &Ctx<'js>, value: &Value<'js>, depth: usize) -> rquickjs::Result<()> {
        if let Some(order) = self.seen.get(&identity(value)).copied() {
            self.out.push(tag::AGAIN);
            self.length(order as usize);
            return Ok(());
        }
        if depth > MAX_DEPTH {
            return Err(clone_error(ctx, "a value nested deeper than 500 could not be cloned."));
        }
        let (Some(class), Some(object)) = (class(value), value.as_object()) else {
            return Err(not_cloneable(ctx, value));
        };
        let order = self.seen.len() as u32;
        self.seen.insert(identity(value), order);
        match class {
            Class::Object => {
                // An object of the Web, such as a `WebSocket`, has a tag.
                if !is_plain(object) && object.get::<_, Value>(PredefinedAtom::SymbolToStringTag)?.is_string() {
                    return Err(not_cloneable(ctx, value));
                }
                self.out.push(tag::OBJECT);
                self.properties(ctx, object, depth)?;
            }
            Class::Array => self.array(ctx, value, depth)?,
            Class::Map => {
                let entries: Vec<Value> = helper(ctx, "mapEntries")?.call((value.clone(),))?;
                self.list(ctx, tag::MAP, entries.len() / 2, &entries, depth)?;
            }
            Class::Set => {
                let values: Vec<Value> = helper(ctx, "setValues")?.call((value.clone(),))?;
                self.list(ctx, tag::SET, values.len(), &values, depth)?;
            }
            Class::Date => self.number(tag::DATE, helper(ctx, "dateValue")?.call((value.clone(),))?),
            Class::RegExp => {
                self.out.push(tag::REG_EXP);
                for part in helper(ctx, "regExpParts")?.call::<_, Vec<Value>>((value.clone(),))? {
                    self.text(&part);
                }
            }
            Class::Error => self.error(ctx, value, depth)?,
            Class::Number | Class::String | Class::Boolean | Class::BigInt => {
                self.out.push(tag::BOXED);
                let inner: Value = helper(ctx, "unboxed")?.call((value.clone(),))?;
                self.write(ctx, &inner, depth + 1)?;
            }
            Class::ArrayBuffer => {
                self.out.push(tag::BUFFER);
                self.bytes(&value.get::<Bytes>()?.0);
            }
            view => {
                self.out.extend([tag::VIEW, view.view_number()]);
                let bytes: Bytes = helper(ctx, "viewBytes")?.call((value.clone(),))?;
                self.bytes(&bytes.0);
            }
        }
        Ok(())
    }

    fn array<'js>(&mut self, ctx: &Ctx<'js>, value: &Value<'js>, depth: usize) -> rquickjs::Result<()> {
        let Some(array) = value.as_array() else { return Err(not_cloneable(ctx, value)) };
        if is_dense(array) {
            let elements = array.iter::<Value>().collect::<rquickjs::Result<Vec<_>>>()?;
            return self.list(ctx, tag::ARRAY, elements.len(), &elements, depth);
        }
        self.out.push(tag::SPARSE_ARRAY);
        self.length(array.len());
        self.properties(ctx, array.as_object(), depth)
    }

    fn error<'js>(&mut self, ctx: &Ctx<'js>, value: &Value<'js>, depth: usize) -> rquickjs::Result<()> {
        self.out.push(tag::ERROR);
        let parts: Vec<Value> = helper(ctx, "errorParts")?.call((value.clone(),))?;
        for (index, part) in parts.iter().enumerate() {
            match index {
                0 | 1 => self.text(part),
                2 => self.write(ctx, part, depth + 1)?,
                _ => {
                    self.out.push(tag::CAUSE);
                    return self.write(ctx, part, depth + 1);
                }
            }
        }
        self.out.push(tag::NO_CAUSE);
        Ok(())
    }

    fn properties<'js>(&mut self, ctx: &Ctx<'js>, object: &Object<'js>, depth: usize) -> rquickjs::Result<()> {
        let properties = object.props::<JsString, Value>().collect::<rquickjs::Result<Vec<_>>>()?;
        self.length(properties.len());
        for (key, value) in properties {
            self.string(key.as_value());
            self.write(ctx, &value, depth + 1)?;
        }
        Ok(())
    }

    fn list<'js>(
        &mut self,
        ctx: &Ctx<'js>,
        tag: u8,
        length: usize,
        items: &[Value<'js>],
        depth: usize,
    ) -> rquickjs::Result<()> {
        self.out.push(tag);
        self.length(length);
        items.iter().try_for_each(|item| self.write(ctx, item, depth + 1))
    }

    fn number(&mut self, tag: u8, number: f64) {
        self.out.push(tag);
        self.out.extend(number.to_le_bytes());
    }

    fn string(&mut self, value: &Value<'_>) {
        with_utf8(value, |bytes| match std::str::from_utf8(bytes) {
            Ok(_) => {
                self.out.push(tag::STRING);
                self.bytes(bytes);
            }
            Err(_) => {
                self.out.push(tag::WIDE_STRING);
                self.bytes(&utf16(bytes));
            }
        });
    }

    fn text(&mut self, value: &Value<'_>) {
        self.bytes(display(value).as_bytes());
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.length(bytes.len());
        self.out.extend(bytes);
    }

    fn length(&mut self, mut length: usize) {
        while length >= 0x80 {
            self.out.push(length as u8 | 0x80);
            length >>= 7;
        }
        self.out.push(length as u8);
    }
}

/// UTF-16 of a string in which lone surrogates are encoded as characters of three bytes.
fn utf16(bytes: &[u8]) -> Vec<u8> {
    let mut wide = Vec::with_capacity(bytes.len() * 2);
    let mut rest = bytes;
    while let Some(first) = rest.first() {
        let length = match first {
            0..0x80 => 1,
            0x80..0xE0 => 2,
            0xE0..0xF0 => 3,
            _ => 4,
        };
        let (character, after) = rest.split_at(length.min(rest.len()));
        rest = after;
        match std::str::from_utf8(character) {
            Ok(text) => wide.extend(text.encode_utf16().flat_map(u16::to_le_bytes)),
            Err(_) => {
                let bits = |index: usize| u16::from(character.get(index).copied().unwrap_or(0x80) & 0x3F);
                wide.extend((0xD000 | (bits(1) << 6) | bits(2)).to_le_bytes());
            }
        }
    }
    wide
}

struct Reader<'a, 'js> {
    ctx: &'a Ctx<'js>,
    rest: &'a [u8],
    made: Vec<Value<'js>>,
}

impl<'js> Reader<'_, 'js> {
    fn value(&mut self, depth: usize) -> rquickjs::Result<Value<'js>> {
        if depth > MAX_DEPTH {
            return Err(damaged(self.ctx));
        }
        let ctx = self.ctx;
        match self.byte()? {
            tag::NULL => Ok(Value::new_null(ctx.clone())),
            tag::UNDEFINED => Ok(Value::new_undefined(ctx.clone())),
            tag::TRUE => Ok(Value::new_bool(ctx.clone(), true)),
            tag::FALSE => Ok(Value::new_bool(ctx.clone(), false)),
            // As a float in any case: an integer has no -0.
            tag::NUMBER => Ok(Value::new_float(ctx.clone(), self.number()?)),
            tag::STRING => Ok(self.text()?.into_value()),
            tag::WIDE_STRING => Ok(self.wide_text()?.into_value()),
            tag::BIG_INT => helper(ctx, "makeBigInt")?.call((self.text()?,)),
            tag::AGAIN => {
                let order = self.length()?;
                self.made.get(order).cloned().ok_or_else(|| damaged(ctx))
            }
            tag::OBJECT => {
                let object = Object::new(ctx.clone())?;
                self.made.push(object.clone().into_value());
                self.properties(&object, depth)?;
                Ok(object.into_value())
            }
            tag::ARRAY => {
                let array = Array::new(ctx.clone())?;
                self.made.push(array.clone().into_value());
                for index in 0..self.count()? {
                    array.set(index, self.value(depth + 1)?)?;
                }
                Ok(array.into_value())
            }
            tag::SPARSE_ARRAY => {
                let array = Array::new(ctx.clone())?;
                self.made.push(array.clone().into_value());
                array.as_object().set("length", self.length()? as f64)?;
                self.properties(array.as_object(), depth)?;
                Ok(array.into_value())
            }
            tag::MAP => {
                let map: Value = helper(ctx, "makeMap")?.call(())?;
                self.made.push(map.clone());
                let entries = self.count()? * 2;
                let items = self.items(entries, depth)?;
                helper(ctx, "fillMap")?.call((map, items))
            }
            tag::SET => {
                let set: Value = helper(ctx, "makeSet")?.call(())?;
                self.made.push(set.clone());
                let values = self.count()?;
                let items = self.items(values, depth)?;
                helper(ctx, "fillSet")?.call((set, items))
            }
            tag::DATE => {
                let number = self.number()?;
                self.make("makeDate", (number,))
            }
            tag::REG_EXP => {
                let parts = (self.text()?, self.text()?);
                self.make("makeRegExp", parts)
            }
            tag::ERROR => {
                let name = self.text()?;
                let message = self.text()?;
                let error = self.make("makeError", (name, message))?;
                let stack = self.value(depth + 1)?;
                let cause = match self.byte()? {
                    tag::CAUSE => vec![self.value(depth + 1)?],
                    tag::NO_CAUSE => Vec::new(),
                    _ => return Err(damaged(ctx)),
                };
                helper(ctx, "fillError")?.call((error, stack, cause))
            }
            tag::BOXED => {
                let order = self.made.len();
                self.made.push(Value::new_undefined(ctx.clone()));
                let inner = self.value(depth + 1)?;
                let boxed: Value = helper(ctx, "boxed")?.call((inner,))?;
                self.made[order] = boxed.clone();
                Ok(boxed)
            }
            tag::BUFFER => {
                let bytes = self.bytes()?.to_vec();
                self.make("makeBuffer", (Bytes(bytes),))
            }
            tag::VIEW => {
                let number = self.byte()?;
                let bytes = self.bytes()?.to_vec();
                self.make("makeView", (number, Bytes(bytes)))
            }
            _ => Err(damaged(ctx)),
        }
    }

    fn make<A: rquickjs::function::IntoArgs<'js>>(&mut self, name: &str, arguments: A) -> rquickjs::Result<Value<'js>> {
        let value: Value = helper(self.ctx, name)?.call(arguments)?;
        self.made.push(value.clone());
        Ok(value)
    }

    fn properties(&mut self, object: &Object<'js>, depth: usize) -> rquickjs::Result<()> {
        for _ in 0..self.count()? {
            let key = match self.byte()? {
                tag::STRING => self.text()?,
                tag::WIDE_STRING => self.wide_text()?,
                _ => return Err(damaged(self.ctx)),
            };
            let value = self.value(depth + 1)?;
            // As `JSON.parse`: an own property, even if its name is `__proto__`.
            object.prop(key, Property::from(value).configurable().enumerable().writable())?;
        }
        Ok(())
    }

    fn items(&mut self, count: usize, depth: usize) -> rquickjs::Result<Array<'js>> {
        let items = Array::new(self.ctx.clone())?;
        for index in 0..count {
            items.set(index, self.value(depth + 1)?)?;
        }
        Ok(items)
    }

    fn byte(&mut self) -> rquickjs::Result<u8> {
        let (byte, rest) = self.rest.split_first().ok_or_else(|| damaged(self.ctx))?;
        self.rest = rest;
        Ok(*byte)
    }

    fn take(&mut self, length: usize) -> rquickjs::Result<&[u8]> {
        let (bytes, rest) = self.rest.split_at_checked(length).ok_or_else(|| damaged(self.ctx))?;
        self.rest = rest;
        Ok(bytes)
    }

    fn number(&mut self) -> rquickjs::Result<f64> {
        let bytes = self.take(8)?.try_into().expect("it has 8 bytes");
        Ok(f64::from_le_bytes(bytes))
    }

    fn bytes(&mut self) -> rquickjs::Result<&[u8]> {
        let length = self.length()?;
        self.take(length)
    }

    fn text(&mut self) -> rquickjs::Result<JsString<'js>> {
        let ctx = self.ctx.clone();
        JsString::from_str(ctx, &String::from_utf8_lossy(self.bytes()?))
    }

    #[expect(unsafe_code, reason = "no `str` has lone surrogates")]
    fn wide_text(&mut self) -> rquickjs::Result<JsString<'js>> {
        let ctx = self.ctx.clone();
        let units =
            self.bytes()?.chunks_exact(2).map(|unit| u16::from_le_bytes([unit[0], unit[1]])).collect::<Vec<_>>();
        // SAFETY: QuickJS copies exactly these units.
        let value = unsafe {
            let raw = qjs::JS_NewStringUTF16(ctx.as_raw().as_ptr(), units.as_ptr(), units.len() as _);
            Value::from_raw(ctx.clone(), raw)
        };
        value.into_string().ok_or_else(|| damaged(&ctx))
    }

    /// The number of elements: each has at least one byte.
    fn count(&mut self) -> rquickjs::Result<usize> {
        let count = self.length()?;
        if count > self.rest.len() { Err(damaged(self.ctx)) } else { Ok(count) }
    }

    fn length(&mut self) -> rquickjs::Result<usize> {
        let mut length = 0;
        for shift in (0..35).step_by(7) {
            let byte = self.byte()?;
            length |= u64::from(byte & 0x7F) << shift;
            if byte < 0x80 {
                return usize::try_from(length).map_err(|_| damaged(self.ctx));
            }
        }
        Err(damaged(self.ctx))
    }
}
