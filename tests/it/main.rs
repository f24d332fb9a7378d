//! One integration-test binary; a module per subject.

mod access;
mod bounds;
mod command_line;
mod config;
mod demo;
mod durability;
mod exposition;
mod lifecycle;
mod offline;
mod push;
mod reports;
mod rooms;
mod server;
mod target;
