//! Bringing a policy to the hosts that were chosen for it.

use bailey_rules::policy::{Mode, Policy};
use bailey_rules::text::Text;
use bailey_rules::time::spoken;
use bailey_wire::order::SigningKey;
use bailey_wire::seal::seal;
use serde_json::json;

use super::follow::follow;
use super::known::{Chosen, Known, KnownHost};
use super::send::{Wish, send};
use super::{now, signed};
use crate::arguments::{Format, Pace};
use crate::command::{Asking, json as written};
use crate::exit::{Done, Exit, Failure};
use crate::orders::{self, Terms};

/// A policy with its name and its words.
pub(in crate::command) struct Written<'a> {
    pub(in crate::command) policy: &'a Policy,
    /// What rulesets call it.
    pub(in crate::command) name: &'a str,
    pub(in crate::command) text: &'a str,
}

/// Signs one ruleset for each host, hands them to the collector, and follows them to the end.
pub(in crate::command) fn deliver(
    asking: &Asking,
    written: &Written<'_>,
    chosen: &Chosen,
    known: &Known,
    key: &SigningKey,
    pace: &Pace,
) -> Result<Done, Failure> {
    for (host, why) in &chosen.left_out {
        asking.talk(&Text::new(
            format!("{host} is left out: {}", why.en),
            format!("不下发到 {host}：{}", why.zh),
        ));
    }
    let issued_at = now();
    let terms =
        Terms { version: known.next_version, issued_at, expires_at: issued_at + pace.expires };
    let site = written.policy.site.as_str();
    if !pace.yes && !asking.confirmed(&question(written, &chosen.hosts, &terms, pace), site) {
        return Err(Failure::new(
            Exit::NeedsConfirmation,
            "nothing was sent: nobody confirmed it; add --yes to go without asking",
            "未下发：没有得到确认；加 --yes 可不经询问直接执行",
        ));
    }
    let sealed = seal(written.text, issued_at, key);
    let wish = Wish {
        kind: "ruleset",
        policy: Some((written.name, &sealed)),
        hold: pace.hold,
        at_once: pace.at_once,
    };
    let orders = chosen.hosts.iter().map(|known| {
        let to = known.addressee();
        let within = pace.confirm_within;
        let order = orders::ruleset(written.policy, written.name, &to, &terms, within);
        Ok((to.host.clone(), signed(&to.host, &order, key)?))
    });
    let id = send(asking, wish, orders)?;
    begun(asking, id, pace.no_wait)
}

/// After a push has begun: only its number, or all that becomes of it.
pub(in crate::command) fn begun(asking: &Asking, id: u64, no_wait: bool) -> Result<Done, Failure> {
    if no_wait {
        return Ok(Done::said(match asking.format {
            Format::Json | Format::Ndjson => {
                written(&json!({"schema": 1, "id": id}), asking.format)
            }
            Format::Table => format!("{id}\n"),
        }));
    }
    asking.talk(&Text::new(
        format!(
            "push {id} has begun; `bailey policy cancel {id}` stops it, Ctrl-C only this output"
        ),
        format!(
            "第 {id} 次下发已开始；`bailey policy cancel {id}` 可将其停止，Ctrl-C 仅停止此处显示"
        ),
    ));
    follow(asking, id)
}

fn question(written: &Written<'_>, hosts: &[KnownHost], terms: &Terms, pace: &Pace) -> Text {
    let (name, site) = (written.name, &written.policy.site);
    let enforce = hosts
        .iter()
        .filter(|host| orders::mode_of(written.policy, &host.addressee()) == Mode::Enforce)
        .count();
    let (count, observe) = (hosts.len(), hosts.len() - enforce);
    let version = terms.version;
    let within = spoken(pace.confirm_within);
    let (at, at_zh) = match (pace.at_once, count) {
        (_, 1) => ("", ""),
        (true, _) => (", all at the same time", "，同时下发"),
        (false, _) => (", one first, then a tenth, then all", "，先一台、再十分之一、最后全部"),
    };
    let (who, who_zh) = if pace.hold {
        ("a person confirms it", "由人员确认")
    } else {
        ("it is confirmed over the new rules", "经新规则得到确认")
    };
    let counted = if count == 1 { "host" } else { "hosts" };
    Text::new(
        format!(
            "{name} of {site} goes to {count} {counted} as order {version} ({enforce} will enforce, \
             {observe} observe){at}. Each keeps it if {who} within {}, and otherwise returns to its \
             ruleset before. Write {site} to go on:",
            within.en
        ),
        format!(
            "站点 {site} 的 {name} 将作为命令 {version} 下发到 {count} 台主机（{enforce} 台强制执行，\
             {observe} 台仅观察）{at_zh}。各主机须在 {}内{who_zh}，否则自动恢复原规则集。输入 {site} 继续：",
            within.zh
        ),
    )
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use bailey_rules::policy::REFERENCE;

    use super::*;

    #[test]
    fn whoever_is_asked_reads_what_will_happen() {
        let policy = Policy::parse("policy.yaml", REFERENCE).unwrap();
        let written = Written { policy: &policy, name: "policy.yaml", text: REFERENCE };
        let host = |name: &str, zone: &str| -> KnownHost {
            serde_json::from_value(json!({"host": name, "zone": zone, "key": "ab".repeat(32)}))
                .unwrap()
        };
        let at = bailey_rules::time::Timestamp::from_seconds(1_795_415_400);
        let terms = Terms { version: 43, issued_at: at, expires_at: at };
        let pace = |at_once, hold| Pace {
            confirm_within: Duration::from_mins(2),
            expires: Duration::from_hours(24),
            at_once,
            hold,
            no_wait: false,
            yes: false,
        };
        let hosts =
            [host("oa-web", "inner"), host("mail-out", "outer"), host("edu-9", "education")];
        let asked = [
            question(&written, &hosts, &terms, &pace(false, false)),
            question(&written, &hosts, &terms, &pace(true, true)),
            question(&written, &hosts[..1], &terms, &pace(false, false)),
        ];
        let asked: Vec<String> =
            asked.iter().map(|text| format!("{}\n{}", text.en, text.zh)).collect();
        insta::assert_snapshot!(asked.join("\n\n"));
    }
}
