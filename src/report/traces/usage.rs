//! Tokens and cost, added up in any order.

use std::collections::BTreeMap;

use serde::{Serialize, Serializer, ser::SerializeMap};

use crate::model::{ExactSum, TokenUsage};

use super::super::shape;

/// Models that are told one by one; the others are summed up.
const MODELS_MAX: usize = 20;
/// What the models beyond those are called together.
const OTHER_MODELS: &str = "(other)";

/// Tokens and cost of inferences.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct TokenTotals {
    /// Tokens of prompts, cached ones included.
    pub input_tokens: u64,
    /// Tokens of answers, reasoning included.
    pub output_tokens: u64,
    /// Cost by the price table, of the inferences whose model it has; `None` where it has none.
    #[serde(serialize_with = "shape::maybe_number")]
    pub cost: Option<f64>,
    /// Tokens of inferences whose cost is not known.
    pub unpriced_tokens: u64,
}

impl TokenTotals {
    /// Tokens of both directions.
    pub const fn tokens(&self) -> u64 {
        self.input_tokens.saturating_add(self.output_tokens)
    }
}

/// Tokens and cost by model: the 20 with the most tokens, most first, then by name; the rest is one entry.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TokensByModel(pub Vec<(String, TokenTotals)>);

impl Serialize for TokensByModel {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (model, usage) in &self.0 {
            map.serialize_entry(model, usage)?;
        }
        map.end()
    }
}

/// A sum of usage that does not depend on the order of its terms.
#[derive(Clone, Debug, Default)]
pub(super) struct UsageSum {
    input: u64,
    output: u64,
    cost: Option<ExactSum>,
    unpriced: u64,
}

impl UsageSum {
    pub(super) fn add(&mut self, usage: &TokenUsage) {
        self.input = self.input.saturating_add(usage.input);
        self.output = self.output.saturating_add(usage.output);
        if let Some(cost) = usage.cost {
            self.cost.get_or_insert_default().add(cost);
        } else {
            let tokens = usage.input.saturating_add(usage.output);
            self.unpriced = self.unpriced.saturating_add(tokens);
        }
    }

    fn merge(&mut self, other: &Self) {
        self.input = self.input.saturating_add(other.input);
        self.output = self.output.saturating_add(other.output);
        if let Some(cost) = &other.cost {
            self.cost.get_or_insert_default().merge(cost);
        }
        self.unpriced = self.unpriced.saturating_add(other.unpriced);
    }

    fn told(&self) -> TokenTotals {
        TokenTotals {
            input_tokens: self.input,
            output_tokens: self.output,
            cost: self.cost.as_ref().map(ExactSum::to_f64),
            unpriced_tokens: self.unpriced,
        }
    }
}

/// TokenTotals by model.
#[derive(Clone, Debug, Default)]
pub(super) struct ModelSums(BTreeMap<String, UsageSum>);

impl ModelSums {
    pub(super) fn add(&mut self, model: &str, usage: &TokenUsage) {
        if let Some(sum) = self.0.get_mut(model) {
            sum.add(usage);
        } else {
            self.0.entry(model.to_owned()).or_default().add(usage);
        }
    }

    pub(super) fn merge(&mut self, other: &Self) {
        for (model, sum) in &other.0 {
            self.0.entry(model.clone()).or_default().merge(sum);
        }
    }

    /// All models together, and each.
    pub(super) fn told(&self) -> (TokenTotals, TokensByModel) {
        let mut all = UsageSum::default();
        for sum in self.0.values() {
            all.merge(sum);
        }
        let mut by_size: Vec<(&String, &UsageSum)> = self.0.iter().collect();
        // Stable: names stay in order within one size.
        by_size.sort_by_key(|(_, sum)| std::cmp::Reverse(sum.input.saturating_add(sum.output)));
        let rest = by_size.split_off(by_size.len().min(MODELS_MAX));
        let mut models: Vec<(String, TokenTotals)> = by_size
            .into_iter()
            .map(|(model, sum)| (model.clone(), sum.told()))
            .collect();
        if !rest.is_empty() {
            let mut others = UsageSum::default();
            for (_, sum) in rest {
                others.merge(sum);
            }
            models.push((OTHER_MODELS.to_owned(), others.told()));
        }
        (all.told(), TokensByModel(models))
    }
}
