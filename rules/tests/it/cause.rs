//! Who is silent because somebody else is; held against the plainest way to see it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bailey_rules::fact::links::Mac;
use bailey_rules::time::Timestamp;
use bailey_rules::topology::cause::{Answer, Cause, Graph};
use bailey_rules::topology::guard::{Behind, MAX_BEHIND, Refusal, behind};
use bailey_rules::topology::{Asset, Attachment, Confidence, End, Link, Topology, Whereabouts};
use proptest::prelude::*;
use proptest::sample::Index;

const START: Timestamp = Timestamp::from_seconds(1_790_000_000);

fn after(seconds: u64) -> Timestamp {
    START + Duration::from_secs(seconds)
}

fn device(name: &str) -> Asset {
    Asset::Device(name.parse().unwrap())
}

fn host(name: &str) -> Asset {
    Asset::Host(name.parse().unwrap())
}

fn end(name: &str) -> End {
    End { device: name.parse().unwrap(), port: Some(1) }
}

/// Devices linked as written, and hosts behind devices.
fn wired(links: &[(&str, &str)], hosts: &[(&str, &str)]) -> Topology {
    let link = |(one, other): &(&str, &str)| Link {
        ends: [end(one), end(other)],
        confidence: Confidence::High,
        evidence: Vec::new(),
        shared: false,
    };
    let place = |(name, at): &(&str, &str)| Attachment {
        asset: host(name),
        mac: Mac([0; 6]),
        device: at.parse().unwrap(),
        port: 2,
        vlan: None,
        confidence: Confidence::High,
        evidence: Vec::new(),
        others: 0,
    };
    Topology {
        links: links.iter().map(link).collect(),
        attachments: hosts.iter().map(place).collect(),
        ..Topology::default()
    }
}

/// Every device of a topology passes packets on.
fn graph(topology: &Topology) -> Graph {
    let ends = topology.links.iter().flat_map(|link| &link.ends).map(|end| end.device.clone());
    let at = topology.attachments.iter().map(|place| place.device.clone());
    Graph::new(topology, &ends.chain(at).collect())
}

/// Two cores, a second level on both, a floor below it with three hosts.
fn site() -> Topology {
    wired(
        &[
            ("core-1", "core-2"),
            ("core-1", "sw-b"),
            ("core-2", "sw-b"),
            ("sw-b", "sw-b-2"),
            ("core-2", "sw-c"),
        ],
        &[("collector", "core-1"), ("oa-1", "sw-b-2"), ("oa-2", "sw-b-2"), ("oa-3", "sw-c")],
    )
}

fn collector() -> BTreeSet<Asset> {
    BTreeSet::from([host("collector")])
}

/// Everybody was heard at `at`, but those who are silent since then.
fn answers(at: Timestamp, silent: &[(Asset, Timestamp)]) -> BTreeMap<Asset, Answer> {
    let devices = ["core-1", "core-2", "sw-b", "sw-b-2", "sw-c"].map(device);
    let hosts = ["oa-1", "oa-2", "oa-3"].map(host);
    let all = devices.into_iter().chain(hosts);
    let mut answers: BTreeMap<Asset, Answer> =
        all.map(|asset| (asset, Answer::Heard { at })).collect();
    answers.extend(
        silent.iter().map(|(asset, since)| (asset.clone(), Answer::Silent { since: *since })),
    );
    answers
}

#[test]
fn what_hangs_on_a_dead_switch_is_behind_it_and_only_the_switch_is_the_cause() {
    let silent = [device("sw-b-2"), host("oa-1"), host("oa-2")].map(|asset| (asset, after(60)));
    let causes = graph(&site()).causes(&collector(), &answers(after(120), &silent));
    let behind = Cause::Behind(vec![device("sw-b-2")]);
    assert_eq!(
        causes,
        BTreeMap::from([
            (device("sw-b-2"), Cause::Root),
            (host("oa-1"), behind.clone()),
            (host("oa-2"), behind.clone()),
        ])
    );
    assert_eq!(behind.text().unwrap().en, "behind sw-b-2");
    assert_eq!(behind.text().unwrap().zh, "位于 sw-b-2 之后");
}

