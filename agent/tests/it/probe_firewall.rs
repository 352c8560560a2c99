//! The probe `firewall` against the real kernel, nft, iptables-nft and iptables-legacy, each test
//! in a network namespace of its own. Needs root.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::namespace::{again_without, fed, in_namespace, is_without, nft, run};
use bailey_agent::probe::firewall::FirewallProbe;
use bailey_agent::probe::{Probe as _, Roots, Wake};
use bailey_rules::fact::firewall::{DefaultPolicy, Hook, Manager, Ruleset};
use bailey_rules::fact::{Fact, Named, Reading};

async fn read(probe: &mut FirewallProbe) -> Vec<Fact> {
    probe.read(Wake::Interval).await.unwrap()
}

async fn read_once() -> Vec<Fact> {
    read(&mut FirewallProbe::new(&Roots::default())).await
}

fn reading<'a, T: Named>(facts: &'a [Fact], subject: &str) -> Result<&'a T, &'a str> {
    let fact = facts
        .iter()
        .find(|fact| fact.key.kind == T::KIND && &*fact.key.subject == subject)
        .unwrap_or_else(|| panic!("no fact {} of {subject}", T::KIND));
    match &fact.reading {
        Reading::Known(value) => Ok(T::of(value).unwrap()),
        Reading::Unreadable { why } => Err(why),
    }
}

fn ruleset<'a>(facts: &'a [Fact], subject: &str) -> &'a Ruleset {
    reading(facts, subject).unwrap()
}

fn hook<'a>(facts: &'a [Fact], subject: &str) -> &'a Hook {
    reading(facts, subject).unwrap()
}

fn input_default(facts: &[Fact]) -> (DefaultPolicy, DefaultPolicy) {
    (hook(facts, "ip input").default, hook(facts, "ip6 input").default)
}

#[test]
fn an_empty_kernel_lets_everything_pass() {
    in_namespace(|| async {
        let facts = read_once().await;
        for subject in
            ["ip input", "ip forward", "ip output", "ip6 input", "ip6 forward", "ip6 output"]
        {
            let hook = hook(&facts, subject);
            assert_eq!((hook.default, hook.chains), (DefaultPolicy::NoChain, 0), "{subject}");
        }
        let rules = ruleset(&facts, "nftables");
        assert_eq!((rules.tables.len(), rules.rules), (0, 0));
        assert!(facts.iter().all(|fact| &*fact.key.subject != "iptables-legacy"));
    });
}

