//! Rulesets and packets made by chance, over the whole language, from few values: so that packets
//! lie at the boundaries of what rules tell apart.

use std::fmt::Write as _;

/// A source of chance that a seed repeats (Steele, Lea and Flood, `SplitMix64`).
pub(crate) struct Chance(u64);

impl Chance {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    pub(crate) fn below(&mut self, most: usize) -> usize {
        usize::try_from(self.next() % u64::try_from(most.max(1)).unwrap()).unwrap()
    }

    pub(crate) fn one_in(&mut self, of: usize) -> bool {
        self.below(of) == 0
    }

    pub(crate) fn pick<'a, T: ?Sized>(&mut self, from: &[&'a T]) -> &'a T {
        from[self.below(from.len())]
    }
}

pub(crate) const SOURCES4: [&str; 8] = [
    "10.1.0.1",
    "10.1.0.2",
    "10.1.0.3",
    "10.1.0.8",
    "10.1.0.9",
    "10.1.1.0",
    "10.1.1.1",
    "10.1.255.255",
];
pub(crate) const TARGETS4: [&str; 8] = [
    "10.2.0.1", "10.2.0.2", "10.2.0.3", "10.2.0.8", "10.2.0.9", "10.2.1.0", "10.2.1.1", "10.9.0.1",
];
pub(crate) const LOCAL4: [&str; 2] = ["10.3.0.1", "10.3.0.2"];
pub(crate) const SOURCES6: [&str; 5] =
    ["fd00:1::1", "fd00:1::2", "fd00:1::f", "fd00:1::10", "fd00:1:1::1"];
pub(crate) const TARGETS6: [&str; 5] =
    ["fd00:2::1", "fd00:2::2", "fd00:2::f", "fd00:2::10", "fd00:2:1::1"];
pub(crate) const LOCAL6: [&str; 1] = ["fd00:3::1"];
pub(crate) const PORTS: [&str; 14] =
    ["1", "21", "22", "23", "79", "80", "81", "90", "91", "443", "1023", "1024", "4000", "65535"];

fn ports(chance: &mut Chance) -> String {
    match chance.below(3) {
        0 => chance.pick(&PORTS).to_owned(),
        1 => "80-90".to_owned(),
        _ => "1024-65535".to_owned(),
    }
}

fn port_match(chance: &mut Chance) -> String {
    let protocol = chance.pick(&["tcp", "udp"]);
    let field = chance.pick(&["dport", "dport", "sport"]);
    match chance.below(9) {
        0 => format!("{protocol} {field} != {}", ports(chance)),
        1 => format!("{protocol} {field} {{ 22, 80-90, 443 }}"),
        2 => format!("{protocol} {field} != {{ 22, 80-90, 443 }}"),
        3 => format!("{protocol} {field} > 1023"),
        4 => format!("{protocol} {field} <= 80"),
        5 => format!("{protocol} {field} @ports"),
        6 => format!("{protocol} {field} != @ports"),
        7 => format!("meta l4proto {{ tcp, udp }} th {field} {}", ports(chance)),
        _ => format!("{protocol} {field} {}", ports(chance)),
    }
}

fn address_match(chance: &mut Chance, v6: bool) -> String {
    let source = chance.one_in(2);
    let field = if source { "saddr" } else { "daddr" };
    if v6 {
        let one = if source { chance.pick(&SOURCES6) } else { chance.pick(&TARGETS6) };
        let net = if source { "fd00:1::" } else { "fd00:2::" };
        return match chance.below(6) {
            0 => format!("ip6 {field} != {one}"),
            1 => format!("ip6 {field} {net}/124"),
            2 => format!("ip6 {field} != {net}/48"),
            3 => format!("ip6 {field} {{ {one}, {net}8-{net}f }}"),
            4 => format!("ip6 {field} & ffff:ffff:ffff::f == {net}f"),
            _ => format!("ip6 {field} {one}"),
        };
    }
    let one = if source { chance.pick(&SOURCES4) } else { chance.pick(&TARGETS4) };
    let net = if source { "10.1" } else { "10.2" };
    match chance.below(10) {
        0 => format!("ip {field} != {one}"),
        1 => format!("ip {field} {net}.0.0/29"),
        2 => format!("ip {field} != {net}.0.0/24"),
        3 => format!("ip {field} {net}.0.2-{net}.0.8"),
        4 => format!("ip {field} {{ {net}.0.1, {net}.0.8/31, {net}.1.0/24 }}"),
        5 => format!("ip {field} != {{ {net}.0.1, {net}.0.8/31 }}"),
        6 => format!("ip {field} @hosts"),
        7 => format!("ip {field} != @hosts"),
        8 => format!("ip {field} & 255.255.0.7 == {net}.0.1"),
        _ => format!("ip {field} {one}"),
    }
}