#[test]
fn who_has_another_way_is_not_behind_the_dead_one() {
    let silent = [(device("core-2"), after(60)), (device("sw-b"), after(60))];
    let causes = graph(&site()).causes(&collector(), &answers(after(120), &silent));
    // Through the other core sw-b could be reached: its silence is its own.
    assert!(causes.values().all(|cause| *cause == Cause::Root), "{causes:?}");
    let silent =
        [(device("core-2"), after(60)), (device("sw-c"), after(60)), (host("oa-3"), after(60))];
    let causes = graph(&site()).causes(&collector(), &answers(after(120), &silent));
    assert_eq!(causes[&host("oa-3")], Cause::Behind(vec![device("core-2")]));
    assert_eq!(causes[&device("sw-c")], Cause::Behind(vec![device("core-2")]));
}

#[test]
fn who_is_cut_off_by_two_is_behind_both() {
    let mut topology = site();
    // The collector is on both cores.
    topology
        .attachments
        .push(Attachment { device: "core-2".parse().unwrap(), ..topology.attachments[0].clone() });
    let devices = ["core-1", "core-2", "sw-b", "sw-b-2", "sw-c"].map(device);
    let all = devices.into_iter().chain(["oa-1", "oa-2", "oa-3"].map(host));
    let silent: Vec<(Asset, Timestamp)> = all.map(|asset| (asset, after(60))).collect();
    let causes = graph(&topology).causes(&collector(), &answers(after(120), &silent));
    let both = Cause::Behind(vec![device("core-1"), device("core-2")]);
    assert_eq!(causes[&device("sw-b")], both);
    assert_eq!(causes[&host("oa-1")], both);
    assert_eq!(causes[&host("oa-3")], Cause::Behind(vec![device("core-2")]));
    assert_eq!(causes[&device("core-1")], Cause::Root);
}

#[test]
fn a_switch_that_still_passes_packets_is_no_excuse() {
    // The switch does not answer any more; one host behind it does, the other does not.
    let silent = [(device("sw-b-2"), after(60)), (host("oa-1"), after(90))];
    let causes = graph(&site()).causes(&collector(), &answers(after(120), &silent));
    assert_eq!(causes[&device("sw-b-2")], Cause::Root);
    assert_eq!(causes[&host("oa-1")], Cause::Root);
    // Heard before the switch fell silent: that shows nothing.
    let mut before = answers(after(120), &silent);
    before.insert(host("oa-2"), Answer::Heard { at: after(50) });
    let causes = graph(&site()).causes(&collector(), &before);
    assert_eq!(causes[&host("oa-1")], Cause::Behind(vec![device("sw-b-2")]));
}

#[test]
fn a_host_waits_until_its_switch_was_asked_again() {
    let silent = [(host("oa-1"), after(80))];
    let causes = graph(&site()).causes(&collector(), &answers(after(60), &silent));
    let waits = Cause::Waiting(vec![device("sw-b-2")]);
    assert_eq!(causes[&host("oa-1")], waits);
    assert_eq!(waits.text().unwrap().en, "perhaps behind sw-b-2, which is asked next");
    let causes = graph(&site()).causes(&collector(), &answers(after(90), &silent));
    assert_eq!(causes[&host("oa-1")], Cause::Root);
    // A switch that is never asked is not waited for.
    let mut unasked = answers(after(60), &silent);
    unasked.remove(&device("sw-b-2"));
    assert_eq!(graph(&site()).causes(&collector(), &unasked)[&host("oa-1")], Cause::Root);
}

#[test]
fn nobody_is_excused_by_a_link_that_is_only_guessed_or_by_a_host() {
    let mut topology = site();
    for place in &mut topology.attachments {
        place.confidence = Confidence::Low;
    }
    let silent = [(device("sw-b-2"), after(60)), (host("oa-1"), after(60))];
    let from = BTreeSet::from([device("core-1")]);
    let causes = graph(&topology).causes(&from, &answers(after(120), &silent));
    assert_eq!(causes[&host("oa-1")], Cause::Root);
    // A host with two cards is no way around.
    let mut two_cards = site();
    two_cards
        .attachments
        .push(Attachment { device: "sw-c".parse().unwrap(), ..two_cards.attachments[1].clone() });
    let silent = [(device("sw-b-2"), after(60)), (host("oa-2"), after(60))];
    let causes = graph(&two_cards).causes(&collector(), &answers(after(120), &silent));
    assert_eq!(causes[&host("oa-2")], Cause::Behind(vec![device("sw-b-2")]));
}

