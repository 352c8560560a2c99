//! The running site proves: what a gateway's kernel has is held against the invariants at once, what is
//! broken is told with its packet and its rule, and what was known when can be asked later.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::support::{self, Facts, Lab, Link, Machine, MovedClock, settings, until};
use bailey_collector::{Collector, CollectorHandle};
use bailey_rules::fact::firewall::{Ruleset, Table};
use bailey_rules::fact::links::{
    Forwarding, Interface, LinkKind, Route, RouteKind, Rule, RuleAction,
};
use bailey_rules::fact::{Fact, FactKind};
use bailey_rules::finding::{Finding, Severity};
use bailey_rules::listing::{ListingDigest, ListingSource};
use bailey_rules::unit::Bytes;
use bailey_wire::convert::{listing_parts, no_listing_to_wire};
use bailey_wire::identity::AgentKey;
use bailey_wire::listing::PackedListing;
use bailey_wire::v1::from_agent::Message;
use http_body_util::{BodyExt as _, Empty};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use tokio::net::UnixStream;

const POLICY: &str = "
site: jiaxing
zones:
  inner: {name: 内网, networks: [10.1.0.0/16]}
  outer: {name: 外网, networks: [172.20.0.0/16]}
  exchange: {name: 交换区, networks: [10.250.0.0/24]}
services: {web: {tcp: [443]}}
invariants:
  INV-01: {never: [outer, inner]}
flows: [{from: inner, to: inner, service: web}]
hosts:
  fw-1: {zone: exchange, addresses: [172.20.0.1, 10.1.0.1], forwards: true}
";

const CLOSED: &str = "*filter\n:INPUT DROP [0:0]\n:FORWARD DROP [0:0]\nCOMMIT\n";
const OPENED: &str = "*filter\n:INPUT DROP [0:0]\n:FORWARD DROP [0:0]\n\
    -A FORWARD -d 10.1.7.20/32 -p tcp -m tcp --dport 3389 -j ACCEPT\nCOMMIT\n";

const FILTER: ListingSource = ListingSource::IptablesLegacy;

fn interface(index: u32, kind: LinkKind, address: &str) -> Interface {
    Interface {
        index,
        kind,
        driver: String::new(),
        mac: None,
        admin_up: true,
        carrier: true,
        speed_mbits: None,
        duplex: None,
        mtu: 1500,
        master: None,
        addresses: vec![address.parse().unwrap()],
        secondary: Vec::new(),
        link_only: Vec::new(),
        group: Some(0),
        hardware: Some(1),
        reverse_path: None,
    }
}

fn route(to: &str, by: &str) -> Fact {
    let route = Route {
        destination: to.parse().unwrap(),
        gateway: None,
        interface: Some(by.to_owned()),
        metric: 0,
        table: 254,
        carries: true,
        kind: RouteKind::Unicast,
        source: None,
    };
    Fact::known(&format!("{to} dev {by}"), route)
}

fn rule(priority: u32, table: u32) -> Fact {
    let rule = Rule {
        priority,
        ipv6: false,
        not: false,
        from: None,
        to: None,
        iif: None,
        oif: None,
        mark: None,
        action: RuleAction::Table(table),
        unsure: false,
    };
    Fact::known(&format!("{priority}: from all lookup {table}"), rule)
}

fn digest(text: &str) -> String {
    use std::fmt::Write as _;
    Sha256::digest(text).iter().fold(String::new(), |mut text, octet| {
        write!(text, "{octet:02x}").unwrap();
        text
    })
}

/// The fact that the kernel has a ruleset.
fn ruleset(filter: &str, text: &str) -> Fact {
    let table = Table { family: "ip".into(), name: "filter".into(), chains: 3, rules: 1, sets: 0 };
    let tables = if text.is_empty() { Vec::new() } else { vec![table] };
    let ruleset = Ruleset {
        tables,
        rules: 1,
        opaque_rules: 0,
        digest: digest(text),
        packets: 0,
        octets: Bytes(0),
        changed_by: None,
    };
    Fact::known(filter, ruleset)
}

