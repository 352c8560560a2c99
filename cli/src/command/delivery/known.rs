//! Which hosts there are, what they enforce, and which of them an order can be for.

use std::collections::BTreeSet;
use std::io::Read as _;
use std::path::Path;

use bailey_rules::name::{HostKey, HostName, ZoneName};
use bailey_rules::policy::Policy;
use bailey_rules::text::Text;
use bailey_rules::time::Timestamp;
use bailey_rules::yaml::suggest;
use bailey_wire::order::KeyId;
use serde::Deserialize;
use serde_json::Value;

use crate::command::{Asking, read};
use crate::exit::{Exit, Failure};
use crate::orders::{Addressee, zone_of};

/// Where the collector says what hosts enforce.
pub(in crate::command) const PATH: &str = "/api/v1/enforcement";

/// The longest inventory that is read, in octets: the collector's answer about 10,000 hosts.
const MAX_INVENTORY: u64 = 64 * 1024 * 1024;

/// What the collector knows of enforcement.
#[derive(Debug, Clone, Deserialize)]
pub(in crate::command) struct Known {
    /// A number above all that any host has seen or was pushed.
    pub(in crate::command) next_version: u64,
    /// The hosts.
    pub(in crate::command) hosts: Vec<KnownHost>,
}

/// One enrolled host.
#[derive(Debug, Clone, Deserialize)]
pub(in crate::command) struct KnownHost {
    pub(in crate::command) host: HostName,
    pub(in crate::command) zone: ZoneName,
    pub(in crate::command) key: HostKey,
    #[serde(default)]
    pub(in crate::command) connected: bool,
    /// The key whose orders its enforcer follows; `None`: it has no enforcer, or that has no key.
    #[serde(default)]
    pub(in crate::command) key_id: Option<String>,
    #[serde(default)]
    pub(in crate::command) confirmed: Option<OrderRef>,
    #[serde(default)]
    pub(in crate::command) pending: Option<Value>,
    #[serde(default)]
    pub(in crate::command) quarantine: Option<Quarantined>,
    #[serde(default)]
    pub(in crate::command) problem: Option<String>,
    /// Why its enforcement cannot be read.
    #[serde(default)]
    pub(in crate::command) unreadable: Option<String>,
}

/// One order, as far as people tell them apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub(in crate::command) struct OrderRef {
    pub(in crate::command) version: u64,
}

/// A quarantine in force.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(in crate::command) struct Quarantined {
    pub(in crate::command) until: Timestamp,
    pub(in crate::command) reason: String,
}

impl Known {
    /// As the collector says.
    pub(in crate::command) fn ask(asking: &Asking) -> Result<Self, Failure> {
        read(&asking.client.get(PATH)?)
    }

    /// As it said when somebody saved its answer.
    pub(in crate::command) fn from_file(path: &Path) -> Result<Self, Failure> {
        let shown = path.display();
        let mut text = String::new();
        std::fs::File::open(path)
            .and_then(|file| file.take(MAX_INVENTORY).read_to_string(&mut text))
            .map_err(|why| {
                Failure::error(
                    format!("cannot read {shown}: {why}"),
                    format!("无法读取 {shown}：{why}"),
                )
            })?;
        serde_json::from_str(&text).map_err(|why| {
            Failure::error(
                format!(
                    "{shown} is no inventory: {why}; make one with `bailey -o json policy hosts > \
                     {shown}`"
                ),
                format!(
                    "{shown} 不是主机清单：{why}；请用 `bailey -o json policy hosts > {shown}` 生成"
                ),
            )
        })
    }

    /// The host of this name.
    pub(in crate::command) fn host(&self, name: &HostName) -> Result<&KnownHost, Failure> {
        self.hosts.iter().find(|known| known.host == *name).ok_or_else(|| {
            let names = self.hosts.iter().map(|known| known.host.as_str());
            let meant = suggest(name.as_str(), names);
            let (en, zh) = match meant {
                Some(meant) => {
                    (format!("; did you mean {meant}?"), format!("；是否想输入 {meant}？"))
                }
                None => (
                    "; `bailey enroll ls` lists the enrolled".to_owned(),
                    "；已注册的主机见 `bailey enroll ls`".to_owned(),
                ),
            };
            Failure::new(
                Exit::NotFound,
                format!("no host {name} is enrolled{en}"),
                format!("没有已注册的主机 {name}{zh}"),
            )
        })
    }
}

