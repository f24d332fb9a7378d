//! Operations that spans were told of: named by a small table, so that a list of services and operations needs no look
//! at blocks.

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    sync::Arc,
};

use redb::{ReadableTable, WriteTransaction};

use super::hour_at;
use crate::{
    model::{AgentId, AgentNo, ReadError, Span, SpanKind, SpanOperation, Timestamp},
    store::{
        moment::{Moment, backend, guarded},
        tables,
    },
};

/// Operations of one agent that are noted; some clients put ids into names of spans.
const PER_AGENT_MAX: usize = 10_000;

/// Operations of an agent as they stand in keys, with the last hour that has a span of each.
pub(super) type AgentOperations = BTreeMap<String, i32>;

/// As it stands in keys: a digit for the kind | length of the service's name, `-` without one | `:` | that name | name
/// of the operation. The agent is the other part of the key.
pub(super) fn key_of(span: &Span) -> String {
    let kind = span.kind.number();
    match span.resource.service() {
        Some(service) => format!("{kind}{}:{service}{}", service.len(), span.name),
        None => format!("{kind}-:{}", span.name),
    }
}

/// Reads such a key.
fn operation_of(key: &str, agent: &AgentId) -> Option<SpanOperation> {
    let (kind, rest) = (key.get(..1)?, key.get(1..)?);
    let (length, names) = rest.split_once(':')?;
    let (service, name) = if length == "-" {
        (agent.as_str(), names)
    } else {
        names.split_at_checked(length.parse().ok()?)?
    };
    Some(SpanOperation {
        service: service.into(),
        name: name.into(),
        kind: SpanKind::of_number(kind.parse().ok()?)?,
    })
}

/// Notes operations of spans that come into blocks. The row is written when its hour grows: mostly once an hour.
pub(super) fn note(
    transaction: &WriteTransaction,
    agents: &BTreeMap<AgentNo, AgentOperations>,
) -> Result<(), redb::Error> {
    let mut table = transaction.open_table(tables::SPAN_OPERATIONS)?;
    for (agent, told) in agents {
        let known: BTreeMap<String, i32> = {
            let mut known = BTreeMap::new();
            for row in table.range((agent.0, "")..)? {
                let (key, hour) = row?;
                let (of, operation) = key.value();
                if of != agent.0 {
                    break;
                }
                known.insert(operation.to_owned(), hour.value());
            }
            known
        };
        let mut room = PER_AGENT_MAX.saturating_sub(known.len());
        for (operation, hour) in told {
            match known.get(operation) {
                Some(noted) if noted >= hour => continue,
                Some(_) => {}
                None if room == 0 => continue,
                None => room -= 1,
            }
            table.insert((agent.0, operation.as_str()), hour)?;
        }
    }
    Ok(())
}

/// Forgets operations whose last hour is no longer in the file.
pub(super) fn forget(transaction: &WriteTransaction) -> Result<(), redb::Error> {
    let hours: HashSet<i32> = {
        let table = transaction.open_table(tables::SPAN_HOURS)?;
        let rows = table.iter()?;
        rows.map(|row| row.map(|(hour, _)| hour.value()))
            .collect::<Result<_, _>>()?
    };
    let mut table = transaction.open_table(tables::SPAN_OPERATIONS)?;
    table.retain(|_, hour| hours.contains(&hour))?;
    Ok(())
}

impl Moment {
    /// Operations of traces whose hour is not before that of `from`.
    pub(super) fn known_operations(
        &self,
        from: Timestamp,
    ) -> Result<Vec<SpanOperation>, ReadError> {
        let first = hour_at(from);
        let flushed = self.spans_flushed()?;
        let mut found: BTreeSet<SpanOperation> = BTreeSet::new();
        guarded(|| {
            let table = self.table(tables::SPAN_OPERATIONS)?;
            for row in table.iter().map_err(|e| backend(&e))? {
                let (key, hour) = row.map_err(|e| backend(&e))?;
                let (agent, operation) = key.value();
                if hour.value() >= first {
                    let agent = self.agent_name(AgentNo(agent))?;
                    let operation = operation_of(operation, &agent);
                    found.insert(operation.ok_or_else(|| {
                        ReadError::Damaged("the name of an operation cannot be read".to_owned())
                    })?);
                }
            }
            Ok(())
        })?;
        for head in self.traces.heads.chunks() {
            if head.sequence > flushed {
                let agent = self.agent_name(head.chunk.agent)?;
                let told = head.chunk.operations(&agent);
                let told = told.map_err(|e| ReadError::Damaged(e.to_string()))?;
                let recent = told.iter().filter(|(_, hour)| **hour >= first);
                found.extend(recent.filter_map(|(key, _)| operation_of(key, &agent)));
            }
        }
        let open = self.traces.open.values().filter(|open| open.hour >= first);
        found.extend(open.map(|open| SpanOperation {
            service: Arc::from(open.span.service()),
            name: Arc::clone(&open.span.name),
            kind: open.span.kind,
        }));
        Ok(found.into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::{AttributeValue, Attributes, Resource, SpanId, TraceId};

    proptest! {
        #[test]
        fn keys_tell_the_operation(service in prop::option::of(".{1,9}"), name in ".{0,9}", kind in 0u8..6) {
            let agent = AgentId::new("worker").unwrap();
            let mut span = Span::new(TraceId::default(), SpanId::default(), agent.clone(), &name, 0);
            span.kind = SpanKind::of_number(kind).unwrap();
            if let Some(service) = &service {
                let value = AttributeValue::Text(service.as_str().into());
                let attributes = Attributes::from_iter([("service.name".into(), value)]);
                span.resource = Arc::new(Resource { attributes, ..Resource::default() });
            }
            let told = operation_of(&key_of(&span), &agent).unwrap();
            prop_assert_eq!(&*told.service, service.as_deref().unwrap_or("worker"));
            prop_assert_eq!((&*told.name, told.kind), (name.as_str(), span.kind));
        }

        #[test]
        fn any_key_is_survived(key: String) {
            let _ = operation_of(&key, &AgentId::unknown());
        }
    }
}