fn other_match(chance: &mut Chance) -> String {
    chance
        .pick(&[
            "iifname \"near\"",
            "iifname != \"near\"",
            "iifname \"ne*\"",
            "iifname { \"near\", \"lo\" }",
            "oifname \"out\"",
            "oifname != \"out\"",
            "oifname \"near\"",
            "iif \"near\"",
            "oif != \"out\"",
            "ct state new",
            "ct state established,related",
            "ct state != new",
            "ct state invalid",
            "ct state { new, untracked }",
            "ct state untracked",
            "ct state new,established",
            "ct direction original",
            "ct mark 0x1",
            "ct mark != 0x1",
            "ct mark & 0x3 == 0x1",
            "ct status dnat",
            "ct original ip daddr 10.2.0.1",
            "meta mark 0x1",
            "meta mark != 0x1",
            "meta mark & 0xf == 0x3",
            "meta mark 0x1-0x3",
            "meta nfproto ipv4",
            "meta nfproto ipv6",
            "meta protocol ip",
            "meta l4proto tcp",
            "meta l4proto != tcp",
            "meta l4proto { icmp, ipv6-icmp, udp }",
            "ip protocol icmp",
            "ip6 nexthdr udp",
            "icmp type echo-request",
            "icmp type != echo-request",
            "icmp type { echo-request, echo-reply }",
            "icmpv6 type echo-request",
            "tcp flags syn",
            "tcp flags & (fin|syn|rst|ack) == syn",
            "tcp flags & (syn|ack) == (syn|ack)",
            "tcp flags != syn",
            "tcp flags ! syn",
            "tcp flags syn,ack",
            "tcp flags { syn, syn|ack }",
            "tcp flags == 0x0",
            "fib daddr type local",
            "fib daddr type != local",
            "fib saddr type { local, broadcast }",
            "meta pkttype host",
            "ether saddr 02:00:00:00:00:01",
            "ether saddr != 02:00:00:00:00:01",
            "ip saddr . tcp dport { 10.1.0.1 . 22, 10.1.0.0/29 . 80-90 }",
            "ip daddr . tcp dport @pairs",
            "ip daddr . tcp dport != @pairs",
            "ip saddr . ip daddr . meta l4proto { 10.1.0.1 . 10.2.0.1 . tcp, 10.1.0.2 . 10.2.0.2 . udp }",
            "iifname . ip saddr { \"near\" . 10.1.0.1 }",
            "ct state . tcp dport { new . 22, established . 80 }",
            "limit rate 1/day",
        ])
        .to_owned()
}

fn verdict(chance: &mut Chance, calls: &[String], hook: &str) -> String {
    if !calls.is_empty() && chance.one_in(3) {
        let chain = &calls[chance.below(calls.len())];
        return match chance.below(5) {
            0 | 1 => format!("goto {chain}"),
            2 => format!(
                "tcp dport vmap {{ 22 : jump {chain}, 80-90 : goto {chain}, 443 : accept }}"
            ),
            3 => format!("ip daddr vmap {{ 10.2.0.1 : goto {chain}, 10.2.0.8/31 : drop }}"),
            _ => format!("jump {chain}"),
        };
    }
    match chance.below(24) {
        0..=6 => "accept".to_owned(),
        7..=11 => "drop".to_owned(),
        12 => "return".to_owned(),
        13 => "continue".to_owned(),
        14 => "meta mark set 0x1".to_owned(),
        15 => "meta mark set meta mark | 0x2".to_owned(),
        16 => "meta mark set meta mark & 0xfffffffe".to_owned(),
        17 => "ct mark set 0x1".to_owned(),
        18 => "meta mark set ct mark".to_owned(),
        19 => "ct state vmap { established : accept, related : accept, invalid : drop }".to_owned(),
        20 => "udp dport vmap { 80-90 : drop, 1024-65535 : accept }".to_owned(),
        21 => "iifname vmap { \"near\" : accept, \"lo\" : drop }".to_owned(),
        22 => "meta mark set tcp dport map { 22 : 0x1, 80 : 0x3 }".to_owned(),
        _ if matches!(hook, "input" | "forward" | "output") => "reject".to_owned(),
        _ => "counter".to_owned(),
    }
}

