//! The tasks of alerting: rules are evaluated when samples arrive and on schedule, groups are looked at when they are
//! due, the rules of files are followed.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use tokio::{
    sync::{mpsc, watch},
    time::{Instant, MissedTickBehavior, interval_at},
};
use tokio_util::sync::CancellationToken;

use super::{alert_series::AlertSeries, folder::Folder};
use crate::{
    config::{self, ConfigErrors, RuleSettings},
    model::{Clock, DeliveryOutcome, History, RuleOrigin, StoredRule, Timestamp},
    notify::{ChannelSettings, Outbox},
    rules::{DirectoryStatus, Evaluated, Evaluator, RulesStatus, Scope},
    store::{Change, Changed, Observation, Store, View, WriteError},
    telemetry::OwnMetrics,
};

/// Arrivals within this are evaluated together.
const GATHER: Duration = Duration::from_millis(100);
/// Observations that one commit takes.
const OBSERVATIONS_MAX: usize = 2_000;
/// What could not be committed is found again so soon.
const RETRY: Duration = Duration::from_secs(1);
/// Groups that wait for no certain moment are looked for so often.
const DISPATCH_INTERVAL: Duration = Duration::from_secs(1);
/// The directory is read again so often even if no change is told.
const REFRESH: Duration = Duration::from_mins(1);
/// Changes of files that come in a burst are read together.
const SETTLE: Duration = Duration::from_millis(250);

/// The evaluation of rules.
pub(super) struct Evaluation {
    pub(super) store: Store,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) metrics: Arc<OwnMetrics>,
    pub(super) interval: Duration,
    /// When the server began to listen.
    pub(super) started: Timestamp,
    pub(super) status: watch::Sender<RulesStatus>,
}

impl Evaluation {
    /// Evaluates until `shutdown`.
    pub(super) async fn run(self, shutdown: CancellationToken) {
        let mut ticks = interval_at(Instant::now() + self.interval, self.interval);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut arrivals = self.store.arrivals();
        let mut rules = self.store.alerting_changed();
        let mut evaluator = Evaluator::default();
        let mut recorded = AlertSeries::default();
        let mut revision = 0;
        loop {
            let scope = tokio::select! {
                () = shutdown.cancelled() => return,
                _ = ticks.tick() => Scope::Schedule,
                Ok(()) = rules.changed() => {
                    // A rule that came is judged at once by what is there already.
                    let now = revision_of(&*self.store.view());
                    if now == revision {
                        continue;
                    }
                    revision = now;
                    Scope::Schedule
                }
                Ok(()) = arrivals.changed() => {
                    tokio::time::sleep(GATHER).await;
                    Scope::Arrivals(self.store.take_touched())
                }
            };
            let is_schedule = matches!(scope, Scope::Schedule);
            let Some(back) = self.evaluate(evaluator, scope).await else {
                return;
            };
            evaluator = back;
            if is_schedule {
                recorded.record(&self.store, self.clock.now());
            }
        }
    }

    async fn evaluate(&self, mut evaluator: Evaluator, scope: Scope) -> Option<Evaluator> {
        let view = self.store.view();
        let began = std::time::Instant::now();
        let is_schedule = matches!(scope, Scope::Schedule);
        let (at, started) = (self.clock.now(), self.started);
        let work = tokio::task::spawn_blocking(move || {
            let evaluated = evaluator.evaluate(&*view, &scope, Some(started), at);
            (evaluator, evaluated)
        });
        let (evaluator, evaluated) = match work.await {
            Ok(done) => done,
            Err(error) => {
                tracing::error!(%error, "an evaluation of rules broke off; it begins anew");
                return Some(Evaluator::default());
            }
        };
        let seconds = began.elapsed().as_secs_f64();
        self.metrics.rule_evaluations.inc_by(evaluated.judged);
        self.metrics.rule_evaluation_seconds.observe(seconds);
        self.tell(&evaluated, at, seconds, is_schedule);
        for part in evaluated.observations.chunks(OBSERVATIONS_MAX) {
            if !self.commit(part.to_vec()).await {
                break;
            }
        }
        Some(evaluator)
    }

