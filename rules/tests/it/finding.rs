//! Findings over time.

use std::collections::BTreeMap;
use std::time::Duration;

use bailey_rules::check::{Absence, CHECKS, Judged, State, Status};
use bailey_rules::fact::links::LinkKind;
use bailey_rules::fact::{FactKind, ProbeName};
use bailey_rules::finding::{Change, Finding, Severity, advance, identity};
use bailey_rules::name::{FindingId, HostKey};
use bailey_rules::unit::Bytes;
use proptest::prelude::*;

use crate::site::{GIB, HOUR, MINUTE, NOW, Site, file_system, interface, job};

/// The only change there is.
fn only(changes: Vec<Change>) -> Change {
    let [change] = <[Change; 1]>::try_from(changes).expect("one change");
    change
}

/// The open findings of a host, kept as a collector keeps them.
#[derive(Default)]
struct Journal {
    open: BTreeMap<FindingId, Finding>,
}

impl Journal {
    fn judge(&mut self, site: &Site) -> Vec<Change> {
        self.take(site, &site.judge())
    }

    fn take(&mut self, site: &Site, judged: &[Judged]) -> Vec<Change> {
        let changes = advance(&self.open, &site.view(), judged, site.now);
        for change in &changes {
            let finding = change.finding();
            match change {
                Change::Resolved(_) => {
                    assert!(finding.resolved_at.is_some());
                    assert!(self.open.remove(&finding.id).is_some());
                }
                Change::Opened(_) => {
                    assert!(self.open.insert(finding.id, finding.clone()).is_none());
                }
                Change::Changed(_) | Change::Touched(_) => {
                    assert!(self.open.insert(finding.id, finding.clone()).is_some());
                }
            }
        }
        changes
    }

    fn of(&self, check: &str) -> Option<&Finding> {
        self.open.values().find(|finding| finding.check == check)
    }
}

fn fill(site: &mut Site, free: u64) {
    let mut fs = file_system();
    fs.available = Bytes(free * GIB);
    site.set("/", fs);
}

/// Time passes and the host reports.
fn later(site: &mut Site, length: Duration) {
    site.now = site.now + length;
    site.session.last_report_at = Some(site.now);
    site.session.certificate_ends = site.now + HOUR * 20;
    for probe in site.probes.values_mut() {
        probe.read_at = site.now;
    }
}

#[test]
fn a_finding_opens_changes_severity_and_resolves_under_one_identity() {
    let (mut site, mut journal) = (Site::new(), Journal::default());
    assert!(journal.judge(&site).is_empty());

    fill(&mut site, 12);
    let Change::Opened(first) = only(journal.judge(&site)) else { panic!() };
    assert_eq!((first.severity, first.subject.as_str()), (Severity::Warning, "/"));
    assert_eq!((first.alert.as_str(), first.component.as_str()), ("BaileyFileSystemFull", "host"));

    later(&mut site, MINUTE);
    fill(&mut site, 11);
    let Change::Touched(seen) = only(journal.judge(&site)) else { panic!() };
    assert_eq!((seen.id, seen.first_at, seen.last_at), (first.id, NOW, NOW + MINUTE));
    assert!(seen.why.en.contains("11.0 GiB"));

    later(&mut site, MINUTE);
    fill(&mut site, 2);
    let Change::Changed(worse) = only(journal.judge(&site)) else { panic!() };
    assert_eq!((worse.id, worse.severity), (first.id, Severity::Critical));

    later(&mut site, MINUTE);
    fill(&mut site, 60);
    let Change::Resolved(done) = only(journal.judge(&site)) else { panic!() };
    assert_eq!((done.id, done.resolved_at), (first.id, Some(site.now)));
    assert!(journal.open.is_empty());
}

#[test]
fn a_finding_stays_when_its_data_stops() {
    let (mut site, mut journal) = (Site::new(), Journal::default());
    fill(&mut site, 2);
    journal.judge(&site);

    site.now = NOW + HOUR;
    let changes = journal.judge(&site);
    let held = journal.of("filesystem_space").unwrap();
    assert!(held.held);
    assert_eq!(held.last_at, NOW);
    assert_eq!(held.severity, Severity::Critical);
    assert!(changes.iter().all(|change| !matches!(change, Change::Resolved(_))));

    // It comes back with the disk cleaned.
    later(&mut site, MINUTE);
    fill(&mut site, 60);
    journal.judge(&site);
    assert!(journal.of("filesystem_space").is_none());
}

