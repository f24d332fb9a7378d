//! Tree -> text over several lines.
//!
//! Source: Prometheus, `promql/parser/prettier.go`.

use std::fmt::{self, Write};

use super::{
    expression::{Aggregate, Binary, Expression, Node, Wrapping},
    print::{AggregateHead, BinaryHead, Window},
};

/// Longest line that is left as it is, in bytes.
const LINE_BYTES_MAX: usize = 100;

/// The expression with long parts split over lines, two blanks more for each level.
pub fn pretty(expression: &Expression) -> String {
    pretty_within(expression, LINE_BYTES_MAX)
}

fn pretty_within(expression: &Expression, line_bytes_max: usize) -> String {
    let mut printer = Printer {
        out: String::new(),
        line_bytes_max,
    };
    // Writing to a `String` does not fail.
    let _ = printer.expression(expression, 0);
    printer.out
}

struct Printer {
    out: String,
    line_bytes_max: usize,
}

impl Printer {
    fn indent(&mut self, level: usize) {
        self.out.extend(std::iter::repeat_n("  ", level));
    }

    fn fits(&self, expression: &Expression) -> bool {
        let mut room = Room(self.line_bytes_max);
        write!(room, "{expression}").is_ok()
    }

    fn expression(&mut self, expression: &Expression, level: usize) -> fmt::Result {
        self.indent(level);
        self.indented(expression, level)
    }

    /// The expression, after its indentation.
    fn indented(&mut self, expression: &Expression, level: usize) -> fmt::Result {
        if self.fits(expression) {
            return write!(self.out, "{expression}");
        }
        match &expression.node {
            Node::Subquery(subquery) => {
                self.indented(&subquery.inner, level)?;
                write!(self.out, "{}", Window(subquery))
            }
            Node::Call(function, arguments) => {
                self.out.push_str(function.name);
                self.block(arguments, level)
            }
            Node::Aggregate(aggregate) => self.aggregate(aggregate, level),
            Node::Binary(binary) => self.binary(binary, level),
            Node::Negate(inner) => self.unary('-', inner, level),
            Node::Group(inner, Wrapping::Plus) => self.unary('+', inner, level),
            Node::Group(inner, Wrapping::Parentheses) => {
                self.block(std::slice::from_ref(&**inner), level)
            }
            _ => write!(self.out, "{expression}"),
        }
    }

    /// Parentheses around parts that have a line of their own each.
    fn block<'a>(
        &mut self,
        parts: impl IntoIterator<Item = &'a Expression>,
        level: usize,
    ) -> fmt::Result {
        self.out.push('(');
        for (i, part) in parts.into_iter().enumerate() {
            self.out.push_str(if i == 0 { "\n" } else { ",\n" });
            self.expression(part, level + 1)?;
        }
        self.out.push('\n');
        self.indent(level);
        self.out.push(')');
        Ok(())
    }

    fn aggregate(&mut self, aggregate: &Aggregate, level: usize) -> fmt::Result {
        write!(self.out, "{}", AggregateHead(aggregate))?;
        let parameter = aggregate.parameter.as_ref();
        self.block(parameter.into_iter().chain([&aggregate.inner]), level)
    }

    /// The sign stands right before its operand, in the place of the operand's own indentation.
    fn unary(&mut self, sign: char, inner: &Expression, level: usize) -> fmt::Result {
        self.out.push(sign);
        let start = self.out.len();
        self.indented(inner, level)?;
        let written = self.out.split_off(start);
        self.out.push_str(written.trim_start());
        Ok(())
    }

    /// The operator stands on its own line, the sides one level deeper.
    fn binary(&mut self, binary: &Binary, level: usize) -> fmt::Result {
        // The line is indented for the operator; the left side stands deeper.
        self.indent(1);
        self.indented(&binary.left, level + 1)?;
        self.out.push('\n');
        self.indent(level);
        writeln!(self.out, "{}", BinaryHead(binary))?;
        self.expression(&binary.right, level + 1)
    }
}

/// Takes so many bytes and no more, so that a long expression is not written to be measured.
struct Room(usize);

impl Write for Room {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0 = self.0.checked_sub(text.len()).ok_or(fmt::Error)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::query::syntax::parser::parse;

    /// With lines of ten bytes.
    #[track_caller]
    fn check(text: &str, lines: &[&str]) {
        let expression = parse(text).unwrap();
        let found = pretty_within(&expression, 10);
        assert_eq!(found.lines().collect::<Vec<_>>(), lines, "{text}");
        let again = parse(&found).unwrap();
        assert_eq!(again.to_string(), expression.to_string());
    }

    #[test]
    fn short_expressions_stay_on_a_line() {
        for text in ["a + b", "sum(foo)", "(foo)", "a @ 1.000", "-1", "(1 + 2)"] {
            check(text, &[text]);
        }
        let text = "sum by (job) (rate(http_requests_total{code=\"500\"}[5m]))";
        assert_eq!(pretty(&parse(text).unwrap()), text);
    }

    #[test]
    fn sides_stand_deeper_than_the_operator() {
        check(
            "foo_1 + ignoring(foo) foo_2 * on(job) group_left bar_3",
            &[
                "  foo_1",
                "+ ignoring (foo)",
                "    foo_2",
                "  * on (job) group_left ()",
                "    bar_3",
            ],
        );
        check(
            "foo_1 + foo_2 + foo_3",
            &["    foo_1", "  +", "    foo_2", "+", "  foo_3"],
        );
        check("foo == bool 1", &["  foo", "== bool", "  1"]);
        check(
            "(foo_long + bar_long)",
            &["(", "    foo_long", "  +", "    bar_long", ")"],
        );
    }

    #[test]
    fn parts_in_parentheses_stand_deeper() {
        check(
            "topk(10, sum(task:errors:rate10s) without(job, foo))",
            &[
                "topk(",
                "  10,",
                "  sum without (job, foo) (",
                "    task:errors:rate10s",
                "  )",
                ")",
            ],
        );
        check(
            "-histogram_quantile(0.9, -rate(foo[1m] @ start()))",
            &[
                "-histogram_quantile(",
                "  0.9,",
                "  -rate(",
                "    foo[1m] @ start()",
                "  )",
                ")",
            ],
        );
        check(
            "max_over_time(rate(demo_count[1m])[1m:] @ start() offset 1m)",
            &[
                "max_over_time(",
                "  rate(",
                "    demo_count[1m]",
                "  )[1m:] @ start() offset 1m",
                ")",
            ],
        );
        check("-foo_long ^ 2", &["-foo_long", "^", "  2"]);
        check(
            "((_foo_long_))",
            &["(", "  (", "    _foo_long_", "  )", ")"],
        );
    }
}
