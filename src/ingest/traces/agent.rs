//! Who did the work of a span.

use hashbrown::HashMap;

use crate::model::{AgentId, AgentOrigin, AttributeValue, Span, SpanId, TraceId, genai};

/// Tells the agent of each span: what the configured attribute of the span, its scope or its resource says, else what
/// the span names ([`genai::agent_of`]), else what the nearest ancestor names that came with it, else what sent it: its
/// `service.name` behind its `service.namespace`, as `namespace/name`. Agents that longwatch itself wrote stay. Texts
/// become ids as [`AgentId::of_text`] makes them. Linear; parents in circles are survived.
pub fn resolve_agents(spans: &mut [Span], configured_attribute: Option<&str>) {
    let mut ids = Ids::default();
    let own: Vec<_> = spans
        .iter()
        .map(|span| match span.agent_origin {
            AgentOrigin::Own => Some(span.agent.clone()),
            _ => own(span, configured_attribute, &mut ids),
        })
        .collect();
    let inherited = inherited(spans, &own);
    for ((span, own), inherited) in spans.iter_mut().zip(own).zip(inherited) {
        (span.agent, span.agent_origin) = if let Some(agent) = own {
            (agent, AgentOrigin::Own)
        } else if let Some(agent) = inherited {
            (agent, AgentOrigin::Inherited)
        } else if let Some(agent) = service(span, &mut ids) {
            (agent, AgentOrigin::Service)
        } else {
            (
                ids.of("unknown").unwrap_or_else(AgentId::unknown),
                AgentOrigin::Unknown,
            )
        };
    }
}

/// Ids by the text that they were made of: a batch names few agents many times.
#[derive(Default)]
struct Ids(HashMap<String, Option<AgentId>>);

impl Ids {
    fn of(&mut self, text: &str) -> Option<AgentId> {
        let id = self.0.entry_ref(text);
        id.or_insert_with(|| AgentId::of_text(text)).clone()
    }
}

fn own(span: &Span, configured: Option<&str>, ids: &mut Ids) -> Option<AgentId> {
    let value = configured.and_then(|key| span.attribute(key));
    let configured = value.and_then(|value| match value {
        AttributeValue::Text(text) => ids.of(text),
        other => ids.of(&other.to_string()),
    });
    configured.or_else(|| ids.of(genai::agent_of(span)?))
}

fn service(span: &Span, ids: &mut Ids) -> Option<AgentId> {
    let resource = &span.resource.attributes;
    let named = genai::AGENT.iter().find_map(|name| resource.text(name));
    if let Some(agent) = named.and_then(|name| ids.of(name)) {
        return Some(agent);
    }
    let service = span.resource.service()?;
    match resource.text("service.namespace") {
        Some(namespace) => ids.of(&format!("{namespace}/{service}")),
        None => ids.of(service),
    }
}

/// For each span, the agent that the nearest of its ancestors names.
fn inherited(spans: &[Span], own: &[Option<AgentId>]) -> Vec<Option<AgentId>> {
    let mut places: HashMap<(TraceId, SpanId), usize> = HashMap::with_capacity(spans.len());
    for (at, span) in spans.iter().enumerate() {
        let place = places.entry((span.trace_id, span.span_id)).or_insert(at);
        if !span.is_shared {
            *place = at;
        }
    }
    let parent = |at: usize| {
        let span = &spans[at];
        // Zipkin: the client's half has the same id and is the server's parent.
        let half = places.get(&(span.trace_id, span.span_id));
        let half = half.filter(|half| span.is_shared && !spans[**half].is_shared);
        half.or_else(|| places.get(&(span.trace_id, span.parent_id?)))
            .copied()
    };
    let mut known: Vec<Option<Option<AgentId>>> = vec![None; spans.len()];
    let mut path = Vec::new();
    for start in 0..spans.len() {
        let mut at = start;
        let agent = loop {
            if let Some(agent) = &known[at] {
                break agent.clone();
            }
            // Held for as long as the path is walked, so that a circle ends.
            known[at] = Some(None);
            path.push(at);
            let Some(next) = parent(at) else {
                break None;
            };
            if own[next].is_some() {
                break own[next].clone();
            }
            at = next;
        };
        for at in path.drain(..) {
            known[at] = Some(agent.clone());
        }
    }
    known.into_iter().map(Option::flatten).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::model::Resource;

    /// A span by number under its parent, 0 for none.
    fn span(id: u64, parent: u64, attributes: &[(&str, &str)]) -> Span {
        let id = SpanId::new(id).unwrap();
        let mut span = Span::new(TraceId::default(), id, AgentId::unknown(), "", 1);
        span.parent_id = SpanId::new(parent);
        span.agent_origin = AgentOrigin::Unknown;
        for (key, text) in attributes {
            span.attributes
                .set(key, AttributeValue::Text((*text).into()));
        }
        span
    }

    fn agents(mut spans: Vec<Span>, configured: Option<&str>) -> Vec<String> {
        resolve_agents(&mut spans, configured);
        let agents = spans
            .iter()
            .map(|span| format!("{} {:?}", span.agent, span.agent_origin));
        agents.collect()
    }

    #[test]
    fn the_nearest_name_counts() {
        let mut resource = Resource::default();
        for (key, text) in [("service.name", "shop"), ("service.namespace", "eu")] {
            resource
                .attributes
                .set(key, AttributeValue::Text(text.into()));
        }
        let mut last = span(6, 99, &[]);
        last.resource = Arc::new(resource);
        let spans = vec![
            span(3, 2, &[]),
            span(2, 1, &[]),
            span(1, 0, &[("gen_ai.agent.name", " planner\n")]),
            span(4, 3, &[("gen_ai.agent.name", "coder"), ("team", "red")]),
            span(5, 4, &[]),
            last,
            span(7, 8, &[]),
            span(8, 7, &[]),
        ];
        let expected = [
            "planner Inherited",
            "planner Inherited",
            "planner Own",
            "coder Own",
            "coder Inherited",
            "eu/shop Service",
            "unknown Unknown",
            "unknown Unknown",
        ];
        assert_eq!(agents(spans.clone(), None), expected);
        assert_eq!(
            agents(spans, Some("team"))[3..5],
            ["red Own", "red Inherited"]
        );
    }

    #[test]
    fn halves_of_a_shared_span_are_parent_and_child() {
        let client = span(2, 1, &[("gen_ai.agent.name", "caller")]);
        let mut server = span(2, 1, &[]);
        server.is_shared = true;
        let spans = vec![server, client, span(3, 2, &[])];
        let expected = ["caller Inherited", "caller Own", "caller Inherited"];
        assert_eq!(agents(spans, None), expected);
    }
}
