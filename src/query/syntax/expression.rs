//! A PromQL expression as a tree. Every node knows where it stands in the text.

use crate::model::Matcher;

use super::function::Function;

/// Bytes `start..end` of the query's text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// First byte.
    pub start: u32,
    /// The byte after the last one.
    pub end: u32,
}

/// An expression or a part of one.
#[derive(Clone, Debug)]
pub struct Expression {
    /// What it is.
    pub node: Node,
    /// Where it stands.
    pub place: Place,
}

/// What an expression yields.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ValueType {
    /// One number.
    Scalar,
    /// A text.
    Text,
    /// At most one sample of each series.
    Vector,
    /// Samples of a range of time of each series.
    Matrix,
}

impl ValueType {
    /// As Prometheus names it in errors.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Scalar => "scalar",
            Self::Text => "string",
            Self::Vector => "instant vector",
            Self::Matrix => "range vector",
        }
    }
}

/// Kinds of expressions.
#[derive(Clone, Debug)]
pub enum Node {
    /// A number; durations are seconds.
    Number(f64),
    /// A text in quotes, unescaped.
    Text(String),
    /// An instant selector.
    Vector(Selector),
    /// A range selector: `selector[range]`; offset and `@` stand in the selector.
    Matrix(Selector, i64),
    /// `inner[range:step]`
    Subquery(Box<Subquery>),
    /// `function(arguments)`
    Call(&'static Function, Vec<Expression>),
    /// `sum by (...) (inner)`
    Aggregate(Box<Aggregate>),
    /// `left + right`
    Binary(Box<Binary>),
    /// `-inner`
    Negate(Box<Expression>),
    /// `+inner` and `(inner)`: worth what they hold.
    Group(Box<Expression>, Wrapping),
}

/// How a [`Node::Group`] was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wrapping {
    /// `(inner)`
    Parentheses,
    /// `+inner`
    Plus,
}

/// Which series, and as of when.
#[derive(Clone, Debug)]
pub struct Selector {
    /// The metric's name where it stands before the braces; it is among the matchers too, first.
    pub name: Option<String>,
    /// Conditions on labels, the name's (`__name__`) among them.
    pub matchers: Vec<Matcher>,
    /// Shift of time.
    pub moment: Moment,
}

/// Shift of the time of evaluation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Moment {
    /// `offset`, in milliseconds; negative looks ahead.
    pub offset_ms: i64,
    /// `@`
    pub at: Option<At>,
}

/// What `@` names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum At {
    /// `@ 1609746000`, in milliseconds since the epoch.
    Time(i64),
    /// `@ start()`: of the query.
    Start,
    /// `@ end()`: of the query.
    End,
}

/// An expression evaluated at steps of a range.
#[derive(Clone, Debug)]
pub struct Subquery {
    /// What is evaluated.
    pub inner: Expression,
    /// The range, in milliseconds.
    pub range_ms: i64,
    /// The step, in milliseconds; `None`: the engine's own.
    pub step_ms: Option<i64>,
    /// Shift of time.
    pub moment: Moment,
}

/// Aggregations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AggregateOperator {
    /// `sum`
    Sum,
    /// `avg`
    Avg,
    /// `min`
    Min,
    /// `max`
    Max,
    /// `count`
    Count,
    /// `group`
    Group,
    /// `stddev`
    Stddev,
    /// `stdvar`
    Stdvar,
    /// `topk`
    Topk,
    /// `bottomk`
    Bottomk,
    /// `quantile`
    Quantile,
    /// `count_values`
    CountValues,
    /// `limitk`
    Limitk,
    /// `limit_ratio`
    LimitRatio,
}

impl AggregateOperator {
    /// All of them.
    pub const ALL: [Self; 14] = [
        Self::Sum,
        Self::Avg,
        Self::Min,
        Self::Max,
        Self::Count,
        Self::Group,
        Self::Stddev,
        Self::Stdvar,
        Self::Topk,
        Self::Bottomk,
        Self::Quantile,
        Self::CountValues,
        Self::Limitk,
        Self::LimitRatio,
    ];

    /// As it is written.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Sum => "sum",
            Self::Avg => "avg",
            Self::Min => "min",
            Self::Max => "max",
            Self::Count => "count",
            Self::Group => "group",
            Self::Stddev => "stddev",
            Self::Stdvar => "stdvar",
            Self::Topk => "topk",
            Self::Bottomk => "bottomk",
            Self::Quantile => "quantile",
            Self::CountValues => "count_values",
            Self::Limitk => "limitk",
            Self::LimitRatio => "limit_ratio",
        }
    }

    /// Type of its parameter, where it takes one.
    pub const fn parameter(self) -> Option<ValueType> {
        match self {
            Self::Topk | Self::Bottomk | Self::Quantile | Self::Limitk | Self::LimitRatio => {
                Some(ValueType::Scalar)
            }
            Self::CountValues => Some(ValueType::Text),
            _ => None,
        }
    }
}

/// An aggregation over series.
#[derive(Clone, Debug)]
pub struct Aggregate {
    /// Which.
    pub operator: AggregateOperator,
    /// `without` in place of `by`.
    pub without: bool,
    /// Labels of the grouping, as they are written.
    pub labels: Vec<String>,
    /// `k` of `topk(k, ...)` and the like.
    pub parameter: Option<Expression>,
    /// What is aggregated.
    pub inner: Expression,
}

