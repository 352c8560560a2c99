//! Does a re-imaged machine wait to take this host's name?

use super::{Absence, Alerts, Check, Given, Status, Verdict};
use crate::text::Text;
use crate::time::spoken;

pub(super) const CHECK: Check = Check {
    name: "approval_waiting",
    title: || Text::new("Approval", "待批准"),
    component: "agent",
    alert: Alerts::both("BaileyApprovalWaiting"),
    probes: &[],
    absence: Absence::Resolves,
    judge,
};

fn judge(given: &Given<'_>) -> Vec<Verdict> {
    let since = given.host.session.approval_waiting_since;
    let (status, why, value) = match since {
        None => (
            Status::Ok,
            Text::new("nothing waits for approval", "没有待批准的注册"),
            "none".to_owned(),
        ),
        Some(at) => {
            let ago = spoken(at.age(given.now));
            let name = &given.host.name;
            let why = Text::new(
                format!(
                    "another machine has asked for this host's name {} ago: \
                     bailey enroll approve {name}, or refuse {name}",
                    ago.en
                ),
                format!(
                    "{}前有另一台机器申请使用该主机名：\
                     请执行 bailey enroll approve {name} 或 refuse {name}",
                    ago.zh
                ),
            );
            (Status::Warning, why, format!("since {at}"))
        }
    };
    vec![given.rests_on_session(Verdict::new("", status, why), "session.approval", value, since)]
}
