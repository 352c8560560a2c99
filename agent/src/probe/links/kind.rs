//! What sort of interface it is: from the kernel's own word for it (`IFLA_INFO_KIND`), the link
//! layer type (`ARPHRD_*`), and what hangs below it in sysfs.

use std::fs;
use std::path::Path;

use bailey_rules::fact::links::LinkKind;
use netlink_packet_route::link::{InfoKind, LinkAttribute, LinkInfo, LinkLayerType, LinkMessage};

/// Kind, and the driver or the kernel's name for the kind. `device` is its folder in
/// `/sys/class/net`.
pub(super) fn of(link: &LinkMessage, device: &Path) -> (LinkKind, String) {
    let info = link.attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::LinkInfo(infos) => infos.iter().find_map(|info| match info {
            LinkInfo::Kind(kind) => Some(kind),
            // The crate's enum is open; only the kind is asked for.
            _ => None,
        }),
        // The crate's enum is open; only the kind is asked for.
        _ => None,
    });
    if let Some(info) = info {
        return (of_info(info), info.to_string());
    }
    let driver = target(&device.join("device/driver")).unwrap_or_default();
    (of_device(link.header.link_layer_type, device), driver)
}

fn of_info(info: &InfoKind) -> LinkKind {
    match info {
        InfoKind::Bridge => LinkKind::Bridge,
        InfoKind::Bond | InfoKind::Team => LinkKind::Bond,
        InfoKind::Vlan => LinkKind::Vlan,
        InfoKind::Veth
        | InfoKind::MacVlan
        | InfoKind::MacVtap
        | InfoKind::IpVlan
        | InfoKind::IpVtap
        | InfoKind::Netkit
        | InfoKind::Dummy
        | InfoKind::Ifb
        | InfoKind::Nlmon
        | InfoKind::Vrf => LinkKind::Virtual,
        InfoKind::Tun
        | InfoKind::Wireguard
        | InfoKind::Vxlan
        | InfoKind::Geneve
        | InfoKind::GreTap
        | InfoKind::GreTap6
        | InfoKind::GreTun
        | InfoKind::GreTun6
        | InfoKind::IpIp
        | InfoKind::Ip6Tnl
        | InfoKind::SitTun
        | InfoKind::Vti
        | InfoKind::Vti6
        | InfoKind::Xfrm
        | InfoKind::ErSpan
        | InfoKind::Ip6ErSpan
        | InfoKind::Amt
        | InfoKind::BareUdp
        | InfoKind::Gtp => LinkKind::Tunnel,
        InfoKind::VirtWifi => LinkKind::Wireless,
        InfoKind::Wwan | InfoKind::RmNet => LinkKind::Modem,
        InfoKind::Other(name) if name == "ppp" => LinkKind::Modem,
        // The crate's enum is open; the kernel's name stands in the driver.
        _ => LinkKind::Other,
    }
}

fn of_device(layer: LinkLayerType, device: &Path) -> LinkKind {
    if layer == LinkLayerType::Loopback {
        return LinkKind::Loopback;
    }
    if device.join("wireless").exists() || device.join("phy80211").exists() {
        return LinkKind::Wireless;
    }
    if device.join("tun_flags").exists() {
        return LinkKind::Tunnel;
    }
    let below = fs::read_to_string(device.join("uevent")).unwrap_or_default();
    if layer == LinkLayerType::Ppp || below.lines().any(|line| line == "DEVTYPE=wwan") {
        return LinkKind::Modem;
    }
    // A card below a USB bus, however many hubs are in between.
    let path = fs::canonicalize(device.join("device")).unwrap_or_default();
    if path.components().any(|part| {
        let name = part.as_os_str().to_string_lossy();
        name.strip_prefix("usb").is_some_and(|number| number.parse::<u16>().is_ok())
    }) {
        return LinkKind::Usb;
    }
    match layer {
        LinkLayerType::Ether => LinkKind::Ethernet,
        LinkLayerType::Tunnel
        | LinkLayerType::Tunnel6
        | LinkLayerType::Sit
        | LinkLayerType::Ipgre
        | LinkLayerType::None => LinkKind::Tunnel,
        // The crate's enum is open; the driver says more.
        _ => LinkKind::Other,
    }
}

fn target(link: &Path) -> Option<String> {
    let path = fs::read_link(link).ok()?;
    Some(path.file_name()?.to_string_lossy().into_owned())
}
