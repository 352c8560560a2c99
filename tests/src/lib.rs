//! The lab: real programs in network namespaces of the tests' own, and what it takes to ask them.
//!
//! Everything that is started here ends with the value that started it, also when a test panics.

pub mod browser;
pub mod demo;
pub mod lab;
pub mod peers;
pub mod process;
pub mod wait;
