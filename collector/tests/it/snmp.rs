//! SNMP against real agents: net-snmp's `snmpd`, and answers of the tests' own where no honest agent
//! gives them.

mod doctor;
mod power;
mod profiles;
mod responder;
mod set;
mod tables;
