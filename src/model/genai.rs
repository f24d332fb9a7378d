//! What attributes say of agents, models, tools and tokens, under the names that libraries give them.
//!
//! The names come from the OpenTelemetry conventions for generative AI, OpenInference, Traceloop (OpenLLMetry),
//! pydantic-ai, openai-agents and AutoGen. The conventions still move: a new name is one line in the lists below. The first name of a
//! list that a span has counts.

use std::borrow::Cow;

use super::{AttributeValue, Span, TokenUsage};

/// Kind of the work.
pub const OPERATION: &[&str] = &["gen_ai.operation.name"];

/// Kind of a span in OpenInference: LLM, AGENT, TOOL, CHAIN, EMBEDDING, RETRIEVER, ...
pub const OPENINFERENCE_KIND: &str = "openinference.span.kind";

/// Kind of a span in Traceloop: workflow, task, agent, tool.
pub const TRACELOOP_KIND: &str = "traceloop.span.kind";

/// Name of what a Traceloop span is about.
pub const TRACELOOP_NAME: &str = "traceloop.entity.name";

/// Name of the agent, on any span.
pub const AGENT: &[&str] = &["gen_ai.agent.name"];

/// Name of the agent, on spans whose kind in OpenInference is AGENT.
pub const AGENT_OF_OPENINFERENCE: &[&str] = &["agent.name", "graph.node.id"];

/// One incarnation of an agent: an id that another run, or another process, does not have.
pub const INCARNATION: &[&str] = &["gen_ai.agent.id", "agent.call.id", "service.instance.id"];

/// Conversation or session that a run belongs to.
pub const SESSION: &[&str] = &[
    "gen_ai.conversation.id",
    "session.id",
    "traceloop.association.properties.session_id",
    "traceloop.association.properties.thread_id",
];

/// Who serves the model.
pub const PROVIDER: &[&str] = &[
    "gen_ai.provider.name",
    "gen_ai.system",
    "llm.provider",
    "llm.system",
];

/// The model that answered, else the one that was asked.
pub const MODEL: &[&str] = &[
    "gen_ai.response.model",
    "gen_ai.request.model",
    "llm.model_name",
    "llm.response.model",
    "llm.request.model",
    "embedding.model_name",
    "model_name",
];

/// Why a model stopped.
pub const FINISH_REASONS: &[&str] = &[
    "gen_ai.response.finish_reasons",
    "gen_ai.response.finish_reason",
    "llm.response.finish_reason",
    "gen_ai.completion.0.finish_reason",
    "llm.finish_reason",
];

/// Class of what failed.
pub const ERROR_TYPE: &str = "error.type";

/// Tool that is called, on any span.
pub const TOOL: &[&str] = &["gen_ai.tool.name", "tool.name", "tool_call.function.name"];

/// What a tool is called with, on spans of tools.
pub const TOOL_ARGUMENTS: &[&str] = &[
    "gen_ai.tool.call.arguments",
    "tool_arguments",
    "tool_call.function.arguments",
    "traceloop.entity.input",
    "input.value",
];

/// Tokens of the prompt, cached ones included.
pub const INPUT_TOKENS: &[&str] = &[
    "gen_ai.usage.input_tokens",
    "gen_ai.usage.prompt_tokens",
    "llm.token_count.prompt",
    "llm.usage.prompt_tokens",
];

/// Tokens of the answer, reasoning included.
pub const OUTPUT_TOKENS: &[&str] = &[
    "gen_ai.usage.output_tokens",
    "gen_ai.usage.completion_tokens",
    "llm.token_count.completion",
    "llm.usage.completion_tokens",
];

/// Tokens of both.
pub const TOTAL_TOKENS: &[&str] = &[
    "gen_ai.usage.total_tokens",
    "llm.token_count.total",
    "llm.usage.total_tokens",
];