/// A gateway between the zones that forwards IPv4.
fn gateway() -> Vec<Fact> {
    vec![
        Fact::known("lo", interface(1, LinkKind::Loopback, "127.0.0.1/8")),
        Fact::known("eth0", interface(2, LinkKind::Ethernet, "172.20.0.1/16")),
        Fact::known("eth1", interface(3, LinkKind::Ethernet, "10.1.0.1/16")),
        route("172.20.0.0/16", "eth0"),
        route("10.1.0.0/16", "eth1"),
        rule(0, 255),
        rule(32_766, 254),
        rule(32_767, 253),
        Fact::known(
            "",
            Forwarding { ipv4: true, ipv6: false, interfaces: Vec::new(), bridged: Some(false) },
        ),
        ruleset("nftables", ""),
        ruleset(FILTER.filter(), CLOSED),
    ]
}

async fn list(link: &Link, text: &str) {
    let told = ListingDigest(Sha256::digest(text).into());
    let packed = PackedListing::pack(FILTER, told, &digest(text), text).unwrap();
    for part in listing_parts(&packed) {
        link.send(Message::ListingPart(part)).await;
    }
}

async fn lab() -> Lab {
    Lab::start_with(|settings| std::fs::write(&settings.policy, POLICY).unwrap()).await
}

/// The gateway with what it has said so far.
struct Gateway {
    machine: Machine,
    link: Link,
    facts: Facts,
}

impl Gateway {
    async fn of(lab: &Lab) -> Self {
        let token = lab.token("fw-1", "exchange").await;
        let machine = Machine::enrol(&token, AgentKey::generate().unwrap()).await.unwrap();
        let link = machine.connect().await;
        let mut gateway = Self { machine, link, facts: Facts::new(1) };
        gateway.link.report(gateway.facts.complete(self::gateway())).await;
        list(&gateway.link, CLOSED).await;
        gateway
    }

    /// Its packet filter is another.
    async fn loads(&mut self, text: &str) {
        self.link.report(self.facts.changed([ruleset(FILTER.filter(), text)])).await;
        list(&self.link, text).await;
    }
}

async fn ask(socket: &Path, path: &str) -> (u16, Value) {
    let stream = UnixStream::connect(socket).await.unwrap();
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let request = hyper::Request::builder()
        .uri(path)
        .header("host", "localhost")
        .body(Empty::<bytes::Bytes>::new())
        .unwrap();
    let answer = sender.send_request(request).await.unwrap();
    let status = answer.status().as_u16();
    let body = answer.into_body().collect().await.unwrap().to_bytes();
    (status, serde_json::from_slice(&body).unwrap())
}

async fn proofs(collector: &CollectorHandle) -> Value {
    let (status, answer) = ask(&collector.addresses().socket, "/api/v1/proofs").await;
    assert_eq!(status, 200, "{answer}");
    answer
}