/// Binary operators.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BinaryOperator {
    /// `+`
    Add,
    /// `-`
    Sub,
    /// `*`
    Mul,
    /// `/`
    Div,
    /// `%`
    Mod,
    /// `^`
    Pow,
    /// `atan2`
    Atan2,
    /// `==`
    Equal,
    /// `!=`
    NotEqual,
    /// `>`
    Greater,
    /// `<`
    Less,
    /// `>=`
    GreaterEqual,
    /// `<=`
    LessEqual,
    /// `and`
    And,
    /// `or`
    Or,
    /// `unless`
    Unless,
}

impl BinaryOperator {
    /// As it is written.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Add => "+",
            Self::Sub => "-",
            Self::Mul => "*",
            Self::Div => "/",
            Self::Mod => "%",
            Self::Pow => "^",
            Self::Atan2 => "atan2",
            Self::Equal => "==",
            Self::NotEqual => "!=",
            Self::Greater => ">",
            Self::Less => "<",
            Self::GreaterEqual => ">=",
            Self::LessEqual => "<=",
            Self::And => "and",
            Self::Or => "or",
            Self::Unless => "unless",
        }
    }

    /// Whether it compares.
    pub const fn is_comparison(self) -> bool {
        matches!(
            self,
            Self::Equal
                | Self::NotEqual
                | Self::Greater
                | Self::Less
                | Self::GreaterEqual
                | Self::LessEqual
        )
    }

    /// Whether it is one of `and`, `or` and `unless`.
    pub const fn is_set(self) -> bool {
        matches!(self, Self::And | Self::Or | Self::Unless)
    }
}

/// An operation on two sides.
#[derive(Clone, Debug)]
pub struct Binary {
    /// Which.
    pub operator: BinaryOperator,
    /// `bool`: 0 and 1 in place of filtering.
    pub returns_bool: bool,
    /// How the sides' series find each other.
    pub matching: Matching,
    /// Left side.
    pub left: Expression,
    /// Right side.
    pub right: Expression,
}

/// How many series of one side a series of the other may meet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Cardinality {
    /// One of each.
    #[default]
    OneToOne,
    /// `group_left`
    ManyToOne,
    /// `group_right`
    OneToMany,
    /// Set operators.
    ManyToMany,
}

/// How the series of two vectors find each other.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Matching {
    /// How many meet.
    pub cardinality: Cardinality,
    /// `on` in place of `ignoring`.
    pub on: bool,
    /// Labels of `on` or `ignoring`.
    pub labels: Vec<String>,
    /// Labels that `group_left(...)` takes from the side of one.
    pub include: Vec<String>,
    /// Whether `on` or `ignoring` was written.
    pub is_written: bool,
}

impl Node {
    /// The range selector or subquery that it is, parentheses taken off.
    pub(in crate::query) fn matrix(&self) -> Option<&Self> {
        match self {
            Self::Matrix(..) | Self::Subquery(_) => Some(self),
            Self::Group(inner, _) => inner.node.matrix(),
            _ => None,
        }
    }

    /// The instant selector that it is, parentheses taken off.
    pub(in crate::query) fn selector(&self) -> Option<&Selector> {
        match self {
            Self::Vector(selector) => Some(selector),
            Self::Group(inner, _) => inner.node.selector(),
            _ => None,
        }
    }
}

impl Expression {
    /// The text that it is, parentheses taken off.
    pub(in crate::query) fn text(&self) -> Option<&str> {
        match &self.node {
            Node::Text(text) => Some(text),
            Node::Group(inner, _) => inner.text(),
            _ => None,
        }
    }

    /// How many expressions lie within one another, itself counted.
    pub(in crate::query) fn depth(&self) -> usize {
        let deepest = match &self.node {
            Node::Number(_) | Node::Text(_) | Node::Vector(_) | Node::Matrix(..) => 0,
            Node::Subquery(subquery) => subquery.inner.depth(),
            Node::Call(_, arguments) => arguments.iter().map(Self::depth).max().unwrap_or(0),
            Node::Aggregate(aggregate) => {
                let parameter = aggregate.parameter.as_ref().map_or(0, Self::depth);
                parameter.max(aggregate.inner.depth())
            }
            Node::Binary(binary) => binary.left.depth().max(binary.right.depth()),
            Node::Negate(inner) | Node::Group(inner, _) => inner.depth(),
        };
        deepest + 1
    }

    /// What it yields.
    pub fn value_type(&self) -> ValueType {
        match &self.node {
            Node::Number(_) => ValueType::Scalar,
            Node::Text(_) => ValueType::Text,
            Node::Vector(_) | Node::Aggregate(_) => ValueType::Vector,
            Node::Matrix(..) | Node::Subquery(_) => ValueType::Matrix,
            Node::Call(function, _) => function.returns,
            Node::Binary(binary) => {
                let sides = [binary.left.value_type(), binary.right.value_type()];
                if sides == [ValueType::Scalar; 2] {
                    ValueType::Scalar
                } else {
                    ValueType::Vector
                }
            }
            Node::Negate(inner) | Node::Group(inner, _) => inner.value_type(),
        }
    }
}
