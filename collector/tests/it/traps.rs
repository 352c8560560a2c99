//! Traps and informs from net-snmp's own `snmptrap` and `snmpinform` into a whole collector: what is
//! believed, what is acknowledged, what is lost, and what becomes of it.

use std::net::{SocketAddr, UdpSocket};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use crate::agent::Agent;
use crate::support::{self, Lab, until};
use async_snmp::message::CommunityMessage;
use async_snmp::{NotificationPdu, Value, VarBind, Version};
use bailey_collector::device::{Answer, Wish};
use bailey_collector::enrolment::Actor;
use bailey_collector::settings::TrapSettings;
use bailey_collector::trap::kept::{Kept, TrapQuery};
use bailey_collector::{Collector, CollectorHandle};
use bailey_rules::finding::{Finding, Severity};
use bailey_rules::trap::Proof;
use futures::StreamExt as _;

const COMMUNITY: &str = "let-me-in";
const AUTH_PASS: &str = "a passphrase for authentication";
const PRIV_PASS: &str = "a passphrase for privacy";

/// An engine id for senders of traps: theirs, not ours.
const ENGINE: &str = "0x80001f8880aabbccdd";

const AUTHS: [&str; 6] = ["MD5", "SHA", "SHA-224", "SHA-256", "SHA-384", "SHA-512"];
const PRIVS: [&str; 4] = ["DES", "AES", "AES-192", "AES-256"];

const LINK_DOWN: &str = "1.3.6.1.6.3.1.1.5.3";
const LINK_UP: &str = "1.3.6.1.6.3.1.1.5.4";
const IF_INDEX: &str = "1.3.6.1.2.1.2.2.1.1";

/// Files of credentials in a folder.
fn credentials(folder: &Path, texts: &[String]) -> Vec<PathBuf> {
    let write = |(nth, text): (usize, &String)| {
        let path = folder.join(format!("credentials-{nth}.yaml"));
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        path
    };
    texts.iter().enumerate().map(write).collect()
}

fn community() -> String {
    format!("community: {COMMUNITY}\n")
}

fn user(name: &str, auth: Option<&str>, privacy: Option<&str>) -> String {
    let mut text = format!("user: {name}\n");
    if let Some(protocol) = auth {
        text += &format!("auth: {{protocol: {protocol}, passphrase: {AUTH_PASS}}}\n");
    }
    if let Some(protocol) = privacy {
        text += &format!("priv: {{protocol: {protocol}, passphrase: {PRIV_PASS}}}\n");
    }
    text
}

/// A collector that takes these credentials, and to which this machine is `hp-1`.
async fn lab(texts: &[String]) -> (Lab, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let files = credentials(folder.path(), texts);
    let lab = Lab::start_with(|settings| {
        settings.traps =
            Some(TrapSettings { listen: "127.0.0.1:0".parse().unwrap(), credentials: files });
        settings.senders.insert([127, 0, 0, 1].into(), "hp-1".parse().unwrap());
    })
    .await;
    (lab, folder)
}

fn address(collector: &CollectorHandle) -> SocketAddr {
    collector.addresses().traps.unwrap()
}

fn count(collector: &CollectorHandle, result: &str) -> u64 {
    let mut counts = collector.site().counters().traps.each();
    counts.find(|(word, _)| word.as_str() == result).unwrap().1
}

fn all(collector: &CollectorHandle) -> u64 {
    collector.site().counters().traps.each().map(|(_, count)| count).sum()
}

async fn counted(lab: &Lab, result: &str, least: u64) {
    until(result, || count(&lab.collector, result) >= least).await;
}

async fn kept(collector: &CollectorHandle) -> Vec<Kept> {
    let query = TrapQuery { limit: 200, ..TrapQuery::default() };
    collector.site().kept_traps(query).await.unwrap()
}

fn findings(collector: &CollectorHandle) -> Vec<Finding> {
    let all = collector.site().findings();
    all.into_iter().filter(|finding| finding.check.starts_with("trap_")).collect()
}