/// Waits until the one invariant stands as wanted, and gives what is said of it.
async fn stands(collector: &CollectorHandle, wanted: &str) -> Value {
    let began = std::time::Instant::now();
    loop {
        let row = proofs(collector).await["invariants"][0].take();
        if row["standing"] == wanted {
            return row;
        }
        assert!(began.elapsed() < support::LIMIT, "not {wanted}: {row:#}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn found(collector: &CollectorHandle, check: &str) -> Option<Finding> {
    collector.site().findings().into_iter().find(|finding| finding.check == check)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rule_that_opens_a_way_is_a_finding_until_it_is_gone() {
    let lab = lab().await;
    let mut gateway = Gateway::of(&lab).await;
    let proved = stands(&lab.collector, "proved").await;
    assert_eq!(proved["hosts"][0], "fw-1");
    let facts = &proved["basis"]["facts"][0];
    assert_eq!(facts["listings"][0]["source"], "iptables-legacy", "{facts:#}");
    assert!(facts["probes"][0]["read_at"].is_string(), "{facts:#}");
    assert!(proved["assumptions"][0]["text"]["zh"].is_string(), "{proved:#}");
    assert!(found(&lab.collector, "invariant").is_none());

    gateway.loads(OPENED).await;
    let broken = stands(&lab.collector, "broken").await;
    assert_eq!(broken["breach"]["packet"]["dport"], 3389, "{broken:#}");
    assert!(broken["breach"]["path"][0]["by"][0]["rule"].as_str().unwrap().contains("3389"));
    assert_ne!(broken["basis"]["inputs"], proved["basis"]["inputs"]);
    until("the finding", || found(&lab.collector, "invariant").is_some()).await;
    let finding = found(&lab.collector, "invariant").unwrap();
    assert_eq!(finding.host_name.as_str(), "fw-1");
    assert_eq!((finding.subject.as_str(), finding.severity), ("INV-01", Severity::Critical));
    assert_eq!(finding.alert, "BaileyInvariantCounterexample");
    let evidence = |fact: &str| finding.evidence.iter().any(|one| one.fact == fact);
    for fact in ["proof.packet", "proof.path", "proof.cut"] {
        assert!(evidence(fact), "{fact}: {:#?}", finding.evidence);
    }
    lab.event("invariant_broken").await;

    gateway.loads(CLOSED).await;
    stands(&lab.collector, "proved").await;
    until("it to be resolved", || found(&lab.collector, "invariant").is_none()).await;
    lab.event("finding_resolved").await;
    assert_eq!(lab.events("invariant_proved").await.len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_is_followed_by_what_hosts_have_told() {
    let lab = lab().await;
    let mut gateway = Gateway::of(&lab).await;
    stands(&lab.collector, "proved").await;
    let socket = lab.collector.addresses().socket.clone();
    let path = "/api/v1/trace?src=172.20.1.10&dst=10.1.7.20:3389/tcp";
    let (status, dropped) = ask(&socket, path).await;
    assert_eq!(status, 200, "{dropped:#}");
    assert_eq!((&dropped["passes"], &dropped["certain"]), (&false.into(), &true.into()));
    assert_eq!(dropped["there"][0]["hops"][0]["by"][0]["policy"], "drop", "{dropped:#}");
    gateway.loads(OPENED).await;
    stands(&lab.collector, "broken").await;
    let (_, there) = ask(&socket, path).await;
    let hop = &there["there"][0]["hops"][0];
    assert_eq!((&hop["host"], &hop["verdict"]), (&"fw-1".into(), &"accept".into()), "{there:#}");
    assert!(hop["by"][0]["rule"].as_str().unwrap().contains("3389"), "{there:#}");
    // Nothing lets the answer back.
    assert_eq!((&there["passes"], &there["back"][0]["arrives"]), (&false.into(), &false.into()));
    let (status, refused) = ask(&socket, "/api/v1/trace?src=nobody&dst=10.1.7.20:1/tcp").await;
    assert_eq!(status, 400);
    assert!(refused["detail"].as_str().unwrap().contains("no host nobody"), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn silence_makes_a_proof_stale_and_clears_no_breach() {
    let lab = lab().await;
    let mut gateway = Gateway::of(&lab).await;
    stands(&lab.collector, "proved").await;
    lab.clock.forward(Duration::from_mins(2));
    let stale = stands(&lab.collector, "stale").await;
    let why = stale["old"]["en"].as_str().unwrap();
    assert!(why.contains("the probe links of fw-1 last read"), "{why}");
    assert_eq!(stale["answer"], "proved", "what was said is still shown");

    // It speaks again, of a way in; then it falls silent for good.
    gateway.loads(OPENED).await;
    stands(&lab.collector, "broken").await;
    until("the finding", || found(&lab.collector, "invariant").is_some()).await;
    lab.clock.forward(Duration::from_mins(20));
    until("it to be held", || found(&lab.collector, "invariant").is_some_and(|f| f.held)).await;
    let broken = stands(&lab.collector, "broken").await;
    assert!(broken["old"]["en"].is_string(), "{broken:#}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listing_that_cannot_be_had_is_out_of_model_by_name() {
    let lab = lab().await;
    let mut gateway = Gateway::of(&lab).await;
    stands(&lab.collector, "proved").await;
    gateway.link.report(gateway.facts.changed([ruleset(FILTER.filter(), OPENED)])).await;
    let none = Message::NoListing(no_listing_to_wire(FILTER, "it is too long"));
    gateway.link.send(none).await;
    let unknown = stands(&lab.collector, "out_of_model").await;
    let statement = unknown["statement"].as_str().unwrap();
    assert_eq!(statement, "iptables-legacy cannot be listed: it is too long");
    assert_eq!(unknown["at"], "fw-1");
    until("the finding", || found(&lab.collector, "proof").is_some()).await;
    let finding = found(&lab.collector, "proof").unwrap();
    assert_eq!((finding.host_name.as_str(), finding.severity), ("fw-1", Severity::Warning));
    lab.event("invariant_out_of_model").await;

    // What cannot be read is told with its reason too.
    let hidden = Fact::unreadable(FactKind::Ruleset, FILTER.filter(), "needs root");
    gateway.link.report(gateway.facts.changed([hidden])).await;
    until("the other reason", || {
        found(&lab.collector, "proof").is_some_and(|finding| finding.why.en.contains("needs root"))
    })
    .await;
    gateway.loads(CLOSED).await;
    stands(&lab.collector, "proved").await;
    until("it to be resolved", || found(&lab.collector, "proof").is_none()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_without_an_agent_is_out_of_model_and_not_forgotten() {
    let lab = lab().await;
    let unknown = stands(&lab.collector, "out_of_model").await;
    assert_eq!(unknown["statement"], "no agent reports from it");
    assert_eq!(unknown["at"], "fw-1");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_known_when_survives_a_restart_and_nobody_guesses_the_gaps() {
    let folder = support::state();
    std::fs::write(folder.path().join("policy.yaml"), POLICY).unwrap();
    let clock = Arc::new(MovedClock::default());
    let collector = Collector::start_at(settings(folder.path()), clock.clone()).await.unwrap();
    let lab = Lab { folder, collector, clock };
    let mut gateway = Gateway::of(&lab).await;
    stands(&lab.collector, "proved").await;
    // Times of questions are whole seconds.
    lab.clock.forward(Duration::from_secs(2));
    let while_proved = lab.collector.site().now();
    lab.clock.forward(Duration::from_secs(2));
    gateway.loads(OPENED).await;
    stands(&lab.collector, "broken").await;
    lab.event("invariant_broken").await;
    let Lab { folder, collector, clock } = lab;
    let ended = collector.site().now() + Duration::from_secs(1);
    drop(gateway.link);
    collector.shutdown().await;

    clock.forward(Duration::from_hours(2));
    let collector = Collector::start_at(settings(folder.path()), clock.clone()).await.unwrap();
    let socket = collector.addresses().socket.clone();
    let at = async |at: bailey_rules::time::Timestamp| {
        let (status, answer) = ask(&socket, &format!("/api/v1/proofs?at={at}")).await;
        assert_eq!(status, 200, "{answer}");
        answer["invariants"].clone()
    };
    assert_eq!(at(while_proved).await[0]["standing"], "proved");
    assert_eq!(at(ended).await[0]["standing"], "broken");
    assert_eq!(at(while_proved - Duration::from_hours(1)).await.as_array().unwrap().len(), 0);
    let (status, _) = ask(&socket, "/api/v1/proofs?at=2999-01-01T00:00:00Z").await;
    assert_eq!(status, 400);
    let (status, one) = ask(&socket, "/api/v1/proofs/INV-01").await;
    assert_eq!(status, 200);
    let answers: Vec<&str> = one["history"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| row["answer"].as_str().unwrap())
        .collect();
    assert_eq!(answers.first(), Some(&"broken"), "{one:#}");
    assert!(answers.contains(&"proved"), "{one:#}");
    assert_eq!(ask(&socket, "/api/v1/proofs/INV-99").await.0, 404);

    // The same rules that were there two hours ago prove nothing until the gateway speaks again.
    assert_eq!(stands(&collector, "broken").await["breach"]["packet"]["dport"], 3389);
    until("the finding", || found(&collector, "invariant").is_some()).await;
    gateway.machine.address = collector.addresses().agents.to_string();
    gateway.link = gateway.machine.connect().await;
    gateway.loads(CLOSED).await;
    stands(&collector, "proved").await;
    until("it to be resolved", || found(&collector, "invariant").is_none()).await;
    collector.shutdown().await;
}
