//! What is told of a ruleset: its matrix, what is odd in it, how two differ.

use std::fmt::Write as _;

use bailey_rules::model::network::Network;
use bailey_rules::model::ruleset::Ruleset;
use bailey_rules::model::save;
use bailey_rules::model::trace::Direction;
use bailey_rules::prove::diff::{Difference, Piece, diff};
use bailey_rules::prove::lint::lint;
use bailey_rules::prove::matrix::{WAYS, matrix};
use bailey_rules::prove::{Space, example};

/// The rules of table `filter`, which drops by itself in `FORWARD` and `INPUT`.
fn filter(rules: &str) -> Ruleset {
    let text = format!(
        "*filter\n:INPUT DROP [0:0]\n:FORWARD DROP [0:0]\n:OUTPUT ACCEPT [0:0]\n{rules}\nCOMMIT\n"
    );
    save::parse(&text).unwrap()
}

fn table(ruleset: &Ruleset, direction: Direction) -> String {
    let mut space = Space::default();
    let rows = matrix(&mut space, ruleset, &Network::default(), direction).unwrap();
    let mut rows: Vec<String> = rows
        .iter()
        .map(|row| {
            let told = row.packets.told();
            let any = |list: &[String]| {
                if list.is_empty() { "any".to_owned() } else { list.join(",") }
            };
            let mut line =
                format!("{} > {} {}", any(&told.from), any(&told.to), told.service("any"));
            for (name, list) in [("iif", &told.iif), ("oif", &told.oif)] {
                if !list.is_empty() {
                    let _ = write!(line, " {name} {}", list.join(","));
                }
            }
            if let Some(to) = &row.translated {
                let _ = write!(line, " -> {:?} {:?}", to.address, to.port);
            }
            if !row.certain {
                line.push_str(" (perhaps)");
            }
            line
        })
        .collect();
    rows.sort();
    rows.join("\n")
}

#[test]
fn a_matrix_says_who_may_open_what_to_whom() {
    let ruleset = filter(
        "-A FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT\n\
         -A FORWARD -s 10.1.0.0/16 -d 10.250.0.0/24 -p tcp -m tcp --dport 443 -j ACCEPT\n\
         -A FORWARD -s 10.1.0.0/16 -d 10.250.0.0/24 -p tcp -m tcp --dport 80 -j ACCEPT\n\
         -A FORWARD -s 10.1.9.0/24 -p tcp -m tcp --dport 22 -j ACCEPT\n\
         -A FORWARD -s 10.1.0.0/16 -p icmp -m icmp --icmp-type 8 -j ACCEPT",
    );
    assert_eq!(
        table(&ruleset, Direction::Forward),
        "10.1.0.0/16 > 0.0.0.0/0 icmp echo-request\n\
         10.1.0.0/16 > 10.250.0.0/24 tcp 80,443\n\
         10.1.9.0/24 > 0.0.0.0/0 tcp 22\n\
         ::/0 > ::/0 any",
        "what is not filtered passes, and IPv6 is not"
    );
    assert_eq!(table(&ruleset, Direction::Input), "::/0 > ::/0 any");
    assert_eq!(table(&ruleset, Direction::Output), "any > any any");
}

#[test]
fn overlapping_permits_stay_as_they_were_written() {
    let ruleset = filter(
        "-A FORWARD -s 10.1.0.0/16 -d 172.20.0.0/17 -p tcp -m tcp --dport 80 -j ACCEPT\n\
         -A FORWARD -s 10.1.0.0/16 -m iprange --dst-range 172.20.64.0-172.20.191.255 -p tcp -m tcp --dport 22 -j ACCEPT\n\
         -A FORWARD -s 10.1.0.0/16 -d 172.20.0.0/16 -p udp -m udp --dport 53 -j ACCEPT",
    );
    assert_eq!(
        table(&ruleset, Direction::Forward),
        "10.1.0.0/16 > 172.20.0.0/16 udp 53\n\
         10.1.0.0/16 > 172.20.0.0/17 tcp 80\n\
         10.1.0.0/16 > 172.20.64.0/18,172.20.128.0/18 tcp 22\n\
         ::/0 > ::/0 any"
    );
}

