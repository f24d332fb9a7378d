//! Series in the notation of Prometheus' tests: `name{a="b"} 1+2x3 _ stale`.

use longwatch::model::{Labels, NAME_LABEL, STALE_MARKER};

/// A point of a series; nothing where there is no sample.
pub(crate) type Point = Option<f64>;

/// What a line of a series says.
pub(crate) struct Line {
    pub(crate) labels: Labels,
    pub(crate) points: Vec<Point>,
    /// Whether some points are native histograms, which become no samples here.
    pub(crate) is_native: bool,
}

/// Reads a line; of a number alone, the labels are empty.
pub(crate) fn line(text: &str) -> Line {
    let (labels, rest) = metric(text);
    let mut points = Vec::new();
    let mut is_native = false;
    for item in items(rest) {
        if item.contains("{{") {
            is_native = true;
            let count = item
                .rsplit_once("}}x")
                .map_or(1, |(_, n)| n.parse::<usize>().unwrap() + 1);
            points.extend(std::iter::repeat_n(None, count));
        } else {
            points.extend(expanded(&item));
        }
    }
    Line {
        labels,
        points,
        is_native,
    }
}

/// The metric at the beginning, and what follows.
fn metric(text: &str) -> (Labels, &str) {
    let end = text.find(['{', ' ', '\t']).unwrap_or(text.len());
    let (name, rest) = text.split_at(end);
    let mut pairs: Vec<(String, String)> = Vec::new();
    if !name.is_empty() && (name.starts_with(|c: char| c.is_alphabetic() || c == '_' || c == ':')) {
        let is_number = ["NaN", "Inf"].contains(&name);
        if is_number {
            return (Labels::default(), text);
        }
        pairs.push((NAME_LABEL.to_owned(), name.to_owned()));
    } else if !name.is_empty() {
        return (Labels::default(), text);
    }
    let rest = rest.trim_start();
    let rest = match rest.strip_prefix('{') {
        Some(inside) if !inside.starts_with('{') => labels(inside, &mut pairs),
        _ => rest,
    };
    let pairs = pairs
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()));
    (Labels::new(pairs), rest)
}

/// Labels up to the closing brace; answers with what follows.
fn labels<'t>(mut rest: &'t str, pairs: &mut Vec<(String, String)>) -> &'t str {
    loop {
        rest = rest.trim_start_matches([' ', '\t', ',']);
        if let Some(after) = rest.strip_prefix('}') {
            return after;
        }
        let (name, after, is_quoted) = if rest.starts_with('"') {
            let (name, after) = quoted(rest);
            (name, after, true)
        } else {
            let end = rest.find(['=', ' ']).unwrap();
            (rest[..end].to_owned(), &rest[end..], false)
        };
        let after = after.trim_start();
        let Some(after) = after.strip_prefix('=') else {
            assert!(is_quoted, "{rest}");
            pairs.push((NAME_LABEL.to_owned(), name));
            rest = after;
            continue;
        };
        let (value, after) = quoted(after.trim_start());
        pairs.push((name, value));
        rest = after;
    }
}

fn quoted(text: &str) -> (String, &str) {
    let mut out = String::new();
    let quote = text.chars().next().unwrap();
    let mut chars = text.char_indices().skip(1);
    while let Some((at, c)) = chars.next() {
        match c {
            c if c == quote => return (out, &text[at + 1..]),
            '\\' => match chars.next().unwrap().1 {
                'n' => out.push('\n'),
                't' => out.push('\t'),
                other => out.push(other),
            },
            c => out.push(c),
        }
    }
    panic!("{text} does not end");
}

/// Items separated by blanks; those inside of `{{...}}` do not separate.
fn items(text: &str) -> Vec<String> {
    let mut items = Vec::new();
    let mut item = String::new();
    let mut depth = 0usize;
    for c in text.chars() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        if c.is_whitespace() && depth == 0 {
            if !item.is_empty() {
                items.push(std::mem::take(&mut item));
            }
        } else {
            item.push(c);
        }
    }
    if !item.is_empty() {
        items.push(item);
    }
    items
}

fn expanded(item: &str) -> Vec<Point> {
    let (what, times) = match item.rsplit_once('x') {
        Some((what, times)) if times.parse::<usize>().is_ok() => (what, times.parse().ok()),
        _ => (item, None),
    };
    if what == "_" {
        return vec![None; times.unwrap_or(1)];
    }
    let count = times.map_or(1, |times: usize| times + 1);
    if what == "stale" {
        return vec![Some(STALE_MARKER); count];
    }
    let border = what
        .char_indices()
        .skip(1)
        .find(|(at, c)| "+-".contains(*c) && !what[..*at].ends_with(['e', 'E']));
    let (start, step) = match border {
        Some((at, _)) if times.is_some() => (number(&what[..at]), number(&what[at..])),
        _ => (number(what), 0.0),
    };
    let value = |at: usize| {
        if step == 0.0 {
            start
        } else {
            start + at as f64 * step
        }
    };
    // As the original does it: one step added at a time.
    let mut points = Vec::with_capacity(count);
    let mut current = value(0);
    for _ in 0..count {
        points.push(Some(current));
        if step != 0.0 {
            current += step;
        }
    }
    points
}

/// A number as PromQL writes it.
pub(crate) fn number(text: &str) -> f64 {
    let lower = text.to_lowercase();
    let (sign, digits) = match lower.strip_prefix('-') {
        Some(digits) => (-1.0, digits),
        None => (1.0, lower.strip_prefix('+').unwrap_or(&lower)),
    };
    if let Some(hex) = digits.strip_prefix("0x") {
        return sign * u64::from_str_radix(hex, 16).unwrap() as f64;
    }
    sign * digits
        .replace('_', "")
        .parse::<f64>()
        .unwrap_or_else(|_| panic!("{text} is no number"))
}
