//! The commands of a file of Prometheus' tests. Its README, beside the files, tells the form.

use longwatch::model::Labels;

use super::{
    memory::Series,
    notation::{self, Point, number},
};

pub(crate) enum Command {
    Clear,
    /// Series, and whether native histograms were left out of each.
    Load(Vec<(Series, bool)>),
    Eval(Eval),
}

/// A query and what is expected of it.
pub(crate) struct Eval {
    pub(crate) query: String,
    pub(crate) start_ms: i64,
    pub(crate) end_ms: i64,
    /// 0 for an instant query.
    pub(crate) step_ms: i64,
    pub(crate) expected: Expected,
    /// Whether it expects native histograms.
    pub(crate) is_native: bool,
}

#[derive(Default)]
pub(crate) struct Expected {
    pub(crate) fails: bool,
    pub(crate) ordered: bool,
    /// What follows `expect warn`, `expect info`, `expect no_warn`, `expect no_info`.
    pub(crate) notes: Vec<(String, Option<String>)>,
    pub(crate) text: Option<String>,
    pub(crate) scalar: Option<f64>,
    /// First time and step of a range vector.
    pub(crate) matrix: Option<(i64, i64)>,
    pub(crate) series: Vec<(Labels, Vec<Point>)>,
}

/// All commands with the numbers of their lines.
pub(crate) fn commands(text: &str) -> Vec<(usize, Command)> {
    let lines = text.lines().map(str::trim).enumerate();
    let lines: Vec<(usize, &str)> = lines
        .map(|(at, line)| (at + 1, if line.starts_with('#') { "" } else { line }))
        .collect();
    let mut commands = Vec::new();
    let mut at = 0;
    while at < lines.len() {
        let (number, line) = lines[at];
        at += 1;
        if line.is_empty() {
            continue;
        }
        let body = lines[at..].iter().take_while(|(_, line)| !line.is_empty());
        let body: Vec<&str> = body.map(|(_, line)| *line).collect();
        if line == "clear" {
            commands.push((number, Command::Clear));
            continue;
        }
        at += body.len();
        let command = if let Some(step) = line.strip_prefix("load_with_nhcb ") {
            // The native histograms that these are loaded as, too, are left out.
            let mut series = load(duration(step), &body);
            series
                .iter_mut()
                .for_each(|(_, is_native)| *is_native = true);
            Command::Load(series)
        } else if let Some(step) = line.strip_prefix("load ") {
            Command::Load(load(duration(step), &body))
        } else {
            Command::Eval(eval(line, &body))
        };
        commands.push((number, command));
    }
    commands
}

fn load(step_ms: i64, body: &[&str]) -> Vec<(Series, bool)> {
    let series = body.iter().map(|text| {
        let line = notation::line(text);
        let points = line.points.iter().enumerate();
        let samples = points.filter_map(|(at, point)| Some((at as i64 * step_ms, (*point)?)));
        ((line.labels, samples.collect()), line.is_native)
    });
    series.collect()
}

fn eval(line: &str, body: &[&str]) -> Eval {
    let (word, rest) = line.split_once(' ').unwrap();
    let rest = rest.trim_start();
    let mut expected = Expected {
        fails: word == "eval_fail",
        ordered: word == "eval_ordered",
        ..Expected::default()
    };
    let (start_ms, end_ms, step_ms, query) = if let Some(rest) = rest.strip_prefix("instant") {
        let rest = rest.trim_start();
        let rest = rest.strip_prefix("at ").unwrap_or(rest).trim_start();
        let (time, query) = rest.split_once([' ', '\t']).unwrap();
        (duration(time), duration(time), 0, query)
    } else {
        let words: Vec<&str> = rest.splitn(8, ' ').collect();
        let [_, _, from, _, to, _, step, query] = words[..] else {
            panic!("{line}");
        };
        (duration(from), duration(to), duration(step), query)
    };
    let mut is_native = false;
    for text in body {
        if let Some(rest) = text.strip_prefix("expect ") {
            expectation(rest.trim(), &mut expected);
            continue;
        }
        is_native |= text.contains("{{");
        let is_scalar = !text.contains(['{', ' ']) && notation::line(text).labels.is_empty();
        if is_scalar {
            expected.scalar = Some(number(text));
            continue;
        }
        let line = notation::line(text);
        expected.series.push((line.labels, line.points));
    }
    Eval {
        query: query.trim().to_owned(),
        start_ms,
        end_ms,
        step_ms,
        expected,
        is_native,
    }
}

fn expectation(rest: &str, expected: &mut Expected) {
    if let Some(range) = rest.strip_prefix("range vector ") {
        let words: Vec<&str> = range.split_whitespace().collect();
        let ["from", from, "to", _, "step", step] = words[..] else {
            panic!("{rest}");
        };
        expected.matrix = Some((duration(from), duration(step)));
    } else if let Some(text) = rest.strip_prefix("string ") {
        let text = text.trim();
        expected.text = Some(text[1..text.len() - 1].to_owned());
    } else if rest == "ordered" {
        expected.ordered = true;
    } else if rest.starts_with("fail") {
        expected.fails = true;
    } else {
        let (kind, what) = rest.split_once(' ').unwrap_or((rest, ""));
        let what = what
            .trim()
            .strip_prefix("msg:")
            .map(|text| text.trim().to_owned());
        expected.notes.push((kind.to_owned(), what));
    }
}

/// Milliseconds of a duration; a plain number is seconds.
fn duration(text: &str) -> i64 {
    let text = text.trim();
    if let Ok(seconds) = text.parse::<f64>() {
        return (seconds * 1000.0).round() as i64;
    }
    let (sign, text) = match text.strip_prefix('-') {
        Some(text) => (-1, text),
        None => (1, text),
    };
    let units = [
        ("ms", 1),
        ("s", 1_000),
        ("m", 60_000),
        ("h", 3_600_000),
        ("d", 86_400_000),
        ("w", 7 * 86_400_000),
        ("y", 365 * 86_400_000),
    ];
    let mut total = 0;
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap();
        let value: i64 = rest[..digits].parse().unwrap();
        rest = &rest[digits..];
        let letters = rest
            .find(|c: char| c.is_ascii_digit())
            .unwrap_or(rest.len());
        let unit = units.iter().find(|(unit, _)| *unit == &rest[..letters]);
        total += value * unit.unwrap_or_else(|| panic!("{text}")).1;
        rest = &rest[letters..];
    }
    sign * total
}
