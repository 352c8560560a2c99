//! Who stands behind an address.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::Arc;

use arc_swap::ArcSwap;
use bailey_rules::name::HostName;
use bailey_rules::policy::Policy;

/// The assets of the site by their addresses. Cheap to clone; every copy sees a change.
#[derive(Debug, Clone)]
pub(crate) struct Senders {
    by_address: Arc<ArcSwap<HashMap<IpAddr, HostName>>>,
    /// What the settings add; it wins.
    set: Arc<BTreeMap<IpAddr, HostName>>,
}

impl Senders {
    /// The assets that the settings name, and none besides.
    pub(crate) fn new(set: BTreeMap<IpAddr, HostName>) -> Self {
        Self { by_address: Arc::default(), set: Arc::new(set) }
    }

    /// Whose address it is; `None` where it is nobody's that the site knows.
    pub(crate) fn of(&self, address: IpAddr) -> Option<HostName> {
        self.by_address.load().get(&address).cloned()
    }

    /// Whether it is the address of somebody that the site knows.
    pub(crate) fn knows(&self, address: IpAddr) -> bool {
        self.by_address.load().contains_key(&address)
    }

    /// Puts the devices and the assets of a policy in place of those before. An address that two claim
    /// is nobody's: what comes from it must not be laid at the wrong door.
    pub(crate) fn set<'a>(
        &self,
        policy: &'a Policy,
        devices: impl Iterator<Item = (IpAddr, &'a HostName)>,
    ) {
        let mut all: HashMap<IpAddr, Option<HostName>> = HashMap::new();
        let hosts = policy
            .hosts
            .iter()
            .flat_map(|(name, host)| host.addresses.iter().map(move |address| (*address, name)));
        for (address, name) in hosts.chain(devices) {
            all.entry(address.to_canonical())
                .and_modify(|claimed| {
                    // The policy may name a device too.
                    if claimed.as_ref() != Some(name) {
                        *claimed = None;
                    }
                })
                .or_insert_with(|| Some(name.clone()));
        }
        let mut all: HashMap<IpAddr, HostName> =
            all.into_iter().filter_map(|(address, name)| Some((address, name?))).collect();
        let set = self.set.iter();
        all.extend(set.map(|(address, name)| (address.to_canonical(), name.clone())));
        self.by_address.store(Arc::new(all));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const POLICY: &str = "
site: jiaxing
zones:
  inner: {name: 内网, networks: [10.1.0.0/16]}
hosts:
  oa-17: {zone: inner, addresses: [10.1.7.20]}
  core-1: {zone: inner, addresses: [10.1.0.2, 10.1.0.3]}
";

    #[test]
    fn an_address_is_the_asset_that_claims_it_and_nobodys_where_two_do() {
        let policy = Policy::parse("policy.yaml", POLICY).unwrap();
        let name = |text: &str| -> HostName { text.parse().unwrap() };
        let (core, other) = (name("core-1"), name("sw-9"));
        let senders = Senders::new(BTreeMap::from([([10, 1, 255, 2].into(), core.clone())]));
        let devices: [(IpAddr, &HostName); 3] = [
            ([10, 1, 0, 2].into(), &core),
            ([10, 1, 7, 20].into(), &other),
            ([10, 1, 0, 9].into(), &other),
        ];
        senders.set(&policy, devices.into_iter());
        let of = |last: [u8; 4]| senders.of(last.into());
        assert_eq!(of([10, 1, 0, 2]), Some(core.clone()));
        assert_eq!(of([10, 1, 255, 2]), Some(core.clone()));
        assert_eq!(
            senders.of("::ffff:10.1.0.3".parse::<IpAddr>().unwrap().to_canonical()),
            Some(core)
        );
        assert_eq!(of([10, 1, 0, 9]), Some(other));
        assert_eq!(of([10, 1, 7, 20]), None);
        assert_eq!(of([10, 1, 7, 21]), None);
    }
}
