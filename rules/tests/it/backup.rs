//! Checks of backups.

use bailey_rules::fact::backup::{Job, Repository};
use bailey_rules::fact::{FactKind, ProbeName};
use bailey_rules::unit::Bytes;

use crate::site::{GIB, HOUR, MINUTE, NOW, Site, found, job, repository, why};

fn rules(backup: &str) -> String {
    format!("expectations: [{{backup: {backup}}}]")
}

#[test]
fn a_copy_is_late_after_its_age_and_missing_after_twice_that() {
    let check = |age| found("backup_age", |site| site.set("oracle-fin", job(age)));
    assert_eq!(check(HOUR * 26), "ok");
    assert_eq!(check(HOUR * 26 + MINUTE), "oracle-fin: warning");
    assert_eq!(check(HOUR * 52), "oracle-fin: warning");
    assert_eq!(check(HOUR * 52 + MINUTE), "oracle-fin: critical");
}

#[test]
fn a_backup_grows_old_with_no_report_at_all() {
    let said = found("backup_age", |site| site.now = NOW + HOUR * 30);
    assert_eq!(said, "oracle-fin: warning");
}

#[test]
fn a_failed_run_does_not_make_the_copy_before_it_younger() {
    let failed = |site: &mut Site| {
        let mut last = job(HOUR);
        last.success = false;
        last.message = "repository is locked".to_owned();
        last.last_success_at = Some(NOW - HOUR * 60);
        site.set("oracle-fin", last);
    };
    assert_eq!(found("backup_age", failed), "oracle-fin: critical");
    assert_eq!(found("backup_result", failed), "oracle-fin: warning");
    assert!(why("backup_result", failed).contains("repository is locked"));
}

#[test]
fn a_job_that_never_worked_was_never_backed_up() {
    let said = found("backup_age", |site| {
        site.set("oracle-fin", Job { last_success_at: None, success: false, ..job(HOUR) });
    });
    assert_eq!(said, "oracle-fin: critical");
}

#[test]
fn a_demanded_job_that_never_reported_is_critical() {
    let demanded = |site: &mut Site| site.rules = rules("{jobs: {home: {max_age: 7 d}}}");
    assert_eq!(found("backup_age", demanded), "home: critical");
    assert!(why("backup_age", demanded).contains("never backed up"));
}

#[test]
fn a_job_has_its_own_age_where_the_rules_give_one() {
    let check = |age| {
        found("backup_age", |site| {
            site.rules = rules("{jobs: {oracle-fin: {max_age: 7 d}}}");
            site.set("oracle-fin", job(age));
        })
    };
    assert_eq!(check(HOUR * 24 * 7), "ok");
    assert_eq!(check(HOUR * 24 * 8), "oracle-fin: warning");
}

#[test]
fn what_a_repository_holds_counts_before_what_the_job_says() {
    let said = found("backup_age", |site| {
        site.set("oracle-fin", job(HOUR));
        site.set("oracle-fin", repository(HOUR * 60, &[GIB]));
    });
    assert_eq!(said, "oracle-fin: critical");
    let empty = found("backup_age", |site| site.set("oracle-fin", repository(HOUR, &[])));
    assert_eq!(empty, "oracle-fin: critical");
}

#[test]
fn a_repository_that_cannot_be_read_is_unknown_unless_the_job_itself_is_late() {
    let check = |age| {
        found("backup_age", |site| {
            site.set("oracle-fin", job(age));
            site.unreadable(FactKind::BackupRepository, "oracle-fin", "wrong password");
        })
    };
    assert_eq!(check(HOUR), "oracle-fin: unknown");
    assert_eq!(check(HOUR * 60), "oracle-fin: critical");
}

#[test]
fn a_copy_from_the_future_has_no_age() {
    let check = |ahead| {
        found("backup_age", |site| {
            let mut last = job(HOUR);
            last.last_success_at = Some(NOW + ahead);
            site.set("oracle-fin", last);
        })
    };
    assert_eq!(check(MINUTE), "ok");
    assert_eq!(check(HOUR * 24 * 365), "oracle-fin: unknown");
}

