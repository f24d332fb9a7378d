use std::{os::unix::fs::PermissionsExt, path::PathBuf};

use serde_json::Value;

use super::*;
use crate::{
    net::Client,
    notify::{
        NET,
        fake::{RuntimeClock, delivery},
    },
};

/// A script in a folder of its own, which is its first argument.
struct Script {
    folder: tempfile::TempDir,
    command: Command,
}

impl Script {
    fn new(text: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("script");
        std::fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).unwrap();
        let own = [
            path.display().to_string(),
            folder.path().display().to_string(),
        ];
        let odd = "$(touch x); `id` \"'".to_owned();
        let settings = CommandSettings {
            command: own.into_iter().chain([odd]).collect(),
        };
        let around = Surroundings {
            http: Client::new(&NET).unwrap(),
            external_url: "".into(),
            clock: RuntimeClock::start(),
        };
        Self {
            command: Command::new("pager".to_owned(), settings, &around),
            folder,
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    async fn run(&self) -> DeliveryOutcome {
        // Another test's child may still hold the script open for writing (ETXTBSY), as it was forked then.
        loop {
            match self.command.deliver(&delivery(1, "g")).await {
                DeliveryOutcome::Failed { error, .. } if error.contains("Text file busy") => {}
                outcome => return outcome,
            }
        }
    }
}

#[tokio::test]
async fn the_program_gets_the_body_and_nothing_else() {
    let script = Script::new("cat > $1/body; env > $1/env; printf '%s' \"$2\" > $1/argument");
    assert_eq!(script.run().await, DeliveryOutcome::Delivered);
    let read = |name| std::fs::read_to_string(script.path(name)).unwrap();
    let body: Value = serde_json::from_str(&read("body")).unwrap();
    assert_eq!(body["receiver"], "pager");
    assert_eq!(body["alerts"][0]["alert_id"], "HighCpu:agent-1:cpu");
    assert_eq!(read("argument"), "$(touch x); `id` \"'");
    let environment = read("env");
    let mut names: Vec<_> = environment
        .lines()
        .filter_map(|line| line.split_once('='))
        .map(|(name, _)| name)
        // The shell's own.
        .filter(|name| !matches!(*name, "PWD" | "OLDPWD" | "SHLVL" | "_"))
        .collect();
    names.sort_unstable();
    assert_eq!(names, ["IDEMPOTENCY_KEY", "PATH"]);
    assert!(environment.contains("IDEMPOTENCY_KEY=key-1\n"));
}

#[tokio::test]
async fn statuses_decide() {
    let why = |text: &str| text.to_owned();
    for (text, expected) in [
        ("exit 0", DeliveryOutcome::Delivered),
        ("exit 75", failed("the command asks for another attempt")),
        (
            "echo 'no such room' >&2; echo more >&2; exit 3",
            refused("the command ended with status 3: no such room"),
        ),
        (
            "kill -9 $$",
            failed("the command was ended: signal: 9 (SIGKILL)"),
        ),
        // It need not read what it gets, and may say more than anybody keeps.
        (
            "exec <&-; head -c 300000 /dev/zero >&2; exit 0",
            DeliveryOutcome::Delivered,
        ),
    ] {
        assert_eq!(Script::new(text).run().await, expected, "{}", why(text));
    }
}

#[tokio::test]
async fn a_program_that_cannot_be_run_may_come_back() {
    let script = Script::new("exit 0");
    std::fs::remove_file(script.path("script")).unwrap();
    let DeliveryOutcome::Failed { error, .. } = script.run().await else {
        panic!()
    };
    assert!(
        error.starts_with("the command cannot be run: No such file"),
        "{error}"
    );
}

/// What the program started ends with it when its time is over.
#[tokio::test]
async fn the_whole_group_is_killed() {
    // The child writes its number once it runs; the parent waits for it for ever.
    let script = Script::new(
        "sh -c 'echo $$ > $0/child.part; mv $0/child.part $0/child; sleep 600' $1 &\nwait",
    );
    let child = script.path("child");
    {
        let delivery = delivery(1, "g");
        let attempt = script.command.deliver(&delivery);
        tokio::pin!(attempt);
        while !child.exists() {
            tokio::select! {
                outcome = &mut attempt => panic!("{outcome:?}"),
                () = tokio::time::sleep(Duration::from_millis(5)) => {}
            }
        }
        // The time is over: the deliverer drops the attempt.
    }
    let number: i32 = std::fs::read_to_string(&child)
        .unwrap()
        .trim()
        .parse()
        .unwrap();
    let stat = format!("/proc/{number}/stat");
    // A killed process is gone, or a zombie until somebody takes note of it.
    let is_over = || match std::fs::read_to_string(&stat) {
        Ok(text) => text
            .rsplit(") ")
            .next()
            .is_some_and(|rest| rest.starts_with('Z')),
        Err(_) => true,
    };
    while !is_over() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
