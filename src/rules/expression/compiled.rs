//! An expression rule made ready: parsed once, evaluated often.

use crate::{
    alerts::Mistake,
    model::Rule,
    query::{self, Expression, ValueType},
    rules::template::Template,
};

/// A rule's expression and templates, parsed.
#[derive(Debug)]
pub(in crate::rules) struct Compiled {
    pub(super) expression: Expression,
    /// Tells which series a comparison looks at, whether it holds for them or not.
    pub(super) presence: Option<Expression>,
    /// Whether a row that is there is there as a whole: it comes of one series.
    pub(super) is_of_single_series: bool,
    /// Go templates of labels; empty for longwatch's own rules.
    pub(super) labels: Vec<(String, Template)>,
    /// Go templates of annotations; empty for longwatch's own rules.
    pub(super) annotations: Vec<(String, Template)>,
}

impl Compiled {
    /// Parses a rule's texts.
    ///
    /// # Errors
    /// The first mistake.
    pub(in crate::rules) fn new(rule: &Rule) -> Result<Self, Mistake> {
        let text = rule.condition.expression().unwrap_or_default();
        let mistake = |reason: String| Mistake {
            key: "expr".to_owned(),
            reason,
        };
        let expression = query::parse(text).map_err(|error| mistake(error.to_string()))?;
        let kind = expression.value_type();
        if !matches!(kind, ValueType::Scalar | ValueType::Vector) {
            let why = format!("yields a {}, not an instant vector or scalar", kind.name());
            return Err(mistake(why));
        }
        let presence = query::comparison_as_bool(&expression);
        let is_member = rule.member.is_some();
        // What a recording rule adds to its samples is as it stands.
        let is_alert = matches!(rule.condition, crate::model::Condition::Expr { .. });
        let templates = |key: &str, pairs: &[(String, String)]| {
            let pairs = pairs.iter().filter(|_| is_member && is_alert);
            let parsed = pairs.map(|(name, text)| match Template::parse(text) {
                Ok(template) => Ok((name.clone(), template)),
                Err(error) => Err(Mistake {
                    key: format!("{key}.{name}"),
                    reason: error.to_string(),
                }),
            });
            parsed.collect::<Result<Vec<_>, _>>()
        };
        Ok(Self {
            is_of_single_series: query::is_of_single_series(&expression),
            expression,
            presence,
            labels: templates("labels", &rule.add_labels)?,
            annotations: templates("annotations", &rule.annotations)?,
        })
    }
}

/// Checks what only PromQL can tell of a rule: its expression and templates.
pub(in crate::rules) fn check(rule: &Rule) -> Vec<Mistake> {
    if rule.condition.expression().is_none() {
        return Vec::new();
    }
    Compiled::new(rule).err().into_iter().collect()
}
