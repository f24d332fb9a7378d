//! What waits for the committer: a bounded lane for each class of writers. None takes the room of another, and
//! none waits behind another's backlog.

use std::{
    collections::{HashSet, VecDeque},
    sync::Arc,
    time::{Duration, Instant},
};

use parking_lot::{Condvar, Mutex};

use super::{
    Settings, WriteError,
    command::{Class, Command, Load, Reply},
};
use crate::{
    model::AgentId,
    telemetry::{By, OwnMetrics},
};

/// What one commit takes of samples; more waits for the next one. A single command may be larger.
pub(super) const COMMIT: Load = Load {
    commands: usize::MAX,
    rows: 200_000,
    bytes: 32 << 20,
};
/// Commands of the class "control" that may wait.
const CONTROL_COMMANDS_MAX: usize = 4_096;
/// Longest time that a refused writer is told to wait, in seconds.
const RETRY_SECONDS_MAX: u32 = 60;
/// What the measured pace of draining keeps of the past at each commit.
const PACE_MEMORY: f64 = 0.8;

#[derive(Debug)]
struct Waiting {
    command: Command,
    load: Load,
    since: Instant,
}

/// The queue of one class, oldest first.
#[derive(Debug)]
struct Lane {
    waiting: VecDeque<Waiting>,
    load: Load,
    bound: Load,
    /// More than this does not wait for others to share its commit.
    plenty: Load,
    /// How many of them must not wait for others to share their commit.
    urgent: usize,
}

impl Lane {
    fn new(bound: Load, commit: Load) -> Self {
        Self {
            waiting: VecDeque::new(),
            load: Load::default(),
            bound,
            plenty: commit.min(bound.quarters(2)),
            urgent: 0,
        }
    }

    fn has_plenty(&self) -> bool {
        !self.load.is_within(self.plenty)
    }

    /// Whether there is room. One command alone is always taken: it is bounded by what brought it.
    fn admits(&self, load: Load) -> bool {
        self.waiting.is_empty() || (self.load + load).is_within(self.bound)
    }

    fn push(&mut self, command: Command, load: Load, since: Instant) {
        self.urgent += usize::from(command.is_urgent());
        self.load += load;
        self.waiting.push_back(Waiting {
            command,
            load,
            since,
        });
    }

    /// Takes the oldest, unless `taken` and it together are more than `most`. The first one of a commit
    /// (nothing was taken yet) comes in any case.
    fn take(&mut self, taken: &mut Load, most: Load) -> Option<Command> {
        let next = self.waiting.front()?;
        if taken.commands > 0 && !(*taken + next.load).is_within(most) {
            return None;
        }
        let Waiting { command, load, .. } = self.waiting.pop_front()?;
        *taken += load;
        self.load -= load;
        self.urgent -= usize::from(command.is_urgent());
        Some(command)
    }

    /// When the oldest is due; `delay` is how long it may wait for others.
    fn due(&self, delay: Duration) -> Option<Instant> {
        let since = self.waiting.front()?.since;
        Some(if self.urgent > 0 || self.has_plenty() {
            since
        } else {
            since + delay
        })
    }
}

/// Pace at which what waits is committed, by commits that were under way; large ones count for more.
#[derive(Debug, Default)]
struct Pace {
    bytes: f64,
    seconds: f64,
}

impl Pace {
    fn note(&mut self, bytes: usize, took: Duration) {
        self.bytes = self.bytes * PACE_MEMORY + bytes as f64;
        self.seconds = self.seconds * PACE_MEMORY + took.as_secs_f64();
    }

    /// Seconds until so many bytes are committed, 1 to [`RETRY_SECONDS_MAX`].
    fn seconds_for(&self, bytes: usize) -> u32 {
        if self.bytes <= 0.0 {
            return 1;
        }
        let seconds = (bytes as f64 * self.seconds / self.bytes).ceil();
        seconds.clamp(1.0, f64::from(RETRY_SECONDS_MAX)) as u32
    }
}

/// What was taken for the commit that is being put together.
#[derive(Debug, Default)]
pub(super) struct Portion {
    taken: [Load; 4],
    /// Whether it has taken long enough: only what no class may be denied is taken yet.
    pub(super) is_late: bool,
}

impl Portion {
    /// Everything taken.
    pub(super) fn total(&self) -> Load {
        let [control, push, spans, scrape] = self.taken;
        control + push + spans + scrape
    }
}

