//! Expressions with `&&`, `||`, `!` and parentheses, brought into postfix order with a stack of their own. Source:
//! E. W. Dijkstra's shunting yard, Mathematisch Centrum MR 34, 1961.

use super::expression::QueryError;

/// Parentheses and negations that may be open at once.
const DEPTH_MAX: usize = 64;

/// One step of an expression in postfix order.
#[derive(Clone, Debug)]
pub(super) enum Step<T> {
    Operand(T),
    And,
    Or,
    Not,
}

impl<T> Step<T> {
    pub(super) const fn operand(&self) -> Option<&T> {
        match self {
            Self::Operand(operand) => Some(operand),
            _ => None,
        }
    }
}

/// Works an expression out; an empty one is `nothing`.
pub(super) fn evaluate<'a, T, V>(
    steps: &'a [Step<T>],
    nothing: V,
    mut operand: impl FnMut(&'a T) -> V,
    and: impl Fn(V, V) -> V,
    or: impl Fn(V, V) -> V,
    not: impl Fn(V) -> V,
) -> V {
    let mut stack: Vec<V> = Vec::new();
    for step in steps {
        let value = match step {
            Step::Operand(of) => Some(operand(of)),
            Step::Not => stack.pop().map(&not),
            Step::And => joined(&mut stack, &and),
            Step::Or => joined(&mut stack, &or),
        };
        stack.extend(value);
    }
    stack.pop().unwrap_or(nothing)
}

fn joined<V>(stack: &mut Vec<V>, join: impl Fn(V, V) -> V) -> Option<V> {
    let right = stack.pop()?;
    let left = stack.pop()?;
    Some(join(left, right))
}

#[derive(Debug)]
enum Pending {
    And,
    Or,
    Not,
    /// A parenthesis that began there.
    Paren(usize),
}

/// An expression that is being read.
#[derive(Debug)]
pub(super) struct Yard<T> {
    steps: Vec<Step<T>>,
    pending: Vec<Pending>,
    /// After an operand; else one is to come.
    is_complete: bool,
}

impl<T> Yard<T> {
    pub(super) const fn new() -> Self {
        Self {
            steps: Vec::new(),
            pending: Vec::new(),
            is_complete: false,
        }
    }

    /// Whether a value is to come next.
    pub(super) const fn wants_operand(&self) -> bool {
        !self.is_complete
    }

    pub(super) fn operand(&mut self, operand: T, column: usize) -> Result<(), QueryError> {
        self.begin_operand(column)?;
        self.steps.push(Step::Operand(operand));
        self.end_operand();
        Ok(())
    }

    fn begin_operand(&self, column: usize) -> Result<(), QueryError> {
        if self.is_complete {
            return Err(QueryError::new(column, "`&&` or `||` is missing before it"));
        }
        Ok(())
    }

    fn end_operand(&mut self) {
        self.is_complete = true;
        while let Some(Pending::Not) = self.pending.last() {
            self.pending.pop();
            self.steps.push(Step::Not);
        }
    }

    fn open(&mut self, pending: Pending, column: usize) -> Result<(), QueryError> {
        if self.pending.len() >= 2 * DEPTH_MAX {
            let what = format!("more than {DEPTH_MAX} parentheses or negations within each other");
            return Err(QueryError::new(column, what));
        }
        self.pending.push(pending);
        Ok(())
    }

    pub(super) fn not(&mut self, column: usize) -> Result<(), QueryError> {
        self.begin_operand(column)?;
        self.open(Pending::Not, column)
    }

    pub(super) fn paren_open(&mut self, column: usize) -> Result<(), QueryError> {
        self.begin_operand(column)?;
        self.open(Pending::Paren(column), column)
    }

    pub(super) fn paren_close(&mut self, column: usize) -> Result<(), QueryError> {
        self.check_complete(column)?;
        self.unwind(|pending| !matches!(pending, Pending::Paren(_)));
        if self.pending.pop().is_none() {
            return Err(QueryError::new(column, "`)` closes nothing"));
        }
        self.end_operand();
        Ok(())
    }

    pub(super) fn and(&mut self, column: usize) -> Result<(), QueryError> {
        self.check_complete(column)?;
        self.unwind(|pending| matches!(pending, Pending::And));
        self.is_complete = false;
        self.open(Pending::And, column)
    }

    pub(super) fn or(&mut self, column: usize) -> Result<(), QueryError> {
        self.check_complete(column)?;
        self.unwind(|pending| matches!(pending, Pending::And | Pending::Or));
        self.is_complete = false;
        self.open(Pending::Or, column)
    }

    fn check_complete(&self, column: usize) -> Result<(), QueryError> {
        if self.is_complete {
            Ok(())
        } else {
            Err(QueryError::new(column, "something is missing before it"))
        }
    }

    fn unwind(&mut self, goes: impl Fn(&Pending) -> bool) {
        while let Some(pending) = self.pending.pop_if(|pending| goes(pending)) {
            self.steps.push(match pending {
                Pending::And => Step::And,
                Pending::Or => Step::Or,
                Pending::Not | Pending::Paren(_) => Step::Not,
            });
        }
    }

    /// The expression, which ends there. Nothing at all is an empty one.
    pub(super) fn finish(mut self, column: usize) -> Result<Vec<Step<T>>, QueryError> {
        if self.steps.is_empty() && self.pending.is_empty() {
            return Ok(self.steps);
        }
        self.check_complete(column)?;
        self.unwind(|pending| !matches!(pending, Pending::Paren(_)));
        match self.pending.pop() {
            Some(Pending::Paren(opened)) => Err(QueryError::new(opened, "`(` is not closed")),
            _ => Ok(self.steps),
        }
    }
}
