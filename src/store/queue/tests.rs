use proptest::prelude::*;

use super::*;
use crate::{
    model::{AgentId, Batch, Registration, RegistrationSource, Timestamp},
    store::{
        Append, Urgency,
        draft::{Prepared, PreparedRow},
    },
};

fn id(name: &str) -> AgentId {
    AgentId::new(name).unwrap()
}

/// An append of `rows` samples of an agent; nobody waits for its answer.
fn append(agent: &str, urgency: Urgency, rows: usize) -> Command {
    let row = |row| PreparedRow {
        row,
        series: None,
        sign: None,
        time: 0,
        value: 0.0,
    };
    let prepared = Prepared {
        append: Append {
            agent: id(agent),
            batch: Batch::new(),
            contact: None,
            urgency,
        },
        rows: (0..rows as u32).map(row).collect(),
        rejected: Vec::new(),
    };
    Command::Append(prepared, tokio::sync::oneshot::channel().0)
}

fn register(agent: &str) -> Command {
    let registration = Registration::bare(RegistrationSource::Api);
    Command::Register(id(agent), registration, tokio::sync::oneshot::channel().0)
}

fn whose(command: &Command) -> String {
    match command {
        Command::Append(prepared, _) => prepared.append.agent.to_string(),
        Command::Register(id, ..) | Command::Deregister { id, .. } => id.to_string(),
        Command::JudgeStale(_) => "judge".to_owned(),
        Command::Alerting(..) => "alerting".to_owned(),
        Command::Spans(..) | Command::ChangeSpans(..) => "spans".to_owned(),
    }
}

fn open(settings: &Settings) -> (Entrance, Exit) {
    queue(settings, Arc::default())
}

/// Whose commands one commit takes, in order.
fn one_commit(exit: &Exit) -> Vec<String> {
    let mut portion = Portion::default();
    std::iter::from_fn(|| exit.take(&mut portion))
        .map(|command| whose(&command))
        .collect()
}

/// As much room as there can be.
const ALL: Load = Load {
    commands: usize::MAX,
    rows: usize::MAX,
    bytes: usize::MAX,
};
/// A commit that takes this many rows.
const SMALL: Load = Load { rows: 80, ..ALL };

#[test]
fn control_comes_first_and_each_class_keeps_its_order() {
    let (entrance, exit) = open(&Settings::default());
    for command in [
        append("scrape 1", Urgency::Relaxed, 10),
        append("push 1", Urgency::Prompt, 10),
        register("control 1"),
        append("scrape 2", Urgency::News, 10),
        append("push 2", Urgency::Prompt, 10),
        Command::JudgeStale(tokio::sync::oneshot::channel().0),
    ] {
        entrance.put(command).unwrap();
    }
    assert_eq!(
        one_commit(&exit),
        [
            "control 1",
            "judge",
            "push 1",
            "push 2",
            "scrape 1",
            "scrape 2"
        ]
    );
    assert!(exit.is_empty());
}

#[test]
fn neither_pushes_nor_scrapes_wait_behind_the_backlog_of_the_other() {
    let (entrance, exit) = bounded(ALL, SMALL, Arc::default());
    for n in 0..8 {
        let scrape = append(&format!("scrape {n}"), Urgency::Relaxed, SMALL.rows / 8);
        entrance.put(scrape).unwrap();
        let push = append(&format!("push {n}"), Urgency::Prompt, SMALL.rows / 8);
        entrance.put(push).unwrap();
    }
    let share =
        |commit: &[String], class: &str| commit.iter().filter(|c| c.starts_with(class)).count();
    let first = one_commit(&exit);
    assert_eq!((share(&first, "push"), share(&first, "scrape")), (6, 2));
    let second = one_commit(&exit);
    assert_eq!((share(&second, "push"), share(&second, "scrape")), (2, 2));
    // Alone, a class has all of the commit.
    assert_eq!(share(&one_commit(&exit), "scrape"), 4);
    assert!(exit.is_empty());
}