#[derive(Debug)]
struct State {
    lanes: [Lane; 4],
    checkpoints: Vec<Reply<()>>,
    settlements: Vec<Reply<()>>,
    closing: Vec<Reply<()>>,
    pace: Pace,
    /// Counts what came in, so that nothing is missed between two waits.
    arrivals: u64,
    /// Nothing more is taken in.
    is_closed: bool,
    /// All who could put something in are gone.
    is_abandoned: bool,
}

/// The queue. Writers hold an [`Entrance`], the committer the [`Exit`].
#[derive(Debug)]
struct Queue {
    /// What one commit takes of samples.
    commit: Load,
    state: Mutex<State>,
    arrived: Condvar,
    metrics: Arc<OwnMetrics>,
}

/// A queue with the bounds of the settings.
pub(super) fn queue(settings: &Settings, metrics: Arc<OwnMetrics>) -> (Entrance, Exit) {
    let samples = Load {
        commands: usize::MAX,
        rows: settings.queue_rows_max,
        bytes: settings.queue_bytes_max,
    };
    bounded(samples, COMMIT, metrics)
}

/// A queue of these bounds for each class of samples, and for one commit.
fn bounded(samples: Load, commit: Load, metrics: Arc<OwnMetrics>) -> (Entrance, Exit) {
    let control = Load {
        commands: CONTROL_COMMANDS_MAX,
        ..samples
    };
    let queue = Arc::new(Queue {
        commit,
        state: Mutex::new(State {
            lanes: [control, samples, samples, samples].map(|bound| Lane::new(bound, commit)),
            checkpoints: Vec::new(),
            settlements: Vec::new(),
            closing: Vec::new(),
            pace: Pace::default(),
            arrivals: 0,
            is_closed: false,
            is_abandoned: false,
        }),
        arrived: Condvar::new(),
        metrics,
    });
    (Entrance(Arc::clone(&queue)), Exit { queue, seen: 0 })
}

impl Queue {
    /// Brings the gauges of a class up to date.
    fn measure(&self, class: Class, load: Load) {
        let by = By { by: class.name() };
        let metrics = &self.metrics;
        let length = metrics.queue_length.get_or_create(&by);
        length.set(load.commands as i64);
        let bytes = metrics.queue_bytes.get_or_create(&by);
        bytes.set(load.bytes as i64);
    }
}

/// The writers' end.
#[derive(Debug)]
pub(super) struct Entrance(Arc<Queue>);

impl Entrance {
    /// Queues a command.
    ///
    /// # Errors
    /// [`WriteError::Busy`] when its class is full, [`WriteError::Closing`] when nothing is taken any more.
    pub(super) fn put(&self, command: Command) -> Result<(), WriteError> {
        self.put_at(command, Instant::now())
    }

    fn put_at(&self, command: Command, now: Instant) -> Result<(), WriteError> {
        let (class, load) = (command.class(), command.load());
        self.enter(|state| {
            let lane = &mut state.lanes[class as usize];
            if !lane.admits(load) {
                let retry_after_seconds = state.pace.seconds_for(lane.load.bytes);
                return Err(WriteError::Busy {
                    retry_after_seconds,
                });
            }
            lane.push(command, load, now);
            self.0.measure(class, lane.load);
            Ok(())
        })
    }

    /// Asks for a checkpoint.
    pub(super) fn ask_checkpoint(&self, reply: Reply<()>) -> Result<(), WriteError> {
        self.enter(|state| {
            state.checkpoints.push(reply);
            Ok(())
        })
    }

    /// Asks for all days to be merged.
    pub(super) fn ask_to_settle(&self, reply: Reply<()>) -> Result<(), WriteError> {
        self.enter(|state| {
            state.settlements.push(reply);
            Ok(())
        })
    }

    /// Asks the committer to end once everything that waits is committed. Nothing more is taken in.
    pub(super) fn ask_close(&self, reply: Reply<()>) -> Result<(), WriteError> {
        self.enter(|state| {
            state.closing.push(reply);
            state.is_closed = true;
            Ok(())
        })
    }

    fn enter(
        &self,
        put: impl FnOnce(&mut State) -> Result<(), WriteError>,
    ) -> Result<(), WriteError> {
        let mut state = self.0.state.lock();
        if state.is_closed {
            return Err(WriteError::Closing);
        }
        put(&mut state)?;
        state.arrivals += 1;
        drop(state);
        self.0.arrived.notify_one();
        Ok(())
    }
}

impl Drop for Entrance {
    fn drop(&mut self) {
        let mut state = self.0.state.lock();
        state.is_abandoned = true;
        state.arrivals += 1;
        drop(state);
        self.0.arrived.notify_one();
    }
}

