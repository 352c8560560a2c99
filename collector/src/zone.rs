//! Zones as orders name them: one that the policy does not have is refused with those that it has.

use bailey_rules::name::ZoneName;
use bailey_rules::policy::Policy;
use bailey_rules::text::Text;
use bailey_rules::yaml::suggest;

/// The policy has no such zone.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", self.text().en)]
pub struct UnknownZone {
    /// The zone asked for.
    pub zone: ZoneName,
    /// The zones there are.
    pub known: Vec<ZoneName>,
    /// The one that was probably meant.
    pub meant: Option<ZoneName>,
}

impl UnknownZone {
    /// Why, in both languages.
    #[must_use]
    pub fn text(&self) -> Text {
        let Self { zone, known, meant } = self;
        let known = known.iter().map(ZoneName::as_str).collect::<Vec<_>>().join(", ");
        let (meant_en, meant_zh) = meant.as_ref().map_or_else(Default::default, |meant| {
            (format!("; did you mean \"{meant}\"?"), format!("；是否想输入 \"{meant}\"？"))
        });
        Text::new(
            format!("the policy has no zone \"{zone}\" (zones: {known}){meant_en}"),
            format!("策略中没有安全域 \"{zone}\"（现有：{known}）{meant_zh}"),
        )
    }
}

/// Refuses a zone that the policy does not have.
pub(crate) fn check(policy: &Policy, zone: &ZoneName) -> Result<(), UnknownZone> {
    if policy.zones.contains_key(zone) {
        return Ok(());
    }
    let meant = suggest(zone.as_str(), policy.zones.keys().map(ZoneName::as_str));
    Err(UnknownZone {
        zone: zone.clone(),
        known: policy.zones.keys().cloned().collect(),
        meant: policy.zones.keys().find(|known| Some(known.as_str()) == meant).cloned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_zone_that_is_not_there_is_refused_with_what_was_meant_in_both_languages() {
        let policy = Policy::parse(
            "policy.yaml",
            "site: jiaxing\nzones:\n  inner: {networks: [10.1.0.0/16]}\n  outer: {networks: [10.2.0.0/16]}\n",
        )
        .unwrap();
        let asked = |zone: &str| check(&policy, &zone.parse().unwrap());
        assert_eq!(asked("inner"), Ok(()));

        let near = asked("iner").unwrap_err();
        assert_eq!(near.meant, "inner".parse().ok());
        let en = "the policy has no zone \"iner\" (zones: inner, outer); did you mean \"inner\"?";
        assert_eq!(near.text().en, en);
        assert_eq!(near.to_string(), en);
        assert_eq!(
            near.text().zh,
            "策略中没有安全域 \"iner\"（现有：inner, outer）；是否想输入 \"inner\"？"
        );

        let far = asked("laboratory").unwrap_err();
        assert_eq!(far.text().en, "the policy has no zone \"laboratory\" (zones: inner, outer)");
        assert_eq!(far.text().zh, "策略中没有安全域 \"laboratory\"（现有：inner, outer）");
    }
}