#[test]
fn the_default_is_what_becomes_of_a_packet_that_no_rule_decides() {
    use DefaultPolicy::{Accept, Drop, Reject, Unknown};
    let base = "type filter hook input priority 0; policy";
    let cases = [
        (
            "a policy that accepts",
            format!("chain input {{ {base} accept; tcp dport 22 accept\n}}"),
            (Accept, Accept),
        ),
        (
            "a policy that drops",
            format!("chain input {{ {base} drop; tcp dport 22 accept\n}}"),
            (Drop, Drop),
        ),
        (
            "a last rule that drops",
            format!("chain input {{ {base} accept; tcp dport 22 accept; counter drop\n}}"),
            (Drop, Drop),
        ),
        (
            "a last rule that refuses",
            format!("chain input {{ {base} accept; log; reject with tcp reset\n}}")
                .replace("with tcp reset", ""),
            (Reject, Reject),
        ),
        (
            "a last rule with a condition",
            format!("chain input {{ {base} accept; meta l4proto tcp drop\n}}"),
            (Accept, Accept),
        ),
        (
            "a last rule with a limit",
            format!("chain input {{ {base} accept; limit rate 5/second drop\n}}"),
            (Accept, Accept),
        ),
        (
            "an accept before the drop",
            format!("chain input {{ {base} drop; accept; drop\n}}"),
            (Accept, Accept),
        ),
        (
            "one family only",
            format!("chain input {{ {base} accept; meta nfproto ipv4 drop\n}}"),
            (Drop, Accept),
        ),
        (
            "all but one family",
            format!("chain input {{ {base} accept; meta nfproto != ipv4 drop\n}}"),
            (Accept, Drop),
        ),
        (
            "a jump to a chain that drops",
            format!(
                "chain end {{ tcp dport 22 accept; drop\n}}\nchain input {{ {base} accept; jump end\n}}"
            ),
            (Drop, Drop),
        ),
        (
            "a jump that comes back, then a drop",
            format!(
                "chain some {{ tcp dport 22 accept; return\n}}\nchain input {{ {base} accept; jump some; drop\n}}"
            ),
            (Drop, Drop),
        ),
        (
            "a goto never comes back",
            format!(
                "chain some {{ tcp dport 22 accept\n}}\nchain input {{ {base} accept; goto some; drop\n}}"
            ),
            (Accept, Accept),
        ),
        (
            "a goto below a jump",
            format!(
                "chain some {{ tcp dport 22 accept\n}}\nchain mid {{ goto some; accept\n}}\nchain input {{ {base} accept; jump mid; drop\n}}"
            ),
            (Drop, Drop),
        ),
        (
            "a map without a word for the rest",
            format!("chain input {{ {base} accept; tcp dport vmap {{ 22: accept, 23: drop }}\n}}"),
            (Accept, Accept),
        ),
        (
            "a map with a word for the rest",
            format!("chain input {{ {base} accept; tcp dport vmap {{ 22: accept, *: drop }}\n}}"),
            (Drop, Drop),
        ),
        (
            "a named map with a word for the rest",
            format!(
                "map m {{ type inet_service : verdict; elements = {{ 22: accept, *: drop }}; }}\nchain input {{ {base} accept; tcp dport vmap @m\n}}"
            ),
            (Drop, Drop),
        ),
        (
            "a queue that another program decides",
            format!("chain input {{ {base} accept; queue num 3\n}}"),
            (Unknown, Unknown),
        ),
        (
            "a queue behind which nothing passes anyway",
            format!(
                "chain input {{ {base} drop; tcp dport 22 accept\n}}\nchain early {{ type filter hook input priority -5; policy accept; queue num 3\n}}"
            ),
            (Drop, Drop),
        ),
        (
            "a second chain that drops",
            format!(
                "chain input {{ {base} accept; \n}}\nchain late {{ type filter hook input priority 5; policy drop;\n}}"
            ),
            (Drop, Drop),
        ),
        (
            "a table that sleeps",
            format!("flags dormant; chain input {{ {base} drop;\n}}"),
            (DefaultPolicy::NoChain, DefaultPolicy::NoChain),
        ),
    ];
    in_namespace(|| async {
        for (what, rules, wanted) in cases {
            run("nft flush ruleset");
            // The kernel of the test may lack the queue; then there is nothing to read.
            let table = format!("table inet filter {{\n{rules}\n}}");
            if rules.contains("queue") && !accepts(&table) {
                continue;
            }
            nft(&table);
            assert_eq!(input_default(&read_once().await), wanted, "{what}");
        }
    });
}

/// Whether this kernel has what the rules need.
fn accepts(rules: &str) -> bool {
    let mut nft = Command::new("nft");
    let nft = nft.args(["-c", "-f", "-"]).stdin(Stdio::piped()).stderr(Stdio::null());
    let mut child = nft.spawn().unwrap();
    child.stdin.take().unwrap().write_all(rules.as_bytes()).unwrap();
    child.wait().unwrap().success()
}

