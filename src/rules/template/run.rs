//! Fills a parsed template in.

use super::{
    Facts, STEPS_MAX, TEXT_BYTES_MAX, TemplateError, VALUE_BYTES_MAX, calls, error, functions,
    parse::{Base, Block, Operand, Piece, Pipeline},
    value::Value,
};

/// How a run of pieces ended.
#[derive(PartialEq, Eq)]
enum Flow {
    Through,
    Break,
    Continue,
}

struct Run<'a> {
    facts: &'a Facts<'a>,
    root: Value,
    variables: Vec<(String, Value)>,
    out: String,
    steps: usize,
}

/// Values at hand must stay small: `print $x $x` over and over would double them without end.
fn check_size<'v>(values: impl Iterator<Item = &'v Value>) -> Result<(), TemplateError> {
    if values.map(Value::bytes).sum::<usize>() > VALUE_BYTES_MAX {
        return error(format!(
            "takes more than {VALUE_BYTES_MAX} bytes for a value"
        ));
    }
    Ok(())
}

/// Fills pieces in.
pub(super) fn run<'n>(
    pieces: &[Piece],
    dot: &Value,
    given: impl Iterator<Item = (&'n str, Value)>,
    facts: &Facts<'_>,
) -> Result<String, TemplateError> {
    let mut run = Run {
        facts,
        root: dot.clone(),
        variables: given
            .map(|(name, value)| (name.to_owned(), value))
            .collect(),
        out: String::new(),
        steps: 0,
    };
    run.pieces(pieces, dot)?;
    Ok(run.out)
}

