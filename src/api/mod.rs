//! The HTTP edge: translates, authorises, nothing else.

mod settings;

pub use settings::{Settings, TlsFiles};