#[test]
fn the_chain_that_decides_is_named_in_the_order_of_the_kernel() {
    in_namespace(|| async {
        nft("table inet late { chain in { type filter hook input priority 10; policy drop;\n}\n}
             table ip early { chain in { type filter hook input priority -10; policy drop;\n}\n}
             table netdev n { chain in { type filter hook ingress device lo priority 0; policy drop;\n}\n}");
        let facts = read_once().await;
        let (ip, ip6) = (hook(&facts, "ip input"), hook(&facts, "ip6 input"));
        assert_eq!((ip.by.as_str(), ip.chains), ("ip early in", 2));
        assert_eq!((ip6.by.as_str(), ip6.chains), ("inet late in", 1));
        let tables = &ruleset(&facts, "nftables").tables;
        let tables: Vec<_> =
            tables.iter().map(|table| format!("{} {}", table.family, table.name)).collect();
        assert_eq!(tables, ["inet late", "ip early", "netdev n"]);
    });
}

const RULES: &str = "table inet filter {
    counter web { packets 0 bytes 0; }
    set admins { type ipv4_addr; flags timeout; elements = { 10.1.0.5 timeout 1h, 10.1.0.6 }; }
    set ports { type inet_service; elements = { 22, 80, 443, 8080, 9100, 1, 2, 3 }; }
    set seen { type ipv4_addr; flags dynamic, timeout; timeout 1m; }
    chain services { tcp dport @ports counter name web accept\n }
    chain input {
        type filter hook input priority 0; policy drop;
        ct state vmap { established: accept, related: accept, invalid: drop }
        ip saddr @admins counter accept
        add @seen { ip daddr }
        udp dport 7 counter accept
        jump services
    }
}
";

#[test]
fn the_digest_outlives_reload_counters_time_and_what_packets_leave_in_sets() {
    in_namespace(|| async {
        run("ip link set lo up");
        nft(RULES);
        let before = read_once().await;
        let before = ruleset(&before, "nftables");
        assert_eq!((before.rules, before.opaque_rules), (6, 0));

        // Counts in both kinds of counters, and an element in the set `seen`.
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        for _ in 0..4 {
            // Nobody listens there; that the kernel says so is no concern here.
            let _ = socket.send_to(b"count me", "127.0.0.1:7");
        }
        tokio::time::sleep(Duration::from_millis(1100)).await;
        let after = read_once().await;
        let after = ruleset(&after, "nftables");
        assert!(after.packets >= 4 && after.octets.0 > after.packets, "{after:?}");
        assert_eq!(after.digest, before.digest);

        run("nft flush ruleset");
        nft(RULES);
        let again = read_once().await;
        assert_eq!(ruleset(&again, "nftables").digest, before.digest);
    });
}

#[test]
fn the_digest_moves_with_every_change_that_matters() {
    let changes = [
        "add rule inet filter input tcp dport 23 accept",
        "insert rule inet filter input tcp dport 23 accept",
        "add element inet filter ports { 4444 }",
        "delete element inet filter ports { 443 }",
        "add element inet filter admins { 10.9.9.9 timeout 1h }",
        "chain inet filter input { policy accept; }",
        "add table ip other",
        "add chain inet filter more",
        "add set inet filter others { type ipv4_addr; }",
        "flush chain inet filter services",
        "table inet filter { flags dormant; }",
    ];
    in_namespace(move || async move {
        let mut digests = std::collections::BTreeSet::new();
        for change in [""].into_iter().chain(changes) {
            run("nft flush ruleset");
            nft(RULES);
            nft(change);
            let facts = read_once().await;
            let digest = ruleset(&facts, "nftables").digest.clone();
            assert!(digests.insert(digest), "not seen: {change}");
        }
        // Order is part of the meaning.
        for pair in ["accept; drop", "drop; accept"] {
            run("nft flush ruleset");
            nft(&format!("table inet filter {{ chain input {{ {pair}\n}}\n}}"));
            let facts = read_once().await;
            assert!(digests.insert(ruleset(&facts, "nftables").digest.clone()), "{pair}");
        }
    });
}

