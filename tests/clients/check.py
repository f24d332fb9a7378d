"""Real clients against a running longwatch: what each sends must be found again, with its agents, hand-offs, run and
critical path.

    python check.py http://127.0.0.1:7464 127.0.0.1:4317
"""

import asyncio
import json
import sys
import time
import urllib.error
import urllib.parse
import urllib.request

from opentelemetry import trace
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

HTTP, GRPC = sys.argv[1], sys.argv[2]


def ask(path, **query):
    """The JSON answer of a question, or the status of an error."""
    text = urllib.parse.urlencode(query)
    url = f"{HTTP}{path}?{text}" if text else f"{HTTP}{path}"
    try:
        with urllib.request.urlopen(url, timeout=20) as answer:
            return json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code


def provider(service, exporter):
    made = TracerProvider(resource=Resource.create({"service.name": service}))
    made.add_span_processor(BatchSpanProcessor(exporter))
    return made


def expect(what, is_so):
    if not is_so:
        raise AssertionError(what)


def check_path(trace_id):
    """The segments of the critical path add up to the root's duration, and none overlaps another."""
    analysis = ask(f"/api/v1/traces/{trace_id}/analysis")
    segments = analysis["critical_path_segments"]
    root = max(analysis["roots"], key=lambda root: root["duration_ms"])
    total = sum(segment["duration_ms"] for segment in segments)
    expect(f"the path takes {total} ms of {root}", abs(total - root["duration_ms"]) < 0.001)
    for before, after in zip(segments, segments[1:]):
        expect("segments follow each other", before["start_ms"] + before["duration_ms"] <= after["start_ms"] + 0.001)
    return analysis


def team(tracer, name):
    """A planner asks two researchers at once and a writer after them; returns the id of the trace."""
    with tracer.start_as_current_span("plan trip", attributes={"gen_ai.agent.name": f"{name}-planner"}) as root:
        context = trace.set_span_in_context(root)
        both = []
        for who in ("fast", "slow"):
            both.append(
                tracer.start_span("search", context=context, attributes={"gen_ai.agent.name": f"{name}-{who}"})
            )
        time.sleep(0.01)
        both[0].end()
        time.sleep(0.03)
        both[1].set_attribute("gen_ai.usage.input_tokens", 1200)
        both[1].set_attribute("gen_ai.usage.output_tokens", 300)
        both[1].set_attribute("gen_ai.operation.name", "chat")
        both[1].set_attribute("gen_ai.request.model", "gpt-4o")
        both[1].end()
        with tracer.start_as_current_span("write", attributes={"gen_ai.agent.name": f"{name}-writer"}) as writer:
            writer.add_event("draft", {"pages": 3})
            writer.set_status(trace.StatusCode.ERROR, "the printer is on fire")
            time.sleep(0.01)
        return f"{root.get_span_context().trace_id:032x}"


def check_team(name, trace_id):
    shown = ask(f"/api/v1/traces/{trace_id}")
    expect(f"four spans: {shown}", isinstance(shown, dict) and len(shown["spans"]) == 4)
    agents = {span["agent_id"] for span in shown["spans"]}
    expect(agents, agents == {f"{name}-{who}" for who in ("planner", "fast", "slow", "writer")})
    analysis = check_path(trace_id)
    path = analysis["critical_path"]
    expect(path, f"{name}-slow:search" in path and f"{name}-fast:search" not in path)
    expect(path, path.index(f"{name}-slow:search") < path.index(f"{name}-writer:write"))
    expect("one failed", analysis["failed_spans"] == 1 and analysis["completed_spans"] == 3)
    slow = analysis["agent_participation"][f"{name}-slow"]
    expect(slow, slow["tokens"]["input"] == 1200 and slow["cost"] is not None)
    for query in (
        {"agent_id": f"{name}-writer", "status": "failed"},
        {"error": "on fire", "agent_id": f"{name}-writer"},
        {"attr.gen_ai.request.model": "gpt-4o", "agent_id": f"{name}-slow"},
        {"agent_id": f"{name}-planner", "min_duration": "40ms"},
    ):
        found = [trace["trace_id"] for trace in ask("/api/v1/traces", **query)["traces"]]
        expect(f"{query}: {found}", found[:1] == [trace_id])
    graph = ask("/api/v1/agent-graph")
    edges = {(edge["source"], edge["target"]) for edge in graph["edges"]}
    expect(edges, (f"{name}-planner", f"{name}-writer") in edges)


def over_http():
    from opentelemetry.exporter.otlp.proto.http import Compression
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

    exporter = OTLPSpanExporter(endpoint=f"{HTTP}/v1/traces", compression=Compression.Gzip)
    made = provider("http-team", exporter)
    trace_id = team(made.get_tracer("check"), "http")
    made.shutdown()
    check_team("http", trace_id)


