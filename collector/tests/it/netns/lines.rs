//! How well lines carry packets: far ends in a network namespace whose kernel answers echo requests, with
//! packets that nftables drops and a far end that is slow. Needs root, and nft.

use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::process::{Command, Stdio};
use std::time::Duration;

use super::in_a_namespace;
use crate::fleet::{COMMUNITY, Fleet, Kind, Plan, PortPlan};
use crate::support::{Facts, Lab, state, until};
use bailey_collector::clock::{Clock as _, SystemClock};
use bailey_collector::device::{Answer, Wish};
use bailey_collector::enrolment::Actor;
use bailey_rules::check::Status;
use bailey_rules::device::DeviceView;
use bailey_rules::expectation::{Ask, By};
use bailey_rules::fact::lines::{LatelyAsked, LineQuality};
use bailey_rules::fact::{Fact, FactKind};
use bailey_rules::finding::Finding;
use bailey_rules::unit::Permille;
use bailey_wire::echo::{Asker, LONGEST};
use tokio::net::UdpSocket;

/// On loopback an answer is there at once or never.
const SHORT: Duration = Duration::from_millis(300);

/// How slow the slow far end is.
const SLOW: Duration = Duration::from_millis(60);

/// Puts these rules in force on what comes in over the loopback, in place of any before.
fn filter(rules: &str) {
    let text = format!(
        "table inet far {{}}\ndelete table inet far\ntable inet far {{\n chain in {{\n  type filter \
         hook input priority 0;\n  {rules}\n }}\n}}\n"
    );
    let mut nft = Command::new("nft").args(["-f", "-"]).stdin(Stdio::piped()).spawn().unwrap();
    nft.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    assert!(nft.wait().unwrap().success(), "{text}");
}

fn icmp(far: &str) -> Ask {
    Ask { far: far.parse().unwrap(), by: By::Icmp }
}

/// A far end on a port of the loopback that answers after [`SLOW`].
async fn slow_far_end() -> SocketAddr {
    let socket = std::sync::Arc::new(UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap());
    let address = socket.local_addr().unwrap();
    tokio::spawn(async move {
        let mut datagram = [0; 512];
        while let Ok((length, sender)) = socket.recv_from(&mut datagram).await {
            let (socket, answer) = (std::sync::Arc::clone(&socket), datagram[..length].to_vec());
            tokio::spawn(async move {
                tokio::time::sleep(SLOW).await;
                socket.send_to(&answer, sender).await.unwrap();
            });
        }
    });
    address
}

#[test]
fn an_echo_is_told_from_a_lost_packet_whatever_kind_of_socket_there_is() {
    in_a_namespace(|| async {
        filter("ip daddr 127.0.0.3 icmp type echo-request numgen inc mod 4 == 0 drop");
        // First the kind of socket that only root gets, then the one for everybody.
        for groups in ["1 0", "0 0"] {
            std::fs::write("/proc/sys/net/ipv4/ping_group_range", groups).unwrap();
            let mut answering = Asker::new(icmp("127.0.0.2"), LONGEST);
            let mut six = Asker::new(icmp("::1"), LONGEST);
            for _ in 0..3 {
                let took = answering.ask().await.unwrap().unwrap();
                assert!(took < LONGEST, "{took:?}");
                assert!(six.ask().await.unwrap().is_some());
            }
            let mut losing = Asker::new(icmp("127.0.0.3"), SHORT);
            let mut lost = 0;
            for _ in 0..8 {
                lost += usize::from(losing.ask().await.unwrap().is_none());
            }
            assert_eq!(lost, 2, "each fourth, with groups {groups}");
            // No way there is no answer, and no fault of ours.
            let mut nowhere = Asker::new(icmp("10.9.9.9"), SHORT);
            assert_eq!(nowhere.ask().await.unwrap(), None);
        }
    });
}

