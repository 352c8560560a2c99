//! A host that passes packets on, which makes a way of every machine with two cards.

use bailey_rules::text::Text;

use super::{Breach, Raises, Scene};

pub(super) const BREACH: Breach = Breach {
    name: "forwarding",
    what: || {
        Text::new(
            "somebody lets ex-back, a host of the exchange platform, forward packets",
            "有人在交换区主机 ex-back 上开启了数据包转发",
        )
    },
    raises: Raises {
        check: "forwarding",
        host: "ex-back",
        subject: "",
        alert: "BaileyIsolationViolation",
    },
    cause: |scene| set(scene, "1"),
    undo: |scene| set(scene, "0"),
};

fn set(scene: &Scene<'_>, value: &str) -> anyhow::Result<()> {
    let host = scene.site.netns("ex-back");
    host.inside(|| Ok(std::fs::write("/proc/sys/net/ipv4/ip_forward", value)?))
}
