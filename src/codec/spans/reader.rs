//! Reads a block of spans; the layout is drawn in `migrations/FORMAT.md`.

use std::sync::Arc;

use hashbrown::HashMap;

use super::{Column, DEPTH_MAX, flag, opened::SpanBlock, realm, tag};
use crate::{
    codec::{Corrupt, varint},
    model::{
        AgentId, AgentOrigin, AttributeValue, Attributes, Resource, Scope, Span, SpanEvent, SpanId,
        SpanKind, SpanLink, SpanStatus, TokenUsage, TraceId,
    },
};

const CUT_OFF: Corrupt = Corrupt::new("a block of spans is cut off");
pub(super) const NO_STRING: Corrupt =
    Corrupt::new("a block of spans names a string that it does not have");
const BAD_ID: Corrupt = Corrupt::new("a block of spans has an id of zero");

/// Reads the spans of a block of `agent`, in the order written.
///
/// # Errors
/// The bytes are damaged, or written by a newer longwatch.
pub fn decode_spans(body: &[u8], agent: &AgentId) -> Result<Vec<Span>, Corrupt> {
    SpanBlock::open(body)?.spans(agent)
}

/// Reads so many spans from the columns of a block.
pub(super) fn read_spans(
    columns: &[&[u8]; Column::COUNT],
    count: u64,
    agent: &AgentId,
) -> Result<Vec<Span>, Corrupt> {
    let mut reader = Reader::new(columns, agent)?;
    let mut spans: Vec<Span> = Vec::with_capacity(count as usize);
    for _ in 0..count {
        let span = reader.span(&spans)?;
        spans.push(span);
    }
    Ok(spans)
}

struct Reader<'a> {
    columns: [&'a [u8]; Column::COUNT],
    agent: &'a AgentId,
    strings: Vec<Arc<str>>,
    traces: Vec<TraceId>,
    resources: Vec<Arc<Resource>>,
    scopes: Vec<Arc<Scope>>,
    /// Keys and the column of their values.
    shapes: Vec<Vec<(Arc<str>, u8, usize)>>,
    values: Vec<&'a [u8]>,
    trace: u64,
    start: i64,
}

