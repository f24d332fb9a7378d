//! What the simulated agents tell of their work: traces, sent as OTLP over HTTP to the server's own address, as any
//! client would.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use tokio_util::sync::CancellationToken;

use crate::{
    ingest::to_otlp_json,
    model::{
        AgentId, AttributeValue, Clock, Resource, Span, SpanEvent, SpanId, SpanKind, SpanStatus,
        Timestamp, TraceId,
    },
};

/// A task is handed to the team so often.
const EVERY: Duration = Duration::from_secs(2);
/// Tasks after which the browser loses its way, and tasks after which the tester gives up.
const SLOW_EVERY: u64 = 7;
const FAILED_EVERY: u64 = 5;

/// Sends the trace of a task every so often.
pub(super) async fn tell(server: SocketAddr, clock: Arc<dyn Clock>, shutdown: CancellationToken) {
    let Ok(client) = reqwest::Client::builder().no_proxy().build() else {
        return;
    };
    // Ids of another run of the demo on the same database are others.
    let run = clock.now().as_millis() as u128;
    let mut number = 0;
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = tokio::time::sleep(EVERY) => {}
        }
        number += 1;
        let spans = task(run, number, clock.now());
        let body = to_otlp_json(&spans).to_string();
        let sent = client
            .post(format!("http://{server}/v1/traces"))
            .header("content-type", "application/json")
            .body(body)
            .send()
            .await;
        if let Err(error) = sent {
            tracing::debug!(%error, "the trace of a simulated task was not taken");
        }
    }
}

/// A trace as it grows.
struct Task {
    trace_id: TraceId,
    session: String,
    start_ns: i64,
    spans: Vec<Span>,
    resource: Arc<Resource>,
}

impl Task {
    /// Adds a span from `from` to `to`, milliseconds after the start; returns its id.
    fn add(
        &mut self,
        parent: Option<SpanId>,
        agent: &str,
        operation: &str,
        from: i64,
        to: i64,
    ) -> Option<SpanId> {
        let id = SpanId::new(self.spans.len() as u64 + 1)?;
        let agent = AgentId::new(agent).ok()?;
        let start_ns = self.start_ns + from * 1_000_000;
        let mut span = Span::new(self.trace_id, id, agent.clone(), operation, start_ns);
        span.parent_id = parent;
        span.end_ns = Some(self.start_ns + to * 1_000_000);
        span.kind = SpanKind::Internal;
        span.resource = Arc::clone(&self.resource);
        let text = |text: &str| AttributeValue::Text(text.into());
        span.attributes
            .set("gen_ai.agent.name", text(agent.as_str()));
        span.attributes
            .set("gen_ai.conversation.id", text(&self.session));
        self.spans.push(span);
        Some(id)
    }

    /// Makes the last span an inference.
    fn inference(&mut self, model: &str, input: i64, output: i64) {
        if let Some(span) = self.spans.last_mut() {
            span.kind = SpanKind::Client;
            let text = |text: &str| AttributeValue::Text(text.into());
            span.attributes.set("gen_ai.operation.name", text("chat"));
            span.attributes.set("gen_ai.request.model", text(model));
            span.attributes
                .set("gen_ai.usage.input_tokens", AttributeValue::Int(input));
            span.attributes
                .set("gen_ai.usage.output_tokens", AttributeValue::Int(output));
        }
    }

    /// Makes the last span a tool's.
    fn tool(&mut self, name: &str, arguments: &str) {
        if let Some(span) = self.spans.last_mut() {
            let text = |text: &str| AttributeValue::Text(text.into());
            span.attributes
                .set("gen_ai.operation.name", text("execute_tool"));
            span.attributes.set("gen_ai.tool.name", text(name));
            span.attributes
                .set("gen_ai.tool.call.arguments", text(arguments));
        }
    }

    /// Makes the last span fail.
    fn fail(&mut self, kind: &str, message: &str) {
        if let Some(span) = self.spans.last_mut() {
            span.status = SpanStatus::Error;
            span.status_message = message.into();
            let text = |text: &str| AttributeValue::Text(text.into());
            let attributes = [
                (Arc::from("exception.type"), text(kind)),
                (Arc::from("exception.message"), text(message)),
            ];
            span.events.push(SpanEvent {
                time_ns: span.end_ns.unwrap_or(span.start_ns),
                name: "exception".into(),
                attributes: attributes.into_iter().collect(),
                dropped_attributes: 0,
            });
        }
    }
}

