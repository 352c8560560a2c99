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
        let host = scene.site.netns("fw-out");
        std::fs::write(&scene.notes, host.sh("nft -s list table inet bailey")?)?;
        // The rules at the end of the chain refuse by themselves: both must go.
        host.nft(
            "flush chain inet bailey forward\n\
             add chain inet bailey forward { policy accept; }\n",
        )
    },
    undo: |scene| {
        let before = std::fs::read_to_string(&scene.notes)?;
        scene.site.netns("fw-out").nft(&format!("delete table inet bailey\n{before}"))
    },
};
