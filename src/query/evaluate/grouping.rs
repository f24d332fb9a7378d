//! Which series are aggregated together.

use std::collections::HashMap;

use crate::{
    model::{Labels, NAME_LABEL},
    query::{budget::Held, column::Column, expression::Aggregate},
};

/// `by (...)` or `without (...)`.
pub(super) struct Grouping<'a> {
    without: bool,
    labels: Vec<&'a str>,
}

impl<'a> Grouping<'a> {
    pub(super) fn of(aggregate: &'a Aggregate) -> Self {
        Self {
            without: aggregate.without,
            labels: aggregate.labels.iter().map(String::as_str).collect(),
        }
    }

    /// The same, one more label told apart.
    pub(super) fn and(mut self, label: &'a str) -> Self {
        if !self.without {
            self.labels.push(label);
        }
        self
    }

    /// Labels of the group that a series belongs to.
    pub(super) fn labels_of(&self, labels: &Labels) -> Labels {
        if self.without {
            return labels.keep(|name| name != NAME_LABEL && !self.labels.contains(&name));
        }
        if self.labels.is_empty() {
            return Labels::default();
        }
        labels.keep(|name| self.labels.contains(&name))
    }
}

/// Groups in the order in which their first series came.
pub(super) struct Groups<T> {
    found: HashMap<Labels, usize>,
    groups: Vec<Group<T>>,
}

/// Series that are aggregated together.
pub(super) struct Group<T> {
    pub(super) labels: Labels,
    pub(super) drop_name: bool,
    pub(super) members: T,
}

impl<T> Group<T> {
    /// The group's column.
    pub(super) fn column(&self, values: Vec<f64>, held: Held) -> Column {
        Column::new(self.labels.clone(), self.drop_name, values, held)
    }
}

impl<T> Groups<T> {
    pub(super) fn new() -> Self {
        Self {
            found: HashMap::new(),
            groups: Vec::new(),
        }
    }

    /// The group of these labels, made anew where there is none yet.
    pub(super) fn group(
        &mut self,
        labels: Labels,
        drop_name: bool,
        new: impl FnOnce() -> T,
    ) -> &mut T {
        let groups = &mut self.groups;
        let at = *self.found.entry(labels).or_insert_with_key(|labels| {
            groups.push(Group {
                labels: labels.clone(),
                drop_name: false,
                members: new(),
            });
            groups.len() - 1
        });
        let group = &mut self.groups[at];
        group.drop_name |= drop_name;
        &mut group.members
    }

    /// Whether there is a group of these labels.
    pub(super) fn has(&self, labels: &Labels) -> bool {
        self.found.contains_key(labels)
    }

    /// The group of these labels, if there is one.
    pub(super) fn known(&mut self, labels: &Labels) -> Option<&mut T> {
        let at = *self.found.get(labels)?;
        self.groups.get_mut(at).map(|group| &mut group.members)
    }

    pub(super) fn into_groups(self) -> Vec<Group<T>> {
        self.groups
    }
}
