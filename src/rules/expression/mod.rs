//! Rules whose condition is PromQL: alerting and recording rules, live and on a simulated clock.

mod agents;
mod compiled;
mod instances;
mod live;
mod memory;
mod replay;
mod rows;
#[cfg(test)]
mod tests;

pub(super) use compiled::{Compiled, check};
pub(super) use instances::Instances;
pub(super) use live::{Expressions, Moment, labels_of};
pub(super) use memory::{Memory, Overlay};
pub(super) use replay::{Replayed, replay};
pub(super) use rows::{Outside, Place, Row, annotations, instant, rows};
