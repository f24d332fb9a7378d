//! Geometry of the charts: tracks as SVG paths in whole numbers of viewBox units.

use std::fmt::Write;

use crate::model::{DAY_MS, HealthWeights, Timestamp, Window};

use super::{
    super::{
        performance::{AgentPerformance, PerformanceReport},
        wording::{one_digit, plain},
    },
    rows::Tone,
    track::{Track, place},
};

/// Part of the page that a chart of its own takes, in units of its viewBox.
const LEFT: f64 = 38.0;
const RIGHT: f64 = 508.0;
const TOP: f64 = 12.0;
const BOTTOM: f64 = 134.0;

/// Buckets of a chart that one point of a sparkline joins.
const SPARK_JOINS: usize = 3;
const SPARK_WIDTH: f64 = 240.0;
const SPARK_HEIGHT: f64 = 60.0;

/// Ticks of time that fit under a chart.
const TIME_TICKS_MAX: i64 = 6;
const SECOND_MS: i64 = 1_000;
const MINUTE_MS: i64 = 60_000;
const HOUR_MS: i64 = 3_600_000;
/// Distances of ticks that people count in.
const TIME_STEPS_MS: [i64; 22] = [
    SECOND_MS,
    2 * SECOND_MS,
    5 * SECOND_MS,
    10 * SECOND_MS,
    15 * SECOND_MS,
    30 * SECOND_MS,
    MINUTE_MS,
    2 * MINUTE_MS,
    5 * MINUTE_MS,
    10 * MINUTE_MS,
    15 * MINUTE_MS,
    30 * MINUTE_MS,
    HOUR_MS,
    2 * HOUR_MS,
    3 * HOUR_MS,
    6 * HOUR_MS,
    12 * HOUR_MS,
    DAY_MS,
    2 * DAY_MS,
    7 * DAY_MS,
    14 * DAY_MS,
    30 * DAY_MS,
];

/// A line with its band of extremes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Curve {
    /// Means, as path data.
    pub(super) line: String,
    /// Area from minimum to maximum, as path data.
    pub(super) band: String,
}

/// A label at a coordinate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Tick {
    /// Coordinate along the axis.
    pub(super) at: i64,
    /// What it says.
    pub(super) label: String,
}

/// A span along the axis of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Span {
    /// Where it begins.
    pub(super) x: i64,
    /// How wide it is, at least 1.
    pub(super) width: i64,
}

/// One chart of one measurement.
#[derive(Clone, Debug)]
pub(super) struct Chart {
    /// `cpu` or `memory`; decides the colour.
    pub(super) class: &'static str,
    /// Heading of the chart.
    pub(super) heading: &'static str,
    /// Figures beside the heading.
    pub(super) figures: String,
    /// What those who cannot see it are told.
    pub(super) title: String,
    /// The data.
    pub(super) curve: Curve,
    /// Times without data.
    pub(super) gaps: Vec<Span>,
    /// Times in which an alert of the agent fired.
    pub(super) firing: Vec<Span>,
    /// Labels of percent.
    pub(super) y_ticks: Vec<Tick>,
    /// Labels of time.
    pub(super) x_ticks: Vec<Tick>,
    /// Bounds of the health score.
    pub(super) thresholds: Vec<Tick>,
}

/// Charts of one agent.
#[derive(Clone, Debug)]
pub(super) struct AgentCharts {
    /// Its place in the table, which its anchor is made of.
    pub(super) place: usize,
    /// Its id.
    pub(super) agent: String,
    /// Its score.
    pub(super) score: String,
    /// How its status reads and looks.
    pub(super) status: Tone,
    /// Cpu and memory.
    pub(super) charts: [Chart; 2],
}

