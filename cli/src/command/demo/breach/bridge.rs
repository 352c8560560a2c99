//! A bridge between the networks: below all routes and filters, they become one wire.

use bailey_rules::text::Text;

use super::{Breach, Raises};

const CARD: &str = "eth7";
const BRIDGE: &str = "br0";

pub(super) const BREACH: Breach = Breach {
    name: "bridge",
    what: || {
        Text::new(
            "somebody sets up a bridge on county-1, for virtual machines, and puts a card of the outer network into it",
            "有人在县区主机 county-1 上为虚拟机建立网桥，并将接入外网的网卡加入其中",
        )
    },
    raises: Raises {
        check: "invariant",
        host: "county-1",
        subject: "INV-12",
        alert: "BaileyInvariantCounterexample",
    },
    cause: |scene| {
        scene.site.plug("county-1", CARD, "sw-outer")?;
        // Its addresses move to the bridge, as every tool does that makes one.
        scene.site.netns("county-1").batch(&format!(
            "addr add 172.20.7.96/16 dev {CARD}\n\
             link add {BRIDGE} type bridge forward_delay 0\n\
             link set {BRIDGE} up\n\
             link set {CARD} master {BRIDGE}\n\
             addr flush dev eth0 scope global\n\
             link set eth0 master {BRIDGE}\n\
             addr add 10.32.1.10/13 dev {BRIDGE}\n\
             addr add fd00:32::1:10/32 dev {BRIDGE} nodad\n\
             route replace default via 10.32.0.1\n\
             route replace default via fd00:32::1\n"
        ))
    },
    undo: |scene| {
        scene.site.netns("county-1").batch(&format!(
            "link del {CARD}\n\
             link del {BRIDGE}\n\
             addr add 10.32.1.10/13 dev eth0\n\
             addr add fd00:32::1:10/32 dev eth0 nodad\n\
             route replace default via 10.32.0.1\n\
             route replace default via fd00:32::1\n"
        ))?;
        // Who heard county-1 over the bridge remembers it for minutes.
        scene.site.netns("fw-out").ip("neigh flush dev outer")?;
        scene.site.netns("fw-in").ip("neigh flush dev county")
    },
};
