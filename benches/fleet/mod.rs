//! The reference fleet of the benches: agents with 20 metrics at 10 s, made from a fixed seed.
//!
//! Per agent: cpu and memory in percent with one decimal, 8 further gauges as clamped random walks of 0
//! to 2 decimals, 6 counters that idle and reset, 4 constants. All of an agent share its scrape's time.

use std::{path::Path, sync::Arc};

use longwatch::{
    model::{AgentId, Batch, Clock, ManualClock, Timestamp},
    store::{Append, Settings, Store, Urgency},
    telemetry::OwnMetrics,
};

/// Milliseconds between two scrapes.
pub(crate) const STEP_MS: i64 = 10_000;
/// Metrics of an agent.
pub(crate) const METRICS: usize = 20;
/// End of the data: a UTC noon, so that 24 hours cross a midnight.
pub(crate) const END_MS: i64 = 20_000 * 86_400_000 + 43_200_000;

/// Small, fast, repeatable (xorshift64*).
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    /// Uniform in `0..n`.
    fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }
}

/// State of one agent's metrics, in units of their last decimal.
pub(crate) struct Agent {
    random: Random,
    values: [i64; METRICS],
}

impl Agent {
    pub(crate) fn new(number: u64) -> Self {
        let mut random = Random::new(number + 1);
        let values = std::array::from_fn(|_| random.below(900) as i64);
        Self { random, values }
    }

    /// Values of the next scrape.
    pub(crate) fn scrape(&mut self) -> [f64; METRICS] {
        let mut out = [0.0; METRICS];
        for (metric, (value, out)) in self.values.iter_mut().zip(&mut out).enumerate() {
            let decimals = match metric {
                0 | 1 => 1,
                2..10 => (metric % 3) as i32,
                _ => 0,
            };
            match metric {
                0..10 => {
                    let step = self.random.below(21) as i64 - 10;
                    *value = (*value + step).clamp(0, 1_000);
                }
                // Counters: most scrapes add a little, some nothing; a restart now and then.
                10..16 => match self.random.below(5_000) {
                    0 => *value = 0,
                    1..2_500 => {}
                    _ => *value += self.random.below(40) as i64,
                },
                _ => {}
            }
            *out = *value as f64 / 10f64.powi(decimals);
        }
        out
    }
}

/// Name of a metric.
pub(crate) fn metric(number: usize) -> String {
    match number {
        0 => "system_cpu_usage".to_owned(),
        1 => "system_memory_usage".to_owned(),
        10..16 => format!("requests_{number}_total"),
        _ => format!("gauge_{number}"),
    }
}

/// Id of an agent.
pub(crate) fn agent_id(number: u64) -> AgentId {
    AgentId::new(&format!("agent-{number:03}")).unwrap()
}

/// A store whose clock stands at the end of the data.
pub(crate) fn open(path: &Path) -> Store {
    let settings = Settings {
        commit_write_budget: u64::MAX,
        disk_reserve: Some(0),
        ..Settings::default()
    };
    let clock: Arc<dyn Clock> = Arc::new(ManualClock::new(Timestamp::from_millis(END_MS)));
    Store::open(path, settings, clock, Arc::new(OwnMetrics::default())).unwrap()
}

/// Scrapes of one agent in one batch, in order of time.
pub(crate) fn batch(agent: &mut Agent, first_ms: i64, scrapes: i64) -> Batch {
    let names: Vec<String> = (0..METRICS).map(metric).collect();
    let mut batch = Batch::new();
    for scrape in 0..scrapes {
        let time = Timestamp::from_millis(first_ms + scrape * STEP_MS);
        for (name, value) in names.iter().zip(agent.scrape()) {
            batch.push(name, &mut [("zone", "a")], time, value).unwrap();
        }
    }
    batch
}

/// Fills a store with `hours` of `agents` that end at [`END_MS`], in order of time.
pub(crate) fn fill(store: &Store, agents: u64, hours: i64) {
    let mut fleet: Vec<Agent> = (0..agents).map(Agent::new).collect();
    let per_half_hour = 1_800_000 / STEP_MS;
    for half in 0..hours * 2 {
        let first = END_MS - hours * 3_600_000 + half * 1_800_000 + STEP_MS;
        for (number, agent) in (0..).zip(&mut fleet) {
            let append = Append {
                agent: agent_id(number),
                batch: batch(agent, first, per_half_hour),
                contact: None,
                urgency: Urgency::Prompt,
            };
            store.append_blocking(append).unwrap();
        }
    }
}
