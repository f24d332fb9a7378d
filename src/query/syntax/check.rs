//! What the grammar does not say: types, and which modifiers fit which operators.
//!
//! Source of rules, order and wording: Prometheus, `promql/parser/parse.go`, `checkAST`.

use std::collections::HashSet;

use super::{
    expression::{
        Aggregate, Binary, Cardinality, Expression, Matching, Node, Place, Selector, Subquery,
        ValueType, Wrapping,
    },
    function::{Function, FunctionId},
    parse_error::ParseError,
    tree_json::type_name,
};

/// Checks a tree, and drops what `on` and the like say where a side is a scalar.
pub(super) fn check(text: &str, expression: &mut Expression) -> Result<(), ParseError> {
    Checker { text }.expression(expression).map(|_| ())
}

struct Checker<'a> {
    text: &'a str,
}

impl Checker<'_> {
    fn error(&self, place: Place, message: impl Into<String>) -> ParseError {
        ParseError::new(self.text, place, message)
    }

    /// Checks a tree, first its parts; tells its type.
    fn expression(&self, expression: &mut Expression) -> Result<ValueType, ParseError> {
        let place = expression.place;
        match &mut expression.node {
            Node::Number(_) => Ok(ValueType::Scalar),
            Node::Text(_) => Ok(ValueType::Text),
            Node::Vector(selector) => {
                self.selector(selector, place)?;
                Ok(ValueType::Vector)
            }
            Node::Matrix(selector, _) => {
                self.selector(selector, place)?;
                Ok(ValueType::Matrix)
            }
            Node::Subquery(subquery) => self.subquery(subquery, place),
            Node::Call(function, arguments) => self.call(function, arguments, place),
            Node::Aggregate(aggregate) => self.aggregate(aggregate),
            Node::Binary(binary) => self.binary(binary, place),
            Node::Negate(inner) | Node::Group(inner, Wrapping::Plus) => self.unary(inner, place),
            Node::Group(inner, Wrapping::Parentheses) => self.expression(inner),
        }
    }

    fn selector(&self, selector: &Selector, place: Place) -> Result<(), ParseError> {
        if selector.matchers.iter().any(|m| !m.matches("")) {
            return Ok(());
        }
        let message = "vector selector must contain at least one non-empty matcher";
        Err(self.error(place, message))
    }

    fn subquery(&self, subquery: &mut Subquery, place: Place) -> Result<ValueType, ParseError> {
        let found = self.expression(&mut subquery.inner)?;
        if found == ValueType::Vector {
            return Ok(ValueType::Matrix);
        }
        let found = type_name(found);
        let message = format!("subquery is only allowed on instant vector, got {found} instead");
        Err(self.error(place, message))
    }

    fn unary(&self, inner: &mut Expression, place: Place) -> Result<ValueType, ParseError> {
        let found = self.expression(inner)?;
        if matches!(found, ValueType::Scalar | ValueType::Vector) {
            return Ok(found);
        }
        let message = format!(
            "unary expression only allowed on expressions of type scalar or instant vector, \
             got {:?}",
            found.name()
        );
        Err(self.error(place, message))
    }

    fn aggregate(&self, aggregate: &mut Aggregate) -> Result<ValueType, ParseError> {
        let context = "aggregation expression";
        self.expect_type(&mut aggregate.inner, ValueType::Vector, context)?;
        if let (Some(wanted), Some(parameter)) =
            (aggregate.operator.parameter(), &mut aggregate.parameter)
        {
            self.expect_type(parameter, wanted, "aggregation parameter")?;
        }
        Ok(ValueType::Vector)
    }

    fn expect_type(
        &self,
        expression: &mut Expression,
        wanted: ValueType,
        context: &str,
    ) -> Result<(), ParseError> {
        let found = self.expression(expression)?;
        if found == wanted {
            return Ok(());
        }
        let (wanted, found) = (wanted.name(), found.name());
        let message = format!("expected type {wanted} in {context}, got {found}");
        Err(self.error(expression.place, message))
    }

    fn call(
        &self,
        function: &Function,
        arguments: &mut [Expression],
        place: Place,
    ) -> Result<ValueType, ParseError> {
        self.count_arguments(function, arguments.len(), place)?;
        let context = format!("call to function {:?}", function.name);
        let is_info = function.id == FunctionId::Info;
        for (i, argument) in arguments.iter_mut().enumerate() {
            if is_info && i == 1 {
                self.label_selector(argument)?;
                continue;
            }
            // An argument that may be repeated is the last one of the table.
            let wanted = function.arguments.get(i).or(function.arguments.last());
            if let Some(wanted) = wanted {
                self.expect_type(argument, *wanted, &context)?;
            }
        }
        Ok(function.returns)
    }

    fn count_arguments(
        &self,
        function: &Function,
        found: usize,
        place: Place,
    ) -> Result<(), ParseError> {
        let most = function.arguments.len();
        let least = most.saturating_sub(function.optional);
        let expected = if least == most && !function.repeats && found != most {
            format!("{most}")
        } else if found < least {
            format!("at least {least}")
        } else if found > most && !function.repeats {
            format!("at most {most}")
        } else {
            return Ok(());
        };
        let name = function.name;
        let message = format!("expected {expected} argument(s) in call to {name:?}, got {found}");
        Err(self.error(place, message))
    }

    /// The second argument of `info`: it selects labels, so it may well take every series.
    fn label_selector(&self, argument: &Expression) -> Result<(), ParseError> {
        let message = match &argument.node {
            Node::Vector(selector) if selector.name.is_none() => return Ok(()),
            Node::Vector(_) => "expected label selectors only, got vector selector instead",
            _ => "expected label selectors only",
        };
        Err(self.error(argument.place, message))
    }

    fn binary(&self, binary: &mut Binary, place: Place) -> Result<ValueType, ParseError> {
        let left = self.expression(&mut binary.left)?;
        let right = self.expression(&mut binary.right)?;
        let operator = binary.operator;
        let is_scalar = [left, right] == [ValueType::Scalar; 2];
        if binary.returns_bool && !operator.is_comparison() {
            let message = "bool modifier can only be used on comparison operators";
            return Err(self.error(self.place_of_operator(binary), message));
        }
        if operator.is_comparison() && !binary.returns_bool && is_scalar {
            let message = "comparisons between scalars must use BOOL modifier";
            return Err(self.error(self.place_of_operator(binary), message));
        }
        self.no_label_twice(binary)?;
        for (side, found) in [(&binary.left, left), (&binary.right, right)] {
            if !matches!(found, ValueType::Scalar | ValueType::Vector) {
                let message = "binary expression must contain only scalar and instant vector types";
                return Err(self.error(side.place, message));
            }
        }
        let name = operator.as_str();
        let has_scalar = left == ValueType::Scalar || right == ValueType::Scalar;
        let message = if has_scalar && !binary.matching.labels.is_empty() {
            "vector matching only allowed between instant vectors".to_owned()
        } else if has_scalar && operator.is_set() {
            format!("set operator {name:?} not allowed in binary scalar expression")
        } else if operator.is_set() && binary.matching.cardinality != Cardinality::ManyToMany {
            format!("no grouping allowed for {name:?} operation")
        } else {
            if has_scalar {
                binary.matching = Matching::default();
            }
            return Ok(if is_scalar {
                ValueType::Scalar
            } else {
                ValueType::Vector
            });
        };
        Err(self.error(place, message))
    }

    fn no_label_twice(&self, binary: &Binary) -> Result<(), ParseError> {
        let matching = &binary.matching;
        let include: HashSet<&String> = matching.include.iter().collect();
        let mut labels = matching.labels.iter().filter(|_| matching.on);
        let Some(label) = labels.find(|label| include.contains(label)) else {
            return Ok(());
        };
        let message = format!("label {label:?} must not occur in ON and GROUP clause at once");
        Err(self.error(self.place_of_operator(binary), message))
    }

    /// The operator with its modifiers.
    fn place_of_operator(&self, binary: &Binary) -> Place {
        let (start, end) = (binary.left.place.end, binary.right.place.start);
        let between = self.text.get(start as usize..end as usize).unwrap_or("");
        let blanks = between.len() - between.trim_start().len();
        Place {
            start: start + blanks as u32,
            end: start + between.trim_end().len() as u32,
        }
    }
}
