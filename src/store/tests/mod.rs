//! The store against a slow, obvious model, on a disk that loses what was not synced.

mod churn;
mod damage;
mod disk;
mod faults;
mod forwarding;
mod kills;
mod model;
mod pressure;
mod quarantine;
mod rollups;
mod rules;
mod scenarios;
mod traces;