#[test]
fn a_datagram_is_answered_late_or_by_nobody_listening_or_not_at_all() {
    in_a_namespace(|| async {
        let udp = |address: SocketAddr| Ask {
            far: address.ip(),
            by: By::Udp(address.port().try_into().unwrap()),
        };
        let slow = slow_far_end().await;
        let took = Asker::new(udp(slow), LONGEST).ask().await.unwrap().unwrap();
        assert!(took >= SLOW && took < LONGEST, "{took:?}");
        // Who waits less takes the late answer for none, and not for one to the next question.
        let mut hasty = Asker::new(udp(slow), SLOW / 6);
        for _ in 0..3 {
            assert_eq!(hasty.ask().await.unwrap(), None);
        }
        let nobody = SocketAddr::from((Ipv4Addr::new(127, 0, 0, 9), 9));
        assert!(Asker::new(udp(nobody), LONGEST).ask().await.unwrap().is_some());
        filter("ip daddr 127.0.0.9 drop");
        assert_eq!(Asker::new(udp(nobody), SHORT).ask().await.unwrap(), None);
    });
}

/// The lines of `exit-1`: a good one, one that loses packets, and a slow one.
fn rules(slow: SocketAddr) -> String {
    format!(
        "
expectations:
  - device:
      interval: 1 s
      line_interval: 200 ms
      line_silent: {{warning: off, critical: 3 s}}
      line_loss: {{warning: 10 %, critical: 60 %}}
      line_round_trip: {{warning: 50 ms, critical: off}}
      lines:
        GE0/0/1: {{name: province, rated: 2 Mbit/s, far: 127.0.0.2}}
        GE0/0/2: {{name: county, rated: 10 Mbit/s, far: 127.0.0.3}}
        GE0/0/3: {{name: exit A, rated: 100 Mbit/s, far: {}, by: udp {}, exit: true}}
",
        slow.ip(),
        slow.port(),
    )
}

fn exit_1() -> Plan {
    let port = |nth: usize| PortPlan {
        name: format!("GE0/0/{nth}"),
        alias: String::new(),
        mbits: 1000,
        full: true,
        far: None,
    };
    let ports = (1..=3).map(port).collect();
    let kind = Kind::Switch { mac: [0, 0x1b, 0x21, 8, 0, 1], ports, stations: Vec::new() };
    Plan { name: "exit-1".to_owned(), kind }
}

fn found(lab: &Lab, check: &str) -> Option<Finding> {
    let all = lab.collector.site().findings();
    all.into_iter().find(|finding| finding.check == check)
}

fn view(lab: &Lab) -> std::sync::Arc<DeviceView> {
    std::sync::Arc::clone(&lab.collector.site().device(&"exit-1".parse().unwrap()).unwrap().view)
}

#[test]
fn what_lines_lose_and_how_long_they_take_is_found_and_kept_over_a_restart() {
    in_a_namespace(|| async {
        const LOSES: &str = "ip daddr 127.0.0.3 icmp type echo-request numgen inc mod 4 == 0 drop";
        filter(LOSES);
        let slow = slow_far_end().await;
        let fleet = Fleet::start(vec![exit_1()]).await;
        let folder = state();
        std::fs::create_dir(folder.path().join("rules")).unwrap();
        std::fs::write(folder.path().join("rules/lines.yaml"), rules(slow)).unwrap();
        let lab = Lab::start_in(folder, |_| {}).await;
        let device = fleet.device("exit-1");
        let wish = Wish {
            address: device.address.ip().to_string(),
            port: device.address.port(),
            zone: "outer".parse().unwrap(),
            name: Some("exit-1".parse().unwrap()),
            credentials: format!("community: {COMMUNITY}\n"),
        };
        let answer = lab.collector.devices().add(wish, Actor::uid(0)).await.unwrap();
        assert!(matches!(answer, Answer::Taken(_)), "{answer:?}");

        until("the loss is found", || found(&lab, "line_loss").is_some()).await;
        let loss = found(&lab, "line_loss").unwrap();
        assert_eq!((loss.subject.as_str(), loss.alert.as_str()), ("GE0/0/2", "BaileyLineQuality"));
        until("the slow line is found", || found(&lab, "line_round_trip").is_some()).await;
        let slow_line = found(&lab, "line_round_trip").unwrap();
        assert_eq!(slow_line.subject, "GE0/0/3");
        assert!(slow_line.why.en.contains("GE0/0/3 (exit A)"), "{}", slow_line.why.en);
        assert_eq!(found(&lab, "line_silent"), None, "they answer, all of them");

        // The good line is cut, with its port up; that is no loss, and it comes back.
        filter(&format!("{LOSES}; ip daddr 127.0.0.2 drop"));
        until("the cut is found", || found(&lab, "line_silent").is_some()).await;
        let cut = found(&lab, "line_silent").unwrap();
        assert_eq!((cut.subject.as_str(), cut.alert.as_str()), ("GE0/0/1", "BaileyLineDown"));
        filter(LOSES);
        until("it is resolved", || found(&lab, "line_silent").is_none()).await;
        let of_good = |status: &str| {
            let site = lab.collector.site();
            let device = site.device(&"exit-1".parse().unwrap()).unwrap();
            let judged = device.judged.iter().find(|judged| judged.check.name == status).unwrap();
            judged.verdicts.iter().find(|verdict| verdict.subject == "GE0/0/1").unwrap().status
        };
        assert!(matches!(of_good("line_loss"), Status::Ok | Status::Unknown));

        // What was used and answered becomes a sample, which the next start has still.
        lab.clock.forward(Duration::from_mins(6));
        until("there are samples", || {
            let view = view(&lab);
            let months = ["GE0/0/1", "GE0/0/2", "GE0/0/3"].map(|line| {
                let used = view.lines.get(line).is_some_and(|month| !month.samples().is_empty());
                used && view.quality.get(line).is_some_and(|quality| !quality.month().is_empty())
            });
            months.iter().all(|has| *has)
        })
        .await;
        let before = view(&lab);
        let Lab { folder, collector, .. } = lab;
        collector.shutdown().await;
        drop(fleet);
        let lab = Lab::start_in(folder, |_| {}).await;
        let after = view(&lab);
        for line in ["GE0/0/1", "GE0/0/2", "GE0/0/3"] {
            assert!(before.lines[line].percentile_95() <= after.lines[line].percentile_95());
            assert!(
                after.lines[line].samples().len() >= before.lines[line].samples().len(),
                "{line}"
            );
            assert!(
                after.quality[line].month().len() >= before.quality[line].month().len(),
                "{line}"
            );
            assert!(after.quality[line].availability().is_some());
        }
        lab.collector.shutdown().await;
    });
}

