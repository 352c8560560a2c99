//! Orders from a collector that the tests play, over the real uplink, to the real enforcer and kernel,
//! each test in a network namespace of its own. Needs root.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bailey_agent::clock::{Clock as _, SystemClock};
use bailey_agent::enforce::state::{Ended, OrderRef};
use bailey_rules::name::OrderDigest;
use bailey_wire::convert::{
    OrderOutcome, OrderResult, order_parts, order_ref_to_wire, outcome_from_wire,
};
use bailey_wire::order::{SignedOrder, SigningKey, What, sign};
use bailey_wire::v1::{self, from_agent, from_collector};
use bytes::Bytes;

use crate::enforcer::{LONG, Lab, order, ordered, ruleset};
use crate::namespace::in_namespace;
use crate::peer::{Ca, DAY, Host, Peer, Session, place_of, roomy};

/// A collector, a host with its agent's uplink, and the enforcer beside it.
struct Net {
    lab: Lab,
    peer: Peer,
    host: Host,
}

impl Net {
    async fn start() -> Self {
        let lab = Lab::started().await;
        let (peer, host) = connected(&lab.socket()).await;
        Self { lab, peer, host }
    }

    /// The next session, welcomed, and which ruleset its hello names.
    async fn session(&mut self) -> (Session, Option<v1::OrderRef>) {
        let mut session = self.peer.session().await;
        let pending = session.welcome(None).await.pending;
        (session, pending)
    }

    fn order(&self, version: u64, what: What) -> (OrderRef, SignedOrder) {
        named(version, &self.lab.key, what)
    }
}

async fn connected(socket: &Path) -> (Peer, Host) {
    let ca = Arc::new(Ca::new());
    let peer = Peer::start(&ca).await;
    let host = Host::beside(socket, &ca, peer.address, DAY, roomy());
    (peer, host)
}

fn named(version: u64, key: &SigningKey, what: What) -> (OrderRef, SignedOrder) {
    let signed = sign(&order(version, what), key).unwrap();
    (OrderRef { version, digest: signed.digest() }, signed)
}

impl Session {
    async fn give(&self, (order, signed): &(OrderRef, SignedOrder)) {
        for part in order_parts(*order, &Bytes::from(signed.to_bytes())).unwrap() {
            self.answer(from_collector::Message::OrderPart(part)).await;
        }
    }

    async fn confirm(&self, order: OrderRef) {
        let confirm = v1::ConfirmOrder { order: Some(order_ref_to_wire(order)) };
        self.answer(from_collector::Message::ConfirmOrder(confirm)).await;
    }

    /// The next outcome; reports that come before it are acknowledged.
    async fn outcome(&mut self) -> OrderOutcome {
        loop {
            match self.next().await {
                from_agent::Message::OrderOutcome(outcome) => {
                    return outcome_from_wire(outcome).unwrap();
                }
                from_agent::Message::Report(report) => self.acknowledge(place_of(&report)).await,
                other => panic!("{other:?} instead of an outcome"),
            }
        }
    }

    async fn refused(&mut self) -> (OrderRef, String) {
        match self.outcome().await {
            OrderOutcome { order, result: OrderResult::Refused { error, .. } } => (order, error),
            other => panic!("{other:?}"),
        }
    }
}

fn what_came(order: OrderRef, result: OrderResult) -> OrderOutcome {
    OrderOutcome { order, result }
}

/// A ruleset that lets in what stands in `passes`, with so many elements that it is as long as wanted.
fn text(number: u64, passes: &str, elements: u32) -> String {
    let addresses: Vec<String> = (0..elements)
        .map(|nth| format!("10.{}.{}.{}", nth >> 16, nth >> 8 & 255, nth & 255))
        .collect();
    format!(
        "table inet bailey {{
    comment \"ruleset {number}\"
    set many {{
        type ipv4_addr
        elements = {{ {} }}
    }}
    chain input {{
        type filter hook input priority filter; policy drop;
        {passes}
        ip saddr @many accept
    }}
}}
",
        addresses.join(", ")
    )
}

const OPEN: &str = "iif lo accept";