impl KnownHost {
    /// The host as orders are addressed.
    pub(in crate::command) fn addressee(&self) -> Addressee {
        Addressee { host: self.host.clone(), zone: self.zone.clone(), key: self.key }
    }

    /// Why it would follow no order that `key` signed, where that is known.
    pub(in crate::command) fn deaf_to(&self, key: KeyId) -> Option<Text> {
        if let Some(why) = &self.unreadable {
            return Some(Text::new(
                format!("its enforcer cannot be read: {why}"),
                format!("无法读取其执行程序：{why}"),
            ));
        }
        match &self.key_id {
            None => Some(Text::new(
                "no enforcer there follows a key; run `bailey-agent enforce` and `bailey-agent pin` \
                 on it",
                "该主机没有绑定公钥的执行程序；请在其上运行 `bailey-agent enforce` 与 `bailey-agent pin`",
            )),
            Some(pinned) if *pinned != key.to_string() => Some(Text::new(
                format!("it follows key {pinned}, not {key}"),
                format!("其听从密钥 {pinned}，而非 {key}"),
            )),
            Some(_) => None,
        }
    }
}

/// Whom a policy goes to.
#[derive(Debug, Clone, Default)]
pub(in crate::command) struct Chosen {
    /// Who gets an order.
    pub(in crate::command) hosts: Vec<KnownHost>,
    /// Who gets none although nobody excluded him, and why.
    pub(in crate::command) left_out: Vec<(HostName, Text)>,
}

/// The hosts that are named or are in a named zone; all of them where nothing is named. `key` is
/// `None` where nothing is signed.
///
/// Who was named himself and cannot follow is an error; who only is in a zone is left out with the
/// reason.
pub(in crate::command) fn choose(
    known: &Known,
    names: &[HostName],
    zones: &[ZoneName],
    policy: &Policy,
    key: Option<KeyId>,
) -> Result<Chosen, Failure> {
    for zone in zones {
        if !policy.zones.contains_key(zone) {
            let known = policy.zones.keys().map(ZoneName::as_str).collect::<Vec<_>>().join(", ");
            return Err(Failure::new(
                Exit::NotFound,
                format!("the policy has no zone {zone} (zones: {known})"),
                format!("策略中没有安全域 {zone}（现有：{known}）"),
            ));
        }
    }
    let names: BTreeSet<&HostName> = names.iter().collect();
    for name in &names {
        known.host(name)?;
    }
    let mut chosen = Chosen::default();
    for host in &known.hosts {
        let zone = zone_of(policy, &host.host, &host.zone);
        let is_named = names.contains(&host.host);
        let in_zone = zone.is_some_and(|zone| zones.contains(zone));
        if !(is_named || in_zone || names.is_empty() && zones.is_empty()) {
            continue;
        }
        match unfit(host, zone, key) {
            None => chosen.hosts.push(host.clone()),
            Some(why) if is_named => {
                return Err(Failure::error(
                    format!("nothing can be sent to {}: {}", host.host, why.en),
                    format!("无法下发到 {}：{}", host.host, why.zh),
                ));
            }
            Some(why) => chosen.left_out.push((host.host.clone(), why)),
        }
    }
    if chosen.hosts.is_empty() {
        let list = |lang: fn(&Text) -> &str| -> String {
            let lines =
                chosen.left_out.iter().map(|(host, why)| format!("\n  {host}: {}", lang(why)));
            lines.collect()
        };
        return Err(Failure::new(
            Exit::NotFound,
            format!("there is no host to send this to{}", list(|why| &why.en)),
            format!("没有可下发的主机{}", list(|why| &why.zh)),
        ));
    }
    Ok(chosen)
}

/// Why a host cannot be given a ruleset.
fn unfit(host: &KnownHost, zone: Option<&ZoneName>, key: Option<KeyId>) -> Option<Text> {
    if zone.is_none() {
        let zone = &host.zone;
        return Some(Text::new(
            format!("it was enrolled into zone {zone}, which the policy does not have"),
            format!("其注册的安全域 {zone} 在策略中不存在"),
        ));
    }
    if let Some(why) = key.and_then(|key| host.deaf_to(key)) {
        return Some(why);
    }
    host.quarantine.as_ref().map(|quarantine| {
        let until = quarantine.until;
        Text::new(
            format!("it is in quarantine until {until}; release it first"),
            format!("其隔离至 {until}；请先解除隔离"),
        )
    })
}

