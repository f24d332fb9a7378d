//! Writes a block of spans; the layout is drawn in `migrations/FORMAT.md`.

use std::sync::Arc;

use hashbrown::HashMap;

use super::{Column, FORMAT, SpanHeader, flag, realm, tag};
use crate::{
    codec::varint,
    model::{AttributeValue, Attributes, Resource, Scope, Span, SpanId, SpanStatus, TraceId},
};

/// Encodes spans of one agent, of which there is at least one, in the order given; `level` is that of zstd.
pub fn encode_spans(spans: &[&Span], level: i32) -> (SpanHeader, Vec<u8>) {
    let mut writer = Writer::default();
    for span in spans {
        writer.span(span);
    }
    let plain = writer.finish();
    let mut body = vec![FORMAT];
    varint::put_u64(&mut body, plain.len() as u64);
    // Compression into memory fails only for lack of it.
    body.extend(zstd::bulk::compress(&plain, level).unwrap_or_default());
    let checksum = crc32c::crc32c(&body);
    body.extend_from_slice(&checksum.to_le_bytes());
    (SpanHeader::of(spans), body)
}

/// An interned list: each thing once, by number in order of appearance.
#[derive(Debug)]
struct Numbers<K>(HashMap<K, u64>);

impl<K> Default for Numbers<K> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

impl<K: std::hash::Hash + Eq> Numbers<K> {
    /// The number, and whether it is new.
    fn of(&mut self, key: K) -> (u64, bool) {
        let next = self.0.len() as u64;
        let number = *self.0.entry(key).or_insert(next);
        (number, number == next)
    }
}

#[derive(Debug, Default)]
struct Writer<'a> {
    columns: [Vec<u8>; Column::COUNT],
    strings: Numbers<&'a str>,
    traces: Numbers<TraceId>,
    resources: Numbers<*const Resource>,
    scopes: Numbers<*const Scope>,
    shapes: Numbers<Vec<u8>>,
    /// Values by key and tag.
    values: HashMap<(u64, u8), Vec<u8>>,
    value_order: Vec<(u64, u8)>,
    /// Where the spans are that were written.
    places: HashMap<(TraceId, SpanId), u64>,
    count: u64,
    trace_before: u64,
    start_before: i64,
}

impl<'a> Writer<'a> {
    fn column(&mut self, column: Column) -> &mut Vec<u8> {
        &mut self.columns[column as usize]
    }

    fn put(&mut self, column: Column, number: u64) {
        varint::put_u64(self.column(column), number);
    }

    fn put_signed(&mut self, column: Column, number: i64) {
        varint::put_i64(self.column(column), number);
    }

    fn string(&mut self, text: &'a str) -> u64 {
        let (number, is_new) = self.strings.of(text);
        if is_new {
            varint::put_bytes(self.column(Column::Strings), text.as_bytes());
        }
        number
    }

    fn span(&mut self, span: &'a Span) {
        self.ids(span);
        self.put_signed(
            Column::Starts,
            span.start_ns.wrapping_sub(self.start_before),
        );
        self.start_before = span.start_ns;
        let length = span.end_ns.map_or(0, |end| end.wrapping_sub(span.start_ns));
        self.put_signed(Column::Durations, length);
        let name = self.string(&span.name);
        self.put(Column::Names, name);
        let has_more = has_more(span);
        let mut flags = span.kind.number() << flag::KIND_SHIFT
            | (span.agent_origin as u8) << flag::ORIGIN_SHIFT;
        for (is, bit) in [
            (span.is_open(), flag::OPEN),
            (span.is_shared, flag::SHARED),
            (has_more, flag::MORE),
        ] {
            if is {
                flags |= bit;
            }
        }
        self.column(Column::Flags).push(flags);
        self.status(span);
        let resource = self.resource(&span.resource);
        self.put(Column::Origins, resource);
        let scope = self.scope(&span.scope);
        self.put(Column::Origins, scope);
        let shape = self.shape(&span.attributes, realm::SPANS);
        self.put(Column::ShapeOf, shape);
        self.events(span);
        self.links(span);
        if has_more {
            self.more(span);
        }
    }

