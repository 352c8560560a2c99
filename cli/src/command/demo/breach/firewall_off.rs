//! A machine without its filter, as after `nft flush ruleset` by somebody who looks for a fault.

use bailey_rules::text::Text;

use super::{Breach, Raises};

pub(super) const BREACH: Breach = Breach {
    name: "firewall-off",
    what: || {
        Text::new(
            "somebody who looks for a fault switches the firewall of tax-1 off",
            "有人为排查故障关闭了 tax-1 的防火墙",
        )
    },
    raises: Raises {
        check: "firewall_active",
        host: "tax-1",
        subject: "",
        alert: "BaileyFirewallInactive",
    },
    cause: |scene| {
        scene.keep_table("tax-1")?;
        scene.site.netns("tax-1").nft("delete table inet bailey")
    },
    undo: |scene| scene.put_back_table("tax-1"),
};
