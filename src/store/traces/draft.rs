//! The part of a draft that is about traces.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use parking_lot::Mutex;
use redb::WriteTransaction;

use super::{
    LiveTraces, PreparedSpans, RecentTraces, SpanRejection, SpansAppended, TracePin,
    chunk::{SpanChunk, text_bytes},
    hour_at,
    live::{OpenSpan, encode_open, encode_pin},
};
use crate::{
    codec::WalWriter,
    model::{
        AgentId, Attributes, Contact, PriceTable, Span, SpanEvent, SpanId, SpanStatus, Timestamp,
        TraceId, price,
    },
    store::{
        WriteError,
        draft::{Draft, Past, Prepared},
        tables,
    },
};

/// Hours for which spans follow the first of their trace.
const HOURS_KEPT_UP: i32 = 24;
/// Spans that may be open at once.
const OPEN_MAX: usize = 100_000;
/// Events of an open span; more are counted as left out.
const EVENTS_MAX: usize = 4_096;
/// Bytes of an open span, about; what would make it larger is counted as left out.
const OPEN_BYTES_MAX: usize = 4 << 20;
/// Pins of traces.
const PINS_MAX: usize = 10_000;

/// A change of spans that have not ended, or of what is kept.
#[derive(Clone, Debug)]
pub enum SpanChange {
    /// A span begins. Refused where one of its id is open.
    Start(Box<Span>),
    /// What is known of open spans, whether they are new or not.
    Report(Vec<Span>),
    /// An open span ends.
    Finish {
        /// Its trace.
        trace_id: TraceId,
        /// It.
        span_id: SpanId,
        /// When; `None` for now.
        end_ns: Option<i64>,
        /// How.
        status: SpanStatus,
        /// Why, in words.
        message: String,
        /// Attributes to add.
        attributes: Attributes,
        /// What its tokens cost, if it is an inference.
        prices: Arc<PriceTable>,
    },
    /// Something happened within an open span.
    Log {
        /// Its trace.
        trace_id: TraceId,
        /// It.
        span_id: SpanId,
        /// What.
        event: SpanEvent,
    },
    /// Open spans of which nothing more is to be expected: they end where they were heard of last.
    Close(Vec<(TraceId, SpanId)>),
    /// Open spans that ended elsewhere.
    Forget(Vec<(TraceId, SpanId)>),
    /// A trace is kept, or no longer.
    Pin(TraceId, Option<TracePin>),
}

impl SpanChange {
    /// Spans that it brings.
    pub(in crate::store) fn spans(&self) -> &[Span] {
        match self {
            Self::Start(span) => std::slice::from_ref(span),
            Self::Report(spans) => spans,
            _ => &[],
        }
    }
}

/// What became of it.
#[derive(Clone, Debug, PartialEq)]
pub enum SpanChanged {
    /// It was made; so many spans changed.
    Done(usize),
    /// The span as it is now.
    Span(Arc<Span>),
    /// No such span is open.
    NotOpen,
    /// A span of this id is open already.
    Exists,
}

/// A change with what was looked up for it.
#[derive(Debug)]
pub(in crate::store) struct PreparedChange {
    pub(in crate::store) change: SpanChange,
    pub(in crate::store) hours: HashMap<TraceId, i32>,
    pub(in crate::store) contacts: Vec<Prepared>,
}

impl PreparedChange {
    /// Agents that it tells contacts with.
    pub(in crate::store) fn heard(&self) -> impl Iterator<Item = &AgentId> {
        self.contacts.iter().map(|contact| &contact.append.agent)
    }

    /// Bytes of memory, about.
    pub(in crate::store) fn bytes(&self) -> usize {
        let contacts: usize = self.contacts.iter().map(Prepared::bytes).sum();
        contacts + self.change.spans().iter().map(text_bytes).sum::<usize>() + 1_024
    }
}

