//! Tree -> text, as Prometheus' `String()` writes it; read again it is the same tree.
//!
//! Source: Prometheus, `promql/parser/printer.go`.

use std::fmt::{self, Display, Formatter, Write};

use super::expression::{
    Aggregate, At, Binary, BinaryOperator, Cardinality, Expression, Matching, Moment, Node,
    Selector, Subquery, Wrapping,
};
use crate::model::{MatchOperator, Matcher};

impl Display for Expression {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match &self.node {
            Node::Number(value) => Number(*value).fmt(f),
            Node::Text(text) => Quoted(text).fmt(f),
            Node::Vector(selector) => {
                write!(f, "{}{}", Series(selector), selector.moment)
            }
            Node::Matrix(selector, range_ms) => {
                let (series, range) = (Series(selector), Duration(*range_ms));
                write!(f, "{series}[{range}]{}", selector.moment)
            }
            Node::Subquery(subquery) => write!(f, "{}{}", subquery.inner, Window(subquery)),
            Node::Call(function, arguments) => {
                write!(f, "{}(", function.name)?;
                separated(f, arguments)?;
                f.write_char(')')
            }
            Node::Aggregate(aggregate) => {
                write!(f, "{}(", AggregateHead(aggregate))?;
                if let Some(parameter) = &aggregate.parameter {
                    write!(f, "{parameter}, ")?;
                }
                write!(f, "{})", aggregate.inner)
            }
            Node::Binary(binary) => {
                match binary.left.node {
                    // `+Inf ^ 2` would be `+(Inf ^ 2)`.
                    Node::Number(f64::INFINITY) if binary.operator == BinaryOperator::Pow => {
                        f.write_str("Inf")?;
                    }
                    _ => write!(f, "{}", binary.left)?,
                }
                write!(f, " {} {}", BinaryHead(binary), binary.right)
            }
            Node::Negate(inner) => write!(f, "-{inner}"),
            Node::Group(inner, Wrapping::Plus) => write!(f, "+{inner}"),
            Node::Group(inner, Wrapping::Parentheses) => write!(f, "({inner})"),
        }
    }
}

/// `a, b, c`
fn separated<T: Display>(f: &mut Formatter<'_>, parts: &[T]) -> fmt::Result {
    for (i, part) in parts.iter().enumerate() {
        if i > 0 {
            f.write_str(", ")?;
        }
        part.fmt(f)?;
    }
    Ok(())
}

/// Decimal digits, never an exponent.
pub(super) struct Number(pub(super) f64);

impl Display for Number {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        if self.0.is_infinite() {
            return f.write_str(if self.0 > 0.0 { "+Inf" } else { "-Inf" });
        }
        // Rust's shortest form that reads back as the same number is Go's, too.
        write!(f, "{}", self.0)
    }
}

/// A text in double quotes with Go's escapes.
struct Quoted<'a>(&'a str);

impl Display for Quoted<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_char('"')?;
        for c in self.0.chars() {
            match c {
                '"' | '\\' => write!(f, "\\{c}")?,
                '\u{7}' => f.write_str("\\a")?,
                '\u{8}' => f.write_str("\\b")?,
                '\u{c}' => f.write_str("\\f")?,
                '\n' => f.write_str("\\n")?,
                '\r' => f.write_str("\\r")?,
                '\t' => f.write_str("\\t")?,
                '\u{b}' => f.write_str("\\v")?,
                _ if c.is_ascii_control() => write!(f, "\\x{:02x}", u32::from(c))?,
                _ if c.is_control() || (c.is_whitespace() && c != ' ') => {
                    write!(f, "\\u{:04x}", u32::from(c))?;
                }
                _ => f.write_char(c)?,
            }
        }
        f.write_char('"')
    }
}

/// A duration as Prometheus' `model.Duration`; years and weeks only where nothing remains.
struct Duration(i64);

impl Display for Duration {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        const DAY_MS: u64 = 86_400_000;
        const UNITS: [(&str, u64, bool); 7] = [
            ("y", 365 * DAY_MS, true),
            ("w", 7 * DAY_MS, true),
            ("d", DAY_MS, false),
            ("h", 3_600_000, false),
            ("m", 60_000, false),
            ("s", 1_000, false),
            ("ms", 1, false),
        ];
        if self.0 < 0 {
            f.write_char('-')?;
        }
        let mut rest = self.0.unsigned_abs();
        if rest == 0 {
            return f.write_str("0s");
        }
        for (unit, size, is_exact) in UNITS {
            if rest >= size && (!is_exact || rest.is_multiple_of(size)) {
                write!(f, "{}{unit}", rest / size)?;
                rest %= size;
            }
        }
        Ok(())
    }
}