#[test]
fn ages_are_measured_by_the_collectors_clock() {
    let said = found("backup_age", |site| {
        // The host's clock is two days ahead, and so is the time in its status file.
        site.session.clock_ahead_millis = Some(48 * 3_600_000);
        let mut last = job(HOUR);
        last.last_success_at = Some(NOW + HOUR * 18);
        site.set("oracle-fin", last);
    });
    assert_eq!(said, "oracle-fin: warning");
}

#[test]
fn jobs_that_cannot_be_listed_are_unknown_even_the_demanded_ones() {
    let blind = |site: &mut Site| {
        site.remove(FactKind::BackupJob, "oracle-fin");
        site.unreadable(FactKind::BackupJob, "", "permission denied");
        site.rules = rules("{jobs: {home: {}}}");
    };
    assert_eq!(found("backup_age", blind), "home: unknown, : unknown");
    let failed = |site: &mut Site| {
        site.remove(FactKind::BackupJob, "oracle-fin");
        site.probe(ProbeName::Backup).failed = Some("no drop directory".to_owned());
        site.rules = rules("{jobs: {home: {}}}");
    };
    assert_eq!(found("backup_age", failed), "home: unknown, : unknown");
}

#[test]
fn a_retired_job_is_well_however_old_its_copy() {
    for check in ["backup_age", "backup_result", "backup_size"] {
        let said = found(check, |site| {
            let mut last = job(HOUR * 1000);
            last.success = false;
            last.sizes = vec![Bytes(0)];
            site.set("oracle-fin", last);
            site.rules = rules("{ignore: [oracle-fin]}");
        });
        assert_eq!(said, "ok", "{check}");
    }
}

#[test]
fn a_host_without_any_backup_is_a_warning() {
    let none = |site: &mut Site| site.remove(FactKind::BackupJob, "oracle-fin");
    assert_eq!(found("backup_present", none), ": warning");
    let blind = found("backup_present", |site| {
        none(site);
        site.unreadable(FactKind::BackupJob, "", "permission denied");
    });
    assert_eq!(blind, ": unknown");
    let off = found("backup_present", |site| {
        none(site);
        site.rules = rules("{present: off}");
    });
    assert_eq!(off, "not judged");
}

#[test]
fn a_copy_far_from_the_usual_size_is_odd_and_an_empty_one_critical() {
    let check = |sizes: &[u64]| {
        found("backup_size", |site| {
            site.remove(FactKind::BackupJob, "oracle-fin");
            site.set("main", repository(HOUR, sizes));
        })
    };
    assert_eq!(check(&[100, 100, 100, 100]), "ok");
    assert_eq!(check(&[50, 100, 100, 100]), "ok");
    assert_eq!(check(&[49, 100, 100, 100]), "main: warning");
    assert_eq!(check(&[300, 100, 100, 100]), "ok");
    assert_eq!(check(&[301, 100, 100, 100]), "main: warning");
    assert_eq!(check(&[0, 100]), "main: critical");
    assert_eq!(check(&[1, 100, 100]), "ok", "two copies have no median");
    assert_eq!(check(&[60, 100, 100, 5000]), "ok", "one odd copy in the past does not count");
    assert_eq!(check(&[u64::MAX, 1, 1, 1]), "main: warning");
    assert_eq!(check(&[]), "not judged");
}

#[test]
fn the_number_of_files_is_watched_too() {
    let check = |files: &[Option<u64>]| {
        found("backup_size", |site| {
            site.remove(FactKind::BackupJob, "oracle-fin");
            let mut held: Repository = repository(HOUR, &vec![GIB; files.len()]);
            for (copy, files) in held.newest.iter_mut().zip(files) {
                copy.files = *files;
            }
            site.set("main", held);
        })
    };
    assert_eq!(check(&[Some(10), Some(100), Some(100), Some(100)]), "main: warning");
    assert_eq!(check(&[Some(0), None]), "main: critical");
    assert_eq!(check(&[None, Some(100), Some(100), Some(100)]), "ok");
}
