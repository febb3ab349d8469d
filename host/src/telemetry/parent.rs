//! The place of a span in a trace, in the headers `traceparent` and `tracestate` of W3C Trace Context. Pure functions.
//!
//! It does not know who may decide what is sampled: `telemetry` does.

use opentelemetry::trace::{SpanContext, SpanId, TraceFlags, TraceId, TraceState};

use crate::model::{Request, TRACE_PARENT, TRACE_STATE, is_header};

/// The longest list in `tracestate` that is passed on, in bytes: as much as each service must pass on at least.
const STATE_BYTES: usize = 512;
/// The most members of that list, and the longest key and value: the standard allows no more.
const STATE_MEMBERS: usize = 32;
const MEMBER_BYTES: usize = 256;

/// Reads the place of the caller's span. Absent if the header is missing, malformed, or there are several of it. A
/// malformed `tracestate` is dropped alone, as the standard asks.
pub(super) fn read<'a>(headers: impl Iterator<Item = (&'a str, &'a [u8])>) -> Option<SpanContext> {
    let (mut parents, mut states) = (Vec::new(), Vec::new());
    for (name, value) in headers {
        if is_header(name, TRACE_PARENT) {
            parents.push(value);
        } else if is_header(name, TRACE_STATE) {
            states.push(value);
        }
    }
    let [parent] = parents[..] else { return None };
    let (trace_id, span_id, flags) = parse(parent.trim_ascii())?;
    let context = SpanContext::new(trace_id, span_id, flags, true, state(&states));
    context.is_valid().then_some(context)
}

/// Replaces the headers of a request: its receiver is a child of this span.
pub(super) fn write(context: &SpanContext, request: &mut Request) {
    request.remove_header(TRACE_PARENT);
    request.remove_header(TRACE_STATE);
    let flags = context.trace_flags() & TraceFlags::SAMPLED;
    let parent = format!("00-{}-{}-{flags:02x}", context.trace_id(), context.span_id());
    request.headers.push((TRACE_PARENT.into(), parent));
    let state = context.trace_state().header();
    if !state.is_empty() {
        request.headers.push((TRACE_STATE.into(), state));
    }
}

/// Reads `00-<32 digits>-<16 digits>-<2 digits>`. Later versions may have more behind that.
fn parse(parent: &[u8]) -> Option<(TraceId, SpanId, TraceFlags)> {
    let parent = std::str::from_utf8(parent).ok()?;
    let is_hex = |text: &str| text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    let mut parts = parent.split('-');
    let mut next = |digits: usize| parts.next().filter(|part| part.len() == digits && is_hex(part));
    let (version, trace_id, span_id, flags) = (next(2)?, next(32)?, next(16)?, next(2)?);
    if version == "ff" || (version == "00" && parts.next().is_some()) {
        return None;
    }
    let flags = TraceFlags::new(u8::from_str_radix(flags, 16).ok()?);
    Some((TraceId::from_hex(trace_id).ok()?, SpanId::from_hex(span_id).ok()?, flags & TraceFlags::SAMPLED))
}

fn state(values: &[&[u8]]) -> TraceState {
    let all = values.join(&b","[..]);
    let text = std::str::from_utf8(&all).ok().filter(|text| text.len() <= STATE_BYTES);
    text.and_then(members).and_then(|members| TraceState::from_key_value(members).ok()).unwrap_or_default()
}

/// The members of a list, as the standard defines them; absent if one is malformed, if a key comes twice, or if there
/// are too many.
fn members(list: &str) -> Option<Vec<(&str, &str)>> {
    let mut members = Vec::new();
    for member in list.split(',').map(|member| member.trim_matches([' ', '\t'])).filter(|member| !member.is_empty()) {
        let (key, value) = member.split_once('=').filter(|(key, value)| is_key(key) && is_value(value))?;
        if members.len() == STATE_MEMBERS || members.iter().any(|(other, _)| *other == key) {
            return None;
        }
        members.push((key, value));
    }
    Some(members)
}

fn is_key(key: &str) -> bool {
    let may_be = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_-*/@".contains(&byte);
    let begins = |part: &str| part.starts_with(|first: char| first.is_ascii_lowercase() || first.is_ascii_digit());
    let mut parts = key.split('@');
    key.len() <= MEMBER_BYTES && key.bytes().all(may_be) && parts.all(begins) && key.matches('@').count() <= 1
}

