//! `[[notify.route]]`, `[[notify.inhibit]]`, `[[notify.maintenance]]`: who is told, and what keeps alerts from being told.

use std::collections::HashMap;

use chrono::{NaiveTime, Weekday};
use chrono_tz::Tz;
use toml::{Spanned, de::DeValue};

use super::{SECTION, channels};
use crate::{
    alerts::{DEFAULT_ROUTE, Escalation, Inhibition, Maintenance, Route, Routing, Schedule},
    config::{
        ConfigError, Origin,
        file::Source,
        table::{KeyInfo, TableReader},
        value::Given,
    },
    model::{DAY_MS, Matcher, Timestamp, format_duration_ms, parse_time},
    notify::Settings,
};

/// Routes, inhibitions or windows that a configuration may have.
const SECTIONS_MAX: usize = 200;
const MINUTE_MS: i64 = 60_000;

/// An array of `[notify]` that is about routing.
#[derive(Clone, Copy, Debug)]
pub struct RoutingSection {
    /// Key within `[notify]`.
    pub key: &'static str,
    /// What it is about.
    pub title: &'static str,
    /// Keys of each section.
    pub keys: &'static [KeyInfo],
}

const fn key(key: &'static str, form: &'static str, meaning: &'static str) -> KeyInfo {
    KeyInfo { key, form, meaning }
}

/// Every key of `[[notify.route]]`.
const ROUTE_KEYS: [KeyInfo; 10] = [
    key(
        "name",
        "text, 1 to 64 bytes",
        "What the route is called; required, and unique.",
    ),
    key(
        "matchers",
        "list of matchers",
        "Alerts that fit all of them, as in `[\"team=db\", \"severity=~critical|emergency\"]`; required.",
    ),
    key(
        "channels",
        "list of names",
        "Channels that are told; required, may be empty.",
    ),
    key(
        "group_by",
        "list of labels",
        "Labels by which alerts are grouped; `notify.group_by` unless set. `[\"...\"]` takes all.",
    ),
    key(
        "group_wait",
        "duration, 0s to 1h",
        "`notify.group_wait` unless set.",
    ),
    key(
        "group_interval",
        "duration, 1s to 7d",
        "`notify.group_interval` unless set.",
    ),
    key(
        "repeat_interval",
        "duration, 1m to 30d",
        "`notify.repeat_interval` unless set.",
    ),
    key(
        "continue",
        "`true` or `false`",
        "Whether later routes are tried, too; `false` unless set.",
    ),
    key(
        "escalate_after",
        "duration, 1s to 7d",
        "An alert that nobody acknowledged for so long is told to `escalate_to`.",
    ),
    key(
        "escalate_to",
        "list of names",
        "Channels that are told then.",
    ),
];

/// Every key of `[[notify.inhibit]]`.
const INHIBIT_KEYS: [KeyInfo; 3] = [
    key(
        "source",
        "list of matchers",
        "While an alert fires that fits all of them; required.",
    ),
    key(
        "target",
        "list of matchers",
        "alerts that fit all of these are not told; required.",
    ),
    key(
        "equal",
        "list of labels",
        "If these labels are equal in both; a missing one is empty.",
    ),
];

/// Every key of `[[notify.maintenance]]`.
const MAINTENANCE_KEYS: [KeyInfo; 8] = [
    key(
        "name",
        "text, 1 to 64 bytes",
        "What the window is called; required, and unique.",
    ),
    key(
        "matchers",
        "list of matchers",
        "Alerts that fit all of them are not told; all of them unless set.",
    ),
    key(
        "from",
        "time, RFC 3339",
        "Of a window that is open once: its beginning.",
    ),
    key("to", "time, RFC 3339", "Its end."),
    key(
        "days",
        "list of `mon` to `sun`",
        "Of a window that is open every week: the days on which it begins; every day unless set.",
    ),
    key("at", "time of the day, `HH:MM`", "When it begins."),
    key("duration", "duration, 1m to 7d", "How long it is open."),
    key(
        "time_zone",
        "name, as in `Europe/Berlin`",
        "Whose clock counts; `UTC` unless set.",
    ),
];

/// Arrays about routing.
pub const ROUTING_SECTIONS: [RoutingSection; 3] = [
    RoutingSection {
        key: "route",
        title: "who is told of which alerts",
        keys: &ROUTE_KEYS,
    },
    RoutingSection {
        key: "inhibit",
        title: "alerts that keep others from being told",
        keys: &INHIBIT_KEYS,
    },
    RoutingSection {
        key: "maintenance",
        title: "times in which alerts are not told",
        keys: &MAINTENANCE_KEYS,
    },
];