#[test]
fn an_order_comes_in_parts_and_only_a_connection_over_its_rules_confirms_it() {
    in_namespace(|| async {
        let mut net = Net::start().await;
        let (mut first, pending) = net.session().await;
        assert_eq!(pending, None);
        let order = net.order(1, ordered(text(1, OPEN, 30_000), LONG, false));
        assert!(order.1.order.len() > 300_000);
        let (name, _) = order;

        // Nothing waits, so that nothing is confirmed.
        first.confirm(name).await;
        assert_eq!(first.refused().await, (name, "not_pending".to_owned()));
        first.give(&order).await;
        assert_eq!(first.outcome().await, what_came(name, OrderResult::Applied));
        assert!(ruleset().contains("ruleset 1"));
        drop(first);

        let (mut second, pending) = net.session().await;
        assert_eq!(pending, Some(order_ref_to_wire(name)));
        let other = OrderRef { digest: OrderDigest::from_bytes([9; 32]), ..name };
        second.confirm(other).await;
        assert_eq!(second.refused().await, (other, "not_pending".to_owned()));
        assert_eq!(net.lab.status().await.confirmed, None);
        second.confirm(name).await;
        assert_eq!(second.outcome().await, what_came(name, OrderResult::Confirmed));
        let status = net.lab.status().await;
        assert_eq!((status.confirmed, status.pending), (Some(name), None));
        // Said twice, for instance because the answer was lost.
        second.confirm(name).await;
        assert_eq!(second.outcome().await, what_came(name, OrderResult::Confirmed));
    });
}

#[test]
fn a_ruleset_that_cuts_the_agent_off_is_reverted_and_its_connection_proves_nothing() {
    in_namespace(|| async {
        let mut net = Net::start().await;
        let (session, _) = net.session().await;
        let order = net.order(1, ordered(text(1, "", 1), Duration::from_secs(3), false));
        session.give(&order).await;
        net.lab.until("it is in force", |status| status.pending.is_some()).await;
        drop(session);
        let (_session, pending) = net.session().await;
        assert_eq!(pending, None);
        let status = net.lab.status().await;
        assert_eq!(status.last.unwrap().what, Ended::NotConfirmed);
        assert_eq!(ruleset(), "");
    });
}

#[test]
fn what_the_enforcer_refuses_is_told_by_its_name_and_the_session_goes_on() {
    in_namespace(|| async {
        let mut net = Net::start().await;
        let (mut session, _) = net.session().await;
        let stranger = SigningKey::generate().unwrap();
        let what = || ordered(text(1, OPEN, 1), LONG, false);
        let (by_stranger, bad) = (named(1, &stranger, what()), {
            let (name, signed) = net.order(1, what());
            (name, SignedOrder { signature: [0; 64], ..signed })
        });
        for (order, error) in [(by_stranger, "wrong_key"), (bad, "bad_order")] {
            session.give(&order).await;
            assert_eq!(session.refused().await, (order.0, error.to_owned()));
        }
        assert_eq!(ruleset(), "");
        let last = net.host.keep(1).await;
        while place_of(&session.report().await) != last {}
    });
}

#[test]
fn a_quarantine_and_its_end_need_no_new_connection() {
    in_namespace(|| async {
        let mut net = Net::start().await;
        let (mut session, _) = net.session().await;
        let until = SystemClock.now() + LONG;
        let reason = "勒索软件".to_owned();
        let what = What::Quarantine { text: text(1, OPEN, 1), until, reason };
        let quarantine = net.order(1, what);
        session.give(&quarantine).await;
        assert_eq!(session.outcome().await, what_came(quarantine.0, OrderResult::Applied));
        assert!(net.lab.status().await.quarantine.is_some());
        let release = net.order(2, What::Release);
        session.give(&release).await;
        assert_eq!(session.outcome().await, what_came(release.0, OrderResult::Applied));
        assert!(net.lab.status().await.quarantine.is_none());
        let last = net.host.keep(1).await;
        while place_of(&session.report().await) != last {}
    });
}

#[tokio::test]
async fn without_an_enforcer_the_collector_hears_that_nobody_follows_orders() {
    let (mut peer, host) = connected(Path::new("/nonexistent/enforcer")).await;
    let mut session = peer.session().await;
    assert_eq!(session.welcome(None).await.pending, None);
    let key = SigningKey::generate().unwrap();
    let order = named(1, &key, What::Release);
    session.give(&order).await;
    match session.outcome().await.result {
        OrderResult::NoEnforcer { why } => assert!(why.contains("/nonexistent/enforcer"), "{why}"),
        other => panic!("{other:?}"),
    }
    drop(host);
}

#[tokio::test]
async fn a_collector_that_sends_parts_out_of_their_order_is_hung_up_on() {
    let (mut peer, host) = connected(Path::new("/nonexistent/enforcer")).await;
    let mut session = peer.session().await;
    session.welcome(None).await;
    let order =
        Some(order_ref_to_wire(OrderRef { version: 1, digest: OrderDigest::from_bytes([1; 32]) }));
    let part = v1::OrderPart { order, part: 1, parts: 2, octets: Bytes::from_static(b"x") };
    session.answer(from_collector::Message::OrderPart(part)).await;
    let again = peer.session().await;
    drop((session, again, host));
}
