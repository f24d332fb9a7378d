//! The naive evaluator: one step at a time, everything looked up anew, no thought of speed.

use std::{
    cell::RefCell,
    collections::BTreeMap,
    fmt::{self, Debug, Formatter},
};

use regex::Regex;

use super::{
    aggregate,
    number::{Num, Trouble},
    operator,
    tree::{At, Expr, Moment, Ms, Range, Selector},
    window::Window,
};

/// Bits of the NaN that ends a series.
const STALE: u64 = 0x7ff0_0000_0000_0002;
const LOOKBACK: Ms = 300_000;
const SUBQUERY_STEP: Ms = 60_000;

pub(super) type Tags = BTreeMap<String, String>;

/// One series of the data.
#[derive(Clone)]
pub(super) struct Stored {
    pub(super) tags: Tags,
    /// Milliseconds, ascending, and values.
    pub(super) samples: Vec<(Ms, f64)>,
}

/// On one line, however a failure is printed.
impl Debug for Stored {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Self { tags, samples } = self;
        write!(f, "{tags:?} {samples:?}")
    }
}

/// One series of a vector at a step.
#[derive(Clone, Debug)]
pub(super) struct Row {
    /// Labels, the metric's name among them even where it no longer applies.
    pub(super) tags: Tags,
    /// Whether the name goes once everything is worked out.
    pub(super) drop_name: bool,
    pub(super) value: Num,
}

impl Row {
    /// The labels that are shown.
    pub(super) fn shown(&self) -> Tags {
        let mut tags = self.tags.clone();
        if self.drop_name {
            tags.remove("__name__");
        }
        tags
    }

    fn unnamed(&self, value: Num) -> Self {
        Self {
            tags: self.tags.clone(),
            drop_name: true,
            value,
        }
    }
}

/// One series of a range.
pub(super) struct Stretch {
    pub(super) tags: Tags,
    pub(super) drop_name: bool,
    pub(super) samples: Vec<(Ms, Num)>,
}

/// A query under evaluation.
pub(super) struct Naive<'d> {
    pub(super) data: &'d [Stored],
    /// First and last step of the query, which `start()` and `end()` name.
    pub(super) start: Ms,
    pub(super) end: Ms,
    /// First and last step of what is evaluated here: of the query, or of a subquery.
    pub(super) reach: (Ms, Ms),
    pub(super) names: &'d Names,
}

/// Whether the series that a part of the expression yields lose their names.
pub(super) type Names = RefCell<BTreeMap<(usize, Tags), bool>>;