#[test]
fn without_a_place_for_the_collector_everybody_is_silent_for_himself() {
    let silent = [device("sw-b-2"), host("oa-1")].map(|asset| (asset, after(60)));
    let causes = graph(&site()).causes(&BTreeSet::new(), &answers(after(120), &silent));
    assert!(causes.values().all(|cause| *cause == Cause::Root));
}

#[test]
fn where_a_silent_one_hung_is_remembered_until_it_is_seen_again() {
    let before = site();
    let silent = BTreeSet::from([device("sw-b-2"), host("oa-1")]);
    // The tables have forgotten both.
    let mut after = site();
    after.links.retain(|link| link.ends[1].device.as_str() != "sw-b-2");
    after.attachments.retain(|place| place.asset == host("collector"));
    let kept = after.clone().remembering(&before, &silent);
    assert_eq!(kept.links.len(), before.links.len());
    assert_eq!(kept.place_of(&host("oa-1")).unwrap().device.as_str(), "sw-b-2");
    assert_eq!(kept.place_of(&host("oa-2")), None, "it is not silent: it has moved");
    assert_eq!(after.clone().remembering(&before, &BTreeSet::new()), after);
    // What is known now counts before what was.
    let mut moved = after.clone();
    let place = before.place_of(&host("oa-1")).unwrap().clone();
    moved.attachments.push(Attachment { device: "sw-c".parse().unwrap(), ..place });
    let kept = moved.remembering(&before, &silent);
    assert_eq!(kept.place_of(&host("oa-1")).unwrap().device.as_str(), "sw-c");
}

#[test]
fn a_port_is_switched_off_only_where_one_desk_is_behind_it() {
    let mac = |last: usize| Mac([0x52, 0x54, 0, 0, 0, u8::try_from(last).unwrap()]);
    let mut topology = site();
    for (nth, place) in topology.attachments.iter_mut().enumerate() {
        place.mac = mac(nth);
        place.port = 10 + u32::try_from(nth).unwrap();
    }
    let crowd = (0..=MAX_BEHIND).map(|nth| Whereabouts {
        mac: mac(100 + nth),
        zone: "inner".parse().unwrap(),
        device: "sw-c".parse().unwrap(),
        port: 20,
        vlan: None,
        edge: true,
    });
    topology.whereabouts = crowd.collect();
    let ask = |name: &str, port| {
        behind(&topology, &collector(), &[mac(77)], &name.parse().unwrap(), port)
    };
    let desk = ask("sw-b-2", 11).unwrap();
    assert_eq!((desk.assets, desk.macs), ([host("oa-1")].into(), [mac(1)].into()));
    assert_eq!(ask("sw-b-2", 40), Ok(Behind::default()), "nobody is there");
    assert_eq!(ask("sw-b-2", 1), Err(Refusal::LeadsTo("sw-b".parse().unwrap())));
    assert_eq!(ask("core-1", 10), Err(Refusal::Collector));
    assert_eq!(ask("sw-c", 20), Err(Refusal::Many(MAX_BEHIND + 1)));
    let own = behind(&topology, &BTreeSet::new(), &[mac(1)], &"sw-b-2".parse().unwrap(), 11);
    assert_eq!(own, Err(Refusal::Collector), "the collector's machine has no agent");
    // Even a link that is only guessed keeps a port on.
    topology.links[0].confidence = Confidence::Low;
    topology.links[0].ends[0].port = None;
    let guessed = behind(&topology, &collector(), &[], &"core-1".parse().unwrap(), 30);
    assert!(matches!(guessed, Err(Refusal::LeadsTo(_))), "{guessed:?}");
}

/// A net of devices by number, with the collector at the first.
#[derive(Debug, Clone)]
struct Net {
    count: usize,
    links: BTreeSet<(usize, usize)>,
}

fn net() -> impl Strategy<Value = Net> {
    let up = prop::collection::vec(any::<Index>(), 1..16);
    let more = prop::collection::vec((any::<Index>(), any::<Index>()), 0..6);
    (up, more).prop_map(|(up, more)| {
        let count = up.len() + 1;
        let mut links = BTreeSet::new();
        for (at, up) in up.iter().enumerate() {
            links.insert((up.index(at + 1), at + 1));
        }
        for (one, other) in more {
            let (one, other) = (one.index(count), other.index(count));
            if one != other {
                links.insert((one.min(other), one.max(other)));
            }
        }
        Net { count, links }
    })
}

