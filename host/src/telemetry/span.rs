//! A span that is under way. It ends when it is dropped, and then waits for the exporter.
//!
//! A span of a trace that is not sampled records nothing: it only has a place in its trace, which calls carry on.

use std::borrow::Cow;
use std::time::{Instant, SystemTime};

use opentelemetry::trace::{SpanContext, SpanId, Status, TraceFlags, TraceId, TraceState};
use opentelemetry::{InstrumentationScope, KeyValue, Value};
use opentelemetry_sdk::trace::{SpanData, SpanEvents, SpanLinks};

use super::parent;
use super::queue::SpanQueue;
use crate::clock;
use crate::limits::SPAN_TEXT_BYTES;
use crate::model::Request;
use crate::random;

pub(crate) use opentelemetry::trace::SpanKind;

/// A span that is under way.
pub(crate) struct Span(Box<Open>);

/// A place in a trace, from which further spans begin. It outlives its span.
#[derive(Clone)]
pub(crate) struct Place {
    queue: SpanQueue,
    context: SpanContext,
}

struct Open {
    place: Place,
    /// Absent if the trace is not sampled.
    record: Option<Record>,
}

struct Record {
    parent: SpanId,
    parent_is_remote: bool,
    kind: SpanKind,
    name: Cow<'static, str>,
    started: SystemTime,
    began: Instant,
    attributes: Vec<KeyValue>,
    error: Option<&'static str>,
}

impl Span {
    /// Begins a span at `context`, below `parent` if there is one.
    pub(super) fn begin(
        queue: SpanQueue,
        context: SpanContext,
        parent: Option<&SpanContext>,
        name: impl Into<Cow<'static, str>>,
        kind: SpanKind,
    ) -> Self {
        let record = context.is_sampled().then(|| Record {
            parent: parent.map_or(SpanId::INVALID, SpanContext::span_id),
            parent_is_remote: parent.is_some_and(SpanContext::is_remote),
            kind,
            name: name.into(),
            started: clock::wall_time(),
            began: clock::monotonic(),
            attributes: Vec::new(),
            error: None,
        });
        Span(Box::new(Open { place: Place { queue, context }, record }))
    }

    /// Its place in the trace.
    pub(crate) fn place(&self) -> Place {
        self.0.place.clone()
    }

    /// A span of the host's own work below this one; absent if nothing is recorded.
    pub(crate) fn inner(&self, name: &'static str) -> Option<Span> {
        self.0.record.as_ref()?;
        Some(self.0.place.begin(name, SpanKind::Internal))
    }

    /// Adds a word to its name. Names are for groups of spans, so there must be few of them.
    pub(crate) fn add_to_name(&mut self, word: &str) {
        if let Some(record) = &mut self.0.record {
            record.name = format!("{} {word}", record.name).into();
        }
    }

    /// Sets an attribute, or replaces its value. A text of more than [`SPAN_TEXT_BYTES`] is cut.
    pub(crate) fn set_text(&mut self, key: &'static str, text: &str) {
        let text = &text[..text.floor_char_boundary(SPAN_TEXT_BYTES)];
        self.set(key, || text.to_owned().into());
    }

    /// Sets an attribute to a word that the host chose.
    pub(crate) fn set_word(&mut self, key: &'static str, word: &'static str) {
        self.set(key, || word.into());
    }

    /// Sets an attribute to a number.
    pub(crate) fn set_number(&mut self, key: &'static str, number: impl TryInto<i64>) {
        self.set(key, || number.try_into().unwrap_or(i64::MAX).into());
    }

    fn set(&mut self, key: &'static str, value: impl FnOnce() -> Value) {
        let Some(record) = &mut self.0.record else { return };
        match record.attributes.iter_mut().find(|attribute| attribute.key.as_str() == key) {
            Some(attribute) => attribute.value = value(),
            None => record.attributes.push(KeyValue::new(key, value())),
        }
    }

    /// Marks it as failed, for a reason in a word of the host: texts of guests and clients may hold secrets.
    pub(crate) fn fail(&mut self, reason: &'static str) {
        if let Some(record) = &mut self.0.record {
            record.error = Some(reason);
        }
    }

    /// Takes [`fail`](Self::fail) back. A span that may be cut off begins as failed.
    pub(crate) fn succeed(&mut self) {
        if let Some(record) = &mut self.0.record {
            record.error = None;
        }
    }

    /// Lets a request carry the trace on: its receiver is a child of this span. It replaces the headers that the sender
    /// has set.
    pub(crate) fn write_to(&self, request: &mut Request) {
        parent::write(&self.0.place.context, request);
    }
}

impl Place {
    /// Begins a span below this place.
    pub(crate) fn begin(&self, name: impl Into<Cow<'static, str>>, kind: SpanKind) -> Span {
        let context = below(&self.context);
        Span::begin(self.queue.clone(), context, Some(&self.context), name, kind)
    }
}

impl Drop for Span {
    fn drop(&mut self) {
        let Some(record) = self.0.record.take() else { return };
        let Place { queue, context } = &self.0.place;
        let mut attributes = record.attributes;
        attributes.extend(record.error.map(|reason| KeyValue::new("error.type", reason)));
        queue.push(SpanData {
            span_context: context.clone(),
            parent_span_id: record.parent,
            parent_span_is_remote: record.parent_is_remote,
            span_kind: record.kind,
            name: record.name,
            start_time: record.started,
            // The system clock may be set meanwhile.
            end_time: record.started + clock::since(record.began),
            attributes,
            dropped_attributes_count: 0,
            events: SpanEvents::default(),
            links: SpanLinks::default(),
            status: record.error.map_or(Status::Unset, Status::error),
            instrumentation_scope: InstrumentationScope::builder("dormouse")
                .with_version(env!("CARGO_PKG_VERSION"))
                .build(),
        });
    }
}

/// A new place in a trace.
pub(super) fn context(trace_id: TraceId, sampled: bool, state: TraceState) -> SpanContext {
    let flags = if sampled { TraceFlags::SAMPLED } else { TraceFlags::NOT_SAMPLED };
    SpanContext::new(trace_id, SpanId::from_bytes(random::bytes()), flags, false, state)
}

/// A new place below a span, recorded as that one is.
pub(super) fn below(parent: &SpanContext) -> SpanContext {
    context(parent.trace_id(), parent.is_sampled(), parent.trace_state().clone())
}