impl AgentCharts {
    pub(super) fn new(
        report: &PerformanceReport,
        charted: Window,
        agent: &AgentPerformance,
        place: usize,
        cpu: &Track,
        memory: &Track,
        weights: &HealthWeights,
    ) -> Self {
        let firing = firing_spans(report, charted, agent);
        let figures = |samples: u64, average: f64, max: f64| {
            if samples == 0 {
                "no data".to_owned()
            } else {
                format!("average {} %, max {} %", one_digit(average), one_digit(max))
            }
        };
        let name = plain(agent.agent_id.as_str());
        let chart = |class, heading, track: &Track, figures: String, bounds: [f64; 2]| Chart {
            class,
            heading,
            title: format!("{heading} of {name} over the window: {figures}"),
            figures,
            firing: firing.clone(),
            ..drawn(track, charted, bounds)
        };
        Self {
            place,
            score: one_digit(agent.health_score),
            status: Tone::of_status(agent.status),
            charts: [
                chart(
                    "cpu",
                    "CPU",
                    cpu,
                    figures(agent.cpu_samples, agent.avg_cpu_usage, agent.max_cpu_usage),
                    [weights.cpu_high_percent, weights.cpu_critical_percent],
                ),
                chart(
                    "memory",
                    "Memory",
                    memory,
                    figures(
                        agent.memory_samples,
                        agent.avg_memory_usage,
                        agent.max_memory_usage,
                    ),
                    [weights.memory_high_percent, weights.memory_critical_percent],
                ),
            ],
            agent: name,
        }
    }
}

/// What the data alone decides; words are filled in by the caller.
fn drawn(track: &Track, window: Window, bounds: [f64; 2]) -> Chart {
    let scale = Scale {
        left: LEFT,
        right: RIGHT,
        top: TOP,
        bottom: BOTTOM,
        highest: highest(track),
    };
    let y_tick = |share: f64| Tick {
        at: scale.y(scale.highest * share),
        label: format!("{}", scale.highest * share),
    };
    Chart {
        class: "",
        heading: "",
        figures: String::new(),
        title: String::new(),
        curve: scale.curve(track),
        gaps: track
            .gaps()
            .into_iter()
            .map(|gap| scale.span(gap.start, gap.end))
            .collect(),
        firing: Vec::new(),
        y_ticks: [0.0, 0.25, 0.5, 0.75, 1.0].map(y_tick).to_vec(),
        x_ticks: time_ticks(window)
            .into_iter()
            .map(|(time, label)| Tick {
                at: scale.x(place(window, time)),
                label,
            })
            .collect(),
        thresholds: bounds
            .into_iter()
            .filter(|bound| (0.0..=scale.highest).contains(bound))
            .map(|bound| Tick {
                at: scale.y(bound),
                label: format!("{bound}"),
            })
            .collect(),
    }
}

/// The curve of a sparkline, in a viewBox of 240 by 60 that ends at 100 percent.
pub(super) fn spark(track: &Track) -> Curve {
    let track = track.coarser(SPARK_JOINS);
    let scale = Scale {
        left: 0.0,
        right: SPARK_WIDTH,
        top: 2.0,
        bottom: SPARK_HEIGHT - 2.0,
        highest: highest(&track),
    };
    scale.curve(&track)
}

/// 100 percent, or the next power of two times it where something exceeds that.
fn highest(track: &Track) -> f64 {
    let mut highest = 100.0;
    while track.max().is_some_and(|max| max > highest) {
        highest *= 2.0;
    }
    highest
}

struct Scale {
    left: f64,
    right: f64,
    top: f64,
    bottom: f64,
    highest: f64,
}

impl Scale {
    fn x(&self, place: f64) -> i64 {
        (self.left + place * (self.right - self.left)).round() as i64
    }

    fn y(&self, value: f64) -> i64 {
        let share = (value / self.highest).clamp(0.0, 1.0);
        (self.bottom - share * (self.bottom - self.top)).round() as i64
    }

    fn span(&self, start: f64, end: f64) -> Span {
        let x = self.x(start);
        Span {
            x,
            width: (self.x(end) - x).max(1),
        }
    }

    fn curve(&self, track: &Track) -> Curve {
        let mut curve = Curve::default();
        for line in track.lines() {
            for (i, (at, bucket)) in line.iter().enumerate() {
                let command = if i == 0 { 'M' } else { 'L' };
                let (x, y) = (self.x(*at), self.y(bucket.mean()));
                add_point(&mut curve.line, command, x, y);
            }
            if line.len() == 1 {
                // A line of no length is drawn as a dot by its round caps.
                curve.line.push_str("h0");
                continue;
            }
            let upper = line.iter().map(|(at, b)| (self.x(*at), self.y(b.max)));
            let lower = line
                .iter()
                .rev()
                .map(|(at, b)| (self.x(*at), self.y(b.min)));
            for (i, (x, y)) in upper.chain(lower).enumerate() {
                let command = if i == 0 { 'M' } else { 'L' };
                add_point(&mut curve.band, command, x, y);
            }
            curve.band.push('Z');
        }
        curve
    }
}

