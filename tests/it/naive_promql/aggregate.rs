//! Aggregations.

use std::collections::BTreeMap;

use super::{
    evaluate::{Naive, Row, Tags},
    number::{Num, Trouble, deviation, mean, quantile, sum, variance},
    tree::{Aggregate, Ms, Parameter},
    window::{greatest, least},
};

pub(super) fn aggregate(
    naive: &Naive<'_>,
    aggregate: &Aggregate,
    step: Ms,
) -> Result<Vec<Row>, Trouble> {
    let parameter = match &aggregate.parameter {
        Some(Parameter::Scalar(scalar)) => naive.scalar(scalar, step)?,
        _ => Num::exact(f64::NAN),
    };
    let mut rows = naive.vector(&aggregate.inner, step)?;
    let mut labels = aggregate.labels.clone();
    if let Some(Parameter::Label(label)) = aggregate.parameter {
        for row in &mut rows {
            row.tags.insert(label.to_owned(), written(row.value)?);
        }
        if !aggregate.without {
            labels.push(label);
        }
    }
    let mut groups: BTreeMap<Tags, Vec<Row>> = BTreeMap::new();
    for row in rows {
        let mut tags = row.tags.clone();
        tags.retain(|label, _| {
            let is_listed = labels.contains(&label.as_str());
            if aggregate.without {
                !is_listed && label != "__name__"
            } else {
                is_listed
            }
        });
        groups.entry(tags).or_default().push(row);
    }
    let mut out = Vec::new();
    for (tags, members) in groups {
        if matches!(aggregate.operator, "topk" | "bottomk") {
            out.extend(first_k(aggregate.operator, parameter, members)?);
            continue;
        }
        let drop_name = members.iter().any(|row| row.drop_name);
        let values: Vec<Num> = members.iter().map(|row| row.value).collect();
        let value = match aggregate.operator {
            "sum" => sum(&values),
            "avg" => mean(&values),
            "min" => least(&values),
            "max" => greatest(&values),
            "count" | "count_values" => Num::exact(values.len() as f64),
            "group" => Num::exact(1.0),
            "stddev" => deviation(&values),
            "stdvar" => variance(&values),
            "quantile" => quantile(parameter, &values)?,
            other => panic!("{other} is not known here"),
        };
        out.push(Row {
            tags,
            drop_name,
            value,
        });
    }
    Ok(out)
}

/// A value as a label.
fn written(value: Num) -> Result<String, Trouble> {
    if value.error != 0.0 {
        return Err(Trouble::Undecided);
    }
    Ok(match value.value {
        v if v.is_nan() => "NaN".to_owned(),
        v if v.is_infinite() => (if v > 0.0 { "+Inf" } else { "-Inf" }).to_owned(),
        v => v.to_string(),
    })
}

/// The k largest or smallest; NaN comes last. Which of equal ones is not specified.
fn first_k(operator: &str, k: Num, mut rows: Vec<Row>) -> Result<Vec<Row>, Trouble> {
    let is_better = |a: &Row, b: &Row| match (a.value.is_nan(), b.value.is_nan()) {
        (false, true) => Ok(true),
        (true, _) => Ok(false),
        _ if operator == "topk" => b.value.is_less(a.value),
        _ => a.value.is_less(b.value),
    };
    let k = k.value as usize;
    let mut kept = Vec::new();
    while kept.len() < k && !rows.is_empty() {
        let mut best = 0;
        for at in 1..rows.len() {
            if is_better(&rows[at], &rows[best])? {
                best = at;
            }
        }
        kept.push(rows.remove(best));
    }
    if let Some(last) = kept.last() {
        for row in &rows {
            if !is_better(last, row)? {
                return Err(Trouble::Undecided);
            }
        }
    }
    Ok(kept)
}
