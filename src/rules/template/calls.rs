//! Methods of times and durations.

use super::{TemplateError, error, time, value::Value};

/// Calls a method; `None` if the value has no such method.
pub(super) fn method(
    value: &Value,
    name: &str,
    arguments: &[Value],
) -> Option<Result<Value, TemplateError>> {
    let called = match value {
        Value::Time(ns) => of_time(*ns, name, arguments)?,
        Value::Duration(ns) => of_duration(*ns, name, arguments)?,
        _ => return None,
    };
    Some(called)
}

fn of_time(ns: i128, name: &str, arguments: &[Value]) -> Option<Result<Value, TemplateError>> {
    let seconds = |unit: i128| Value::Int(i64::try_from(ns.div_euclid(unit)).unwrap_or(i64::MAX));
    Some(match (name, arguments) {
        ("Format", [Value::Text(layout)]) => Ok(Value::Text(time::format_time(ns, layout))),
        ("Add", [Value::Duration(by)]) => Ok(Value::Time(ns + i128::from(*by))),
        ("Unix", []) => Ok(seconds(1_000_000_000)),
        ("UnixMilli", []) => Ok(seconds(1_000_000)),
        ("UnixNano", []) => Ok(seconds(1)),
        ("String", []) => Ok(Value::Text(time::show_time(ns))),
        ("UTC", []) => Ok(Value::Time(ns)),
        ("Sub", [Value::Time(other)]) => {
            let between = i64::try_from(ns - other).unwrap_or(i64::MAX);
            Ok(Value::Duration(between))
        }
        ("Format" | "Add" | "Unix" | "UnixMilli" | "UnixNano" | "String" | "UTC" | "Sub", _) => {
            error(format!("wrong arguments for {name}"))
        }
        _ => return None,
    })
}

fn of_duration(ns: i64, name: &str, arguments: &[Value]) -> Option<Result<Value, TemplateError>> {
    let number = |unit: f64| Ok(Value::Float(ns as f64 / unit));
    Some(match (name, arguments) {
        ("String", []) => Ok(Value::Text(time::show_duration(ns))),
        ("Seconds", []) => number(1e9),
        ("Minutes", []) => number(60e9),
        ("Hours", []) => number(3_600e9),
        ("Milliseconds", []) => Ok(Value::Int(ns / 1_000_000)),
        _ => return None,
    })
}