#[test]
fn a_change_is_told_within_a_second_and_names_who_made_it() {
    in_namespace(|| async {
        let mut probe = FirewallProbe::new(&Roots::default());
        nft(RULES);
        read(&mut probe).await;
        let quiet = tokio::time::timeout(Duration::from_millis(700), probe.told()).await;
        assert!(quiet.is_err(), "reading is no change");

        for round in 0..3 {
            let changed_at = Instant::now();
            nft(&format!("add rule inet filter input tcp dport {} accept", 6000 + round));
            tokio::time::timeout(Duration::from_secs(5), probe.told()).await.expect("told");
            let took = changed_at.elapsed();
            assert!(took < Duration::from_secs(1), "told after {took:?}");
            let facts = probe.read(Wake::Told).await.unwrap();
            let rules = ruleset(&facts, "nftables");
            assert_eq!(rules.rules, 7 + round);
            let by = rules.changed_by.as_deref().unwrap();
            assert!(by.starts_with("nft (pid "), "{by}");
            // As an agent does between two events.
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    });
}

#[test]
fn a_change_is_not_lost_when_waiting_for_it_is_given_up() {
    in_namespace(|| async {
        let mut probe = FirewallProbe::new(&Roots::default());
        read(&mut probe).await;
        nft(RULES);
        // It is told once, when the rules have come to rest: to whoever asks then.
        let mut asked = 0;
        while tokio::time::timeout(Duration::from_millis(10), probe.told()).await.is_err() {
            asked += 1;
            assert!(asked < 1000, "still told");
        }
        assert!(asked > 0, "the first who asked gave up");
    });
}

#[test]
fn a_quiet_cycle_runs_no_program() {
    in_namespace(|| async {
        let folder = tempfile::tempdir().unwrap();
        let calls = folder.path().join("calls");
        let wrapper =
            format!("#!/bin/sh\necho >> {}\nexec /usr/sbin/nft \"$@\"\n", calls.display());
        program(folder.path(), "nft", &wrapper);
        let mut probe = FirewallProbe::with_programs(&Roots::default(), vec![folder.path().into()]);
        read(&mut probe).await;
        assert!(!calls.exists(), "a kernel without tables needs no nft");
        nft(RULES);
        let first = read(&mut probe).await;
        for _ in 0..20 {
            assert_eq!(read(&mut probe).await, first);
        }
        assert_eq!(std::fs::read_to_string(&calls).unwrap().lines().count(), 1);
    });
}

fn program(folder: &Path, name: &str, text: &str) {
    use std::os::unix::fs::PermissionsExt as _;
    let path = folder.join(name);
    std::fs::write(&path, text).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
}

#[test]
fn rules_of_iptables_nft_are_read_through_iptables_save() {
    in_namespace(|| async {
        fed("iptables-nft-restore", &[], IPTABLES);
        fed("ip6tables-nft-restore", &[], "*filter\n:INPUT DROP [0:0]\nCOMMIT\n");
        let facts = read_once().await;
        let rules = ruleset(&facts, "nftables");
        assert_eq!((rules.rules, rules.opaque_rules), (4, 0));
        assert_eq!(input_default(&facts), (DefaultPolicy::Reject, DefaultPolicy::Drop));
        let digest = rules.digest.clone();

        fed("iptables-nft-restore", &[], IPTABLES);
        assert_eq!(ruleset(&read_once().await, "nftables").digest, digest, "the same rules again");

        // nft shows both as `xt match conntrack`.
        fed("iptables-nft-restore", &[], &IPTABLES.replace("ESTABLISHED", "NEW"));
        assert_ne!(ruleset(&read_once().await, "nftables").digest, digest);
    });
}

const IPTABLES: &str = "*filter
:INPUT ACCEPT [0:0]
:oa - [0:0]
-A INPUT -m conntrack --ctstate ESTABLISHED -j ACCEPT
-A INPUT -m comment --comment \"the office: all \\\"oa\\\"\" -j oa
-A oa -p tcp --dport 22 -m limit --limit 5/min -j LOG
-A oa -m comment --comment end -j REJECT
COMMIT
";

#[test]
fn parts_that_nothing_can_read_are_counted_as_opaque() {
    in_namespace(|| async {
        fed("iptables-nft-restore", &[], IPTABLES);
        // A chain of another hand in the table: iptables-save then refuses to show it.
        nft("add chain ip filter other { type filter hook input priority 7; }");
        nft("add rule ip filter INPUT ct count over 5 counter accept");
        let facts = read_once().await;
        let rules = ruleset(&facts, "nftables");
        assert!(rules.opaque_rules >= 2, "{rules:?}");

        // The same without any iptables-save.
        run("nft flush ruleset");
        fed("iptables-nft-restore", &[], IPTABLES);
        let folder = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink("/usr/sbin/nft", folder.path().join("nft")).unwrap();
        let mut probe = FirewallProbe::with_programs(&Roots::default(), vec![folder.path().into()]);
        let facts = read(&mut probe).await;
        assert_eq!(ruleset(&facts, "nftables").opaque_rules, 3);
    });
}

#[test]
fn iptables_legacy_is_read_where_the_kernel_holds_such_tables() {
    in_namespace(|| async {
        fed("iptables-legacy-restore", &[], IPTABLES);
        run("ip6tables-legacy -w -P FORWARD DROP");
        let mut probe = FirewallProbe::new(&Roots::default());
        let facts = read(&mut probe).await;
        let rules = ruleset(&facts, "iptables-legacy");
        assert_eq!((rules.rules, rules.opaque_rules), (4, 0));
        assert_eq!(rules.tables[0].name, "filter");
        assert_eq!(hook(&facts, "ip input").default, DefaultPolicy::Reject);
        assert_eq!(hook(&facts, "ip input").by, "iptables-legacy filter INPUT");
        assert_eq!(hook(&facts, "ip6 forward").default, DefaultPolicy::Drop);
        assert_eq!(hook(&facts, "ip6 input").default, DefaultPolicy::Accept);
        let digest = rules.digest.clone();

        // Nobody tells of changes here; the next interval sees them.
        run("iptables-legacy -w -A INPUT -s 10.9.9.9 -j ACCEPT");
        let facts = read(&mut probe).await;
        assert_ne!(ruleset(&facts, "iptables-legacy").digest, digest);

        // A packet passes both kinds.
        nft(
            "table inet filter { chain input { type filter hook input priority -5; policy drop;\n}\n}",
        );
        let facts = read(&mut probe).await;
        let input = hook(&facts, "ip input");
        assert_eq!(
            (input.default, input.by.as_str(), input.chains),
            (DefaultPolicy::Drop, "inet filter input", 2)
        );
    });
}

#[test]
fn without_the_program_nft_rules_in_the_kernel_are_unreadable_not_absent() {
    in_namespace(|| async {
        nft(RULES);
        let mut probe = FirewallProbe::with_programs(&Roots::default(), Vec::new());
        let facts = read(&mut probe).await;
        let why = reading::<Ruleset>(&facts, "nftables").unwrap_err();
        assert!(why.contains("install nftables"), "{why}");
        assert!(reading::<Hook>(&facts, "ip input").is_err());
    });
}

#[test]
fn without_the_right_to_ask_everything_says_so() {
    if is_without() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let facts = runtime.block_on(read_once());
        assert_eq!(reading::<Ruleset>(&facts, "nftables"), Err("needs CAP_NET_ADMIN"));
        assert_eq!(reading::<Hook>(&facts, "ip6 forward"), Err("needs CAP_NET_ADMIN"));
        return;
    }
    in_namespace(|| async {
        nft(RULES);
        again_without("net_admin", "probe_firewall::without_the_right_to_ask_everything_says_so");
    });
}