#[test]
fn what_a_limit_decides_is_only_perhaps() {
    let ruleset = filter(
        "-A INPUT -p udp -m udp --dport 514 -m limit --limit 10/sec -j ACCEPT\n\
         -A INPUT -i eth0 -p tcp -m tcp --dport 22 -j ACCEPT",
    );
    assert_eq!(
        table(&ruleset, Direction::Input),
        "0.0.0.0/0 > 0.0.0.0/0 tcp 22 iif eth0\n0.0.0.0/0 > 0.0.0.0/0 udp 514 (perhaps)\n\
         ::/0 > ::/0 any"
    );
}

#[test]
fn a_translated_destination_is_told_and_the_filter_sees_it() {
    let text = "*nat\n:PREROUTING ACCEPT [0:0]\n:POSTROUTING ACCEPT [0:0]\n\
        -A PREROUTING -d 192.0.2.1/32 -p tcp -m tcp --dport 80 -j DNAT --to-destination 10.1.3.10:8080\n\
        COMMIT\n*filter\n:FORWARD DROP [0:0]\n\
        -A FORWARD -d 10.1.3.10/32 -p tcp -m tcp --dport 8080 -j ACCEPT\nCOMMIT\n";
    let ruleset = save::parse(text).unwrap();
    let to = table(&ruleset, Direction::Forward);
    let lines: Vec<&str> = to.lines().collect();
    assert_eq!(lines.len(), 3, "{to}");
    assert_eq!(lines[0], "0.0.0.0/0 > 10.1.3.10 tcp 8080");
    assert!(lines[1].starts_with("0.0.0.0/0 > 192.0.2.1 tcp 80 -> "), "{to}");
    let (address, port) = (0x0a01_030a_u32, 8080);
    assert!(lines[1].contains(&address.to_string()) && lines[1].contains(&port.to_string()));
}

fn odd(ruleset: &Ruleset) -> String {
    let mut space = Space::default();
    let found = lint(&mut space, ruleset, &Network::default(), &WAYS).unwrap();
    let lines = found.iter().map(|odd| {
        let chain = ruleset.chain(odd.chain);
        let rule = odd.rule.map_or_else(String::new, |rule| format!(" {rule}"));
        let by: Vec<String> = odd.what.causes().iter().map(|by| by.rule.to_string()).collect();
        let by = if by.is_empty() { String::new() } else { format!(" by {}", by.join(",")) };
        format!("{}{rule} {}{by}", chain.name, odd.what.name())
    });
    lines.collect::<Vec<_>>().join("\n")
}

#[test]
fn rules_that_do_nothing_or_everything_are_found() {
    let ruleset = filter(
        ":unused - [0:0]\n\
         -A INPUT -p tcp -m tcp --dport 1:1023 -j DROP\n\
         -A INPUT -p tcp -m tcp --dport 22 -j ACCEPT\n\
         -A INPUT -s 10.1.0.0/16 -p tcp -m tcp --dport 80 -j DROP\n\
         -A INPUT -s 10.1.0.0/16 -p tcp -m tcp --dport 8080 -j ACCEPT\n\
         -A INPUT -p tcp -m tcp --dport 9000 -j DROP\n\
         -A INPUT -p udp -m udp --dport 53 -m recent --name x --rcheck -j ACCEPT\n\
         -A FORWARD -j ACCEPT\n\
         -A FORWARD -s 10.1.0.0/16 -j DROP",
    );
    assert_eq!(
        odd(&ruleset),
        "INPUT 1 contradicted by 0\n\
         INPUT 2 repeated by 0\n\
         INPUT 4 redundant\n\
         INPUT 5 not_understood\n\
         FORWARD 0 any_to_any\n\
         FORWARD 1 contradicted by 0\n\
         unused never_called"
    );
}

