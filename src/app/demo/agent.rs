//! One simulated agent: what its counters and gauges are at a second.

use std::f64::consts::TAU;

use super::cast::{Fault, Role, Shape};

/// Upper bounds of the task durations' buckets, in seconds.
pub(super) const BOUNDS: [f64; 7] = [0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];
/// A clock that jumped is not followed further than this, in seconds.
const CATCH_UP_MAX: u64 = 86_400;

/// Whether the agent answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Condition {
    /// It does.
    Well,
    /// It answers status 500.
    Failing,
    /// It keeps silent.
    Silent,
}

/// What the agent counts and measures. Counters start at zero with its process.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Readings {
    pub cpu: f64,
    pub memory: f64,
    pub queue: f64,
    pub tasks: u64,
    pub errors: u64,
    pub messages: (u64, u64),
    pub network: (u64, u64),
    /// Input and output tokens of each model, in the role's order.
    pub tokens: Vec<(u64, u64)>,
    /// Tasks not longer than each bound, not cumulated; the last are longer than all.
    pub durations: [u64; BOUNDS.len() + 1],
    pub duration_sum: f64,
}

/// An agent that plays a role.
#[derive(Debug)]
pub(super) struct Simulated {
    pub role: Role,
    number: u64,
    second: u64,
    unfinished: f64,
    readings: Readings,
}

impl Simulated {
    /// The agent at second 0; its number seeds its noise.
    pub(super) fn new(role: Role, number: u64) -> Self {
        let mut agent = Self {
            role,
            number,
            second: 0,
            unfinished: 0.0,
            readings: Readings::default(),
        };
        agent.start();
        agent
    }

    /// Whether it answers at this second.
    pub(super) fn condition(&self, second: u64) -> Condition {
        let within = |period: u64, from: u64, to: u64| (from..to).contains(&(second % period));
        match self.role.fault {
            Fault::Crash { period, from, to } if within(period, from, to) => Condition::Failing,
            Fault::Silence { period, from, to } if within(period, from, to) => Condition::Silent,
            _ => Condition::Well,
        }
    }

    /// Lives on to this second and tells its readings.
    pub(super) fn at(&mut self, second: u64) -> &Readings {
        self.second = self.second.max(second.saturating_sub(CATCH_UP_MAX));
        while self.second < second {
            self.second += 1;
            self.live();
        }
        &self.readings
    }

    /// The process starts: everything counts from zero.
    fn start(&mut self) {
        self.unfinished = 0.0;
        self.readings = Readings {
            cpu: self.load() * 100.0,
            memory: self.role.memory,
            tokens: vec![(0, 0); self.role.models.len()],
            ..Readings::default()
        };
    }

    /// One second.
    fn live(&mut self) {
        let restarts = match self.role.fault {
            Fault::Leak { period } => self.second.is_multiple_of(period),
            Fault::Crash { period, to, .. } => self.second % period == to,
            _ => false,
        };
        if restarts {
            self.start();
            return;
        }
        if self.condition(self.second) == Condition::Failing {
            return;
        }
        let load = self.load();
        let jitter = self.noise(1) - 0.5;
        let memory = self.memory();
        let readings = &mut self.readings;
        let cpu = (load * 100.0 + jitter * 6.0).clamp(0.5, 99.5);
        readings.cpu += (cpu - readings.cpu) * 0.6;
        readings.memory = memory;
        self.work(load);
    }

    fn load(&self) -> f64 {
        let t = self.second;
        match self.role.shape {
            Shape::Steady(load) => load,
            Shape::Wave { period, phase } => {
                let turn = ((t + phase) % period) as f64 / period as f64;
                0.45 + 0.3 * (turn * TAU).sin()
            }
            Shape::Batches { period } => {
                if (t % period) * 5 < period * 3 {
                    0.75
                } else {
                    0.05
                }
            }
            Shape::Bursts => {
                if noise(self.number, t / 8, 0) > 0.7 {
                    0.85
                } else {
                    0.15
                }
            }
        }
    }

    fn memory(&self) -> f64 {
        let grown = match self.role.fault {
            Fault::Leak { period } => {
                (96.0 - self.role.memory) * (self.second % period) as f64 / period as f64
            }
            _ => 3.0 * (self.second as f64 / 45.0).sin(),
        };
        (self.role.memory + grown + self.noise(2)).clamp(1.0, 99.0)
    }