/// One task of the team, that ends now: the router asks the planner; two researchers work at once; the coder writes,
/// the tester tests, now and then twice; the summarizer answers.
fn task(run: u128, number: u64, now: Timestamp) -> Vec<Span> {
    let wave = |period: u64, height: i64| (number % period) as i64 * height / period as i64;
    let service = AttributeValue::Text("demo-fleet".into());
    let mut task = Task {
        trace_id: TraceId::new(run << 32 | u128::from(number)).unwrap_or_default(),
        session: format!("demo-{run}-{}", number / 3),
        start_ns: 0,
        spans: Vec::new(),
        resource: Arc::new(Resource {
            attributes: [(Arc::from("service.name"), service)].into_iter().collect(),
            ..Resource::default()
        }),
    };
    let is_slow = number.is_multiple_of(SLOW_EVERY);
    let is_failed = number.is_multiple_of(FAILED_EVERY);
    let planned = 120 + wave(5, 60);
    let browsed = planned + 300 + wave(4, 200) + if is_slow { 1_400 } else { 0 };
    let read = planned + 420 + wave(3, 150);
    let found = browsed.max(read);
    let coded = found + 500 + wave(6, 300);
    let tested = coded + 180;
    let again = if is_failed { tested + 260 } else { tested };
    let end = again + 150;
    let root = task.add(None, "router", "handle task", 0, end);
    let plan = task.add(root, "planner", "plan", 10, planned);
    task.add(plan, "planner", "chat gpt-4o", 15, planned - 5);
    task.inference("gpt-4o", 900 + wave(7, 700), 180 + wave(4, 120));
    let first = task.add(root, "researcher-1", "research", planned, browsed);
    task.add(first, "browser", "fetch page", planned + 20, browsed - 15);
    task.tool(
        "fetch_page",
        &format!("{{\"url\": \"https://example.org/{}\"}}", number % 40),
    );
    let second = task.add(root, "researcher-2", "research", planned, read);
    task.add(
        second,
        "retriever",
        "search documents",
        planned + 25,
        read - 130,
    );
    task.tool(
        "search_documents",
        &format!("{{\"query\": \"case {}\"}}", number % 25),
    );
    task.add(
        second,
        "researcher-2",
        "chat gpt-4o-mini",
        read - 120,
        read - 10,
    );
    task.inference("gpt-4o-mini", 2_400 + wave(9, 1_500), 260);
    let code = task.add(root, "coder", "write code", found, coded);
    task.add(code, "coder", "chat gpt-4o", found + 10, coded - 20);
    task.inference("gpt-4o", 3_800 + wave(11, 2_000), 900 + wave(5, 500));
    task.add(root, "tester", "run tests", coded, tested);
    if is_failed {
        task.fail("AssertionError", "3 of 41 tests failed");
        task.add(root, "tester", "run tests", tested + 60, again);
    }
    let answer = task.add(root, "summarizer", "answer", again, end);
    task.add(
        answer,
        "summarizer",
        "chat gpt-4o-mini",
        again + 5,
        end - 10,
    );
    task.inference("gpt-4o-mini", 1_200, 150 + wave(3, 60));
    // It ended now.
    let shift = now
        .as_millis()
        .saturating_sub(end)
        .saturating_mul(1_000_000);
    for span in &mut task.spans {
        span.start_ns += shift;
        span.end_ns = span.end_ns.map(|end| end + shift);
        for event in &mut span.events {
            event.time_ns += shift;
        }
    }
    task.spans
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tasks_have_a_root_and_children_within_it() {
        let now = Timestamp::from_millis(1_790_000_000_000);
        for number in 1..50 {
            let spans = task(7, number, now);
            let root = &spans[0];
            assert_eq!(root.end_ns, Some(now.as_millis() * 1_000_000));
            for span in &spans[1..] {
                let parent = spans
                    .iter()
                    .find(|other| Some(other.span_id) == span.parent_id);
                let parent = parent.unwrap();
                assert!(
                    span.start_ns >= parent.start_ns && span.end_ns <= parent.end_ns,
                    "{number} {}",
                    span.name
                );
                assert!(span.duration_ns().unwrap() > 0);
            }
            assert_eq!(
                spans.iter().any(Span::is_failed),
                number % FAILED_EVERY == 0
            );
        }
    }
}
