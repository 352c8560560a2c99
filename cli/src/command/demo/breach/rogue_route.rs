//! A route that leads out of the network (违规外联).

use bailey_rules::text::Text;

use super::{Breach, Raises};

const ROUTE: &str = "198.51.100.0/24 via 172.20.0.1 dev eth0 onlink";

pub(super) const BREACH: Breach = Breach {
    name: "rogue-route",
    what: || {
        Text::new(
            "somebody sets a route on mail-in-1 that leads to the Internet by a gateway of the outer network",
            "有人在内网主机 mail-in-1 上添加了经外网网关通往互联网的路由",
        )
    },
    raises: Raises {
        check: "foreign_route",
        host: "mail-in-1",
        subject: "198.51.100.0/24",
        alert: "BaileyIsolationViolation",
    },
    cause: |scene| scene.site.netns("mail-in-1").ip(&format!("route add {ROUTE}")),
    undo: |scene| scene.site.netns("mail-in-1").ip(&format!("route del {ROUTE}")),
};
