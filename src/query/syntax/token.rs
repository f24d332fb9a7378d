//! The words of PromQL.

use std::fmt;

use super::expression::{AggregateOperator, BinaryOperator, Place};
use crate::model::MatchOperator;

/// A word of a query and where it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Token {
    pub(super) kind: Kind,
    pub(super) place: Place,
}

/// Kinds of words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    End,
    /// `foo`; also the words that are special in one place only, like `start`.
    Identifier,
    /// `foo:bar`, a name of a metric alone.
    MetricIdentifier,
    Number,
    Duration,
    /// A text in quotes, with its quotes.
    Text,
    Keyword(Keyword),
    Aggregate(AggregateOperator),
    Operator(BinaryOperator),
    /// `=` everywhere, the others inside braces.
    Match(MatchOperator),
    At,
    Comma,
    Colon,
    LeftParen,
    RightParen,
    LeftBrace,
    RightBrace,
    LeftBracket,
    RightBracket,
}

/// Words with a meaning that are neither aggregations nor operators.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Keyword {
    Bool,
    By,
    GroupLeft,
    GroupRight,
    Ignoring,
    Offset,
    On,
    Without,
}

const KEYWORDS: [(&str, Keyword); 8] = [
    ("bool", Keyword::Bool),
    ("by", Keyword::By),
    ("group_left", Keyword::GroupLeft),
    ("group_right", Keyword::GroupRight),
    ("ignoring", Keyword::Ignoring),
    ("offset", Keyword::Offset),
    ("on", Keyword::On),
    ("without", Keyword::Without),
];

const WORD_OPERATORS: [BinaryOperator; 4] = [
    BinaryOperator::And,
    BinaryOperator::Or,
    BinaryOperator::Unless,
    BinaryOperator::Atan2,
];

impl Kind {
    /// What a word of letters is; case does not count for keywords.
    pub(super) fn of_word(word: &str) -> Self {
        let is = |name: &str| word.eq_ignore_ascii_case(name);
        if is("inf") || is("nan") {
            return Self::Number;
        }
        if let Some((_, keyword)) = KEYWORDS.iter().find(|(name, _)| is(name)) {
            return Self::Keyword(*keyword);
        }
        if let Some(operator) = WORD_OPERATORS.iter().find(|o| is(o.as_str())) {
            return Self::Operator(*operator);
        }
        if let Some(operator) = AggregateOperator::ALL.iter().find(|o| is(o.as_str())) {
            return Self::Aggregate(*operator);
        }
        if word.contains(':') {
            Self::MetricIdentifier
        } else {
            Self::Identifier
        }
    }

    /// Whether the word may name a metric where an expression is due.
    pub(super) const fn is_metric_name(self) -> bool {
        match self {
            Self::Identifier | Self::MetricIdentifier | Self::Aggregate(_) => true,
            Self::Keyword(keyword) => {
                matches!(keyword, Keyword::By | Keyword::Offset | Keyword::Without)
            }
            Self::Operator(operator) => operator.is_set(),
            _ => false,
        }
    }

    /// Whether the word may name a label in `by (...)` and the like.
    pub(super) const fn is_label_name(self) -> bool {
        matches!(
            self,
            Self::Keyword(_) | Self::Operator(BinaryOperator::Atan2)
        ) || self.is_metric_name()
    }
}

/// A word as errors name it, in Prometheus' words.
pub(super) struct Described<'a> {
    pub(super) kind: Kind,
    pub(super) text: &'a str,
}

impl fmt::Display for Described<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.text;
        match self.kind {
            Kind::End => f.write_str("end of input"),
            Kind::Identifier => write!(f, "identifier \"{text}\""),
            Kind::MetricIdentifier => write!(f, "metric identifier \"{text}\""),
            Kind::Number => write!(f, "number {}", Short(text)),
            Kind::Duration => write!(f, "duration {}", Short(text)),
            Kind::Text => write!(f, "string {}", Short(text)),
            Kind::Keyword(_) => write!(f, "<{text}>"),
            Kind::Aggregate(_) => write!(f, "<aggr:{text}>"),
            Kind::Match(MatchOperator::Equal) => f.write_str("\"=\""),
            Kind::Operator(_) | Kind::Match(_) | Kind::At => write!(f, "<op:{text}>"),
            _ => write!(f, "\"{text}\""),
        }
    }
}

/// A quoted text, cut after ten characters.
struct Short<'a>(&'a str);

impl fmt::Display for Short<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.char_indices().nth(10) {
            Some((end, _)) => write!(f, "{:?}...", self.0.get(..end).unwrap_or("")),
            None => write!(f, "{:?}", self.0),
        }
    }
}
