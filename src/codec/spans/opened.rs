//! A block of spans that is decompressed and not decoded: what a search asks first, since most blocks that a filter of
//! words lets through by mistake lack a text that is wanted.

use std::{io::Read, ops::Range};

use super::{Column, PLAIN_BYTES_MAX, flag, header::checked, reader, realm, tag};
use crate::{
    codec::{Corrupt, varint},
    model::{AgentId, Span, SpanFilter, SpanStatus},
};

/// A block of spans whose columns are at hand.
#[derive(Clone, Debug)]
pub struct SpanBlock {
    plain: Vec<u8>,
    /// Spans.
    count: u64,
    columns: [Range<usize>; Column::COUNT],
}

impl SpanBlock {
    /// Checks and decompresses a block.
    ///
    /// # Errors
    /// The bytes are damaged, or written by a newer longwatch.
    pub fn open(body: &[u8]) -> Result<Self, Corrupt> {
        let plain = decompressed(body)?;
        let mut rest = plain.as_slice();
        let count = varint::take_u64(&mut rest)?;
        let mut columns = [const { 0..0 }; Column::COUNT];
        for column in &mut columns {
            let length = varint::take_bytes(&mut rest)?.len();
            let end = plain.len() - rest.len();
            *column = end - length..end;
        }
        if !rest.is_empty() {
            return Err(Corrupt::new("a block of spans has bytes left over"));
        }
        // Each span takes 8 bytes there.
        if columns[Column::SpanIds as usize].len() as u64 != count.saturating_mul(8) {
            return Err(Corrupt::new(
                "a block of spans has another number of spans than it says",
            ));
        }
        Ok(Self {
            plain,
            count,
            columns,
        })
    }

    fn column(&self, column: Column) -> &[u8] {
        &self.plain[self.columns[column as usize].clone()]
    }

    /// Its spans, which are those of `agent`, in the order written.
    ///
    /// # Errors
    /// The bytes are damaged, or written by a newer longwatch.
    pub fn spans(&self, agent: &AgentId) -> Result<Vec<Span>, Corrupt> {
        let columns = self.columns.each_ref();
        let columns = columns.map(|column| &self.plain[column.clone()]);
        reader::read_spans(&columns, self.count, agent)
    }

    /// Whether one of its spans, which are those of `agent`, may fit. No span is decoded for it. It may say yes where none
    /// does, never no where one does.
    ///
    /// # Errors
    /// The bytes are damaged.
    pub fn may_fit(&self, filter: &SpanFilter, agent: &AgentId) -> Result<bool, Corrupt> {
        let strings = Strings::read(self.column(Column::Strings))?;
        for (key, value) in &filter.attributes {
            // These two are also told by the kind and the status of a span.
            let is_told_elsewhere = matches!(key.as_str(), "span.kind" | "error");
            if !is_told_elsewhere && !self.may_have_attribute(&strings, key, value)? {
                return Ok(false);
            }
        }
        if let Some(service) = &filter.service
            && *service != *agent.as_str()
            && !self.may_have_attribute(&strings, "service.name", service)?
        {
            return Ok(false);
        }
        if let Some(text) = &filter.error_text
            && !strings.any_holds(text)?
        {
            return Ok(false);
        }
        self.has_outline(&strings, filter)
    }