#[test]
fn strange_names_stay_text() {
    in_namespace(|| async {
        let name = "we\\u001b[31mird\\\"\\r\\n中文";
        let json = format!(
            r#"{{"nftables":[{{"add":{{"table":{{"family":"inet","name":"{name}"}}}}}},
            {{"add":{{"chain":{{"family":"inet","table":"{name}","name":"in","type":"filter","hook":"input","prio":0,"policy":"drop"}}}}}}]}}"#
        );
        fed("nft", &["-j", "-f", "-"], &json);
        let facts = read_once().await;
        let by = &hook(&facts, "ip input").by;
        assert!(by.contains("ird\"") && by.contains("中文"), "{by}");
        let table = &ruleset(&facts, "nftables").tables[0];
        for text in [by, &table.name] {
            assert!(!text.chars().any(char::is_control), "{text:?}");
        }
    });
}

#[test]
fn a_large_ruleset_is_read_and_an_endless_one_is_refused() {
    in_namespace(|| async {
        let elements: Vec<String> =
            (0..20_000).map(|n| format!("10.{}.{}.1", n / 256, n % 256)).collect();
        let rules: Vec<String> = (1..2_000).map(|n| format!("tcp dport {n} accept")).collect();
        nft(&format!(
            "table inet filter {{ set s {{ type ipv4_addr; elements = {{ {} }}; }}
             chain input {{ type filter hook input priority 0; policy drop;\n{}\n}}\n}}",
            elements.join(","),
            rules.join("\n")
        ));
        let facts = read_once().await;
        assert_eq!(ruleset(&facts, "nftables").rules, 1_999);
        assert_eq!(hook(&facts, "ip input").default, DefaultPolicy::Drop);

        let folder = tempfile::tempdir().unwrap();
        for (text, wanted) in [
            ("#!/bin/sh\nexec /usr/bin/yes\n", "wrote more than"),
            ("#!/bin/sh\necho '{\"nftables\": [{\"rule\": {'\n", "not understood"),
            ("#!/bin/sh\nprintf '{}'\n", "not understood"),
            ("#!/bin/sh\necho broken >&2\nexit 1\n", "broken"),
        ] {
            program(folder.path(), "nft", text);
            let folders = vec![PathBuf::from(folder.path())];
            let facts = read(&mut FirewallProbe::with_programs(&Roots::default(), folders)).await;
            let why = reading::<Ruleset>(&facts, "nftables").unwrap_err();
            assert!(why.contains(wanted), "{why}");
        }
    });
}

