//! Random data, expressions and ranges. Times lie on a grid of 15 seconds more often than not, so that samples hit the borders
//! of windows; numbers are small fractions of two more often than not, so that sums are exact.

use proptest::{prelude::*, sample::select};

use super::{
    evaluate::{Stored, Tags},
    tree::{Aggregate, At, Binary, Expr, Group, Matching, Moment, Ms, Parameter, Range, Selector},
};

/// The data begin here.
const EPOCH: Ms = 1_700_000_040_000;
const GRID: Ms = 15_000;
const STALE: f64 = f64::from_bits(0x7ff0_0000_0000_0002);
const LABELS: [&str; 3] = ["job", "inst", "zone"];

/// What is asked for when.
#[derive(Clone, Copy, Debug)]
pub(super) struct Moments {
    pub(super) start: Ms,
    pub(super) step: Ms,
    /// How many steps; 0: an instant query.
    pub(super) count: i64,
}

pub(super) fn moments() -> impl Strategy<Value = Moments> {
    let step = select(vec![GRID, 30_000, 60_000, 37_001, 299_999, 420_000]);
    let count = prop_oneof![2 => Just(0), 3 => 1..12_i64];
    (moment(), step, count).prop_map(|(start, step, count)| Moments { start, step, count })
}

fn moment() -> impl Strategy<Value = Ms> {
    let jitter = prop_oneof![6 => Just(0), 1 => Just(1), 1 => Just(-1), 1 => -7_000..7_000_i64];
    (0..50_i64, jitter).prop_map(|(place, jitter)| EPOCH + place * GRID + jitter)
}

pub(super) fn data() -> impl Strategy<Value = Vec<Stored>> {
    prop::collection::vec(series(), 2..12).prop_map(|all| {
        let mut unique: Vec<Stored> = Vec::new();
        for series in all {
            if unique.iter().all(|known| known.tags != series.tags) {
                unique.push(series);
            }
        }
        unique
    })
}

fn series() -> impl Strategy<Value = Stored> {
    let labels = (
        select(vec!["a_total", "b", "c"]),
        select(vec!["x", "y", "x", "y", ""]),
        select(vec!["1", "2", "1", "2", ""]),
        select(vec!["", "", "", "east"]),
    );
    let samples = prop::collection::vec((gap(), value()), 0..30);
    (labels, any::<bool>(), samples).prop_map(|((name, job, inst, zone), is_counter, samples)| {
        let tags = [
            ("__name__", name),
            ("job", job),
            ("inst", inst),
            ("zone", zone),
        ];
        let tags: Tags = tags
            .into_iter()
            .filter(|(_, value)| !value.is_empty())
            .map(|(label, value)| (label.to_owned(), value.to_owned()))
            .collect();
        let (mut time, mut total) = (EPOCH - GRID, 0.0);
        let mut course = Vec::new();
        for (gap, mut value) in samples {
            time += gap;
            if is_counter && value.is_finite() {
                // A negative step is a reset.
                total = if value < 0.0 { -value } else { total + value };
                value = total;
            }
            course.push((time, value));
        }
        Stored {
            tags,
            samples: course,
        }
    })
}

fn gap() -> impl Strategy<Value = Ms> {
    prop_oneof![
        6 => Just(GRID),
        3 => Just(2 * GRID),
        2 => Just(60_000),
        2 => 1..45_000_i64,
        1 => select(vec![300_000, 300_001, 299_999, 16_500, 420_000]),
    ]
}

fn value() -> impl Strategy<Value = f64> {
    prop_oneof![
        8 => (0..40_i32).prop_map(|quarters| f64::from(quarters) / 4.0),
        3 => (-20..0_i32).prop_map(f64::from),
        2 => (0..500_i32).prop_map(|tenths| f64::from(tenths) / 10.0),
        1 => select(vec![STALE, STALE, f64::NAN, f64::INFINITY, f64::NEG_INFINITY]),
    ]
}

/// An expression that a query may ask for. Small ones find more of what is wrong with a part, large ones of how parts meet.
pub(super) fn expression() -> BoxedStrategy<Expr> {
    prop_oneof![
        3 => vector(1),
        3 => vector(2),
        3 => vector(3),
        1 => scalar(3),
    ]
    .boxed()
}

fn vector(levels: u32) -> BoxedStrategy<Expr> {
    let leaf = selector().prop_map(Expr::Selector);
    let Some(below) = levels.checked_sub(1) else {
        return leaf.boxed();
    };
    let (inner, number) = (vector(below), scalar(below));
    prop_oneof![
        2 => leaf,
        1 => inner.clone().prop_map(|inner| Expr::Negate(Box::new(inner))),
        1 => number.clone().prop_map(|inner| Expr::Vector(Box::new(inner))),
        6 => over_time(inner.clone(), number.clone()),
        1 => range(inner.clone()).prop_map(Expr::AbsentOverTime),
        1 => selector().prop_map(Expr::Absent),
        2 => call(inner.clone(), number.clone()),
        5 => aggregate(inner.clone(), number.clone()),
        2 => with_scalar(inner.clone(), number),
        4 => operation(inner.clone()),
        2 => set(inner),
    ]
    .boxed()
}

