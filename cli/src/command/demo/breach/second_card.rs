//! A machine in both networks whose own filter does not close: it only observes.

use bailey_rules::text::Text;

use super::{Breach, Raises};

const CARD: &str = "eth5";

pub(super) const BREACH: Breach = Breach {
    name: "second-card",
    what: || {
        Text::new(
            "somebody plugs a second card of county-1, whose rules only observe, into the outer network",
            "有人将县区主机 county-1（仅观察模式）的第二块网卡接入外网",
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
        scene.site.netns("county-1").ip(&format!("addr add 172.20.7.98/16 dev {CARD}"))
    },
    undo: |scene| scene.site.netns("county-1").ip(&format!("link del {CARD}")),
};
