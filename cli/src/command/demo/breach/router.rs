//! A machine in both networks that takes nothing itself, and passes on what it is given.

use bailey_rules::text::Text;

use super::{Breach, Raises, Scene};

const CARD: &str = "eth6";

pub(super) const BREACH: Breach = Breach {
    name: "router",
    what: || {
        Text::new(
            "somebody makes county-1 a router between the outer network and the county",
            "有人将县区主机 county-1 配置为外网与县区网之间的路由器",
        )
    },
    raises: Raises {
        check: "invariant",
        host: "county-1",
        subject: "INV-12",
        alert: "BaileyInvariantCounterexample",
    },
    cause: |scene| {
        let host = scene.site.netns("county-1");
        // What comes by the card is not for the machine itself: only that it forwards is a way.
        host.nft(&format!(
            "table inet own {{\n\
             chain in {{ type filter hook input priority 10; iifname \"{CARD}\" drop; }}\n\
             }}\n"
        ))?;
        scene.site.plug("county-1", CARD, "sw-outer")?;
        host.ip(&format!("addr add 172.20.7.97/16 dev {CARD}"))?;
        forward(scene, "1")
    },
    undo: |scene| {
        forward(scene, "0")?;
        let host = scene.site.netns("county-1");
        host.ip(&format!("link del {CARD}"))?;
        host.nft("delete table inet own")
    },
};

fn forward(scene: &Scene<'_>, value: &str) -> anyhow::Result<()> {
    let host = scene.site.netns("county-1");
    host.inside(|| Ok(std::fs::write("/proc/sys/net/ipv4/ip_forward", value)?))
}
