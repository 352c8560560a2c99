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

    /// Puts the assets of a policy in place of those before. An address that two claim is nobody's:
    /// what comes from it must not be laid at the wrong door.
    pub(crate) fn set(&self, policy: &Policy) {
        let mut all: HashMap<IpAddr, Option<HostName>> = HashMap::new();
        for (name, host) in &policy.hosts {
            for address in &host.addresses {
                all.entry(address.to_canonical())
                    .and_modify(|claimed| *claimed = None)
                    .or_insert_with(|| Some(name.clone()));
            }
        }
        let mut all: HashMap<IpAddr, HostName> =
            all.into_iter().filter_map(|(address, name)| Some((address, name?))).collect();
        let set = self.set.iter();
        all.extend(set.map(|(address, name)| (address.to_canonical(), name.clone())));
        self.by_address.store(Arc::new(all));
    }
}
