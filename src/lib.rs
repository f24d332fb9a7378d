//! longwatch: a monitor for fleets of agents in one binary with one embedded database file.
//!
//! # The house
//!
//! Arrows point down only; no room imports a room of its own floor. `tests/it/rooms.rs` checks this
//! table against the `use` lines.
//!
//! | floor | rooms |
//! |---|---|
//! | 9 | [`cli`]: one file per command; talks to people |
//! | 8 | [`app`]: the only room that wires: configuration -> rooms -> tasks -> shutdown |
//! | 7 | [`config`]: files, environment, flags -> each room's own settings |
//! | 6 | [`api`]: HTTP edge: translate, authorise, nothing else |
//! | 5 | [`collect`]: scraping, probing, sampling of processes and the host; [`forward`]: remote write to other systems; [`report`]: health, status, overview, performance report, rendering; [`rules`]: conditions and PromQL, evaluation, recording, backtest, unit tests |
//! | 4 | [`ingest`]: wire formats -> [`model::Batch`]; [`notify`]: deliveries of the outbox -> channels; [`query`]: PromQL -> answers; [`traces`]: spans -> critical paths, analyses, agent graphs, profiles, as functions only |
//! | 3 | [`store`]: the one room that knows redb |
//! | 2 | [`codec`]: bytes <-> model; [`alerts`]: decisions about state as functions only: health, rules' form, the life of an alert, routes; [`net`]: guarded HTTP client |
//! | 1 | [`model`]: ids, time, series, agents, alerts, what readers read; [`telemetry`]: own metrics |
//! |   | `migrations/` (beside `src`): frozen schema steps, taken in by `store`; redb and std alone |
//!
//! What a room must not know: `redb` appears in `store` and `migrations` alone, `axum` in `api` and
//! `app` alone, the wall clock in [`model::SystemClock`] alone.

pub mod alerts;
pub mod api;
pub mod app;
pub mod cli;
pub mod codec;
pub mod collect;
pub mod config;
pub mod forward;
pub mod ingest;
pub mod model;
pub mod net;
pub mod notify;
pub mod query;
pub mod report;
pub mod rules;
pub mod store;
pub mod telemetry;
pub mod traces;
