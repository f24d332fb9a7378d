//! What is asked of the committer, and how much it is.

use std::ops::{Add, AddAssign, SubAssign};

use tokio::sync::oneshot;

use super::{
    Appended, Change, Changed, Registered, Urgency, WriteError,
    draft::Prepared,
    traces::{PreparedChange, PreparedSpans, SpanChanged, SpansAppended},
};
use crate::model::{AgentId, Registration};

pub(super) type Reply<T> = oneshot::Sender<Result<T, WriteError>>;

/// A change of the file that somebody asks for.
#[derive(Debug)]
pub(super) enum Command {
    Append(Prepared, Reply<Appended>),
    Register(AgentId, Registration, Reply<Registered>),
    Deregister {
        id: AgentId,
        by_owner: bool,
        reply: Reply<bool>,
    },
    JudgeStale(Reply<()>),
    Spans(PreparedSpans, Reply<SpansAppended>),
    ChangeSpans(PreparedChange, Reply<SpanChanged>),
    Alerting(Change, Reply<Changed>),
}

/// Classes of writers. Each has a bounded queue of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
    /// Registrations and alerts: few, small, and first in every commit.
    Control,
    /// Samples whose sender waits for the acknowledgement.
    Push,
    /// Spans that have ended; their sender waits.
    Spans,
    /// Samples that longwatch collected; nobody waits.
    Scrape,
}

impl Class {
    pub(super) const ALL: [Self; 4] = [Self::Control, Self::Push, Self::Spans, Self::Scrape];

    /// Its name in own metrics.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Control => "control",
            Self::Push => "push",
            Self::Spans => "spans",
            Self::Scrape => "scrape",
        }
    }
}

/// Memory of a command beside what it carries: itself, its reply, its place in the queue.
const COMMAND_BYTES: usize = 512;

/// How much a command is, or several are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Load {
    pub(super) commands: usize,
    pub(super) rows: usize,
    /// Bytes of memory.
    pub(super) bytes: usize,
}

impl Load {
    /// Whether it is within `bound` in every respect.
    pub(super) const fn is_within(self, bound: Self) -> bool {
        self.commands <= bound.commands && self.rows <= bound.rows && self.bytes <= bound.bytes
    }

    /// The smaller in each respect.
    pub(super) fn min(self, other: Self) -> Self {
        Self {
            commands: self.commands.min(other.commands),
            rows: self.rows.min(other.rows),
            bytes: self.bytes.min(other.bytes),
        }
    }

    /// `parts` quarters of it.
    pub(super) const fn quarters(self, parts: usize) -> Self {
        if parts == 4 {
            return self;
        }
        Self {
            commands: self.commands / 4 * parts,
            rows: self.rows / 4 * parts,
            bytes: self.bytes / 4 * parts,
        }
    }
}

impl Add for Load {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            commands: self.commands + other.commands,
            rows: self.rows + other.rows,
            bytes: self.bytes + other.bytes,
        }
    }
}

impl AddAssign for Load {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

impl SubAssign for Load {
    fn sub_assign(&mut self, other: Self) {
        self.commands -= other.commands;
        self.rows -= other.rows;
        self.bytes -= other.bytes;
    }
}

impl Command {
    pub(super) fn class(&self) -> Class {
        match self {
            Self::Append(prepared, _) => match prepared.append.urgency {
                Urgency::Prompt => Class::Push,
                Urgency::News | Urgency::Relaxed => Class::Scrape,
            },
            Self::Spans(..) => Class::Spans,
            Self::Register(..)
            | Self::Deregister { .. }
            | Self::JudgeStale(_)
            | Self::ChangeSpans(..)
            | Self::Alerting(..) => Class::Control,
        }
    }

    /// Whether it must not wait for others to share its commit. A judgement may: it mostly changes nothing, and
    /// the contacts that wait are what it is about.
    pub(super) fn is_urgent(&self) -> bool {
        match self {
            Self::Append(prepared, _) => prepared.append.urgency != Urgency::Relaxed,
            Self::Register(..)
            | Self::Deregister { .. }
            | Self::Spans(..)
            | Self::ChangeSpans(..)
            | Self::Alerting(..) => true,
            Self::JudgeStale(_) => false,
        }
    }

    /// The agents that it tells a contact with.
    pub(super) fn heard(&self) -> Vec<&AgentId> {
        match self {
            Self::Append(prepared, _) if prepared.tells_contact() => vec![&prepared.append.agent],
            Self::Spans(prepared, _) => prepared.heard().collect(),
            Self::ChangeSpans(prepared, _) => prepared.heard().collect(),
            _ => Vec::new(),
        }
    }

    pub(super) fn load(&self) -> Load {
        let (rows, bytes) = match self {
            Self::Append(prepared, _) => (prepared.rows.len(), prepared.bytes()),
            Self::Register(_, registration, _) => (0, registration_bytes(registration)),
            Self::Alerting(change, _) => (0, change.bytes()),
            Self::Spans(prepared, _) => (prepared.spans(), prepared.bytes()),
            Self::ChangeSpans(prepared, _) => (0, prepared.bytes()),
            Self::Deregister { .. } | Self::JudgeStale(_) => (0, 0),
        };
        Load {
            commands: 1,
            rows,
            bytes: COMMAND_BYTES + bytes,
        }
    }

    /// Answers with an error.
    pub(super) fn refuse(self, error: WriteError) {
        // Whoever went away does not want the answer.
        match self {
            Self::Append(_, reply) => drop(reply.send(Err(error))),
            Self::Register(.., reply) => drop(reply.send(Err(error))),
            Self::Deregister { reply, .. } => drop(reply.send(Err(error))),
            Self::JudgeStale(reply) => drop(reply.send(Err(error))),
            Self::Alerting(_, reply) => drop(reply.send(Err(error))),
            Self::Spans(_, reply) => drop(reply.send(Err(error))),
            Self::ChangeSpans(_, reply) => drop(reply.send(Err(error))),
        }
    }
}

fn registration_bytes(registration: &Registration) -> usize {
    let labels = registration.labels.iter();
    let url = |url: &Option<String>| url.as_ref().map_or(0, String::len);
    labels
        .map(|(name, value)| name.len() + value.len())
        .sum::<usize>()
        + registration.info.len()
        + url(&registration.metrics_endpoint)
        + url(&registration.health_endpoint)
}
