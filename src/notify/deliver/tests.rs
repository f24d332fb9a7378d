use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use parking_lot::Mutex;
use tokio::time::Instant;

use super::*;
use crate::notify::{
    channel::refused,
    fake::{MemoryOutbox, RuntimeClock, START, delivery, firing, resolved},
};

/// What a channel does with an attempt.
enum Step {
    Ends(DeliveryOutcome),
    Hangs,
    EndsAfter(Duration),
}

type Attempts = Arc<Mutex<Vec<(Delivery, Timestamp)>>>;

/// A channel that does what the test says, and remembers attempts with their moments.
struct Scripted<F> {
    script: F,
    clock: Arc<dyn Clock>,
    attempts: Attempts,
}

impl<F: Fn(&Delivery) -> Step + Send + Sync + 'static> Channel for Scripted<F> {
    async fn deliver(&self, delivery: &Delivery) -> DeliveryOutcome {
        self.attempts
            .lock()
            .push((delivery.clone(), self.clock.now()));
        match (self.script)(delivery) {
            Step::Ends(outcome) => outcome,
            Step::Hangs => std::future::pending().await,
            Step::EndsAfter(time) => {
                tokio::time::sleep(time).await;
                DeliveryOutcome::Delivered
            }
        }
    }
}

const DELIVERED: Step = Step::Ends(DeliveryOutcome::Delivered);

fn fails() -> Step {
    Step::Ends(failed("no"))
}

/// A deliverer at work on the runtime's stopped time.
struct Bench {
    attempts: Attempts,
    metrics: Arc<OwnMetrics>,
    shutdown: CancellationToken,
    task: tokio::task::JoinHandle<()>,
}

impl Bench {
    fn start(
        outbox: &MemoryOutbox,
        script: impl Fn(&Delivery) -> Step + Send + Sync + 'static,
    ) -> Self {
        Self::with(outbox, script, |_| ())
    }

    fn with<F: Fn(&Delivery) -> Step + Send + Sync + 'static>(
        outbox: &MemoryOutbox,
        script: F,
        change: impl FnOnce(&mut Deliverer<MemoryOutbox, Scripted<F>>),
    ) -> Self {
        let clock = RuntimeClock::start();
        let attempts = Attempts::default();
        let mut deliverer = Deliverer {
            outbox: outbox.clone(),
            name: "c".to_owned(),
            send_resolved: true,
            timeout: Duration::from_secs(10),
            channel: Scripted {
                script,
                clock: Arc::clone(&clock),
                attempts: Arc::clone(&attempts),
            },
            backoff: Backoff::new(86_400_000),
            clock,
            metrics: Arc::default(),
            shutdown: CancellationToken::new(),
        };
        change(&mut deliverer);
        Self {
            attempts,
            metrics: Arc::clone(&deliverer.metrics),
            shutdown: deliverer.shutdown.clone(),
            task: tokio::spawn(deliverer.run()),
        }
    }

    /// Numbers of the deliveries that were tried, in order.
    fn tried(&self) -> Vec<u64> {
        let attempts = self.attempts.lock();
        attempts.iter().map(|(d, _)| d.sequence).collect()
    }

    /// Milliseconds from the start to each attempt.
    fn moments(&self) -> Vec<i64> {
        let attempts = self.attempts.lock();
        attempts.iter().map(|(_, at)| at.since(START)).collect()
    }

    fn counted(&self, metric: &str) -> String {
        let text = self.metrics.to_openmetrics();
        let line = text.lines().find(|line| line.starts_with(metric));
        line.unwrap_or_default().to_owned()
    }
}

