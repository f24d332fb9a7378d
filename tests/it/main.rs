//! One integration-test binary; a module per subject.

mod command_line;
mod config;
mod rooms;
