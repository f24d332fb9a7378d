//! Query parameters: read once, unknown and repeated ones refused, since a typo must not silently
//! change a question.

use axum::{extract::FromRequestParts, http::request::Parts};
use url::form_urlencoded;

use super::problem::Problem;
use crate::model::{BadTime, Timestamp, Window, parse_duration_ms, parse_time};

/// Longest query string that is read.
const QUERY_BYTES_MAX: usize = 16 << 10;
/// In a route's list of parameters: any `label.NAME`.
pub(super) const ANY_LABEL: &str = "label.*";

/// In a route's list of parameters: any `attr.NAME`.
pub(super) const ANY_ATTRIBUTE: &str = "attr.*";

/// In a route's list of parameters: whatever else a client sends is left alone, as Prometheus does it.
pub(super) const ANY_OTHER: &str = "*";

/// Parameters that may be given several times, as Alertmanager (the first), Jaeger and Prometheus (the last two) have them.
const REPEATED: [&str; 6] = ["filter", "tag", "tags", "traceID", "match[]", "rule_name[]"];

/// Parameters of one request, names known and, but for labels, unique.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Parameters(Vec<(String, String)>);

impl Parameters {
    /// Reads a query string.
    ///
    /// # Errors
    /// A problem that names the parameter that is not in `known`, or that is given twice.
    pub(super) fn read(query: Option<&str>, known: &[&str]) -> Result<Self, Problem> {
        let query = query.unwrap_or_default();
        if query.len() > QUERY_BYTES_MAX {
            return Err(Problem::new(
                axum::http::StatusCode::URI_TOO_LONG,
                format!("a query has at most {QUERY_BYTES_MAX} bytes"),
            ));
        }
        let mut found: Vec<(String, String)> = Vec::new();
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            if value.contains(char::REPLACEMENT_CHARACTER) {
                return Err(Problem::parameter(&name, "is not UTF-8"));
            }
            let is_label = name.strip_prefix("label.").is_some_and(|n| !n.is_empty());
            let is_attribute = name.strip_prefix("attr.").is_some_and(|n| !n.is_empty());
            let is_known = known.contains(&&*name)
                || is_label && known.contains(&ANY_LABEL)
                || is_attribute && known.contains(&ANY_ATTRIBUTE)
                || known.contains(&ANY_OTHER);
            if !is_known {
                let expected = if known.is_empty() {
                    "this address takes none".to_owned()
                } else {
                    format!("expected one of {}", known.join(", "))
                };
                return Err(Problem::parameter(
                    &name,
                    format!("is no parameter here; {expected}"),
                ));
            }
            let may_repeat = REPEATED.contains(&&*name) || known.contains(&ANY_OTHER);
            if !may_repeat && found.iter().any(|(n, _)| *n == name) {
                return Err(Problem::parameter(&name, "is given twice"));
            }
            found.push((name.into_owned(), value.into_owned()));
        }
        Ok(Self(found))
    }

    /// Those of a form, which stands in a body, before those of the address.
    pub(super) fn of_form(form: &[u8], address: Self) -> Self {
        let of_form = form_urlencoded::parse(form);
        let of_form = of_form.map(|(name, value)| (name.into_owned(), value.into_owned()));
        Self(of_form.chain(address.0).collect())
    }

    /// A parameter's text, as it was given.
    pub(super) fn text(&self, name: &str) -> Option<&str> {
        self.0
            .iter()
            .find(|(n, _)| n == name)
            .map(|(_, value)| value.as_str())
    }

    /// Every value of a parameter that may be given several times.
    pub(super) fn all(&self, name: &str) -> impl Iterator<Item = &str> {
        let of_name = self.0.iter().filter(move |(n, _)| n == name);
        of_name.map(|(_, value)| value.as_str())
    }

    /// Pairs of `label.NAME=VALUE`.
    pub(super) fn labels(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0
            .iter()
            .filter_map(|(n, value)| Some((n.strip_prefix("label.")?, value.as_str())))
    }

    /// Pairs of `attr.NAME=VALUE`.
    pub(super) fn attributes(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0
            .iter()
            .filter_map(|(n, value)| Some((n.strip_prefix("attr.")?, value.as_str())))
    }

    /// A parameter as a moment.
    pub(super) fn time(&self, name: &str, now: Timestamp) -> Result<Option<Timestamp>, Problem> {
        self.parsed(name, |text| parse_time(text, now))
    }

    /// A parameter as a duration in milliseconds that is longer than nothing.
    pub(super) fn duration_ms(&self, name: &str) -> Result<Option<i64>, Problem> {
        let ms = self.parsed(name, parse_duration_ms)?;
        if ms == Some(0) {
            return Err(Problem::parameter(name, "must be longer than nothing"));
        }
        Ok(ms)
    }

    fn parsed<T>(
        &self,
        name: &str,
        parse: impl Fn(&str) -> Result<T, BadTime>,
    ) -> Result<Option<T>, Problem> {
        self.text(name)
            .map(|text| parse(text).map_err(|why| Problem::parameter(name, why.to_string())))
            .transpose()
    }

    /// The moment of `at`, else now.
    pub(super) fn at(&self, now: Timestamp) -> Result<Timestamp, Problem> {
        Ok(self.time("at", now)?.unwrap_or(now))
    }

    /// The end of a question: `to`, or `at`, which says the same; else now.
    pub(super) fn end(&self, now: Timestamp) -> Result<Timestamp, Problem> {
        self.at_most_one(&["to", "at"])?;
        let to = self.time("to", now)?;
        Ok(to.or(self.time("at", now)?).unwrap_or(now))
    }

    /// The window of a list, both ends included; it begins with `from`, else at `default_from(end)`.
    pub(super) fn closed_window(
        &self,
        now: Timestamp,
        default_from: impl Fn(Timestamp) -> Window,
    ) -> Result<Window, Problem> {
        let to = self.end(now)?;
        match self.time("from", now)? {
            None => Ok(default_from(to)),
            Some(from) if from > to => Err(Problem::parameter(
                "from",
                format!("{from} lies after the end, {to}"),
            )),
            Some(from) => Ok(Window::closed(from, to)),
        }
    }

    /// Refuses two ways of saying one thing.
    pub(super) fn at_most_one(&self, names: &[&str]) -> Result<(), Problem> {
        let mut given = names.iter().filter(|name| self.text(name).is_some());
        match (given.next(), given.next()) {
            (Some(first), Some(second)) => Err(Problem::parameter(
                second,
                format!("contradicts `{first}`: give one of them"),
            )),
            _ => Ok(()),
        }
    }

    /// One word of a closed set.
    pub(super) fn choice<T: Copy>(
        &self,
        name: &str,
        choices: &[(&str, T)],
    ) -> Result<Option<T>, Problem> {
        let Some(text) = self.text(name) else {
            return Ok(None);
        };
        if let Some((_, choice)) = choices.iter().find(|(word, _)| *word == text) {
            return Ok(Some(*choice));
        }
        let words: Vec<_> = choices.iter().map(|(word, _)| *word).collect();
        Err(Problem::parameter(
            name,
            format!("`{text}` is none of {}", words.join(", ")),
        ))
    }
}

