//! Wire formats -> [`crate::model::Batch`]: the native JSON document, Prometheus text 0.0.4 and
//! OpenMetrics 1.0, and the encodings that bodies come in.
//!
//! Nothing here recurses over its input, nothing allocates by a size that the input declares, and
//! every pass over a body is linear in its length.

mod byte_set;
mod encoding;
mod family;
mod histogram;
mod json_metric;
mod json_push;
mod line;
mod number;
mod openmetrics;
mod parsed;
mod rows;
mod scrape;
mod shown;
mod text;

pub use encoding::decompress;
pub use json_push::parse_push;
pub use parsed::{BodyError, Parsed, ROW_ERRORS_MAX, RowError, SAMPLES_PER_BODY_MAX};
pub use scrape::parse_scrape;
