//! Which commands there are, and the way from arguments to an exit status.

use std::{ffi::OsString, io::Write, process::ExitCode};

use clap::{Parser, Subcommand};

use super::{
    agent, agents, alerts, check, completions, db, demo,
    failure::{Failure, Status},
    man, query, report, rules, serve, traces,
};

/// A monitor for fleets of agents: one binary, one file, durable history.
#[derive(Debug, Parser)]
#[command(
    name = "longwatch",
    version,
    disable_help_subcommand = true,
    arg_required_else_help = true,
    after_help = "Exit status: 0 done, 1 what was checked does not hold or could not be done, 2 wrong usage or \
        configuration, 3 the database cannot be used.\n\n\
        Examples:\n  \
        longwatch demo                                  a simulated fleet to look at\n  \
        longwatch serve                                 watch this host, on http://127.0.0.1:7464\n  \
        longwatch report --url http://127.0.0.1:7464    the last 24 hours"
)]
pub(super) struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Serve(serve::Serve),
    Agent(agent::Agent),
    Demo(demo::Demo),
    Report(report::Report),
    Query(query::Query),
    #[command(subcommand)]
    Check(check::Check),
    #[command(subcommand)]
    Rules(rules::Rules),
    #[command(subcommand)]
    Traces(traces::Traces),
    #[command(subcommand)]
    Alerts(alerts::Alerts),
    #[command(subcommand)]
    Agents(agents::Agents),
    #[command(subcommand)]
    Db(db::Db),
    Completions(completions::Completions),
    Man(man::Man),
}

/// Runs the command that the arguments name; the first of them is the program's own name.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    // Clients and the server take the process's provider; a second call changes nothing.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(e) => return refuse(&e),
    };
    let done = match cli.command {
        Command::Serve(serve) => serve.run(),
        Command::Agent(agent) => agent.run(),
        Command::Demo(demo) => demo.run(),
        Command::Report(report) => report.run(),
        Command::Query(query) => query.run(),
        Command::Check(check) => check.run(),
        Command::Rules(rules) => rules.run(),
        Command::Traces(traces) => traces.run(),
        Command::Alerts(alerts) => alerts.run(),
        Command::Agents(agents) => agents.run(),
        Command::Db(db) => db.run(),
        Command::Completions(completions) => completions.run(),
        Command::Man(man) => man.run(),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            failure.tell();
            failure.status().into()
        }
    }
}

/// Says what is wrong with the arguments, or prints the help that was asked for.
fn refuse(error: &clap::Error) -> ExitCode {
    use clap::error::ErrorKind;
    let names_itself = matches!(
        error.kind(),
        ErrorKind::DisplayHelp
            | ErrorKind::DisplayVersion
            | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand
    );
    if !names_itself {
        let _ = write!(std::io::stderr(), "longwatch: ");
    }
    // Whoever closed a stream does not want to read it.
    let _ = error.print();
    if error.use_stderr() {
        Status::Usage.into()
    } else {
        ExitCode::SUCCESS
    }
}

impl From<Status> for ExitCode {
    fn from(status: Status) -> Self {
        Self::from(status as u8)
    }
}

/// An error of usage that clap cannot see by itself.
pub(super) fn usage(reason: impl Into<String>) -> Failure {
    Failure::new(Status::Usage, reason)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn arguments_are_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_command_has_an_example() {
        fn check(command: &clap::Command, path: &str) {
            let path = format!("{path} {}", command.get_name());
            let help = command.get_after_help().map(ToString::to_string);
            assert!(
                help.is_some_and(|h| h.contains("Example") && h.contains("longwatch ")),
                "{path} --help has no example"
            );
            assert!(command.get_about().is_some(), "{path} says nothing");
            for sub in command.get_subcommands() {
                check(sub, &path);
            }
        }
        check(&Cli::command(), "");
    }
}
