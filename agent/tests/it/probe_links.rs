//! The probe `links` in network namespaces of the tests' own, with what the kernel really does.

use std::time::Duration;

use crate::namespace::{in_namespace, run};
use bailey_agent::probe::links::LinksProbe;
use bailey_agent::probe::{Probe as _, Roots, Wake};
use bailey_rules::fact::links::{
    Forwarding, Interface, LinkKind, Mark, Neighbour, ReversePath, Route, RouteKind, Rule,
    RuleAction, Traffic,
};
use bailey_rules::fact::{Fact, Named};

/// The kernel's news must be there by then.
const AT_ONCE: Duration = Duration::from_secs(1);

/// Runs `test` on a thread with a network namespace and a sysfs of its own.
fn on_a_machine<F: Future<Output = ()>>(test: impl FnOnce() -> F + Send + 'static) {
    in_namespace(|| {
        run("mount -t sysfs sysfs /sys");
        test()
    });
}

fn ip(line: &str) {
    run(&format!("ip {line}"));
}

async fn read(probe: &mut LinksProbe) -> Vec<Fact> {
    probe.read(Wake::Interval).await.expect("rtnetlink answers")
}

fn find<'a, T: Named + 'static>(facts: &'a [Fact], subject: &str) -> Option<&'a T> {
    let fact =
        facts.iter().find(|fact| fact.key.kind == T::KIND && &*fact.key.subject == subject)?;
    T::of(fact.reading.known()?)
}

fn get<'a, T: Named + 'static>(facts: &'a [Fact], subject: &str) -> &'a T {
    find(facts, subject).unwrap_or_else(|| panic!("no {} {subject} in {facts:#?}", T::KIND))
}

/// Does `line` and expects news of it at once.
async fn told_of(probe: &mut LinksProbe, line: &str) -> Vec<Fact> {
    ip(line);
    tokio::time::timeout(AT_ONCE, probe.told())
        .await
        .unwrap_or_else(|_| panic!("no news of: ip {line}"));
    read(probe).await
}

#[test]
fn interfaces_are_of_the_kind_they_are() {
    on_a_machine(|| async {
        ip("link add eth0 type veth peer name far");
        ip("link add br0 type bridge");
        ip("link set eth0 master br0");
        ip("tuntap add dev tun0 mode tun");
        ip("link add vx0 type vxlan id 7 local 127.0.0.1 dstport 4789");
        ip("link add mv0 link far type macvlan");
        ip("link set eth0 up");
        ip("link set far up");
        ip("addr add 10.1.0.17/24 dev far");
        ip("addr add fd00:1::17/64 dev far nodad");
        let facts = read(&mut LinksProbe::new(&Roots::default())).await;
        let kind = |name: &str| get::<Interface>(&facts, name).kind;
        assert_eq!(kind("lo"), LinkKind::Loopback);
        assert_eq!(kind("eth0"), LinkKind::Virtual);
        assert_eq!(kind("br0"), LinkKind::Bridge);
        assert_eq!(kind("tun0"), LinkKind::Tunnel);
        assert_eq!(kind("vx0"), LinkKind::Tunnel);
        assert_eq!(kind("mv0"), LinkKind::Virtual);
        assert_eq!(get::<Interface>(&facts, "eth0").master.as_deref(), Some("br0"));
        let far = get::<Interface>(&facts, "far");
        assert!(far.admin_up && far.carrier && far.mac.is_some() && far.mtu == 1500);
        let addresses: Vec<String> = far.addresses.iter().map(ToString::to_string).collect();
        assert!(addresses.contains(&"10.1.0.17/24".to_owned()), "{addresses:?}");
        assert!(addresses.contains(&"fd00:1::17/64".to_owned()), "{addresses:?}");
        assert!(find::<Traffic>(&facts, "far").is_some());
    });
}

#[test]
fn news_of_an_interface_an_address_and_a_route_comes_at_once_and_not_twice() {
    on_a_machine(|| async {
        let mut probe = LinksProbe::new(&Roots::default());
        read(&mut probe).await;
        told_of(&mut probe, "link add eth1 type veth peer name far").await;
        told_of(&mut probe, "link set far up").await;
        told_of(&mut probe, "link set eth1 up").await;
        let facts = told_of(&mut probe, "addr add 172.20.0.99/24 dev eth1").await;
        assert_eq!(get::<Interface>(&facts, "eth1").addresses[0].to_string(), "172.20.0.99/24",);
        let facts = told_of(&mut probe, "route add default via 172.20.0.1 dev eth1 metric 5").await;
        let route: &Route = get(&facts, "default via 172.20.0.1 dev eth1 metric 5");
        assert_eq!(route.destination.to_string(), "0.0.0.0/0");
        assert!(route.carries && route.metric == 5 && route.table == 254);
        let facts = told_of(&mut probe, "route add blackhole 10.9.0.0/16").await;
        assert!(!get::<Route>(&facts, "blackhole 10.9.0.0/16").carries);
        let facts = told_of(&mut probe, "route del default").await;
        assert!(find::<Route>(&facts, "default via 172.20.0.1 dev eth1 metric 5").is_none());
        // Whatever is still on its way is over soon; then there is silence.
        let quiet = async {
            while tokio::time::timeout(AT_ONCE, probe.told()).await.is_ok() {
                read(&mut probe).await;
            }
        };
        tokio::time::timeout(AT_ONCE * 15, quiet).await.expect("an idle machine is silent");
    });
}

#[test]
fn a_neighbour_is_reported_when_it_was_seen_and_once() {
    on_a_machine(|| async {
        ip("link add eth0 type veth peer name far");
        ip("link set eth0 up");
        ip("addr add 10.1.0.17/24 dev eth0");
        let mut probe = LinksProbe::new(&Roots::default());
        read(&mut probe).await;
        let line = "neigh add 10.1.0.9 lladdr 52:54:00:12:34:56 dev eth0 nud reachable";
        let facts = told_of(&mut probe, line).await;
        let seen: &Neighbour = get(&facts, "10.1.0.9 eth0");
        assert_eq!(seen.mac.expect("a hardware address").to_string(), "52:54:00:12:34:56");
        assert!(!seen.silent, "it was heard just now");
        ip("neigh add 10.1.0.8 dev eth0 nud failed");
        let facts = read(&mut probe).await;
        assert!(find::<Neighbour>(&facts, "10.1.0.8 eth0").is_none(), "it never answered");
        // The same neighbour in another state is no news.
        ip("neigh change 10.1.0.9 lladdr 52:54:00:12:34:56 dev eth0 nud stale");
        assert!(tokio::time::timeout(AT_ONCE, probe.told()).await.is_err());
        let facts = read(&mut probe).await;
        assert!(find::<Neighbour>(&facts, "10.1.0.9 eth0").is_some());
        ip("neigh change 10.1.0.9 lladdr 52:54:00:12:34:56 dev eth0 nud permanent");
        let facts = read(&mut probe).await;
        assert!(get::<Neighbour>(&facts, "10.1.0.9 eth0").silent, "it is written there");
    });
}

#[test]
fn forwarding_is_seen_and_told_of() {
    on_a_machine(|| async {
        ip("link add eth0 type veth peer name far");
        let mut probe = LinksProbe::new(&Roots::default());
        let facts = read(&mut probe).await;
        assert!(!get::<Forwarding>(&facts, "").ipv4);
        std::fs::write("/proc/sys/net/ipv4/ip_forward", "1").expect("our own namespace");
        tokio::time::timeout(AT_ONCE, probe.told()).await.expect("the kernel tells");
        let facts = read(&mut probe).await;
        assert!(get::<Forwarding>(&facts, "").ipv4);
        std::fs::write("/proc/sys/net/ipv6/conf/eth0/forwarding", "1").expect("our own namespace");
        tokio::time::timeout(AT_ONCE, probe.told()).await.expect("the kernel tells");
        let facts = read(&mut probe).await;
        let switches: &Forwarding = get(&facts, "");
        assert!(!switches.ipv6);
        assert_eq!(switches.interfaces, ["eth0"]);
    });
}

#[test]
fn a_bridge_that_hands_packets_to_the_rules_of_ip_is_seen() {
    on_a_machine(|| async {
        ip("link add br0 type bridge");
        // A kernel with br_netfilter begins with it on.
        for call in ["bridge-nf-call-iptables", "bridge-nf-call-ip6tables"] {
            let path = format!("/proc/sys/net/bridge/{call}");
            if std::path::Path::new(&path).exists() {
                std::fs::write(path, "0").expect("our own namespace");
            }
        }
        let mut probe = LinksProbe::new(&Roots::default());
        assert_eq!(get::<Forwarding>(&read(&mut probe).await, "").bridged, Some(false));
        ip("link set br0 type bridge nf_call_iptables 1");
        assert_eq!(get::<Forwarding>(&read(&mut probe).await, "").bridged, Some(true));
    });
}

#[test]
fn policy_rules_are_told_at_once_beside_those_that_a_kernel_begins_with() {
    on_a_machine(|| async {
        let mut probe = LinksProbe::new(&Roots::default());
        let facts = read(&mut probe).await;
        for (words, table) in [
            ("0: from all lookup local", 255),
            ("32766: from all lookup main", 254),
            ("32767: from all lookup default", 253),
            ("0: from all lookup local (IPv6)", 255),
            ("32766: from all lookup main (IPv6)", 254),
        ] {
            let rule = get::<Rule>(&facts, words);
            assert_eq!((rule.action, rule.unsure), (RuleAction::Table(table), false), "{words}");
        }
        let line = "rule add pref 100 not from 10.1.0.0/16 to 172.20.0.0/16 fwmark 0x10/0xf0 \
                    iif lo table 100";
        let facts = told_of(&mut probe, line).await;
        let words = "100: not from 10.1.0.0/16 to 172.20.0.0/16 fwmark 0x10 mask 0xf0 iif lo \
                     lookup 100";
        let wanted = Rule {
            priority: 100,
            ipv6: false,
            not: true,
            from: Some("10.1.0.0/16".parse().unwrap()),
            to: Some("172.20.0.0/16".parse().unwrap()),
            iif: Some("lo".to_owned()),
            oif: None,
            mark: Some(Mark { value: 0x10, mask: 0xf0 }),
            action: RuleAction::Table(100),
            unsure: false,
        };
        assert_eq!(*get::<Rule>(&facts, words), wanted);
        let facts = told_of(&mut probe, "rule add pref 101 ipproto tcp dport 22 prohibit").await;
        let rule: &Rule = get(&facts, "101: from all (and more) prohibit");
        assert!(rule.unsure && rule.action == RuleAction::Prohibit);
        let facts = told_of(&mut probe, "rule add pref 101 ipproto tcp dport 23 prohibit").await;
        assert!(find::<Rule>(&facts, "101: from all (and more) prohibit #2").is_some());
        let facts = told_of(&mut probe, "rule add pref 102 fwmark 0/0xff table main").await;
        let rule: &Rule = get(&facts, "102: from all fwmark 0x0 mask 0xff lookup main");
        assert_eq!(rule.mark, Some(Mark { value: 0, mask: 0xff }));
        let facts = told_of(&mut probe, "-6 rule add pref 103 blackhole").await;
        assert!(get::<Rule>(&facts, "103: from all blackhole (IPv6)").ipv6);
        let facts = told_of(&mut probe, "rule del pref 32766").await;
        assert!(find::<Rule>(&facts, "32766: from all lookup main").is_none());
    });
}

#[test]
fn a_route_says_what_it_does_and_each_of_its_next_hops_is_one() {
    on_a_machine(|| async {
        ip("link add eth0 type veth peer name far");
        ip("link set eth0 up");
        ip("addr add 10.1.0.17/24 dev eth0");
        ip("route add throw 10.8.0.0/16 table 100");
        ip("route add local 192.0.2.0/24 dev lo table 100");
        ip("route add 10.9.0.0/16 via 10.1.0.1 src 10.1.0.17");
        ip("route add 10.7.0.0/16 nexthop via 10.1.0.1 nexthop via 10.1.0.2");
        let facts = read(&mut LinksProbe::new(&Roots::default())).await;
        let kind = |words: &str| get::<Route>(&facts, words).kind;
        assert_eq!(kind("throw 10.8.0.0/16 table 100"), RouteKind::Throw);
        assert_eq!(kind("local 192.0.2.0/24 dev lo table 100"), RouteKind::Local);
        let route: &Route = get(&facts, "10.9.0.0/16 via 10.1.0.1 dev eth0");
        assert_eq!(route.source, Some("10.1.0.17".parse().unwrap()));
        assert!(route.carries && route.kind == RouteKind::Unicast);
        for gateway in ["10.1.0.1", "10.1.0.2"] {
            let route: &Route = get(&facts, &format!("10.7.0.0/16 via {gateway} dev eth0"));
            assert_eq!(route.gateway, Some(gateway.parse().unwrap()));
        }
    });
}

#[test]
fn an_interface_says_its_group_its_hardware_and_what_it_does_with_wrong_sources() {
    on_a_machine(|| async {
        ip("link add eth0 type veth peer name far");
        ip("link set eth0 up");
        for line in ["10.1.0.17/24", "10.1.0.18/24", "169.254.7.1/16 scope link"] {
            ip(&format!("addr add {line} dev eth0"));
        }
        let conf = |of: &str, mode: &str| {
            let path = format!("/proc/sys/net/ipv4/conf/{of}/rp_filter");
            std::fs::write(path, mode).expect("our own namespace");
        };
        conf("all", "0");
        conf("eth0", "0");
        let mut probe = LinksProbe::new(&Roots::default());
        let facts = read(&mut probe).await;
        let eth0: &Interface = get(&facts, "eth0");
        assert_eq!((eth0.group, eth0.hardware), (Some(0), Some(libc::ARPHRD_ETHER)));
        assert_eq!(eth0.reverse_path, Some(ReversePath::Off));
        assert_eq!(eth0.secondary, ["10.1.0.18/24".parse().unwrap()]);
        assert!(eth0.link_only.contains(&"169.254.7.1/16".parse().unwrap()));
        assert!(!eth0.link_only.contains(&"10.1.0.17/24".parse().unwrap()));
        assert_eq!(get::<Interface>(&facts, "lo").hardware, Some(libc::ARPHRD_LOOPBACK));
        let facts = told_of(&mut probe, "link set eth0 group 7").await;
        assert_eq!(get::<Interface>(&facts, "eth0").group, Some(7));
        for (of, mode, wanted) in [
            ("eth0", "1", ReversePath::Strict),
            ("all", "2", ReversePath::Loose),
            ("eth0", "0", ReversePath::Loose),
        ] {
            conf(of, mode);
            tokio::time::timeout(AT_ONCE, probe.told()).await.expect("the kernel tells");
            let facts = read(&mut probe).await;
            assert_eq!(get::<Interface>(&facts, "eth0").reverse_path, Some(wanted), "{of} {mode}");
        }
    });
}
