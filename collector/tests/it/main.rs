//! The collector whole, beside the programs that it works with: one program of tests, so that they are
//! linked once.

#![allow(clippy::unwrap_used, reason = "a test that cannot set up its case has failed")]

mod agent;
mod alerting;
mod corpus;
mod devices;
mod enrolment;
mod fleet;
mod intake;
mod listings;
mod netns;
mod ports;
mod program;
mod proofs;
mod pushes;
mod restart;
mod snmp;
mod support;
mod syslog;
mod topology;
mod traps;
