//! One integration-test binary; a module per subject.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on should stop"
)]

mod command_line;
mod config;
mod exposition;
mod fixtures;
mod layouts;
mod rooms;