/// Tokens of the prompt that were read from a cache.
pub const CACHE_READ_TOKENS: &[&str] = &[
    "gen_ai.usage.cache_read.input_tokens",
    "gen_ai.usage.cache_read_input_tokens",
    "gen_ai.usage.details.cache_read_tokens",
    "gen_ai.usage.details.cache_read_input_tokens",
    "gen_ai.usage.details.cached_tokens",
    "llm.token_count.prompt_details.cache_read",
    "llm.usage.cache_read_input_tokens",
];

/// Tokens of the prompt that were put into a cache.
pub const CACHE_CREATION_TOKENS: &[&str] = &[
    "gen_ai.usage.cache_creation.input_tokens",
    "gen_ai.usage.cache_creation_input_tokens",
    "gen_ai.usage.details.cache_write_tokens",
    "gen_ai.usage.details.cache_creation_input_tokens",
    "llm.token_count.prompt_details.cache_write",
    "llm.usage.cache_creation_input_tokens",
];

/// Tokens of the answer that were reasoning.
pub const REASONING_TOKENS: &[&str] = &[
    "gen_ai.usage.reasoning.output_tokens",
    "gen_ai.usage.reasoning_tokens",
    "gen_ai.usage.details.reasoning_tokens",
    "llm.token_count.completion_details.reasoning",
    "llm.usage.reasoning_tokens",
];

/// Operations that ask a model for something.
pub const INFERENCE_OPERATIONS: &[&str] = &[
    "chat",
    "text_completion",
    "completion",
    "generate_content",
    "embeddings",
    "embedding",
    "response",
    "responses",
];

/// What kinds of other conventions are called in OpenTelemetry's.
const OPERATION_OF_KIND: &[(&str, &str, &str)] = &[
    (OPENINFERENCE_KIND, "LLM", "chat"),
    (OPENINFERENCE_KIND, "EMBEDDING", "embeddings"),
    (OPENINFERENCE_KIND, "TOOL", "execute_tool"),
    (OPENINFERENCE_KIND, "AGENT", "invoke_agent"),
    (OPENINFERENCE_KIND, "RETRIEVER", "retrieval"),
    (TRACELOOP_KIND, "agent", "invoke_agent"),
    (TRACELOOP_KIND, "tool", "execute_tool"),
    (TRACELOOP_KIND, "workflow", "invoke_workflow"),
    ("llm.request.type", "chat", "chat"),
    ("llm.request.type", "completion", "text_completion"),
    ("llm.request.type", "embedding", "embeddings"),
];

/// The first of the names that the span has a text under.
fn text<'a>(span: &'a Span, names: &[&str]) -> Option<&'a str> {
    names.iter().find_map(|name| span.attributes.text(name))
}

/// The first of the names that the span has a number under that is none below zero.
fn count(span: &Span, names: &[&str]) -> Option<u64> {
    let numbers = names.iter().filter_map(|name| span.attributes.get(name));
    numbers
        .filter_map(AttributeValue::as_int)
        .find_map(|number| u64::try_from(number).ok())
}

fn is_kind(span: &Span, attribute: &str, kind: &str) -> bool {
    let found = span.attributes.text(attribute);
    found.is_some_and(|found| found.eq_ignore_ascii_case(kind))
}

/// The name of the agent that the span itself tells.
pub fn agent_of(span: &Span) -> Option<&str> {
    text(span, AGENT)
        .or_else(|| {
            let is_agent = is_kind(span, OPENINFERENCE_KIND, "AGENT");
            is_agent.then(|| text(span, AGENT_OF_OPENINFERENCE))?
        })
        .or_else(|| {
            let is_agent = is_kind(span, TRACELOOP_KIND, "agent");
            is_agent.then(|| span.attributes.text(TRACELOOP_NAME))?
        })
}

/// Which life of its agent a span is of; a new one is a restart.
pub fn incarnation(span: &Span) -> Option<&str> {
    let values = INCARNATION.iter().filter_map(|name| span.attribute(name));
    values
        .filter_map(AttributeValue::as_text)
        .find(|text| !text.is_empty())
}

/// The kind of the work in OpenTelemetry's words: `chat`, `execute_tool`, `invoke_agent`, ...
pub fn operation_of(span: &Span) -> Option<&str> {
    text(span, OPERATION).or_else(|| {
        let mut kinds = OPERATION_OF_KIND.iter();
        kinds.find_map(|(name, kind, operation)| is_kind(span, name, kind).then_some(*operation))
    })
}