/// Other bytes could not be sent on in a header.
fn is_value(value: &str) -> bool {
    let is_char = |byte: u8| matches!(byte, b' '..=b'~') && !b",=".contains(&byte);
    (1..=MEMBER_BYTES).contains(&value.len()) && value.bytes().all(is_char) && !value.ends_with(' ')
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    fn read_pairs(headers: &[(&str, &str)]) -> Option<SpanContext> {
        read(headers.iter().map(|(name, value)| (*name, value.as_bytes())))
    }

    fn written(context: &SpanContext) -> Vec<(String, String)> {
        let mut request = Request::get("/");
        request.headers.push(("TraceParent".into(), "of the guest".into()));
        write(context, &mut request);
        request.headers
    }

    #[test]
    fn a_parent_is_read_and_written_the_same() {
        let context = read_pairs(&[("traceparent", GOOD), ("tracestate", "a=1, b=2"), ("tracestate", "c=3")]).unwrap();
        assert!(context.is_sampled() && context.is_remote());
        let expected = [("traceparent", GOOD), ("tracestate", "a=1,b=2,c=3")];
        assert_eq!(written(&context), expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
        let not_sampled = read_pairs(&[("traceparent", &GOOD.replace("-01", "-02"))]).unwrap();
        assert!(!not_sampled.is_sampled());
        assert!(written(&not_sampled)[0].1.ends_with("-00"), "unknown flags are not passed on");
        let later = read_pairs(&[("TraceParent", &GOOD.replace("00-0a", "cc-0a")), ("x", "y")]).unwrap();
        assert_eq!(written(&later)[0].1, GOOD, "a later version is read as far as it is known");
        assert!(read_pairs(&[("traceparent", &format!("{}-more", GOOD.replace("00-0a", "01-0a")))]).is_some());
    }

    #[test]
    fn a_malformed_parent_is_ignored() {
        for bad in [
            "",
            "00",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-1",
            "00-0AF7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-+af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
            "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-00",
            "0-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319ç-b7ad6b7169203331-01",
        ] {
            assert_eq!(read_pairs(&[("traceparent", bad)]), None, "{bad}");
        }
        assert_eq!(
            read_pairs(&[("traceparent", GOOD), ("traceparent", GOOD)]),
            None,
            "two could contradict each other"
        );
    }

    #[test]
    fn a_malformed_state_is_dropped_alone() {
        let long = format!("a={}", "x".repeat(STATE_BYTES));
        let many = (0..=STATE_MEMBERS).map(|number| format!("k{number}=1")).collect::<Vec<_>>().join(",");
        let key = format!("{}=1", "k".repeat(MEMBER_BYTES + 1));
        for bad in [
            "a",
            "A B=1",
            "a=1\u{7f}",
            "a=ç",
            "a=",
            "=1",
            "a==1",
            "a=1=2",
            "a=1,a=2",
            "@b=1",
            "a@b@c=1",
            "a@=1",
            &long,
            &many,
            &key,
        ] {
            let context = read_pairs(&[("traceparent", GOOD), ("tracestate", bad)]).unwrap();
            assert_eq!(written(&context).len(), 1, "{bad}");
        }
    }
}

#[cfg(test)]
mod fuzz {
    use dormouse_fuzz::{fuzz, mutated};

    use super::*;

    /// Whatever a client sends, the headers that leave are valid, and name the same trace.
    #[test]
    fn any_headers_of_a_client_give_a_valid_parent_or_none() {
        const PARENTS: [&[u8]; 2] = [
            b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            b"cc-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00-x",
        ];
        const STATES: [&[u8]; 2] = [b"rojo=00f067aa0ba902b7,congo=t61rcWkgMzE", b"a@b=c , ,d=\xe9"];
        fuzz((mutated(&PARENTS), mutated(&STATES)), |(parent, state)| {
            let headers = [(TRACE_PARENT, &parent[..]), (TRACE_STATE, &state[..])];
            let Some(context) = read(headers.into_iter()) else { return };
            let mut request = Request::get("/");
            write(&context, &mut request);
            for (name, value) in &request.headers {
                assert!(value.bytes().all(|byte| matches!(byte, b' '..=b'~')), "{name}: {value:?}");
            }
            let again = read(request.headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes())));
            let again = again.expect("what was written can be read");
            assert_eq!((again.trace_id(), again.span_id()), (context.trace_id(), context.span_id()));
        });
    }
}
