//! The uplink against a peer that speaks the real protocol over real TLS, and that the tests play.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use bailey_agent::Agent;
use bailey_agent::settings::Settings;
use bailey_agent::uplink::Order;
use bailey_rules::fact::{FactValue, ProbeName};
use bailey_rules::name::BootId;
use bailey_rules::report::Place;
use bailey_wire::PROTOCOL;
use bailey_wire::convert::{intervals_to_wire, place_to_wire, report_from_wire};
use bailey_wire::identity::{goodbye_bytes, verify};
use bailey_wire::v1::{self, from_agent, from_collector};
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::timeout;

use crate::peer::{Ca, DAY, Host, Peer, SOON, bounds, enrol, place_of, roomy};

#[tokio::test]
async fn what_is_acknowledged_leaves_the_spool() {
    let ca = Arc::new(Ca::new());
    let mut peer = Peer::start(&ca).await;
    let host = Host::start(&ca, peer.address, DAY, roomy());
    let first = host.keep(3).await;
    let mut session = peer.session().await;
    let hello = session.welcome(None).await;
    assert_eq!(hello.protocol, PROTOCOL);
    assert_eq!(hello.machine, [3; 32]);
    assert_eq!(hello.oldest, Some(place_to_wire(Place { seq: 1, ..first })));
    assert_eq!(host.order().await, Order::SendEverything, "a new session begins with everything");
    for seq in 1..=3 {
        assert_eq!(place_of(&session.report().await).seq, seq);
    }
    session.acknowledge(first).await;
    host.emptied().await;
    // And live, without a new connection.
    let next = host.keep(1).await;
    assert_eq!(place_of(&session.report().await), next);
}

#[tokio::test]
async fn a_cut_connection_goes_on_where_the_collector_is() {
    let ca = Arc::new(Ca::new());
    let mut peer = Peer::start(&ca).await;
    let host = Host::start(&ca, peer.address, DAY, roomy());
    let last = host.keep(10).await;
    let mut session = peer.session().await;
    session.welcome(None).await;
    for _ in 1..=6 {
        session.report().await;
    }
    session.acknowledge(Place { seq: 2, ..last }).await;
    drop(session);
    // Four were written here, but the acknowledgement was lost with the connection.
    let mut session = peer.session().await;
    session.welcome(Some(Place { seq: 4, ..last })).await;
    for seq in 5..=10 {
        assert_eq!(place_of(&session.report().await).seq, seq);
    }
    session.acknowledge(last).await;
    host.emptied().await;
}

#[tokio::test]
async fn no_more_is_on_its_way_than_the_window_holds() {
    let ca = Arc::new(Ca::new());
    let mut peer = Peer::start(&ca).await;
    let host = Host::start(&ca, peer.address, DAY, roomy());
    let last = host.keep(100).await;
    let mut session = peer.session().await;
    session.welcome(None).await;
    let window = u64::try_from(bailey_agent::spool::MAX_HANDED).unwrap();
    for seq in 1..=window {
        assert_eq!(place_of(&session.report().await).seq, seq);
    }
    let more = timeout(Duration::from_millis(300), session.from.message()).await;
    assert!(more.is_err(), "{more:?}");
    let mut seq = window;
    while seq < 100 {
        session.acknowledge(Place { seq, ..last }).await;
        let next = place_of(&session.report().await).seq;
        assert_eq!(next, seq + 1);
        seq = next;
    }
}

#[tokio::test]
async fn a_loss_is_told_in_its_place() {
    let ca = Arc::new(Ca::new());
    let mut peer = Peer::start(&ca).await;
    let host = Host::start(&ca, peer.address, DAY, bounds(16 << 10));
    host.keep(400).await;
    let mut session = peer.session().await;
    session.welcome(None).await;
    let from_agent::Message::Loss(loss) = session.next().await else { panic!("no loss") };
    assert_eq!((loss.from, loss.reason()), (1, v1::LossReason::SpoolFull));
    assert_eq!(place_of(&session.report().await).seq, loss.to + 1);
    let boot = BootId::try_from(loss.boot.as_ref()).unwrap();
    session.acknowledge(Place { boot, seq: loss.to }).await;
    assert_eq!(place_of(&session.report().await).seq, loss.to + 2);
}

#[tokio::test]
async fn the_collector_orders_everything_and_intervals() {
    let ca = Arc::new(Ca::new());
    let mut peer = Peer::start(&ca).await;
    let host = Host::start(&ca, peer.address, DAY, roomy());
    let mut session = peer.session().await;
    session.welcome(None).await;
    assert_eq!(host.order().await, Order::SendEverything);
    session.answer(from_collector::Message::SendEverything(v1::SendEverything {})).await;
    assert_eq!(host.order().await, Order::SendEverything);
    let every = Duration::from_secs(5);
    let intervals = intervals_to_wire(&[(ProbeName::Host, every)]);
    session.answer(from_collector::Message::Intervals(intervals)).await;
    assert_eq!(host.order().await, Order::Intervals(vec![(ProbeName::Host, Some(every))]));
}

