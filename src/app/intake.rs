//! What is told of spans that are taken in, from the configuration.

use std::{fs, sync::Arc};

use super::StartError;
use crate::{
    api::{TraceIntake, TraceSettings},
    ingest::SpanLimits,
    model::PriceTable,
};

/// Reads the price table, if another than the built-in one is asked for.
///
/// # Errors
/// The file cannot be read, or is no price table.
pub(super) fn trace_intake(settings: &TraceSettings) -> Result<TraceIntake, StartError> {
    let prices = match &settings.prices_file {
        None => PriceTable::built_in(),
        Some(path) => {
            let wrong = |why: String| {
                StartError::Config(format!("traces.prices_file {}: {why}", path.display()))
            };
            let text = fs::read_to_string(path).map_err(|e| wrong(e.to_string()))?;
            PriceTable::parse(&text).map_err(|e| wrong(e.to_string()))?
        }
    };
    Ok(TraceIntake {
        agent_attribute: settings.agent_attribute.clone(),
        prices: Arc::new(prices),
        limits: SpanLimits::default(),
    })
}
