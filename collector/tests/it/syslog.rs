//! Messages of syslog from logger(1) and from sockets, over UDP, TCP and TLS, into the journal of a
//! whole collector.

use std::io::Write as _;
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::process::{Command, Stdio};

use crate::support::{self, Lab, until};
use bailey_collector::settings::SyslogSettings;
use bailey_collector::site::{Event, EventQuery};
use bailey_rules::syslog::{Facility, Severity};
use bailey_wire::tls;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use tokio::io::AsyncWriteExt as _;

async fn lab(change: impl FnOnce(&mut SyslogSettings)) -> Lab {
    let any: Option<SocketAddr> = Some("127.0.0.1:0".parse().unwrap());
    let mut set = SyslogSettings {
        udp: any,
        tcp: any,
        tls: any,
        severity: Severity::Notice,
        facilities: None,
    };
    change(&mut set);
    Lab::start_with(|settings| {
        settings.syslog = Some(set);
        settings.senders.insert([127, 0, 0, 1].into(), "core-1".parse().unwrap());
    })
    .await
}

fn count(lab: &Lab, result: &str) -> u64 {
    let mut counts = lab.collector.site().counters().syslog.each();
    counts.find(|(word, _)| word.as_str() == result).unwrap().1
}

async fn counted(lab: &Lab, result: &str, count_of: u64) {
    until(result, || count(lab, result) >= count_of).await;
    assert_eq!(count(lab, result), count_of, "{result}");
}

async fn told(lab: &Lab, kind: &str) -> Vec<Event> {
    let query = EventQuery { limit: 200, ..EventQuery::default() };
    let events = lab.collector.site().events(query).await.unwrap();
    events.into_iter().filter(|event| event.kind.as_str() == kind).collect()
}

