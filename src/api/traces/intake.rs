//! The way of spans from any wire format into the file.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    sync::Arc,
};

use crate::{
    api::{
        access::BoundAgent,
        context::{Context, Edge, blocking},
        problem::Problem,
    },
    ingest::{self, SpanLimits},
    model::{AgentId, Batch, Contact, PriceTable, Span, SpanId, Timestamp, TraceId, price},
    store::{Append, SpanAppend, SpanChange, Urgency, WriteError},
    traces::ToldSpan,
};

/// What is told of each span that is taken in.
#[derive(Clone, Debug)]
pub struct TraceIntake {
    /// The attribute that names a span's agent, before all others (`traces.agent_attribute`).
    pub agent_attribute: Option<String>,
    /// What tokens cost.
    pub prices: Arc<PriceTable>,
    /// Limits on spans.
    pub limits: SpanLimits,
}

/// Reasons that an answer lists; the count covers all.
const REASONS_LISTED_MAX: usize = 20;

/// An open span may begin so far ahead of the server's clock, milliseconds.
pub(super) const OPEN_AHEAD_MS: i64 = 600_000;

/// Spans that were refused after they had been read.
#[derive(Debug, Default)]
pub(in crate::api) struct Refused {
    pub(in crate::api) count: usize,
    /// The first of the reasons.
    pub(in crate::api) reasons: Vec<String>,
}

impl Refused {
    fn add(&mut self, span: &str, reason: &str) {
        self.count += 1;
        if self.reasons.len() < REASONS_LISTED_MAX {
            self.reasons.push(format!("span {span}: {reason}"));
        }
    }
}

/// Makes spans durable that were read from a wire format, those that have not ended too; says which were refused.
pub(in crate::api) async fn take(
    edge: &Arc<Edge>,
    bound: &BoundAgent,
    spans: Vec<Span>,
) -> Result<Refused, Problem> {
    let mut refused = Refused::default();
    if spans.is_empty() {
        return Ok(refused);
    }
    let (context, bound) = (edge.context.clone(), bound.clone());
    let latest = edge.now().plus_millis(OPEN_AHEAD_MS).as_millis();
    let (ended, open, mut refused) = blocking(move || {
        let mut spans = spans;
        let intake = &context.traces;
        ingest::resolve_agents(&mut spans, intake.agent_attribute.as_deref());
        price(&mut spans, &intake.prices);
        let others = open_of_others(&context, &bound);
        let (mut ended, mut open) = (Vec::new(), Vec::new());
        for span in spans {
            let is_anothers = others.contains_key(&(span.trace_id, span.span_id));
            if !bound.allows(&span.agent) || is_anothers {
                let reason = format!("this token may not write as agent `{}`", span.agent);
                refused.add(&span.span_id.to_string(), &reason);
            } else if !span.is_open() {
                ended.push(span);
            } else if span.start_ns / 1_000_000 > latest {
                let reason = "it begins ahead of the server's clock";
                refused.add(&span.span_id.to_string(), reason);
            } else {
                open.push(span);
            }
        }
        Ok((ended, open, refused))
    })
    .await?;
    for rejection in take_ended(edge, ended).await? {
        refused.add(&rejection.span_id.to_string(), &rejection.reason);
    }
    if !open.is_empty() {
        report(edge, open, &mut refused).await?;
    }
    Ok(refused)
}

/// Spans that have not ended. Where there are too many, they are refused, and the spans beside them are kept.
async fn report(edge: &Arc<Edge>, open: Vec<Span>, refused: &mut Refused) -> Result<(), Problem> {
    let contacts = contacts_of(&edge.context, &open, edge.now());
    let told: Vec<ToldSpan> = open.iter().map(ToldSpan::from).collect();
    let change = SpanChange::Report(open);
    match edge.context.store.change_spans(change, contacts).await {
        Ok(_) => edge.context.span_tap.pass(told),
        Err(error @ WriteError::Limit(_)) => {
            let reason = error.to_string();
            let ids = told.iter().map(|told| told.span_id.to_string());
            ids.for_each(|id| refused.add(&id, &reason));
        }
        Err(error) => return Err(error.into()),
    }
    Ok(())
}

/// Open spans that a caller whose token is bound to an agent may not touch, with the agent that each is of.
pub(super) fn open_of_others(
    context: &Context,
    bound: &BoundAgent,
) -> HashMap<(TraceId, SpanId), AgentId> {
    if bound.is_free() {
        return HashMap::new();
    }
    let open = context.store.view().open_spans();
    let others = open.iter().filter(|span| !bound.allows(&span.agent));
    others
        .map(|span| ((span.trace_id, span.span_id), span.agent.clone()))
        .collect()
}

/// Makes ended spans durable, whose agents are known.
pub(in crate::api) async fn take_ended(
    edge: &Arc<Edge>,
    ended: Vec<Span>,
) -> Result<Vec<crate::store::SpanRejection>, Problem> {
    if ended.is_empty() {
        return Ok(Vec::new());
    }
    let (context, now) = (edge.context.clone(), edge.now());
    let (ticket, agents, mut told) = blocking(move || {
        let contacts = contacts_of(&context, &ended, now);
        let told: Vec<ToldSpan> = ended.iter().map(ToldSpan::from).collect();
        let agents: Vec<AgentId> = contacts.iter().map(|c| c.agent.clone()).collect();
        let append = SpanAppend {
            spans: ended,
            contacts,
        };
        Ok((context.store.submit_spans(append), agents, told))
    })
    .await?;
    let appended = match ticket {
        Ok(ticket) => ticket.done().await,
        Err(error) => Err(error),
    };
    let appended = appended.inspect_err(|error| {
        // Of spans that found no room the contact was recorded all the same.
        if !matches!(error, WriteError::DiskFull { .. }) {
            agents
                .iter()
                .for_each(|agent| edge.context.ledger.forget(agent));
        }
    })?;
    if !appended.rejected.is_empty() {
        let rejected = appended.rejected.iter();
        let rejected: HashSet<_> = rejected.map(|r| (r.trace_id, r.span_id)).collect();
        told.retain(|told| !rejected.contains(&(told.trace_id, told.span_id)));
    }
    edge.context.span_tap.pass(told);
    Ok(appended.rejected)
}

/// Contacts of the agents of spans that are due to be recorded.
pub(in crate::api) fn contacts_of(
    context: &Context,
    spans: &[Span],
    now: Timestamp,
) -> Vec<Append> {
    let agents: BTreeSet<&AgentId> = spans.iter().map(|span| &span.agent).collect();
    let view = context.store.view();
    let mut contacts = Vec::new();
    for id in agents {
        let agent = view.agent(id, now);
        let mut batch = Batch::new();
        if context
            .ledger
            .note(agent.as_ref(), id, &context.policy, now, &mut batch)
        {
            contacts.push(Append {
                agent: id.clone(),
                batch,
                contact: Some(Contact::Push),
                urgency: Urgency::Prompt,
            });
        }
    }
    contacts
}
