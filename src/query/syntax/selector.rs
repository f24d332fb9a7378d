//! `name{label="value"}`, and what follows an operand: `[5m]`, `[1h:5m]`, `offset 5m`, `@ 12`.

use super::{
    expression::{
        AggregateOperator, At, BinaryOperator, Expression, Moment, Node, Place, Selector, Subquery,
    },
    literal::{parse_duration, seconds_to_duration},
    parse_error::ParseError,
    parser::{Branch, Parser, REGEXES_MAX},
    token::{Keyword, Kind, Token},
};
use crate::model::{MatchOperator, Matcher};

/// Times of `@` lie within so many milliseconds of 1970, which is 71,000 years: farther away,
/// seconds in a float no longer tell milliseconds apart.
const AT_MS_MAX: f64 = (1_u64 << 51) as f64;

const MATCHING: &str = "label matching";
const SUBQUERY: &str = "subquery selector";
const METRIC_NAME: &str = "__name__";

/// The modifiers that an operand has already.
#[derive(Default)]
struct Seen {
    offset: bool,
    at: bool,
}

impl Parser<'_> {
    /// A selector and nothing after it.
    pub(super) fn bare_selector(&mut self) -> Result<Branch, ParseError> {
        match self.kind() {
            Kind::LeftBrace => self.selector(None),
            kind if kind.is_metric_name() => {
                let name = self.pass()?;
                self.selector(Some(name))
            }
            _ => Err(self.unexpected("", "")),
        }
    }

    /// The braces, after the name if there is one.
    pub(super) fn selector(&mut self, name: Option<Token>) -> Result<Branch, ParseError> {
        let start = name.map_or(self.place().start, |name| name.place.start);
        let mut selector = Selector {
            name: name.map(|name| self.text(name).to_owned()),
            matchers: Vec::new(),
            moment: Moment::default(),
        };
        if let (Some(token), Some(name)) = (name, selector.name.clone()) {
            let matcher = self.matcher(METRIC_NAME, MatchOperator::Equal, name, token.place)?;
            selector.matchers.push(matcher);
        }
        if self.kind() == Kind::LeftBrace {
            self.braces(start, &mut selector)?;
        }
        self.branch(Node::Vector(selector), self.since(start), 0)
    }

    fn braces(&mut self, start: u32, selector: &mut Selector) -> Result<(), ParseError> {
        self.pass()?;
        let mut name = selector.name.clone();
        while self.kind() != Kind::RightBrace {
            let (matcher, is_name) = self.label_matcher()?;
            // A name before the braces leaves no room for one inside, in whatever form.
            let is_second = match selector.name {
                Some(_) => matcher.name() == METRIC_NAME,
                None => is_name && name.is_some(),
            };
            if let Some(first) = name.as_ref().filter(|_| is_second) {
                let second = matcher.value();
                let message = format!("metric name must not be set twice: {first:?} or {second:?}");
                return Err(self.error(self.since(start), message));
            }
            if is_name {
                name = Some(matcher.value().to_owned());
            }
            selector.matchers.push(matcher);
            if !self.accept(Kind::Comma)? && self.kind() != Kind::RightBrace {
                return Err(self.unexpected(MATCHING, "\",\" or \"}\""));
            }
        }
        self.pass()?;
        Ok(())
    }

    /// `label="value"`, or a metric's name in quotes, which it tells.
    fn label_matcher(&mut self) -> Result<(Matcher, bool), ParseError> {
        let label = match self.kind() {
            Kind::Identifier | Kind::Text => self.pass()?,
            _ => return Err(self.unexpected(MATCHING, "identifier or \"}\"")),
        };
        let is_quoted = label.kind == Kind::Text;
        let name = if is_quoted {
            self.unquoted(label)?
        } else {
            self.text(label).to_owned()
        };
        let Kind::Match(operator) = self.kind() else {
            if !is_quoted {
                return Err(self.unexpected(MATCHING, "label matching operator"));
            }
            let matcher = self.matcher(METRIC_NAME, MatchOperator::Equal, name, label.place)?;
            return Ok((matcher, true));
        };
        self.pass()?;
        if self.kind() != Kind::Text {
            return Err(self.unexpected(MATCHING, "string"));
        }
        let value = self.pass()?;
        let place = self.since(label.place.start);
        let value = self.unquoted(value)?;
        Ok((self.matcher(&name, operator, value, place)?, false))
    }

    fn matcher(
        &mut self,
        name: &str,
        operator: MatchOperator,
        value: String,
        place: Place,
    ) -> Result<Matcher, ParseError> {
        self.regexes += usize::from(operator.is_regex());
        if self.regexes > REGEXES_MAX {
            let message = format!("the query has more than {REGEXES_MAX} regular expressions");
            return Err(self.error(place, message));
        }
        Matcher::new(name, operator, value).map_err(|why| self.error(place, why.to_string()))
    }

    /// What follows an operand binds tighter than any operator.
    pub(super) fn modifiers(&mut self, mut branch: Branch) -> Result<Branch, ParseError> {
        let mut seen = Seen::default();
        loop {
            match self.kind() {
                Kind::LeftBracket => {
                    branch = self.brackets(branch, &seen)?;
                    seen = Seen::default();
                }
                Kind::Keyword(Keyword::Offset) => {
                    self.offset(&mut branch.expression, &mut seen)?;
                }
                Kind::At => self.at(&mut branch.expression, &mut seen)?,
                Kind::Identifier if self.is_word("anchored") || self.is_word("smoothed") => {
                    let message = "the anchored and smoothed modifiers are experimental and \
                                   not supported";
                    return Err(self.error(self.place(), message));
                }
                _ => return Ok(branch),
            }
        }
    }

    fn brackets(&mut self, branch: Branch, seen: &Seen) -> Result<Branch, ParseError> {
        let bracket = self.pass()?.place.start;
        let range_ms = self.positive_duration("number or duration")?;
        let is_subquery = self.accept(Kind::Colon)?;
        let mut step_ms = None;
        if is_subquery {
            if self.kind() != Kind::RightBracket {
                step_ms = Some(self.positive_duration("number or duration or \"]\"")?);
            }
            self.expect(Kind::RightBracket, SUBQUERY, "\"]\"")?;
        } else {
            self.expect(Kind::RightBracket, "subquery or range", "\":\" or \"]\"")?;
        }
        let place = self.since(branch.expression.place.start);
        if is_subquery {
            let node = Node::Subquery(Box::new(Subquery {
                inner: branch.expression,
                range_ms,
                step_ms,
                moment: Moment::default(),
            }));
            return self.branch(node, place, branch.height);
        }
        let message = match branch.expression.node {
            Node::Vector(selector) if !seen.offset && !seen.at => {
                return self.branch(Node::Matrix(selector, range_ms), place, 0);
            }
            Node::Vector(_) if seen.offset => "no offset modifiers allowed before range",
            Node::Vector(_) => "no @ modifiers allowed before range",
            _ => "ranges only allowed for vector selectors",
        };
        Err(self.error(self.since(bracket), message))
    }

    /// The range or the step of brackets, in milliseconds.
    fn positive_duration(&mut self, expected: &str) -> Result<i64, ParseError> {
        let start = self.place().start;
        let sign = self.sign()?;
        let ms = sign * self.duration(SUBQUERY, expected)?;
        if let Kind::Operator(operator) = self.kind()
            && is_arithmetic(operator)
        {
            return Err(self.duration_expression());
        }
        if ms <= 0 {
            let message = "duration must be greater than 0";
            return Err(self.error(self.since(start), message));
        }
        Ok(ms)
    }

    /// Passes a sign, if there is one.
    fn sign(&mut self) -> Result<i64, ParseError> {
        if self.accept(Kind::Operator(BinaryOperator::Sub))? {
            return Ok(-1);
        }
        self.accept(Kind::Operator(BinaryOperator::Add))?;
        Ok(1)
    }

    /// A duration in milliseconds; a number is seconds.
    fn duration(&mut self, context: &str, expected: &str) -> Result<i64, ParseError> {
        let is_calculated = match self.kind() {
            Kind::Number | Kind::Duration => {
                let token = self.pass()?;
                let ms = match token.kind {
                    Kind::Duration => parse_duration(self.text(token)),
                    _ => seconds_to_duration(self.seconds(token)?),
                };
                return ms.map_err(|why| self.error(token.place, why));
            }
            Kind::LeftParen | Kind::Aggregate(AggregateOperator::Min | AggregateOperator::Max) => {
                true
            }
            Kind::Identifier => self.is_word("step") || self.is_word("range"),
            _ => false,
        };
        if is_calculated {
            return Err(self.duration_expression());
        }
        Err(self.unexpected(context, expected))
    }

    fn duration_expression(&self) -> ParseError {
        let message = "duration expressions are experimental and not supported";
        self.error(self.place(), message)
    }

    fn offset(&mut self, expression: &mut Expression, seen: &mut Seen) -> Result<(), ParseError> {
        self.pass()?;
        let sign = self.sign()?;
        let offset_ms = sign * self.duration("offset", "number or duration")?;
        let Some(moment) = moment(expression) else {
            let message = "offset modifier must be preceded by an instant vector selector or \
                           range vector selector or a subquery";
            return Err(self.error(expression.place, message));
        };
        if seen.offset {
            let message = "offset may not be set multiple times";
            return Err(self.error(expression.place, message));
        }
        seen.offset = true;
        moment.offset_ms = offset_ms;
        expression.place.end = self.since(0).end;
        Ok(())
    }

    fn at(&mut self, expression: &mut Expression, seen: &mut Seen) -> Result<(), ParseError> {
        self.pass()?;
        let at = self.time(expression.place)?;
        let Some(moment) = moment(expression) else {
            let message = "@ modifier must be preceded by an instant vector selector or range \
                           vector selector or a subquery";
            return Err(self.error(expression.place, message));
        };
        if seen.at {
            let message = "@ <timestamp> may not be set multiple times";
            return Err(self.error(expression.place, message));
        }
        seen.at = true;
        moment.at = Some(at);
        expression.place.end = self.since(0).end;
        Ok(())
    }

    /// What `@` names.
    fn time(&mut self, of: Place) -> Result<At, ParseError> {
        let word = if self.is_word("start") {
            Some(At::Start)
        } else if self.is_word("end") {
            Some(At::End)
        } else {
            None
        };
        if let Some(at) = word {
            self.pass()?;
            self.expect(Kind::LeftParen, "@", "\"(\"")?;
            self.expect(Kind::RightParen, "@", "\")\"")?;
            return Ok(at);
        }
        let sign = self.sign()?;
        if !matches!(self.kind(), Kind::Number | Kind::Duration) {
            return Err(self.unexpected("@", "timestamp"));
        }
        let token = self.pass()?;
        let seconds = self.seconds(token)? * sign as f64;
        let ms = (seconds * 1_000.0).round();
        if ms.is_nan() || ms.abs() > AT_MS_MAX {
            let message = format!("timestamp out of bounds for @ modifier: {seconds}");
            return Err(self.error(of, message));
        }
        Ok(At::Time(ms as i64))
    }
}

/// The shift of time of an expression that can have one.
const fn moment(expression: &mut Expression) -> Option<&mut Moment> {
    match &mut expression.node {
        Node::Vector(selector) | Node::Matrix(selector, _) => Some(&mut selector.moment),
        Node::Subquery(subquery) => Some(&mut subquery.moment),
        _ => None,
    }
}

const fn is_arithmetic(operator: BinaryOperator) -> bool {
    use BinaryOperator as Op;
    matches!(
        operator,
        Op::Add | Op::Sub | Op::Mul | Op::Div | Op::Mod | Op::Pow
    )
}
