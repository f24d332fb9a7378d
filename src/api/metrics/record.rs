//! Samples of several agents on their way into the file.

use std::sync::Arc;

use futures_util::future::join_all;

use crate::{
    api::{access::BoundAgent, context::Edge, problem::Problem},
    ingest::ReceivedMetrics,
    model::{AgentId, Batch, Contact},
    store::{Append, Appended, Urgency, View, WriteError},
};

/// Makes what was received durable; what is refused on the way is counted in `received`.
///
/// # Errors
/// A problem: some of the samples may be durable all the same, and sending them again does no harm.
pub(super) async fn record(
    edge: &Arc<Edge>,
    bound: &BoundAgent,
    received: &mut ReceivedMetrics,
) -> Result<(), Problem> {
    let parts = std::mem::take(&mut received.parts);
    let mut appends = Vec::with_capacity(parts.len());
    let view = edge.context.store.view();
    for (agent, batch) in parts {
        if bound.allows(&agent) {
            appends.push(noted(edge, &view, agent, batch));
        } else {
            let why = format!("this token may not write as agent `{agent}`");
            refuse_all(received, &agent, batch.len(), &why);
        }
    }
    drop(view);
    // All are queued before the first is waited for, so that they share a commit.
    let done = join_all(appends.into_iter().map(|noted| submit(edge, noted))).await;
    let mut failed = None;
    for (agent, rows, appended) in done {
        match appended {
            Ok(appended) => {
                let refused = appended.rejected.into_iter().filter(|r| r.row < rows);
                received.refuse_rows(&agent, refused.map(|r| (r.row, r.reason)));
            }
            // There is no room for another agent; the others are not affected.
            Err(WriteError::Limit(why)) => refuse_all(received, &agent, rows, &why),
            Err(error) => failed = Some(error),
        }
    }
    failed.map_or(Ok(()), |error| Err(error.into()))
}

fn refuse_all(received: &mut ReceivedMetrics, agent: &AgentId, rows: usize, why: &str) {
    received.refuse_rows(agent, (0..rows).map(|row| (row, why.to_owned())));
}

/// An append with the contact that it is.
struct Contacted {
    append: Append,
    /// Whether the contact is a sample of its own.
    is_noted: bool,
    /// Rows before the contact's.
    rows: usize,
}

fn noted(edge: &Edge, view: &View, agent: AgentId, mut batch: Batch) -> Contacted {
    let context = &edge.context;
    let now = edge.now();
    let registered = view.agent(&agent, now);
    let rows = batch.len();
    // Words about metrics are no sign of life.
    let is_contact = rows > 0;
    let ledger = &context.ledger;
    let is_noted = is_contact
        && ledger.note(
            registered.as_ref(),
            &agent,
            &context.policy,
            now,
            &mut batch,
        );
    Contacted {
        append: Append {
            agent,
            batch,
            contact: is_contact.then_some(Contact::Push),
            urgency: Urgency::Prompt,
        },
        is_noted,
        rows,
    }
}

async fn submit(edge: &Edge, noted: Contacted) -> (AgentId, usize, Result<Appended, WriteError>) {
    let agent = noted.append.agent.clone();
    let appended = edge.context.store.append(noted.append).await;
    if let Err(error) = &appended
        && noted.is_noted
        && !matches!(error, WriteError::DiskFull { .. })
    {
        edge.context.ledger.forget(&agent);
    }
    (agent, noted.rows, appended)
}