impl Naive<'_> {
    /// The number of an expression of type scalar.
    pub(super) fn scalar(&self, expr: &Expr, step: Ms) -> Result<Num, Trouble> {
        match expr {
            Expr::Number(number) => Ok(Num::exact(*number)),
            Expr::Time => Ok(Num::exact(step as f64 / 1000.0)),
            Expr::Scalar(inner) => Ok(match self.vector(inner, step)?.as_slice() {
                [only] => only.value,
                _ => Num::exact(f64::NAN),
            }),
            Expr::Negate(inner) => Ok(self.scalar(inner, step)?.through(|value| -value)),
            Expr::Binary(binary) => {
                let left = self.scalar(&binary.left, step)?;
                let right = self.scalar(&binary.right, step)?;
                operator::of_numbers(binary.operator, left, right)
            }
            _ => panic!("{expr} is no scalar"),
        }
    }

    /// The series of an expression of type vector.
    pub(super) fn vector(&self, expr: &Expr, step: Ms) -> Result<Vec<Row>, Trouble> {
        match expr {
            Expr::Selector(selector) => {
                let mut rows = Vec::new();
                for (tags, _, value) in self.newest(selector, step) {
                    let drop_name = false;
                    rows.push(Row {
                        tags,
                        drop_name,
                        value: Num::exact(value),
                    });
                }
                Ok(rows)
            }
            Expr::Vector(inner) => {
                let value = self.scalar(inner, step)?;
                Ok(vec![Row {
                    tags: Tags::new(),
                    drop_name: false,
                    value,
                }])
            }
            Expr::Negate(inner) => {
                let rows = self.vector(inner, step)?;
                let negated = rows
                    .iter()
                    .map(|row| row.unnamed(row.value.through(|v| -v)));
                Ok(negated.collect())
            }
            Expr::OverTime(name, parameter, range) => {
                self.over_time(name, parameter.as_deref(), range, step)
            }
            Expr::AbsentOverTime(range) => {
                let is_absent = self.stretches(range, step)?.is_empty();
                Ok(absent(
                    is_absent,
                    match range {
                        Range::Selected(selector, _) => named_by(selector),
                        Range::Subquery(..) => Tags::new(),
                    },
                ))
            }
            Expr::Absent(selector) => {
                let is_absent = self.newest(selector, step).is_empty();
                Ok(absent(is_absent, named_by(selector)))
            }
            Expr::Call("timestamp", inner, _) => self.timestamps(inner, step),
            Expr::Call(name, inner, scalars) => self.elementwise(name, inner, scalars, step),
            Expr::Binary(binary) => operator::of_vectors(self, binary, step),
            Expr::Aggregate(aggregate) => {
                self.check_names(aggregate, aggregate::aggregate(self, aggregate, step)?)
            }
            Expr::Number(_) | Expr::Time | Expr::Scalar(_) => panic!("{expr} is no vector"),
        }
    }

    /// One series may have its name at some steps only: `a or -a` where one side has gaps. Whether it has it in the answer is
    /// decided by the first step or the last one then, which is an accident of how Prometheus is built.
    pub(super) fn check_names<T>(&self, part: &T, rows: Vec<Row>) -> Result<Vec<Row>, Trouble> {
        let mut names = self.names.borrow_mut();
        for row in &rows {
            let key = (std::ptr::from_ref(part).addr(), row.tags.clone());
            if *names.entry(key).or_insert(row.drop_name) != row.drop_name {
                return Err(Trouble::Undecided);
            }
        }
        Ok(rows)
    }

    /// The moment that a selector or subquery looks at.
    fn moment(&self, moment: Moment, step: Ms) -> Ms {
        let at = match moment.at {
            None => step,
            Some(At::Time(ms)) => ms,
            Some(At::Start) => self.start,
            Some(At::End) => self.end,
        };
        at - moment.offset
    }

    fn selected<'s>(&'s self, selector: &'s Selector) -> impl Iterator<Item = &'s Stored> {
        self.data.iter().filter(|stored| {
            selector.matchers.iter().all(|(label, operator, wanted)| {
                let value = stored.tags.get(*label).map_or("", String::as_str);
                match *operator {
                    "=" => value == *wanted,
                    "!=" => value != *wanted,
                    "=~" => matches(wanted, value),
                    _ => !matches(wanted, value),
                }
            })
        })
    }

    /// The newest sample of each series in the five minutes that end at the moment, unless the series has ended.
    fn newest(&self, selector: &Selector, step: Ms) -> Vec<(Tags, Ms, f64)> {
        let moment = self.moment(selector.moment, step);
        let mut found = Vec::new();
        for stored in self.selected(selector) {
            let mut newest = None;
            for (time, value) in &stored.samples {
                if *time > moment - LOOKBACK && *time <= moment {
                    newest = Some((*time, *value));
                }
            }
            if let Some((time, value)) = newest
                && value.to_bits() != STALE
            {
                found.push((stored.tags.clone(), time, value));
            }
        }
        found
    }

    /// The series of a range with their samples in the window that ends at the step; those without any left out.
    pub(super) fn stretches(&self, range: &Range, step: Ms) -> Result<Vec<Stretch>, Trouble> {
        let (from, to) = self.borders(range, step);
        match range {
            Range::Selected(selector, _) => {
                let mut stretches = Vec::new();
                for stored in self.selected(selector) {
                    let mut samples = Vec::new();
                    for (time, value) in &stored.samples {
                        if *time > from && *time <= to && value.to_bits() != STALE {
                            samples.push((*time, Num::exact(*value)));
                        }
                    }
                    if !samples.is_empty() {
                        let tags = stored.tags.clone();
                        stretches.push(Stretch {
                            tags,
                            drop_name: false,
                            samples,
                        });
                    }
                }
                Ok(stretches)
            }
            Range::Subquery(inner, _, inner_step, _) => {
                let inner_step = inner_step.unwrap_or(SUBQUERY_STEP);
                self.subquery(inner, inner_step, range, step)
            }
        }
    }

    fn subquery(
        &self,
        inner: &Expr,
        inner_step: Ms,
        range: &Range,
        step: Ms,
    ) -> Result<Vec<Stretch>, Trouble> {
        // Steps of a subquery are multiples of its step.
        let after = |time: Ms| (time / inner_step + 1) * inner_step;
        let first = after(self.borders(range, self.reach.0).0);
        let last = self.borders(range, self.reach.1).1;
        let within = Naive {
            reach: (first, last / inner_step * inner_step),
            ..*self
        };
        if step == self.reach.0 {
            // It is one range query, which fails for a moment between two windows as well.
            for time in (first..=last).step_by(inner_step as usize) {
                within.vector(inner, time)?;
            }
        }
        let (from, to) = self.borders(range, step);
        let mut stretches: Vec<Stretch> = Vec::new();
        for time in (after(from)..=to).step_by(inner_step as usize) {
            for row in within.vector(inner, time)? {
                let sample = (time, row.value);
                match stretches.iter_mut().find(|known| known.tags == row.tags) {
                    Some(known) if known.samples.last().unwrap().0 == time => {
                        return Err(Trouble::Fails("the same labels twice"));
                    }
                    Some(known) => known.samples.push(sample),
                    None => stretches.push(Stretch {
                        tags: row.tags,
                        drop_name: row.drop_name,
                        samples: vec![sample],
                    }),
                }
            }
        }
        Ok(stretches)
    }

    /// A window is open on its left and closed on its right.
    fn borders(&self, range: &Range, step: Ms) -> (Ms, Ms) {
        let (length, moment) = match range {
            Range::Selected(selector, length) => (*length, selector.moment),
            Range::Subquery(_, length, _, moment) => (*length, *moment),
        };
        let to = self.moment(moment, step);
        (to - length, to)
    }

    fn over_time(
        &self,
        name: &str,
        parameter: Option<&Expr>,
        range: &Range,
        step: Ms,
    ) -> Result<Vec<Row>, Trouble> {
        let parameter = parameter
            .map(|scalar| self.scalar(scalar, step))
            .transpose()?;
        let (from, to) = self.borders(range, step);
        let mut rows = Vec::new();
        for stretch in self.stretches(range, step)? {
            let window = Window {
                samples: &stretch.samples,
                from,
                to,
                step,
                parameter,
            };
            if let Some(value) = window.apply(name)? {
                let keeps_name = matches!(name, "last_over_time" | "first_over_time");
                let drop_name = stretch.drop_name || !keeps_name;
                rows.push(Row {
                    tags: stretch.tags,
                    drop_name,
                    value,
                });
            }
        }
        Ok(rows)
    }

    /// When each sample was taken; of what is calculated, the step.
    fn timestamps(&self, inner: &Expr, step: Ms) -> Result<Vec<Row>, Trouble> {
        let seconds = |ms: Ms| Num::exact(ms as f64 / 1000.0);
        if let Expr::Selector(selector) = inner {
            let newest = self.newest(selector, step).into_iter();
            let rows = newest.map(|(tags, time, _)| Row {
                tags,
                drop_name: true,
                value: seconds(time),
            });
            return Ok(rows.collect());
        }
        let rows = self.vector(inner, step)?;
        Ok(rows.iter().map(|row| row.unnamed(seconds(step))).collect())
    }

    /// Functions of one value.
    fn elementwise(
        &self,
        name: &str,
        inner: &Expr,
        scalars: &[Expr],
        step: Ms,
    ) -> Result<Vec<Row>, Trouble> {
        let rows = self.vector(inner, step)?;
        let mut numbers = Vec::new();
        for scalar in scalars {
            numbers.push(self.scalar(scalar, step)?);
        }
        if let ("clamp", [least, most]) = (name, numbers.as_slice())
            && most.is_less(*least)?
        {
            return Ok(Vec::new());
        }
        let value = |row: &Row| match (name, numbers.as_slice()) {
            ("abs", []) => row.value.through(f64::abs),
            ("ceil", []) => row.value.through(f64::ceil),
            ("floor", []) => row.value.through(f64::floor),
            ("round", []) => row.value.through(|v| (v + 0.5).floor()),
            ("sqrt", []) => row.value.through(f64::sqrt),
            ("exp", []) => row.value.through(f64::exp),
            ("ln", []) => row.value.through(f64::ln),
            ("sgn", []) => row.value.through(|v| {
                if v > 0.0 {
                    1.0
                } else if v < 0.0 {
                    -1.0
                } else {
                    v
                }
            }),
            ("clamp_min", [least]) => most_of(row.value, *least),
            ("clamp_max", [most]) => least_of(row.value, *most),
            ("clamp", [least, most]) => most_of(least_of(row.value, *most), *least),
            _ => panic!("{name} is not known here"),
        };
        Ok(rows.iter().map(|row| row.unnamed(value(row))).collect())
    }
}