#[test]
fn old_facts_make_a_finding_worse_but_never_better() {
    let (mut site, mut journal) = (Site::new(), Journal::default());
    site.set("oracle-fin", job(HOUR * 30));
    journal.judge(&site);
    assert_eq!(journal.of("backup_age").unwrap().severity, Severity::Warning);
    site.now = NOW + HOUR * 30;
    journal.judge(&site);
    let worse = journal.of("backup_age").unwrap();
    assert_eq!((worse.severity, worse.held), (Severity::Critical, true));
    assert_eq!(worse.alert, "BaileyBackupMissing");
}

#[test]
fn a_backup_that_becomes_late_while_its_host_is_silent_is_a_finding() {
    let (mut site, mut journal) = (Site::new(), Journal::default());
    site.now = NOW + HOUR * 24;
    journal.judge(&site);
    let late = journal.of("backup_age").unwrap();
    assert_eq!((late.severity, late.held), (Severity::Warning, true));
}

#[test]
fn a_job_that_stops_reporting_keeps_its_finding_until_it_is_retired() {
    let (mut site, mut journal) = (Site::new(), Journal::default());
    site.set("oracle-fin", job(HOUR * 60));
    journal.judge(&site);
    assert!(journal.of("backup_age").is_some());
    site.remove(FactKind::BackupJob, "oracle-fin");
    later(&mut site, MINUTE);
    journal.judge(&site);
    assert!(journal.of("backup_age").unwrap().held);
    site.rules = "expectations: [{backup: {ignore: [oracle-fin]}}]".to_owned();
    journal.judge(&site);
    assert!(journal.of("backup_age").is_none());
}

#[test]
fn an_address_behind_an_interface_that_cannot_be_read_is_not_gone() {
    let (mut site, mut journal) = (Site::new(), Journal::default());
    site.set("eth1", interface(LinkKind::Ethernet, "e1000", &["172.20.3.4/16"]));
    journal.judge(&site);
    assert_eq!(journal.of("foreign_address").unwrap().subject, "172.20.3.4");
    later(&mut site, MINUTE);
    site.unreadable(FactKind::Interface, "eth1", "netlink said no");
    journal.judge(&site);
    assert!(journal.of("foreign_address").unwrap().held);
    later(&mut site, MINUTE);
    site.remove(FactKind::Interface, "eth1");
    journal.judge(&site);
    assert!(journal.of("foreign_address").is_none(), "the wire is out");
}

#[test]
fn a_failed_probe_resolves_nothing() {
    let (mut site, mut journal) = (Site::new(), Journal::default());
    site.set("wlan0", interface(LinkKind::Wireless, "iwlwifi", &[]));
    journal.judge(&site);
    later(&mut site, MINUTE);
    site.remove(FactKind::Interface, "wlan0");
    site.probe(ProbeName::Links).failed = Some("no netlink".to_owned());
    journal.judge(&site);
    assert!(journal.of("unexpected_interface").unwrap().held);
}

#[test]
fn findings_of_other_hosts_are_left_alone() {
    let (mut site, mut journal) = (Site::new(), Journal::default());
    fill(&mut site, 2);
    journal.judge(&site);
    let mut other = journal.open.values().next().unwrap().clone();
    other.host = HostKey::from_bytes([9; 32]);
    other.id = identity(&other.host, &other.check, &other.subject);
    journal.open.insert(other.id, other.clone());
    fill(&mut site, 60);
    journal.judge(&site);
    assert_eq!(journal.open.values().collect::<Vec<_>>(), [&other]);
}

#[test]
fn a_finding_of_a_check_that_is_no_more_resolves() {
    let (site, mut journal) = (Site::new(), Journal::default());
    let view = site.view();
    let mut site_with = Site::new();
    fill(&mut site_with, 2);
    journal.judge(&site_with);
    let mut old = journal.open.pop_first().unwrap().1;
    old.check = "check_of_an_older_version".to_owned();
    old.id = identity(&view.key, &old.check, &old.subject);
    journal.open.insert(old.id, old);
    journal.judge(&site);
    assert!(journal.open.is_empty());
}

#[test]
fn a_finding_survives_being_stored() {
    let (mut site, mut journal) = (Site::new(), Journal::default());
    fill(&mut site, 2);
    journal.judge(&site);
    let finding = journal.open.values().next().unwrap();
    let stored = serde_json::to_string(finding).unwrap();
    assert_eq!(serde_json::from_str::<Finding>(&stored).unwrap(), *finding);
}