/// Reads the arrays and puts the routing together. `settings` holds the channels and what routes take unless they say
/// otherwise.
pub(in crate::config) fn read(
    source: &Source,
    notify: &Spanned<DeValue<'_>>,
    settings: &Settings,
    is_torn: bool,
    errors: &mut Vec<ConfigError>,
) -> Routing {
    let mut routing = routing_of(settings);
    let DeValue::Table(table) = notify.get_ref() else {
        return routing;
    };
    let mut names = HashMap::new();
    let mut routes = Vec::new();
    for section in &ROUTING_SECTIONS {
        let Some((_, array)) = table.get_key_value(section.key) else {
            continue;
        };
        let name = format!("{SECTION}.{}", section.key);
        let readers = TableReader::of_array(source, &name, array, is_torn, errors);
        if readers.len() > SECTIONS_MAX {
            let reason = format!(
                "{} sections, at most {SECTIONS_MAX} are allowed",
                readers.len()
            );
            errors.push(source.error(array.span().start, name.clone(), reason));
            continue;
        }
        for mut reader in readers {
            reader.refuse_unknown(section.keys);
            match section.key {
                "route" => routes.extend(read_route(&mut reader, settings, &mut names)),
                "inhibit" => routing.inhibitions.extend(read_inhibition(&mut reader)),
                _ => routing
                    .maintenance
                    .extend(read_maintenance(&mut reader, &mut names)),
            }
            errors.append(&mut reader.into_errors());
        }
    }
    routing.routes.splice(0..0, routes);
    routing
}

/// The routing of a configuration without routes: everything goes to every channel.
pub(in crate::config) fn routing_of(settings: &Settings) -> Routing {
    let names = settings.channels.iter().map(|channel| channel.name.clone());
    let silent = settings
        .channels
        .iter()
        .filter(|channel| !channel.send_resolved);
    Routing {
        routes: vec![Route {
            name: DEFAULT_ROUTE.to_owned(),
            ..usual(settings, names.collect())
        }],
        inhibitions: Vec::new(),
        maintenance: Vec::new(),
        without_resolved: silent.map(|channel| channel.name.clone()).collect(),
    }
}

fn usual(settings: &Settings, channels: Vec<String>) -> Route {
    Route {
        group_by: settings.group_by.clone(),
        group_wait_ms: settings.group_wait_ms,
        group_interval_ms: settings.group_interval_ms,
        repeat_interval_ms: settings.repeat_interval_ms,
        ..Route::default_to(channels)
    }
}

fn read_route(
    reader: &mut TableReader<'_>,
    settings: &Settings,
    names: &mut HashMap<String, Origin>,
) -> Option<Route> {
    let name = unique_name(reader, names);
    let matchers = require_matchers(reader, "matchers");
    let channels = reader.require("channels", |given| channels_of(given, settings));
    let group_by = reader.take("group_by", Given::texts);
    let group_wait_ms = reader.take("group_wait", |g| duration(g, 0..=60 * MINUTE_MS));
    let group_interval_ms = reader.take("group_interval", |g| duration(g, 1_000..=7 * DAY_MS));
    let repeat_interval_ms =
        reader.take("repeat_interval", |g| duration(g, MINUTE_MS..=30 * DAY_MS));
    let continues = reader.take("continue", Given::switch);
    let after_ms = reader.take("escalate_after", |g| duration(g, 1_000..=7 * DAY_MS));
    let to = reader.take("escalate_to", |given| channels_of(given, settings));
    for (key, other) in [
        ("escalate_after", "escalate_to"),
        ("escalate_to", "escalate_after"),
    ] {
        if reader.has(key) && !reader.has(other) {
            reader.report(
                reader.value_at(key),
                key,
                format!("needs `{other}` beside it"),
            );
        }
    }
    let usual = usual(settings, channels?);
    Some(Route {
        name: name?,
        matchers: matchers?,
        group_by: group_by.unwrap_or(usual.group_by),
        group_wait_ms: group_wait_ms.unwrap_or(usual.group_wait_ms),
        group_interval_ms: group_interval_ms.unwrap_or(usual.group_interval_ms),
        repeat_interval_ms: repeat_interval_ms.unwrap_or(usual.repeat_interval_ms),
        continues: continues.unwrap_or(false),
        escalation: after_ms
            .zip(to)
            .map(|(after_ms, channels)| Escalation { after_ms, channels }),
        channels: usual.channels,
    })
}

fn read_inhibition(reader: &mut TableReader<'_>) -> Option<Inhibition> {
    let source = require_matchers(reader, "source");
    let target = require_matchers(reader, "target");
    let equal = reader.take("equal", Given::texts).unwrap_or_default();
    Some(Inhibition {
        source: source?,
        target: target?,
        equal,
    })
}

