//! A tunnel, through which a machine can be in another network without a wire.

use bailey_rules::text::Text;

use super::{Breach, Raises};

pub(super) const BREACH: Breach = Breach {
    name: "new-tunnel",
    what: || {
        Text::new(
            "somebody brings up a tunnel on admin-in-1, as a VPN client does",
            "有人在 admin-in-1 上启用了隧道接口（如 VPN 客户端）",
        )
    },
    raises: Raises {
        check: "unexpected_interface",
        host: "admin-in-1",
        subject: "tun0",
        alert: "BaileyIsolationViolation",
    },
    cause: |scene| {
        scene.site.netns("admin-in-1").batch("tuntap add dev tun0 mode tun\nlink set tun0 up\n")
    },
    undo: |scene| scene.site.netns("admin-in-1").ip("link del tun0"),
};