impl<'a> Reader<'a> {
    fn new(columns: &[&'a [u8]; Column::COUNT], agent: &'a AgentId) -> Result<Self, Corrupt> {
        let mut reader = Self {
            columns: *columns,
            agent,
            strings: Vec::new(),
            traces: Vec::new(),
            resources: Vec::new(),
            scopes: Vec::new(),
            shapes: Vec::new(),
            values: Vec::new(),
            trace: 0,
            start: 0,
        };
        reader.read_strings()?;
        reader.read_traces()?;
        reader.read_shapes()?;
        while !reader.columns[Column::Resources as usize].is_empty() {
            let resource = reader.resource()?;
            reader.resources.push(Arc::new(resource));
        }
        while !reader.columns[Column::Scopes as usize].is_empty() {
            let scope = reader.scope()?;
            reader.scopes.push(Arc::new(scope));
        }
        Ok(reader)
    }

    fn read_strings(&mut self) -> Result<(), Corrupt> {
        let column = &mut self.columns[Column::Strings as usize];
        while !column.is_empty() {
            self.strings.push(text(varint::take_bytes(column)?)?.into());
        }
        Ok(())
    }

    fn read_traces(&mut self) -> Result<(), Corrupt> {
        let (ids, rest) = self.columns[Column::Traces as usize].as_chunks::<16>();
        if !rest.is_empty() {
            return Err(CUT_OFF);
        }
        let ids = ids.iter().map(|id| TraceId::from_bytes(id).ok_or(BAD_ID));
        self.traces = ids.collect::<Result<_, _>>()?;
        Ok(())
    }

    /// Shapes, and the columns of values that they name.
    fn read_shapes(&mut self) -> Result<(), Corrupt> {
        let mut places: HashMap<(u64, u8), usize> = HashMap::new();
        let mut column = self.columns[Column::Values as usize];
        while !column.is_empty() {
            let key = varint::take_u64(&mut column)?;
            let tag = take_byte(&mut column)?;
            places.insert((key, tag), self.values.len());
            self.values.push(varint::take_bytes(&mut column)?);
        }
        let mut column = self.columns[Column::Shapes as usize];
        while !column.is_empty() {
            let length = varint::take_u64(&mut column)?;
            let mut shape = Vec::new();
            for _ in 0..length {
                let key = varint::take_u64(&mut column)?;
                let tag = take_byte(&mut column)?;
                let place = places
                    .get(&(key, tag))
                    .ok_or(Corrupt::new("a block of spans lacks a column of values"))?;
                shape.push((self.string(key)?, tag, *place));
            }
            self.shapes.push(shape);
        }
        Ok(())
    }

    fn take(&mut self, column: Column) -> Result<u64, Corrupt> {
        varint::take_u64(&mut self.columns[column as usize])
    }

    fn take_u32(&mut self, column: Column) -> Result<u32, Corrupt> {
        u32::try_from(self.take(column)?).map_err(|_| Corrupt::new("a count of spans is too large"))
    }

    fn take_signed(&mut self, column: Column) -> Result<i64, Corrupt> {
        varint::take_i64(&mut self.columns[column as usize])
    }

    fn take_chunk<const N: usize>(&mut self, column: Column) -> Result<[u8; N], Corrupt> {
        let column = &mut self.columns[column as usize];
        let (chunk, rest) = column.split_first_chunk::<N>().ok_or(CUT_OFF)?;
        *column = rest;
        Ok(*chunk)
    }

    fn string(&self, number: u64) -> Result<Arc<str>, Corrupt> {
        let place = usize::try_from(number).map_err(|_| NO_STRING)?;
        self.strings.get(place).cloned().ok_or(NO_STRING)
    }

    fn take_string(&mut self, column: Column) -> Result<Arc<str>, Corrupt> {
        let number = self.take(column)?;
        self.string(number)
    }

    fn resource(&mut self) -> Result<Resource, Corrupt> {
        Ok(Resource {
            schema_url: self.take_string(Column::Resources)?,
            attributes: self.attributes(Column::Resources)?,
            dropped_attributes: self.take_u32(Column::Resources)?,
        })
    }

    fn scope(&mut self) -> Result<Scope, Corrupt> {
        Ok(Scope {
            name: self.take_string(Column::Scopes)?,
            version: self.take_string(Column::Scopes)?,
            schema_url: self.take_string(Column::Scopes)?,
            attributes: self.attributes(Column::Scopes)?,
            dropped_attributes: self.take_u32(Column::Scopes)?,
        })
    }

    /// Attributes whose shape's number is next in `column`.
    fn attributes(&mut self, column: Column) -> Result<Attributes, Corrupt> {
        let number = self.take(column)? as usize;
        let shape = self.shapes.get(number).ok_or(Corrupt::new(
            "a block of spans names a shape that it does not have",
        ))?;
        let mut attributes = Vec::with_capacity(shape.len());
        for (key, tag, place) in shape {
            let mut rest = self.values[*place];
            let value = value(*tag & realm::TAG, &mut rest, &self.strings, 0)?;
            self.values[*place] = rest;
            attributes.push((Arc::clone(key), value));
        }
        Ok(attributes.into_iter().collect())
    }

    fn span(&mut self, before: &[Span]) -> Result<Span, Corrupt> {
        let step = self.take_signed(Column::TraceOf)?;
        self.trace = self.trace.wrapping_add(step as u64);
        let trace_id = *self.traces.get(self.trace as usize).ok_or(Corrupt::new(
            "a block of spans names a trace that it does not have",
        ))?;
        let span_id = SpanId::from_bytes(&self.take_chunk::<8>(Column::SpanIds)?).ok_or(BAD_ID)?;
        let parent_id = self.parent(before)?;
        self.start = self.start.wrapping_add(self.take_signed(Column::Starts)?);
        let length = self.take_signed(Column::Durations)?;
        let name = self.take_string(Column::Names)?;
        let [flags] = self.take_chunk::<1>(Column::Flags)?;
        let (status, status_message) = self.status()?;
        let resource = self.take(Column::Origins)? as usize;
        let scope = self.take(Column::Origins)? as usize;
        let no_origin = Corrupt::new("a block of spans names a resource that it does not have");
        let attributes = self.attributes(Column::ShapeOf)?;
        let mut span = Span::new(trace_id, span_id, self.agent.clone(), "", self.start);
        span.parent_id = parent_id;
        span.name = name;
        span.end_ns = (flags & flag::OPEN == 0).then(|| self.start.wrapping_add(length));
        span.is_shared = flags & flag::SHARED != 0;
        span.kind = SpanKind::of_number(flags >> flag::KIND_SHIFT).ok_or(Corrupt::new(
            "a block of spans has a kind of span that is not known",
        ))?;
        span.agent_origin = AgentOrigin::ALL[usize::from(flags >> flag::ORIGIN_SHIFT & 3)];
        (span.status, span.status_message) = (status, status_message);
        span.resource = Arc::clone(self.resources.get(resource).ok_or(no_origin.clone())?);
        span.scope = Arc::clone(self.scopes.get(scope).ok_or(no_origin)?);
        span.attributes = attributes;
        self.events(&mut span)?;
        self.links(&mut span)?;
        if flags & flag::MORE != 0 {
            self.more(&mut span)?;
        }
        Ok(span)
    }

    fn parent(&mut self, before: &[Span]) -> Result<Option<SpanId>, Corrupt> {
        match self.take(Column::Parents)? {
            0 => Ok(None),
            1 => {
                let id = SpanId::from_bytes(&self.take_chunk::<8>(Column::ParentIds)?);
                id.map(Some).ok_or(BAD_ID)
            }
            near => {
                let back = usize::try_from(near - 1).unwrap_or(usize::MAX);
                let place = before.len().checked_sub(back);
                let parent = place.and_then(|place| before.get(place));
                let missing = Corrupt::new("a block of spans names a parent that it does not have");
                parent.map(|span| Some(span.span_id)).ok_or(missing)
            }
        }
    }

    fn status(&mut self) -> Result<(SpanStatus, Arc<str>), Corrupt> {
        let status = match self.take(Column::Statuses)? {
            0 => SpanStatus::Unset,
            1 => SpanStatus::Ok,
            2 => SpanStatus::Error,
            word => SpanStatus::Other(self.string(word - 3)?),
        };
        Ok((status, self.take_string(Column::Statuses)?))
    }

    fn events(&mut self, span: &mut Span) -> Result<(), Corrupt> {
        for _ in 0..self.take(Column::Events)? {
            let after = self.take_signed(Column::Events)?;
            span.events.push(SpanEvent {
                time_ns: span.start_ns.wrapping_add(after),
                name: self.take_string(Column::Events)?,
                attributes: self.attributes(Column::Events)?,
                dropped_attributes: self.take_u32(Column::Events)?,
            });
        }
        Ok(())
    }

    fn links(&mut self, span: &mut Span) -> Result<(), Corrupt> {
        for _ in 0..self.take(Column::Links)? {
            let trace_id = self.take_chunk::<16>(Column::Links)?;
            let span_id = self.take_chunk::<8>(Column::Links)?;
            span.links.push(SpanLink {
                trace_id: TraceId::from_bytes(&trace_id).ok_or(BAD_ID)?,
                span_id: SpanId::from_bytes(&span_id).ok_or(BAD_ID)?,
                trace_state: self.take_string(Column::Links)?,
                attributes: self.attributes(Column::Links)?,
                dropped_attributes: self.take_u32(Column::Links)?,
                flags: self.take_u32(Column::Links)?,
            });
        }
        Ok(())
    }

    fn more(&mut self, span: &mut Span) -> Result<(), Corrupt> {
        span.trace_state = self.take_string(Column::More)?;
        span.flags = self.take_u32(Column::More)?;
        span.dropped_attributes = self.take_u32(Column::More)?;
        span.dropped_events = self.take_u32(Column::More)?;
        span.dropped_links = self.take_u32(Column::More)?;
        if self.take(Column::More)? == 0 {
            return Ok(());
        }
        let mut usage = TokenUsage {
            input: self.take(Column::More)?,
            output: self.take(Column::More)?,
            cache_read: self.take(Column::More)?,
            cache_creation: self.take(Column::More)?,
            reasoning: self.take(Column::More)?,
            cost: None,
        };
        if self.take(Column::More)? != 0 {
            let bits = u64::from_le_bytes(self.take_chunk::<8>(Column::More)?);
            usage.cost = Some(f64::from_bits(bits));
        }
        span.usage = Some(usage);
        Ok(())
    }
}

/// A string of a block.
pub(super) fn text(bytes: &[u8]) -> Result<&str, Corrupt> {
    str::from_utf8(bytes)
        .map_err(|_| Corrupt::new("a block of spans has a string that is no UTF-8"))
}

pub(super) fn take_byte(rest: &mut &[u8]) -> Result<u8, Corrupt> {
    let (byte, after) = rest.split_first().ok_or(CUT_OFF)?;
    *rest = after;
    Ok(*byte)
}

/// Reads a value whose tag is known; `depth` counts the lists and maps around it.
fn value(
    tag: u8,
    rest: &mut &[u8],
    strings: &[Arc<str>],
    depth: usize,
) -> Result<AttributeValue, Corrupt> {
    let string = |number: u64| {
        let place = usize::try_from(number).map_err(|_| NO_STRING)?;
        strings.get(place).cloned().ok_or(NO_STRING)
    };
    if depth > DEPTH_MAX {
        return Err(Corrupt::new("values of a span are nested too deep"));
    }
    Ok(match tag {
        tag::EMPTY => AttributeValue::Empty,
        tag::TEXT => AttributeValue::Text(string(varint::take_u64(rest)?)?),
        tag::FALSE => AttributeValue::Bool(false),
        tag::TRUE => AttributeValue::Bool(true),
        tag::INT => AttributeValue::Int(varint::take_i64(rest)?),
        tag::FLOAT => {
            let (bits, after) = rest.split_first_chunk::<8>().ok_or(CUT_OFF)?;
            *rest = after;
            AttributeValue::Float(f64::from_bits(u64::from_le_bytes(*bits)))
        }
        tag::BYTES => AttributeValue::Bytes(varint::take_bytes(rest)?.into()),
        tag::LIST => {
            let mut values = Vec::new();
            for _ in 0..varint::take_u64(rest)? {
                let tag = take_byte(rest)?;
                values.push(value(tag, rest, strings, depth + 1)?);
            }
            AttributeValue::List(values)
        }
        tag::MAP => {
            let mut map = Attributes::default();
            for _ in 0..varint::take_u64(rest)? {
                let key = string(varint::take_u64(rest)?)?;
                let tag = take_byte(rest)?;
                map.push(key, value(tag, rest, strings, depth + 1)?);
            }
            AttributeValue::Map(map)
        }
        _ => return Err(Corrupt::new("a span has a kind of value that is not known")),
    })
}
