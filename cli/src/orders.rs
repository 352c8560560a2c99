//! From a policy to what each host is ordered to do. Nothing here reads a file, a clock or the
//! network; whoever has the key signs what comes out.

use std::time::Duration;

use bailey_rules::compile;
use bailey_rules::name::{HostKey, HostName, ZoneName};
use bailey_rules::policy::{Mode, Policy};
use bailey_rules::time::Timestamp;
use bailey_wire::order::{Order, What};

/// Whom an order is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Addressee {
    /// The host's name, by which the policy knows it.
    pub host: HostName,
    /// The zone it was enrolled into.
    pub zone: ZoneName,
    /// The host's key, which its enforcer compares.
    pub key: HostKey,
}

/// What all orders of one push have in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Terms {
    /// Their number.
    pub version: u64,
    /// When they are made.
    pub issued_at: Timestamp,
    /// From then on no host begins to follow them.
    pub expires_at: Timestamp,
}

impl Terms {
    fn order(&self, to: &Addressee, what: What) -> Order {
        Order {
            host: to.key,
            version: self.version,
            issued_at: self.issued_at,
            expires_at: self.expires_at,
            what,
        }
    }
}

/// The zone that the policy sees a host in: its own word holds, then that of the enrolment; `None`
/// when the policy knows neither.
#[must_use]
pub fn zone_of<'a>(
    policy: &'a Policy,
    host: &HostName,
    enrolled: &ZoneName,
) -> Option<&'a ZoneName> {
    match policy.hosts.get(host) {
        Some(entry) => Some(&entry.zone),
        None => policy.zones.get_key_value(enrolled).map(|(zone, _)| zone),
    }
}

/// Whether a host will enforce under a policy.
#[must_use]
pub fn mode_of(policy: &Policy, to: &Addressee) -> Mode {
    let zone = zone_of(policy, &to.host, &to.zone).unwrap_or(&to.zone);
    policy.mode_of(&to.host, zone)
}

/// The order to enforce `policy`, which rulesets call `file`.
#[must_use]
pub fn ruleset(
    policy: &Policy,
    file: &str,
    to: &Addressee,
    terms: &Terms,
    confirm_within: Duration,
) -> Order {
    let compiled = compile::ruleset(policy, file, &to.host, &to.zone);
    let (text, restore) = (compiled.text, compiled.restore);
    terms.order(to, What::Ruleset { text, confirm_within, restore })
}

/// The order to keep off the network but for what `policy` leaves a host in quarantine.
#[must_use]
pub fn quarantine(
    policy: &Policy,
    file: &str,
    to: &Addressee,
    terms: &Terms,
    until: Timestamp,
    reason: &str,
) -> Order {
    let text = compile::quarantine(policy, file, &to.host, &to.zone);
    terms.order(to, What::Quarantine { text, until, reason: reason.to_owned() })
}

/// The order to end a quarantine.
#[must_use]
pub fn release(to: &Addressee, terms: &Terms) -> Order {
    terms.order(to, What::Release)
}

#[cfg(test)]
mod tests {
    use bailey_rules::policy::REFERENCE;
    use bailey_wire::order::{SigningKey, sign};

    use super::*;

    const TERMS: Terms = Terms {
        version: 43,
        issued_at: Timestamp::from_seconds(1_795_415_400),
        expires_at: Timestamp::from_seconds(1_795_501_800),
    };

    fn addressee(host: &str, zone: &str, key: u8) -> Addressee {
        Addressee {
            host: host.parse().unwrap(),
            zone: zone.parse().unwrap(),
            key: HostKey::from_bytes([key; 32]),
        }
    }

    fn policy() -> Policy {
        Policy::parse("policy.yaml", REFERENCE).unwrap()
    }

    #[test]
    fn every_host_gets_its_own_ruleset_under_the_number_of_all() {
        let (policy, key) = (policy(), SigningKey::generate().unwrap());
        let minute = Duration::from_mins(1);
        let mut texts = Vec::new();
        for to in [
            addressee("oa-web", "inner", 1),
            addressee("mail-out", "outer", 2),
            // A host that the policy does not name is in the zone it was enrolled into.
            addressee("oa-99", "inner", 3),
        ] {
            let order = ruleset(&policy, "policy.yaml", &to, &TERMS, minute);
            let signed = sign(&order, &key).unwrap();
            assert_eq!(signed.verify(&key.verifying_key()), Ok(order.clone()));
            assert_eq!((order.host, order.version), (to.key, 43));
            assert_eq!((order.issued_at, order.expires_at), (TERMS.issued_at, TERMS.expires_at));
            let What::Ruleset { text, confirm_within, .. } = order.what else {
                panic!("a ruleset")
            };
            assert_eq!(confirm_within, minute);
            let compiled = compile::ruleset(&policy, "policy.yaml", &to.host, &to.zone);
            assert_eq!(text, compiled.text);
            assert_eq!(mode_of(&policy, &to), compiled.mode);
            texts.push(text);
        }
        texts.sort();
        texts.dedup();
        assert_eq!(texts.len(), 3);
    }

    #[test]
    fn a_quarantine_holds_what_the_policy_leaves_and_a_release_nothing() {
        let (policy, to) = (policy(), addressee("oa-web", "inner", 1));
        let until = TERMS.expires_at;
        let order = quarantine(&policy, "policy.yaml", &to, &TERMS, until, "scans inner");
        let What::Quarantine { text, until: ends, reason } = order.what else { panic!() };
        assert!(text.contains("jiaxing oa-web quarantine"), "{text}");
        assert_eq!((ends, reason.as_str()), (until, "scans inner"));
        assert_eq!(release(&to, &TERMS).what, What::Release);
    }

    #[test]
    fn the_policys_word_on_a_hosts_zone_holds_against_the_enrolments() {
        let policy = policy();
        let zone = |host: &str, zone: &str| {
            let to = addressee(host, zone, 1);
            zone_of(&policy, &to.host, &to.zone).map(ToString::to_string)
        };
        assert_eq!(zone("oa-web", "outer").as_deref(), Some("inner"));
        assert_eq!(zone("oa-99", "outer").as_deref(), Some("outer"));
        assert_eq!(zone("oa-99", "nowhere"), None);
    }
}
