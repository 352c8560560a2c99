//! `bailey policy plan`: what pushing a policy would do, host by host, before anybody pushes it. It is
//! compared with the policy pushed last, and with the connections that hosts have really seen.

use std::net::IpAddr;
use std::path::Path;

use bailey_rules::fact::flows::{FlowWatch, SeenFlow};
use bailey_rules::host::Connection;
use bailey_rules::name::{HostName, ZoneName};
use bailey_rules::plan::{Change, Changes, HostPlan, KnownHost, LockOut, Outlook, Piece};
use bailey_rules::policy::{Mode, OnDrift, Policy};
use bailey_rules::text::Lang;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{file_name, networks, origin, piece, read as read_policy};
use crate::arguments::{Format, Global, Plan};
use crate::command::delivery::pushed::{newest, policy_to_look_at};
use crate::command::{Asking, json as written, read};
use crate::exit::{Done, Exit, Failure};
use crate::screen::{Screen, clean};
use crate::this_host;

/// The version of the answer for programs.
const SCHEMA: u32 = 1;
/// The most names of hosts that one line lists.
const SHOWN_HOSTS: usize = 8;
/// The most connections and pieces of one kind that are shown of one host or group of hosts.
const SHOWN_LINES: usize = 20;

/// A host with what it has seen, as the collector tells.
#[derive(Debug, Clone, Deserialize)]
struct Watched {
    host: HostName,
    zone: ZoneName,
    #[serde(default)]
    connection: Option<Connection>,
    #[serde(default)]
    watch: Option<FlowWatch>,
    #[serde(default)]
    unreadable: Option<String>,
    #[serde(default)]
    flows: Vec<SeenFlow>,
}

/// A policy and what it is called.
struct Named {
    policy: Policy,
    name: String,
}

/// Everything that is said.
struct Said<'a> {
    /// What the policy is compared with.
    against: Option<&'a str>,
    name: &'a str,
    outlook: &'a Outlook<'a>,
    hosts: Vec<(&'a Watched, HostPlan)>,
    /// Whether hosts were asked what they have seen.
    asked: bool,
    not_managed: Vec<&'a ZoneName>,
    here: &'a [IpAddr],
}

/// Says what would change.
pub(super) fn run(plan: &Plan, global: &Global, screen: Screen) -> Result<Done, Failure> {
    let new = named(&plan.file)?;
    let (old, hosts, asked) = match &plan.against {
        Some(path) => {
            let old = named(path)?;
            let hosts = hosts_of(&plan.host, &[&new.policy, &old.policy])?;
            (Some(old), hosts, false)
        }
        None => {
            let asking = Asking::new(global, screen)?;
            (pushed_last(&asking)?, hosts_known(&plan.host, &asking)?, true)
        }
    };
    let here = this_host::addresses();
    let outlook = Outlook::new(old.as_ref().map(|old| &old.policy), &new.policy);
    let planned: Vec<(&Watched, HostPlan)> = hosts
        .iter()
        .map(|host| {
            let known = KnownHost {
                host: &host.host,
                zone: &host.zone,
                connection: host.connection,
                seen: &host.flows,
            };
            (host, outlook.of(&known))
        })
        .collect();
    let concerned = |zone: &ZoneName| planned.iter().any(|(_, plan)| plan.zone == *zone);
    let not_managed = outlook.not_managed_from(&here).into_iter();
    let said = Said {
        against: old.as_ref().map(|old| old.name.as_str()),
        name: &new.name,
        outlook: &outlook,
        not_managed: not_managed.filter(|zone| concerned(zone)).collect(),
        hosts: planned,
        asked,
        here: &here,
    };
    let changes = !outlook.changes.is_empty() || said.hosts.iter().any(|(_, p)| p.is_change());
    let done = Done::said(match global.output {
        Format::Json | Format::Ndjson => written(&said.json(), global.output),
        Format::Table => said.text(screen),
    });
    Ok(if plan.exit_code && changes { done.ending(Exit::Findings.code()) } else { done })
}

fn named(path: &Path) -> Result<Named, Failure> {
    Ok(Named { policy: read_policy(path)?, name: file_name(path) })
}