/// What a commit changes of traces.
#[derive(Debug)]
pub(in crate::store) struct SpanDraft<'a> {
    /// Memory as it will be, but for the new chunks.
    live: LiveTraces,
    recent: &'a Mutex<RecentTraces>,
    /// The hour of the commit.
    now: i32,
    chunks: Vec<Arc<SpanChunk>>,
    open_rows: BTreeSet<(TraceId, SpanId)>,
    pin_rows: BTreeSet<TraceId>,
}

impl<'a> SpanDraft<'a> {
    pub(in crate::store) fn new(
        live: LiveTraces,
        recent: &'a Mutex<RecentTraces>,
        now: Timestamp,
    ) -> Self {
        Self {
            live,
            recent,
            now: hour_at(now),
            chunks: Vec::new(),
            open_rows: BTreeSet::new(),
            pin_rows: BTreeSet::new(),
        }
    }

    pub(in crate::store) fn is_empty(&self) -> bool {
        self.chunks.is_empty() && self.open_rows.is_empty() && self.pin_rows.is_empty()
    }

    /// Spans that end with it.
    pub(in crate::store) fn spans(&self) -> usize {
        self.chunks.iter().map(|chunk| chunk.spans()).sum()
    }

    /// Adds its sections to the log record.
    pub(in crate::store) fn log(&self, wal: &mut WalWriter) {
        for chunk in &self.chunks {
            wal.spans(
                chunk.agent,
                &chunk.header.encode(),
                &chunk.body,
                &chunk.traces,
            );
        }
    }

    /// Writes its rows; returns their bytes.
    pub(in crate::store) fn write(
        &self,
        transaction: &WriteTransaction,
    ) -> Result<u64, redb::Error> {
        let mut bytes = 0;
        if !self.open_rows.is_empty() {
            let mut table = transaction.open_table(tables::OPEN_SPANS)?;
            for key in &self.open_rows {
                let row = (key.0.as_u128(), key.1.as_u64());
                if let Some(open) = self.live.open.get(key) {
                    let value = encode_open(open);
                    bytes += value.len() as u64;
                    table.insert(row, value.as_slice())?;
                } else {
                    table.remove(row)?;
                }
            }
        }
        if !self.pin_rows.is_empty() {
            let mut table = transaction.open_table(tables::TRACE_PINS)?;
            for id in &self.pin_rows {
                if let Some(pin) = self.live.pins.get(id) {
                    table.insert(id.as_u128(), encode_pin(pin).as_slice())?;
                } else {
                    table.remove(id.as_u128())?;
                }
            }
        }
        Ok(bytes)
    }

    /// Makes it the present.
    pub(in crate::store) fn publish(&self, sequence: u64, live: &mut LiveTraces) {
        live.open = Arc::clone(&self.live.open);
        live.pins = Arc::clone(&self.live.pins);
        live.heads.push(sequence, self.chunks.iter().cloned());
    }

    /// The hour of a trace: the one that it has, or this one.
    fn hour(&self, id: TraceId, hours: &HashMap<TraceId, i32>) -> i32 {
        let mut recent = self.recent.lock();
        // One that goes on for days is continued in the present hour, or all of it would go with its first.
        let is_late = |hour: &i32| *hour >= self.now.saturating_sub(HOURS_KEPT_UP);
        let known = recent.hour(id).or_else(|| hours.get(&id).copied());
        let known = known.filter(is_late);
        let hour = known
            .or_else(|| self.live.hour_of(id).filter(is_late))
            .unwrap_or(self.now);
        recent.note(id, hour);
        hour
    }

    fn add(&mut self, mut chunk: SpanChunk, hours: &HashMap<TraceId, i32>) {
        for (id, hour, _) in &mut chunk.traces {
            *hour = self.hour(*id, hours);
        }
        self.chunks.push(Arc::new(chunk));
    }

    fn close(&mut self, key: (TraceId, SpanId)) -> Option<OpenSpan> {
        if !self.live.open.contains_key(&key) {
            return None;
        }
        self.open_rows.insert(key);
        Arc::make_mut(&mut self.live.open).remove(&key)
    }