/// Runs one of net-snmp's tools; whether it ended well.
async fn tool(name: &str, options: &[&str], agent: SocketAddr, rest: &[&str]) -> bool {
    let folder = tempfile::tempdir().unwrap();
    let mut command = tokio::process::Command::new(name);
    command
        .env_clear()
        .env("PATH", "/usr/bin:/bin")
        .env("MIBS", "")
        .env("SNMP_PERSISTENT_DIR", folder.path())
        .env("SNMPCONFPATH", folder.path())
        .args(options)
        .arg(agent.to_string())
        .args(rest)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true);
    command.status().await.expect("net-snmp's tools are installed").success()
}

/// The options of a user.
fn as_user<'a>(name: &'a str, auth: Option<&'a str>, privacy: Option<&'a str>) -> Vec<&'a str> {
    let mut options = vec!["-v", "3", "-u", name];
    match (auth, privacy) {
        (Some(auth), Some(privacy)) => {
            options.extend(["-l", "authPriv", "-a", auth, "-A", AUTH_PASS]);
            options.extend(["-x", privacy, "-X", PRIV_PASS]);
        }
        (Some(auth), None) => options.extend(["-l", "authNoPriv", "-a", auth, "-A", AUTH_PASS]),
        (None, _) => options.extend(["-l", "noAuthNoPriv"]),
    }
    options
}

fn with_community() -> Vec<&'static str> {
    vec!["-v", "2c", "-c", COMMUNITY]
}

/// A link trap of interface `index`, as its arguments.
fn link<'a>(trap: &'a str, name: &'a str, index: &'a str) -> Vec<&'a str> {
    vec!["", trap, name, "i", index]
}