    fn ids(&mut self, span: &Span) {
        let (trace, is_new) = self.traces.of(span.trace_id);
        if is_new {
            let bytes = span.trace_id.as_u128().to_be_bytes();
            self.column(Column::Traces).extend(bytes);
        }
        let step = trace.wrapping_sub(self.trace_before) as i64;
        self.put_signed(Column::TraceOf, step);
        self.trace_before = trace;
        let bytes = span.span_id.as_u64().to_be_bytes();
        self.column(Column::SpanIds).extend(bytes);
        let near = span
            .parent_id
            .map(|id| self.places.get(&(span.trace_id, id)).copied());
        match (span.parent_id, near) {
            (Some(_), Some(Some(place))) => self.put(Column::Parents, 2 + (self.count - 1 - place)),
            (Some(id), _) => {
                self.put(Column::Parents, 1);
                self.column(Column::ParentIds)
                    .extend(id.as_u64().to_be_bytes());
            }
            (None, _) => self.put(Column::Parents, 0),
        }
        self.places
            .insert((span.trace_id, span.span_id), self.count);
        self.count += 1;
    }

    fn status(&mut self, span: &'a Span) {
        let status = match &span.status {
            SpanStatus::Unset => 0,
            SpanStatus::Ok => 1,
            SpanStatus::Error => 2,
            SpanStatus::Other(word) => 3 + self.string(word),
        };
        self.put(Column::Statuses, status);
        let message = self.string(&span.status_message);
        self.put(Column::Statuses, message);
    }

    fn resource(&mut self, resource: &'a Arc<Resource>) -> u64 {
        let (number, is_new) = self.resources.of(Arc::as_ptr(resource));
        if is_new {
            let url = self.string(&resource.schema_url);
            let shape = self.shape(&resource.attributes, realm::RESOURCES);
            for number in [url, shape, u64::from(resource.dropped_attributes)] {
                self.put(Column::Resources, number);
            }
        }
        number
    }

    fn scope(&mut self, scope: &'a Arc<Scope>) -> u64 {
        let (number, is_new) = self.scopes.of(Arc::as_ptr(scope));
        if is_new {
            let name = self.string(&scope.name);
            let version = self.string(&scope.version);
            let url = self.string(&scope.schema_url);
            let shape = self.shape(&scope.attributes, realm::SCOPES);
            for number in [
                name,
                version,
                url,
                shape,
                u64::from(scope.dropped_attributes),
            ] {
                self.put(Column::Scopes, number);
            }
        }
        number
    }

    /// Writes the values of attributes, and returns the number of the list of their keys and tags.
    fn shape(&mut self, attributes: &'a Attributes, realm: u8) -> u64 {
        let mut shape = Vec::with_capacity(attributes.len() * 3 + 1);
        varint::put_u64(&mut shape, attributes.len() as u64);
        for (key, value) in attributes.iter() {
            let key = self.string(key);
            let tag = tag_of(value) | realm;
            varint::put_u64(&mut shape, key);
            shape.push(tag);
            let mut bytes = self.values.remove(&(key, tag)).unwrap_or_else(|| {
                self.value_order.push((key, tag));
                Vec::new()
            });
            self.value(value, &mut bytes);
            self.values.insert((key, tag), bytes);
        }
        if let Some(number) = self.shapes.0.get(&shape) {
            return *number;
        }
        self.column(Column::Shapes).extend_from_slice(&shape);
        self.shapes.of(shape).0
    }