    /// Whether an attribute has a value that reads like `value`; of values other than texts, numbers and truths it says
    /// that one may.
    fn may_have_attribute(
        &self,
        strings: &Strings<'_>,
        key: &str,
        value: &str,
    ) -> Result<bool, Corrupt> {
        let Some(key) = strings.number(key) else {
            return Ok(false);
        };
        let text = strings.number(value);
        let whole = value.parse::<i64>().ok();
        let mut column = self.column(Column::Values);
        while !column.is_empty() {
            let of = varint::take_u64(&mut column)?;
            let tag = reader::take_byte(&mut column)? & realm::TAG;
            let mut values = varint::take_bytes(&mut column)?;
            if of != key {
                continue;
            }
            let mut may_have = match tag {
                tag::TEXT | tag::INT => false,
                tag::EMPTY => value.is_empty(),
                tag::FALSE => value == "false",
                tag::TRUE => value == "true",
                _ => true,
            };
            while tag == tag::TEXT && text.is_some() && !may_have && !values.is_empty() {
                may_have = Some(varint::take_u64(&mut values)?) == text;
            }
            while tag == tag::INT && whole.is_some() && !may_have && !values.is_empty() {
                may_have = Some(varint::take_i64(&mut values)?) == whole;
            }
            if may_have {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Whether one span has the operation, the status and the duration.
    fn has_outline(&self, strings: &Strings<'_>, filter: &SpanFilter) -> Result<bool, Corrupt> {
        let operation = match filter.operation.as_deref() {
            Some(name) => match strings.number(name) {
                Some(number) => Some(number),
                None => return Ok(false),
            },
            None => None,
        };
        let (min, max) = (filter.min_duration_ns, filter.max_duration_ns);
        let has_times = min.is_some() || max.is_some();
        if operation.is_none() && filter.status.is_none() && !has_times {
            return Ok(true);
        }
        let mut names = self.column(Column::Names);
        let mut flags = self.column(Column::Flags);
        let mut statuses = self.column(Column::Statuses);
        let mut starts = self.column(Column::Starts);
        let mut lengths = self.column(Column::Durations);
        let mut start = 0i64;
        for _ in 0..self.count {
            let name = varint::take_u64(&mut names)?;
            let is_open = reader::take_byte(&mut flags)? & flag::OPEN != 0;
            let status = varint::take_u64(&mut statuses)?;
            let _message = varint::take_u64(&mut statuses)?;
            start = start.wrapping_add(varint::take_i64(&mut starts)?);
            let end = start.wrapping_add(varint::take_i64(&mut lengths)?);
            // As `Span::duration_ns` reckons, times at the ends of what a number holds included.
            let duration = end.saturating_sub(start).max(0);
            let fits = operation.is_none_or(|wanted| wanted == name)
                && (!has_times || !is_open)
                && min.is_none_or(|min| duration >= min)
                && max.is_none_or(|max| duration <= max)
                && match filter.status.as_deref() {
                    None => true,
                    Some(word) if is_open => word == "open",
                    Some(word) => strings.is_status(status, word)?,
                };
            if fits {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

fn decompressed(body: &[u8]) -> Result<Vec<u8>, Corrupt> {
    let mut rest = checked(body)?;
    let length = varint::take_u64(&mut rest)?;
    if length > PLAIN_BYTES_MAX {
        return Err(Corrupt::new("a block of spans is too long"));
    }
    let bad = |_| Corrupt::new("a block of spans cannot be decompressed");
    let mut plain = Vec::with_capacity((length as usize).min(rest.len().saturating_mul(64)));
    let decoder = zstd::stream::read::Decoder::with_buffer(rest).map_err(bad)?;
    decoder
        .take(length + 1)
        .read_to_end(&mut plain)
        .map_err(bad)?;
    if plain.len() as u64 != length {
        return Err(Corrupt::new(
            "a block of spans has another length than it says",
        ));
    }
    Ok(plain)
}

/// The strings of a block, each once, by number.
struct Strings<'a>(Vec<&'a [u8]>);

impl<'a> Strings<'a> {
    fn read(mut column: &'a [u8]) -> Result<Self, Corrupt> {
        let mut strings = Vec::new();
        while !column.is_empty() {
            strings.push(varint::take_bytes(&mut column)?);
        }
        Ok(Self(strings))
    }

    fn number(&self, text: &str) -> Option<u64> {
        let place = self.0.iter().position(|string| *string == text.as_bytes());
        place.map(|place| place as u64)
    }

    /// Whether the text is part of one, whatever the case of letters.
    fn any_holds(&self, text: &str) -> Result<bool, Corrupt> {
        let text = text.to_lowercase();
        for string in &self.0 {
            if reader::text(string)?.to_lowercase().contains(&text) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Whether the status of a span, as its column has it, is called so.
    fn is_status(&self, status: u64, word: &str) -> Result<bool, Corrupt> {
        Ok(match status {
            0 => SpanStatus::Unset.word() == word,
            1 => SpanStatus::Ok.word() == word,
            2 => SpanStatus::Error.word() == word,
            other => {
                let place = usize::try_from(other - 3).map_err(|_| reader::NO_STRING)?;
                let string = self.0.get(place).ok_or(reader::NO_STRING)?;
                *string == word.as_bytes()
            }
        })
    }
}
