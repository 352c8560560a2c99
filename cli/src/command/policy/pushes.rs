//! `bailey policy pushes`: what was brought to hosts, by whom, and what became of it.

use serde::Deserialize;

use crate::arguments::OnePush;
use crate::command::Asking;
use crate::command::delivery::follow::summed_up;
use crate::command::delivery::pushed::{
    Listed, Push, host_word, kind_word, list, newest, state_word,
};
use crate::command::delivery::send::path_of;
use crate::exit::{Done, Exit, Failure};
use crate::screen::{Screen, Table, clean};

/// Lists the pushes, or shows one.
pub(super) fn run(one: &OnePush, asking: &Asking) -> Result<Done, Failure> {
    match one.id {
        Some(id) => asking.answer(&asking.client.get(&path_of(id, ""))?, shown),
        None => asking.answer(&list(asking)?, table),
    }
}

/// The newest push in such a state. `en` and `zh` say that there is none.
pub(super) fn running(
    asking: &Asking,
    state: impl Fn(&str) -> bool,
    en: &str,
    zh: &str,
) -> Result<u64, Failure> {
    let found = newest(asking)?.into_iter().find(|push| state(&push.state));
    found.map(|push| push.id).ok_or_else(|| {
        Failure::new(
            Exit::NotFound,
            format!("{en}; `bailey policy pushes` lists them"),
            format!("{zh}；历次下发见 `bailey policy pushes`"),
        )
    })
}

#[derive(Debug, Deserialize)]
struct Answer {
    pushes: Vec<Listed>,
}

const HEADINGS: [(&str, &str); 7] = [
    ("id", "编号"),
    ("time", "时间"),
    ("what", "内容"),
    ("state", "状态"),
    ("stage", "批次"),
    ("hosts", "主机"),
    ("by", "操作者"),
];

fn table(answer: &Answer, screen: Screen) -> String {
    if answer.pushes.is_empty() {
        let never = screen.word(
            "Nothing was pushed yet; `bailey policy push` brings a policy to the hosts.",
            "尚无下发记录；用 `bailey policy push` 将策略下发到主机。",
        );
        return format!("{never}\n");
    }
    let mut table = Table::headed(screen.words_of(HEADINGS));
    for push in &answer.pushes {
        let kind = kind_word(&push.kind, screen);
        let what = match &push.policy {
            Some(name) => format!("{kind} {name}"),
            None => kind.to_owned(),
        };
        let states: Vec<String> = push
            .states
            .iter()
            .filter(|(_, count)| **count > 0)
            .map(|(state, count)| format!("{count} {}", host_word(state, screen)))
            .collect();
        let hosts = match states.as_slice() {
            [] => push.hosts.to_string(),
            states => states.join(screen.word(", ", "，")),
        };
        table.row([
            push.id.to_string().into(),
            push.created_at.to_string().into(),
            what.into(),
            state_word(&push.state, screen).into(),
            format!("{}/{}", push.stage, push.stages).into(),
            hosts.into(),
            push.actor.as_str().into(),
        ]);
    }
    table.render()
}

const OF_HOSTS: [(&str, &str); 6] = [
    ("host", "主机"),
    ("zone", "安全域"),
    ("stage", "批次"),
    ("order", "命令"),
    ("state", "状态"),
    ("why", "原因"),
];

fn shown(push: &Push, screen: Screen) -> String {
    let why = push.why.as_ref().map(|why| format!("{}\n", screen.say(why)));
    let (kind, by, at) = (kind_word(&push.kind, screen), clean(&push.actor), push.created_at);
    let (begun, comma) = (screen.word("begun by", "操作者"), screen.word(", ", "，"));
    let mut table = Table::headed(screen.words_of(OF_HOSTS));
    for host in &push.hosts {
        table.row([
            host.host.as_str().into(),
            host.zone.as_str().into(),
            host.stage.to_string().into(),
            host.version.to_string().into(),
            host_word(&host.state, screen).into(),
            host.why.as_ref().map(|why| screen.say(why)).unwrap_or_default().into(),
        ]);
    }
    format!(
        "{}\n{}{kind}{comma}{begun} {by}{comma}{at}\n\n{}",
        summed_up(push, screen),
        why.unwrap_or_default(),
        table.render(),
    )
}

#[cfg(test)]
mod tests {
    use bailey_rules::text::Lang;
    use serde_json::json;

    use super::*;

    const BOTH: [Screen; 2] =
        [Screen { lang: Lang::En, colour: false }, Screen { lang: Lang::Zh, colour: false }];

    #[test]
    fn the_pushes_are_read_in_both_languages() {
        let answer: Answer = serde_json::from_value(json!({
            "schema": 1, "next": null,
            "pushes": [
                {
                    "id": 8, "kind": "quarantine", "actor": "uid 0", "state": "done", "why": null,
                    "created_at": "2026-11-25T22:10:00Z", "stage": 1, "stages": 1, "confirm": "auto",
                    "deadline": null, "policy": null, "hosts": 1, "states": {"applied": 1},
                },
                {
                    "id": 7, "kind": "ruleset", "actor": "uid 0", "state": "running", "why": null,
                    "created_at": "2026-11-25T22:00:00Z", "stage": 2, "stages": 3, "confirm": "auto",
                    "deadline": null, "policy": "policy.yaml", "hosts": 12,
                    "states": {"confirmed": 1, "sent": 2, "waiting": 9},
                },
            ],
        }))
        .unwrap();
        insta::assert_snapshot!(BOTH.map(|screen| table(&answer, screen)).join("\n"));
        let none = Answer { pushes: Vec::new() };
        assert!(table(&none, BOTH[0]).contains("bailey policy push"));
    }

    #[test]
    fn one_push_shows_each_host_and_why() {
        let push: Push = serde_json::from_value(json!({
            "schema": 1, "id": 7, "kind": "ruleset", "actor": "uid 0", "state": "failed",
            "created_at": "2026-11-25T22:00:00Z", "confirm": "auto", "stage": 1, "stages": 2,
            "why": {"en": "oa-17: was not reachable over the new rules", "zh": "oa-17：经新规则不可达"},
            "deadline": null,
            "hosts": [
                {
                    "host": "oa-17", "zone": "inner", "version": 43, "digest": "ab",
                    "state": "reverted", "error": null, "stage": 1,
                    "why": {"en": "not confirmed in time", "zh": "未及时确认"},
                },
                {
                    "host": "web-1", "zone": "outer", "version": 43, "digest": "ac",
                    "state": "cancelled", "error": null, "stage": 2, "why": null,
                },
            ],
        }))
        .unwrap();
        insta::assert_snapshot!(BOTH.map(|screen| shown(&push, screen)).join("\n"));
    }
}
