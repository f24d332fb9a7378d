//! The command line: one file per command. Talks to people, and decides nothing that a room below
//! could decide.

mod agent;
mod agents;
mod alerts;
mod check;
mod command;
mod completions;
mod db;
mod demo;
mod failure;
mod man;
mod output;
mod progress;
mod query;
mod report;
mod rule_tests;
mod rules;
mod serve;
mod server;
mod source;
mod traces;
mod transfer;
mod window;

pub use command::run;
