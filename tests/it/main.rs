//! One integration-test binary; a module per subject.

mod exposition;
mod rooms;
