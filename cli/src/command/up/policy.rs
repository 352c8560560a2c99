//! The policy at the first start, and the zone of this machine in it at every start.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::path::Path;

use bailey_rules::name::{HostName, ZoneName};
use bailey_rules::policy::Policy;
use ipnet::IpNet;

use crate::command::policy::read;
use crate::exit::{Exit, Failure};
use crate::this_host;

/// The zone that a first policy has when nobody says otherwise.
const FIRST_ZONE: &str = "inner";

/// Reads the policy at `path`; where there is none, writes one whose zone holds the networks that
/// this machine is connected to right now.
///
/// # Errors
/// When the file cannot be read or written, or is wrong.
pub(super) fn present(path: &Path, zone: Option<&ZoneName>) -> Result<Policy, Failure> {
    let shown = path.display().to_string();
    let cannot = |why: &dyn std::fmt::Display| {
        Failure::error(format!("cannot read {shown}: {why}"), format!("无法读取 {shown}：{why}"))
    };
    if !path.try_exists().map_err(|e| cannot(&e))? {
        write_first(path, zone)?;
    }
    read(path)
}

/// Written whole under another name first, so that no half of it is ever read.
fn write_first(path: &Path, zone: Option<&ZoneName>) -> Result<(), Failure> {
    let first: ZoneName = FIRST_ZONE.parse().expect("the first zone's name is well formed");
    let site = this_host::site(&this_host::name());
    let networks = this_host::networks().unwrap_or_default();
    let text = Policy::for_this_host(&site, zone.unwrap_or(&first), &networks);
    let new = path.with_extension("yaml.new");
    let write = || -> std::io::Result<()> {
        let mut file = std::fs::File::create(&new)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        std::fs::rename(&new, path)
    };
    write().map_err(|e| {
        let path = path.display();
        Failure::error(format!("cannot write {path}: {e}"), format!("无法写入 {path}：{e}"))
    })
}

/// The zone that this machine belongs to: the one asked for, or the one the policy puts it into, or
/// the one its addresses lie in, or the only one there is.
///
/// # Errors
/// When that does not say one zone.
pub(super) fn zone_of_this_host(
    policy: &Policy,
    host: &HostName,
    asked_for: Option<&ZoneName>,
) -> Result<ZoneName, Failure> {
    let networks = this_host::networks().unwrap_or_default();
    zone_of(policy, host, asked_for, &networks)
}

fn zone_of(
    policy: &Policy,
    host: &HostName,
    asked_for: Option<&ZoneName>,
    networks: &[IpNet],
) -> Result<ZoneName, Failure> {
    if let Some(zone) = asked_for {
        return Ok(zone.clone());
    }
    if let Some(entry) = policy.hosts.get(host) {
        return Ok(entry.zone.clone());
    }
    let touched: BTreeSet<&ZoneName> =
        networks.iter().filter_map(|network| policy.zone_of(network.addr())).collect();
    let candidates: Vec<&ZoneName> = if touched.is_empty() {
        policy.zones.keys().collect()
    } else {
        touched.into_iter().collect()
    };
    match candidates.as_slice() {
        [zone] => Ok((*zone).clone()),
        several => {
            let several: Vec<&str> = several.iter().map(|zone| zone.as_str()).collect();
            let several = several.join(", ");
            Err(Failure::new(
                Exit::Usage,
                format!("which zone is this machine in? say --zone ZONE (zones: {several})"),
                format!("无法判断本机所在的安全域；请用 --zone 指定（安全域：{several}）"),
            ))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const POLICY: &str = "\
site: jiaxing
zones:
  inner: {networks: [10.1.0.0/16]}
  outer: {networks: [172.20.0.0/16]}
";

    fn check(policy: &str, asked_for: Option<&str>, networks: &[&str], expect: Option<&str>) {
        let policy = Policy::parse("policy.yaml", policy).unwrap();
        let asked_for = asked_for.map(|zone| zone.parse().unwrap());
        let networks: Vec<IpNet> = networks.iter().map(|net| net.parse().unwrap()).collect();
        let host = "oa-17".parse().unwrap();
        let found = zone_of(&policy, &host, asked_for.as_ref(), &networks);
        assert_eq!(found.ok().as_ref().map(ZoneName::as_str), expect);
    }

    #[test]
    fn a_machine_is_in_the_zone_of_its_networks() {
        check(POLICY, None, &["10.1.7.0/24", "192.168.0.0/24"], Some("inner"));
        check(POLICY, None, &["172.20.0.0/24"], Some("outer"));
    }

    #[test]
    fn a_machine_between_two_zones_must_be_told() {
        check(POLICY, None, &["10.1.7.0/24", "172.20.0.0/24"], None);
        check(POLICY, Some("outer"), &["10.1.7.0/24", "172.20.0.0/24"], Some("outer"));
    }

    #[test]
    fn a_machine_that_the_policy_names_is_where_the_policy_says() {
        let named = format!("{POLICY}hosts: {{oa-17: {{zone: outer, addresses: [172.20.0.9]}}}}\n");
        check(&named, None, &["10.1.7.0/24"], Some("outer"));
    }

    #[test]
    fn a_machine_in_none_of_the_networks_is_in_the_only_zone() {
        check(POLICY, None, &["192.168.0.0/24"], None);
        check("site: a\nzones:\n  inner: {networks: [10.1.0.0/16]}\n", None, &[], Some("inner"));
    }

    #[test]
    fn the_first_policy_is_a_good_one_and_is_never_written_over() {
        let state = tempfile::tempdir().unwrap();
        let zone: ZoneName = "office".parse().unwrap();
        let path = state.path().join("policy.yaml");
        let first = present(&path, Some(&zone)).unwrap();
        assert_eq!(first.zones.keys().collect::<Vec<_>>(), [&zone]);
        std::fs::write(&path, POLICY).unwrap();
        let second = present(&path, Some(&zone)).unwrap();
        assert_eq!(second.zones.len(), 2);
        assert_eq!(std::fs::read_to_string(&path).unwrap(), POLICY);
    }

    #[test]
    fn a_wrong_policy_is_told_with_its_place() {
        let state = tempfile::tempdir().unwrap();
        let path = state.path().join("policy.yaml");
        std::fs::write(&path, "site: a\nzone: {}\n").unwrap();
        let failure = present(&path, None).unwrap_err();
        assert!(failure.words.en.contains("policy.yaml:2:"), "{}", failure.words.en);
    }
}
