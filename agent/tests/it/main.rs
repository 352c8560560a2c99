//! The agent on real kernels and beside real programs: one program of tests, so that they are linked
//! once.

#![allow(clippy::unwrap_used, reason = "a test that cannot set up its case has failed")]

mod enforce;
mod enforcer;
mod isolation;
mod listings;
mod lockout;
mod namespace;
mod orders;
mod peer;
mod probe_backup;
mod probe_enforcement;
mod probe_firewall;
mod probe_flows;
mod probe_lines;
mod probe_links;
mod probe_units;
mod proof;
mod settings;
mod spool;
mod uplink;
