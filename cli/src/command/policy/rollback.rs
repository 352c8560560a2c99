//! `bailey policy rollback`: back to what held before. A push that runs is stopped, and its hosts
//! return by themselves; otherwise the policy before is signed anew and pushed.

use bailey_rules::name::HostName;
use bailey_rules::text::Text;

use super::cancel::stop;
use crate::arguments::Rollback;
use crate::command::Asking;
use crate::command::delivery::known::{Known, choose};
use crate::command::delivery::pushed::{Listed, Push, newest, policy_of};
use crate::command::delivery::rulesets::{Written, deliver};
use crate::command::delivery::send::path_of;
use crate::command::read;
use crate::exit::{Done, Exit, Failure};
use crate::key_file;

/// Goes back.
pub(super) fn run(rollback: &Rollback, asking: &Asking) -> Result<Done, Failure> {
    let key = key_file::private(&rollback.key)?;
    let pushes = newest(asking)?;
    if let Some(running) = pushes.iter().find(|push| push.is_of_rulesets() && push.runs()) {
        return stop(asking, running.id);
    }
    let reached: Vec<&Listed> = pushes.iter().filter(|push| reached_a_host(push)).collect();
    let public = key.verifying_key();
    let Some((last, before)) = reached.split_first() else {
        return Err(nothing());
    };
    // What failed halfway is undone by the newest that was done. After one that was done, the newest
    // before it that says something else.
    let now = match last.state.as_str() {
        "done" => Some(policy_of(asking, last.id, &public)?),
        _ => None,
    };
    let mut found = None;
    for push in before.iter().filter(|push| push.state == "done") {
        let policy = policy_of(asking, push.id, &public)?;
        if now.as_ref().is_none_or(|now| now.text != policy.text) {
            found = Some((push.id, policy));
            break;
        }
    }
    let (id, target) = found.ok_or_else(nothing)?;
    let at = target.sealed_at;
    asking.talk(&Text::new(
        format!("back to {} of push {id}, which was signed at {at}", target.name),
        format!("恢复到第 {id} 次下发的 {}，签名时间 {at}", target.name),
    ));
    let last: Push = read(&asking.client.get(&path_of(last.id, ""))?)?;
    let confirmed: Vec<HostName> = last
        .hosts
        .iter()
        .filter(|host| matches!(host.state.as_str(), "confirmed" | "waiting"))
        .filter_map(|host| host.host.parse().ok())
        .collect();
    let mut known = Known::ask(asking)?;
    // A host that was thrown out since is not asked for.
    known.hosts.retain(|host| confirmed.contains(&host.host));
    let chosen = choose(&known, &[], &[], &target.policy, Some(public.id()))?;
    let written = Written { policy: &target.policy, name: &target.name, text: &target.text };
    deliver(asking, &written, &chosen, &known, &key, &rollback.pace)
}

/// Whether a host may still hold what the push brought.
fn reached_a_host(push: &Listed) -> bool {
    push.is_of_rulesets()
        && (push.state == "done" || push.states.get("confirmed").is_some_and(|count| *count > 0))
}

fn nothing() -> Failure {
    Failure::new(
        Exit::NotFound,
        "there is no policy to go back to: no other one was pushed before; push the file that shall \
         hold",
        "没有可恢复的策略：此前未下发过其他策略；请直接下发所需的策略文件",
    )
}
