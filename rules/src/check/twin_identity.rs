//! Do two machines use one identity?

use super::{Absence, Alerts, Check, Given, Status, Verdict};
use crate::text::Text;
use crate::time::spoken;

pub(super) const CHECK: Check = Check {
    name: "twin_identity",
    title: || Text::new("Identity", "身份唯一性"),
    component: "agent",
    alert: Alerts::both("BaileyIdentityConflict"),
    probes: &[],
    absence: Absence::Resolves,
    judge,
};

fn judge(given: &Given<'_>) -> Vec<Verdict> {
    let seen = given.host.session.twin_seen_at;
    let kept = given.wanted.agent.twin_kept.0;
    let (status, why) = match seen.filter(|at| at.age(given.now) <= kept) {
        None => (Status::Ok, Text::new("one machine uses this identity", "该身份仅由一台机器使用")),
        Some(at) => {
            let ago = spoken(at.age(given.now));
            let why = Text::new(
                format!(
                    "two machines use this identity (a cloned disk?), last seen {} ago; \
                     revoke it and enrol both again",
                    ago.en
                ),
                format!(
                    "两台机器正在使用同一身份（可能克隆了磁盘），最近一次发现于 {}前；\
                     请吊销该身份并重新注册两台机器",
                    ago.zh
                ),
            );
            (Status::Critical, why)
        }
    };
    let value = seen.map_or_else(|| "never seen twice".to_owned(), |at| format!("twice at {at}"));
    vec![given.rests_on_session(Verdict::new("", status, why), "session.twin", value, seen)]
}