fn scalar(levels: u32) -> BoxedStrategy<Expr> {
    let number = select(vec![
        0.0,
        1.0,
        2.0,
        0.5,
        3.0,
        7.25,
        100.0,
        f64::INFINITY,
        f64::NAN,
    ]);
    let leaf = prop_oneof![5 => number.prop_map(Expr::Number), 1 => Just(Expr::Time)];
    let Some(below) = levels.checked_sub(1) else {
        return leaf.boxed();
    };
    let inner = scalar(below);
    let operators = [
        "+", "-", "*", "/", "%", "^", "atan2", "==", "!=", "<", ">", "<=", ">=",
    ];
    let both = (select(operators.to_vec()), inner.clone(), inner.clone());
    prop_oneof![
        6 => leaf,
        1 => inner.prop_map(|inner| Expr::Negate(Box::new(inner))),
        1 => both.prop_map(|(operator, left, right)| binary(operator, true, plain(), left, right)),
        2 => vector(below).prop_map(|inner| Expr::Scalar(Box::new(inner))),
    ]
    .boxed()
}

fn selector() -> BoxedStrategy<Selector> {
    let name = prop_oneof![
        6 => select(vec!["a_total", "b", "c"]).prop_map(|name| ("__name__", "=", name)),
        1 => Just(("__name__", "=~", "a.*|b")),
        1 => Just(("__name__", "!~", "b?")),
    ];
    let other = select(vec![
        ("job", "=", "x"),
        ("job", "!=", "x"),
        ("job", "=~", "x|y"),
        ("job", "=", ""),
        ("inst", "=", "1"),
        ("inst", "!~", "1"),
        ("zone", "!=", ""),
        ("zone", "=~", "|e.+"),
    ]);
    let others = prop_oneof![
        4 => Just(Vec::new()),
        1 => prop::collection::vec(other, 1..3),
    ];
    (name, others, shift())
        .prop_map(|(name, others, moment)| {
            let mut matchers = vec![name];
            matchers.extend(others);
            Selector { matchers, moment }
        })
        .boxed()
}

fn shift() -> BoxedStrategy<Moment> {
    let offset = select(vec![GRID, 60_000, 300_000, -60_000, 1, -1, 90_500]);
    let at = prop_oneof![moment().prop_map(At::Time), Just(At::Start), Just(At::End),];
    let offset = prop_oneof![5 => Just(0), 1 => offset];
    let at = prop_oneof![8 => Just(None), 1 => at.prop_map(Some)];
    (offset, at)
        .prop_map(|(offset, at)| Moment { offset, at })
        .boxed()
}

/// A range selector, or a subquery.
fn range(inner: BoxedStrategy<Expr>) -> BoxedStrategy<Range> {
    let length = || {
        select(vec![
            60_000, 300_000, GRID, 30_000, 600_000, 90_001, 1, 1_200_000,
        ])
    };
    let step = select(vec![
        None,
        Some(GRID),
        Some(30_000),
        Some(50_000),
        Some(120_000),
    ]);
    let selected = (selector(), length()).prop_map(|(selector, ms)| Range::Selected(selector, ms));
    let subquery = (inner, length(), step, shift())
        .prop_map(|(inner, ms, step, moment)| Range::Subquery(Box::new(inner), ms, step, moment));
    prop_oneof![3 => selected, 1 => subquery].boxed()
}

fn over_time(inner: BoxedStrategy<Expr>, number: BoxedStrategy<Expr>) -> BoxedStrategy<Expr> {
    let plain = select(vec![
        "rate",
        "increase",
        "delta",
        "irate",
        "idelta",
        "avg_over_time",
        "min_over_time",
        "max_over_time",
        "sum_over_time",
        "count_over_time",
        "last_over_time",
        "first_over_time",
        "stddev_over_time",
        "stdvar_over_time",
        "present_over_time",
        "changes",
        "resets",
        "deriv",
        "ts_of_first_over_time",
        "ts_of_last_over_time",
        "rate",
        "increase",
    ]);
    let plain =
        (plain, range(inner.clone())).prop_map(|(name, range)| Expr::OverTime(name, None, range));
    let quantile = (quantile(number.clone()), range(inner.clone()))
        .prop_map(|(q, range)| Expr::OverTime("quantile_over_time", Some(Box::new(q)), range));
    let predicted = (number, range(inner))
        .prop_map(|(ahead, range)| Expr::OverTime("predict_linear", Some(Box::new(ahead)), range));
    prop_oneof![12 => plain, 1 => quantile, 1 => predicted].boxed()
}

