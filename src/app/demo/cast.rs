//! Who plays, and how each behaves.

/// How an agent's load goes over time; times in seconds.
#[derive(Clone, Copy, Debug)]
pub(super) enum Shape {
    /// The same all the time, between 0 and 1.
    Steady(f64),
    /// Up and down like a day, much quicker.
    Wave { period: u64, phase: u64 },
    /// Works a batch off, then waits for the next.
    Batches { period: u64 },
    /// Mostly idle, at times very busy.
    Bursts,
}

/// What goes wrong with an agent; times in seconds.
#[derive(Clone, Copy, Debug)]
pub(super) enum Fault {
    /// Nothing.
    None,
    /// Its memory grows until it is killed and starts anew, every so often.
    Leak { period: u64 },
    /// Answers status 500 for some seconds of each period, then starts anew.
    Crash { period: u64, from: u64, to: u64 },
    /// Answers nothing for some seconds of each period.
    Silence { period: u64, from: u64, to: u64 },
}

/// The format in which an agent tells its metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    /// `{"metrics":[...]}`.
    Json,
    /// Prometheus text 0.0.4.
    Text,
    /// OpenMetrics 1.0.
    OpenMetrics,
}

/// One agent of the fleet.
#[derive(Clone, Copy, Debug)]
pub(super) struct Role {
    /// Its agent id; also stands in its URLs.
    pub name: &'static str,
    /// Its label `role`.
    pub work: &'static str,
    /// How busy it is.
    pub shape: Shape,
    /// What goes wrong with it.
    pub fault: Fault,
    /// How it tells its metrics.
    pub format: Format,
    /// Percent of memory that it uses when nothing is wrong.
    pub memory: f64,
    /// Tasks a second at full load.
    pub tasks_per_second: f64,
    /// Share of its tasks that fail.
    pub error_share: f64,
    /// The language models that it asks.
    pub models: &'static [&'static str],
    /// For people: what there is to see.
    pub shows: &'static str,
}

const fn role(
    name: &'static str,
    work: &'static str,
    shape: Shape,
    format: Format,
    shows: &'static str,
) -> Role {
    Role {
        name,
        work,
        shape,
        fault: Fault::None,
        format,
        memory: 35.0,
        tasks_per_second: 2.0,
        error_share: 0.01,
        models: &["large-1"],
        shows,
    }
}

/// The fleet.
pub(super) const CAST: [Role; 12] = [
    role(
        "planner",
        "planning",
        Shape::Steady(0.35),
        Format::Json,
        "steady load",
    ),
    Role {
        models: &["large-1", "small-1"],
        ..role(
            "researcher-1",
            "research",
            Shape::Wave {
                period: 180,
                phase: 0,
            },
            Format::Text,
            "load that comes and goes like a day",
        )
    },
    Role {
        models: &["large-1", "small-1"],
        ..role(
            "researcher-2",
            "research",
            Shape::Bursts,
            Format::OpenMetrics,
            "bursts of load",
        )
    },
    Role {
        memory: 62.0,
        tasks_per_second: 1.0,
        ..role(
            "coder",
            "coding",
            Shape::Steady(0.92),
            Format::OpenMetrics,
            "cpu above 80 percent",
        )
    },
    role(
        "reviewer",
        "coding",
        Shape::Wave {
            period: 240,
            phase: 90,
        },
        Format::Json,
        "load that comes and goes",
    ),
    Role {
        fault: Fault::Crash {
            period: 60,
            from: 8,
            to: 28,
        },
        error_share: 0.15,
        ..role(
            "tester",
            "coding",
            Shape::Steady(0.5),
            Format::Text,
            "crashes and returns every minute",
        )
    },
    Role {
        tasks_per_second: 4.0,
        models: &["small-1"],
        ..role(
            "summarizer",
            "writing",
            Shape::Batches { period: 40 },
            Format::Text,
            "batches: the queue fills and drains",
        )
    },
    Role {
        models: &["embedding-1"],
        tasks_per_second: 6.0,
        ..role(
            "retriever",
            "research",
            Shape::Wave {
                period: 120,
                phase: 60,
            },
            Format::OpenMetrics,
            "many short tasks",
        )
    },
    Role {
        tasks_per_second: 8.0,
        memory: 20.0,
        models: &["small-1"],
        ..role(
            "router",
            "planning",
            Shape::Bursts,
            Format::Json,
            "bursts of messages",
        )
    },
    Role {
        fault: Fault::Leak { period: 90 },
        ..role(
            "browser",
            "research",
            Shape::Steady(0.4),
            Format::Text,
            "leaks memory until it is killed",
        )
    },
    Role {
        memory: 76.0,
        ..role(
            "memory-keeper",
            "storage",
            Shape::Steady(0.25),
            Format::OpenMetrics,
            "memory above 70 percent",
        )
    },
    Role {
        fault: Fault::Silence {
            period: 120,
            from: 25,
            to: 70,
        },
        memory: 12.0,
        models: &[],
        tasks_per_second: 0.5,
        ..role(
            "watchdog",
            "operations",
            Shape::Steady(0.1),
            Format::Json,
            "goes silent for 45 seconds every two minutes",
        )
    },
];