/// The committer's end. When it is dropped, whoever waits is told that the store is closed.
#[derive(Debug)]
pub(super) struct Exit {
    queue: Arc<Queue>,
    /// Arrivals that were looked at.
    seen: u64,
}

impl Exit {
    /// Waits until something comes in, at most for `timeout`.
    pub(super) fn wait(&mut self, timeout: Duration) {
        let mut state = self.queue.state.lock();
        let seen = self.seen;
        self.queue
            .arrived
            .wait_while_for(&mut state, |state| state.arrivals == seen, timeout);
        self.seen = state.arrivals;
    }

    /// Whether nothing more comes in.
    pub(super) fn is_over(&self) -> bool {
        let state = self.queue.state.lock();
        state.is_closed || state.is_abandoned
    }

    /// Whether no command waits.
    pub(super) fn is_empty(&self) -> bool {
        let state = self.queue.state.lock();
        state.lanes.iter().all(|lane| lane.waiting.is_empty())
    }

    /// Whether so much waits that a commit is worth its cost.
    pub(super) fn has_plenty(&self) -> bool {
        let state = self.queue.state.lock();
        state.lanes.iter().any(Lane::has_plenty)
    }

    /// Agents of whom a contact waits.
    pub(super) fn agents_heard(&self) -> HashSet<AgentId> {
        let state = self.queue.state.lock();
        let waiting = state.lanes.iter().flat_map(|lane| &lane.waiting);
        waiting
            .flat_map(|waiting| waiting.command.heard())
            .cloned()
            .collect()
    }

    /// When what waits is due; what nobody waits for may wait for others for `delay`.
    pub(super) fn due(&self, delay: Duration) -> Option<Instant> {
        let state = self.queue.state.lock();
        state.lanes.iter().filter_map(|lane| lane.due(delay)).min()
    }

    /// Takes the next command for a commit; `None` when the rest has to wait for another one.
    ///
    /// Control comes first. Of the rest, spans and scrapes get a quarter of a commit each while others wait, and pushes
    /// what they leave; each gets all of it when it is alone.
    pub(super) fn take(&self, portion: &mut Portion) -> Option<Command> {
        let commit = self.queue.commit;
        let mut state = self.queue.state.lock();
        let state = &mut *state;
        let waits = |class: Class| {
            !state.lanes[class as usize].waiting.is_empty()
                || portion.taken[class as usize].commands > 0
        };
        let has_pushes = waits(Class::Push);
        let (has_spans, has_scrapes) = (waits(Class::Spans), waits(Class::Scrape));
        for class in Class::ALL {
            let most = match class {
                _ if portion.is_late => Load::default(),
                Class::Control => state.lanes[class as usize].bound,
                Class::Push => {
                    commit.quarters(4 - usize::from(has_scrapes) - usize::from(has_spans))
                }
                Class::Spans if has_pushes => commit.quarters(1),
                Class::Spans if has_scrapes => commit.quarters(3),
                Class::Scrape if has_pushes || has_spans => commit.quarters(1),
                Class::Spans | Class::Scrape => commit,
            };
            let lane = &mut state.lanes[class as usize];
            if let Some(command) = lane.take(&mut portion.taken[class as usize], most) {
                return Some(command);
            }
        }
        for class in Class::ALL {
            self.queue.measure(class, state.lanes[class as usize].load);
        }
        None
    }

    /// Notes that a commit of `load` was under way for so long.
    pub(super) fn note_pace(&self, load: Load, took: Duration) {
        self.queue.state.lock().pace.note(load.bytes, took);
    }

    /// Who waits for a checkpoint.
    pub(super) fn checkpoints(&self) -> Vec<Reply<()>> {
        std::mem::take(&mut self.queue.state.lock().checkpoints)
    }

    /// Who waits for all days to be merged.
    pub(super) fn settlements(&self) -> Vec<Reply<()>> {
        std::mem::take(&mut self.queue.state.lock().settlements)
    }

    /// Who waits for the end.
    pub(super) fn closing(&self) -> Vec<Reply<()>> {
        std::mem::take(&mut self.queue.state.lock().closing)
    }
}

impl Drop for Exit {
    fn drop(&mut self) {
        let mut state = self.queue.state.lock();
        state.is_closed = true;
        // Their replies go with them, which whoever waits for takes as the end.
        let waiting: Vec<_> = state
            .lanes
            .iter_mut()
            .map(|lane| std::mem::take(&mut lane.waiting))
            .collect();
        let replies = (
            std::mem::take(&mut state.checkpoints),
            std::mem::take(&mut state.closing),
        );
        drop(state);
        drop((waiting, replies));
    }
}

#[cfg(test)]
mod tests;
