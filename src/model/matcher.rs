//! Label matchers, as in Prometheus and Alertmanager: `=`, `!=`, `=~`, `!~`; expressions are anchored.

use std::fmt;

use regex::{Regex, RegexBuilder};

/// Longest expression that is compiled, in bytes.
const EXPRESSION_BYTES_MAX: usize = 4_096;
/// Memory that a compiled expression may take; `(a{1000}){1000}` must not take a gigabyte.
const COMPILED_BYTES_MAX: usize = 1 << 20;

/// How a label is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MatchOperator {
    /// `=`
    Equal,
    /// `!=`
    NotEqual,
    /// `=~`
    Regex,
    /// `!~`
    NotRegex,
}

impl MatchOperator {
    /// As it is written.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Equal => "=",
            Self::NotEqual => "!=",
            Self::Regex => "=~",
            Self::NotRegex => "!~",
        }
    }

    /// The operator from Alertmanager's two switches.
    pub const fn of_switches(is_equal: bool, is_regex: bool) -> Self {
        match (is_equal, is_regex) {
            (true, false) => Self::Equal,
            (false, false) => Self::NotEqual,
            (true, true) => Self::Regex,
            (false, true) => Self::NotRegex,
        }
    }

    /// Whether it demands rather than excludes.
    pub const fn is_equal(self) -> bool {
        matches!(self, Self::Equal | Self::Regex)
    }

    /// Whether the value is an expression.
    pub const fn is_regex(self) -> bool {
        matches!(self, Self::Regex | Self::NotRegex)
    }
}

/// Why a matcher cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct BadMatcher(String);

/// One condition on a label. A label that is missing counts as empty.
#[derive(Clone)]
pub struct Matcher {
    name: String,
    operator: MatchOperator,
    value: String,
    regex: Option<Regex>,
}

impl Matcher {
    /// A matcher.
    ///
    /// # Errors
    /// An empty name, or an expression that cannot be compiled within its bounds.
    pub fn new(
        name: impl Into<String>,
        operator: MatchOperator,
        value: impl Into<String>,
    ) -> Result<Self, BadMatcher> {
        let (name, value) = (name.into(), value.into());
        if name.is_empty() {
            return Err(BadMatcher("a matcher needs a label name".to_owned()));
        }
        let regex = operator.is_regex().then(|| compile(&value)).transpose()?;
        Ok(Self {
            name,
            operator,
            value,
            regex,
        })
    }

    /// Reads `name="value"`, `name!=value`, `name=~"a|b"`: Alertmanager's text form, quotes optional.
    ///
    /// # Errors
    /// Says what is missing.
    pub fn parse(text: &str) -> Result<Self, BadMatcher> {
        let bad = |why: &str| BadMatcher(format!("`{text}` is no matcher: {why}"));
        let at = text
            .find(['=', '!'])
            .ok_or_else(|| bad("it has none of = != =~ !~"))?;
        let (name, rest) = text.split_at(at);
        let operators = [
            ("=~", MatchOperator::Regex),
            ("!~", MatchOperator::NotRegex),
            ("!=", MatchOperator::NotEqual),
            ("=", MatchOperator::Equal),
        ];
        let (value, operator) = operators
            .into_iter()
            .find_map(|(sign, operator)| Some((rest.strip_prefix(sign)?, operator)))
            .ok_or_else(|| bad("it has none of = != =~ !~"))?;
        let value = value.trim();
        let value = if let Some(quoted) = value.strip_prefix('"') {
            unquote(quoted).ok_or_else(|| bad("the quoted value does not end"))?
        } else {
            value.to_owned()
        };
        Self::new(name.trim().trim_matches('"'), operator, value)
    }

    /// Label that is compared.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// How.
    pub const fn operator(&self) -> MatchOperator {
        self.operator
    }

    /// With what.
    pub fn value(&self) -> &str {
        &self.value
    }

