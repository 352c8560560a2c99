//! What a new policy does to one host: its mode, the connections that it may no more or may now open
//! and take, those of them that were really seen, and whether it can still be reached.

use std::collections::BTreeSet;
use std::net::IpAddr;

use ipnet::IpNet;
use serde::Serialize;

use super::{Changes, Piece, changes};
use crate::fact::flows::SeenFlow;
use crate::host::Connection;
use crate::name::{HostName, ZoneName};
use crate::policy::{
    Addresses, Carried, Mode, OnDrift, Opening, Origin, Party, Permit, Policy, counts,
};

/// A host as it is known.
#[derive(Debug, Clone, Copy)]
pub struct KnownHost<'a> {
    /// Its name.
    pub host: &'a HostName,
    /// The zone that it was enrolled into; the policy's word is the last where it names the host.
    pub zone: &'a ZoneName,
    /// The connection over which its agent reports, while it does.
    pub connection: Option<Connection>,
    /// The connections that it has seen.
    pub seen: &'a [SeenFlow],
}

/// What it is under the old policy and under the new one; `None`: there was none before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Change<T> {
    /// Before.
    pub from: Option<T>,
    /// After.
    pub to: T,
}

impl<T: PartialEq> Change<T> {
    /// Whether it is not as it was.
    pub fn is_one(&self) -> bool {
        self.from.as_ref() != Some(&self.to)
    }
}

/// Why a host might not be reached any more.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum LockOut {
    /// The new policy has no such zone, so that nothing can be compiled for the host.
    UnknownZone,
    /// Nobody who administers the zone has an address of a family that the host has.
    NoManagement,
    /// The host enforces, and no collector is named for its zone: its agent cannot report, and a push
    /// is never confirmed.
    NoCollector,
    /// The host enforces, and the policy does not let through the connection over which its agent
    /// reports now.
    ReportsElsewhere(Connection),
}

/// What the new policy does to one host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostPlan {
    /// The host.
    pub host: HostName,
    /// Its zone under the new policy.
    pub zone: ZoneName,
    /// Whether it enforces.
    pub mode: Change<Mode>,
    /// What happens when somebody else changes its ruleset.
    pub on_drift: Change<OnDrift>,
    /// What it may open and take.
    pub changes: Changes,
    /// Connections that it has seen, that pass now and will not. On a host that observes they still
    /// pass, and are counted.
    pub cut: Vec<SeenFlow>,
    /// Connections that it has seen and that are cut already.
    pub cut_before: usize,
    /// Why it might not be reached any more.
    pub lock_outs: Vec<LockOut>,
}

impl HostPlan {
    /// Whether anything is not as it was.
    #[must_use]
    pub fn is_change(&self) -> bool {
        self.mode.is_one() || self.on_drift.is_one() || !self.changes.is_empty()
    }
}

/// What becomes of a site when one policy takes the place of another.
#[derive(Debug)]
pub struct Outlook<'a> {
    old: Option<Side<'a>>,
    new: Side<'a>,
    /// What may be opened and could not, or could and may not, anywhere.
    pub changes: Changes,
}

#[derive(Debug)]
struct Side<'a> {
    policy: &'a Policy,
    permits: Vec<Permit>,
}

impl<'a> Side<'a> {
    fn of(policy: &'a Policy) -> Self {
        Self { policy, permits: policy.permits() }
    }

    fn allows(&self, opening: &Opening) -> bool {
        self.permits.iter().any(|permit| permit.allows(opening))
    }

    /// Whether a host drops a connection.
    fn cuts(&self, host: &HostName, zone: &ZoneName, flow: &SeenFlow) -> bool {
        if self.policy.mode_of(host, zone) == Mode::Observe {
            return false;
        }
        self.refuses(host, flow)
    }

    /// Whether a host drops or counts a connection, by its mode.
    fn refuses(&self, host: &HostName, flow: &SeenFlow) -> bool {
        let own = self.policy.hosts.get(host).map(|entry| entry.addresses.as_slice());
        let own = own.filter(|own| !own.is_empty());
        let is_own = |address| own.is_some_and(|own| own.contains(&address));
        if is_own(flow.from) && is_own(flow.to) {
            return false;
        }
        let passes_through = own.is_some() && !is_own(flow.from) && !is_own(flow.to);
        if passes_through && !self.policy.forwards(host) {
            return true;
        }
        flow.opening().is_none_or(|opening| !self.allows(&opening))
    }
}

impl<'a> Outlook<'a> {
    /// When `new` takes the place of `old`, or is the first.
    #[must_use]
    pub fn new(old: Option<&'a Policy>, new: &'a Policy) -> Self {
        let changes = match old {
            Some(old) => changes(old, new),
            None => {
                let all = new.permits();
                let added = all.iter().map(Piece::of).filter(|piece| !piece.is_empty());
                Changes { added: added.collect(), removed: Vec::new() }
            }
        };
        Self { old: old.map(Side::of), new: Side::of(new), changes }
    }