/// Folders in which managers leave their files.
fn roots(folder: &Path, ufw_conf: &str) -> Roots {
    let etc = folder.join("etc");
    std::fs::create_dir_all(etc.join("ufw")).unwrap();
    std::fs::write(etc.join("ufw/ufw.conf"), ufw_conf).unwrap();
    let run = folder.join("run");
    std::fs::create_dir_all(&run).unwrap();
    Roots { etc, run, ..Roots::default() }
}

#[test]
fn ufw_is_active_only_when_its_chains_are_really_there() {
    in_namespace(|| async {
        let folder = tempfile::tempdir().unwrap();
        let programs = tempfile::tempdir().unwrap();
        program(programs.path(), "ufw", "#!/bin/sh\n");
        std::os::unix::fs::symlink("/usr/sbin/nft", programs.path().join("nft")).unwrap();
        let chains = "table ip filter { chain ufw-before-input { }\n}";
        for (conf, rules, active) in [
            ("# ufw\nENABLED=yes\n", chains, true),
            ("ENABLED=yes\n", "", false),
            ("ENABLED=no\n", chains, false),
            ("LOGLEVEL=low\nENABLED = \"Yes\"\n", chains, true),
        ] {
            run("nft flush ruleset");
            nft(rules);
            let roots = roots(folder.path(), conf);
            let programs = vec![programs.path().to_owned()];
            let facts = read(&mut FirewallProbe::with_programs(&roots, programs)).await;
            let ufw: &Manager = reading(&facts, "ufw").unwrap();
            assert_eq!((ufw.installed, ufw.active), (true, active), "{conf} {rules}");
            let firewalld: &Manager = reading(&facts, "firewalld").unwrap();
            assert_eq!((firewalld.installed, firewalld.active), (false, false));
        }
    });
}

#[test]
fn firewalld_is_active_by_its_table_or_its_process() {
    in_namespace(|| async {
        let folder = tempfile::tempdir().unwrap();
        let mut roots = roots(folder.path(), "");
        nft("table inet firewalld { }");
        let facts = read(&mut FirewallProbe::new(&roots)).await;
        assert!(reading::<Manager>(&facts, "firewalld").unwrap().active);

        run("nft flush ruleset");
        roots.proc = folder.path().join("proc");
        std::fs::create_dir_all(roots.proc.join("4711")).unwrap();
        std::fs::write(roots.run.join("firewalld.pid"), "4711\n").unwrap();
        for (command, active) in
            [("/usr/bin/python3\0/usr/sbin/firewalld\0", true), ("sleep\0", false)]
        {
            std::fs::write(roots.proc.join("4711/cmdline"), command).unwrap();
            let facts = read(&mut FirewallProbe::new(&roots)).await;
            assert_eq!(reading::<Manager>(&facts, "firewalld").unwrap().active, active);
        }
    });
}
