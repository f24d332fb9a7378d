//! The tasks of alerting: rules are evaluated when samples arrive and on schedule, groups are looked at when they are
//! due, the rules of files are followed.

use std::{collections::BTreeMap, path::PathBuf, sync::Arc, time::Duration};

use tokio::{
    sync::{mpsc, watch},
    time::{Instant, MissedTickBehavior, interval_at},
};
use tokio_util::sync::CancellationToken;

use super::{
    alert_series::{AlertSeries, append},
    folder::Folder,
};
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
    /// The address under which people reach the server; empty where it is not known.
    pub(super) external_url: String,
}

impl Evaluation {
    /// Evaluates until `shutdown`.
    pub(super) async fn run(self, shutdown: CancellationToken) {
        let mut ticks = interval_at(Instant::now() + self.interval, self.interval);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut arrivals = self.store.arrivals();
        let mut rules = self.store.alerting_changed();
        let interval_ms = u64::try_from(self.interval.as_millis()).unwrap_or(u64::MAX);
        self.status
            .send_modify(|status| status.interval_ms = interval_ms);
        let mut evaluator = self.evaluator();
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

    fn evaluator(&self) -> Evaluator {
        Evaluator::with_external_url(&self.external_url)
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
                return Some(self.evaluator());
            }
        };
        let seconds = began.elapsed().as_secs_f64();
        self.metrics.rule_evaluations.inc_by(evaluated.judged);
        self.metrics.rule_evaluation_seconds.observe(seconds);
        self.tell(&evaluated, at, seconds, is_schedule);
        let mut evaluator = evaluator;
        for (agent, batch) in evaluated.recorded {
            append(&self.store, agent, batch, "what rules record");
        }
        for part in evaluated.observations.chunks(OBSERVATIONS_MAX) {
            if !self.commit(part.to_vec()).await {
                evaluator.look_again();
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
    // The configuration may have other routes than when alerts fired.
    let mut next = Change::Regroup;
    loop {
        let done = match store.alerting(next).await {
            Ok(done) => done != Changed::Done(0),
            Err(WriteError::Closing) => return,
            Err(error) => {
                if !error.is_passing() {
                    tracing::error!(%error, "groups of alerts could not be looked at");
                }
                false
            }
        };
        let wait = if done { Duration::ZERO } else { RETRY };
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = tokio::time::sleep(wait) => {}
        }
        while let Some(wait) = time_to_next(&store.view(), &*clock) {
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = tokio::time::sleep(wait) => {}
                Ok(()) = changed.changed() => {}
            }
        }
        next = Change::Dispatch;
    }
}

/// How long to wait for the next group that is due, or the next external alert that is over; `None` when one is.
fn time_to_next(view: &View, clock: &dyn Clock) -> Option<Duration> {
    // Times of commits never run backwards, whatever the clock does.
    let now = clock.now();
    let now = view.last_commit().map_or(now, |last| last.max(now));
    let book = view.book();
    let groups = book.groups.values().filter_map(|group| group.next_flush);
    let started = view.runs().last().map(|run| run.start);
    let open = book.open.values().flatten();
    let ends = open.filter_map(|alert| alert.ends_with(started));
    match groups.chain(ends).min() {
        Some(due) if due <= now => None,
        Some(due) => {
            let wait = Duration::from_millis(due.since(now).unsigned_abs());
            Some(wait.min(DISPATCH_INTERVAL))
        }
        None => Some(DISPATCH_INTERVAL),
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
        let own = (RuleOrigin::Config, self.settings.rules.clone());
        self.metrics.rule_directory_is_good.set(1);
        // Both at once, so that a rule that moved from one to the other keeps its alerts. What a directory that is no
        // longer named defined goes; that of one that is bad stays.
        let of_directory = match self.settings.directory.clone() {
            None => Some(Vec::new()),
            Some(directory) => self.load(directory).await.ok(),
        };
        let both = of_directory.map(|rules| (RuleOrigin::Directory, rules));
        let is_bad = both.is_none();
        let all: Vec<_> = [own.clone()].into_iter().chain(both).collect();
        if let Err(why) = put(store, all).await {
            if is_bad {
                return Err(why);
            }
            // It may be the directory's fault, which must not keep the server from starting.
            put(store, vec![own]).await?;
        }
        self.read(store).await;
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

    async fn load(&self, directory: PathBuf) -> Result<Vec<StoredRule>, String> {
        let reading = tokio::task::spawn_blocking(move || config::read_rule_directory(&directory));
        match reading.await {
            Ok(Ok(rules)) => Ok(rules.into_iter().map(|found| found.rule).collect()),
            Ok(Err(errors)) => Err(shown(&errors)),
            Err(error) => Err(error.to_string()),
        }
    }

    async fn read(&self, store: &Store) {
        let Some(directory) = self.settings.directory.clone() else {
            return;
        };
        let path = directory.display().to_string();
        let read = match self.load(directory).await {
            Ok(rules) => {
                let count = rules.len();
                put(store, vec![(RuleOrigin::Directory, rules)])
                    .await
                    .map(|changed| (count, changed))
            }
            Err(error) => Err(error),
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

/// Puts all rules of origins in force; how many changed.
async fn put(store: &Store, all: Vec<(RuleOrigin, Vec<StoredRule>)>) -> Result<usize, String> {
    match store.alerting(Change::ReplaceRules(all)).await {
        Ok(Changed::Done(changed)) => Ok(changed),
        Ok(Changed::Conflict(why)) => Err(why),
        Ok(other) => Err(format!("unexpected answer {other:?}")),
        Err(error) => Err(error.to_string()),
    }
}
