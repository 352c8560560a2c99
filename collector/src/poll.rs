//! Devices that no agent can live on: switches, UPS, minicomputers, firewall appliances. They are
//! asked by SNMP.
//!
//! The parts, in the order in which an answer meets them:
//! - [`credentials`]: the file that says how a device wants to be asked.
//! - [`snmp`]: what can be asked of a device, and every way in which it can fail; below it the one
//!   implementation over UDP. [`oid`] and [`value`] are its words.
//! - [`table`]: whole tables out of single answers, or an error; never a part.
//! - [`profile`]: what the values mean; [`device`] asks one device for all of it.
//! - [`doctor`]: what is wrong with a device that does not answer as it should.
//! - [`round`]: one poll of one device; `poller` gives each its turn, [`paced`] none more than it bears.

pub mod credentials;
pub mod device;
pub mod doctor;

pub mod oid;
pub mod paced;
pub(crate) mod poller;
pub mod profile;
pub mod round;
pub mod snmp;
pub mod table;
pub mod value;
