//! What tokens cost: a dated table, which its user may replace.

use chrono::{DateTime, NaiveDate, NaiveTime};
use serde::Deserialize;
use toml::{Spanned, value::Datetime};

use super::{AttributeValue, Glob, Span, Timestamp, TokenUsage, genai, own_attributes};

/// The table that comes with longwatch.
const BUILT_IN: &str = include_str!("prices.toml");

/// Tokens that prices are for.
const UNIT: f64 = 1e6;

/// Prices of models, each from a day on.
#[derive(Clone, Debug, PartialEq)]
pub struct PriceTable {
    version: String,
    currency: String,
    prices: Vec<Price>,
}

/// The price of the models of a pattern from a day on; per million tokens.
#[derive(Clone, Debug, PartialEq)]
struct Price {
    provider: Option<String>,
    model: Glob,
    since: Timestamp,
    input: f64,
    output: f64,
    /// As `input` where it is not told.
    cache_read: f64,
    cache_creation: f64,
}

/// What is wrong with a table of prices.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {reason}")]
pub struct BadPrices {
    /// Line of the mistake, from 1.
    pub line: usize,
    /// What is wrong, naming the key.
    pub reason: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    version: String,
    currency: String,
    #[serde(default)]
    price: Vec<Spanned<Entry>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    provider: Option<String>,
    model: Spanned<String>,
    since: Spanned<Datetime>,
    input: Spanned<f64>,
    output: Spanned<f64>,
    cache_read: Option<Spanned<f64>>,
    cache_creation: Option<Spanned<f64>>,
}

impl PriceTable {
    /// Reads a table in TOML: `version`, `currency`, and for each `[[price]]` `model` (`*` stands for any text),
    /// `since` (a date, from its midnight in UTC), `input`, `output`, and where they differ from `input` `cache_read`
    /// and `cache_creation`, all per million tokens; `provider` may say who serves the model.
    pub fn parse(text: &str) -> Result<Self, BadPrices> {
        let bad = |at: usize, reason: String| BadPrices {
            line: text.get(..at).unwrap_or(text).matches('\n').count() + 1,
            reason,
        };
        let document: Document = toml::from_str(text).map_err(|error| {
            let at = error.span().map_or(0, |span| span.start);
            bad(at, error.message().trim_end().replace('\n', " "))
        })?;
        let mut prices = Vec::with_capacity(document.price.len());
        for entry in document.price {
            let entry = entry.into_inner();
            let number = |key: &str, number: &Spanned<f64>| {
                let price = *number.get_ref();
                if price.is_finite() && price >= 0.0 {
                    return Ok(price);
                }
                let reason = format!("`{key}` must be a number that is not below 0, not {price}");
                Err(bad(number.span().start, reason))
            };
            let input = number("input", &entry.input)?;
            let or_input = |key: &str, told: &Option<Spanned<f64>>| {
                told.as_ref().map_or(Ok(input), |told| number(key, told))
            };
            let model = entry.model.get_ref().to_ascii_lowercase();
            if model.is_empty() {
                let at = entry.model.span().start;
                return Err(bad(at, "`model` must not be empty".to_owned()));
            }
            let since = midnight(entry.since.get_ref()).ok_or_else(|| {
                let reason = "`since` must be a date alone, as 2025-01-31".to_owned();
                bad(entry.since.span().start, reason)
            })?;
            prices.push(Price {
                output: number("output", &entry.output)?,
                cache_read: or_input("cache_read", &entry.cache_read)?,
                cache_creation: or_input("cache_creation", &entry.cache_creation)?,
                provider: entry.provider.map(|provider| provider.to_ascii_lowercase()),
                model: Glob::new(model),
                since,
                input,
            });
        }
        // The most telling pattern first, of one pattern the latest price.
        prices.sort_by_key(|price| {
            let letters = price.model.as_str().bytes().filter(|b| *b != b'*').count();
            std::cmp::Reverse((letters, price.since))
        });
        Ok(Self {
            version: document.version,
            currency: document.currency,
            prices,
        })
    }

    /// The table that comes with longwatch; its [`Self::version`] is the day it was made.
    pub fn built_in() -> Self {
        // A test reads it; it is never empty.
        Self::parse(BUILT_IN).unwrap_or_else(|_| Self {
            version: String::new(),
            currency: String::new(),
            prices: Vec::new(),
        })
    }

    /// Which table this is, mostly a day.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// What its prices, and all costs, are in.
    pub fn currency(&self) -> &str {
        &self.currency
    }

    /// What the tokens cost at a time; `None` for a model that has no price then. Names are compared in lower case, as
    /// they are and behind their last `/`.
    pub fn cost(&self, model: &str, at: Timestamp, usage: &TokenUsage) -> Option<f64> {
        self.cost_by(None, model, at, usage)
    }