fn any_status() -> impl Strategy<Value = Status> {
    prop::sample::select(vec![Status::Ok, Status::Unknown, Status::Warning, Status::Critical])
}

/// One judgement of one check: which check, whether fresh, and for some subjects a status and
/// whether it is stale.
fn any_judgement() -> impl Strategy<Value = (usize, bool, Vec<(u8, Status, bool)>)> {
    let verdict = (0_u8..3, any_status(), any::<bool>());
    (0..CHECKS.len(), any::<bool>(), prop::collection::vec(verdict, 0..4))
}

fn judged(check: usize, fresh: bool, verdicts: &[(u8, Status, bool)]) -> Judged {
    use bailey_rules::check::Verdict;
    use bailey_rules::text::Text;
    let verdicts = verdicts
        .iter()
        .map(|&(subject, status, stale)| {
            let why = Text::new("why", "为何");
            let mut verdict = Verdict::new(format!("s{subject}"), status, why);
            verdict.stale = stale;
            verdict
        })
        .collect();
    Judged { check: &CHECKS[check], fresh, verdicts }
}

proptest! {
    #[test]
    fn a_finding_resolves_only_on_fresh_facts_that_show_its_cause_gone(
        check in 0..CHECKS.len(),
        steps in prop::collection::vec(any_judgement(), 1..12),
    ) {
        let (mut site, mut journal) = (Site::new(), Journal::default());
        for (_, fresh, verdicts) in steps {
            site.now = site.now + MINUTE;
            let result = judged(check, fresh, &verdicts);
            let before = journal.open.clone();
            let changes = journal.take(&site, std::slice::from_ref(&result));
            for change in &changes {
                let finding = change.finding();
                prop_assert_eq!(
                    finding.id,
                    identity(&finding.host, &finding.check, &finding.subject)
                );
                let told = result.verdicts.iter().find(|v| v.subject == finding.subject);
                if matches!(change, Change::Resolved(_)) {
                    prop_assert!(fresh);
                    if let Some(verdict) = told {
                            prop_assert_eq!(verdict.status, Status::Ok);
                            prop_assert!(!verdict.stale);
                        } else {
                            prop_assert_eq!(CHECKS[check].absence, Absence::Resolves);
                            prop_assert!(
                                result.verdicts.iter().all(|v| v.status != Status::Unknown)
                            );
                    }
                }
                if let Some(old) = before.get(&finding.id) {
                    prop_assert_eq!(old.first_at, finding.first_at);
                    let fresh_here = fresh && told.is_none_or(|verdict| !verdict.stale);
                    if finding.severity < old.severity {
                        prop_assert!(fresh_here);
                    }
                    if finding.last_at > old.last_at {
                        prop_assert!(fresh_here && !finding.held);
                    }
                }
            }
        }
    }

    #[test]
    fn the_same_judgement_twice_opens_and_resolves_nothing_new(
        (check, fresh, verdicts) in any_judgement(),
    ) {
        let (mut site, mut journal) = (Site::new(), Journal::default());
        let result = judged(check, fresh, &verdicts);
        journal.take(&site, std::slice::from_ref(&result));
        let open: Vec<FindingId> = journal.open.keys().copied().collect();
        site.now = site.now + MINUTE;
        for change in journal.take(&site, std::slice::from_ref(&result)) {
            prop_assert!(matches!(change, Change::Touched(_)), "{:?}", change);
        }
        prop_assert_eq!(open, journal.open.keys().copied().collect::<Vec<_>>());
    }

    #[test]
    fn no_silence_of_any_length_turns_a_host_ok_or_resolves_a_finding(minutes in 3_u32..100_000) {
        let (mut site, mut journal) = (Site::new(), Journal::default());
        fill(&mut site, 2);
        site.set("wlan0", interface(LinkKind::Wireless, "iwlwifi", &[]));
        journal.judge(&site);
        let open = journal.open.len();
        site.now = site.now + MINUTE * minutes;
        let changes = journal.judge(&site);
        prop_assert!(changes.iter().all(|change| !matches!(change, Change::Resolved(_))));
        prop_assert!(journal.open.len() > open, "the silence itself is a finding");
        prop_assert!(bailey_rules::check::worst(&site.judge()) > State::Ok);
    }
}
