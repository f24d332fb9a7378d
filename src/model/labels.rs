//! Labels of a series as a query sees it, its name among them.

use std::{cmp::Ordering, fmt, sync::Arc};

use super::series::{put_text, take_text};

/// The label that holds the metric's name.
pub const NAME_LABEL: &str = "__name__";

/// Sorted, unique, non-empty labels in one allocation that clones share; equal labels have equal bytes.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Labels(Arc<[u8]>);

impl Labels {
    /// Labels in any order; of several with one name the last holds, and those with an empty value are left out.
    pub fn new<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let mut pairs: Vec<(&str, &str)> = pairs.into_iter().collect();
        pairs.sort_by(|a, b| a.0.cmp(b.0));
        let mut builder = LabelsBuilder::default();
        for (at, (name, value)) in pairs.iter().enumerate() {
            if pairs.get(at + 1).is_none_or(|next| next.0 != *name) {
                builder.push(name, value);
            }
        }
        builder.finish()
    }

    /// Name and value of each, sorted by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        let mut rest = &*self.0;
        std::iter::from_fn(move || Some((take_text(&mut rest)?, take_text(&mut rest)?)))
    }

    /// Value of a label; empty where there is none.
    pub fn get(&self, name: &str) -> &str {
        let found = self.iter().find(|(known, _)| *known == name);
        found.map_or("", |(_, value)| value)
    }

    /// The metric's name; empty where there is none.
    pub fn name(&self) -> &str {
        self.get(NAME_LABEL)
    }

    /// Whether there is no label.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Those that are wanted.
    pub fn keep(&self, wanted: impl Fn(&str) -> bool) -> Self {
        let mut builder = LabelsBuilder::default();
        let kept = self.iter().filter(|(name, _)| wanted(name));
        kept.for_each(|(name, value)| builder.push(name, value));
        builder.finish()
    }

    /// All but the metric's name.
    pub fn without_name(&self) -> Self {
        self.keep(|name| name != NAME_LABEL)
    }

    /// The same with one label set, or removed where the value is empty.
    pub fn with(&self, name: &str, value: &str) -> Self {
        let mut builder = LabelsBuilder::default();
        let before = self.iter().take_while(|(known, _)| *known < name);
        before.for_each(|(known, value)| builder.push(known, value));
        builder.push(name, value);
        let after = self.iter().skip_while(|(known, _)| *known <= name);
        after.for_each(|(known, value)| builder.push(known, value));
        builder.finish()
    }
}

impl Default for Labels {
    fn default() -> Self {
        LabelsBuilder::default().finish()
    }
}

/// By names and values, as Prometheus sorts its answers.
impl Ord for Labels {
    fn cmp(&self, other: &Self) -> Ordering {
        self.iter().cmp(other.iter())
    }
}

impl PartialOrd for Labels {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// As Prometheus writes it: `name{a="b"}`.
impl fmt::Display for Labels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.name();
        f.write_str(name)?;
        let others = self.iter().filter(|(label, _)| *label != NAME_LABEL);
        let mut count = 0;
        for (label, value) in others {
            write!(f, "{}{label}={value:?}", if count == 0 { '{' } else { ',' })?;
            count += 1;
        }
        match (count, name.is_empty()) {
            (0, true) => f.write_str("{}"),
            (0, false) => Ok(()),
            _ => f.write_str("}"),
        }
    }
}

impl fmt::Debug for Labels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Puts labels together that come in order of their names.
#[derive(Debug, Default)]
pub struct LabelsBuilder(Vec<u8>);

impl LabelsBuilder {
    /// Adds a label whose name sorts after those before it; one with an empty value is left out.
    pub fn push(&mut self, name: &str, value: &str) {
        if !value.is_empty() {
            put_text(&mut self.0, name);
            put_text(&mut self.0, value);
        }
    }

    /// The labels; the builder is empty again, its memory kept.
    pub fn take(&mut self) -> Labels {
        let labels = Labels(self.0.as_slice().into());
        self.0.clear();
        labels
    }

    /// The labels.
    pub fn finish(mut self) -> Labels {
        self.take()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_sorted_and_the_last_of_a_name_holds() {
        let labels = Labels::new([
            ("b", "2"),
            (NAME_LABEL, "m"),
            ("a", "0"),
            ("a", "1"),
            ("c", ""),
        ]);
        assert_eq!(labels.to_string(), r#"m{a="1",b="2"}"#);
        assert_eq!(
            (labels.get("b"), labels.get("c"), labels.name()),
            ("2", "", "m")
        );
        assert_eq!(labels.without_name().to_string(), r#"{a="1",b="2"}"#);
        assert_eq!(Labels::default().to_string(), "{}");
        assert_eq!(Labels::new([(NAME_LABEL, "m")]).to_string(), "m");
    }

    #[test]
    fn one_label_is_set_or_removed() {
        let labels = Labels::new([("a", "1"), ("c", "3")]);
        let shown = |name, value| labels.with(name, value).to_string();
        assert_eq!(shown("b", "2"), r#"{a="1",b="2",c="3"}"#);
        assert_eq!(shown("c", "4"), r#"{a="1",c="4"}"#);
        assert_eq!(shown("a", ""), r#"{c="3"}"#);
        assert_eq!(shown("", ""), r#"{a="1",c="3"}"#);
    }

    #[test]
    fn they_sort_by_text_and_not_by_length() {
        let of = |value| Labels::new([("a", value)]);
        assert!(of("10") < of("9"));
        assert!(of("b") > of("aaaa"));
        assert!(Labels::default() < of("x"));
    }
}
