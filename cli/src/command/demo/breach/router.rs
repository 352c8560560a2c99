//! A machine in both networks that takes nothing itself, and passes on what it is given.

use bailey_rules::text::Text;

use super::{Breach, Raises};

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
        scene.set_forwarding("county-1", true)
    },
    undo: |scene| {
        scene.set_forwarding("county-1", false)?;
        let host = scene.site.netns("county-1");
        host.ip(&format!("link del {CARD}"))?;
        host.nft("delete table inet own")
    },
};
