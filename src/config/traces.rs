//! Settings of traces: `[traces]`, how they are taken in and kept, and `[traces.detectors.*]`, what is derived from them.

use std::net::SocketAddr;

use super::{
    catalogue::{GIB, MIB, MINUTE_MS, TIB, YEAR_MS, no_control_characters, path_text, setting},
    setting::{Draft, Field, Kind, Setting, TextField},
};
use crate::{
    model::{DAY_MS, Severity},
    traces::Detector,
};

fn severity(draft: &Draft, detector: Detector) -> String {
    let switch = draft.config.watch.detectors.switch(detector);
    switch.severity.as_str().to_owned()
}

fn set_severity(draft: &mut Draft, detector: Detector, text: &str) -> Result<(), String> {
    let known = Severity::ALL.into_iter().find(|s| s.as_str() == text);
    let severity =
        known.ok_or_else(|| format!("`{text}` is none of info, warning, critical, emergency"))?;
    draft.config.watch.detectors.switch_mut(detector).severity = severity;
    Ok(())
}

/// Severity of a detector's alerts.
macro_rules! severity {
    ($name:literal, $detector:ident) => {
        Setting {
            name: concat!("traces.detectors.", $name, ".severity"),
            flag: None,
            kind: Kind::Text(
                "`info`, `warning`, `critical` or `emergency`",
                TextField {
                    get: |d| Some(severity(d, Detector::$detector)),
                    set: |d, text| set_severity(d, Detector::$detector, text),
                },
            ),
            meaning: concat!("Severity of the alerts `trace_", $name, "`."),
        }
    };
}