#[test]
fn a_commit_that_takes_too_long_denies_no_class() {
    let (entrance, exit) = open(&Settings::default());
    for n in 0..3 {
        entrance.put(register(&format!("control {n}"))).unwrap();
        let push = append(&format!("push {n}"), Urgency::Prompt, 1);
        entrance.put(push).unwrap();
        let scrape = append(&format!("scrape {n}"), Urgency::Relaxed, 1);
        entrance.put(scrape).unwrap();
    }
    let mut portion = Portion {
        is_late: true,
        ..Portion::default()
    };
    let taken: Vec<_> = std::iter::from_fn(|| exit.take(&mut portion))
        .map(|command| whose(&command))
        .collect();
    assert_eq!(taken, ["control 0", "push 0", "scrape 0"]);
}

#[test]
fn a_full_class_refuses_and_the_others_do_not() {
    let (entrance, exit) = open(&Settings {
        queue_rows_max: 100,
        ..Settings::default()
    });
    // One alone may be larger than the bound.
    entrance
        .put(append("large", Urgency::Prompt, 1_000))
        .unwrap();
    let refused = entrance.put(append("next", Urgency::Prompt, 1));
    assert_eq!(
        refused,
        Err(WriteError::Busy {
            retry_after_seconds: 1
        })
    );
    entrance
        .put(append("scrape", Urgency::Relaxed, 60))
        .unwrap();
    assert!(entrance.put(append("scrape", Urgency::News, 41)).is_err());
    entrance.put(append("scrape", Urgency::News, 40)).unwrap();
    for n in 0..CONTROL_COMMANDS_MAX {
        entrance.put(register(&n.to_string())).unwrap();
    }
    assert!(entrance.put(register("one more")).is_err());
    assert_eq!(one_commit(&exit).len(), CONTROL_COMMANDS_MAX + 3);
    entrance.put(append("next", Urgency::Prompt, 100)).unwrap();
}

#[test]
fn memory_is_bounded_too() {
    let (entrance, _exit) = open(&Settings {
        queue_bytes_max: 1 << 20,
        ..Settings::default()
    });
    let mut command = append("long keys", Urgency::Prompt, 1);
    if let Command::Append(prepared, _) = &mut command {
        let value = "x".repeat(600_000);
        let mut labels = [("label", value.as_str())];
        let batch = &mut prepared.append.batch;
        batch
            .push("m", &mut labels, Timestamp::from_millis(0), 1.0)
            .unwrap();
    }
    assert!(command.load().bytes > 600_000);
    entrance.put(command).unwrap();
    // Few rows, and yet too much.
    let many = append("many rows", Urgency::Prompt, 20_000);
    assert!(many.load().bytes > 500_000);
    assert!(entrance.put(many).is_err());
}

#[test]
fn what_is_urgent_is_due_at_once_and_so_is_plenty() {
    let (entrance, exit) = bounded(ALL, SMALL, Arc::default());
    let delay = Duration::from_hours(1);
    assert_eq!(exit.due(delay), None);
    entrance.put(append("a", Urgency::Relaxed, 1)).unwrap();
    assert!(exit.due(delay).unwrap() > Instant::now());
    entrance.put(append("b", Urgency::News, 1)).unwrap();
    assert!(exit.due(delay).unwrap() <= Instant::now());
    one_commit(&exit);
    entrance
        .put(append("c", Urgency::Relaxed, SMALL.rows / 2))
        .unwrap();
    assert!(exit.due(delay).unwrap() > Instant::now());
    assert!(!exit.has_plenty());
    entrance
        .put(append("d", Urgency::Relaxed, SMALL.rows / 2 + 1))
        .unwrap();
    assert!(exit.due(delay).unwrap() <= Instant::now());
    assert!(exit.has_plenty());
}