/// Whether a regular expression matches a whole value.
fn matches(expression: &'static str, value: &str) -> bool {
    thread_local! {
        /// Making one takes a debug build longer than everything else here.
        static MADE: RefCell<BTreeMap<&'static str, Regex>> = RefCell::default();
    }
    MADE.with_borrow_mut(|made| {
        let make = || Regex::new(&format!("^(?:{expression})$")).unwrap();
        made.entry(expression).or_insert_with(make).is_match(value)
    })
}

/// NaN wins.
fn most_of(a: Num, b: Num) -> Num {
    Num::through_two(a, b, |a, b| {
        if a.is_nan() || b.is_nan() {
            f64::NAN
        } else {
            a.max(b)
        }
    })
}

/// NaN wins.
fn least_of(a: Num, b: Num) -> Num {
    Num::through_two(a, b, |a, b| {
        if a.is_nan() || b.is_nan() {
            f64::NAN
        } else {
            a.min(b)
        }
    })
}

fn absent(is_absent: bool, tags: Tags) -> Vec<Row> {
    let value = Num::exact(1.0);
    if is_absent {
        vec![Row {
            tags,
            drop_name: true,
            value,
        }]
    } else {
        Vec::new()
    }
}

/// Labels that a selector says in one way only, and with `=`.
fn named_by(selector: &Selector) -> Tags {
    let mut tags = Tags::new();
    for (label, operator, value) in &selector.matchers {
        let of_label = selector
            .matchers
            .iter()
            .filter(|(other, ..)| other == label)
            .count();
        if *label != "__name__" && *operator == "=" && of_label == 1 && !value.is_empty() {
            tags.insert((*label).to_owned(), (*value).to_owned());
        }
    }
    tags
}
