//! Which agent a series belongs to whose sender names all labels itself.

use std::fmt;

use crate::model::{AgentId, BadAgentId};

/// Labels that together name an agent, in the order of preference; the values of one entry are joined by `/`.
///
/// The default is `agent_id`, else `job` and `instance` as `job/instance`, else whichever of the two there is, else
/// the agent `remote`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AgentRule {
    choices: Vec<Vec<String>>,
    fallback: AgentId,
}

/// Why a setting is no rule.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadAgentRule {
    /// A list of labels without any.
    #[error("list {0} of labels is empty")]
    EmptyList(usize),
    /// A label without a name.
    #[error("list {0} has a label with an empty name")]
    EmptyLabel(usize),
    /// The fallback is no agent id.
    #[error("the fallback `{0}` is no agent id: {1}")]
    Fallback(String, BadAgentId),
}

impl AgentRule {
    /// A rule: the first list counts of which all labels are there and not empty, and `fallback` where none does.
    ///
    /// # Errors
    /// [`BadAgentRule`]; lists count from 0.
    pub fn new(choices: Vec<Vec<String>>, fallback: &str) -> Result<Self, BadAgentRule> {
        for (at, labels) in choices.iter().enumerate() {
            if labels.is_empty() {
                return Err(BadAgentRule::EmptyList(at));
            }
            if labels.iter().any(String::is_empty) {
                return Err(BadAgentRule::EmptyLabel(at));
            }
        }
        let fallback = AgentId::new(fallback)
            .map_err(|error| BadAgentRule::Fallback(fallback.to_owned(), error))?;
        Ok(Self { choices, fallback })
    }

    /// Writes what the labels call their agent over `out`; whether that is an id is not checked.
    pub(super) fn write_id(&self, labels: &[(&str, &str)], out: &mut String) {
        let value = |name: &String| {
            let label = labels.iter().find(|(k, v)| k == name && !v.is_empty());
            label.map(|(_, value)| *value)
        };
        for choice in &self.choices {
            out.clear();
            let is_whole = choice.iter().all(|name| {
                let Some(value) = value(name) else {
                    return false;
                };
                if !out.is_empty() {
                    out.push('/');
                }
                out.push_str(value);
                true
            });
            if is_whole {
                return;
            }
        }
        out.clear();
        out.push_str(self.fallback.as_str());
    }
}

/// As the setting has it: lists separated by commas, the labels of a list by `/`.
impl fmt::Display for AgentRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lists: Vec<String> = self.choices.iter().map(|labels| labels.join("/")).collect();
        f.write_str(&lists.join(", "))
    }
}

impl Default for AgentRule {
    fn default() -> Self {
        let choices: [&[&str]; 4] = [&["agent_id"], &["job", "instance"], &["job"], &["instance"]];
        let owned = |labels: &&[&str]| labels.iter().map(|label| (*label).to_owned()).collect();
        Self {
            choices: choices.iter().map(owned).collect(),
            fallback: AgentId::of_text("remote").unwrap_or_else(AgentId::unknown),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(rule: &AgentRule, labels: &[(&str, &str)]) -> String {
        let mut out = "left over".to_owned();
        rule.write_id(labels, &mut out);
        out
    }

    #[test]
    fn the_first_whole_list_counts() {
        let rule = AgentRule::default();
        let (job, instance) = (("job", "api"), ("instance", "h:1"));
        assert_eq!(id(&rule, &[("agent_id", "a"), instance, job]), "a");
        assert_eq!(id(&rule, &[("agent_id", ""), instance, job]), "api/h:1");
        assert_eq!(id(&rule, &[instance, ("job", "")]), "h:1");
        assert_eq!(id(&rule, &[job]), "api");
        assert_eq!(id(&rule, &[("pod", "p")]), "remote");
        assert_eq!(rule.to_string(), "agent_id, job/instance, job, instance");
        let rule = AgentRule::new(vec![vec!["ns".into(), "pod".into()]], "k8s").unwrap();
        assert_eq!(id(&rule, &[("ns", "n"), ("pod", "p"), job]), "n/p");
        assert_eq!(id(&rule, &[("ns", "n"), job]), "k8s");
    }

    #[test]
    fn bad_settings_are_named() {
        let message = |choices: &[&[&str]], fallback| {
            let choices = choices.iter();
            let choices = choices.map(|labels| labels.iter().map(|l| (*l).to_owned()).collect());
            AgentRule::new(choices.collect(), fallback)
                .unwrap_err()
                .to_string()
        };
        assert_eq!(message(&[&["a"], &[]], "x"), "list 1 of labels is empty");
        assert_eq!(
            message(&[&["a", ""]], "x"),
            "list 0 has a label with an empty name"
        );
        assert_eq!(
            message(&[], "a\nb"),
            "the fallback `a\nb` is no agent id: an agent id must not contain control characters (byte 1)"
        );
    }
}