impl Run<'_> {
    fn step(&mut self) -> Result<(), TemplateError> {
        self.steps += 1;
        if self.steps > STEPS_MAX || self.out.len() > TEXT_BYTES_MAX {
            return error(format!(
                "takes more than {STEPS_MAX} steps or {TEXT_BYTES_MAX} bytes of text"
            ));
        }
        Ok(())
    }

    fn pieces(&mut self, pieces: &[Piece], dot: &Value) -> Result<Flow, TemplateError> {
        let known = self.variables.len();
        for piece in pieces {
            self.step()?;
            let flow = match piece {
                Piece::Text(text) => {
                    self.out.push_str(text);
                    Flow::Through
                }
                Piece::Print(pipeline) => {
                    let value = self.pipeline(pipeline, dot)?;
                    if pipeline.variables.is_empty() {
                        self.out.push_str(&value.show());
                    }
                    Flow::Through
                }
                Piece::If(block) => self.choose(block, dot, false)?,
                Piece::With(block) => self.choose(block, dot, true)?,
                Piece::Range(block) => self.range(block, dot)?,
                Piece::Break => Flow::Break,
                Piece::Continue => Flow::Continue,
            };
            if flow != Flow::Through {
                self.variables.truncate(known);
                return Ok(flow);
            }
        }
        // What a block declares ends with it.
        self.variables.truncate(known);
        Ok(Flow::Through)
    }

    fn choose(
        &mut self,
        block: &Block,
        dot: &Value,
        moves_dot: bool,
    ) -> Result<Flow, TemplateError> {
        let known = self.variables.len();
        let value = self.pipeline(&block.head, dot)?;
        let flow = match (value.is_true(), moves_dot) {
            (true, true) => self.pieces(&block.body, &value)?,
            (true, false) => self.pieces(&block.body, dot)?,
            (false, _) => self.pieces(&block.otherwise, dot)?,
        };
        self.variables.truncate(known);
        Ok(flow)
    }

    fn range(&mut self, block: &Block, dot: &Value) -> Result<Flow, TemplateError> {
        let known = self.variables.len();
        let head = &block.head;
        let over = self.commands(&head.commands, dot)?;
        let items = items(over)?;
        if items.is_empty() {
            return self.pieces(&block.otherwise, dot);
        }
        for (key, item) in items {
            self.step()?;
            self.variables.truncate(known);
            match head.variables.as_slice() {
                [name] => self.set(head, name, item.clone())?,
                [index, name] => {
                    self.set(head, index, key)?;
                    self.set(head, name, item.clone())?;
                }
                _ => {}
            }
            if self.pieces(&block.body, &item)? == Flow::Break {
                break;
            }
        }
        self.variables.truncate(known);
        Ok(Flow::Through)
    }

    fn set(&mut self, pipeline: &Pipeline, name: &str, value: Value) -> Result<(), TemplateError> {
        if pipeline.declares {
            self.variables.push((name.to_owned(), value));
            return Ok(());
        }
        match self
            .variables
            .iter_mut()
            .rev()
            .find(|(known, _)| known == name)
        {
            Some((_, place)) => {
                *place = value;
                Ok(())
            }
            None => error(format!("undefined variable {name:?}")),
        }
    }

    fn pipeline(&mut self, pipeline: &Pipeline, dot: &Value) -> Result<Value, TemplateError> {
        let value = self.commands(&pipeline.commands, dot)?;
        if let Some(name) = pipeline.variables.first() {
            self.set(pipeline, name, value.clone())?;
        }
        Ok(value)
    }

    fn commands(&mut self, commands: &[Vec<Operand>], dot: &Value) -> Result<Value, TemplateError> {
        let mut last = None;
        for command in commands {
            last = Some(self.command(command, dot, last)?);
        }
        Ok(last.unwrap_or(Value::Nil))
    }

    fn command(
        &mut self,
        command: &[Operand],
        dot: &Value,
        last: Option<Value>,
    ) -> Result<Value, TemplateError> {
        self.step()?;
        let Some((first, rest)) = command.split_first() else {
            return error("missing value for command");
        };
        if let Base::Function(name) = &first.base
            && ["and", "or"].contains(&name.as_str())
        {
            return self.first_that(name == "or", rest, dot, last);
        }
        let mut arguments = Vec::with_capacity(rest.len() + 1);
        for operand in rest {
            arguments.push(self.operand(operand, dot, Vec::new())?);
        }
        let takes = matches!(first.base, Base::Function(_)) || !first.fields.is_empty();
        if !takes && (!arguments.is_empty() || last.is_some()) {
            return error("can't give argument to non-function");
        }
        arguments.extend(last);
        check_size(arguments.iter())?;
        let value = self.operand(first, dot, arguments)?;
        check_size([&value].into_iter())?;
        Ok(value)
    }

    /// `and` and `or` look at no more arguments than they need.
    fn first_that(
        &mut self,
        wanted: bool,
        operands: &[Operand],
        dot: &Value,
        last: Option<Value>,
    ) -> Result<Value, TemplateError> {
        let mut value = None;
        for operand in operands {
            let found = self.operand(operand, dot, Vec::new())?;
            if found.is_true() == wanted {
                return Ok(found);
            }
            value = Some(found);
        }
        match last.or(value) {
            Some(value) => Ok(value),
            None => error("wrong number of args for and/or: want at least 1 got 0"),
        }
    }

    /// The value of an operand. Arguments go to its function or, where it has fields, to the method that is the last
    /// of them.
    fn operand(
        &mut self,
        operand: &Operand,
        dot: &Value,
        arguments: Vec<Value>,
    ) -> Result<Value, TemplateError> {
        let has_fields = !operand.fields.is_empty();
        let (own, of_method) = if has_fields {
            (Vec::new(), arguments)
        } else {
            (arguments, Vec::new())
        };
        let mut value = match &operand.base {
            Base::Dot => dot.clone(),
            Base::Constant(value) => value.clone(),
            Base::Variable(name) if name == "$" => self.root.clone(),
            Base::Variable(name) => {
                let found = self.variables.iter().rev().find(|(known, _)| known == name);
                found.map_or(Value::Nil, |(_, value)| value.clone())
            }
            Base::Function(name) => functions::call(name, &own, self.facts)?,
            Base::Inner(pipeline) => self.commands(&pipeline.commands, dot)?,
        };
        let Some((last, before)) = operand.fields.split_last() else {
            return Ok(value);
        };
        for field in before {
            value = calls::method(&value, field, &[]).unwrap_or_else(|| value.field(field))?;
        }
        match calls::method(&value, last, &of_method) {
            Some(called) => called,
            None if of_method.is_empty() => value.field(last),
            None => error(format!("{last} is not a method but has arguments")),
        }
    }
}

fn items(over: Value) -> Result<Vec<(Value, Value)>, TemplateError> {
    Ok(match over {
        Value::Nil => Vec::new(),
        Value::List(list) => {
            let numbered = list.into_iter().enumerate();
            numbered
                .map(|(at, item)| (Value::Int(at as i64), item))
                .collect()
        }
        Value::Labels(map) => map
            .into_iter()
            .map(|(key, value)| (Value::Text(key), Value::Text(value)))
            .collect(),
        Value::Int(count) if (0..=STEPS_MAX as i64).contains(&count) => {
            (0..count).map(|n| (Value::Int(n), Value::Int(n))).collect()
        }
        other => return error(format!("range can't iterate over {}", other.show())),
    })
}
