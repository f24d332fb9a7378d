//! Collection: scraping, probing, sampling this host and longwatch itself.

mod settings;

pub use settings::Settings;