/// Whether the span is one inference: one request to a model. Spans of agents and workflows are none, although some
/// libraries put the sums of their inferences on them.
pub fn is_inference(span: &Span) -> bool {
    if let Some(operation) = operation_of(span) {
        return INFERENCE_OPERATIONS.contains(&operation);
    }
    let is_of_another_kind = [OPENINFERENCE_KIND, TRACELOOP_KIND]
        .iter()
        .any(|kind| span.attributes.text(kind).is_some());
    let has_tokens = || {
        [INPUT_TOKENS, OUTPUT_TOKENS, TOTAL_TOKENS]
            .iter()
            .any(|names| count(span, names).is_some())
    };
    !is_of_another_kind && has_tokens()
}

/// Tokens of an inference; `None` of another span, and where none are told. Cached and reasoning tokens are parts of the
/// input and the output and are never added. Where only the total is known, what is not output counts as input.
pub fn token_usage(span: &Span) -> Option<TokenUsage> {
    if !is_inference(span) {
        return None;
    }
    let (input, output) = (count(span, INPUT_TOKENS), count(span, OUTPUT_TOKENS));
    let total = count(span, TOTAL_TOKENS);
    let (input, output) = match (input, output, total) {
        (None, None, None) => return None,
        (Some(input), None, Some(total)) => (input, total.saturating_sub(input)),
        (None, output, Some(total)) => {
            let output = output.unwrap_or_default();
            (total.saturating_sub(output), output)
        }
        (input, output, _) => (input.unwrap_or_default(), output.unwrap_or_default()),
    };
    Some(TokenUsage {
        input,
        output,
        cache_read: count(span, CACHE_READ_TOKENS).unwrap_or_default(),
        cache_creation: count(span, CACHE_CREATION_TOKENS).unwrap_or_default(),
        reasoning: count(span, REASONING_TOKENS).unwrap_or_default(),
        cost: None,
    })
}

/// The model that answered, else the one that was asked.
pub fn model_of(span: &Span) -> Option<&str> {
    text(span, MODEL)
}

/// Who serves the model.
pub fn provider_of(span: &Span) -> Option<&str> {
    text(span, PROVIDER)
}

/// The tool that the span is a call of.
pub fn tool_of(span: &Span) -> Option<&str> {
    text(span, TOOL).or_else(|| {
        if operation_of(span) != Some("execute_tool") {
            return None;
        }
        let name = span.name.strip_prefix("execute_tool ");
        let name = name.unwrap_or(&span.name);
        let name = span.attributes.text(TRACELOOP_NAME).unwrap_or(name);
        (!name.is_empty()).then_some(name)
    })
}

/// What a tool was called with, mostly JSON; lists and maps are written as such.
pub fn tool_arguments(span: &Span) -> Option<Cow<'_, str>> {
    tool_of(span)?;
    let value = TOOL_ARGUMENTS
        .iter()
        .find_map(|name| span.attributes.get(name))?;
    Some(match value {
        AttributeValue::Text(text) => Cow::Borrowed(text),
        other => Cow::Owned(other.to_string()),
    })
}

/// The conversation or session that the span's run belongs to.
pub fn session_of(span: &Span) -> Option<&str> {
    let values = SESSION.iter().filter_map(|name| span.attribute(name));
    values
        .filter_map(AttributeValue::as_text)
        .find(|text| !text.is_empty())
}