/// The policy that was pushed last and holds, or is about to; `None`: none was pushed yet.
fn pushed_last(asking: &Asking) -> Result<Option<Named>, Failure> {
    let pushes = newest(asking)?;
    let last =
        pushes.iter().find(|push| push.is_of_rulesets() && (push.runs() || push.state == "done"));
    let Some(last) = last else { return Ok(None) };
    let id = last.id;
    match policy_to_look_at(asking, id) {
        Some((policy, name)) => Ok(Some(Named { policy, name: clean(&name) })),
        None => Err(Failure::error(
            format!(
                "the policy of push {id} cannot be read; compare with the file itself: --against OLD"
            ),
            format!("无法读取第 {id} 次下发的策略；请与策略文件本身比较：--against OLD"),
        )),
    }
}

/// The hosts that the collector knows, or those of them that were asked for.
fn hosts_known(wanted: &[HostName], asking: &Asking) -> Result<Vec<Watched>, Failure> {
    #[derive(Deserialize)]
    struct Answer {
        hosts: Vec<Watched>,
    }
    if wanted.is_empty() {
        let answer: Answer = read(&asking.all_pages("/api/v1/flows?", "hosts")?)?;
        return Ok(answer.hosts);
    }
    let mut hosts = Vec::new();
    for host in wanted {
        let answer: Answer = read(&asking.client.get(&format!("/api/v1/flows?host={host}"))?)?;
        hosts.extend(answer.hosts);
    }
    Ok(hosts)
}

/// The hosts that the policies name, or those of them that were asked for.
fn hosts_of(wanted: &[HostName], policies: &[&Policy; 2]) -> Result<Vec<Watched>, Failure> {
    let zone = |host: &HostName| {
        policies.iter().find_map(|policy| policy.hosts.get(host)).map(|entry| entry.zone.clone())
    };
    let host = |host: &HostName| {
        let zone = zone(host).ok_or_else(|| {
            Failure::new(
                Exit::NotFound,
                format!("neither policy names {host}; without --against the collector is asked"),
                format!("两份策略均未声明 {host}；不带 --against 时会询问采集器"),
            )
        })?;
        let host = host.clone();
        Ok(Watched {
            host,
            zone,
            connection: None,
            watch: None,
            unreadable: None,
            flows: Vec::new(),
        })
    };
    if !wanted.is_empty() {
        return wanted.iter().map(host).collect();
    }
    let [new, old] = policies;
    let names: std::collections::BTreeSet<&HostName> =
        new.hosts.keys().chain(old.hosts.keys()).collect();
    names.into_iter().map(host).collect()
}

/// Hosts for which the same changes, and what.
struct Alike<'a> {
    first: &'a HostPlan,
    hosts: Vec<&'a HostName>,
}

/// Puts hosts together for which the same changes.
fn alike<'a>(plans: impl Iterator<Item = &'a HostPlan>) -> Vec<Alike<'a>> {
    let mut groups: Vec<Alike<'a>> = Vec::new();
    for plan in plans {
        let same = groups.iter_mut().find(|group| {
            let first = group.first;
            (&first.zone, first.mode, first.on_drift) == (&plan.zone, plan.mode, plan.on_drift)
                && first.changes == plan.changes
        });
        match same {
            Some(group) => group.hosts.push(&plan.host),
            None => groups.push(Alike { first: plan, hosts: vec![&plan.host] }),
        }
    }
    groups
}

