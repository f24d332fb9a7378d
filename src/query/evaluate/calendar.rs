//! Parts of dates, UTC.

use chrono::{DateTime, Datelike, Timelike, Utc};

use crate::query::function::FunctionId;

/// Whether a function tells a part of a date.
pub(super) const fn is_of_calendar(id: FunctionId) -> bool {
    matches!(
        id,
        FunctionId::DayOfMonth
            | FunctionId::DayOfWeek
            | FunctionId::DayOfYear
            | FunctionId::DaysInMonth
            | FunctionId::Hour
            | FunctionId::Minute
            | FunctionId::Month
            | FunctionId::Year
    )
}

/// What a function of the calendar says of unix seconds; NaN for what is no date.
pub(super) fn of_seconds(id: FunctionId, seconds: f64) -> f64 {
    if !seconds.is_finite() {
        return f64::NAN;
    }
    let Some(date) = DateTime::<Utc>::from_timestamp(seconds as i64, 0) else {
        return f64::NAN;
    };
    f64::from(match id {
        FunctionId::DayOfMonth => date.day(),
        FunctionId::DayOfWeek => date.weekday().num_days_from_sunday(),
        FunctionId::DayOfYear => date.ordinal(),
        FunctionId::DaysInMonth => u32::from(date.num_days_in_month()),
        FunctionId::Hour => date.hour(),
        FunctionId::Minute => date.minute(),
        FunctionId::Month => date.month(),
        _ => return f64::from(date.year()),
    })
}
