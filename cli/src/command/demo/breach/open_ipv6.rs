//! A filter that is closed for IPv4, and in which somebody forgot that there is IPv6.

use bailey_rules::text::Text;

use super::{Breach, Raises};

const COMMENT: &str = "county IPv6";

pub(super) const BREACH: Breach = Breach {
    name: "open-ipv6",
    what: || {
        Text::new(
            "somebody makes IPv6 of the county work on fw-in, by letting all of it through",
            "有人为使县区 IPv6 可用，在 fw-in 上放行了其全部 IPv6 流量",
        )
    },
    raises: Raises {
        check: "invariant",
        host: "fw-in",
        subject: "INV-07",
        alert: "BaileyInvariantCounterexample",
    },
    cause: |scene| {
        scene.insert_rule("fw-in", "iifname \"county\" meta nfproto ipv6 accept", COMMENT)
    },
    undo: |scene| scene.delete_rule("fw-in", COMMENT),
};
