//! Which series a comparison looks at, whether it holds for them or not.

use super::{
    expression::{Expression, Node, ValueType},
    function::FunctionId,
};

/// The same comparison with `bool`: it yields 0 where the original leaves a series out. `None` unless the outermost
/// operator compares a vector with something.
pub fn comparison_as_bool(expression: &Expression) -> Option<Expression> {
    match &expression.node {
        Node::Group(inner, _) => comparison_as_bool(inner),
        Node::Binary(binary)
            if binary.operator.is_comparison()
                && !binary.returns_bool
                && expression.value_type() == ValueType::Vector =>
        {
            let mut told = expression.clone();
            if let Node::Binary(binary) = &mut told.node {
                binary.returns_bool = true;
            }
            Some(told)
        }
        _ => None,
    }
}

/// Whether each row comes of one series alone: no aggregation, no matching of vectors, nothing that looks at the absence
/// of others. Of such an expression a row that is there says all that there is to know; of any other, a part of its
/// series may be missing.
pub fn is_of_single_series(expression: &Expression) -> bool {
    match &expression.node {
        Node::Number(_) | Node::Text(_) | Node::Vector(_) | Node::Matrix(..) => true,
        Node::Aggregate(_) => false,
        Node::Group(inner, _) | Node::Negate(inner) => is_of_single_series(inner),
        Node::Subquery(subquery) => is_of_single_series(&subquery.inner),
        Node::Binary(binary) => {
            let sides = [&binary.left, &binary.right];
            let vectors = sides
                .iter()
                .filter(|side| side.value_type() == ValueType::Vector);
            vectors.count() < 2 && sides.into_iter().all(is_of_single_series)
        }
        Node::Call(function, arguments) => {
            let joins = matches!(
                function.id,
                FunctionId::Absent
                    | FunctionId::AbsentOverTime
                    | FunctionId::ScalarOf
                    | FunctionId::HistogramQuantile
                    | FunctionId::HistogramQuantiles
                    | FunctionId::HistogramFraction
            );
            !joins && arguments.iter().all(is_of_single_series)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_of_several_series_is_told_from_one_of_a_single_series() {
        for (text, is_single) in [
            ("a > 1", true),
            ("-rate(a[5m]) * 2 > 1", true),
            ("max_over_time(a[5m:1m]) > 1", true),
            ("sum(a) > 1", false),
            ("a / b > 1", false),
            ("a > scalar(b)", false),
            ("histogram_quantile(0.9, a) > 1", false),
            ("sum_over_time(sum(a)[5m:1m]) > 1", false),
        ] {
            let expression = crate::query::parse(text).unwrap();
            assert_eq!(is_of_single_series(&expression), is_single, "{text}");
        }
    }

    #[test]
    fn only_a_comparison_of_series_tells_which_it_looks_at() {
        for (text, has_some) in [
            ("a > 1", true),
            ("(a / b) >= on(x) c", true),
            ("(1 < a)", true),
            ("a > bool 1", false),
            ("a and b", false),
            ("absent(a)", false),
            ("1 > bool 2", false),
        ] {
            let expression = crate::query::parse(text).unwrap();
            let told = comparison_as_bool(&expression);
            assert_eq!(told.is_some(), has_some, "{text}");
        }
    }
}