fn rule(chance: &mut Chance, family: &str, calls: &[String], hook: &str) -> String {
    let mut words = Vec::new();
    for _ in 0..[0, 1, 1, 2, 2, 3][chance.below(6)] {
        let one = match chance.below(4) {
            0 => port_match(chance),
            1 => {
                let both = matches!(family, "inet" | "bridge" | "netdev");
                let v6 = if both { chance.one_in(3) } else { family == "ip6" };
                address_match(chance, v6)
            }
            _ => other_match(chance),
        };
        words.push(one);
    }
    words.push(verdict(chance, calls, hook));
    // nft 1.0.6 leaves a version out of its listing even where the rest of the rule is of the other.
    let of = |wanted: &str| words.iter().any(|word| word.starts_with(wanted));
    let (v4, v6) = (of("ip "), of("ip6 "));
    words.retain(|word| match word.as_str() {
        "meta protocol ip" | "meta nfproto ipv4" => !v6,
        "meta nfproto ipv6" => !v4,
        _ => true,
    });
    words.join(" ")
}

fn nat_rule(chance: &mut Chance, hook: &str) -> String {
    let to = match hook {
        "postrouting" => chance.pick(&[
            "snat to 10.3.0.1",
            "snat to 10.3.0.2",
            "masquerade",
            "snat to 10.1.0.0/29",
            "accept",
        ]),
        _ => chance.pick(&[
            "dnat to 10.2.0.8",
            "dnat to 10.2.0.1",
            "dnat to 10.3.0.1",
            "dnat to ip saddr map { 10.1.0.1 : 10.2.0.9, 10.1.0.2 : 10.2.0.1 }",
            "redirect",
            "accept",
            "return",
        ]),
    };
    let first = match chance.below(3) {
        0 => port_match(chance),
        1 => address_match(chance, false),
        _ => "meta l4proto tcp".to_owned(),
    };
    let port = chance.one_in(4) && hook != "postrouting";
    if port {
        return "tcp dport { 80, 443 } dnat to 10.2.0.2:22".to_owned();
    }
    format!("{first} {to}")
}

/// What rules of a table look up.
fn sets(table: &str) -> [String; 3] {
    [
        format!(
            "add set {table} ports {{ type inet_service; flags interval; elements = {{ 22, 80-90, 1024 }}; }}"
        ),
        format!(
            "add set {table} hosts {{ type ipv4_addr; flags interval; elements = {{ 10.1.0.1, 10.1.0.8-10.1.1.0, 10.2.0.0/30 }}; }}"
        ),
        format!(
            "add set {table} pairs {{ type ipv4_addr . inet_service; flags interval; elements = {{ 10.2.0.1 . 22, 10.2.0.0/30 . 80-90 }}; }}"
        ),
    ]
}

/// A rule that asks for no connection and no route, which frames do not have.
fn rule_of_frames(chance: &mut Chance, family: &str, calls: &[String]) -> String {
    loop {
        let rule = rule(chance, family, calls, "");
        if !["ct ", "fib ", "limit ", "meta pkttype"].iter().any(|word| rule.contains(word)) {
            return rule;
        }
    }
}