/// A line of a host, of which `lost` of 100 packets were lost, and none was answered for `silence`.
fn line(lost: u16, silence: Duration) -> Fact {
    let lately = LatelyAsked { asked: 100, lost: Permille(lost), round_trip_micros: Some(18_000) };
    Fact::known(
        "county",
        LineQuality {
            ask: icmp("10.254.0.1"),
            since: Some(SystemClock.now() - Duration::from_hours(1)),
            answered: true,
            silence_millis: silence.as_millis().try_into().unwrap(),
            lately: Some(lately),
            available_millionths: Some(999_900),
        },
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_host_tells_of_its_lines_is_found_and_resolved() {
    let lab = Lab::start().await;
    let machine = lab.enrolled("oa-17").await;
    let link = machine.connect().await;
    let mut facts = Facts::new(1);
    link.report(facts.complete([line(0, Duration::from_mins(3))])).await;
    until("the silence is found", || found(&lab, "host_line_silent").is_some()).await;
    let cut = found(&lab, "host_line_silent").unwrap();
    assert_eq!((cut.subject.as_str(), cut.alert.as_str()), ("county", "BaileyLineDown"));
    assert_eq!((cut.component.as_str(), found(&lab, "host_line_loss")), ("network", None));

    link.report(facts.changed([line(300, Duration::ZERO)])).await;
    until("it is resolved", || found(&lab, "host_line_silent").is_none()).await;
    until("the loss is found", || found(&lab, "host_line_loss").is_some()).await;
    let loss = found(&lab, "host_line_loss").unwrap();
    assert_eq!(loss.alert, "BaileyLineQuality");
    // That it cannot be asked any more resolves nothing.
    let cannot = Fact::unreadable(FactKind::LineQuality, "county", "may not send ICMP");
    link.report(facts.changed([cannot])).await;
    let site = lab.collector.site();
    until("it is unknown", || {
        let host = site.host(&"oa-17".parse().unwrap()).unwrap();
        let verdicts = host.judged.iter().filter(|judged| judged.check.name == "host_line_loss");
        verdicts.flat_map(|judged| &judged.verdicts).all(|v| v.status == Status::Unknown)
    })
    .await;
    assert!(found(&lab, "host_line_loss").is_some());
    link.report(facts.changed([line(0, Duration::ZERO)])).await;
    until("it is resolved", || found(&lab, "host_line_loss").is_none()).await;
}