/// All of them.
#[expect(
    clippy::cast_lossless,
    reason = "one macro for integers of every width; bounds keep each within its own"
)]
pub(super) static SETTINGS: &[Setting] = &[
    setting!(
        "traces.retention",
        duration(60 * MINUTE_MS, 100 * YEAR_MS),
        store.traces.retention_ms as i64,
        "Traces are kept for so long after they came, whole, an hour of them at a time."
    ),
    setting!(
        "traces.keep_errors",
        duration(0, 100 * YEAR_MS),
        store.traces.errors_ms as i64,
        "Traces with a failed span are kept for so long, if that is longer. Pinned traces are kept in any case."
    ),
    setting!(
        "traces.retention_size",
        size(0, 1024 * TIB),
        store.traces.bytes as u64,
        "Spans may take so much of the file; beyond it the oldest hours are deleted early, but for pinned traces. 0 sets no limit."
    ),
    setting!(
        "traces.agent_attribute",
        text("text"),
        |d| d.config.api.traces.agent_attribute.clone(),
        |d, text| {
            no_control_characters(text)?;
            d.config.api.traces.agent_attribute = Some(text.to_owned());
            Ok(())
        },
        "Attribute of a span or of its resource that names its agent, before all that longwatch knows."
    ),
    setting!(
        "traces.prices_file",
        text("path"),
        |d| d.config.api.traces.prices_file.as_deref().map(path_text),
        |d, text| {
            d.config.api.traces.prices_file = Some(text.into());
            Ok(())
        },
        "File of prices of tokens, in place of the built-in table."
    ),
    setting!(
        "traces.otlp_grpc_listen",
        text("IP address and port"),
        |d| d
            .config
            .api
            .traces
            .otlp_grpc_listen
            .map(|address| address.to_string()),
        |d, text| {
            let address = text.parse::<SocketAddr>().map_err(|_| {
                format!("`{text}` is not an IP address and port, such as 127.0.0.1:4317")
            })?;
            d.config.api.traces.otlp_grpc_listen = Some(address);
            Ok(())
        },
        "Where OTLP over gRPC is taken, e.g. 127.0.0.1:4317. Nowhere unless set; OTLP over HTTP is at /v1/traces in any case."
    ),
    setting!(
        "traces.head_size",
        size(MIB, 64 * GIB),
        store.traces.head_bytes_max as usize,
        "Spans in memory that are packed into blocks."
    ),
    setting!(
        "traces.settle",
        duration(100, 600_000),
        watch.settle_ms as i64,
        "A trace is counted and judged as a whole when nothing came of it for so long."
    ),
    setting!(
        "traces.close_after",
        duration(60_000, 365 * DAY_MS),
        watch.close_after_ms as i64,
        "Spans that are open for so long are closed."
    ),
    setting!(
        "traces.detectors.resolve_after",
        duration(60_000, 30 * DAY_MS),
        watch.detectors.resolve_after_ms as i64,
        "Alerts about what happened end so long after it was found last; those about what is the case end with it."
    ),
    setting!(
        "traces.detectors.loop.enabled",
        switch,
        watch.detectors.looping.switch.enabled,
        "Look for agents that hand a run round in a circle."
    ),
    severity!("loop", Loop),
    setting!(
        "traces.detectors.loop.rounds",
        count(2, 1_000_000),
        watch.detectors.looping.rounds as u32,
        "A circle of up to six agents counts when it was gone round so often in a run."
    ),
    setting!(
        "traces.detectors.loop.rounds_alone",
        count(2, 1_000_000),
        watch.detectors.looping.rounds_alone as u32,
        "One agent alone counts when it was asked so often in a row."
    ),
    setting!(
        "traces.detectors.loop.edge_calls_min",
        count(2, 1_000_000_000),
        watch.detectors.looping.edge_calls_min as u32,
        "An agent that asks another more often than 99 of 100 runs of the workflow did counts from so many times on."
    ),
    setting!(
        "traces.detectors.repeated_step.enabled",
        switch,
        watch.detectors.repeated_step.switch.enabled,
        "Look for tools that an agent calls again and again with the same arguments."
    ),
    severity!("repeated_step", RepeatedStep),
    setting!(
        "traces.detectors.repeated_step.times",
        count(2, 1_000_000),
        watch.detectors.repeated_step.times as u32,
        "The same call so often within a run."
    ),
    setting!(
        "traces.detectors.runaway_cost.enabled",
        switch,
        watch.detectors.runaway_cost.switch.enabled,
        "Hold tokens and cost against budgets; told at 50, 80 and 100 % of each, once per period."
    ),
    severity!("runaway_cost", RunawayCost),
    setting!(
        "traces.detectors.runaway_cost.tokens_per_run",
        count(0, 1_000_000_000_000_000),
        watch.detectors.runaway_cost.tokens_per_run as u64,
        "Tokens of one agent within a run; 0 for no budget."
    ),
    setting!(
        "traces.detectors.runaway_cost.cost_per_run",
        number(0.0, 1e12),
        watch.detectors.runaway_cost.cost_per_run,
        "Cost of one agent within a run, in the price table's currency; 0 for no budget."
    ),
    setting!(
        "traces.detectors.runaway_cost.tokens_per_day",
        count(0, 1_000_000_000_000_000),
        watch.detectors.runaway_cost.tokens_per_day as u64,
        "Tokens of one agent within a UTC day; 0 for no budget."
    ),
    setting!(
        "traces.detectors.runaway_cost.cost_per_day",
        number(0.0, 1e12),
        watch.detectors.runaway_cost.cost_per_day,
        "Cost of one agent within a UTC day; 0 for no budget."
    ),
    setting!(
        "traces.detectors.silent_stall.enabled",
        switch,
        watch.detectors.silent_stall.switch.enabled,
        "Look for work that should have ended long ago, and for agents that fell silent within it."
    ),
    severity!("silent_stall", SilentStall),
    setting!(
        "traces.detectors.silent_stall.factor",
        number(1.0, 1_000.0),
        watch.detectors.silent_stall.factor,
        "An open span is stalled when it is older than so many times the 99th percentile of its operation."
    ),
    setting!(
        "traces.detectors.silent_stall.floor",
        duration(1_000, 30 * DAY_MS),
        watch.detectors.silent_stall.floor_ms as i64,
        "No open span is stalled before this."
    ),
    setting!(
        "traces.detectors.silent_stall.silence",
        duration(1_000, 30 * DAY_MS),
        watch.detectors.silent_stall.silence_ms as i64,
        "An agent with open work that is not known to be alive counts after so long without a span."
    ),
    setting!(
        "traces.detectors.idle.enabled",
        switch,
        watch.detectors.idle.switch.enabled,
        "Look for agents that are alive and end nothing."
    ),
    severity!("idle", Idle),
    setting!(
        "traces.detectors.idle.after",
        duration(1_000, 30 * DAY_MS),
        watch.detectors.idle.after_ms as i64,
        "An agent with open work that is alive counts after so long without a span."
    ),
    setting!(
        "traces.detectors.failed_handoff.enabled",
        switch,
        watch.detectors.failed_handoff.switch.enabled,
        "Look for hand-offs that nobody takes, to oneself or with empty arguments."
    ),
    severity!("failed_handoff", FailedHandoff),
    setting!(
        "traces.detectors.failed_handoff.within",
        duration(1_000, DAY_MS),
        watch.detectors.failed_handoff.within_ms as i64,
        "The agent that the work is handed to must begin so soon."
    ),
    setting!(
        "traces.detectors.failed_handoff.empty_arguments",
        switch,
        watch.detectors.failed_handoff.empty_arguments,
        "Whether a hand-off with empty arguments counts."
    ),
    setting!(
        "traces.detectors.retry_storm.enabled",
        switch,
        watch.detectors.retry_storm.switch.enabled,
        "Look for operations that are tried again and again after errors."
    ),
    severity!("retry_storm", RetryStorm),
    setting!(
        "traces.detectors.retry_storm.attempts",
        count(2, 1_000_000),
        watch.detectors.retry_storm.attempts as u32,
        "So many attempts in a row, each after an error."
    ),
    setting!(
        "traces.detectors.cascading_timeout.enabled",
        switch,
        watch.detectors.cascading_timeout.switch.enabled,
        "Look for time-outs that pass from caller to caller."
    ),
    severity!("cascading_timeout", CascadingTimeout),
    setting!(
        "traces.detectors.cascading_timeout.levels",
        count(1, 1_000),
        watch.detectors.cascading_timeout.levels as u32,
        "So many callers gave up, one above the other, while what they waited for went on."
    ),
];