#[test]
fn a_match_on_a_mark_that_no_rule_sets_is_never_true() {
    let marked = "-A INPUT -m mark --mark 0x1 -p tcp -m tcp --dport 22 -j ACCEPT\n\
        -A OUTPUT -m mark --mark 0x1 -j ACCEPT";
    let odd = |ruleset: &Ruleset| {
        odd(ruleset).lines().filter(|line| line.starts_with("INPUT")).collect::<String>()
    };
    assert_eq!(odd(&filter(marked)), "INPUT 0 never_true");
    // As soon as one does, it is not.
    let mangle = "*mangle\n:PREROUTING ACCEPT [0:0]\n\
        -A PREROUTING -s 10.1.9.0/24 -j MARK --set-xmark 0x1/0xffffffff\nCOMMIT\n";
    let mut both = filter(marked);
    both.join(save::parse(mangle).unwrap());
    assert_eq!(odd(&both), "");
}

#[test]
fn a_ruleset_in_which_everything_is_of_use_has_nothing_odd() {
    let ruleset = filter(
        ":web - [0:0]\n\
         -A INPUT -i lo -j ACCEPT\n\
         -A INPUT -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT\n\
         -A INPUT -p tcp -m tcp --dport 443 -j web\n\
         -A web -s 10.1.9.0/24 -j RETURN\n\
         -A web -s 10.1.0.0/16 -j ACCEPT",
    );
    assert_eq!(odd(&ruleset), "");
}

fn compared(old: &Ruleset, new: &Ruleset, direction: Direction) -> (Difference, String) {
    let network = Network::default();
    let mut space = Space::default();
    let found = diff(&mut space, (old, &network), (new, &network), direction).unwrap();
    let mut text = String::new();
    let lists = [
        ("-", &found.closed),
        ("+", &found.opened),
        ("~", &found.translated),
        ("?", &found.unsure),
    ];
    for (sign, pieces) in lists {
        for Piece { packets, example: one } in pieces {
            let told = packets.told();
            let _ = writeln!(
                text,
                "{sign} {} > {} {} [{}] {}",
                told.from.join(","),
                told.to.join(","),
                told.service("any"),
                told.state.join(","),
                example(one),
            );
        }
    }
    (found, text)
}

#[test]
fn a_difference_is_told_in_packets_with_an_example_each() {
    let old = filter(
        "-A FORWARD -s 10.1.0.0/16 -p tcp -m tcp --dport 80 -j ACCEPT\n\
         -A FORWARD -s 10.1.9.0/24 -p tcp -m tcp --dport 22 -j ACCEPT",
    );
    let new = filter(
        "-A FORWARD -s 10.1.9.0/24 -p tcp -m multiport --dports 22,80 -j ACCEPT\n\
         -A FORWARD -s 10.2.0.0/16 -p udp -m udp --dport 53 -m conntrack --ctstate NEW -j ACCEPT",
    );
    let (found, text) = compared(&old, &new, Direction::Forward);
    assert_eq!(found.closed.len(), 1, "{text}");
    assert_eq!(
        text,
        "- 10.1.0.0/21,10.1.8.0/24,10.1.10.0-10.1.255.255 > 0.0.0.0/0 tcp 80 [] \
         10.1.0.10:40000 > 1.0.0.10:80 tcp new\n\
         + 10.2.0.0/16 > 0.0.0.0/0 udp 53 [new] 10.2.0.10:40000 > 1.0.0.10:53 udp new\n"
    );
}

#[test]
fn rules_in_another_order_with_the_same_meaning_do_not_differ() {
    let old = filter("-A FORWARD -s 10.1.0.0/16 -j ACCEPT\n-A FORWARD -s 10.2.0.0/16 -j ACCEPT");
    let new = filter(
        "-A FORWARD -s 10.2.0.0/16 -j ACCEPT\n-A FORWARD -s 10.1.0.0/17 -j ACCEPT\n\
                      -A FORWARD -s 10.1.128.0/17 -j ACCEPT",
    );
    let (found, text) = compared(&old, &new, Direction::Forward);
    assert!(found.is_empty(), "{text}");
}
