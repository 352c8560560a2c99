//! What the domain promises, by example and by law.

#![allow(clippy::unwrap_used, reason = "a test that cannot set up its case has failed")]

mod agent;
mod assemble;
mod backup;
mod cause;
mod compile;
mod compiled;
mod device;
mod enforcement;
mod expectation;
mod facts;
mod finding;
mod firewall;
mod follow;
mod host;
mod isolation;
mod lines;
mod model;
mod packet_sets;
mod plan;
mod policy;
mod proof_checks;
mod quality;
mod ruleset_questions;
mod schema;
mod site;
mod site_always;
mod site_bridge;
mod site_proof;
mod topology;
mod unit;
mod walk;
mod wire_isolation;
mod yaml;
