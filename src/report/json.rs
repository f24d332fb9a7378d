//! The report as JSON: indented, with a newline at the end.

use crate::model::ReadError;

use super::performance::PerformanceReport;

pub(super) fn render(report: &PerformanceReport) -> Result<String, ReadError> {
    let mut text =
        serde_json::to_string_pretty(report).map_err(|e| ReadError::Backend(e.to_string()))?;
    text.push('\n');
    Ok(text)
}
