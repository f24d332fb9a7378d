//! Which series a comparison looks at, whether it holds for them or not.

use super::expression::{Expression, Node, ValueType};

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

#[cfg(test)]
mod tests {
    use super::*;

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