impl Said<'_> {
    fn json(&self) -> Value {
        let pieces = |pieces: &[Piece]| pieces.iter().map(piece).collect::<Vec<_>>();
        let hosts = self.hosts.iter().map(|(host, plan)| {
            json!({
                "host": plan.host,
                "zone": plan.zone,
                "mode": plan.mode,
                "on_drift": plan.on_drift,
                "added": pieces(&plan.changes.added),
                "removed": pieces(&plan.changes.removed),
                "cut": plan.cut,
                "cut_before": plan.cut_before,
                "lock_outs": plan.lock_outs,
                "watch": host.watch,
                "unreadable": host.unreadable,
            })
        });
        json!({
            "schema": SCHEMA,
            "policy": self.name,
            "against": self.against,
            "added": pieces(&self.outlook.changes.added),
            "removed": pieces(&self.outlook.changes.removed),
            "hosts": hosts.collect::<Vec<_>>(),
            "not_managed_from_here": self.not_managed,
        })
    }

    fn text(&self, screen: Screen) -> String {
        let mut out = match self.against {
            Some(against) => {
                format!("{} {} {}\n", self.name, screen.word("in place of", "取代"), clean(against))
            }
            None => format!(
                "{}{}\n",
                self.name,
                screen.word(", the first policy that is pushed", "：首次下发的策略")
            ),
        };
        let (changed, same): (Vec<&HostPlan>, Vec<&HostPlan>) =
            self.hosts.iter().map(|(_, plan)| plan).partition(|plan| plan.is_change());
        for group in alike(changed.iter().copied()) {
            out.push_str(&format!("\n{} {}\n", group.first.zone, listed(&group.hosts, screen)));
            self.group(group.first, screen, &mut out);
        }
        for (host, plan) in &self.hosts {
            of_host(host, plan, self.asked, screen, &mut out);
        }
        self.managed(screen, &mut out);
        out.push_str(&self.sum(&changed, same.len(), screen));
        out
    }

    /// What changes for hosts that are alike.
    fn group(&self, plan: &HostPlan, screen: Screen, out: &mut String) {
        let mode = |mode: Mode| match mode {
            Mode::Observe => screen.word("observe", "仅观察"),
            Mode::Enforce => screen.word("enforce", "强制执行"),
        };
        let on_drift = |on_drift: OnDrift| match on_drift {
            OnDrift::Audit => screen.word("audit", "仅报告"),
            OnDrift::Restore => screen.word("restore", "报告并恢复"),
        };
        changed_word(screen.word("mode", "模式"), plan.mode, mode, out);
        changed_word(screen.word("on drift", "规则被改动时"), plan.on_drift, on_drift, out);
        let Changes { added, removed } = &plan.changes;
        // What a first policy closes is everything else; there is no list of that.
        let old = self.against.unwrap_or_default();
        for (sign, name, pieces) in [('-', old, removed), ('+', self.name, added)] {
            for piece in pieces.iter().take(SHOWN_LINES) {
                out.push_str(&format!(
                    "  {sign} {} > {}  {}  ({}:{} {})\n",
                    networks(&piece.from),
                    networks(&piece.to),
                    piece.service,
                    clean(name),
                    piece.line,
                    origin(&piece.origin, screen),
                ));
            }
            more(pieces.len(), screen, out);
        }
    }

    /// Zones that are not administered from this machine.
    fn managed(&self, screen: Screen, out: &mut String) {
        if self.not_managed.is_empty() {
            return;
        }
        let zones: Vec<&str> = self.not_managed.iter().map(|zone| zone.as_str()).collect();
        let zones = zones.join(screen.word(", ", "、"));
        let here: Vec<String> =
            self.here.iter().take(SHOWN_HOSTS).map(ToString::to_string).collect();
        let here = here.join(screen.word(", ", "、"));
        out.push_str(&match screen.lang {
            Lang::En => format!(
                "\n! this machine ({here}) is not among those who administer {zones}: from here their \
                 hosts will be closed\n"
            ),
            Lang::Zh => format!(
                "\n! 本机（{here}）不在 {zones} 的管理来源之内：下发后将无法从本机管理其中的主机\n"
            ),
        });
    }

    /// The last line.
    fn sum(&self, changed: &[&HostPlan], same: usize, screen: Screen) -> String {
        let Changes { added, removed } = &self.outlook.changes;
        let enforced = |plan: &HostPlan| plan.mode.to == Mode::Enforce;
        let plans = || self.hosts.iter().map(|(_, plan)| plan);
        let cut: usize = plans().filter(|plan| enforced(plan)).map(|plan| plan.cut.len()).sum();
        let locked = plans().filter(|plan| !plan.lock_outs.is_empty()).count();
        let (changed, added, removed) = (changed.len(), added.len(), removed.len());
        match screen.lang {
            Lang::En => {
                let mut sum = format!(
                    "\nPlan: hosts that change: {changed}, that do not: {same}; ways opened: {added}, \
                     closed: {removed}"
                );
                if self.asked {
                    sum.push_str(&format!("; connections in use that would be cut: {cut}"));
                }
                if locked > 0 {
                    sum.push_str(&format!("; hosts that may be locked out: {locked}"));
                }
                sum + ".\n"
            }
            Lang::Zh => {
                let mut sum = format!(
                    "\n计划：{changed} 台主机有变化，{same} 台不变；新放行 {added} 条，取消放行 {removed} 条"
                );
                if self.asked {
                    sum.push_str(&format!("；将切断正在使用的连接 {cut} 条"));
                }
                if locked > 0 {
                    sum.push_str(&format!("；{locked} 台主机可能失联"));
                }
                sum + "。\n"
            }
        }
    }
}