def over_grpc():
    from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter

    made = provider("grpc-team", OTLPSpanExporter(endpoint=GRPC, insecure=True))
    trace_id = team(made.get_tracer("check"), "grpc")
    made.shutdown()
    check_team("grpc", trace_id)


def over_zipkin():
    from opentelemetry.exporter.zipkin.json import ZipkinExporter

    made = provider("zipkin-service", ZipkinExporter(endpoint=f"{HTTP}/api/v2/spans"))
    tracer = made.get_tracer("check")
    with tracer.start_as_current_span("outer", kind=trace.SpanKind.SERVER) as root:
        with tracer.start_as_current_span("inner") as inner:
            inner.record_exception(ValueError("no"))
            time.sleep(0.01)
    made.shutdown()
    trace_id = f"{root.get_span_context().trace_id:032x}"
    shown = ask(f"/api/v1/traces/{trace_id}")
    expect(shown, {span["operation"] for span in shown["spans"]} == {"outer", "inner"})
    expect(shown, all(span["agent_id"] == "zipkin-service" for span in shown["spans"]))
    outer = next(span for span in shown["spans"] if span["operation"] == "outer")
    expect(outer, outer["kind"] == "server")
    check_path(trace_id)


def pydantic_agent():
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from pydantic_ai import Agent, InstrumentationSettings
    from pydantic_ai.models.test import TestModel

    made = provider("pydantic", OTLPSpanExporter(endpoint=f"{HTTP}/v1/traces"))
    Agent.instrument_all(InstrumentationSettings(tracer_provider=made))
    agent = Agent(TestModel(), name="weatherman", system_prompt="Be short.")

    @agent.tool_plain
    def temperature(city: str) -> int:
        """The temperature in a city."""
        time.sleep(0.01)
        return len(city)

    agent.run_sync("How warm is it?")
    made.shutdown()
    traces = ask("/api/v1/traces", agent_id="weatherman")["traces"]
    expect(f"a run: {traces}", traces)
    shown = ask(f"/api/v1/traces/{traces[0]['trace_id']}")["spans"]
    inferences = [span for span in shown if span["usage"]]
    expect("tokens are counted on inferences alone", inferences and len(inferences) < len(shown))
    used = sum(span["usage"]["input_tokens"] + span["usage"]["output_tokens"] for span in inferences)
    expect(f"{used} tokens of {traces[0]}", used == traces[0]["tokens"] > 0)
    expect("a tool was called", any("temperature" in json.dumps(span["metadata"]) for span in shown))
    expect("all spans are the agent's", {span["agent_id"] for span in shown} == {"weatherman"})
    check_path(traces[0]["trace_id"])


def autogen_team():
    from autogen_agentchat.agents import AssistantAgent
    from autogen_agentchat.conditions import MaxMessageTermination
    from autogen_agentchat.teams import RoundRobinGroupChat
    from autogen_core import SingleThreadedAgentRuntime
    from autogen_ext.models.replay import ReplayChatCompletionClient
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

    made = provider("autogen", OTLPSpanExporter(endpoint=f"{HTTP}/v1/traces"))
    trace.set_tracer_provider(made)

    async def talk():
        runtime = SingleThreadedAgentRuntime(tracer_provider=made)
        runtime.start()
        members = [
            AssistantAgent(name, model_client=ReplayChatCompletionClient(["one", "two", "three"]))
            for name in ("autoplanner", "autowriter")
        ]
        team = RoundRobinGroupChat(members, termination_condition=MaxMessageTermination(5), runtime=runtime)
        await team.run(task="Write a poem.")
        await runtime.stop_when_idle()

    asyncio.run(talk())
    made.shutdown()
    for name in ("autoplanner", "autowriter"):
        traces = ask("/api/v1/traces", agent_id=name)["traces"]
        expect(f"traces of {name}: {traces}", traces)
    runs = [run for run in ask("/api/v1/runs")["runs"] if "autoplanner" in run["agents"] and len(run["traces"]) > 3]
    expect(f"one run of many traces: {runs}", runs and "autowriter" in runs[0]["agents"] and runs[0]["links"] > 3)
    graph = ask("/api/v1/agent-graph")
    pairs = {(edge["source"], edge["target"]) for edge in graph["edges"]}
    expect(f"the group hands over: {pairs}", any("auto" in source and "auto" in target for source, target in pairs))
    longest = max(ask("/api/v1/traces", agent_id="autowriter")["traces"], key=lambda trace: trace["duration_ms"])
    check_path(longest["trace_id"])


def main():
    for check in (over_http, over_grpc, over_zipkin, pydantic_agent, autogen_team):
        began = time.monotonic()
        check()
        print(f"    {check.__name__}: {time.monotonic() - began:.1f} s", flush=True)


main()
