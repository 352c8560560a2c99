//! Listings of packet filters: held once they are on disk, not asked for twice, and bounded whatever a
//! host sends.

use std::path::Path;
use std::sync::Arc;

use crate::support::{self, Facts, Lab, Link, held_memory, memory, settings, until};
use bailey_collector::enrolment::Actor;
use bailey_collector::{Collector, CollectorHandle};
use bailey_rules::fact::Fact;
use bailey_rules::fact::firewall::Ruleset;
use bailey_rules::listing::{ListingDigest, ListingSource, Listings, MAX_LISTING};
use bailey_rules::unit::Bytes;
use bailey_wire::convert::{
    MAX_LISTING_PART, listing_parts, listings_held_from_wire, no_listing_to_wire,
};
use bailey_wire::listing::PackedListing;
use bailey_wire::v1::from_agent::Message;
use bailey_wire::v1::{self, from_collector};
use http_body_util::{BodyExt as _, Full};
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;

const NFT: ListingSource = ListingSource::Nftables;

fn pack(source: ListingSource, digest: u8, text: &str) -> PackedListing {
    PackedListing::pack(source, ListingDigest([digest; 32]), "ruleset", text).unwrap()
}

/// Text that hardly gets shorter.
fn noise(octets: usize) -> String {
    let mut state = 7_u32;
    let letter = |_| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        char::from(b'!' + u8::try_from(state >> 24).unwrap() % 90)
    };
    (0..octets).map(letter).collect()
}

async fn list(link: &Link, packed: &PackedListing) {
    for part in listing_parts(packed) {
        link.send(Message::ListingPart(part)).await;
    }
}

fn held(collector: &CollectorHandle) -> Arc<Listings> {
    collector.site().listings(&"oa-17".parse().unwrap()).unwrap()
}

fn why(collector: &CollectorHandle, source: ListingSource) -> Option<String> {
    collector.site().unlisted(&"oa-17".parse().unwrap()).unwrap().get(&source).cloned()
}

/// The sources whose listings need not be sent, and what tells them from others.
fn named(link: &Link) -> Vec<(ListingSource, ListingDigest)> {
    let welcome = link.welcome.clone().unwrap();
    listings_held_from_wire(welcome.listings.unwrap()).unwrap().into_iter().collect()
}

