//! What `bailey up` must know of the machine it runs on: a name, and the networks it is in.

use std::net::IpAddr;

use bailey_rules::name::{HostName, SiteName};
use bailey_rules::policy;
use ipnet::IpNet;
use nix::ifaddrs::{InterfaceAddress, getifaddrs};
use nix::net::if_::InterfaceFlags;
use nix::sys::socket::SockaddrStorage;

/// Beginnings of the names that container and virtual machine managers give to the bridges and
/// cables of their own private networks. Those networks exist on this machine only.
const PRIVATE_LINKS: [&str; 12] = [
    "docker", "veth", "virbr", "vnet", "podman", "cni", "flannel", "cali", "cilium", "lxcbr",
    "lxdbr", "incusbr",
];

/// The most characters of a name that are taken from the system.
const MAX_LABEL: usize = 63;

/// What the machine calls itself, made into a name that a host may have.
///
/// # Panics
/// Never: what [`name_from`] gives is a name.
#[must_use]
pub fn name() -> HostName {
    let said = nix::unistd::gethostname().unwrap_or_default();
    name_from(&said.to_string_lossy()).parse().expect("name_from gives names only")
}

/// The name of a site that begins with this machine.
///
/// # Panics
/// Never: a label of a host name is the name of a site.
#[must_use]
pub fn site(host: &HostName) -> SiteName {
    let label = host.as_str().split('.').next().unwrap_or_default();
    label.parse().expect("a label of a host name is a site name")
}

/// `said` in lower case, with every other character replaced and no part left empty.
fn name_from(said: &str) -> String {
    let edge = |c: char| matches!(c, '-' | '_');
    let labels: Vec<String> = said
        .split('.')
        .map(|label| {
            let plain: String = label
                .chars()
                .take(MAX_LABEL)
                .map(|c| c.to_ascii_lowercase())
                .map(|c| if c.is_ascii_alphanumeric() || edge(c) { c } else { '-' })
                .collect();
            plain.trim_matches(edge).to_owned()
        })
        .filter(|label| !label.is_empty())
        .collect();
    let whole = labels.join(".");
    let fits = whole.parse::<HostName>().is_ok();
    let first = labels.into_iter().next();
    if fits { whole } else { first.unwrap_or_else(|| "this-host".to_owned()) }
}

/// The networks this machine is directly connected to right now, each once.
///
/// Left out are loopback, link-local addresses, links that are down, point-to-point links (tunnels
/// and modems lead elsewhere) and the private networks of containers and virtual machines. Whoever
/// wants one of those in the zone writes it into the policy.
///
/// # Errors
/// When the system cannot list its interfaces (getifaddrs(3)).
pub fn networks() -> nix::Result<Vec<IpNet>> {
    let mut found: Vec<IpNet> = getifaddrs()?.filter_map(|link| network(&link)).collect();
    found.sort_unstable();
    found.dedup();
    Ok(found)
}

/// The addresses of this machine from which others can be reached; none where the system cannot list
/// them (getifaddrs(3)).
#[must_use]
pub fn addresses() -> Vec<IpAddr> {
    let mut found: Vec<IpAddr> = getifaddrs()
        .into_iter()
        .flatten()
        .filter_map(|link| ip(link.address.as_ref()?))
        .filter(|address| policy::counts(*address))
        .collect();
    found.sort_unstable();
    found.dedup();
    found
}

fn ip(address: &SockaddrStorage) -> Option<IpAddr> {
    let v4 = address.as_sockaddr_in().map(|v4| v4.ip().into());
    v4.or_else(|| address.as_sockaddr_in6().map(|v6| v6.ip().into()))
}

fn network(link: &InterfaceAddress) -> Option<IpNet> {
    let leads_elsewhere = InterfaceFlags::IFF_LOOPBACK | InterfaceFlags::IFF_POINTOPOINT;
    let left_out = !link.flags.contains(InterfaceFlags::IFF_UP)
        || link.flags.intersects(leads_elsewhere)
        || is_private(&link.interface_name);
    if left_out {
        return None;
    }
    let address = ip(link.address.as_ref()?)?;
    let mask = ip(link.netmask.as_ref()?)?;
    policy::counts(address).then(|| IpNet::with_netmask(address, mask).ok())?.map(|net| net.trunc())
}

fn is_private(link: &str) -> bool {
    // Docker names a user's bridge after the network's id: br- and twelve hexadecimal digits.
    let by_id = link
        .strip_prefix("br-")
        .is_some_and(|id| id.len() == 12 && id.bytes().all(|c| c.is_ascii_hexdigit()));
    by_id || PRIVATE_LINKS.iter().any(|beginning| link.starts_with(beginning))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_a_machine_calls_itself_becomes_a_name() {
        for (said, name) in [
            ("OA-17", "oa-17"),
            ("oa-17.jiaxing.gov", "oa-17.jiaxing.gov"),
            ("Li's Laptop", "li-s-laptop"),
            ("-x-.", "x"),
            ("办公室", "this-host"),
            ("", "this-host"),
            ("...", "this-host"),
        ] {
            assert_eq!(name_from(said), name, "{said}");
            let host: HostName = name_from(said).parse().unwrap();
            assert!(!site(&host).as_str().is_empty());
        }
        let long = ["a".repeat(80), "b".repeat(80), "c".repeat(80), "d".repeat(80)].join(".");
        assert!(name_from(&long).parse::<HostName>().is_ok());
        let many = vec!["abc"; 100].join(".");
        assert_eq!(name_from(&many), "abc");
    }

    #[test]
    fn networks_of_containers_are_told_by_the_names_of_their_links() {
        for link in ["docker0", "br-0123456789ab", "veth12ab", "virbr0", "cni0"] {
            assert!(is_private(link), "{link}");
        }
        for link in ["eth0", "enp3s0", "br0", "br-lan", "bond0", "vlan10", "wlan0"] {
            assert!(!is_private(link), "{link}");
        }
    }

    #[test]
    fn no_network_of_this_machine_is_loopback_or_link_local() {
        for network in networks().unwrap() {
            assert!(policy::counts(network.addr()), "{network}");
        }
    }
}