fn read_maintenance(
    reader: &mut TableReader<'_>,
    names: &mut HashMap<String, Origin>,
) -> Option<Maintenance> {
    let name = unique_name(reader, names);
    let matchers = reader.take("matchers", matchers).unwrap_or_default();
    let is_once = reader.has("from") || reader.has("to");
    let schedule = if is_once {
        for key in ["days", "at", "duration", "time_zone"] {
            if reader.has(key) {
                reader.report(
                    reader.value_at(key),
                    key,
                    "has no meaning beside `from` and `to`",
                );
            }
        }
        once(reader)
    } else {
        weekly(reader)
    };
    Some(Maintenance {
        name: name?,
        matchers,
        schedule: schedule?,
    })
}

fn once(reader: &mut TableReader<'_>) -> Option<Schedule> {
    let time = |given: Given<'_>| {
        let text = given.text("a time such as \"2026-11-27T01:00:00Z\"")?;
        parse_time(text, Timestamp::from_millis(0)).map_err(|e| e.to_string())
    };
    let from = reader.require("from", time);
    let to = reader.require("to", time);
    let (from, to) = from.zip(to)?;
    if from >= to {
        reader.report(
            reader.value_at("to"),
            "to",
            format!("{to} does not lie after the beginning, {from}"),
        );
    }
    Some(Schedule::Once { from, to })
}

fn weekly(reader: &mut TableReader<'_>) -> Option<Schedule> {
    let days = reader.take("days", days);
    let at = reader.require("at", |given| {
        let expected = "a time of the day such as \"01:30\"";
        let text = given.text(expected)?;
        NaiveTime::parse_from_str(text, "%H:%M").map_err(|_| format!("`{text}` is not {expected}"))
    });
    let length_ms = reader.require("duration", |g| duration(g, MINUTE_MS..=7 * DAY_MS));
    let time_zone = reader.take("time_zone", |given| {
        let text = given.text("the name of a time zone such as \"Europe/Berlin\"")?;
        text.parse::<Tz>()
            .map_err(|_| format!("`{text}` is no known time zone"))
    });
    Some(Schedule::Weekly {
        days: days.unwrap_or_default(),
        at: at?,
        length_ms: length_ms?,
        time_zone: time_zone.unwrap_or(Tz::UTC),
    })
}

fn days(given: Given<'_>) -> Result<Vec<Weekday>, String> {
    let day = |text: &String| {
        text.parse::<Weekday>()
            .map_err(|_| format!("`{text}` is no day of the week, such as mon"))
    };
    given.texts()?.iter().map(day).collect()
}

fn duration(given: Given<'_>, range: std::ops::RangeInclusive<i64>) -> Result<i64, String> {
    let ms = given.duration_ms()?;
    if range.contains(&ms) {
        return Ok(ms);
    }
    Err(format!(
        "{} is out of range: from {} to {}",
        format_duration_ms(ms),
        format_duration_ms(*range.start()),
        format_duration_ms(*range.end())
    ))
}

fn matchers(given: Given<'_>) -> Result<Vec<Matcher>, String> {
    let read = |text: &String| Matcher::parse(text).map_err(|e| e.to_string());
    given.texts()?.iter().map(read).collect()
}

fn require_matchers(reader: &mut TableReader<'_>, key: &str) -> Option<Vec<Matcher>> {
    let found = reader.require(key, matchers)?;
    if found.is_empty() {
        reader.report(reader.value_at(key), key, "must hold at least one matcher");
    }
    Some(found)
}

fn channels_of(given: Given<'_>, settings: &Settings) -> Result<Vec<String>, String> {
    let names = given.texts()?;
    let known = |name: &String| {
        settings
            .channels
            .iter()
            .any(|channel| channel.name == *name)
    };
    match names.iter().find(|name| !known(name)) {
        Some(name) => Err(format!("there is no channel `{name}`")),
        None => Ok(names),
    }
}

fn unique_name(
    reader: &mut TableReader<'_>,
    names: &mut HashMap<String, Origin>,
) -> Option<String> {
    let name = reader.require("name", channels::name)?;
    if name == DEFAULT_ROUTE {
        let reason =
            format!("`{DEFAULT_ROUTE}` is the name of the route that takes what no other takes");
        reader.report(reader.value_at("name"), "name", reason);
    }
    match names.get(&name) {
        Some(first) => {
            let reason = format!("`{name}` is given twice, first at {first}");
            reader.report(reader.value_at("name"), "name", reason);
        }
        None => drop(names.insert(name.clone(), reader.place("name"))),
    }
    Some(name)
}
