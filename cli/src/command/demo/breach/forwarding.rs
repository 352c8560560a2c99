//! A host that passes packets on, which makes a way of every machine with two cards.

use bailey_rules::text::Text;

use super::{Breach, Raises};

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
    cause: |scene| scene.set_forwarding("ex-back", true),
    undo: |scene| scene.set_forwarding("ex-back", false),
};