/// A v2c trap as octets, numbered.
fn datagram(number: i32, trap: &str, name: &str, index: i32) -> Vec<u8> {
    let oid = |text: &str| {
        let arcs: Vec<u32> = text.split('.').map(|arc| arc.parse().unwrap()).collect();
        async_snmp::Oid::from_slice(&arcs)
    };
    let value = VarBind::new(oid(name), Value::Integer(index));
    let pdu = NotificationPdu::trap_v2(Version::V2c, number, 100, &oid(trap), vec![value]).unwrap();
    let message = CommunityMessage::v2c(COMMUNITY.as_bytes().to_vec(), pdu.into_raw()).unwrap();
    message.encode().unwrap().to_vec()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_user_is_heard_with_every_pair_of_protocols_and_every_inform_is_acknowledged() {
    let mut pairs: Vec<(Option<&str>, Option<&str>)> = vec![(None, None)];
    for auth in AUTHS {
        pairs.push((Some(auth), None));
        pairs.extend(PRIVS.map(|privacy| (Some(auth), Some(privacy))));
    }
    let name = |(auth, privacy): &(Option<&str>, Option<&str>)| {
        format!("u-{}-{}", auth.unwrap_or("none"), privacy.unwrap_or("none"))
    };
    let texts: Vec<String> = pairs.iter().map(|p| user(&name(p), p.0, p.1)).collect();
    let (lab, _folder) = lab(&texts).await;
    let agent = address(&lab.collector);
    let send = |pair: (Option<&'static str>, Option<&'static str>)| async move {
        let who = name(&pair);
        let options = as_user(&who, pair.0, pair.1);
        let index = format!("{IF_INDEX}.7");
        let rest = link(LINK_DOWN, &index, "7");
        let mut as_engine = options.clone();
        as_engine.extend(["-e", ENGINE]);
        let trap = tool("snmptrap", &as_engine, agent, &rest).await;
        let mut patient = options;
        patient.extend(["-t", "5", "-r", "2"]);
        let inform = tool("snmpinform", &patient, agent, &rest).await;
        (who, trap, inform)
    };
    let ended: Vec<_> =
        futures::stream::iter(pairs.clone()).map(send).buffer_unordered(4).collect().await;
    for (who, trap, inform) in ended {
        assert!(trap && inform, "{who}: sent {trap}, acknowledged {inform}");
    }
    let both = 2 * u64::try_from(pairs.len()).unwrap();
    counted(&lab, "accepted", both).await;
    let mut known: Vec<_> = kept(&lab.collector).await;
    known.retain(|kept| kept.body.user.is_some() && kept.body.version == "v3");
    for pair in &pairs {
        let proof = if pair.0.is_some() { Proof::Key } else { Proof::None };
        // Whoever says the same is counted on the row of the one who said it first.
        assert!(known.iter().any(|kept| kept.body.proof == proof), "{pair:?}");
    }
    // Each inform asked for the engine first.
    assert!(count(&lab.collector, "discovery") >= u64::try_from(pairs.len()).unwrap());
    for refused in ["malformed", "unknown_user", "wrong_key", "decryption", "security_level"] {
        assert_eq!(count(&lab.collector, refused), 0, "{refused}");
    }
    lab.collector.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_is_wrong_with_a_trap_is_counted_under_its_reason() {
    let texts = [community(), user("monitor", Some("SHA-256"), Some("AES-128"))];
    let (lab, _folder) = lab(&texts).await;
    let agent = address(&lab.collector);
    let rest = link(LINK_DOWN, "1.3.6.1.2.1.2.2.1.1.7", "7");
    let right = as_user("monitor", Some("SHA-256"), Some("AES"));
    let with = |change: &dyn Fn(&mut Vec<&'static str>)| {
        let mut options = right.clone();
        options.extend(["-e", ENGINE]);
        change(&mut options);
        options
    };
    let replaced = |from: &'static str, to: &'static str| {
        with(&|options| {
            for option in options.iter_mut().filter(|option| **option == from) {
                *option = to;
            }
        })
    };
    let once = |result: &'static str, options: Vec<&'static str>| {
        let (lab, rest) = (&lab, rest.clone());
        async move {
            let before = count(&lab.collector, result);
            assert!(tool("snmptrap", &options, agent, &rest).await, "{result}");
            until(result, || count(&lab.collector, result) == before + 1).await;
        }
    };
    once("wrong_community", vec!["-v", "2c", "-c", "public"]).await;
    once("wrong_community", vec!["-v", "2c", "-c", ""]).await;
    once("unknown_user", replaced("monitor", "nobody")).await;
    once("wrong_key", replaced(AUTH_PASS, "another passphrase")).await;
    once("wrong_key", replaced("SHA-256", "SHA")).await;
    once("decryption", replaced(PRIV_PASS, "another passphrase")).await;
    // Who knows the name and leaves the key away is not believed.
    once("security_level", vec!["-v", "3", "-u", "monitor", "-l", "noAuthNoPriv", "-e", ENGINE])
        .await;
    let in_life = |boots_and_time: &'static str| {
        let mut options = right.clone();
        options.extend(["-e", "0x80001f8880aabbccee", "-Z", boots_and_time]);
        options
    };
    once("accepted", in_life("5,100000")).await;
    once("not_in_time", in_life("4,100000")).await;
    once("not_in_time", in_life("5,99000")).await;
    // A question is no trap.
    let options = ["-v", "2c", "-c", COMMUNITY, "-t", "1", "-r", "0"];
    assert!(!tool("snmpget", &options, agent, &["1.3.6.1.2.1.1.1.0"]).await);
    assert_eq!(count(&lab.collector, "not_a_trap"), 1);
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let good = datagram(1, LINK_DOWN, "1.3.6.1.2.1.2.2.1.1.7", 7);
    for wrong in [&b""[..], b"\0", b"hello", &good[..good.len() - 1], &[0x30; 2_000]] {
        socket.send_to(wrong, agent).unwrap();
    }
    counted(&lab, "malformed", 5).await;
    assert_eq!(count(&lab.collector, "accepted"), 1);
    lab.collector.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn traps_of_every_version_open_one_finding_and_the_clear_resolves_it() {
    let texts = [community(), user("monitor", Some("SHA-256"), Some("AES-128"))];
    let (lab, _folder) = lab(&texts).await;
    let machine = lab.enrolled("hp-1").await;
    let agent = address(&lab.collector);
    let name = "1.3.6.1.2.1.2.2.1.1.7";
    let v1: Vec<&str> = vec!["1.3.6.1.4.1.8072.3.2.10", "127.0.0.1", "2", "0", "", name, "i", "7"];
    assert!(tool("snmptrap", &["-v", "1", "-c", COMMUNITY], agent, &v1).await);
    until("the finding", || findings(&lab.collector).len() == 1).await;
    let opened = findings(&lab.collector).remove(0);
    assert_eq!((opened.check.as_str(), opened.subject.as_str()), ("trap_link", "link_down 7"));
    assert_eq!(opened.severity, Severity::Warning);
    assert_eq!(opened.host_name.as_str(), "hp-1");
    for _ in 0..3 {
        assert!(tool("snmptrap", &with_community(), agent, &link(LINK_DOWN, name, "7")).await);
    }
    assert!(tool("snmpinform", &with_community(), agent, &link(LINK_DOWN, name, "7")).await);
    counted(&lab, "accepted", 5).await;
    assert_eq!(findings(&lab.collector).iter().map(|f| f.id).collect::<Vec<_>>(), [opened.id]);

    // Now somebody who has the key says so; whoever has not can no longer end it.
    let mut keyed = as_user("monitor", Some("SHA-256"), Some("AES"));
    keyed.extend(["-e", ENGINE]);
    assert!(tool("snmptrap", &keyed, agent, &link(LINK_DOWN, name, "7")).await);
    counted(&lab, "accepted", 6).await;
    assert!(tool("snmptrap", &with_community(), agent, &link(LINK_UP, name, "7")).await);
    counted(&lab, "accepted", 7).await;
    lab.clock.forward(Duration::from_secs(30));
    assert_eq!(findings(&lab.collector).len(), 1);
    assert!(tool("snmptrap", &keyed, agent, &link(LINK_UP, name, "7")).await);
    until("it is resolved", || findings(&lab.collector).is_empty()).await;
    lab.event("finding_resolved").await;
    drop(machine);
    lab.collector.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_polled_device_has_its_traps_and_polling_undoes_a_forged_one() {
    let state = support::state();
    std::fs::create_dir(state.path().join("rules")).unwrap();
    let fast = "expectations:\n  - device: {interval: 1 s}\n";
    std::fs::write(state.path().join("rules/fast.yaml"), fast).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let lab = Lab::start_in(state, |settings| {
        let credentials = credentials(folder.path(), &[community()]);
        let listen = "127.0.0.1:0".parse().unwrap();
        settings.traps = Some(TrapSettings { listen, credentials });
    })
    .await;
    let receiver = address(&lab.collector);
    // The real agent tells that it has started. Nobody knows it yet.
    let sink = format!("rocommunity public 127.0.0.1\ntrap2sink {receiver} {COMMUNITY}\n");
    let agent = Agent::start(&sink).await;
    counted(&lab, "accepted", 1).await;
    assert_eq!(kept(&lab.collector).await[0].asset, None);
    let wish = Wish {
        address: agent.address.ip().to_string(),
        port: agent.address.port(),
        zone: "inner".parse().unwrap(),
        name: Some("hp-1".parse().unwrap()),
        credentials: "community: public\n".to_owned(),
    };
    let added = lab.collector.devices().add(wish, Actor::uid(0)).await.unwrap();
    assert!(matches!(added, Answer::Taken(_)), "{added:?}");
    // Somebody says that the loopback is down, which is up.
    let name = "1.3.6.1.2.1.2.2.1.1.1";
    assert!(tool("snmptrap", &with_community(), receiver, &link(LINK_DOWN, name, "1")).await);
    lab.event("finding_opened").await;
    until("polling sees that it is up", || findings(&lab.collector).is_empty()).await;
    lab.event("finding_resolved").await;
    let opened = lab.events("finding_opened").await;
    assert!(
        opened.iter().any(|said| said.contains("the link of interface 1 went down")),
        "{opened:?}"
    );
    lab.collector.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unknown_trap_is_kept_raw_and_opens_nothing() {
    let (lab, _folder) = lab(&[community()]).await;
    let agent = address(&lab.collector);
    let rest = ["", "1.3.6.1.4.1.99999.0.1", "1.3.6.1.4.1.99999.2.0", "s", "\u{1b}[2J电源"];
    for _ in 0..3 {
        assert!(tool("snmptrap", &with_community(), agent, &rest).await);
    }
    counted(&lab, "unknown", 3).await;
    let kept = kept(&lab.collector).await;
    // What repeats itself is one row that counts.
    assert_eq!(kept.len(), 1);
    assert_eq!(kept[0].times, 3);
    assert_eq!(kept[0].body.oid.to_string(), "1.3.6.1.4.1.99999.0.1");
    assert_eq!(kept[0].asset.as_ref().unwrap().as_str(), "hp-1");
    let value = &kept[0].body.values[0].value;
    assert_eq!(value.octets().unwrap(), "\u{1b}[2J电源".as_bytes());
    assert!(findings(&lab.collector).is_empty());
    lab.collector.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_keeps_the_engine_and_what_is_wrong() {
    let texts = [community(), user("monitor", Some("SHA-256"), Some("AES-128"))];
    let (lab, files) = lab(&texts).await;
    let machine = lab.enrolled("hp-1").await;
    let name = "1.3.6.1.2.1.2.2.1.1.7";
    let mut informer = as_user("monitor", Some("SHA-256"), Some("AES"));
    informer.extend(["-t", "5", "-r", "2"]);
    let agent = address(&lab.collector);
    assert!(tool("snmpinform", &informer, agent, &link(LINK_DOWN, name, "7")).await);
    until("the finding", || findings(&lab.collector).len() == 1).await;
    let before = findings(&lab.collector).remove(0);
    assert_eq!(before.severity, Severity::Warning);
    let engine = lab.folder.path().join("snmp-engine.json");
    let first = std::fs::read_to_string(&engine).unwrap();

    let Lab { folder, collector, clock } = lab;
    let mut settings = support::settings(folder.path());
    settings.traps = Some(TrapSettings {
        listen: "127.0.0.1:0".parse().unwrap(),
        credentials: credentials(files.path(), &texts),
    });
    settings.senders.insert([127, 0, 0, 1].into(), "hp-1".parse().unwrap());
    collector.shutdown().await;
    let collector = Collector::start_at(settings, clock.clone()).await.unwrap();
    let second = std::fs::read_to_string(&engine).unwrap();
    assert_eq!(first.replace("\"boots\":1", "\"boots\":2"), second);
    let after = findings(&collector).remove(0);
    assert_eq!((after.id, after.first_at), (before.id, before.first_at));
    // The sender discovers that the engine has begun another life, and is heard.
    assert!(tool("snmpinform", &informer, address(&collector), &link(LINK_UP, name, "7")).await);
    until("it is resolved", || findings(&collector).is_empty()).await;
    drop(machine);
    collector.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_that_somebody_sends_again_changes_nothing() {
    let texts = [community(), user("monitor", Some("SHA-256"), Some("AES-128"))];
    let (lab, _folder) = lab(&texts).await;
    let agent = address(&lab.collector);
    // Somebody on the way, who listens.
    let tap = UdpSocket::bind("127.0.0.1:0").unwrap();
    tap.set_read_timeout(Some(support::LIMIT)).unwrap();
    let mut keyed = as_user("monitor", Some("SHA-256"), Some("AES"));
    keyed.extend(["-e", ENGINE]);
    let rest = link(LINK_UP, "1.3.6.1.2.1.2.2.1.1.7", "7");
    assert!(tool("snmptrap", &keyed, tap.local_addr().unwrap(), &rest).await);
    let mut heard = [0; 2_000];
    let length = tap.recv(&mut heard).unwrap();
    for _ in 0..3 {
        tap.send_to(&heard[..length], agent).unwrap();
    }
    counted(&lab, "duplicate", 2).await;
    assert_eq!((count(&lab.collector, "accepted"), all(&lab.collector)), (1, 3));
    // Not even from elsewhere.
    let elsewhere = UdpSocket::bind("127.0.0.2:0").unwrap();
    elsewhere.send_to(&heard[..length], agent).unwrap();
    counted(&lab, "duplicate", 3).await;
    lab.collector.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_storm_is_one_finding_more_and_every_datagram_is_counted() {
    const SENT: i32 = 3_000;
    let (lab, _folder) = lab(&[community()]).await;
    let machine = lab.enrolled("hp-1").await;
    let agent = address(&lab.collector);
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    for index in 1..=SENT {
        let name = format!("{IF_INDEX}.{index}");
        socket.send_to(&datagram(index, LINK_DOWN, &name, index), agent).unwrap();
    }
    until("all are counted", || all(&lab.collector) == u64::try_from(SENT).unwrap()).await;
    let taken = count(&lab.collector, "accepted");
    assert!((500..1_500).contains(&taken), "{taken}");
    let lost = ["rate_sender", "queue_full", "socket_full"].map(|w| count(&lab.collector, w));
    assert_eq!(taken + lost.iter().sum::<u64>(), u64::try_from(SENT).unwrap());
    until("the storm is a finding", || {
        findings(&lab.collector).iter().any(|finding| finding.subject == "(more)")
    })
    .await;
    until("no more findings than are listed", || findings(&lab.collector).len() == 65).await;
    until("a person is told", || {
        lab.collector
            .site()
            .problems()
            .iter()
            .any(|problem| problem.message.contains("traps were lost"))
    })
    .await;
    assert!(kept(&lab.collector).await.len() <= 1_000);
    drop(machine);
    lab.collector.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_inform_is_kept_anew_when_others_have_taken_the_place_of_what_it_repeats() {
    let (lab, _folder) = lab(&[community()]).await;
    let agent = address(&lab.collector);
    let inform = link(LINK_DOWN, "1.3.6.1.2.1.2.2.1.1.7", "7");
    let is_it = |kept: &Kept| kept.body.inform;
    assert!(tool("snmpinform", &with_community(), agent, &inform).await);
    assert_eq!(kept(&lab.collector).await.iter().filter(|kept| is_it(kept)).count(), 1);
    // What one asset may keep, in long traps.
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    for number in 1..=100 {
        let long = VarBind::new(
            async_snmp::Oid::from_slice(&[1, 3, 6, 1, 4, 1, 99_999, 1]),
            Value::OctetString(vec![u8::try_from(number).unwrap(); 7_000].into()),
        );
        let trap = async_snmp::Oid::from_slice(&[1, 3, 6, 1, 4, 1, 99_999, 0, 1]);
        let pdu = NotificationPdu::trap_v2(Version::V2c, number, 100, &trap, vec![long]).unwrap();
        let message = CommunityMessage::v2c(COMMUNITY.as_bytes().to_vec(), pdu.into_raw()).unwrap();
        socket.send_to(&message.encode().unwrap(), agent).unwrap();
        // No more at once than a small socket has room for.
        counted(&lab, "unknown", u64::try_from(number).unwrap()).await;
    }
    assert!(!kept(&lab.collector).await.iter().any(is_it), "it had to go");
    assert!(tool("snmpinform", &with_community(), agent, &inform).await);
    // Acknowledged means that it is there.
    assert!(kept(&lab.collector).await.iter().any(is_it));
    lab.collector.shutdown().await;
}

#[tokio::test]
async fn what_cannot_be_received_is_said_at_the_start() {
    let folder = support::state();
    let mut settings = support::settings(folder.path());
    let listen: SocketAddr = "127.0.0.1:0".parse().unwrap();
    let mut fails = async |credentials: Vec<PathBuf>, listen: SocketAddr| {
        settings.traps = Some(TrapSettings { listen, credentials });
        Collector::start(settings.clone()).await.map(drop).unwrap_err().to_string()
    };
    let missing = fails(vec!["/nowhere/monitor.yaml".into()], listen).await;
    assert!(
        missing.starts_with("traps.credentials: cannot read /nowhere/monitor.yaml"),
        "{missing}"
    );
    let twice = [user("monitor", Some("SHA"), None), user("monitor", Some("MD5"), None)];
    let said = fails(credentials(folder.path(), &twice), listen).await;
    assert!(said.ends_with("the user monitor stands in another file too"), "{said}");
    let taken = UdpSocket::bind("127.0.0.1:0").unwrap();
    let said = fails(Vec::new(), taken.local_addr().unwrap()).await;
    assert!(said.contains("choose another address under traps.listen"), "{said}");
}
