//! SNMP against real agents: net-snmp's `snmpd`, and answers of the tests' own where no honest agent
//! gives them.

#![allow(clippy::unwrap_used)] // The helpers of a test fail as the test does.

#[allow(dead_code, reason = "another test ends it and starts it again")]
mod agent;
mod doctor;
mod profiles;
mod responder;
mod set;
mod tables;