fn rows(state: &Path) -> i64 {
    let store = rusqlite::Connection::open(state.join("store/collector.db")).unwrap();
    store.query_row("SELECT count(*) FROM listing", [], |row| row.get(0)).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listing_is_held_stored_and_not_asked_for_again() {
    let folder = support::state();
    let collector = Collector::start(settings(folder.path())).await.unwrap();
    let machine = support::enrolled_at(&collector, "oa-17").await;
    let link = machine.connect().await;
    assert_eq!(named(&link), []);
    let text = noise(3 * MAX_LISTING_PART);
    let packed = pack(NFT, 1, &text);
    list(&link, &packed).await;
    list(&link, &pack(ListingSource::IptablesLegacy, 2, "*filter")).await;
    until("both listings", || held(&collector).0.len() == 2).await;
    let listing = held(&collector).0[&NFT].clone();
    assert_eq!((&*listing.text, listing.ruleset.as_str()), (text.as_str(), "ruleset"));
    let link = machine.connect().await;
    assert_eq!(named(&link)[0], (NFT, packed.digest));
    link.send(Message::NoListing(no_listing_to_wire(ListingSource::IptablesLegacy, ""))).await;
    until("one listing", || held(&collector).0.len() == 1).await;
    assert_eq!(why(&collector, ListingSource::IptablesLegacy), None);
    drop(link);
    collector.shutdown().await;

    let mut again = settings(folder.path());
    again.agents = machine.address.parse().unwrap();
    let collector = Collector::start(again).await.unwrap();
    assert_eq!(held(&collector).0, [(NFT, listing)].into());
    let link = machine.connect().await;
    assert_eq!(named(&link), [(NFT, packed.digest)]);
    assert_eq!(rows(folder.path()), 1);
    drop(link);
    let host = "oa-17".parse().unwrap();
    collector.enrolment().revoke(&host, "lost", Actor::uid(0)).await.unwrap();
    until("its rows to be gone", || rows(folder.path()) == 0).await;
    collector.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_says_it_cannot_list_is_believed_with_its_reason() {
    let lab = Lab::start().await;
    let machine = lab.enrolled("oa-17").await;
    let link = machine.connect().await;
    list(&link, &pack(NFT, 1, "table")).await;
    until("the listing", || held(&lab.collector).0.contains_key(&NFT)).await;
    link.send(Message::NoListing(no_listing_to_wire(NFT, "too long"))).await;
    until("it to be gone", || held(&lab.collector).0.is_empty()).await;
    until("the reason", || why(&lab.collector, NFT).as_deref() == Some("too long")).await;
    list(&link, &pack(NFT, 2, "table")).await;
    until("the listing", || held(&lab.collector).0.contains_key(&NFT)).await;
    assert_eq!(why(&lab.collector, NFT), None);
}

type Spoil = fn(&mut Vec<v1::ListingPart>);

#[tokio::test(flavor = "multi_thread")]
async fn what_a_hostile_session_sends_for_a_listing_costs_it_nothing_but_the_listing() {
    let lab = Lab::start().await;
    let machine = lab.enrolled("oa-17").await;
    let mut link = machine.connect().await;
    let mut facts = Facts::new(1);
    let packed = pack(NFT, 1, &noise(3 * MAX_LISTING_PART));
    let spoils: [Spoil; 8] = [
        // Another text than the digest says.
        |parts| parts.iter_mut().for_each(|part| part.text_digest = vec![0; 32]),
        // A bomb.
        |parts| parts.iter_mut().for_each(|part| part.length = 10),
        |parts| parts.swap(1, 2),
        |parts| drop(parts.remove(0)),
        |parts| parts.iter_mut().for_each(|part| part.parts = 9_999),
        |parts| parts.iter_mut().for_each(|part| part.source = 99),
        |parts| parts.iter_mut().for_each(|part| part.length = u32::MAX),
        // Beginnings without end.
        |parts| *parts = vec![parts[0].clone(); 40],
    ];
    for (nth, spoil) in spoils.into_iter().enumerate() {
        let mut parts: Vec<_> = listing_parts(&packed).collect();
        spoil(&mut parts);
        for part in parts {
            link.send(Message::ListingPart(part)).await;
        }
        let available = nth as u64 + 1;
        link.report(facts.complete([memory(available)])).await;
        link.acknowledged(facts.place()).await.unwrap();
        until("the report", || held_memory(&lab.collector, "oa-17") == Some(available)).await;
        assert_eq!(held(&lab.collector).0.len(), 0, "{nth}");
    }
    assert!(why(&lab.collector, NFT).is_some(), "two of them came whole and could not be unpacked");
    list(&link, &packed).await;
    until("the listing", || held(&lab.collector).0.contains_key(&NFT)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn all_listings_of_a_host_together_are_bounded() {
    let lab = Lab::start().await;
    let machine = lab.enrolled("oa-17").await;
    let link = machine.connect().await;
    list(&link, &pack(NFT, 1, &"x".repeat(MAX_LISTING))).await;
    until("the long one", || held(&lab.collector).0.contains_key(&NFT)).await;
    list(&link, &pack(ListingSource::IptablesLegacy, 1, "*filter")).await;
    until("a reason", || why(&lab.collector, ListingSource::IptablesLegacy).is_some()).await;
    let said = why(&lab.collector, ListingSource::IptablesLegacy).unwrap();
    assert!(said.contains("16777223 octets together; at most 16777216"), "{said}");
    // A newer one may have the room of the one before it.
    list(&link, &pack(NFT, 2, &"y".repeat(MAX_LISTING))).await;
    let newest = || held(&lab.collector).0[&NFT].digest;
    until("the newer one", || newest() == ListingDigest([2; 32])).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listing_that_never_comes_whole_is_replaced_by_the_next_session() {
    let lab = Lab::start().await;
    let machine = lab.enrolled("oa-17").await;
    let packed = pack(NFT, 1, &noise(3 * MAX_LISTING_PART));
    let link = machine.connect().await;
    let first = listing_parts(&packed).next().unwrap();
    link.send(Message::ListingPart(first)).await;
    let mut link = machine.connect().await;
    assert_eq!(named(&link), []);
    list(&link, &packed).await;
    until("the listing", || held(&lab.collector).0.contains_key(&NFT)).await;
    // Nothing but acknowledgements is said of it.
    let mut facts = Facts::new(1);
    link.report(facts.complete([memory(1)])).await;
    let answer = link.next().await.unwrap();
    assert!(matches!(answer, from_collector::Message::Acknowledged(_)), "{answer:?}");
}

/// What the socket of the command line answers: kind and body.
async fn ask(state: &Path, path: &str) -> (String, String) {
    let stream = UnixStream::connect(state.join("bailey.sock")).await.unwrap();
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let request = http::Request::builder().uri(path).header("host", "localhost");
    let request = request.body(Full::new(bytes::Bytes::new())).unwrap();
    let answer = sender.send_request(request).await.unwrap();
    let kind = answer.headers()["content-type"].to_str().unwrap().to_owned();
    let body = answer.into_body().collect().await.unwrap().to_bytes();
    (kind, String::from_utf8(body.to_vec()).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_api_tells_the_text_and_whether_it_is_of_the_rules_that_are_there() {
    let lab = Lab::start().await;
    let machine = lab.enrolled("oa-17").await;
    let mut link = machine.connect().await;
    let mut facts = Facts::new(1);
    let ruleset = |digest: &str| {
        let ruleset = Ruleset {
            tables: Vec::new(),
            rules: 1,
            opaque_rules: 0,
            digest: digest.to_owned(),
            packets: 0,
            octets: Bytes(0),
            changed_by: None,
        };
        Fact::known("nftables", ruleset)
    };
    link.report(facts.complete([ruleset("ruleset")])).await;
    let text = "{\"nftables\": []}";
    list(&link, &pack(NFT, 0xab, text)).await;
    link.send(Message::NoListing(no_listing_to_wire(ListingSource::Ip6tablesLegacy, "no right")))
        .await;
    until("the reason", || why(&lab.collector, ListingSource::Ip6tablesLegacy).is_some()).await;
    link.acknowledged(facts.place()).await.unwrap();
    let state = lab.folder.path();
    let answer = async || {
        let (kind, body) = ask(state, "/api/v1/hosts/oa-17/listings").await;
        assert_eq!(kind, "application/json");
        serde_json::from_str::<serde_json::Value>(&body).unwrap()
    };
    until("the fact", || {
        let host = lab.collector.site().host(&"oa-17".parse().unwrap()).unwrap();
        host.view.facts.value::<Ruleset>("nftables").is_some()
    })
    .await;
    let told = answer().await;
    let row = &told["listings"][0];
    assert_eq!((&row["source"], &row["current"]), (&"nftables".into(), &true.into()), "{told}");
    assert_eq!((&row["octets"], &row["ruleset"]), (&text.len().into(), &"ruleset".into()));
    assert_eq!(row["digest"].as_str().unwrap(), "ab".repeat(32));
    let unlisted = &told["unlisted"][0];
    assert_eq!(unlisted["source"].as_str(), Some("ip6tables-legacy"));
    assert_eq!(unlisted["why"].as_str(), Some("no right"));
    let (kind, body) = ask(state, "/api/v1/hosts/oa-17/listings/nftables").await;
    assert_eq!((kind.as_str(), body.as_str()), ("application/json", text));
    let (kind, body) = ask(state, "/api/v1/hosts/oa-17/listings/ip6tables-legacy").await;
    assert_eq!(kind, "application/problem+json");
    assert!(body.contains("no right"), "{body}");

    link.report(facts.changed([ruleset("another")])).await;
    link.acknowledged(facts.place()).await.unwrap();
    until("the other rules", || {
        let host = lab.collector.site().host(&"oa-17".parse().unwrap()).unwrap();
        host.view.facts.value::<Ruleset>("nftables").is_some_and(|held| held.digest == "another")
    })
    .await;
    assert_eq!(answer().await["listings"][0]["current"], false);
}
