//! Listings on their way from the real kernel to a collector that the tests play, each test in a
//! network namespace of its own. Needs root.

use std::collections::BTreeMap;
use std::net::UdpSocket;
use std::sync::Arc;

use bailey_agent::probe::firewall::FirewallProbe;
use bailey_agent::probe::{Probe as _, Roots, Wake};
use bailey_rules::fact::firewall::Ruleset;
use bailey_rules::fact::{Fact, FactKind, Named as _};
use bailey_rules::listing::{ListingDigest, ListingSource, MAX_LISTING};
use bailey_wire::convert::{ListingGathering, MAX_LISTING_PART};
use bailey_wire::listing::PackedListing;
use bailey_wire::v1::from_agent::Message;
use tokio::time::timeout;

use crate::namespace::{fed, in_namespace, nft};
use crate::peer::{Ca, DAY, Host, Peer, SOON, Session, roomy};

const RULES: &str = "
table inet filter {
    set seen { type ipv4_addr; flags dynamic; }
    chain input {
        type filter hook input priority 0; policy accept;
        udp dport 9 counter add @seen { ip saddr }
    }
}
";

/// A host whose firewall probe lists into its uplink.
struct Machine {
    host: Host,
    probe: FirewallProbe,
}

impl Machine {
    fn start(ca: &Ca, peer: &Peer) -> Self {
        let host = Host::start(ca, peer.address, DAY, roomy());
        let probe = probe(&host);
        Self { host, probe }
    }

    async fn read(&mut self) -> Vec<Fact> {
        self.probe.read(Wake::Interval).await.unwrap()
    }

    /// Waits until the kernel tells of a change, and reads.
    async fn told(&mut self) -> Vec<Fact> {
        timeout(SOON, self.probe.told()).await.expect("the kernel tells of changes");
        self.read().await
    }
}

fn probe(host: &Host) -> FirewallProbe {
    FirewallProbe::new(&Roots::default()).listing_into(Arc::clone(&host.listings))
}

fn ruleset<'a>(facts: &'a [Fact], filter: &str) -> &'a Ruleset {
    let of = |fact: &&Fact| fact.key.kind == FactKind::Ruleset && &*fact.key.subject == filter;
    let fact = facts.iter().find(of).unwrap();
    Ruleset::of(fact.reading.known().unwrap()).unwrap()
}

/// The next listing, with its text.
async fn listing(session: &mut Session) -> (PackedListing, String) {
    let mut gathering = ListingGathering::default();
    loop {
        let part = match session.next().await {
            Message::ListingPart(part) => part,
            other => panic!("{other:?} instead of a listing"),
        };
        if let Some(whole) = gathering.take(part).unwrap() {
            let text = whole.unpack().unwrap();
            return (whole, text);
        }
    }
}