fn add_point(path: &mut String, command: char, x: i64, y: i64) {
    // Writing to a string cannot fail.
    let _ = write!(path, "{command}{x} {y}");
}

fn firing_spans(report: &PerformanceReport, window: Window, agent: &AgentPerformance) -> Vec<Span> {
    report
        .alerts
        .iter()
        .filter(|alert| alert.agent_id == agent.agent_id)
        .filter(|alert| alert.resolved.is_none_or(|end| end > window.from))
        .map(|alert| {
            let end = alert.resolved.unwrap_or(window.to);
            let x = |time: Timestamp| {
                (LEFT + place(window, time.as_millis()) * (RIGHT - LEFT)).round() as i64
            };
            Span {
                x: x(alert.fired),
                width: (x(end) - x(alert.fired)).max(2),
            }
        })
        .collect()
}

/// Moments to label and what to write there: round times in UTC, at most six or so.
fn time_ticks(window: Window) -> Vec<(i64, String)> {
    let length_ms = window.length_ms();
    let mut step = TIME_STEPS_MS[TIME_STEPS_MS.len() - 1];
    if let Some(fitting) = TIME_STEPS_MS
        .iter()
        .find(|step| length_ms / **step <= TIME_TICKS_MAX)
    {
        step = *fitting;
    }
    while length_ms / step > TIME_TICKS_MAX {
        step = step.saturating_mul(2);
    }
    let mut ticks = Vec::new();
    let mut time = window.from.as_millis().div_euclid(step).saturating_add(1);
    while ticks.len() <= TIME_TICKS_MAX as usize
        && time.saturating_mul(step) <= window.to.as_millis()
    {
        let at = time.saturating_mul(step);
        ticks.push((at, tick_label(at, step)));
        time += 1;
    }
    ticks
}

fn tick_label(at_ms: i64, step_ms: i64) -> String {
    let pattern = if step_ms > 30 * DAY_MS {
        "%b %Y"
    } else if at_ms.rem_euclid(DAY_MS) == 0 {
        "%-d %b"
    } else if step_ms >= MINUTE_MS {
        "%H:%M"
    } else {
        "%H:%M:%S"
    };
    Timestamp::from_millis(at_ms)
        .to_chrono()
        .format(pattern)
        .to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(from_ms: i64, length_ms: i64) -> Vec<String> {
        let window = Window::new(
            Timestamp::from_millis(from_ms),
            Timestamp::from_millis(from_ms + length_ms),
        );
        time_ticks(window).into_iter().map(|(_, l)| l).collect()
    }

    #[test]
    fn ticks_are_round_times() {
        let start = 20_000 * DAY_MS - 90 * MINUTE_MS;
        assert_eq!(labels(start, DAY_MS), ["4 Oct", "06:00", "12:00", "18:00"]);
        assert_eq!(
            labels(start, HOUR_MS),
            ["22:40", "22:50", "23:00", "23:10", "23:20", "23:30"]
        );
        assert_eq!(labels(start, 3 * SECOND_MS).len(), 3);
        assert_eq!(
            labels(start, 7 * DAY_MS),
            ["4 Oct", "6 Oct", "8 Oct", "10 Oct"]
        );
        assert!(labels(0, 3000 * DAY_MS).len() <= 7);
        assert!(time_ticks(Window::until(Timestamp::MAX)).len() <= 7);
        assert!(labels(0, 0).is_empty());
    }

    #[test]
    fn more_than_everything_stretches_the_scale() {
        let scale = Scale {
            left: 0.0,
            right: 100.0,
            top: 0.0,
            bottom: 100.0,
            highest: 200.0,
        };
        assert_eq!(scale.y(200.0), 0);
        assert_eq!(scale.y(50.0), 75);
        assert_eq!(scale.y(-5.0), 100);
    }
}
