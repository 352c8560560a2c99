//! A translation that makes of a forbidden packet a permitted one: no rule of the filter has changed.

use bailey_rules::text::Text;

use super::{Breach, Raises};

pub(super) const BREACH: Breach = Breach {
    name: "translation",
    what: || {
        Text::new(
            "somebody has fw-in answer on a port of its own for oa-web, a machine of the inner network",
            "有人在 fw-in 上将其自身的一个端口映射到内网主机 oa-web",
        )
    },
    raises: Raises {
        check: "invariant",
        host: "fw-in",
        subject: "INV-06",
        alert: "BaileyInvariantCounterexample",
    },
    cause: |scene| {
        scene.site.netns("fw-in").nft(
            "table ip portal {\n\
             chain in { type nat hook prerouting priority dstnat; \
             iifname \"exchange\" ip daddr 10.250.0.1 tcp dport 9443 dnat to 10.1.3.10:443; }\n\
             }\n",
        )
    },
    undo: |scene| scene.site.netns("fw-in").nft("delete table ip portal"),
};