/// Whether logger(1) ended well.
fn logger(to: SocketAddr, options: &[&str], text: &str) -> bool {
    Command::new("logger")
        .args(["--server", &to.ip().to_string(), "--port", &to.port().to_string()])
        .args(options)
        .arg("--")
        .arg(text)
        .stdin(Stdio::null())
        .status()
        .expect("logger is installed")
        .success()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn logger_is_heard_over_udp_and_tcp_in_both_formats() {
    let lab = lab(|_| {}).await;
    let addresses = lab.collector.addresses().syslog;
    let (udp, tcp) = (addresses.udp.unwrap(), addresses.tcp.unwrap());
    for (nth, (to, options)) in [
        (udp, ["--udp", "--rfc3164"].as_slice()),
        (udp, ["--udp", "--rfc5424"].as_slice()),
        (tcp, ["--tcp", "--rfc3164"].as_slice()),
        (tcp, ["--tcp", "--rfc5424", "--octet-count"].as_slice()),
    ]
    .into_iter()
    .enumerate()
    {
        let mut options = options.to_vec();
        options.extend(["--priority", "local7.err", "--tag", "ups"]);
        assert!(logger(to, &options, &format!("电源 {nth}: 市电中断")), "{options:?}");
    }
    counted(&lab, "event", 4).await;
    let mut said: Vec<String> = told(&lab, "syslog").await.into_iter().map(|e| e.text.en).collect();
    said.sort();
    assert_eq!(said.len(), 4);
    for (nth, said) in said.iter().enumerate() {
        assert!(said.starts_with("ups"), "{said}");
        assert!(said.ends_with(&format!("电源 {nth}: 市电中断 (local7.err)")), "{said}");
    }
    let hosts = told(&lab, "syslog").await;
    assert!(hosts.iter().all(|event| event.host.as_ref().unwrap().as_str() == "core-1"));
    lab.collector.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_over_tls_is_heard_with_the_certificate_of_the_page() {
    let lab = lab(|_| {}).await;
    let to = lab.collector.addresses().syslog.tls.unwrap();
    let ca = CertificateDer::from_pem_file(lab.folder.path().join("ca.pem")).unwrap();
    let connector = tokio_rustls::TlsConnector::from(tls::web_client_config(&ca).unwrap());
    let stream = tokio::net::TcpStream::connect(to).await.unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    let mut stream = connector.connect(name, stream).await.unwrap();
    let line = "<187>Nov 26 09:12:33 SW-B-1 %%10IFNET/3/LINK_UPDOWN: GE1/0/1 link is DOWN.";
    stream.write_all(format!("{} {line}", line.len()).as_bytes()).await.unwrap();
    stream.shutdown().await.unwrap();
    counted(&lab, "event", 1).await;
    let said = told(&lab, "syslog").await.remove(0).text.en;
    assert_eq!(said, "IFNET/3/LINK_UPDOWN: GE1/0/1 link is DOWN. (local7.err)");
    // Plain text where TLS is spoken is hung up on.
    let mut plain = TcpStream::connect(to).unwrap();
    plain.write_all(b"<13>hello\n").unwrap();
    until("refused", || lab.collector.site().counters().syslog_refused.get() == 1).await;
    lab.collector.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_not_wanted_malformed_or_said_twice_is_counted_and_no_event() {
    let lab = lab(|set| {
        set.severity = Severity::Warning;
        set.facilities = Some(vec![Facility::Local7]);
    })
    .await;
    let to = lab.collector.addresses().syslog.udp.unwrap();
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let send = |text: &[u8]| socket.send_to(text, to).unwrap();
    let (gbk, _, _) = encoding_rs::GBK.encode("<188>Nov 26 09:12:33 ups-1 ups: 市电中断");
    send(&gbk);
    send(&gbk);
    // A notice of the right facility, and a warning of another.
    send(b"<189>Nov 26 09:12:33 sw-1 x: not bad enough");
    send(b"<12>Nov 26 09:12:33 sw-1 x: of a user");
    send(b"<999>x");
    send(b"");
    send(b"<188>Nov 26 09:12:33 sw-1 x: \x1b[2J\x1b]0;owned\x07");
    counted(&lab, "event", 2).await;
    counted(&lab, "repeated", 1).await;
    counted(&lab, "filtered", 2).await;
    counted(&lab, "malformed", 2).await;
    let said: Vec<String> = told(&lab, "syslog").await.into_iter().map(|e| e.text.en).collect();
    assert!(said.iter().any(|said| said == "ups: 市电中断 (local7.warning)"), "{said:?}");
    assert!(said.iter().all(|said| !said.contains('\u{1b}')), "{said:?}");
    lab.collector.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_firewall_refuses_is_told_together() {
    let lab = lab(|_| {}).await;
    let to = lab.collector.addresses().syslog.tcp.unwrap();
    let mut stream = TcpStream::connect(to).unwrap();
    for port in 0..300 {
        writeln!(
            stream,
            "<164>Nov 26 2026 09:12:33 fw-out : %ASA-4-106023: Deny tcp src inside:10.1.7.20/{port} \
             dst outside:203.0.113.5/443 by access-group \"in\""
        )
        .unwrap();
    }
    counted(&lab, "refusal", 300).await;
    assert_eq!(count(&lab, "event"), 0);
    drop(stream);
    // What is counted is told at the end at the latest.
    let Lab { folder, collector, .. } = lab;
    collector.shutdown().await;
    let again = bailey_collector::Collector::start(support::settings(folder.path())).await.unwrap();
    let query = EventQuery { limit: 200, ..EventQuery::default() };
    let events = again.site().events(query).await.unwrap();
    let told = events.iter().find(|event| event.kind.as_str() == "refusals").unwrap();
    assert!(told.text.en.starts_with("300 connections refused within"), "{}", told.text.en);
    assert!(told.text.en.ends_with("300 of 10.1.7.20"), "{}", told.text.en);
    again.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_is_bounded_in_the_journal_and_counted_to_the_last_message() {
    const SENT: u64 = 5_000;
    let lab = lab(|_| {}).await;
    let to = lab.collector.addresses().syslog.udp.unwrap();
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    for nth in 0..SENT {
        socket.send_to(format!("<187>sw-1: another line {nth}").as_bytes(), to).unwrap();
    }
    let all = || lab.collector.site().counters().syslog.each().map(|(_, count)| count).sum::<u64>();
    until("all are counted", || all() == SENT).await;
    assert!((120..150).contains(&count(&lab, "event")), "{}", count(&lab, "event"));
    assert!(count(&lab, "left_out") >= 1_500 && count(&lab, "rate_sender") >= 1_000);
    lab.collector.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_address_has_a_bounded_number_of_connections_and_a_wrong_count_is_hung_up_on() {
    let lab = lab(|_| {}).await;
    let to = lab.collector.addresses().syslog.tcp.unwrap();
    let site = lab.collector.site().clone();
    let counters = site.counters();
    let mut wrong = TcpStream::connect(to).unwrap();
    wrong.write_all(b"12x<13>hello").unwrap();
    until("it is hung up on", || counters.syslog_refused.get() == 1).await;
    // This machine's own connections are bounded by the number of all alone.
    let held: Vec<TcpStream> = (0..600).map(|_| TcpStream::connect(to).unwrap()).collect();
    until("all places are taken", || counters.syslog_connections.get() == 512).await;
    until("the others are refused", || counters.syslog_refused.get() == 1 + 88).await;
    drop(held);
    until("the places are free again", || counters.syslog_connections.get() == 0).await;
    lab.collector.shutdown().await;
}

/// A connection from another address of this machine.
async fn from(last: u8, to: SocketAddr) -> tokio::net::TcpStream {
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind(SocketAddr::from(([127, 0, 0, last], 0))).unwrap();
    socket.connect(to).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn strangers_hold_few_places_and_those_whom_the_site_knows_are_heard() {
    const FOR_STRANGERS: u64 = 32;
    let lab = lab(|_| {}).await;
    let to = lab.collector.addresses().syslog.tcp.unwrap();
    let counters = lab.collector.site().counters();
    let mut held = Vec::new();
    for _ in 0..FOR_STRANGERS + 20 {
        held.push(from(2, to).await);
    }
    until("the others are refused", || counters.syslog_refused.get() == 20).await;
    assert_eq!(counters.syslog_connections.get(), FOR_STRANGERS);
    let mut known = from(1, to).await;
    known.write_all(b"<187>Nov 26 09:12:33 sw-1 x: heard\n").await.unwrap();
    counted(&lab, "event", 1).await;
    drop((held, known));
    lab.collector.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn strangers_who_say_that_they_are_firewalls_are_told_as_one() {
    let lab = lab(|_| {}).await;
    let to = lab.collector.addresses().syslog.udp.unwrap();
    let line = |from: &str| {
        format!(
            "<164>Nov 26 2026 09:12:33 fw-out : %ASA-4-106023: Deny tcp src inside:{from}/1 \
             dst outside:203.0.113.5/443 by access-group \"in\""
        )
    };
    let known = UdpSocket::bind("127.0.0.1:0").unwrap();
    known.send_to(line("10.1.7.20").as_bytes(), to).unwrap();
    for last in 2..102 {
        let strange = UdpSocket::bind(SocketAddr::from(([127, 0, 0, last], 0))).unwrap();
        strange.send_to(line("10.1.7.21").as_bytes(), to).unwrap();
    }
    counted(&lab, "refusal", 101).await;
    let Lab { folder, collector, .. } = lab;
    collector.shutdown().await;
    let again = bailey_collector::Collector::start(support::settings(folder.path())).await.unwrap();
    let query = EventQuery { limit: 200, ..EventQuery::default() };
    let events = again.site().events(query).await.unwrap();
    let told = events.into_iter().filter(|event| event.kind.as_str() == "refusals");
    let mut told: Vec<(Option<String>, String)> =
        told.map(|event| (event.host.map(|host| host.to_string()), event.text.en)).collect();
    told.sort();
    assert_eq!(told.len(), 2, "{told:?}");
    assert!(told[0].1.starts_with("as others say: 100 connections refused"), "{told:?}");
    assert!(told[1].1.starts_with("1 connections refused"), "{told:?}");
    assert_eq!(told[1].0.as_deref(), Some("core-1"));
    again.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_that_goes_wrong_loses_nothing_of_what_came_before() {
    let lab = lab(|_| {}).await;
    let to = lab.collector.addresses().syslog.tcp.unwrap();
    let mut stream = TcpStream::connect(to).unwrap();
    stream.write_all(b"11 <187>x: one<187>x: two\n12y").unwrap();
    counted(&lab, "event", 2).await;
    counted(&lab, "malformed", 1).await;
    until("it is hung up on", || lab.collector.site().counters().syslog_refused.get() == 1).await;
    lab.collector.shutdown().await;
}
