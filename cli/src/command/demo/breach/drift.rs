//! A rule that is gone: nothing opens, and yet the host no longer does what was ordered.

use bailey_rules::text::Text;

use super::{Breach, Raises};

pub(super) const BREACH: Breach = Breach {
    name: "drift",
    what: || {
        Text::new(
            "somebody who is tired of log lines empties the chain that counts refused packets on the \
             collector's machine",
            "有人嫌日志太多，清空了采集器主机上记录被拒数据包的规则链",
        )
    },
    raises: Raises {
        check: "ruleset_drift",
        host: "collector",
        subject: "",
        alert: "BaileyFirewallDriftEnforced",
    },
    cause: |scene| {
        scene.keep_table("collector")?;
        scene.site.netns("collector").nft("flush chain inet bailey refused")
    },
    undo: |scene| scene.put_back_table("collector"),
};
