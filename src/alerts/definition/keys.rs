//! Keys of alert rules.

/// Every key of a rule: what a value looks like, what it does.
pub const RULE_KEYS: [(&str, &str, &str); 28] = [
    (
        "name",
        "text",
        "What the rule is called; required, and unique.",
    ),
    (
        "description",
        "template",
        "What its alerts say; required. Placeholders: docs/alerting.md.",
    ),
    (
        "condition_type",
        "`threshold`, `rate_of_change`, `absent`, `anomaly`, `forecast`, `expr`",
        "When it holds; required.",
    ),
    (
        "metric_name",
        "text, `*` for any run",
        "The metric; every one of the agent's own unless set, and the agent as a whole in a rule of type absent.",
    ),
    (
        "agent_id",
        "text, `*` for any run",
        "The agents; all unless set.",
    ),
    (
        "labels",
        "table, or list of matchers",
        "Labels of the series: exact values, or values that begin with `=~`, `!~`, `!=`. In a rule of type expr the same as `add_labels`.",
    ),
    (
        "expr",
        "PromQL",
        "Each row that it yields is an alert, in a rule of type expr.",
    ),
    (
        "severity",
        "`info`, `warning`, `critical`, `emergency`",
        "How bad it is; warning unless set.",
    ),
    (
        "operator",
        "`>`, `<`, `>=`, `<=`, `==`, `!=`",
        "How the value is compared; `>` unless set. In a rule of type anomaly `>` or `<` takes one side only.",
    ),
    (
        "threshold",
        "number",
        "With what; 0 unless set. For an anomaly the score, 3.5 unless set.",
    ),
    (
        "rate_threshold",
        "number",
        "The same for a rate, per second.",
    ),
    (
        "resolve_threshold",
        "number",
        "An alert that fires ends only when the value no longer compares so with this.",
    ),
    (
        "window",
        "duration",
        "What is looked at: how old the newest sample may be; the window of an aggregate, a rate, a forecast, of silence; how much past an anomaly is compared with.",
    ),
    (
        "aggregate",
        "`last`, `avg`, `min`, `max`, `sum`, `count`",
        "What is made of the window's samples; `last` unless set.",
    ),
    (
        "breaches",
        "text such as \"3 of 5\"",
        "So many of the last samples must breach.",
    ),
    (
        "within",
        "duration",
        "How far ahead a forecast looks; 4h unless set.",
    ),
    (
        "season",
        "`none`, `hour_of_week`",
        "What an anomaly is compared with: all of the past, or the same hour of the week.",
    ),
    (
        "known_for",
        "duration",
        "A rule of type absent is about what was seen within this; 7d unless set.",
    ),
    (
        "for",
        "duration, up to 30d",
        "The condition must hold so long before the alert fires.",
    ),
    (
        "keep_firing_for",
        "duration, up to 30d",
        "The alert fires on for so long after the condition ended.",
    ),
    (
        "no_data",
        "`unknown`, `keep`, `alert`, `resolve`",
        "What it means when there is no data; unknown unless set, which never resolves.",
    ),
    (
        "min_samples",
        "number",
        "Fewer samples in the window are no data; 1 unless set, 30 for an anomaly, 3 for a forecast.",
    ),
    (
        "flap_damping",
        "table: `firings`, `within`",
        "An alert that fired so often within this time is held until the condition has been gone for as long.",
    ),
    ("flap_damping.firings", "number, 2 to 1000", "So often."),
    ("flap_damping.within", "duration", "Within this."),
    (
        "add_labels",
        "table of templates",
        "Labels that its alerts get beside their own.",
    ),
    ("annotations", "table of templates", "More to be said."),
    (
        "annotations.NAME",
        "template",
        "One of them; `summary` and `runbook_url` are customary.",
    ),
];

/// Keys that every rule may have.
pub(super) const COMMON: [&str; 15] = [
    "name",
    "description",
    "condition_type",
    "metric_name",
    "agent_id",
    "labels",
    "severity",
    "for",
    "keep_firing_for",
    "no_data",
    "min_samples",
    "flap_damping",
    "add_labels",
    "annotations",
    "window",
];
/// Kinds of conditions with the keys of their own.
pub(super) const KINDS: [(&str, &[&str]); 6] = [
    (
        "threshold",
        &[
            "operator",
            "threshold",
            "resolve_threshold",
            "aggregate",
            "breaches",
        ],
    ),
    (
        "rate_of_change",
        &[
            "operator",
            "rate_threshold",
            "threshold",
            "resolve_threshold",
        ],
    ),
    ("absent", &["known_for"]),
    (
        "anomaly",
        &["operator", "threshold", "resolve_threshold", "season"],
    ),
    (
        "forecast",
        &["operator", "threshold", "resolve_threshold", "within"],
    ),
    ("expr", &["expr"]),
];
/// Keys that others share and that an expression says itself.
pub(super) const NOT_OF_EXPR: [&str; 3] = ["metric_name", "min_samples", "window"];
