//! One integration-test binary; a module per subject.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on should stop"
)]

mod access;
mod alerting;
mod bounds;
mod command_line;
mod compaction;
mod config;
mod damage;
mod demo;
mod disk_full;
mod durability;
mod exposition;
mod expression_rules;
mod fixtures;
mod forwarding;
mod fuzzed;
mod harness;
mod hostile_targets;
mod keeping;
mod layouts;
mod lifecycle;
mod naive_promql;
mod notifications;
mod offline;
mod processes;
mod prometheus;
mod promqltest;
mod push;
mod receiver;
mod reports;
mod rooms;
mod rule_files;
mod rule_tests;
mod server;
mod target;
mod target_files;
mod traces;
mod windows;