    /// Zones whose hosts enforce under the new policy, and none of whose administrators has one of
    /// these addresses: those of the machine from which the policy is pushed.
    #[must_use]
    pub fn not_managed_from(&self, addresses: &[IpAddr]) -> BTreeSet<&'a ZoneName> {
        let policy = self.new.policy;
        let enforce = |zone: &ZoneName| {
            let mut hosts = policy.hosts.values().filter(|entry| entry.zone == *zone);
            policy.zones.get(zone).is_some_and(|zone| zone.mode == Mode::Enforce)
                || hosts.any(|entry| entry.mode == Some(Mode::Enforce))
        };
        let managed = |zone: &ZoneName| {
            self.new.permits.iter().any(|permit| {
                permit.origin == Origin::Management(zone.clone())
                    && addresses.iter().any(|address| permit.from.contains(*address))
            })
        };
        policy.zones.keys().filter(|zone| enforce(zone) && !managed(zone)).collect()
    }

    /// What becomes of one host.
    #[must_use]
    pub fn of(&self, known: &KnownHost<'_>) -> HostPlan {
        let host = known.host;
        let zone = zone_of(self.new.policy, known);
        let before = self.old.as_ref().map(|old| (old, zone_of(old.policy, known)));
        let mode = Change {
            from: before.as_ref().map(|(old, zone)| old.policy.mode_of(host, zone)),
            to: self.new.policy.mode_of(host, zone),
        };
        let on_drift = Change {
            from: before.as_ref().map(|(old, zone)| old.policy.on_drift_of(host, zone)),
            to: self.new.policy.on_drift_of(host, zone),
        };
        let addresses = addresses_of(self.new.policy, known);
        let all = match &before {
            Some((old, _)) => addresses.clone().with(&addresses_of(old.policy, known)),
            None => addresses.clone(),
        };
        let cut_before =
            |flow: &SeenFlow| before.as_ref().is_some_and(|(old, zone)| old.cuts(host, zone, flow));
        let refused = known.seen.iter().filter(|flow| self.new.refuses(host, flow));
        let (already, cut): (Vec<SeenFlow>, Vec<SeenFlow>) =
            refused.copied().partition(|flow| cut_before(flow));
        HostPlan {
            host: host.clone(),
            zone: zone.clone(),
            mode,
            on_drift,
            changes: self.changes.of(&all),
            cut,
            cut_before: already.len(),
            lock_outs: self.lock_outs(known, zone, mode.to, &addresses),
        }
    }

    fn lock_outs(
        &self,
        known: &KnownHost<'_>,
        zone: &ZoneName,
        mode: Mode,
        addresses: &Addresses,
    ) -> Vec<LockOut> {
        let policy = self.new.policy;
        if !policy.zones.contains_key(zone) {
            return vec![LockOut::UnknownZone];
        }
        if mode == Mode::Observe {
            return Vec::new();
        }
        let mut found = Vec::new();
        let management = policy.management.get(zone);
        let reachable = management.is_some_and(|management| {
            let from = policy.addresses(&management.from);
            let v4 = !from.v4().is_empty() && !addresses.v4().is_empty();
            v4 || !from.v6().is_empty() && !addresses.v6().is_empty()
        });
        if !reachable {
            found.push(LockOut::NoManagement);
        }
        if management.is_none_or(|management| management.collectors.is_empty()) {
            found.push(LockOut::NoCollector);
        }
        if let Some(connection) = known.connection.filter(|connection| self.is_cut(*connection)) {
            found.push(LockOut::ReportsElsewhere(connection));
        }
        found
    }

    /// Whether an agent can no more report over the connection that it has. One inside a machine is
    /// not the policy's.
    fn is_cut(&self, connection: Connection) -> bool {
        let Connection { from, to } = connection;
        let (from, port) = (from.ip().to_canonical(), to.port());
        let to = to.ip().to_canonical();
        let inside = from == to || from.is_loopback() || to.is_loopback();
        !inside && !self.new.allows(&Opening { from, to, carried: Carried::Tcp(port) })
    }
}

/// The zone of a host as a policy sees it.
fn zone_of<'a>(policy: &'a Policy, known: &KnownHost<'a>) -> &'a ZoneName {
    policy.hosts.get(known.host).map_or(known.zone, |entry| &entry.zone)
}

/// The addresses that the ruleset of a host is about: its own, or those of its zone where the policy
/// names none. Then it has the one that it reports from too, which may lie outside.
fn addresses_of(policy: &Policy, known: &KnownHost<'_>) -> Addresses {
    let named = policy.addresses(&Party::Host(known.host.clone()));
    if !named.is_empty() {
        return named;
    }
    let zone = policy.addresses(&Party::Zone(zone_of(policy, known).clone()));
    let from = known.connection.map(|connection| connection.from.ip().to_canonical());
    match from.filter(|from| counts(*from) && !zone.contains(*from)) {
        Some(outside) => zone.with(&[IpNet::from(outside)].into_iter().collect()),
        None => zone,
    }
}