#[cfg(test)]
mod tests {
    use bailey_rules::policy::REFERENCE;
    use serde_json::json;

    use super::*;

    const KEY: &str = "0011223344556677";

    fn key() -> KeyId {
        // The only way to an id is a key; its own is as good as any.
        bailey_wire::order::VerifyingKey::from_bytes([7; 32]).id()
    }

    fn known() -> Known {
        let own = key().to_string();
        let host = |name: &str, zone: &str, key_id: Option<&str>| {
            json!({
                "host": name, "zone": zone, "key": "ab".repeat(32), "connected": true,
                "key_id": key_id, "mode": "observe", "highest": 3, "pushed": null,
                "confirmed": {"version": 3, "digest": "cd".repeat(32)}, "pending": null,
                "quarantine": null, "problem": null, "unreadable": null,
            })
        };
        let mut quarantined = host("oa-18", "inner", Some(&own));
        quarantined["quarantine"] = json!({
            "version": 4, "digest": "ef".repeat(32), "until": "2026-11-26T08:00:00Z",
            "reason": "scans inner",
        });
        let mut silent = host("oa-19", "inner", Some(&own));
        silent["unreadable"] = "no answer".into();
        let hosts = json!([
            host("oa-web", "inner", Some(&own)),
            host("mail-out", "outer", Some(&own)),
            host("oa-99", "inner", None),
            host("oa-98", "inner", Some(KEY)),
            host("lab-1", "laboratory", Some(&own)),
            quarantined,
            silent,
        ]);
        serde_json::from_value(json!({"schema": 1, "next_version": 5, "hosts": hosts})).unwrap()
    }

    fn names(hosts: &[&str]) -> Vec<HostName> {
        hosts.iter().map(|host| host.parse().unwrap()).collect()
    }

    fn chosen(hosts: &[&str], zones: &[&str]) -> Result<Chosen, Failure> {
        let policy = Policy::parse("policy.yaml", REFERENCE).unwrap();
        let zones: Vec<ZoneName> = zones.iter().map(|zone| zone.parse().unwrap()).collect();
        choose(&known(), &names(hosts), &zones, &policy, Some(key()))
    }

    #[test]
    fn who_cannot_follow_is_left_out_with_the_reason() {
        let all = chosen(&[], &[]).unwrap();
        let to: Vec<&str> = all.hosts.iter().map(|host| host.host.as_str()).collect();
        assert_eq!(to, ["oa-web", "mail-out"]);
        let why: Vec<String> =
            all.left_out.iter().map(|(host, why)| format!("{host}: {}", why.en)).collect();
        insta::assert_snapshot!(why.join("\n").replace(&key().to_string(), "OURS"));
        let inner = chosen(&[], &["inner"]).unwrap();
        assert_eq!(inner.hosts.len(), 1);
        let both = chosen(&["mail-out"], &["inner"]).unwrap();
        assert_eq!(both.hosts.len(), 2);
    }

    #[test]
    fn who_is_named_and_cannot_follow_is_an_error() {
        for host in ["oa-99", "oa-98", "lab-1", "oa-18", "oa-19"] {
            let failure = chosen(&[host], &[]).unwrap_err();
            assert!(failure.words.en.starts_with(&format!("nothing can be sent to {host}: ")));
        }
        let typo = chosen(&["oa-wep"], &[]).unwrap_err();
        assert_eq!(typo.exit, Exit::NotFound);
        assert!(typo.words.en.contains("did you mean oa-web?"), "{typo:?}");
        let zone = chosen(&[], &["iner"]).unwrap_err();
        assert_eq!(zone.exit, Exit::NotFound);
        let nobody = chosen(&[], &["police"]).unwrap_err();
        assert_eq!(nobody.exit, Exit::NotFound);
    }

    #[test]
    fn an_inventory_is_the_collectors_answer_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("hosts.json");
        std::fs::write(&path, "{}").unwrap();
        let wrong = Known::from_file(&path).unwrap_err();
        assert!(wrong.words.en.contains("bailey -o json policy hosts"), "{wrong:?}");
        assert!(Known::from_file(&folder.path().join("none")).is_err());
    }
}