fn changed_word<T: Copy + PartialEq>(
    what: &str,
    change: Change<T>,
    word: impl Fn(T) -> &'static str,
    out: &mut String,
) {
    if !change.is_one() {
        return;
    }
    let to = word(change.to);
    match change.from {
        Some(from) => out.push_str(&format!("  ~ {what}: {} > {to}\n", word(from))),
        None => out.push_str(&format!("  ~ {what}: {to}\n")),
    }
}

/// What is to be said of one host alone: what it would cut, and whether it can be reached.
fn of_host(host: &Watched, plan: &HostPlan, asked: bool, screen: Screen, out: &mut String) {
    let mut lines = String::new();
    let word = match plan.mode.to {
        Mode::Enforce => screen.word("cut", "将切断"),
        Mode::Observe => screen.word("would be cut once enforced", "强制执行后将切断"),
    };
    for flow in plan.cut.iter().take(SHOWN_LINES) {
        let (count, last) = (flow.count, flow.last);
        let often = match screen.lang {
            Lang::En => format!("seen {count} times or more, last {last}"),
            Lang::Zh => format!("已见至少 {count} 次，最近 {last}"),
        };
        lines.push_str(&format!("  x {word}: {flow}  ({often})\n"));
    }
    more(plan.cut.len(), screen, &mut lines);
    for lock_out in &plan.lock_outs {
        lines.push_str(&format!("  ! {}\n", locked_out(lock_out, &plan.zone, screen)));
    }
    if asked && host.watch.is_none() && plan.mode.to == Mode::Enforce && plan.mode.is_one() {
        let why = host.unreadable.as_deref().map(clean);
        let why = why.unwrap_or_else(|| screen.word("it has not said yet", "尚未上报").to_owned());
        let unseen = screen.word(
            "what would be cut is not known: its connections are not seen",
            "无法得知将切断哪些连接：看不到其连接",
        );
        lines.push_str(&format!("  ? {unseen} ({why})\n"));
    }
    if !lines.is_empty() {
        out.push_str(&format!("\n{}\n{lines}", plan.host));
    }
}

fn locked_out(lock_out: &LockOut, zone: &ZoneName, screen: Screen) -> String {
    match (lock_out, screen.lang) {
        (LockOut::UnknownZone, Lang::En) => {
            format!("the policy has no zone {zone}: nothing can be compiled for this host")
        }
        (LockOut::UnknownZone, Lang::Zh) => {
            format!("策略中没有安全域 {zone}：无法为该主机生成规则")
        }
        (LockOut::NoManagement, Lang::En) => format!(
            "nobody who administers {zone} has an address of a family that this host has: add one to \
             management.{zone}.from"
        ),
        (LockOut::NoManagement, Lang::Zh) => {
            format!("{zone} 的管理来源与该主机没有同一地址族的地址：请补充 management.{zone}.from")
        }
        (LockOut::NoCollector, Lang::En) => format!(
            "its agent could not report, and no push would be confirmed: add \
             management.{zone}.collectors"
        ),
        (LockOut::NoCollector, Lang::Zh) => {
            format!("其代理将无法上报，下发无法得到确认：请补充 management.{zone}.collectors")
        }
        (LockOut::ReportsElsewhere(Connection { from, to }), Lang::En) => {
            format!(
                "its agent reports from {} to {to}, which this policy drops: the push would be \
                 reverted; correct management.{zone}.collectors or the networks of {zone}",
                from.ip()
            )
        }
        (LockOut::ReportsElsewhere(Connection { from, to }), Lang::Zh) => {
            format!(
                "其代理从 {} 向 {to} 上报，而本策略会丢弃这一连接，下发将被自动回退；请修正 \
                 management.{zone}.collectors 或 {zone} 的网段",
                from.ip()
            )
        }
    }
}

/// How many were not shown.
fn more(count: usize, screen: Screen, out: &mut String) {
    if let Some(left @ 1..) = count.checked_sub(SHOWN_LINES) {
        out.push_str(&match screen.lang {
            Lang::En => format!("    and {left} more (-o json shows all)\n"),
            Lang::Zh => format!("    另有 {left} 条（-o json 显示全部）\n"),
        });
    }
}