/// Tables of bridges, interfaces and packets, as [`nft`] makes them. The chain of an interface has its
/// name at the end of its own.
pub(crate) fn frames(chance: &mut Chance) -> Vec<String> {
    let mut lines = Vec::new();
    for nth in 0..=chance.below(3) {
        let family = chance.pick(&["bridge", "bridge", "bridge", "netdev", "netdev", "inet"]);
        let table = format!("{family} t{nth}");
        lines.push(format!("add table {table}"));
        lines.extend(sets(&table));
        let called: Vec<String> = (0..chance.below(3)).map(|n| format!("c{n}")).collect();
        lines.extend(called.iter().map(|chain| format!("add chain {table} {chain}")));
        let hooks: &[&str] = match family {
            "netdev" => &[
                "ingress device near",
                "ingress device br0",
                "ingress device out",
                "egress device out",
                "egress device wan",
                "egress device br0",
            ],
            _ => &["prerouting", "input", "forward", "output", "postrouting"],
        };
        for hook in hooks {
            if chance.one_in(2) {
                continue;
            }
            let priority = chance.pick(&["-300", "-10", "0", "0", "5"]);
            let policy = if chance.one_in(6) { "drop" } else { "accept" };
            let (hook, device) = hook.split_once(" device ").unwrap_or((hook, ""));
            let (at, name) = if device.is_empty() {
                (String::new(), format!("{hook}{}", priority.replace('-', "m")))
            } else {
                (format!(" device \"{device}\""), format!("{hook}_{device}"))
            };
            lines.push(format!(
                "add chain {table} {name} {{ type filter hook {hook}{at} priority {priority}; policy {policy}; }}"
            ));
            for _ in 0..=chance.below(4) {
                let rule = rule_of_frames(chance, family, &called);
                lines.push(format!("add rule {table} {name} {rule}"));
            }
        }
        for (nth, chain) in called.iter().enumerate() {
            for _ in 0..=chance.below(3) {
                let rule = rule_of_frames(chance, family, &called[nth + 1..]);
                lines.push(format!("add rule {table} {chain} {rule}"));
            }
        }
    }
    lines
}

/// Every line of a ruleset on its own, so that what nft refuses can be left out.
pub(crate) fn nft(chance: &mut Chance) -> Vec<String> {
    let mut lines = Vec::new();
    let tables = 1 + chance.below(3);
    for nth in 0..tables {
        let family = chance.pick(&["inet", "inet", "ip", "ip", "ip6"]);
        let table = format!("{family} t{nth}");
        lines.push(format!("add table {table}"));
        lines.extend(sets(&table));
        let called: Vec<String> = (0..chance.below(4)).map(|n| format!("c{n}")).collect();
        for chain in &called {
            lines.push(format!("add chain {table} {chain}"));
        }
        let mut bases = Vec::new();
        for hook in ["prerouting", "input", "forward", "output", "postrouting"] {
            let usual = matches!(hook, "input" | "forward" | "output");
            if !(usual || chance.one_in(3)) {
                continue;
            }
            let priority = match hook {
                "prerouting" => chance.pick(&["-300", "-250", "-150", "-50", "0"]),
                _ => chance.pick(&["-10", "0", "0", "5", "110"]),
            };
            let policy = if usual && chance.one_in(4) { "drop" } else { "accept" };
            let chain = format!("{hook}{}", priority.replace('-', "m"));
            lines.push(format!(
                "add chain {table} {chain} {{ type filter hook {hook} priority {priority}; policy {policy}; }}"
            ));
            bases.push((chain, hook, priority));
        }
        if family == "inet" && chance.one_in(5) {
            lines.push(format!("add chain {table} ingress_near {{ type filter hook ingress device \"near\" priority 0; policy accept; }}"));
        }
        for (nth, chain) in called.iter().enumerate() {
            for _ in 0..=chance.below(3) {
                let rule = rule(chance, family, &called[nth + 1..], "");
                lines.push(format!("add rule {table} {chain} {rule}"));
            }
        }
        for (chain, hook, priority) in &bases {
            let count = 1 + chance.below(if *hook == "prerouting" { 3 } else { 7 });
            for _ in 0..count {
                let rule = if matches!(*priority, "-300" | "-250") && chance.one_in(3) {
                    format!("{} notrack", address_match(chance, family == "ip6"))
                } else {
                    rule(chance, family, &called, hook)
                };
                lines.push(format!("add rule {table} {chain} {rule}"));
            }
        }
        if family == "ip" && chance.one_in(2) {
            for (hook, priority) in [("prerouting", -100), ("postrouting", 100), ("output", -100)] {
                if chance.one_in(2) {
                    continue;
                }
                lines.push(format!("add chain {table} nat{hook} {{ type nat hook {hook} priority {priority}; policy accept; }}"));
                for _ in 0..=chance.below(3) {
                    let rule = nat_rule(chance, hook);
                    lines.push(format!("add rule {table} nat{hook} {rule}"));
                }
            }
        }
    }
    lines
}