/// A label where any other word may stand, too.
struct Label<'a>(&'a str);

impl Display for Label<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let is_number = ["inf", "nan"]
            .iter()
            .any(|number| self.0.eq_ignore_ascii_case(number));
        if is_identifier(self.0) && !is_number {
            return f.write_str(self.0);
        }
        Quoted(self.0).fmt(f)
    }
}

fn is_identifier(name: &str) -> bool {
    let is_word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    name.bytes().all(is_word) && !name.starts_with(|c: char| c.is_ascii_digit()) && !name.is_empty()
}

/// `by (a, b)` and the like.
struct Labels<'a>(&'a str, &'a [String]);

impl Display for Labels<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let labels: Vec<_> = self.1.iter().map(|label| Label(label)).collect();
        write!(f, "{} (", self.0)?;
        separated(f, &labels)?;
        f.write_char(')')
    }
}

/// A selector without its shift of time; its conditions are sorted.
struct Series<'a>(&'a Selector);

impl Display for Series<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Selector { name, matchers, .. } = self.0;
        // The name's own condition comes first.
        let own = usize::from(name.is_some());
        let rest = matchers.iter().skip(own);
        let mut conditions: Vec<String> = rest.map(|m| Condition(m).to_string()).collect();
        conditions.sort_unstable();
        f.write_str(name.as_deref().unwrap_or(""))?;
        if conditions.is_empty() && name.is_some() {
            return Ok(());
        }
        write!(f, "{{{}}}", conditions.join(","))
    }
}

struct Condition<'a>(&'a Matcher);

impl Display for Condition<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let name = self.0.name();
        if is_identifier(name) {
            f.write_str(name)?;
        } else {
            Quoted(name).fmt(f)?;
        }
        let operator: MatchOperator = self.0.operator();
        write!(f, "{}{}", operator.as_str(), Quoted(self.0.value()))
    }
}

impl Display for Moment {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self.at {
            Some(At::Start) => f.write_str(" @ start()")?,
            Some(At::End) => f.write_str(" @ end()")?,
            Some(At::Time(ms)) => {
                let sign = if ms < 0 { "-" } else { "" };
                let ms = ms.unsigned_abs();
                write!(f, " @ {sign}{}.{:03}", ms / 1_000, ms % 1_000)?;
            }
            None => {}
        }
        if self.offset_ms != 0 {
            write!(f, " offset {}", Duration(self.offset_ms))?;
        }
        Ok(())
    }
}

/// `[1h:5m] offset 1m` of a subquery.
pub(super) struct Window<'a>(pub(super) &'a Subquery);

impl Display for Window<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "[{}:", Duration(self.0.range_ms))?;
        if let Some(step_ms) = self.0.step_ms {
            Duration(step_ms).fmt(f)?;
        }
        write!(f, "]{}", self.0.moment)
    }
}

/// `sum by (a) ` of an aggregation, up to the parentheses.
pub(super) struct AggregateHead<'a>(pub(super) &'a Aggregate);

impl Display for AggregateHead<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let labels = &self.0.labels;
        f.write_str(self.0.operator.as_str())?;
        if self.0.without {
            write!(f, " {} ", Labels("without", labels))?;
        } else if !labels.is_empty() {
            write!(f, " {} ", Labels("by", labels))?;
        }
        Ok(())
    }
}

/// `+ on (a) group_left (b)`: the operator with its modifiers.
pub(super) struct BinaryHead<'a>(pub(super) &'a Binary);

impl Display for BinaryHead<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Matching {
            cardinality,
            on,
            labels,
            include,
            ..
        } = &self.0.matching;
        f.write_str(self.0.operator.as_str())?;
        if self.0.returns_bool {
            f.write_str(" bool")?;
        }
        let group = match cardinality {
            Cardinality::ManyToOne => Some("group_left"),
            Cardinality::OneToMany => Some("group_right"),
            Cardinality::OneToOne | Cardinality::ManyToMany => None,
        };
        if *on || !labels.is_empty() || group.is_some() {
            let word = if *on { "on" } else { "ignoring" };
            write!(f, " {}", Labels(word, labels))?;
        }
        if let Some(group) = group {
            write!(f, " {}", Labels(group, include))?;
        }
        Ok(())
    }
}
