//! What agents send themselves: metrics and heartbeats.

use std::sync::Arc;

use axum::{Json, extract::State, http::StatusCode};
use serde::Serialize;

use super::{agents::AgentPath, body::Payload, context::Edge, problem::Problem};
use crate::{
    ingest::{self, Parsed, RowError},
    model::{AgentId, Batch, Contact, Timestamp},
    store::{Append, Appended, Rejected, Urgency, WriteError},
};

/// Refused metrics that an answer lists; the count covers all.
const ERRORS_LISTED_MAX: usize = 100;

/// What became of a push.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(super) struct PushAnswer {
    accepted: usize,
    rejected: usize,
    errors: Vec<Refused>,
}

#[derive(Debug, PartialEq, Eq, Serialize)]
struct Refused {
    index: usize,
    reason: String,
}

pub(super) async fn metrics(
    State(edge): State<Arc<Edge>>,
    AgentPath(id): AgentPath,
    payload: Payload,
) -> Result<Json<PushAnswer>, Problem> {
    let now = edge.now();
    let limits = edge.context.limits.clone();
    let Parsed {
        batch,
        origin,
        errors,
        // These are of the text formats.
        departures: _,
        exemplars_dropped,
        total,
    } = payload
        .parsed(move |body| Ok(ingest::parse_push(body, now, &limits)?))
        .await?;
    let metrics = &edge.context.metrics;
    metrics.exemplars_dropped.inc_by(exemplars_dropped);
    let unread = total.saturating_sub(batch.len());
    if unread > 0 {
        metrics.reject("malformed", unread as u64);
    }
    let appended = record(&edge, id, batch, now).await?;
    Ok(Json(answer(total, &origin, errors, appended.rejected)))
}

pub(super) async fn heartbeat(
    State(edge): State<Arc<Edge>>,
    AgentPath(id): AgentPath,
) -> Result<StatusCode, Problem> {
    let now = edge.now();
    record(&edge, id, Batch::new(), now).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Makes samples durable together with the contact that they are.
async fn record(
    edge: &Edge,
    id: AgentId,
    mut batch: Batch,
    now: Timestamp,
) -> Result<Appended, Problem> {
    let context = &edge.context;
    let agent = context.store.view().agent(&id, now);
    let is_registered = agent.as_ref().is_some_and(|a| a.deregistered_at.is_none());
    let noted = context
        .ledger
        .note(agent.as_ref(), &id, &context.policy, now, &mut batch);
    // The interval's contact is on disk already: nothing to write, and a commit costs.
    if batch.is_empty() && is_registered {
        return Ok(Appended::default());
    }
    let append = Append {
        agent: id.clone(),
        batch,
        contact: Some(Contact::Push),
        urgency: Urgency::Prompt,
    };
    context.store.append(append).await.map_err(|error| {
        // Of metrics that found no room the contact was recorded all the same.
        if noted && !matches!(error, WriteError::DiskFull { .. }) {
            context.ledger.forget(&id);
        }
        Problem::from(error)
    })
}

/// Speaks of the document's metrics, where the store speaks of rows: rows beyond `origin` are the
/// contact's own, and a metric is accepted when all of its rows are.
fn answer(
    total: usize,
    origin: &[u32],
    unread: Vec<RowError>,
    refused: Vec<Rejected>,
) -> PushAnswer {
    let mut errors: Vec<Refused> = unread
        .into_iter()
        .map(|RowError { index, reason, .. }| Refused { index, reason })
        .collect();
    errors.extend(refused.into_iter().filter_map(|Rejected { row, reason }| {
        let index = *origin.get(row)? as usize;
        Some(Refused { index, reason })
    }));
    errors.sort_by_key(|error| error.index);
    errors.dedup_by_key(|error| error.index);
    let mut read: Vec<u32> = origin.to_vec();
    read.sort_unstable();
    read.dedup();
    let accepted = read
        .iter()
        .filter(|index| {
            errors
                .binary_search_by_key(&(**index as usize), |error| error.index)
                .is_err()
        })
        .count();
    errors.truncate(ERRORS_LISTED_MAX);
    PushAnswer {
        accepted,
        rejected: total - accepted.min(total),
        errors,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unread(index: usize) -> RowError {
        RowError {
            index,
            column: 0,
            reason: "unread".into(),
        }
    }

    fn refused(row: usize) -> Rejected {
        Rejected {
            row,
            reason: "refused".into(),
        }
    }

    #[test]
    fn rows_are_told_as_positions_in_the_document() {
        // Metrics 0..6; 1 and 4 unread, 3 has two rows, the last row is the contact's.
        let origin = [0, 2, 3, 3, 5];
        let told = answer(
            6,
            &origin,
            vec![unread(4), unread(1)],
            vec![refused(5), refused(3), refused(0)],
        );
        assert_eq!((told.accepted, told.rejected), (2, 4));
        let list: Vec<_> = told.errors.iter().map(|e| (e.index, &*e.reason)).collect();
        assert_eq!(
            list,
            [(0, "refused"), (1, "unread"), (3, "refused"), (4, "unread")]
        );
        assert_eq!(answer(0, &[], vec![], vec![refused(0)]).rejected, 0);
    }

    #[test]
    fn the_list_is_bounded_and_the_count_is_not() {
        let told = answer(
            5_000,
            &[7],
            (0..1_000).map(unread).filter(|e| e.index != 7).collect(),
            vec![],
        );
        assert_eq!((told.accepted, told.rejected), (1, 4_999));
        assert_eq!(told.errors.len(), ERRORS_LISTED_MAX);
    }
}