/// Why the model stopped, in its words.
pub fn finish_reasons(span: &Span) -> Vec<&str> {
    let value = FINISH_REASONS
        .iter()
        .find_map(|name| span.attributes.get(name));
    match value {
        Some(AttributeValue::List(values)) => {
            values.iter().filter_map(AttributeValue::as_text).collect()
        }
        Some(AttributeValue::Text(text)) => vec![text],
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{AgentId, SpanId, TraceId};

    fn span(attributes: &serde_json::Value) -> Span {
        let (trace, id) = (TraceId::default(), SpanId::default());
        let mut span = Span::new(trace, id, AgentId::unknown(), "execute_tool search", 1);
        for (key, value) in attributes.as_object().unwrap() {
            span.attributes.set(key, AttributeValue::of_json(value));
        }
        span
    }

    #[test]
    fn tokens_count_on_inferences_alone_and_once() {
        use serde_json::json;
        let tokens = |value| token_usage(&span(&value)).map(|usage| (usage.input, usage.output));
        let chat = json!({
            "gen_ai.operation.name": "chat", "gen_ai.usage.input_tokens": 100,
            "gen_ai.usage.output_tokens": 20, "gen_ai.usage.cache_read.input_tokens": 80,
            "gen_ai.usage.reasoning.output_tokens": 5,
        });
        let usage = token_usage(&span(&chat)).unwrap();
        assert_eq!(
            (usage.total(), usage.cache_read, usage.reasoning),
            (120, 80, 5)
        );
        for (attributes, counted) in [
            (
                json!({"gen_ai.operation.name": "invoke_agent", "gen_ai.usage.input_tokens": 9}),
                None,
            ),
            (json!({"gen_ai.aggregated_usage.input_tokens": 9}), None),
            (
                json!({"gen_ai.usage.prompt_tokens": 9, "gen_ai.usage.completion_tokens": 1}),
                Some((9, 1)),
            ),
            (
                json!({"openinference.span.kind": "LLM", "llm.token_count.prompt": "7", "llm.token_count.total": 9}),
                Some((7, 2)),
            ),
            (
                json!({"openinference.span.kind": "AGENT", "llm.token_count.prompt": 7}),
                None,
            ),
            (
                json!({"traceloop.span.kind": "workflow", "llm.usage.total_tokens": 7}),
                None,
            ),
            (
                json!({"llm.request.type": "chat", "llm.usage.total_tokens": 7}),
                Some((7, 0)),
            ),
            (
                json!({"gen_ai.operation.name": "chat", "gen_ai.usage.input_tokens": -7}),
                None,
            ),
            (json!({"gen_ai.operation.name": "chat"}), None),
        ] {
            assert_eq!(tokens(attributes.clone()), counted, "{attributes}");
        }
    }

    #[test]
    fn agents_tools_and_sessions_have_many_names() {
        use serde_json::json;
        for (attributes, agent) in [
            (
                json!({"gen_ai.agent.name": "a", "agent.name": "b"}),
                Some("a"),
            ),
            (json!({"agent.name": "b"}), None),
            (
                json!({"agent.name": "b", "openinference.span.kind": "AGENT"}),
                Some("b"),
            ),
            (
                json!({"graph.node.id": "n", "openinference.span.kind": "AGENT"}),
                Some("n"),
            ),
            (
                json!({"traceloop.entity.name": "t", "traceloop.span.kind": "agent"}),
                Some("t"),
            ),
            (
                json!({"traceloop.entity.name": "t", "traceloop.span.kind": "task"}),
                None,
            ),
        ] {
            assert_eq!(agent_of(&span(&attributes)), agent, "{attributes}");
        }
        let tool = span(
            &json!({"gen_ai.operation.name": "execute_tool", "input.value": "{\"q\":1}", "session.id": "s"}),
        );
        assert_eq!(tool_of(&tool), Some("search"));
        assert_eq!(tool_arguments(&tool).as_deref(), Some("{\"q\":1}"));
        assert_eq!(session_of(&tool), Some("s"));
        let tool =
            span(&json!({"gen_ai.tool.name": "grep", "gen_ai.tool.call.arguments": {"q": [1]}}));
        assert_eq!(tool_arguments(&tool).as_deref(), Some("{\"q\":[1]}"));
        let chat = span(
            &json!({"gen_ai.response.finish_reasons": ["stop", "length"], "input.value": "x"}),
        );
        assert_eq!(finish_reasons(&chat), ["stop", "length"]);
        assert_eq!((tool_of(&chat), tool_arguments(&chat)), (None, None));
    }
}