#[tokio::test(start_paused = true)]
async fn order_is_kept_within_a_group_and_others_go_on() {
    let outbox = MemoryOutbox::of([
        delivery(1, "a"),
        delivery(2, "a"),
        delivery(3, "b"),
        delivery(4, "b"),
    ]);
    let bench = Bench::start(&outbox, |d| match d.sequence {
        1 if d.attempts < 3 => fails(),
        _ => DELIVERED,
    });
    outbox.until_empty().await;
    assert_eq!(bench.tried(), [1, 3, 4, 1, 1, 1, 2]);
    let attempts = bench.attempts.lock();
    let of_first: Vec<_> = attempts.iter().filter(|(d, _)| d.sequence == 1).collect();
    assert!(of_first.iter().all(|(d, _)| d.idempotency_key == "key-1"));
    drop(attempts);
    assert_eq!(bench.moments()[..3], [0, 0, 0], "others do not wait");
    for (metric, n) in [
        ("longwatch_notification_attempts_total", 7),
        ("longwatch_notification_failures_total", 3),
        ("longwatch_notifications_delivered_total", 4),
        ("longwatch_notifications_waiting", 0),
    ] {
        assert_eq!(
            bench.counted(metric),
            format!("{metric}{{channel=\"c\"}} {n}")
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_receiver_that_hangs_delays_no_other_channel() {
    let other = |sequence| Delivery {
        channel: "other".to_owned(),
        ..delivery(sequence, "a")
    };
    let outbox = MemoryOutbox::of([delivery(1, "a"), other(2), other(3)]);
    let hanging = Bench::start(&outbox, |d| {
        if d.attempts == 0 {
            Step::Hangs
        } else {
            DELIVERED
        }
    });
    let quick = Bench::with(&outbox, |_| DELIVERED, |d| d.name = "other".to_owned());
    outbox.until_empty().await;
    assert_eq!(quick.tried(), [2, 3]);
    assert_eq!(quick.moments(), [0, 0]);
    let settled = outbox.settled();
    assert_eq!(settled[2].1, failed("timed out after 10s"));
    let [first, second] = hanging.moments()[..] else {
        panic!("{:?}", hanging.moments())
    };
    assert_eq!(first, 0);
    assert!((10_500..=11_000).contains(&second), "{second}");
}

#[tokio::test(start_paused = true)]
async fn what_is_refused_is_given_up_and_the_next_goes_on() {
    let outbox = MemoryOutbox::of([delivery(1, "a"), delivery(2, "a")]);
    let bench = Bench::start(&outbox, |d| match d.sequence {
        1 => Step::Ends(refused("status 400 Bad Request")),
        _ => DELIVERED,
    });
    outbox.until_empty().await;
    assert_eq!(bench.tried(), [1, 2]);
    let dead = outbox.dead();
    assert_eq!(dead.len(), 1);
    assert_eq!(dead[0].last_error, "status 400 Bad Request");
    assert_eq!(
        bench.counted("longwatch_notifications_given_up"),
        "longwatch_notifications_given_up_total{channel=\"c\"} 1"
    );
}

#[tokio::test(start_paused = true)]
async fn what_never_arrives_is_given_up_and_can_be_tried_again() {
    let outbox = MemoryOutbox::of([delivery(1, "a")]);
    let works = Arc::new(AtomicBool::new(false));
    let decides = Arc::clone(&works);
    let bench = Bench::start(&outbox, move |_| {
        if decides.load(Ordering::SeqCst) {
            DELIVERED
        } else {
            fails()
        }
    });
    outbox.until_empty().await;
    let moments = bench.moments();
    let last = *moments.last().unwrap();
    assert!((86_400_000..86_700_001).contains(&last), "{last}");
    let pauses: Vec<i64> = moments.windows(2).map(|m| m[1] - m[0]).collect();
    assert!(
        pauses.iter().all(|ms| (500..=300_000).contains(ms)),
        "{pauses:?}"
    );
    let dead = Delivery::clone(&outbox.dead()[0]);
    assert_eq!(dead.attempts as usize, moments.len());

    works.store(true, Ordering::SeqCst);
    outbox.put(Delivery {
        next_attempt: Some(dead.created_at),
        ..dead
    });
    outbox
        .until(|o| o.dead().is_empty() && o.waiting("c").is_empty())
        .await;
    assert_eq!(bench.tried().len(), moments.len() + 1);
}

#[tokio::test(start_paused = true)]
async fn receivers_say_when_to_come_back() {
    let outbox = MemoryOutbox::of([delivery(1, "a")]);
    let bench = Bench::start(&outbox, |d| match d.attempts {
        0 => Step::Ends(DeliveryOutcome::Failed {
            error: "status 429".to_owned(),
            retry_at: Some(START.plus_millis(1_234_000)),
        }),
        _ => DELIVERED,
    });
    outbox.until_empty().await;
    assert_eq!(bench.moments(), [0, 1_234_000]);
}

#[tokio::test(start_paused = true)]
async fn an_attempt_that_cannot_be_taken_down_is_not_repeated() {
    let outbox = MemoryOutbox::of([delivery(1, "a"), delivery(2, "b")]);
    outbox.fail_next(3);
    let bench = Bench::start(&outbox, |_| DELIVERED);
    outbox.until_empty().await;
    assert_eq!(bench.tried(), [1, 2]);
    assert_eq!(bench.moments(), [0, 3_000]);
}

#[tokio::test(start_paused = true)]
async fn what_comes_later_is_noticed() {
    let outbox = MemoryOutbox::of([]);
    let bench = Bench::start(&outbox, |_| DELIVERED);
    tokio::time::sleep(Duration::from_secs(5)).await;
    outbox.put(delivery(7, "a"));
    outbox.until_empty().await;
    assert_eq!(bench.moments(), [5_000]);
}

#[tokio::test(start_paused = true)]
async fn an_attempt_has_five_seconds_at_the_end() {
    for (step, settles, after) in [
        (Duration::from_secs(4), 1, 4),
        (Duration::from_secs(8), 0, 5),
    ] {
        let outbox = MemoryOutbox::of([delivery(1, "a"), delivery(2, "b")]);
        let bench = Bench::start(&outbox, move |_| Step::EndsAfter(step));
        while bench.tried().is_empty() {
            tokio::task::yield_now().await;
        }
        let ending = Instant::now();
        bench.shutdown.cancel();
        bench.task.await.unwrap();
        assert_eq!(outbox.settled().len(), settles);
        assert_eq!(ending.elapsed().as_secs(), after);
        assert_eq!(bench.attempts.lock().len(), 1, "nothing new is begun");
    }
}

#[tokio::test(start_paused = true)]
async fn channels_may_not_want_to_know_of_what_resolved() {
    let mut mixed = delivery(1, "a");
    mixed.notification.alerts = vec![firing(1), resolved(2)];
    let mut over = delivery(2, "b");
    over.notification.alerts = vec![resolved(3)];
    let outbox = MemoryOutbox::of([mixed, over]);
    let bench = Bench::with(&outbox, |_| DELIVERED, |d| d.send_resolved = false);
    outbox.until_empty().await;
    assert_eq!(bench.tried(), [1]);
    let told = &bench.attempts.lock()[0].0.notification.alerts;
    assert_eq!(told, &[firing(1)]);
    assert_eq!(outbox.settled().len(), 2);
}

/// A group that always fails does not keep the channel busy while another waits.
#[tokio::test(start_paused = true)]
async fn groups_take_turns() {
    let outbox = MemoryOutbox::of([delivery(1, "a"), delivery(2, "b"), delivery(3, "c")]);
    let counted = Arc::new(AtomicUsize::new(0));
    let counts = Arc::clone(&counted);
    let bench = Bench::with(
        &outbox,
        move |d| match d.sequence {
            // Takes longer than its own pause, so that it is due again as soon as it has failed.
            1 | 2 => {
                counts.fetch_add(1, Ordering::SeqCst);
                Step::Hangs
            }
            _ => DELIVERED,
        },
        |d| {
            d.backoff.pauses_ms = 1..=1;
            d.backoff.give_up_after_ms = 60_000;
        },
    );
    outbox.until_empty().await;
    assert_eq!(bench.tried()[..5], [1, 2, 3, 1, 2]);
    assert_eq!(counted.load(Ordering::SeqCst) + 1, bench.tried().len());
}