#[tokio::test]
async fn an_acknowledgement_of_what_was_not_sent_ends_the_session() {
    let ca = Arc::new(Ca::new());
    let mut peer = Peer::start(&ca).await;
    let host = Host::start(&ca, peer.address, DAY, roomy());
    let last = host.keep(1).await;
    let mut session = peer.session().await;
    session.welcome(None).await;
    session.report().await;
    session.acknowledge(Place { seq: 7, boot: BootId::from_bytes([1; 16]) }).await;
    let mut session = peer.session().await;
    session.welcome(None).await;
    assert_eq!(place_of(&session.report().await), last, "nothing was forgotten");
}

#[tokio::test]
async fn a_collector_of_another_ca_hears_nothing() {
    let (ours, theirs) = (Arc::new(Ca::new()), Arc::new(Ca::new()));
    let mut peer = Peer::start(&theirs).await;
    let host = Host::start(&ours, peer.address, DAY, roomy());
    host.keep(1).await;
    assert!(timeout(Duration::from_secs(2), peer.sessions.recv()).await.is_err());
    assert_eq!(peer.attempts.load(Ordering::Relaxed), 0);
    host.spool.tell(&host.own).await;
    assert!(host.own.spool().0 > 0, "it still waits");
}

#[tokio::test]
async fn a_host_that_is_refused_does_not_knock_all_the_time() {
    let ca = Arc::new(Ca::new());
    let mut peer = Peer::start(&ca).await;
    peer.refuse.store(true, Ordering::Relaxed);
    let host = Host::start(&ca, peer.address, DAY, roomy());
    let last = host.keep(1).await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    let attempts = peer.attempts.load(Ordering::Relaxed);
    assert!((1..=20).contains(&attempts), "{attempts} attempts in 3 s");
    // Once it is let in again, nothing is missing.
    peer.refuse.store(false, Ordering::Relaxed);
    let mut session = peer.session().await;
    session.welcome(None).await;
    assert_eq!(place_of(&session.report().await), last);
}

#[tokio::test]
async fn the_goodbye_is_signed_and_comes_after_everything_was_acknowledged() {
    let ca = Arc::new(Ca::new());
    let mut peer = Peer::start(&ca).await;
    let host = Host::start(&ca, peer.address, DAY, roomy());
    let last = host.keep(2).await;
    let mut session = peer.session().await;
    session.welcome(None).await;
    session.report().await;
    session.report().await;
    host.stop.send_replace(true);
    session.acknowledge(last).await;
    let from_agent::Message::Goodbye(goodbye) = session.next().await else { panic!("no goodbye") };
    assert_eq!((goodbye.boot.as_ref(), goodbye.last_seq), (&last.boot.as_bytes()[..], last.seq));
    let said = goodbye_bytes(last.boot, goodbye.last_seq, goodbye.at_millis);
    verify(&session.certificate, &said, &goodbye.signature).unwrap();
    let forged = goodbye_bytes(last.boot, goodbye.last_seq + 1, goodbye.at_millis);
    assert!(verify(&session.certificate, &forged, &goodbye.signature).is_err());
    drop(session);
    timeout(SOON, host.uplink).await.expect("the uplink ends").unwrap();
    peer.server.abort();
}

#[tokio::test]
async fn a_stop_without_a_collector_does_not_wait_for_one() {
    let ca = Arc::new(Ca::new());
    let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let host = Host::start(&ca, nobody.local_addr().unwrap(), DAY, roomy());
    host.keep(1).await;
    let began = Instant::now();
    host.stop.send_replace(true);
    timeout(SOON, host.uplink).await.expect("the uplink ends").unwrap();
    assert!(began.elapsed() < Duration::from_secs(5));
}

#[tokio::test]
async fn a_certificate_past_its_half_is_renewed_and_used_at_once() {
    let ca = Arc::new(Ca::new());
    let mut peer = Peer::start(&ca).await;
    let host = Host::start(&ca, peer.address, (-20, 4), roomy());
    let old = host.state.credentials().unwrap().certificate;
    let mut session = peer.session().await;
    assert_eq!(session.certificate, old.as_ref());
    session.welcome(None).await;
    let mut session = peer.session().await;
    assert_ne!(session.certificate, old.as_ref());
    assert_eq!(session.certificate, host.state.credentials().unwrap().certificate.as_ref());
    session.welcome(None).await;
    let last = host.keep(1).await;
    assert_eq!(place_of(&session.report().await), last);
    assert!(host.own.problems().is_empty());
}

