//! Binary operators.

use super::{
    evaluate::{Naive, Row, Tags},
    number::{Num, Trouble},
    tree::{Binary, Matching, Ms},
};

/// What an operator makes of two numbers; comparisons yield 1 and 0.
pub(super) fn of_numbers(operator: &str, left: Num, right: Num) -> Result<Num, Trouble> {
    if is_comparison(operator) {
        let holds = compares(operator, left, right)?;
        return Ok(Num::exact(if holds { 1.0 } else { 0.0 }));
    }
    Ok(Num::through_two(left, right, |a, b| match operator {
        "+" => a + b,
        "-" => a - b,
        "*" => a * b,
        "/" => a / b,
        "%" => a % b,
        "^" => a.powf(b),
        "atan2" => a.atan2(b),
        _ => panic!("{operator} is no operator of numbers"),
    }))
}

fn is_comparison(operator: &str) -> bool {
    matches!(operator, "==" | "!=" | ">" | "<" | ">=" | "<=")
}

fn compares(operator: &str, left: Num, right: Num) -> Result<bool, Trouble> {
    Ok(match operator {
        "==" => left.equals(right)?,
        "!=" => !left.equals(right)?,
        "<" => left.is_less(right)?,
        ">" => right.is_less(left)?,
        "<=" => left.is_less(right)? || left.equals(right)?,
        _ => right.is_less(left)? || left.equals(right)?,
    })
}

/// An operation of which at least one side is a vector.
pub(super) fn of_vectors(
    naive: &Naive<'_>,
    binary: &Binary,
    step: Ms,
) -> Result<Vec<Row>, Trouble> {
    let Binary { left, right, .. } = binary;
    match (left.is_scalar(), right.is_scalar()) {
        (false, true) => {
            let (rows, number) = (naive.vector(left, step)?, naive.scalar(right, step)?);
            with_scalar(binary, rows, |value| (value, number))
        }
        (true, false) => {
            let (number, rows) = (naive.scalar(left, step)?, naive.vector(right, step)?);
            with_scalar(binary, rows, |value| (number, value))
        }
        _ => {
            let (left, right) = (naive.vector(left, step)?, naive.vector(right, step)?);
            match binary.operator {
                "and" | "unless" => {
                    let wants = binary.operator == "and";
                    let mut kept = left;
                    kept.retain(|row| has(&right, row, &binary.matching) == wants);
                    Ok(kept)
                }
                "or" => {
                    let mut all = left.clone();
                    all.extend(
                        right
                            .into_iter()
                            .filter(|row| !has(&left, row, &binary.matching)),
                    );
                    naive.check_names(binary, all)
                }
                _ => matched(binary, &left, &right),
            }
        }
    }
}

/// Comparisons keep the vector's value, whichever side it stands on.
fn with_scalar(
    binary: &Binary,
    rows: Vec<Row>,
    sides: impl Fn(Num) -> (Num, Num),
) -> Result<Vec<Row>, Trouble> {
    let mut out = Vec::new();
    for row in rows {
        let (left, right) = sides(row.value);
        let value = of_numbers(binary.operator, left, right)?;
        if !is_comparison(binary.operator) || binary.returns_bool {
            out.push(Row {
                value,
                drop_name: true,
                ..row
            });
        } else if value.value == 1.0 {
            out.push(row);
        }
    }
    Ok(out)
}

/// The labels by which rows of both sides find each other.
fn key(tags: &Tags, matching: &Matching) -> Tags {
    let mut key = tags.clone();
    key.retain(|label, _| {
        let is_listed = matching.labels.contains(&label.as_str());
        if matching.on {
            is_listed
        } else {
            !is_listed && label != "__name__"
        }
    });
    key
}

fn has(rows: &[Row], wanted: &Row, matching: &Matching) -> bool {
    let wanted = key(&wanted.tags, matching);
    rows.iter().any(|row| key(&row.tags, matching) == wanted)
}

/// Arithmetic and comparisons of two vectors: every row of the side of many, or of the left one, with the one that it finds.
fn matched(binary: &Binary, left: &[Row], right: &[Row]) -> Result<Vec<Row>, Trouble> {
    let matching = &binary.matching;
    let is_swapped = matching.group.as_ref().is_some_and(|group| !group.is_left);
    let (many, one) = if is_swapped {
        (right, left)
    } else {
        (left, right)
    };
    // Two on the side of one are wrong even where nothing asks for them, unless the other side is empty.
    for (at, row) in one.iter().enumerate() {
        let same = |other: &Row| key(&other.tags, matching) == key(&row.tags, matching);
        if !many.is_empty() && one[..at].iter().any(same) {
            return Err(Trouble::Fails("two on the side of one"));
        }
    }
    let mut used: Vec<(Tags, Tags)> = Vec::new();
    let mut out = Vec::new();
    for row in many {
        let wanted = key(&row.tags, matching);
        let Some(partner) = one
            .iter()
            .find(|other| key(&other.tags, matching) == wanted)
        else {
            continue;
        };
        let (a, b) = if is_swapped {
            (partner, row)
        } else {
            (row, partner)
        };
        let value = of_numbers(binary.operator, a.value, b.value)?;
        let tags = result_tags(binary, row, partner);
        let is_again = match matching.group {
            None => used.iter().any(|(key, _)| *key == wanted),
            Some(_) => used.contains(&(wanted.clone(), tags.clone())),
        };
        if is_again {
            return Err(Trouble::Fails(
                "many to one without group_left, or labels not unique",
            ));
        }
        used.push((wanted, tags.clone()));
        let drop_name = row.drop_name || binary.returns_bool;
        if !is_comparison(binary.operator) || binary.returns_bool {
            out.push(Row {
                tags,
                drop_name,
                value,
            });
        } else if value.value == 1.0 {
            out.push(Row {
                tags,
                drop_name,
                value: a.value,
            });
        }
    }
    Ok(out)
}

fn result_tags(binary: &Binary, many: &Row, one: &Row) -> Tags {
    let mut tags = many.tags.clone();
    if !is_comparison(binary.operator) {
        tags.remove("__name__");
    }
    let matching = &binary.matching;
    match &matching.group {
        None => tags.retain(|label, _| matching.labels.contains(&label.as_str()) == matching.on),
        Some(group) => {
            for label in &group.include {
                tags.remove(*label);
                if let Some(value) = one.tags.get(*label) {
                    tags.insert((*label).to_owned(), value.clone());
                }
            }
        }
    }
    tags
}