fn ipt_match(chance: &mut Chance, v6: bool, chain: &str) -> String {
    let not = if chance.one_in(4) { "! " } else { "" };
    let source = chance.one_in(2);
    let one = match (source, v6) {
        (true, false) => chance.pick(&SOURCES4),
        (false, false) => chance.pick(&TARGETS4),
        (true, true) => chance.pick(&SOURCES6),
        (false, true) => chance.pick(&TARGETS6),
    };
    let net = if v6 { "fd00:2::/124" } else { "10.2.0.0/29" };
    let letter = if source { 's' } else { 'd' };
    let (icmp, module, option) = if v6 {
        ("ipv6-icmp", "icmp6", "--icmpv6-type 128")
    } else {
        ("icmp", "icmp", "--icmp-type 8")
    };
    match chance.below(21) {
        0 | 1 => format!("{not}-{letter} {one}"),
        2 => format!("{not}-d {net}"),
        3 | 4 => {
            let protocol = chance.pick(&["tcp", "udp"]);
            let port = chance.pick(&["22", "80:90", "1024:65535", ":80", "443"]);
            let field = chance.pick(&["--dport", "--sport", "--dport"]);
            format!("-p {protocol} -m {protocol} {not}{field} {port}")
        }
        5 => format!("-p tcp -m multiport {not}--dports 22,80:90,443"),
        6 => format!("-p udp -m multiport {not}--ports 22,80:90,4000"),
        7 => format!("-p tcp -m tcp {not}--tcp-flags FIN,SYN,RST,ACK SYN"),
        8 => format!("-p tcp -m tcp {not}--tcp-flags SYN,ACK SYN,ACK"),
        9 => {
            let states = chance.pick(&["NEW", "RELATED,ESTABLISHED", "INVALID", "NEW,UNTRACKED"]);
            format!("-m conntrack {not}--ctstate {states}")
        }
        10 => "-m conntrack --ctdir ORIGINAL".to_owned(),
        11 if !v6 => "-m conntrack --ctstate NEW,DNAT --ctorigdst 10.2.0.1".to_owned(),
        12 => format!("-m mark {not}--mark 0x1/0x3"),
        13 => format!("-m connmark {not}--mark 0x1"),
        14 => format!("-p {icmp} -m {module} {not}{option}"),
        15 => format!("{not}-p {}", chance.pick(&["tcp", "udp", icmp])),
        16 if !v6 => format!("-m iprange {not}--dst-range 10.2.0.2-10.2.0.8"),
        17 => format!("-m addrtype {not}--dst-type LOCAL"),
        18 if !matches!(chain, "OUTPUT" | "POSTROUTING" | "u0" | "u1") => {
            format!("-m mac {not}--mac-source 02:00:00:00:00:01")
        }
        19 if matches!(chain, "INPUT" | "FORWARD" | "PREROUTING") => format!("{not}-i ne+"),
        20 if matches!(chain, "OUTPUT" | "FORWARD" | "POSTROUTING") => format!("{not}-o out"),
        _ => "-m comment --comment \"a \\\"word\\\"\"".to_owned(),
    }
}

