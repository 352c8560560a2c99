//! What libFuzzer runs.

pub mod targets;
