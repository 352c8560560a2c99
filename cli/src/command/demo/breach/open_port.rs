//! A port that somebody opens by hand in the enforced rules, and forgets.

use bailey_rules::text::Text;

use super::{Breach, Raises};

const COMMENT: &str = "remote desktop";

pub(super) const BREACH: Breach = Breach {
    name: "open-port",
    what: || {
        Text::new(
            "somebody opens the remote desktop port through fw-in by hand",
            "有人在防火墙 fw-in 上手工放行了远程桌面端口",
        )
    },
    raises: Raises {
        check: "ruleset_drift",
        host: "fw-in",
        subject: "",
        alert: "BaileyFirewallDriftEnforced",
    },
    cause: |scene| scene.insert_rule("fw-in", "tcp dport 3389 accept", COMMENT),
    undo: |scene| scene.delete_rule("fw-in", COMMENT),
};