fn quantile(number: BoxedStrategy<Expr>) -> BoxedStrategy<Expr> {
    let usual = select(vec![0.5, 0.0, 1.0, 0.25, 0.9, 1.5]);
    prop_oneof![6 => usual.prop_map(Expr::Number), 1 => number].boxed()
}

fn call(inner: BoxedStrategy<Expr>, number: BoxedStrategy<Expr>) -> BoxedStrategy<Expr> {
    let plain = select(vec![
        "abs",
        "ceil",
        "floor",
        "round",
        "sqrt",
        "exp",
        "ln",
        "sgn",
        "timestamp",
    ]);
    let plain = plain.prop_map(|name| (name, 0));
    let clamps = select(vec![("clamp_min", 1), ("clamp_max", 1), ("clamp", 2)]);
    let scalars = prop::collection::vec(number, 2);
    (prop_oneof![2 => plain, 1 => clamps], inner, scalars)
        .prop_map(|((name, count), inner, mut scalars)| {
            scalars.truncate(count);
            Expr::Call(name, Box::new(inner), scalars)
        })
        .boxed()
}

fn aggregate(inner: BoxedStrategy<Expr>, number: BoxedStrategy<Expr>) -> BoxedStrategy<Expr> {
    let plain = select(vec![
        "sum", "avg", "min", "max", "count", "group", "stddev", "stdvar",
    ]);
    let plain = plain.prop_map(|operator| (operator, None));
    let k = select(vec![1.0, 2.0, 0.0, 3.0, 1.75, -1.0])
        .prop_map(|k| Some(Parameter::Scalar(Expr::Number(k))));
    let ranked = (select(vec!["topk", "bottomk"]), k);
    let quantile = quantile(number).prop_map(|q| ("quantile", Some(Parameter::Scalar(q))));
    let counted = select(vec!["value", "job"])
        .prop_map(|label| ("count_values", Some(Parameter::Label(label))));
    let operator = prop_oneof![6 => plain, 2 => ranked, 1 => quantile, 1 => counted];
    let labels = prop_oneof![
        4 => labels(),
        1 => labels().prop_map(|mut labels| { labels.push("__name__"); labels }),
    ];
    (operator, any::<bool>(), labels, inner)
        .prop_map(|((operator, parameter), without, labels, inner)| {
            Expr::Aggregate(Box::new(Aggregate {
                operator,
                parameter,
                without,
                labels,
                inner,
            }))
        })
        .boxed()
}

fn labels() -> impl Strategy<Value = Vec<&'static str>> {
    prop::sample::subsequence(LABELS.to_vec(), 0..=2)
}

fn plain() -> Matching {
    Matching {
        on: false,
        labels: Vec::new(),
        group: None,
    }
}

fn binary(
    operator: &'static str,
    wants_bool: bool,
    matching: Matching,
    left: Expr,
    right: Expr,
) -> Expr {
    let is_comparison = matches!(operator, "==" | "!=" | "<" | ">" | "<=" | ">=");
    let returns_bool = wants_bool && is_comparison;
    Expr::Binary(Box::new(Binary {
        operator,
        returns_bool,
        matching,
        left,
        right,
    }))
}

fn operator() -> impl Strategy<Value = &'static str> {
    select(vec![
        "+", "-", "*", "/", "%", "^", "atan2", "==", "!=", "<", ">", "<=", ">=", "+", "-",
    ])
}

fn with_scalar(inner: BoxedStrategy<Expr>, number: BoxedStrategy<Expr>) -> BoxedStrategy<Expr> {
    (operator(), any::<[bool; 2]>(), inner, number)
        .prop_map(|(operator, [is_swapped, wants_bool], inner, number)| {
            let (left, right) = if is_swapped {
                (number, inner)
            } else {
                (inner, number)
            };
            binary(operator, wants_bool, plain(), left, right)
        })
        .boxed()
}

fn operation(inner: BoxedStrategy<Expr>) -> BoxedStrategy<Expr> {
    let group = (any::<bool>(), labels()).prop_map(|(is_left, include)| Group { is_left, include });
    let group = prop_oneof![Just(None), group.prop_map(Some)];
    let matching = (any::<bool>(), labels(), group).prop_map(|(on, labels, mut group)| {
        if let Some(group) = group.as_mut().filter(|_| on) {
            group.include.retain(|label| !labels.contains(label));
        }
        Matching { on, labels, group }
    });
    (operator(), any::<bool>(), matching, inner.clone(), inner)
        .prop_map(|(operator, wants_bool, matching, left, right)| {
            binary(operator, wants_bool, matching, left, right)
        })
        .boxed()
}

fn set(inner: BoxedStrategy<Expr>) -> BoxedStrategy<Expr> {
    let matching = (any::<bool>(), labels()).prop_map(|(on, labels)| Matching {
        on,
        labels,
        group: None,
    });
    (
        select(vec!["and", "or", "unless"]),
        matching,
        inner.clone(),
        inner,
    )
        .prop_map(|(operator, matching, left, right)| {
            binary(operator, false, matching, left, right)
        })
        .boxed()
}
