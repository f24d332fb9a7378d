//! Secrets: in the file where they have always been (URLs), in a file of their own, in a variable.

use crate::{
    config::{
        table::TableReader,
        value::{Given, check_url},
    },
    notify::Secret,
};

/// A secret of the keys `{base}_file` or `{base}_env`.
pub(super) fn kept_elsewhere(table: &mut TableReader<'_>, base: &str) -> Option<Secret> {
    let (file, variable) = (format!("{base}_file"), format!("{base}_env"));
    refuse_both(table, &file, &variable);
    let path = table.take(&file, |given| Ok(given.text("a path")?.into()));
    let name = table.take(&variable, variable_name);
    path.map(Secret::File).or(name.map(Secret::Variable))
}

/// A URL of the keys `url`, `url_file` or `url_env`, one of which must be given.
pub(super) fn url(table: &mut TableReader<'_>) -> Option<Secret> {
    for elsewhere in ["url_file", "url_env"] {
        refuse_both(table, "url", elsewhere);
    }
    if !["url", "url_file", "url_env"]
        .iter()
        .any(|key| table.has(key))
    {
        table.report_missing("url", "is missing; so are `url_file` and `url_env`");
        return None;
    }
    let text = table.take("url", |given| {
        let text = given.text("a URL")?;
        check_url(text)?;
        Ok(Secret::Text(text.to_owned()))
    });
    text.or_else(|| kept_elsewhere(table, "url"))
}

fn refuse_both(table: &mut TableReader<'_>, one: &str, other: &str) {
    if table.has(one) && table.has(other) {
        let reason = format!("excludes `{one}`: give one of them");
        table.report(table.value_at(other), other, reason);
    }
}

fn variable_name(given: Given<'_>) -> Result<String, String> {
    let name = given.text("the name of an environment variable")?;
    if name.contains(|c: char| c == '=' || c.is_control()) {
        return Err("not the name of an environment variable".to_owned());
    }
    if name.starts_with("LONGWATCH_") {
        return Err(
            "variables that begin with LONGWATCH_ are settings; call it otherwise".to_owned(),
        );
    }
    Ok(name.to_owned())
}