#[test]
fn a_change_by_hand_arrives_and_what_only_counts_does_not() {
    in_namespace(|| async {
        nft(RULES);
        let ca = Arc::new(Ca::new());
        let mut peer = Peer::start(&ca).await;
        let mut machine = Machine::start(&ca, &peer);
        let facts = machine.read().await;
        let mut session = peer.session().await;
        session.welcome(None).await;
        let (first, text) = listing(&mut session).await;
        assert_eq!(first.source, ListingSource::Nftables);
        assert_eq!(first.ruleset, ruleset(&facts, "nftables").digest);
        assert!(text.contains("\"handle\"") && text.contains("\"counter\""), "{text}");

        // Packets are counted and remembered in a set, which is no change of the rules.
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.send_to(b"x", "127.0.0.1:9").unwrap();
        let facts = probe(&machine.host).read(Wake::Interval).await.unwrap();
        assert_eq!(ruleset(&facts, "nftables").packets, 1);
        assert_eq!(machine.host.listings.digest(first.source), Some(first.digest));

        nft("insert rule inet filter input tcp dport 23 accept");
        let facts = machine.told().await;
        let (second, text) = listing(&mut session).await;
        assert_ne!(second.digest, first.digest);
        assert_eq!(second.ruleset, ruleset(&facts, "nftables").digest);
        assert!(text.contains("23"), "{text}");

        // The same rules with other handles: a rule is deleted by its handle.
        nft("flush chain inet filter input");
        machine.told().await;
        listing(&mut session).await;
        nft("add rule inet filter input tcp dport 23 accept
             add rule inet filter input udp dport 9 counter add @seen { ip saddr }");
        machine.told().await;
        let (third, _) = listing(&mut session).await;
        assert_eq!(third.ruleset, second.ruleset);
        assert_ne!(third.digest, second.digest);

        nft("flush ruleset");
        machine.told().await;
        let Message::NoListing(gone) = session.next().await else { panic!("it is gone") };
        assert_eq!(gone.why, "");
    });
}

#[test]
fn a_session_begins_with_what_the_collector_does_not_have() {
    in_namespace(|| async {
        nft(RULES);
        let ca = Arc::new(Ca::new());
        let mut peer = Peer::start(&ca).await;
        let mut machine = Machine::start(&ca, &peer);
        machine.read().await;
        let mut session = peer.session().await;
        session.welcome(None).await;
        let (sent, _) = listing(&mut session).await;
        drop(session);

        let mut session = peer.session().await;
        session.welcome_with(None, BTreeMap::from([(sent.source, sent.digest)])).await;
        let place = machine.host.keep(1).await;
        // Nothing but the report comes.
        assert_eq!(crate::peer::place_of(&session.report().await), place);
        session.acknowledge(place).await;
        drop(session);

        let mut session = peer.session().await;
        let other = ListingDigest([7; 32]);
        let stale = [(sent.source, other), (ListingSource::IptablesLegacy, other)];
        session.welcome_with(Some(place), BTreeMap::from(stale)).await;
        assert_eq!(listing(&mut session).await.0, sent);
        let Message::NoListing(gone) = session.next().await else { panic!("there is none") };
        assert_eq!(gone.why, "");
    });
}

#[test]
fn reports_pass_a_long_listing() {
    in_namespace(|| async {
        let ca = Arc::new(Ca::new());
        let mut peer = Peer::start(&ca).await;
        let host = Host::start(&ca, peer.address, DAY, roomy());
        let parts = 200;
        host.listings.list(PackedListing {
            source: ListingSource::Nftables,
            digest: ListingDigest([1; 32]),
            ruleset: String::new(),
            length: 1,
            text_digest: [0; 32],
            octets: vec![7; parts * MAX_LISTING_PART].into(),
        });
        let mut session = peer.session().await;
        session.welcome(None).await;
        let Message::ListingPart(first) = session.next().await else { panic!("a part") };
        assert_eq!((first.part, first.parts as usize), (0, parts));
        host.keep(1).await;
        let (mut reported, mut last) = (None, 0);
        while last + 1 < parts {
            match session.next().await {
                Message::ListingPart(part) => last = part.part as usize,
                Message::Report(_) => reported = Some(last),
                other => panic!("{other:?}"),
            }
        }
        assert!(reported.is_some_and(|at| at < parts - 2), "{reported:?}");
    });
}

#[test]
fn what_nft_does_not_print_comes_from_iptables_save_and_from_the_kernel() {
    in_namespace(|| async {
        let iptables = "*filter\n:INPUT ACCEPT [0:0]\n\
            -A INPUT -m conntrack --ctstate INVALID -m comment --comment oa-17 -j DROP\nCOMMIT\n";
        nft(
            "table ip asleep { flags dormant; chain c { type filter hook input priority 0; policy drop; }; }",
        );
        fed("iptables-nft-restore", &["-n"], iptables);
        fed("iptables-legacy-restore", &["-n"], iptables);
        let ca = Arc::new(Ca::new());
        let mut peer = Peer::start(&ca).await;
        let mut machine = Machine::start(&ca, &peer);
        let facts = machine.read().await;
        let mut session = peer.session().await;
        session.welcome(None).await;
        let mut listings = BTreeMap::new();
        while listings.len() < 3 {
            let (packed, text) = listing(&mut session).await;
            listings.insert(packed.source, (packed.ruleset, text));
        }
        for (source, filter, part) in [
            (ListingSource::Nftables, "nftables", "\"flags\": [\"dormant\"]"),
            (ListingSource::IptablesNft, "nftables", "oa-17"),
            (ListingSource::IptablesLegacy, "iptables-legacy", "oa-17"),
        ] {
            let (of, text) = &listings[&source];
            assert_eq!(*of, ruleset(&facts, filter).digest, "{source}");
            assert!(text.contains(part), "{source}:\n{text}");
        }
        let read = bailey_rules::model::nft::parse(&listings[&ListingSource::Nftables].1);
        let read = read.unwrap();
        assert!(read.tables.iter().any(|table| table.name == "asleep" && table.dormant));
        // Of the legacy tables nobody tells; the same ones are not sent again.
        let digest = machine.host.listings.digest(ListingSource::IptablesLegacy);
        machine.read().await;
        assert_eq!(machine.host.listings.digest(ListingSource::IptablesLegacy), digest);
    });
}

#[test]
fn a_listing_that_is_too_long_is_told_with_its_reason() {
    in_namespace(|| async {
        let long = vec!["x"; MAX_LISTING + 1].concat();
        let digest = ListingDigest([0; 32]);
        let why = PackedListing::pack(ListingSource::Nftables, digest, "", &long).unwrap_err();
        let ca = Arc::new(Ca::new());
        let mut peer = Peer::start(&ca).await;
        let host = Host::start(&ca, peer.address, DAY, roomy());
        host.listings.unlist(ListingSource::Nftables, &why.to_string());
        let mut session = peer.session().await;
        session.welcome(None).await;
        let Message::NoListing(none) = session.next().await else { panic!("there is none") };
        assert_eq!(none.why, "the listing has 16777217 octets; at most 16777216 are sent");
    });
}
