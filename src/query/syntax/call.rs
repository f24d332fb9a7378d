//! What begins with a name: calls of functions, aggregations, selectors.

use super::{
    expression::{Aggregate, AggregateOperator, Expression, Node, Place},
    function::function,
    parse_error::ParseError,
    parser::{Branch, Open, Parser},
    token::{Keyword, Kind, Token},
};

/// A call whose parentheses are open.
#[derive(Debug)]
pub(super) struct OpenCall {
    name: Token,
    callee: Callee,
    arguments: Vec<Expression>,
    /// Levels of the highest argument.
    height: usize,
}

#[derive(Debug)]
enum Callee {
    Function,
    /// An aggregation, and its grouping if it stands before the parentheses.
    Aggregate(AggregateOperator, Option<Grouping>),
}

impl Callee {
    /// What errors inside the parentheses name.
    const fn context(&self) -> &'static str {
        match self {
            Self::Function => "",
            Self::Aggregate(..) => "aggregation",
        }
    }
}

/// `by (...)` or `without (...)`.
#[derive(Debug, Default)]
struct Grouping {
    without: bool,
    labels: Vec<String>,
}

impl Parser<'_> {
    /// Names mean what follows them says: `sum` is a metric, `sum(x)` is not.
    ///
    /// None when a call has begun that has arguments.
    pub(super) fn named(&mut self, open: &mut Vec<Open>) -> Result<Option<Branch>, ParseError> {
        let name = self.pass()?;
        let callee = match (name.kind, self.kind()) {
            (
                Kind::Aggregate(operator),
                Kind::LeftParen | Kind::Keyword(Keyword::By | Keyword::Without),
            ) => Callee::Aggregate(operator, self.grouping()?),
            (Kind::Identifier, Kind::LeftParen) => Callee::Function,
            _ => return self.selector(Some(name)).map(Some),
        };
        self.expect(Kind::LeftParen, callee.context(), "")?;
        let call = OpenCall {
            name,
            callee,
            arguments: Vec::new(),
            height: 0,
        };
        if self.accept(Kind::RightParen)? {
            return self.called(call).map(Some);
        }
        open.push(Open::Call(call));
        Ok(None)
    }

    /// Adds an argument to a call; none if another one follows.
    pub(super) fn argument(
        &mut self,
        mut call: OpenCall,
        argument: Branch,
        open: &mut Vec<Open>,
    ) -> Result<Option<Branch>, ParseError> {
        call.height = call.height.max(argument.height);
        call.arguments.push(argument.expression);
        let comma = self.place();
        if self.accept(Kind::Comma)? {
            if self.kind() == Kind::RightParen {
                let message = "trailing commas not allowed in function call args";
                return Err(self.error(comma, message));
            }
            open.push(Open::Call(call));
            return Ok(None);
        }
        self.expect(Kind::RightParen, call.callee.context(), "")?;
        self.called(call).map(Some)
    }

    /// A call whose parentheses are closed.
    fn called(&mut self, call: OpenCall) -> Result<Branch, ParseError> {
        match call.callee {
            Callee::Function => self.function(call.name, call.arguments, call.height),
            Callee::Aggregate(operator, before) => {
                let grouping = match before {
                    Some(grouping) => grouping,
                    None => self.grouping()?.unwrap_or_default(),
                };
                let place = self.since(call.name.place.start);
                let node = self.aggregate(operator, grouping, call.arguments, place)?;
                self.branch(node, place, call.height)
            }
        }
    }

    fn function(
        &self,
        name: Token,
        arguments: Vec<Expression>,
        height: usize,
    ) -> Result<Branch, ParseError> {
        let text = self.text(name);
        let Some(function) = function(text) else {
            let message = if is_fill(text) {
                format!("{text} modifiers are experimental and not supported")
            } else {
                format!("unknown function with name {text:?}")
            };
            return Err(self.error(name.place, message));
        };
        let node = Node::Call(function, arguments);
        self.branch(node, self.since(name.place.start), height)
    }

    fn aggregate(
        &self,
        operator: AggregateOperator,
        grouping: Grouping,
        arguments: Vec<Expression>,
        place: Place,
    ) -> Result<Node, ParseError> {
        let expected = 1 + usize::from(operator.parameter().is_some());
        let found = arguments.len();
        let mut arguments = arguments.into_iter();
        let parameter = operator.parameter().and_then(|_| arguments.next());
        let Some(inner) = arguments.next().filter(|_| found == expected) else {
            let message = if found == 0 {
                "no arguments for aggregate expression provided".to_owned()
            } else {
                format!(
                    "wrong number of arguments for aggregate expression provided, \
                     expected {expected}, got {found}"
                )
            };
            return Err(self.error(place, message));
        };
        Ok(Node::Aggregate(Box::new(Aggregate {
            operator,
            without: grouping.without,
            labels: grouping.labels,
            parameter,
            inner,
        })))
    }

    fn grouping(&mut self) -> Result<Option<Grouping>, ParseError> {
        let without = match self.kind() {
            Kind::Keyword(Keyword::By) => false,
            Kind::Keyword(Keyword::Without) => true,
            _ => return Ok(None),
        };
        self.pass()?;
        let labels = self.labels()?;
        Ok(Some(Grouping { without, labels }))
    }
}

/// Whether a call is a modifier of an operator in truth: `a + fill (0) b`.
fn is_fill(name: &str) -> bool {
    ["fill", "fill_left", "fill_right"]
        .iter()
        .any(|fill| name.eq_ignore_ascii_case(fill))
}
