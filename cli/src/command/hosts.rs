//! `bailey hosts`: all of them, or one.

pub(super) mod list;
pub(super) mod show;
