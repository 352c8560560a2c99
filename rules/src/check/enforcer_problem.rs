//! Can the enforcer do what it must?

use super::enforced::{enforcement, rests_on_enforcer};
use super::{Absence, Alerts, Check, Given, Status, Verdict};
use crate::fact::ProbeName;
use crate::text::Text;

pub(super) const CHECK: Check = Check {
    name: "enforcer_problem",
    title: || Text::new("Enforcer", "策略执行程序"),
    component: "firewall",
    alert: Alerts::both("BaileyEnforcerProblem"),
    probes: &[ProbeName::Enforcement],
    absence: Absence::Resolves,
    judge,
};

fn judge(given: &Given<'_>) -> Vec<Verdict> {
    let Some(broken) = given.wanted.firewall.enforcer.broken() else { return Vec::new() };
    let state = match enforcement(given) {
        None => return Vec::new(),
        Some(Ok(state)) => state,
        Some(Err(unknown)) => return vec![unknown],
    };
    let (status, why, value) = match &state.problem {
        None => {
            let why = Text::new("the enforcer does what it must", "策略执行程序工作正常");
            (Status::Ok, why, "no problem".to_owned())
        }
        Some(problem) => {
            let why = Text::new(
                format!("the enforcer cannot do what it must: {problem}"),
                format!("策略执行程序遇到问题：{problem}"),
            );
            (broken, why, problem.clone())
        }
    };
    vec![rests_on_enforcer(given, Verdict::new("", status, why), value)]
}
