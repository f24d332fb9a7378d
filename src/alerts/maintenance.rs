//! Maintenance windows: times, once or every week, in which some alerts are not told.

use chrono::{DateTime, Datelike, Days, NaiveDate, NaiveTime, TimeZone, Weekday};
use chrono_tz::Tz;

use crate::model::{Matcher, Timestamp};

/// When a window is open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Schedule {
    /// Once.
    Once {
        /// From when.
        from: Timestamp,
        /// Until when.
        to: Timestamp,
    },
    /// On days of the week, from a time of the day for so long.
    Weekly {
        /// The days on which it begins; none stands for every day.
        days: Vec<Weekday>,
        /// The local time at which it begins.
        at: NaiveTime,
        /// How long it lasts; milliseconds, at most a week. By the clock on the wall it may be an hour more or less
        /// where clocks change within it.
        length_ms: i64,
        /// Whose clock.
        time_zone: Tz,
    },
}

/// A time in which alerts that fit all matchers are not told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Maintenance {
    /// Its name.
    pub name: String,
    /// Which alerts; all of them without any.
    pub matchers: Vec<Matcher>,
    /// When.
    pub schedule: Schedule,
}

impl Maintenance {
    /// Whether it keeps an alert with such labels from being told now.
    pub fn mutes(&self, labels: &[(String, String)], at: Timestamp) -> bool {
        self.is_open(at) && self.matchers.iter().all(|m| m.fits(labels))
    }

    /// Whether it is open: its start counts, its end does not.
    pub fn is_open(&self, at: Timestamp) -> bool {
        match &self.schedule {
            Schedule::Once { from, to } => *from <= at && at < *to,
            Schedule::Weekly {
                days,
                at: start,
                length_ms,
                time_zone,
            } => {
                let local = at.to_chrono().with_timezone(time_zone);
                let longest_days = length_ms.div_euclid(crate::model::DAY_MS) as u64 + 1;
                (0..=longest_days)
                    .filter_map(|back| local.date_naive().checked_sub_days(Days::new(back)))
                    .filter(|date| days.is_empty() || days.contains(&date.weekday()))
                    .any(|date| {
                        let start = begins(*time_zone, date, *start);
                        start.is_some_and(|start| {
                            let since = at.as_millis() - start.timestamp_millis();
                            (0..*length_ms).contains(&since)
                        })
                    })
            }
        }
    }
}

/// The moment of a local time on a date. A time that occurs twice is its first; one that is skipped when clocks are
/// put forward is the moment of the change, as far as minutes tell.
fn begins(zone: Tz, date: NaiveDate, time: NaiveTime) -> Option<DateTime<Tz>> {
    let wanted = date.and_time(time);
    (0..=180)
        .map(|minutes| wanted + chrono::TimeDelta::minutes(minutes))
        .find_map(|local| zone.from_local_datetime(&local).earliest())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::parse_time;

    fn at(text: &str) -> Timestamp {
        parse_time(text, Timestamp::from_millis(0)).unwrap()
    }

    fn weekly(days: &[Weekday], start: &str, hours: i64, zone: Tz) -> Maintenance {
        Maintenance {
            name: "w".into(),
            matchers: vec![],
            schedule: Schedule::Weekly {
                days: days.to_vec(),
                at: start.parse().unwrap(),
                length_ms: hours * 3_600_000,
                time_zone: zone,
            },
        }
    }

    #[test]
    fn a_weekly_window_crosses_midnight_in_its_own_zone() {
        // Sundays 23:00 to 02:00 in Berlin, which is 22:00 to 01:00 UTC in winter, 21:00 to 00:00 in summer.
        let window = weekly(&[Weekday::Sun], "23:00:00", 3, chrono_tz::Europe::Berlin);
        assert!(!window.is_open(at("2026-11-22T21:59:59Z")));
        assert!(window.is_open(at("2026-11-22T22:00:00Z")));
        assert!(window.is_open(at("2026-11-23T00:59:59Z")));
        assert!(!window.is_open(at("2026-11-23T01:00:00Z")));
        assert!(window.is_open(at("2026-07-05T21:00:00Z")));
        assert!(!window.is_open(at("2026-07-06T00:00:00Z")));
        // A Monday evening is none.
        assert!(!window.is_open(at("2026-11-23T22:30:00Z")));
    }

    #[test]
    fn a_start_that_clocks_skip_is_the_change_and_one_that_occurs_twice_the_first() {
        let window = weekly(&[], "02:30:00", 1, chrono_tz::Europe::Berlin);
        // 2026-03-29: 02:00 becomes 03:00, at 01:00 UTC.
        assert!(!window.is_open(at("2026-03-29T00:59:59Z")));
        assert!(window.is_open(at("2026-03-29T01:00:00Z")));
        assert!(!window.is_open(at("2026-03-29T02:00:00Z")));
        // 2026-10-25: 03:00 becomes 02:00, at 01:00 UTC; 02:30 is 00:30 UTC first.
        assert!(window.is_open(at("2026-10-25T00:30:00Z")));
        assert!(!window.is_open(at("2026-10-25T01:30:00Z")));
    }

    #[test]
    fn windows_of_days_and_single_ones() {
        let long = weekly(&[Weekday::Fri], "18:00:00", 62, chrono_tz::UTC);
        assert!(long.is_open(at("2026-11-22T12:00:00Z")));
        assert!(!long.is_open(at("2026-11-23T08:00:00Z")));
        let once = Maintenance {
            schedule: Schedule::Once {
                from: at("2026-11-22T12:00:00Z"),
                to: at("2026-11-22T13:00:00Z"),
            },
            matchers: vec![Matcher::parse("team=db").unwrap()],
            ..long
        };
        let labels = [("team".to_owned(), "db".to_owned())];
        assert!(once.mutes(&labels, at("2026-11-22T12:00:00Z")));
        assert!(!once.mutes(&labels, at("2026-11-22T13:00:00Z")));
        assert!(!once.mutes(&[], at("2026-11-22T12:30:00Z")));
    }
}