    fn put(&mut self, open: OpenSpan) {
        let key = (open.span.trace_id, open.span.span_id);
        self.open_rows.insert(key);
        Arc::make_mut(&mut self.live.open).insert(key, open);
    }
}

impl Draft<'_> {
    /// Adds ended spans.
    ///
    /// While samples are refused, contacts are taken all the same, as with samples.
    pub(in crate::store) fn append_spans(
        &mut self,
        prepared: PreparedSpans,
        past: &mut Past<'_>,
    ) -> Result<SpansAppended, WriteError> {
        let refused = self.take_contacts(prepared.contacts, past);
        if let Some(refusal) = self.refusal.clone() {
            let spans: usize = prepared.agents.iter().map(|agent| agent.ids.len()).sum();
            self.metrics.reject_spans("disk_full", spans as u64);
            return Err(refusal);
        }
        let mut appended = SpansAppended {
            accepted: 0,
            rejected: prepared.rejected,
        };
        for spans in prepared.agents {
            let agent = match refused.get(&spans.agent) {
                Some(error) => Err(error.clone()),
                None => self.agent_to_write(&spans.agent, Some(&Contact::Push)),
            };
            let agent = match agent {
                Ok(agent) => agent,
                Err(error) => {
                    let reason = error.to_string();
                    let all = spans.ids.into_iter();
                    appended
                        .rejected
                        .extend(all.map(|(trace_id, span_id)| SpanRejection {
                            trace_id,
                            span_id,
                            reason: reason.clone(),
                        }));
                    continue;
                }
            };
            appended.accepted += spans.ids.len();
            for mut chunk in spans.chunks {
                chunk.set_agent(agent);
                self.spans.add(chunk, &prepared.hours);
            }
            for key in spans.ids {
                self.spans.close(key);
            }
        }
        Ok(appended)
    }

    /// Takes contacts; returns the agents for which that failed.
    fn take_contacts(
        &mut self,
        contacts: Vec<Prepared>,
        past: &mut Past<'_>,
    ) -> BTreeMap<AgentId, WriteError> {
        let mut refused = BTreeMap::new();
        for contact in contacts {
            let agent = contact.append.agent.clone();
            match self.append(contact, past) {
                Ok(_) | Err(WriteError::DiskFull { .. }) => {}
                Err(error) => drop(refused.insert(agent, error)),
            }
        }
        refused
    }

    /// Works a change of open spans in.
    pub(in crate::store) fn change_spans(
        &mut self,
        prepared: PreparedChange,
        past: &mut Past<'_>,
    ) -> Result<SpanChanged, WriteError> {
        let PreparedChange {
            change,
            hours,
            contacts,
        } = prepared;
        let refused = self.take_contacts(contacts, past);
        if let Some(error) = refused.into_values().next() {
            return Err(error);
        }
        Ok(match change {
            SpanChange::Start(span) => {
                self.refusal.clone().map_or(Ok(()), Err)?;
                if self
                    .spans
                    .live
                    .open
                    .contains_key(&(span.trace_id, span.span_id))
                {
                    return Ok(SpanChanged::Exists);
                }
                self.open(*span, &hours)?
            }
            SpanChange::Report(spans) => {
                self.refusal.clone().map_or(Ok(()), Err)?;
                let reported = spans.len();
                for span in spans {
                    self.open(span, &hours)?;
                }
                SpanChanged::Done(reported)
            }
            SpanChange::Finish {
                trace_id,
                span_id,
                end_ns,
                status,
                message,
                attributes,
                prices,
            } => {
                let Some(open) = self.spans.close((trace_id, span_id)) else {
                    return Ok(SpanChanged::NotOpen);
                };
                let mut span = Span::clone(&open.span);
                if text_bytes(&span) < OPEN_BYTES_MAX {
                    for (key, value) in attributes.iter() {
                        span.attributes.set(key, value.clone());
                    }
                } else {
                    span.dropped_attributes += attributes.len() as u32;
                }
                span.end_ns = Some(end_ns.unwrap_or_else(|| super::nanoseconds(self.clock_now)));
                span.status = status;
                span.status_message = message.into();
                price(std::slice::from_mut(&mut span), &prices);
                self.end_open(&span, open.hour)?;
                SpanChanged::Span(Arc::new(span))
            }
            SpanChange::Log {
                trace_id,
                span_id,
                event,
            } => {
                let Some(mut open) = self.spans.live.open.get(&(trace_id, span_id)).cloned() else {
                    return Ok(SpanChanged::NotOpen);
                };
                let span = Arc::make_mut(&mut open.span);
                if span.events.len() < EVENTS_MAX && text_bytes(span) < OPEN_BYTES_MAX {
                    span.events.push(event);
                } else {
                    span.dropped_events = span.dropped_events.saturating_add(1);
                }
                let span = Arc::clone(&open.span);
                self.spans.put(open);
                SpanChanged::Span(span)
            }
            SpanChange::Close(keys) => {
                let mut closed = 0;
                for key in keys {
                    if let Some(open) = self.spans.close(key) {
                        let mut span = Span::clone(&open.span);
                        let heard = span.events.iter().map(|event| event.time_ns).max();
                        span.end_ns = Some(heard.unwrap_or(span.start_ns).max(span.start_ns));
                        span.status = SpanStatus::Other("closed".into());
                        span.status_message = "it was never finished".into();
                        self.end_open(&span, open.hour)?;
                        closed += 1;
                    }
                }
                SpanChanged::Done(closed)
            }
            SpanChange::Forget(keys) => {
                let gone = keys
                    .into_iter()
                    .filter(|key| self.spans.close(*key).is_some());
                SpanChanged::Done(gone.count())
            }
            SpanChange::Pin(id, pin) => self.pin(id, pin)?,
        })
    }

    /// Puts an open span in place.
    fn open(
        &mut self,
        span: Span,
        hours: &HashMap<TraceId, i32>,
    ) -> Result<SpanChanged, WriteError> {
        self.agent_to_write(&span.agent, Some(&Contact::Push))?;
        let key = (span.trace_id, span.span_id);
        let is_new = !self.spans.live.open.contains_key(&key);
        if is_new && self.spans.live.open.len() >= OPEN_MAX {
            return Err(WriteError::Limit(format!(
                "there are {OPEN_MAX} open spans already; finish some, or wait until they are closed"
            )));
        }
        let hour = self.spans.hour(span.trace_id, hours);
        let span = Arc::new(span);
        self.spans.put(OpenSpan {
            span: Arc::clone(&span),
            hour,
        });
        Ok(SpanChanged::Span(span))
    }

    /// Puts a span that was open to those that have ended.
    fn end_open(&mut self, span: &Span, hour: i32) -> Result<(), WriteError> {
        let agent = self.agent_to_write(&span.agent, None)?;
        let mut chunk = SpanChunk::of(&[span]);
        chunk.set_agent(agent);
        self.spans
            .add(chunk, &HashMap::from([(span.trace_id, hour)]));
        Ok(())
    }

    fn pin(&mut self, id: TraceId, pin: Option<TracePin>) -> Result<SpanChanged, WriteError> {
        let pins = &self.spans.live.pins;
        if pins.get(&id) == pin.as_ref() {
            return Ok(SpanChanged::Done(0));
        }
        if pin.is_some() && !pins.contains_key(&id) && pins.len() >= PINS_MAX {
            return Err(WriteError::Limit(format!(
                "there are {PINS_MAX} pinned traces already"
            )));
        }
        let pins = Arc::make_mut(&mut self.spans.live.pins);
        match pin {
            Some(pin) => drop(pins.insert(id, pin)),
            None => drop(pins.remove(&id)),
        }
        self.spans.pin_rows.insert(id);
        Ok(SpanChanged::Done(1))
    }
}