impl Net {
    fn name(at: usize) -> Asset {
        device(&format!("sw-{at}"))
    }

    fn graph(&self) -> Graph {
        let names: Vec<(String, String)> =
            self.links.iter().map(|(a, b)| (format!("sw-{a}"), format!("sw-{b}"))).collect();
        let links: Vec<(&str, &str)> =
            names.iter().map(|(a, b)| (a.as_str(), b.as_str())).collect();
        graph(&wired(&links, &[]))
    }

    /// What the first reaches without passing through those.
    fn reached(&self, without: &BTreeSet<usize>) -> BTreeSet<usize> {
        let mut reached = BTreeSet::from([0]);
        loop {
            let near = |at: &usize| {
                self.links.iter().any(|(a, b)| {
                    (a == at && reached.contains(b)) || (b == at && reached.contains(a))
                })
            };
            let next = (0..self.count)
                .find(|at| !reached.contains(at) && !without.contains(at) && near(at));
            match next {
                Some(at) => reached.insert(at),
                None => return reached,
            };
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    #[test]
    fn every_silent_one_is_a_cause_or_behind_one_and_no_cause_is_too_many(
        net in net(),
        dead in prop::collection::vec(any::<Index>(), 0..5),
    ) {
        // Who is dead takes with him everybody that has no other way.
        let dead: BTreeSet<usize> =
            dead.iter().map(|at| at.index(net.count)).filter(|at| *at != 0).collect();
        let reached = net.reached(&dead);
        let silent: BTreeSet<usize> = (0..net.count).filter(|at| !reached.contains(at)).collect();
        let answers: BTreeMap<Asset, Answer> = (0..net.count)
            .map(|at| {
                let answer = if silent.contains(&at) {
                    Answer::Silent { since: after(60) }
                } else {
                    Answer::Heard { at: after(60) }
                };
                (Net::name(at), answer)
            })
            .collect();
        let causes = net.graph().causes(&BTreeSet::from([Net::name(0)]), &answers);
        let names: BTreeSet<Asset> = silent.iter().map(|at| Net::name(*at)).collect();
        prop_assert_eq!(causes.keys().cloned().collect::<BTreeSet<_>>(), names);
        let roots: BTreeSet<usize> =
            silent.iter().copied().filter(|at| causes[&Net::name(*at)] == Cause::Root).collect();
        // The causes are dead, each of them; they alone explain all the silence; and without any one
        // of them somebody would be heard again.
        prop_assert!(roots.is_subset(&dead), "{:?} {:?}", roots, dead);
        prop_assert_eq!(&net.reached(&roots), &reached);
        for root in &roots {
            let mut others = roots.clone();
            others.remove(root);
            prop_assert!(net.reached(&others).contains(root));
        }
        for at in silent.difference(&roots) {
            let Cause::Behind(named) = &causes[&Net::name(*at)] else {
                return Err(TestCaseError::fail("neither a cause nor behind one"));
            };
            prop_assert!(!named.is_empty());
            prop_assert!(named.iter().all(|root| causes[root] == Cause::Root));
        }
    }

    #[test]
    fn of_one_cut_there_is_one_cause(net in net(), cut in any::<Index>()) {
        let cut = 1 + cut.index(net.count - 1);
        let reached = net.reached(&BTreeSet::from([cut]));
        let answers: BTreeMap<Asset, Answer> = (0..net.count)
            .map(|at| {
                let heard = reached.contains(&at);
                let answer = if heard {
                    Answer::Heard { at: after(60) }
                } else {
                    Answer::Silent { since: after(60) }
                };
                (Net::name(at), answer)
            })
            .collect();
        let causes = net.graph().causes(&BTreeSet::from([Net::name(0)]), &answers);
        let roots: Vec<&Asset> =
            causes.iter().filter(|(_, cause)| **cause == Cause::Root).map(|(a, _)| a).collect();
        prop_assert_eq!(roots, [&Net::name(cut)]);
    }
}