    /// Writes a value without its tag.
    fn value(&mut self, value: &'a AttributeValue, out: &mut Vec<u8>) {
        match value {
            AttributeValue::Empty | AttributeValue::Bool(_) => {}
            AttributeValue::Text(text) => {
                let number = self.string(text);
                varint::put_u64(out, number);
            }
            AttributeValue::Int(number) => varint::put_i64(out, *number),
            AttributeValue::Float(number) => out.extend(number.to_bits().to_le_bytes()),
            AttributeValue::Bytes(bytes) => varint::put_bytes(out, bytes),
            AttributeValue::List(values) => {
                varint::put_u64(out, values.len() as u64);
                for value in values {
                    out.push(tag_of(value));
                    self.value(value, out);
                }
            }
            AttributeValue::Map(map) => {
                varint::put_u64(out, map.len() as u64);
                for (key, value) in map.iter() {
                    let key = self.string(key);
                    varint::put_u64(out, key);
                    out.push(tag_of(value));
                    self.value(value, out);
                }
            }
        }
    }

    fn events(&mut self, span: &'a Span) {
        self.put(Column::Events, span.events.len() as u64);
        for event in &span.events {
            self.put_signed(Column::Events, event.time_ns.wrapping_sub(span.start_ns));
            let name = self.string(&event.name);
            let shape = self.shape(&event.attributes, realm::SPANS);
            for number in [name, shape, u64::from(event.dropped_attributes)] {
                self.put(Column::Events, number);
            }
        }
    }

    fn links(&mut self, span: &'a Span) {
        self.put(Column::Links, span.links.len() as u64);
        for link in &span.links {
            let column = self.column(Column::Links);
            column.extend(link.trace_id.as_u128().to_be_bytes());
            column.extend(link.span_id.as_u64().to_be_bytes());
            let state = self.string(&link.trace_state);
            let shape = self.shape(&link.attributes, realm::SPANS);
            let dropped = u64::from(link.dropped_attributes);
            for number in [state, shape, dropped, u64::from(link.flags)] {
                self.put(Column::Links, number);
            }
        }
    }

    fn more(&mut self, span: &'a Span) {
        let state = self.string(&span.trace_state);
        for number in [
            state,
            u64::from(span.flags),
            u64::from(span.dropped_attributes),
            u64::from(span.dropped_events),
            u64::from(span.dropped_links),
            u64::from(span.usage.is_some()),
        ] {
            self.put(Column::More, number);
        }
        if let Some(usage) = &span.usage {
            for number in [
                usage.input,
                usage.output,
                usage.cache_read,
                usage.cache_creation,
                usage.reasoning,
                u64::from(usage.cost.is_some()),
            ] {
                self.put(Column::More, number);
            }
            if let Some(cost) = usage.cost {
                self.column(Column::More)
                    .extend(cost.to_bits().to_le_bytes());
            }
        }
    }

    fn finish(mut self) -> Vec<u8> {
        for (key, tag) in std::mem::take(&mut self.value_order) {
            let bytes = self.values.remove(&(key, tag)).unwrap_or_default();
            let column = self.column(Column::Values);
            varint::put_u64(column, key);
            column.push(tag);
            varint::put_bytes(column, &bytes);
        }
        let length = self
            .columns
            .iter()
            .map(|column| column.len() + 4)
            .sum::<usize>();
        let mut out = Vec::with_capacity(length + 8);
        varint::put_u64(&mut out, self.count);
        for column in &self.columns {
            varint::put_bytes(&mut out, column);
        }
        out
    }
}

fn has_more(span: &Span) -> bool {
    !span.trace_state.is_empty()
        || span.flags != 0
        || span.dropped_attributes != 0
        || span.dropped_events != 0
        || span.dropped_links != 0
        || span.usage.is_some()
}

const fn tag_of(value: &AttributeValue) -> u8 {
    match value {
        AttributeValue::Empty => tag::EMPTY,
        AttributeValue::Text(_) => tag::TEXT,
        AttributeValue::Bool(false) => tag::FALSE,
        AttributeValue::Bool(true) => tag::TRUE,
        AttributeValue::Int(_) => tag::INT,
        AttributeValue::Float(_) => tag::FLOAT,
        AttributeValue::Bytes(_) => tag::BYTES,
        AttributeValue::List(_) => tag::LIST,
        AttributeValue::Map(_) => tag::MAP,
    }
}