/// What iptables-restore takes, for one version.
pub(crate) fn iptables(chance: &mut Chance, v6: bool) -> String {
    let mut out = String::new();
    for (table, chains) in [
        ("raw", &["PREROUTING", "OUTPUT"][..]),
        ("mangle", &["PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING"]),
        ("nat", &["PREROUTING", "OUTPUT", "POSTROUTING"]),
        ("filter", &["INPUT", "FORWARD", "OUTPUT"]),
    ] {
        if table != "filter" && !chance.one_in(2) {
            continue;
        }
        writeln!(out, "*{table}").unwrap();
        for chain in chains {
            let drops = table == "filter" && chance.one_in(4);
            writeln!(out, ":{chain} {} [0:0]", if drops { "DROP" } else { "ACCEPT" }).unwrap();
        }
        let users = if table == "filter" { 2 } else { 0 };
        for nth in 0..users {
            writeln!(out, ":u{nth} - [0:0]").unwrap();
        }
        let all: Vec<String> = (0..users)
            .map(|nth| format!("u{nth}"))
            .chain(chains.iter().map(|chain| (*chain).to_owned()))
            .collect();
        for chain in &all {
            for _ in 0..=chance.below(5) {
                let matches: Vec<String> =
                    (0..[1, 1, 2][chance.below(3)]).map(|_| ipt_match(chance, v6, chain)).collect();
                // One protocol a rule, and each option once.
                let mut matches: Vec<String> = matches.into_iter().take(2).collect();
                if matches.len() == 2 {
                    let first = |text: &str| {
                        text.split(' ').find(|w| w.starts_with('-')).map(ToOwned::to_owned)
                    };
                    if first(&matches[0]) == first(&matches[1])
                        || matches.iter().all(|m| m.contains("-m "))
                    {
                        matches.pop();
                    }
                }
                let target = ipt_target(chance, table, chain, v6);
                // Translation of ports wants a protocol.
                if target.contains(':') && !v6 && target.contains("DNAT") {
                    matches = vec!["-p tcp -m tcp --dport 80".to_owned()];
                }
                if matches.iter().any(|one| one.contains("NEW,DNAT")) && table == "raw" {
                    continue;
                }
                writeln!(out, "-A {chain} {} {target}", matches.join(" ")).unwrap();
            }
        }
        writeln!(out, "COMMIT").unwrap();
    }
    out
}

fn ipt_target(chance: &mut Chance, table: &str, chain: &str, v6: bool) -> String {
    let of = match (table, chain) {
        ("raw", _) => chance.pick(&["-j CT --notrack", "-j ACCEPT", "-j DROP", "-j RETURN"]),
        ("mangle", _) => chance.pick(&[
            "-j MARK --set-xmark 0x1/0xffffffff",
            "-j MARK --set-xmark 0x2/0x2",
            "-j CONNMARK --save-mark --nfmask 0xffffffff --ctmask 0xffffffff",
            "-j CONNMARK --restore-mark --nfmask 0xffffffff --ctmask 0xffffffff",
            "-j CONNMARK --set-xmark 0x1/0xffffffff",
            "-j ACCEPT",
            "-j RETURN",
        ]),
        ("nat", "POSTROUTING") if v6 => {
            chance.pick(&["-j MASQUERADE", "-j SNAT --to-source fd00:3::1"])
        }
        ("nat", "POSTROUTING") => {
            chance.pick(&["-j MASQUERADE", "-j SNAT --to-source 10.3.0.1", "-j ACCEPT"])
        }
        ("nat", _) if v6 => chance.pick(&["-j DNAT --to-destination fd00:2::f", "-j REDIRECT"]),
        ("nat", _) => chance.pick(&[
            "-j DNAT --to-destination 10.2.0.8",
            "-j DNAT --to-destination 10.2.0.2:22",
            "-j DNAT --to-destination 10.3.0.1",
            "-j REDIRECT",
            "-j NETMAP --to 10.2.1.0/24",
            "-j RETURN",
        ]),
        (_, "u1") => chance.pick(&["-j ACCEPT", "-j DROP", "-j RETURN", "-j REJECT"]),
        (_, "u0") => chance.pick(&["-j ACCEPT", "-j DROP", "-j RETURN", "-g u1", "-j u1"]),
        _ => chance.pick(&[
            "-j ACCEPT",
            "-j ACCEPT",
            "-j DROP",
            "-j RETURN",
            "-j u0",
            "-j u1",
            "-g u0",
            "-g u1",
            "-j REJECT",
        ]),
    };
    of.to_owned()
}
