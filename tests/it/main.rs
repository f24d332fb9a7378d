//! One integration-test binary; a module per subject.

mod config;
mod rooms;
