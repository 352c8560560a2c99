//! A machine that touches both networks: what separation forbids first (违规跨接).

use bailey_rules::text::Text;

use super::{Breach, Raises};

const CARD: &str = "eth1";

pub(super) const BREACH: Breach = Breach {
    name: "dual-home",
    what: || {
        Text::new(
            "somebody plugs a second card of oa-web, a machine of the inner network, into the outer one",
            "有人将内网主机 oa-web 的第二块网卡接入外网",
        )
    },
    raises: Raises {
        check: "foreign_address",
        host: "oa-web",
        subject: "172.20.7.99",
        alert: "BaileyIsolationViolation",
    },
    cause: |scene| {
        scene.site.plug("oa-web", CARD, "sw-outer")?;
        scene.site.netns("oa-web").ip(&format!("addr add 172.20.7.99/16 dev {CARD}"))
    },
    undo: |scene| scene.site.netns("oa-web").ip(&format!("link del {CARD}")),
};