#[test]
fn judging_makes_no_commits_of_its_own() {
    let (entrance, exit) = open(&Settings::default());
    let start = Instant::now();
    let delay = Duration::from_secs(10);
    let mut commits = 0;
    let mut is_judging = false;
    for second in 0..60 {
        let now = start + Duration::from_secs(second);
        let scrape = append("scraped", Urgency::Relaxed, 10);
        entrance.put_at(scrape, now).unwrap();
        // As the server does: every five seconds, once the last judgement was made.
        if second % 5 == 3 && !is_judging {
            let judge = Command::JudgeStale(tokio::sync::oneshot::channel().0);
            entrance.put_at(judge, now).unwrap();
            is_judging = true;
        }
        if exit.due(delay).is_some_and(|due| due <= now) {
            let taken = one_commit(&exit);
            assert!(taken.iter().filter(|whose| *whose == "scraped").count() > 10);
            is_judging &= !taken.contains(&"judge".to_owned());
            commits += 1;
        }
    }
    assert_eq!(commits, 5, "after 10, 21, 32, 43 and 54 seconds");
    // What nobody shares a commit with is judged when the delay is over.
    one_commit(&exit);
    let judge = Command::JudgeStale(tokio::sync::oneshot::channel().0);
    entrance.put_at(judge, start).unwrap();
    assert_eq!(exit.due(delay), Some(start + delay));
}

#[test]
fn who_is_refused_is_told_when_the_queue_will_be_drained() {
    let mut pace = Pace::default();
    assert_eq!(pace.seconds_for(1 << 30), 1, "nothing is known yet");
    pace.note(10_000_000, Duration::from_secs(1));
    // A small commit says little of what can be done.
    pace.note(100, Duration::from_millis(5));
    assert_eq!(pace.seconds_for(25_000_000), 3);
    assert_eq!(pace.seconds_for(1), 1);
    assert_eq!(pace.seconds_for(usize::MAX), RETRY_SECONDS_MAX);
}

#[test]
fn nothing_is_taken_in_after_the_end() {
    let (entrance, exit) = open(&Settings::default());
    let (reply, mut answer) = tokio::sync::oneshot::channel();
    entrance.put(append("before", Urgency::Prompt, 1)).unwrap();
    entrance.ask_close(reply).unwrap();
    assert!(exit.is_over() && !exit.is_empty());
    let refused = entrance.put(append("after", Urgency::Prompt, 1));
    assert_eq!(refused, Err(WriteError::Closing));
    drop(exit);
    // Its end goes with the queue's.
    assert!(answer.try_recv().is_err());
    let (entrance, exit) = open(&Settings::default());
    drop(entrance);
    assert!(exit.is_over());
}

proptest! {
    /// Whatever comes in, everything is taken once, a class in its order, and no commit is larger than it may be.
    #[test]
    fn every_command_is_taken_once_and_commits_are_bounded(
        commands in prop::collection::vec((prop::sample::select(vec![0usize, 1, 3]), 1usize..2 * SMALL.rows), 1..60),
    ) {
        let (entrance, exit) = bounded(ALL, SMALL, Arc::default());
        let mut expected: [Vec<String>; 4] = Default::default();
        for (n, (class, rows)) in commands.iter().enumerate() {
            let name = format!("{class} {n}");
            entrance.put(match class {
                0 => register(&name),
                1 => append(&name, Urgency::Prompt, *rows),
                _ => append(&name, Urgency::Relaxed, *rows),
            }).unwrap();
            expected[*class].push(name);
        }
        let mut taken: [Vec<String>; 4] = Default::default();
        while !exit.is_empty() {
            let mut portion = Portion::default();
            let mut counts = [0; 4];
            while let Some(command) = exit.take(&mut portion) {
                let name = whose(&command);
                let class: usize = name[..1].parse().unwrap();
                counts[class] += 1;
                taken[class].push(name);
            }
            // More than a commit takes is in it only where a class has but one command.
            for (class, load) in portion.taken.iter().enumerate() {
                prop_assert!(load.is_within(SMALL) || counts[class] == 1);
            }
            prop_assert!(portion.total().commands > 0);
        }
        prop_assert_eq!(taken, expected);
    }
}
