//! Expressions of the test, and how they are written. Parentheses stand around every operand.

use std::fmt::{self, Debug, Display, Formatter};

/// Milliseconds.
pub(super) type Ms = i64;

#[derive(Clone)]
pub(super) enum Expr {
    Number(f64),
    /// `time()`
    Time,
    /// `scalar(vector)`
    Scalar(Box<Expr>),
    /// `vector(scalar)`
    Vector(Box<Expr>),
    Selector(Selector),
    Negate(Box<Expr>),
    /// `rate(range)`, `quantile_over_time(0.5, range)`: name, scalar before the range, range.
    OverTime(&'static str, Option<Box<Expr>>, Range),
    AbsentOverTime(Range),
    Absent(Selector),
    /// `abs(vector)`, `clamp_min(vector, 1)`: name, vector, scalars after it.
    Call(&'static str, Box<Expr>, Vec<Expr>),
    Binary(Box<Binary>),
    Aggregate(Box<Aggregate>),
}

#[derive(Clone, Debug)]
pub(super) struct Selector {
    /// Label, operator, value; the name of the metric is the label `__name__`.
    pub(super) matchers: Vec<(&'static str, &'static str, &'static str)>,
    pub(super) moment: Moment,
}

/// Shift of time.
#[derive(Clone, Copy, Debug)]
pub(super) struct Moment {
    pub(super) offset: Ms,
    pub(super) at: Option<At>,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum At {
    Time(Ms),
    Start,
    End,
}

#[derive(Clone, Debug)]
pub(super) enum Range {
    Selected(Selector, Ms),
    /// `inner[range:step]`
    Subquery(Box<Expr>, Ms, Option<Ms>, Moment),
}

#[derive(Clone, Debug)]
pub(super) struct Binary {
    pub(super) operator: &'static str,
    pub(super) returns_bool: bool,
    pub(super) matching: Matching,
    pub(super) left: Expr,
    pub(super) right: Expr,
}

#[derive(Clone, Debug)]
pub(super) struct Matching {
    /// `on` in place of `ignoring`.
    pub(super) on: bool,
    pub(super) labels: Vec<&'static str>,
    pub(super) group: Option<Group>,
}

/// `group_left (labels)`
#[derive(Clone, Debug)]
pub(super) struct Group {
    pub(super) is_left: bool,
    pub(super) include: Vec<&'static str>,
}

#[derive(Clone, Debug)]
pub(super) struct Aggregate {
    pub(super) operator: &'static str,
    pub(super) parameter: Option<Parameter>,
    /// `without` in place of `by`.
    pub(super) without: bool,
    pub(super) labels: Vec<&'static str>,
    pub(super) inner: Expr,
}

#[derive(Clone, Debug)]
pub(super) enum Parameter {
    Scalar(Expr),
    Label(&'static str),
}

impl Expr {
    /// Whether it is one number rather than series.
    pub(super) fn is_scalar(&self) -> bool {
        match self {
            Self::Number(_) | Self::Time | Self::Scalar(_) => true,
            Self::Negate(inner) => inner.is_scalar(),
            Self::Binary(binary) => binary.left.is_scalar() && binary.right.is_scalar(),
            _ => false,
        }
    }
}

impl Display for Expr {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) if number.is_infinite() => f.write_str("Inf"),
            Self::Number(number) => write!(f, "{number}"),
            Self::Time => f.write_str("time()"),
            Self::Scalar(inner) => write!(f, "scalar({inner})"),
            Self::Vector(inner) => write!(f, "vector({inner})"),
            Self::Selector(selector) => write!(f, "{selector}"),
            Self::Negate(inner) => write!(f, "-({inner})"),
            Self::OverTime(name, None, range) => write!(f, "{name}({range})"),
            Self::OverTime("predict_linear", Some(parameter), range) => {
                write!(f, "predict_linear({range}, {parameter})")
            }
            Self::OverTime(name, Some(parameter), range) => {
                write!(f, "{name}({parameter}, {range})")
            }
            Self::AbsentOverTime(range) => write!(f, "absent_over_time({range})"),
            Self::Absent(selector) => write!(f, "absent({selector})"),
            Self::Call(name, inner, scalars) => {
                write!(f, "{name}({inner}")?;
                for scalar in scalars {
                    write!(f, ", {scalar}")?;
                }
                f.write_str(")")
            }
            Self::Binary(binary) => write!(f, "{binary}"),
            Self::Aggregate(aggregate) => write!(f, "{aggregate}"),
        }
    }
}

/// Whoever reads a failure reads the query.
impl Debug for Expr {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl Display for Selector {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        self.bare(f)?;
        write!(f, "{}", self.moment)
    }
}

impl Selector {
    /// Without offset and `@`, which stand after the brackets.
    fn bare(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let mut matchers = self.matchers.as_slice();
        if let [("__name__", "=", name), others @ ..] = matchers {
            f.write_str(name)?;
            matchers = others;
        }
        let written: Vec<String> = matchers
            .iter()
            .map(|(label, operator, value)| format!("{label}{operator}\"{value}\""))
            .collect();
        write!(f, "{{{}}}", written.join(", "))
    }
}

impl Display for Moment {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self.at {
            None => {}
            Some(At::Time(ms)) => write!(f, " @ {}.{:03}", ms / 1000, ms % 1000)?,
            Some(At::Start) => f.write_str(" @ start()")?,
            Some(At::End) => f.write_str(" @ end()")?,
        }
        match self.offset {
            0 => Ok(()),
            ms if ms < 0 => write!(f, " offset -{}ms", -ms),
            ms => write!(f, " offset {ms}ms"),
        }
    }
}

impl Display for Range {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Selected(selector, range) => {
                selector.bare(f)?;
                write!(f, "[{range}ms]{}", selector.moment)
            }
            Self::Subquery(inner, range, None, moment) => {
                write!(f, "({inner})[{range}ms:]{moment}")
            }
            Self::Subquery(inner, range, Some(step), moment) => {
                write!(f, "({inner})[{range}ms:{step}ms]{moment}")
            }
        }
    }
}

impl Display for Binary {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "({}) {}", self.left, self.operator)?;
        if self.returns_bool {
            f.write_str(" bool")?;
        }
        if !self.left.is_scalar() && !self.right.is_scalar() {
            write!(f, "{}", self.matching)?;
        }
        write!(f, " ({})", self.right)
    }
}

impl Display for Matching {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let word = if self.on { "on" } else { "ignoring" };
        write!(f, " {word} ({})", self.labels.join(", "))?;
        match &self.group {
            None => Ok(()),
            Some(group) => {
                let side = if group.is_left { "left" } else { "right" };
                write!(f, " group_{side} ({})", group.include.join(", "))
            }
        }
    }
}

impl Display for Aggregate {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let word = if self.without { "without" } else { "by" };
        write!(f, "{} {word} ({}) (", self.operator, self.labels.join(", "))?;
        match &self.parameter {
            None => {}
            Some(Parameter::Scalar(scalar)) => write!(f, "{scalar}, ")?,
            Some(Parameter::Label(label)) => write!(f, "\"{label}\", ")?,
        }
        write!(f, "{})", self.inner)
    }
}
