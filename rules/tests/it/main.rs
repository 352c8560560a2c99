//! What the domain promises, by example and by law.

#![allow(clippy::unwrap_used, reason = "a test that cannot set up its case has failed")]

mod agent;
mod backup;
mod compile;
mod expectation;
mod facts;
mod finding;
mod firewall;
mod host;
mod isolation;
mod model;
mod plan;
mod policy;
mod site;
mod unit;
mod yaml;
