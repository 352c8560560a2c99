//! `bailey policy rollback`: back to what held before. A push that runs is stopped, and its hosts
//! return by themselves; otherwise the policy before is signed anew and pushed.

use bailey_rules::name::HostName;
use bailey_rules::text::Text;

use super::cancel::stop;
use super::proof::proved;
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
    let public = key.verifying_key();
    let way = way(&pushes, |id| policy_of(asking, id, &public), |policy| &policy.text)?;
    let Way { from, to: id, policy: target } = way.ok_or_else(nothing)?;
    let at = target.sealed_at;
    asking.talk(&Text::new(
        format!("back to {} of push {id}, which was signed at {at}", target.name),
        format!("恢复到第 {id} 次下发的 {}，签名时间 {at}", target.name),
    ));
    // The compiler may be a newer one than it was then.
    asking.talk(&proved(&target.policy, &target.name)?.text());
    let last: Push = read(&asking.client.get(&path_of(from, ""))?)?;
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

/// From which push to which, and the policy of that.
#[derive(Debug, PartialEq, Eq)]
struct Way<P> {
    from: u64,
    to: u64,
    policy: P,
}

/// From the newest push that reached a host: to the newest that was done, where that one was not,
/// and otherwise to the newest done before it whose policy says something else.
fn way<P>(
    pushes: &[Listed],
    mut policy_of: impl FnMut(u64) -> Result<P, Failure>,
    text: impl Fn(&P) -> &str,
) -> Result<Option<Way<P>>, Failure> {
    let mut reached = pushes.iter().filter(|push| reached_a_host(push));
    let Some(last) = reached.next() else { return Ok(None) };
    let now = if is_done(last) { Some(policy_of(last.id)?) } else { None };
    for push in reached.filter(|push| is_done(push)) {
        let policy = policy_of(push.id)?;
        if now.as_ref().is_none_or(|now| text(now) != text(&policy)) {
            return Ok(Some(Way { from: last.id, to: push.id, policy }));
        }
    }
    Ok(None)
}

fn is_done(push: &Listed) -> bool {
    push.state == "done"
}

/// Whether a host may still hold what the push brought.
fn reached_a_host(push: &Listed) -> bool {
    let confirmed = push.states.get("confirmed").is_some_and(|count| *count > 0);
    push.is_of_rulesets() && (is_done(push) || confirmed)
}

fn nothing() -> Failure {
    Failure::new(
        Exit::NotFound,
        "there is no policy to go back to: no other one was pushed before; push the file that shall \
         hold",
        "没有可恢复的策略：此前未下发过其他策略；请直接下发所需的策略文件",
    )
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// Pushes, newest first, as `(id, state, hosts confirmed, policy)`, and where they lead back to.
    fn check(pushes: &[(u64, &str, u64, &'static str)], expect: Option<(u64, u64)>) {
        let listed: Vec<Listed> = pushes
            .iter()
            .map(|(id, state, confirmed, policy)| {
                serde_json::from_value(json!({
                    "id": id, "kind": if policy.is_empty() { "quarantine" } else { "ruleset" },
                    "actor": "uid 0", "created_at": "2026-11-25T22:00:00Z", "state": state,
                    "stage": 1, "stages": 2, "policy": policy, "hosts": 2,
                    "states": {"confirmed": confirmed, "waiting": 1},
                }))
                .unwrap()
            })
            .collect();
        let policy_of = |id| {
            let found = pushes.iter().find(|push| push.0 == id);
            Ok(found.expect("only pushes that there are").3)
        };
        let way = way(&listed, policy_of, |policy| policy).unwrap();
        assert_eq!(way.map(|way| (way.from, way.to)), expect, "{pushes:?}");
    }

    #[test]
    fn the_way_back_leads_to_the_newest_that_was_done_and_says_something_else() {
        check(&[], None);
        check(&[(1, "done", 2, "a")], None);
        check(&[(2, "done", 2, "b"), (1, "done", 2, "a")], Some((2, 1)));
        // The same policy pushed again is no way back.
        check(&[(3, "done", 2, "b"), (2, "done", 2, "b"), (1, "done", 2, "a")], Some((3, 1)));
        // Back from where it went back to.
        check(&[(3, "done", 2, "a"), (2, "done", 2, "b"), (1, "done", 2, "a")], Some((3, 2)));
    }

    #[test]
    fn what_reached_only_some_hosts_is_taken_back_from_those() {
        check(&[(2, "failed", 1, "b"), (1, "done", 2, "a")], Some((2, 1)));
        check(&[(2, "cancelled", 1, "a"), (1, "done", 2, "a")], Some((2, 1)));
        check(&[(2, "failed", 1, "b")], None);
        // What reached nobody, and what was no policy, does not count.
        let pushes: &[_] = &[
            (5, "done", 1, ""),
            (4, "failed", 0, "c"),
            (3, "draft", 0, "c"),
            (2, "done", 2, "b"),
            (1, "done", 2, "a"),
        ];
        check(pushes, Some((2, 1)));
    }
}
