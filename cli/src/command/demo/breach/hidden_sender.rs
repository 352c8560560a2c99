//! A table of somebody else's that rewrites addresses behind ours (NAT): who comes that way looks like
//! the firewall itself.

use bailey_rules::text::Text;

use super::{Breach, Raises};

pub(super) const BREACH: Breach = Breach {
    name: "hidden-sender",
    what: || {
        Text::new(
            "somebody sets up address translation on fw-in, so that the county sees the firewall and not \
             who sends",
            "有人在 fw-in 上配置了地址转换，县区一侧看到的发送方变为防火墙",
        )
    },
    raises: Raises {
        check: "ruleset_bypassed",
        host: "fw-in",
        subject: "",
        alert: "BaileyRulesetBypassed",
    },
    cause: |scene| {
        scene.site.netns("fw-in").nft(
            "table ip translation {\n\
             chain out { type nat hook postrouting priority srcnat; oifname \"county\" masquerade; }\n\
             }\n",
        )
    },
    undo: |scene| scene.site.netns("fw-in").nft("delete table ip translation"),
};