    fn tell(&self, evaluated: &Evaluated, at: Timestamp, seconds: f64, is_schedule: bool) {
        let known = self.status.borrow().errors.clone();
        for (rule, error) in &evaluated.errors {
            if known.get(rule) != Some(error) {
                tracing::warn!(
                    rule,
                    error,
                    "a rule cannot be evaluated; its alerts stay as they are"
                );
            }
        }
        let errors: BTreeMap<String, String> = evaluated.errors.iter().cloned().collect();
        self.metrics.rule_errors.inc_by(errors.len() as u64);
        self.status.send_modify(|status| {
            if is_schedule {
                status.evaluated_at = Some(at);
                status.seconds = seconds;
                status.judged = evaluated.judged;
                status.errors = errors;
            } else {
                status.errors.extend(errors);
            }
        });
    }

    async fn commit(&self, observations: Vec<Observation>) -> bool {
        match self.store.alerting(Change::Observe(observations)).await {
            Ok(_) => true,
            Err(error) => {
                // The next evaluation finds the same again.
                if !error.is_passing() {
                    tracing::error!(%error, "transitions of alerts could not be committed");
                }
                tokio::time::sleep(RETRY).await;
                false
            }
        }
    }
}

/// Changes whenever a rule comes, changes or goes.
fn revision_of(view: &dyn History) -> usize {
    Arc::as_ptr(&view.book().rules).addr()
}

/// Looks at groups when they are due, until `shutdown`.
pub(super) async fn dispatch(store: Store, clock: Arc<dyn Clock>, shutdown: CancellationToken) {
    let mut changed = store.alerting_changed();
    loop {
        let now = clock.now();
        let due = next_due(&store.view());
        if due.is_some_and(|due| due <= now) {
            match store.alerting(Change::Dispatch).await {
                Ok(_) => {}
                Err(WriteError::Closing) => return,
                Err(error) => {
                    if !error.is_passing() {
                        tracing::error!(%error, "groups of alerts could not be looked at");
                    }
                    tokio::time::sleep(RETRY).await;
                }
            }
            continue;
        }
        let wait = due.map_or(DISPATCH_INTERVAL, |due| {
            Duration::from_millis(due.since(now).unsigned_abs()).min(DISPATCH_INTERVAL)
        });
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = tokio::time::sleep(wait) => {}
            Ok(()) = changed.changed() => {}
        }
    }
}

/// Gives up what waits for channels that the configuration no longer has.
pub(super) async fn give_up_orphans(store: &Store, channels: &[ChannelSettings]) {
    let outbox = store.view().book().outbox;
    let is_known = |name: &str| channels.iter().any(|channel| channel.name == name);
    for delivery in outbox
        .values()
        .filter(|d| !d.is_dead() && !is_known(&d.channel))
    {
        tracing::warn!(
            channel = delivery.channel,
            delivery = delivery.sequence,
            "a notification waits for a channel that is not configured; it is given up"
        );
        let outcome = DeliveryOutcome::Refused {
            error: "there is no such channel in the configuration".to_owned(),
        };
        if let Err(error) = Outbox::settle(store, delivery.sequence, outcome, None).await {
            tracing::error!(error, "it could not be given up");
        }
    }
}

/// When the next group is due, or the next external alert is over.
fn next_due(view: &View) -> Option<Timestamp> {
    let book = view.book();
    let groups = book.groups.values().filter_map(|group| group.next_flush);
    let ends = book
        .open
        .values()
        .flatten()
        .filter_map(|alert| alert.ends_at);
    groups.chain(ends).min()
}