fn listed(hosts: &[&HostName], screen: Screen) -> String {
    let shown: Vec<&str> = hosts.iter().take(SHOWN_HOSTS).map(|host| host.as_str()).collect();
    let shown = shown.join(screen.word(", ", "、"));
    match hosts.len().checked_sub(SHOWN_HOSTS) {
        Some(left @ 1..) => match screen.lang {
            Lang::En => format!("{shown} and {left} more"),
            Lang::Zh => format!("{shown} 等 {} 台", hosts.len()),
        },
        Some(0) | None => shown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OLD: &str = "
site: jiaxing
zones:
  inner: {networks: [10.1.0.0/16]}
  outer: {networks: [172.20.0.0/16], mode: enforce}
services:
  web: {tcp: [80, 443]}
  mail: {tcp: [25, 143]}
  ssh: {tcp: [22]}
hosts:
  admin: {zone: inner, addresses: [10.1.9.11]}
  mail: {zone: inner, addresses: [10.1.2.10]}
flows:
  - {from: inner, to: inner, service: web}
  - {from: inner, to: mail, service: mail}
management:
  inner: {from: admin, service: ssh, collectors: ['10.1.0.5:7710']}
  outer: {from: 172.20.9.0/24, service: ssh}
";

    fn hosts() -> Vec<Watched> {
        let host = |name: &str, zone: &str, more: Value| {
            let mut host = json!({"host": name, "zone": zone, "key": "00", "connection": null});
            for (key, value) in more.as_object().unwrap() {
                host[key] = value.clone();
            }
            serde_json::from_value(host).unwrap()
        };
        let watch = json!({"since": "2026-11-20T08:00:00Z", "forgotten": 0, "overrun": 0});
        let flow = |from: &str, port: u16, count: u64| {
            json!({
                "from": from, "to": "10.1.2.10", "protocol": 6, "port": port, "count": count,
                "first": "2026-11-20T08:00:00Z", "last": "2026-11-25T21:00:00Z",
            })
        };
        let flows: Vec<Value> = (0..23).map(|nth| flow("10.1.7.20", 8000 + nth, 1)).collect();
        vec![
            host("admin", "inner", json!({"watch": watch})),
            host(
                "mail",
                "inner",
                json!({
                    "watch": watch,
                    "connection": {"from": "10.1.2.10:40022", "to": "10.1.0.6:7710"},
                    "flows": [flow("10.1.7.20", 25, 64), flow("10.1.7.21", 143, 1024)],
                }),
            ),
            host("oa-17", "inner", json!({"watch": watch, "flows": flows})),
            host("oa-18", "inner", json!({"unreadable": "needs CAP_NET_ADMIN"})),
            host("web-1", "outer", json!({"watch": watch})),
        ]
    }

    fn said(old: Option<&str>, new: &str, asked: bool, screen: Screen) -> String {
        let new = Policy::parse("new.yaml", new).unwrap_or_else(|e| panic!("{e}"));
        let old = old.map(|old| Policy::parse("old.yaml", old).unwrap());
        let outlook = Outlook::new(old.as_ref(), &new);
        let hosts = hosts();
        let here = [[10, 1, 9, 12].into()];
        let planned = hosts.iter().map(|host| {
            let (connection, seen) = (host.connection, host.flows.as_slice());
            let known = KnownHost { host: &host.host, zone: &host.zone, connection, seen };
            (host, outlook.of(&known))
        });
        let said = Said {
            against: old.as_ref().map(|_| "old.yaml"),
            name: "new.yaml",
            outlook: &outlook,
            hosts: planned.collect(),
            asked,
            not_managed: outlook.not_managed_from(&here).into_iter().collect(),
            here: &here,
        };
        match screen.lang {
            Lang::En => said.text(screen) + &said.json()["hosts"][1].to_string(),
            Lang::Zh => said.text(screen),
        }
    }

    const BOTH: [Screen; 2] =
        [Screen { lang: Lang::En, colour: false }, Screen { lang: Lang::Zh, colour: false }];

    #[test]
    fn what_a_push_would_do_is_said_host_by_host() {
        let new = OLD
            .replace("[10.1.0.0/16]}", "[10.1.0.0/16], mode: enforce, on_drift: restore}")
            .replace("[25, 143]", "[25, 993]");
        let said = BOTH.map(|screen| said(Some(OLD), &new, true, screen));
        insta::assert_snapshot!(said.join("\n----\n"));
    }

    #[test]
    fn a_first_policy_and_one_that_changes_nothing_are_said_too() {
        let first = BOTH.map(|screen| said(None, OLD, true, screen));
        let same = BOTH.map(|screen| said(Some(OLD), OLD, false, screen));
        insta::assert_snapshot!([first.join("\n----\n"), same.join("\n----\n")].join("\n====\n"));
    }
}