#[tokio::test]
async fn a_connection_that_falls_silent_is_given_up_within_half_a_minute() {
    let ca = Arc::new(Ca::new());
    let mut peer = Peer::start(&ca).await;
    // Between the two, a wire that can be cut without either hearing of it.
    let wire = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (address, behind) = (wire.local_addr().unwrap(), peer.address);
    let (cut, is_cut) = watch::channel(false);
    let relay = tokio::spawn(async move {
        loop {
            let (near, _) = wire.accept().await.unwrap();
            let far = TcpStream::connect(behind).await.unwrap();
            let mut is_cut = is_cut.clone();
            // A connection that was cut stays so; a new one gets through.
            let _ = is_cut.borrow_and_update();
            tokio::spawn(async move {
                let (mut near_read, mut near_write) = near.into_split();
                let (mut far_read, mut far_write) = far.into_split();
                tokio::select! {
                    _ = tokio::io::copy(&mut near_read, &mut far_write) => {}
                    _ = tokio::io::copy(&mut far_read, &mut near_write) => {}
                    _ = is_cut.changed() => std::future::pending::<()>().await,
                }
                let _ = near_write.shutdown().await;
            });
        }
    });
    let host = Host::start(&ca, address, DAY, roomy());
    let mut session = peer.session().await;
    session.welcome(None).await;
    host.order().await;
    cut.send_replace(true);
    let last = host.keep(1).await;
    let began = Instant::now();
    let next = timeout(Duration::from_secs(40), peer.sessions.recv()).await;
    let mut next = next.expect("it connects again").unwrap();
    assert!(began.elapsed() <= Duration::from_secs(30), "{:?}", began.elapsed());
    next.welcome(None).await;
    assert_eq!(place_of(&next.report().await), last);
    relay.abort();
    assert!(host.own.problems().is_empty());
}

/// What the agent says is wrong with itself, if the report tells.
fn problems(report: &v1::Report) -> Option<Vec<String>> {
    let decoded = report_from_wire(report.clone()).unwrap();
    decoded.report.changed.iter().find_map(|fact| match fact.reading.known() {
        Some(FactValue::Agent(agent)) => Some(agent.problems.clone()),
        _ => None,
    })
}

#[tokio::test]
async fn the_whole_agent_reports_everything_at_once_takes_up_its_settings_and_says_goodbye() {
    let ca = Arc::new(Ca::new());
    let mut peer = Peer::start(&ca).await;
    let folder = tempfile::tempdir().unwrap();
    enrol(&ca, folder.path(), peer.address, DAY);
    let file = folder.path().join("agent.yaml");
    let write = |text: &str| {
        let beside = folder.path().join("agent.yaml.new");
        std::fs::write(&beside, text).unwrap();
        std::fs::rename(&beside, &file).unwrap();
    };
    write("probes: {host: {interval: 1 s}}");
    let settings = Settings::read(&file, Some(folder.path())).unwrap();
    let agent = Agent::start(settings, Some(file.clone())).await.unwrap();
    let mut session = peer.session().await;
    session.welcome(None).await;
    let first = session.report().await;
    assert!(first.complete);
    assert_eq!(first.probes.len(), ProbeName::ALL.len());
    session.acknowledge(place_of(&first)).await;

    write("probes: {hots: {interval: 1 s}}");
    let mut told = Vec::new();
    while told.is_empty() {
        let report = session.report().await;
        told = problems(&report).unwrap_or_default();
        session.acknowledge(place_of(&report)).await;
    }
    assert!(told[0].contains("agent.yaml:1:") && told[0].contains("did you mean"), "{told:?}");
    write("probes: {host: {interval: 1 s, limit: 5 s}}");
    loop {
        let report = session.report().await;
        session.acknowledge(place_of(&report)).await;
        if problems(&report).is_some_and(|told| told.is_empty()) {
            break;
        }
    }

    let stopping = tokio::spawn(agent.shutdown());
    loop {
        match session.next().await {
            from_agent::Message::Report(report) => session.acknowledge(place_of(&report)).await,
            from_agent::Message::Goodbye(_) => break,
            other => panic!("{other:?}"),
        }
    }
    drop(session);
    timeout(SOON, stopping).await.expect("it stops").unwrap();
}

#[tokio::test]
async fn two_agents_never_share_a_state_folder() {
    let ca = Arc::new(Ca::new());
    let peer = Peer::start(&ca).await;
    let folder = tempfile::tempdir().unwrap();
    enrol(&ca, folder.path(), peer.address, DAY);
    let settings = Settings::in_folder(folder.path().to_owned());
    let first = Agent::start(settings.clone(), None).await.unwrap();
    let second = Agent::start(settings, None).await;
    assert!(second.unwrap_err().to_string().contains("another agent"));
    first.shutdown().await;
}
