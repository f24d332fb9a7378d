//! `longwatch db export` and `longwatch db import`

mod export;
mod import;

pub(super) use export::Export;
pub(super) use import::Import;