/// The rules of the configuration and of the rules directory.
pub(super) struct RuleFiles {
    pub(super) settings: RuleSettings,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) metrics: Arc<OwnMetrics>,
    pub(super) status: watch::Sender<RulesStatus>,
}

impl RuleFiles {
    /// Puts the configuration's rules in force, then those of the directory as far as they are good.
    ///
    /// # Errors
    /// What keeps the configuration's rules from being in force.
    pub(super) async fn apply(&self, store: &Store) -> Result<(), String> {
        let rules = self.settings.rules.clone();
        put(store, RuleOrigin::Config, rules).await?;
        self.metrics.rule_directory_is_good.set(1);
        if self.settings.directory.is_none() {
            // What a directory that is no longer named defined goes.
            put(store, RuleOrigin::Directory, Vec::new()).await?;
        } else {
            self.read(store).await;
        }
        Ok(())
    }

    /// Follows the directory until `shutdown`.
    pub(super) async fn follow(self, store: Store, shutdown: CancellationToken) {
        let Some(directory) = self.settings.directory.clone() else {
            return;
        };
        let (changes, mut changed) = mpsc::channel(1);
        let mut folder = Folder::new(changes);
        loop {
            folder.watch(&directory);
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = tokio::time::sleep(REFRESH) => {}
                Some(()) = changed.recv() => {
                    tokio::time::sleep(SETTLE).await;
                    while changed.try_recv().is_ok() {}
                }
            }
            self.read(&store).await;
        }
    }

    async fn read(&self, store: &Store) {
        let Some(directory) = self.settings.directory.clone() else {
            return;
        };
        let path = directory.display().to_string();
        let reading = tokio::task::spawn_blocking(move || config::read_rule_directory(&directory));
        let read = match reading.await {
            Ok(Ok(rules)) => {
                let rules: Vec<StoredRule> = rules.into_iter().map(|found| found.rule).collect();
                let count = rules.len();
                put(store, RuleOrigin::Directory, rules)
                    .await
                    .map(|changed| (count, changed))
            }
            Ok(Err(errors)) => Err(shown(&errors)),
            Err(error) => Err(error.to_string()),
        };
        self.status.send_modify(|status| {
            let known = status.directory.get_or_insert_default();
            known.path.clone_from(&path);
            self.note(known, read);
        });
    }

    fn note(&self, known: &mut DirectoryStatus, read: Result<(usize, usize), String>) {
        match read {
            Ok((rules, changed)) => {
                if changed > 0 || known.error.is_some() || known.read_at.is_none() {
                    tracing::info!(
                        directory = known.path,
                        rules,
                        changed,
                        "rules directory read"
                    );
                }
                known.rules = rules;
                known.read_at = Some(self.clock.now());
                known.error = None;
            }
            Err(error) => {
                if known.error.as_ref() != Some(&error) {
                    self.metrics.rule_files_refused.inc();
                    tracing::warn!(
                        "the rules directory is refused, its last good rules stay: {error}"
                    );
                }
                known.error = Some(error);
            }
        }
        self.metrics
            .rule_directory_is_good
            .set(i64::from(known.error.is_none()));
    }
}

fn shown(errors: &ConfigErrors) -> String {
    const SHOWN: usize = 5;
    let mut lines: Vec<String> = errors.iter().take(SHOWN).map(ToString::to_string).collect();
    if errors.count() > SHOWN {
        lines.push(format!("and {} more", errors.count() - SHOWN));
    }
    lines.join("; ")
}

/// Puts all rules of an origin in force; how many changed.
async fn put(store: &Store, origin: RuleOrigin, rules: Vec<StoredRule>) -> Result<usize, String> {
    match store.alerting(Change::ReplaceRules(origin, rules)).await {
        Ok(Changed::Done(changed)) => Ok(changed),
        Ok(Changed::Conflict(why)) => Err(why),
        Ok(other) => Err(format!("unexpected answer {other:?}")),
        Err(error) => Err(error.to_string()),
    }
}
