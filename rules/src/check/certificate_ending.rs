//! Does the host's certificate renew in time?

use super::sentence::{tight, with_limit};
use super::{Absence, Alerts, Check, Given, Status, Verdict};
use crate::text::Text;
use crate::time::spoken;
use crate::unit::{Percent, Permille};

pub(super) const CHECK: Check = Check {
    name: "certificate_ending",
    title: || Text::new("Certificate", "证书"),
    component: "agent",
    alert: Alerts { critical: "BaileyCertificateExpired", warning: "BaileyCertificateEnding" },
    probes: &[],
    absence: Absence::Resolves,
    judge,
};

fn judge(given: &Given<'_>) -> Vec<Verdict> {
    let session = &given.host.session;
    let wanted = &given.wanted.agent.certificate_left;
    let (began, ends) = (session.certificate_began, session.certificate_ends);
    let left = given.now.age(ends);
    let life = began.age(ends);
    let millis =
        |length: std::time::Duration| u64::try_from(length.as_millis()).unwrap_or(u64::MAX);
    let part = Permille::of(millis(left), millis(life)).map_or(Percent(0), Percent::from);
    let (status, why) = if left.is_zero() {
        let ago = spoken(ends.age(given.now));
        let why = Text::new(
            format!("the host's certificate ended {} ago", ago.en),
            format!("主机证书已于 {}前过期", ago.zh),
        );
        (Status::Critical, why)
    } else {
        let status = wanted.judge(part);
        let time = spoken(left);
        let said = Text::new(
            format!("the host's certificate ends in {}, {part} of its life", time.en),
            format!("主机证书还有 {}到期，剩余有效期 {}", time.zh, tight(&part)),
        );
        (status, with_limit(said, wanted.limit(status)))
    };
    let value = format!("ends {ends}");
    vec![given.rests_on_session(
        Verdict::new("", status, why),
        "session.certificate",
        value,
        Some(began),
    )]
}
