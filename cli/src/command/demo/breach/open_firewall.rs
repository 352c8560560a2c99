//! A filter that lets in what no rule decides: one word changed by hand.

use bailey_rules::text::Text;

use super::{Breach, Raises};

pub(super) const BREACH: Breach = Breach {
    name: "open-firewall",
    what: || {
        Text::new(
            "somebody makes the firewall of fw-out accept what no rule decides",
            "有人将防火墙 fw-out 的默认动作改为放行",
        )
    },
    raises: Raises {
        check: "firewall_default_deny",
        host: "fw-out",
        subject: "ip forward",
        alert: "BaileyFirewallNotDefaultDeny",
    },
    cause: |scene| {
        scene.keep_table("fw-out")?;
        // The rules at the end of the chain refuse by themselves: both must go.
        scene.site.netns("fw-out").nft(
            "flush chain inet bailey forward\n\
             add chain inet bailey forward { policy accept; }\n",
        )
    },
    undo: |scene| scene.put_back_table("fw-out"),
};