    /// The same for a provider: prices of others come into question only where it has none.
    fn cost_by(
        &self,
        provider: Option<&str>,
        model: &str,
        at: Timestamp,
        usage: &TokenUsage,
    ) -> Option<f64> {
        let model = model.to_ascii_lowercase();
        let bare = model.rsplit('/').next().unwrap_or_default();
        let fitting = || {
            self.prices.iter().filter(|price| {
                price.since <= at && (price.model.fits(&model) || price.model.fits(bare))
            })
        };
        let is_of = |price: &&Price| {
            let pair = provider.zip(price.provider.as_deref());
            pair.is_some_and(|(asked, told)| asked.to_ascii_lowercase().contains(told))
        };
        let price = fitting().find(is_of).or_else(|| fitting().next())?;
        let cached = usage.cache_read.saturating_add(usage.cache_creation);
        let fresh = usage.input.saturating_sub(cached);
        let cost = fresh as f64 * price.input
            + usage.cache_read as f64 * price.cache_read
            + usage.cache_creation as f64 * price.cache_creation
            + usage.output as f64 * price.output;
        Some(cost / UNIT)
    }
}

fn midnight(date: &Datetime) -> Option<Timestamp> {
    if date.time.is_some() {
        return None;
    }
    let date = date.date?;
    let day = NaiveDate::from_ymd_opt(date.year.into(), date.month.into(), date.day.into())?;
    let start: DateTime<_> = day.and_time(NaiveTime::MIN).and_utc();
    Some(Timestamp::from_millis(start.timestamp_millis()))
}

/// Sets the usage of spans that are inferences, with what it costs by the prices of when they began. A cost that no
/// price is known for is `None`.
pub fn price(spans: &mut [Span], table: &PriceTable) {
    for span in spans {
        let Some(mut usage) = span.usage.or_else(|| genai::token_usage(span)) else {
            continue;
        };
        let at = Timestamp::from_millis(span.start_ns.div_euclid(1_000_000));
        usage.cost = genai::model_of(span)
            .and_then(|model| table.cost_by(genai::provider_of(span), model, at, &usage));
        if usage.cost.is_some() {
            let version = AttributeValue::Text(table.version.as_str().into());
            span.attributes.set(own_attributes::PRICES, version);
        }
        span.usage = Some(usage);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_764_600_000_000);

    fn usage(input: u64, output: u64, cache_read: u64) -> TokenUsage {
        TokenUsage {
            input,
            output,
            cache_read,
            ..TokenUsage::default()
        }
    }

    #[test]
    fn the_table_that_comes_along_is_good() {
        PriceTable::parse(BUILT_IN).unwrap();
        let table = PriceTable::built_in();
        assert_eq!((table.version(), table.currency()), ("2025-12-01", "USD"));
        let million = usage(1_000_000, 0, 0);
        for (model, cost) in [
            ("gpt-4o-2024-11-20", Some(2.5)),
            ("OpenAI/GPT-4o-mini", Some(0.15)),
            ("us.anthropic.claude-sonnet-4-20250514-v1:0", Some(3.0)),
            ("models/gemini-2.5-flash-lite", Some(0.1)),
            ("gpt-4", Some(30.0)),
            ("my-own", None),
        ] {
            assert_eq!(table.cost(model, NOW, &million), cost, "{model}");
        }
        let o3_before = Timestamp::from_millis(1_748_000_000_000);
        assert_eq!(table.cost("o3", o3_before, &million), Some(10.0));
        assert_eq!(table.cost("o3", NOW, &million), Some(2.0));
        assert_eq!(table.cost("o3", Timestamp::from_millis(0), &million), None);
    }

    #[test]
    fn cached_tokens_cost_less_and_count_once() {
        let table = PriceTable::built_in();
        let cost = table.cost("gpt-4o", NOW, &usage(1_000_000, 100_000, 400_000));
        assert!((cost.unwrap() - (0.6 * 2.5 + 0.4 * 1.25 + 0.1 * 10.0)).abs() < 1e-9);
    }

    #[test]
    fn mistakes_have_a_line() {
        let line = |text: &str| PriceTable::parse(text).unwrap_err().to_string();
        let head = "version = \"1\"\ncurrency = \"EUR\"\n";
        for (rest, error) in [
            (
                "[[price]]\nmodel = \"a\"\nsince = 2025-01-01\ninput = -1\noutput = 1",
                "line 6: `input` must be a number that is not below 0, not -1",
            ),
            (
                "[[price]]\nmodel = \"a\"\nsince = 2025-01-01T00:00:00\ninput = 1\noutput = 1",
                "line 5: `since` must be a date alone, as 2025-01-31",
            ),
            (
                "[[price]]\nmodel = \"\"\nsince = 2025-01-01\ninput = 1\noutput = 1",
                "line 4: `model` must not be empty",
            ),
        ] {
            assert_eq!(line(&format!("{head}{rest}")), error);
        }
        assert!(line(&format!("{head}[[price]]\nmodell = 1")).starts_with("line 4: "));
        assert!(line(&format!("{head}x")).starts_with("line 3: "));
    }
}
