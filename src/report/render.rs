//! The forms a report can take.

use crate::model::{History, ReadError};

use super::{csv, html, json, markdown, performance::PerformanceReport, text};

/// Form of a rendered report.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Format {
    /// For programs; the same bytes over HTTP and from the command line.
    Json,
    /// For a terminal.
    Text,
    /// For a ticket or a wiki.
    Markdown,
    /// For a spreadsheet: one row per agent.
    Csv,
    /// For a browser or a printer: one file with its charts.
    Html,
}

impl Format {
    /// The format of a word: `json`, `text`, `md`, `csv` or `html`.
    pub fn parse(word: &str) -> Option<Self> {
        match word {
            "json" => Some(Self::Json),
            "text" => Some(Self::Text),
            "md" => Some(Self::Markdown),
            "csv" => Some(Self::Csv),
            "html" => Some(Self::Html),
            _ => None,
        }
    }

    /// The value of the `Content-Type` header.
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::Text => "text/plain; charset=utf-8",
            Self::Markdown => "text/markdown; charset=utf-8",
            Self::Csv => "text/csv; charset=utf-8; header=present",
            Self::Html => "text/html; charset=utf-8",
        }
    }
}

/// Writes the report. The history is read again only for the charts of HTML.
pub fn render(
    history: &dyn History,
    report: &PerformanceReport,
    format: Format,
) -> Result<String, ReadError> {
    match format {
        Format::Json => json::render(report),
        Format::Text => Ok(text::render(report)),
        Format::Markdown => Ok(markdown::render(report)),
        Format::Csv => Ok(csv::render(report)),
        Format::Html => html::render(history, report),
    }
}

#[cfg(test)]
mod tests {
    use super::Format;

    #[test]
    fn formats_have_one_word_each() {
        assert_eq!(Format::parse("md"), Some(Format::Markdown));
        assert_eq!(Format::parse("JSON"), None);
        assert_eq!(Format::parse("pdf"), None);
        assert_eq!(Format::Html.content_type(), "text/html; charset=utf-8");
    }
}