    /// Finishes tasks; each sends messages, asks models and takes its time.
    fn work(&mut self, load: f64) {
        let capacity = self.role.tasks_per_second;
        // About as much arrives as is worked off on average, so that queues stay bounded.
        let arriving = capacity * 0.45 * (0.6 + 0.8 * self.noise(3));
        self.unfinished += capacity * load * (0.7 + 0.6 * self.noise(4));
        let done = self.unfinished.floor();
        self.unfinished -= done;
        let readings = &mut self.readings;
        readings.queue = (readings.queue + arriving - done).clamp(0.0, 60.0).round();
        for n in 0..done as u64 {
            let draw = |channel| noise(self.number, self.second, 100 + n * 10 + channel);
            // Few tasks take long; a busy agent takes longer for each.
            let seconds = (0.05 + load * 0.4) / (1.02 - draw(0));
            let bucket = BOUNDS.partition_point(|bound| *bound < seconds);
            readings.durations[bucket] += 1;
            readings.duration_sum += seconds;
            readings.tasks += 1;
            readings.errors += u64::from(draw(1) < self.role.error_share);
            readings.messages.0 += 1 + (draw(2) * 3.0) as u64;
            readings.messages.1 += 1 + (draw(3) * 3.0) as u64;
            for (model, tokens) in readings.tokens.iter_mut().enumerate() {
                tokens.0 += 300 + (draw(4 + model as u64) * 2_500.0) as u64;
                tokens.1 += 50 + (draw(6 + model as u64) * 600.0) as u64;
            }
        }
        readings.network.0 += 900 + done as u64 * 6_400;
        readings.network.1 += 1_200 + done as u64 * 21_000;
    }

    fn noise(&self, channel: u64) -> f64 {
        noise(self.number, self.second, channel)
    }
}

/// A number in `0..1` that looks like chance and is always the same. Source: the finaliser of `SplitMix64`.
fn noise(agent: u64, second: u64, channel: u64) -> f64 {
    let mut z = agent
        .wrapping_mul(0x9e37_79b9_7f4a_7c15)
        .wrapping_add(second.wrapping_mul(0xd1b5_4a32_d192_ed03))
        .wrapping_add(channel.wrapping_mul(0x8cb9_2ba7_2f3d_8dd7));
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^= z >> 31;
    (z >> 11) as f64 / (1_u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::app::demo::cast::CAST;

    fn play(name: &str) -> Simulated {
        let number = CAST.iter().position(|r| r.name == name).unwrap();
        Simulated::new(CAST[number], number as u64)
    }

    fn average(name: &str, reading: impl Fn(&Readings) -> f64) -> f64 {
        let mut agent = play(name);
        (1..=120).map(|t| reading(agent.at(t))).sum::<f64>() / 120.0
    }

    #[test]
    fn each_behaves_as_announced() {
        assert!(average("coder", |r| r.cpu) > 80.0);
        assert!(average("memory-keeper", |r| r.memory) > 70.0);
        assert!((30.0..40.0).contains(&average("planner", |r| r.cpu)));
        let mut leaking = play("browser");
        assert!(leaking.at(20).memory < 60.0);
        let before = leaking.at(89).clone();
        assert!(before.memory > 90.0);
        let after = leaking.at(90).clone();
        assert!(after.memory < 40.0 && after.tasks < before.tasks);
        let tester = play("tester");
        assert_eq!(tester.condition(7), Condition::Well);
        assert_eq!(tester.condition(8), Condition::Failing);
        assert_eq!(tester.condition(28), Condition::Well);
        assert_eq!(play("watchdog").condition(30), Condition::Silent);
        let mut batches = play("summarizer");
        let queues: Vec<f64> = (1..=120).map(|t| batches.at(t).queue).collect();
        assert!(queues.contains(&0.0));
        assert!(queues.iter().any(|q| *q > 10.0));
    }

    #[test]
    fn counters_fall_only_with_a_restart() {
        for (number, role) in CAST.into_iter().enumerate() {
            let mut agent = Simulated::new(role, number as u64);
            let mut last = agent.at(0).clone();
            for second in 1..300 {
                let now = agent.at(second).clone();
                let fell = now.tasks < last.tasks || now.network.0 < last.network.0;
                let restarts = matches!(role.fault, Fault::Leak { .. } | Fault::Crash { .. });
                assert!(!fell || restarts, "{} at {second}", role.name);
                assert!((0.0..=100.0).contains(&now.cpu), "{}", role.name);
                assert!((0.0..=100.0).contains(&now.memory), "{}", role.name);
                assert_eq!(now.durations.iter().sum::<u64>(), now.tasks);
                last = now;
            }
            assert!(last.tasks > 10, "{} works", role.name);
        }
    }

    #[test]
    fn the_way_does_not_matter() {
        let (mut often, mut once) = (play("router"), play("router"));
        for second in 0..100 {
            often.at(second);
        }
        assert_eq!(often.at(100), once.at(100));
        once.at(10 * CATCH_UP_MAX);
        assert_eq!(once.second, 10 * CATCH_UP_MAX);
    }
}
