//! Have the aggregates all their members?

use super::super::sentence::{listed, with_limit};
use super::super::{Alerts, Status, Verdict};
use super::watched::{called, is_ignored};
use super::{DeviceCheck, Given, named};
use crate::device::Part;
use crate::device::aggregate::{Aggregate, Member, aggregates};
use crate::device::ethernet::Duplex;
use crate::text::Text;
use crate::time::spoken;
use crate::unit::{BitRate, Period};

/// One subject for each aggregate that is not switched off. What loses the last of its members is judged
/// on: the interface alone may not be watched.
pub(super) const CHECK: DeviceCheck = DeviceCheck {
    check: named(
        "aggregate_degraded",
        || Text::new("Members of aggregates", "聚合成员"),
        "network",
        Alerts::both("BaileyAggregateDegraded"),
    ),
    parts: &[Part::Interfaces, Part::Ethernet],
    judge,
};

fn judge(given: &Given<'_>) -> Vec<Verdict> {
    if given.wanted.aggregate_degraded.is_off() {
        return Vec::new();
    }
    let interfaces = match given.ask(&given.device.interfaces, Part::Interfaces) {
        Ok(interfaces) => interfaces,
        Err(unknown) => return vec![unknown],
    };
    let ports = match given.ask(&given.device.ethernet, Part::Ethernet) {
        Ok(ports) => ports,
        Err(unknown) => return vec![unknown],
    };
    let found = aggregates(interfaces, ports);
    let judged = found.values().filter(|aggregate| !is_ignored(given, aggregate.interface));
    judged.map(|aggregate| verdict(given, aggregate)).collect()
}

fn verdict(given: &Given<'_>, aggregate: &Aggregate<'_>) -> Verdict {
    let name = called(given, aggregate.interface);
    let all = aggregate.members.len();
    let working = aggregate.working().count();
    let wanted = &given.wanted.aggregate_degraded;
    let degraded = given.device.degraded.get(&aggregate.interface.index);
    let (status, why) = match degraded {
        Some(degraded) => {
            let length = degraded.since.age(given.now);
            let status = wanted.judge(Period(length));
            let said = if aggregate.is_whole() {
                Text::new(
                    format!("{name} has all of its {all} members again, and lacked some just now"),
                    format!("{name} 的 {all} 个成员端口刚刚恢复，此前有缺失"),
                )
            } else {
                let (cause, length) = (lacks(aggregate), spoken(length));
                Text::new(
                    format!(
                        "{working} of {all} members of {name} work, for {}: {}",
                        length.en, cause.en
                    ),
                    format!(
                        "{name} 的 {all} 个成员端口中 {working} 个正常，已持续 {}：{}",
                        length.zh, cause.zh
                    ),
                )
            };
            (status, with_limit(said, wanted.limit(status)))
        }
        None if aggregate.is_used() => {
            let well = Text::new(
                format!("all {all} members of {name} work"),
                format!("{name} 的 {all} 个成员端口均正常"),
            );
            (Status::Ok, well)
        }
        None => {
            let unused = Text::new(
                format!("{name} is down and has never passed anything"),
                format!("{name} 未连通，且从未转发数据"),
            );
            (Status::Ok, unused)
        }
    };
    let subject = &*aggregate.interface.name;
    let verdict = Verdict::new(subject, status, why);
    let value = format!("{working} of {all} members");
    let verdict = given.rests_on(verdict, Part::Ethernet, subject, value);
    let link = format!("{:?}", aggregate.interface.link).to_lowercase();
    given.rests_on(verdict, Part::Interfaces, subject, link)
}

/// What is wrong with the members.
fn lacks(aggregate: &Aggregate<'_>) -> Text {
    let idle: Vec<&Member<'_>> =
        aggregate.members.iter().filter(|member| !member.works()).collect();
    if idle.is_empty() {
        let each: Vec<Text> = aggregate.members.iter().map(runs).collect();
        let of = |one: fn(&Text) -> &str| each.iter().map(one).collect::<Vec<_>>();
        return Text::new(
            format!("they run differently: {}", listed(&of(|text| &text.en), ", ")),
            format!("运行方式不一致：{}", listed(&of(|text| &text.zh), "，")),
        );
    }
    let names: Vec<&str> = idle.iter().map(|member| member.interface.name.as_str()).collect();
    Text::new(format!("not {}", listed(&names, ", ")), format!("异常的为 {}", listed(&names, "、")))
}

/// How a member runs.
fn runs(member: &Member<'_>) -> Text {
    let name = &member.interface.name;
    let speed = member.interface.speed.filter(|bits| *bits > 0);
    let speed = speed.map_or_else(|| "?".to_owned(), |bits| BitRate(bits).to_string());
    let (en, zh) = match member.port.duplex {
        Some(Duplex::Half) => (" half duplex", " 半双工"),
        Some(Duplex::Full) => (" full duplex", " 全双工"),
        None => ("", ""),
    };
    Text::new(format!("{name} {speed}{en}"), format!("{name} {speed}{zh}"))
}
