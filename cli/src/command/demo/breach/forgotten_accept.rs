//! A rule that was meant for an afternoon: the proof finds what comes through it.

use bailey_rules::text::Text;

use super::{Breach, Raises};

const COMMENT: &str = "until friday";

pub(super) const BREACH: Breach = Breach {
    name: "forgotten-accept",
    what: || {
        Text::new(
            "somebody lets the tax bureau reach a database of the inner network through fw-in, until friday",
            "有人在 fw-in 上临时放行税务局访问内网数据库，说是到周五为止",
        )
    },
    raises: Raises {
        check: "invariant",
        host: "fw-in",
        subject: "INV-09",
        alert: "BaileyInvariantCounterexample",
    },
    cause: |scene| {
        let rule = "ip saddr 10.200.0.0/16 ip daddr 10.1.4.0/24 tcp dport 1521 accept";
        scene.insert_rule("fw-in", rule, COMMENT)
    },
    undo: |scene| scene.delete_rule("fw-in", COMMENT),
};
