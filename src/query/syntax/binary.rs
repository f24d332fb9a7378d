//! `left + on (a) group_left (b) right`, and lists of labels.

use super::{
    expression::{Binary, BinaryOperator, Cardinality, Matching, Node, Place},
    parse_error::ParseError,
    parser::{Branch, Open, Parser},
    token::{Keyword, Kind},
};

const GROUPING: &str = "grouping opts";

/// An operator with its left side and its modifiers.
#[derive(Debug)]
pub(super) struct Operation {
    pub(super) operator: BinaryOperator,
    left: Branch,
    returns_bool: bool,
    matching: Matching,
}

impl Parser<'_> {
    /// Passes the operator, which comes next, and its modifiers.
    pub(super) fn operator(
        &mut self,
        left: Branch,
        operator: BinaryOperator,
    ) -> Result<Open, ParseError> {
        self.count_operator()?;
        self.pass()?;
        Ok(Open::Binary(Operation {
            operator,
            left,
            returns_bool: self.accept(Kind::Keyword(Keyword::Bool))?,
            matching: self.matching(operator)?,
        }))
    }

    /// The operation with its right side.
    pub(super) fn operation(
        &self,
        operation: Operation,
        right: Branch,
    ) -> Result<Branch, ParseError> {
        let left = operation.left;
        let place = Place {
            start: left.expression.place.start,
            end: right.expression.place.end,
        };
        let below = left.height.max(right.height);
        let node = Node::Binary(Box::new(Binary {
            operator: operation.operator,
            returns_bool: operation.returns_bool,
            matching: operation.matching,
            left: left.expression,
            right: right.expression,
        }));
        self.branch(node, place, below)
    }

    fn matching(&mut self, operator: BinaryOperator) -> Result<Matching, ParseError> {
        let mut matching = Matching::default();
        if operator.is_set() {
            matching.cardinality = Cardinality::ManyToMany;
        }
        matching.on = match self.kind() {
            Kind::Keyword(Keyword::On) => true,
            Kind::Keyword(Keyword::Ignoring) => false,
            _ => return Ok(matching),
        };
        matching.is_written = true;
        self.pass()?;
        matching.labels = self.labels()?;
        matching.cardinality = match self.kind() {
            Kind::Keyword(Keyword::GroupLeft) => Cardinality::ManyToOne,
            Kind::Keyword(Keyword::GroupRight) => Cardinality::OneToMany,
            _ => return Ok(matching),
        };
        self.pass()?;
        if self.kind() == Kind::LeftParen {
            matching.include = self.labels()?;
        }
        Ok(matching)
    }

    /// `(a, b, "c d")`
    pub(super) fn labels(&mut self) -> Result<Vec<String>, ParseError> {
        self.expect(Kind::LeftParen, GROUPING, "\"(\"")?;
        let mut labels = Vec::new();
        while self.kind() != Kind::RightParen {
            labels.push(self.label()?);
            if !self.accept(Kind::Comma)? && self.kind() != Kind::RightParen {
                return Err(self.unexpected(GROUPING, "\",\" or \")\""));
            }
        }
        self.pass()?;
        Ok(labels)
    }

    fn label(&mut self) -> Result<String, ParseError> {
        match self.kind() {
            Kind::Text => {
                let token = self.pass()?;
                let label = self.unquoted(token)?;
                if label.is_empty() {
                    return Err(self.error(token.place, "invalid label name \"\""));
                }
                Ok(label)
            }
            kind if kind.is_label_name() => {
                let token = self.pass()?;
                Ok(self.text(token).to_owned())
            }
            _ => Err(self.unexpected(GROUPING, "label")),
        }
    }
}