/// The guard has read them already; a route without guard takes none.
impl<S: Sync> FromRequestParts<S> for Parameters {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        Ok(parts.extensions.remove::<Self>().unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_000);

    fn read(query: &str) -> Result<Parameters, Problem> {
        Parameters::read(
            Some(query),
            &["at", "from", "to", "step", "agent_id", ANY_LABEL],
        )
    }

    fn pointer<T: std::fmt::Debug>(result: Result<T, Problem>) -> String {
        let problem = result.unwrap_err();
        assert_eq!(problem.status, 400);
        problem.errors[0].pointer.clone()
    }

    #[test]
    fn typos_and_repetitions_are_named() {
        assert_eq!(pointer(read("agentid=x")), "agentid");
        assert_eq!(pointer(read("at=1&at=2")), "at");
        assert_eq!(pointer(read("label.=2")), "label.");
        assert_eq!(pointer(read("agent_id=%ff")), "agent_id");
        assert_eq!(
            pointer(Parameters::read(Some("label.a=1"), &["at"])),
            "label.a"
        );
        assert_eq!(
            read(&"a".repeat(QUERY_BYTES_MAX + 1)).unwrap_err().status,
            414
        );
        assert!(Parameters::read(None, &[]).is_ok());
    }

    #[test]
    fn labels_and_texts_are_decoded() {
        let p = read("label.a=1&label.a.b=%C3%A4+x&agent_id=a%2Fb").unwrap();
        assert_eq!(p.labels().collect::<Vec<_>>(), [("a", "1"), ("a.b", "ä x")]);
        assert_eq!(p.text("agent_id"), Some("a/b"));
    }

    #[test]
    fn windows_are_closed_and_in_order() {
        let hour = |to| Window::ending_at(to, 3_600_000);
        let window = |query: &str| read(query)?.closed_window(NOW, hour);
        assert_eq!(
            window("from=1699999999&to=1700000000"),
            Ok(Window::closed(NOW.plus_millis(-1_000), NOW))
        );
        assert_eq!(window("at=-1h"), Ok(hour(NOW.plus_millis(-3_600_000))));
        assert_eq!(window(""), Ok(hour(NOW)));
        assert_eq!(pointer(window("from=2&to=1")), "from");
        assert_eq!(pointer(window("at=2&to=1")), "at");
        assert_eq!(pointer(window("to=yesterday")), "to");
        assert_eq!(
            pointer(read("step=0s").unwrap().duration_ms("step")),
            "step"
        );
        assert_eq!(pointer(read("step=5").unwrap().duration_ms("step")), "step");
    }
}
