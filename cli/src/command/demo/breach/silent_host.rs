//! An agent that says nothing any more, as of a machine that hangs.

use anyhow::Context as _;
use bailey_rules::text::Text;
use nix::sys::signal::Signal;

use super::super::process::Identity;
use super::{Breach, Raises, Scene};

pub(super) const BREACH: Breach = Breach {
    name: "silent-host",
    what: || {
        Text::new(
            "the agent of dns-out hangs: its connection stands, and it says nothing",
            "dns-out 的代理程序挂起：连接仍在，但不再上报",
        )
    },
    raises: Raises { check: "host_silent", host: "dns-out", subject: "", alert: "BaileyHostStale" },
    cause: |scene| signal(scene, Signal::SIGSTOP),
    undo: |scene| signal(scene, Signal::SIGCONT),
};

fn signal(scene: &Scene<'_>, signal: Signal) -> anyhow::Result<()> {
    let agent = Identity::kept(&scene.folder.process("dns-out.agent"));
    agent.context("the agent of dns-out does not run")?.signal(signal)
}