    /// Whether a value of the label fits; an absent label is the empty value.
    pub fn matches(&self, value: &str) -> bool {
        let regex_matches = || self.regex.as_ref().is_some_and(|r| r.is_match(value));
        match self.operator {
            MatchOperator::Equal => value == self.value,
            MatchOperator::NotEqual => value != self.value,
            MatchOperator::Regex => regex_matches(),
            MatchOperator::NotRegex => !regex_matches(),
        }
    }

    /// Whether a set of labels fits.
    pub fn fits(&self, labels: &[(String, String)]) -> bool {
        let found = labels.iter().find(|(name, _)| *name == self.name);
        self.matches(found.map_or("", |(_, value)| value))
    }
}

fn compile(expression: &str) -> Result<Regex, BadMatcher> {
    if expression.len() > EXPRESSION_BYTES_MAX {
        return Err(BadMatcher(format!(
            "an expression has at most {EXPRESSION_BYTES_MAX} bytes, this one has {}",
            expression.len()
        )));
    }
    RegexBuilder::new(&format!("^(?:{expression})$"))
        .size_limit(COMPILED_BYTES_MAX)
        .dfa_size_limit(COMPILED_BYTES_MAX)
        .dot_matches_new_line(true)
        .build()
        .map_err(|error| {
            let why = match error {
                regex::Error::CompiledTooBig(_) => "it is too large once compiled".to_owned(),
                // The library's text shows the expression over several lines; its last line says why.
                other => {
                    let text = other.to_string();
                    let last = text.lines().last().unwrap_or_default();
                    last.trim_start_matches("error: ").to_owned()
                }
            };
            BadMatcher(format!("`{expression}` is no regular expression: {why}"))
        })
}

fn unquote(rest: &str) -> Option<String> {
    let mut out = String::new();
    let mut chars = rest.chars();
    loop {
        match chars.next()? {
            '"' => return chars.next().is_none().then_some(out),
            '\\' => match chars.next()? {
                'n' => out.push('\n'),
                other => out.push(other),
            },
            other => out.push(other),
        }
    }
}

impl PartialEq for Matcher {
    fn eq(&self, other: &Self) -> bool {
        (&self.name, self.operator, &self.value) == (&other.name, other.operator, &other.value)
    }
}

impl Eq for Matcher {}

impl fmt::Display for Matcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = self.value.replace('\\', "\\\\").replace('"', "\\\"");
        let value = value.replace('\n', "\\n");
        write!(f, "{}{}\"{value}\"", self.name, self.operator.as_str())
    }
}

impl fmt::Debug for Matcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn matchers_are_anchored_and_a_missing_label_is_empty() {
        let labels = [("job".to_owned(), "api-server".to_owned())];
        let fits = |text: &str| Matcher::parse(text).unwrap().fits(&labels);
        assert!(fits("job=api-server"));
        assert!(fits(r#"job=~"api.*""#));
        assert!(!fits(r#"job=~"api""#));
        assert!(fits(r#"job!~"api""#));
        assert!(fits("region=\"\""));
        assert!(fits("region!=eu"));
        assert!(!fits("region=~.+"));
    }

    #[test]
    fn the_text_form_is_read_back() {
        for text in [r#"a="x\"y\\z\nw""#, r#"a!~"b|c""#, r#"a!="""#] {
            let matcher = Matcher::parse(text).unwrap();
            assert_eq!(matcher.to_string(), text);
            assert_eq!(Matcher::parse(&matcher.to_string()), Ok(matcher));
        }
        assert_eq!(Matcher::parse("a = b").unwrap().to_string(), "a=\"b\"");
    }

    #[test]
    fn what_is_no_matcher_is_refused_with_the_reason() {
        for (text, why) in [
            ("abc", "none of"),
            ("=x", "label name"),
            ("a=\"x", "does not end"),
            ("a!x", "none of"),
            ("a=~(", "unclosed group"),
            ("a=~(x{1000}){1000}", "too large"),
        ] {
            let error = Matcher::parse(text).unwrap_err().to_string();
            assert!(error.contains(why), "{text}: {error}");
        }
        let long = format!("a=~{}", "x".repeat(5_000));
        assert!(Matcher::parse(&long).is_err());
    }
}
