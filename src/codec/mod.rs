//! Bytes <-> model: how columns of samples are written down. Knows no file and no table.

mod bits;
mod corrupt;
mod decimal;
mod integers;
mod runs;
pub mod times;
pub mod values;
pub mod varint;

pub use corrupt::Corrupt;
