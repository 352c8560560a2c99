//! Following a push until its end, a line for each change.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use bailey_rules::text::{Lang, Text};
use serde_json::Value;

use super::pushed::{Push, host_word, state_word};
use super::send::path_of;
use crate::arguments::Format;
use crate::command::{Asking, json, read};
use crate::exit::{Done, Exit, Failure};
use crate::screen::Screen;

/// How often the push is looked at.
const LOOK: Duration = Duration::from_secs(1);
/// So long may a collector be away that is started anew; the push itself goes on from its store.
const PATIENCE: Duration = Duration::from_mins(1);
/// So long is an order to one host waited for that is not connected.
const HOST_PATIENCE: Duration = Duration::from_secs(10);

const EN: Screen = Screen { lang: Lang::En, colour: false };
const ZH: Screen = Screen { lang: Lang::Zh, colour: false };

/// Says every change of a push until it has ended, and then how.
pub(in crate::command) fn follow(asking: &Asking, id: u64) -> Result<Done, Failure> {
    let began = Instant::now();
    let mut before: Option<Push> = None;
    let mut heard = Instant::now();
    let mut told_of_silence = false;
    loop {
        match asking.client.get(&path_of(id, "")) {
            Ok(answer) => {
                heard = Instant::now();
                told_of_silence = false;
                let now: Push = read(&answer)?;
                for line in changes(before.as_ref(), &now) {
                    asking.talk(&line);
                }
                if let Some(end) = end(&now, !asking.may_ask, began.elapsed()) {
                    return ended(end, &answer, asking);
                }
                before = Some(now);
            }
            Err(away) if away.exit == Exit::Unreachable && heard.elapsed() < PATIENCE => {
                if !told_of_silence {
                    asking.talk(&Text::new(
                        "the collector does not answer; the push goes on when it is back",
                        "采集器没有应答；恢复后下发将继续",
                    ));
                    told_of_silence = true;
                }
            }
            Err(failure) if failure.exit == Exit::Unreachable => {
                let Text { en, zh } = failure.words;
                return Err(Failure::new(
                    Exit::Unreachable,
                    format!("{en}; `bailey policy pushes {id}` says later what became of it"),
                    format!("{zh}；稍后可用 `bailey policy pushes {id}` 查看结果"),
                ));
            }
            Err(failure) => return Err(failure),
        }
        std::thread::sleep(LOOK);
    }
}

/// What has changed since the look before, in the order in which it matters.
fn changes(before: Option<&Push>, now: &Push) -> Vec<Text> {
    let mut lines = Vec::new();
    let states: BTreeMap<&str, &str> = before
        .into_iter()
        .flat_map(|push| &push.hosts)
        .map(|host| (host.host.as_str(), host.state.as_str()))
        .collect();
    for host in &now.hosts {
        let was = states.get(host.host.as_str()).copied().unwrap_or("waiting");
        if host.state == was {
            continue;
        }
        let (en, zh) = (host_word(&host.state, EN), host_word(&host.state, ZH));
        let name = &host.host;
        lines.push(match &host.why {
            Some(why) => {
                Text::new(format!("{name}: {en}: {}", why.en), format!("{name}：{zh}：{}", why.zh))
            }
            None => Text::new(format!("{name}: {en}"), format!("{name}：{zh}")),
        });
    }
    let (id, stage, of) = (now.id, now.stage, now.stages);
    if stage > 0 && before.is_none_or(|before| before.stage != stage) {
        let hosts = now.hosts.iter().filter(|host| host.stage == stage).count();
        let counted = if hosts == 1 { "host" } else { "hosts" };
        lines.push(Text::new(
            format!("push {id}, stage {stage} of {of}: {hosts} {counted}"),
            format!("第 {id} 次下发，第 {stage}/{of} 批：{hosts} 台主机"),
        ));
    }
    let waits = |push: &Push| (push.state == "awaiting_confirmation").then_some(push.stage);
    if let Some(waiting) = waits(now)
        && before.and_then(waits) != Some(waiting)
    {
        let (en, zh) = match now.deadline {
            Some(at) => (format!(" before {at}"), format!("于 {at} 之前")),
            None => (String::new(), String::new()),
        };
        lines.push(Text::new(
            format!(
                "a person must confirm stage {stage}{en}, or its hosts return to the ruleset before: \
                 bailey policy confirm {id}"
            ),
            format!("第 {stage} 批须{zh}由人员确认，否则主机恢复原规则集：bailey policy confirm {id}"),
        ));
    }
    lines
}

/// How following ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Done,
    Failed,
    Cancelled,
    /// A person must confirm, and nobody may be asked here.
    NeedsPerson,
    /// The only hosts that are left are not connected.
    Away,
}

fn end(push: &Push, unattended: bool, followed: Duration) -> Option<End> {
    let left = push.hosts.iter().filter(|host| matches!(host.state.as_str(), "waiting" | "sent"));
    let mut left = left.peekable();
    let away = left.peek().is_some() && left.all(|host| host.state == "waiting");
    match push.state.as_str() {
        "failed" => Some(End::Failed),
        "cancelled" => Some(End::Cancelled),
        "awaiting_confirmation" if unattended => Some(End::NeedsPerson),
        "done" if push.kind == "ruleset" || !away => Some(End::Done),
        // A quarantine has no stages that could hold a host back: who still waits is away.
        "running" | "done" if push.kind != "ruleset" && away && followed >= HOST_PATIENCE => {
            Some(End::Away)
        }
        _ => None,
    }
}

fn ended(end: End, answer: &Value, asking: &Asking) -> Result<Done, Failure> {
    let push: Push = read(answer)?;
    let (exit, words) = last_words(end, &push);
    if asking.format != Format::Table {
        return Ok(Done::said(json(answer, asking.format)).ending(exit.code()));
    }
    match exit {
        Exit::Ok => Ok(Done::said(format!("{}\n", asking.screen.say(&words)))),
        _ => Err(Failure { exit, words }),
    }
}

fn last_words(end: End, push: &Push) -> (Exit, Text) {
    let id = push.id;
    let why = || push.why.clone().unwrap_or_else(|| Text::new("no reason is given", "未说明原因"));
    match end {
        End::Done => {
            let (en, zh) = (counts(push, EN), counts(push, ZH));
            let away = push.hosts.iter().any(|host| host.state == "waiting");
            let (later, later_zh) = if away {
                (
                    "; who waits gets the order when it connects, until that expires",
                    "；等待中的主机连接后即收到命令，直至命令过期",
                )
            } else {
                ("", "")
            };
            let words = Text::new(
                format!("push {id} is done: {en}{later}"),
                format!("第 {id} 次下发完成：{zh}{later_zh}"),
            );
            (Exit::Ok, words)
        }
        End::Failed => {
            let why = why();
            let words = Text::new(
                format!(
                    "push {id} failed: {}; nothing more is sent, and hosts that were not confirmed \
                     return to their ruleset before by themselves. `bailey policy pushes {id}` shows \
                     each host",
                    why.en
                ),
                format!(
                    "第 {id} 次下发失败：{}；不再下发，尚未确认的主机自动恢复原规则集。各主机情况见 \
                     `bailey policy pushes {id}`",
                    why.zh
                ),
            );
            (Exit::Error, words)
        }
        End::Cancelled => {
            let words = Text::new(
                format!(
                    "push {id} was cancelled; hosts that were not confirmed return to their ruleset \
                     before by themselves"
                ),
                format!("第 {id} 次下发已取消；尚未确认的主机自动恢复原规则集"),
            );
            (Exit::Error, words)
        }
        End::NeedsPerson => {
            let words = Text::new(
                format!("push {id} waits for a person: bailey policy confirm {id}"),
                format!("第 {id} 次下发等待人工确认：bailey policy confirm {id}"),
            );
            (Exit::NeedsConfirmation, words)
        }
        End::Away => {
            let hosts = push.hosts.iter().filter(|host| host.state == "waiting");
            let hosts = hosts.map(|host| host.host.as_str()).collect::<Vec<_>>().join(", ");
            let words = Text::new(
                format!(
                    "{hosts} is not connected; the collector hands the order over as soon as it is, \
                     until the order expires. `bailey policy pushes {id}` shows when it has"
                ),
                format!(
                    "{hosts} 未连接；采集器将在其连接后立即下发，直至命令过期。结果见 \
                     `bailey policy pushes {id}`"
                ),
            );
            (Exit::Unreachable, words)
        }
    }
}

/// How many hosts are how.
fn counts(push: &Push, screen: Screen) -> String {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for host in &push.hosts {
        *counts.entry(&host.state).or_default() += 1;
    }
    let counts: Vec<String> = counts
        .into_iter()
        .map(|(state, count)| format!("{count} {}", host_word(state, screen)))
        .collect();
    counts.join(screen.word(", ", "，"))
}

/// A push on one line: its number, its state, and how many hosts are how.
pub(in crate::command) fn summed_up(push: &Push, screen: Screen) -> String {
    let (id, state, counts) = (push.id, state_word(&push.state, screen), counts(push, screen));
    match screen.lang {
        Lang::En => format!("push {id}: {state}; {counts}"),
        Lang::Zh => format!("第 {id} 次下发：{state}；{counts}"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn push(kind: &str, state: &str, stage: u32, hosts: &[(&str, &str, u32)]) -> Push {
        let hosts: Vec<Value> = hosts
            .iter()
            .map(|(host, is, stage)| {
                let why = (*is == "refused").then(|| json!({"en": "too old", "zh": "过旧"}));
                json!({
                    "host": host, "zone": "inner", "version": 43, "digest": "ab", "state": is,
                    "why": why, "error": null, "stage": stage,
                })
            })
            .collect();
        let waits = state == "awaiting_confirmation";
        let failed = state == "failed";
        serde_json::from_value(json!({
            "schema": 1, "id": 7, "kind": kind, "actor": "uid 0",
            "created_at": "2026-11-25T22:00:00Z", "state": state, "confirm": "auto",
            "why": failed.then(|| json!({"en": "web-1: too old", "zh": "web-1：过旧"})),
            "stage": stage, "stages": 2, "hosts": hosts,
            "deadline": waits.then_some("2026-11-25T22:02:00Z"),
        }))
        .unwrap()
    }

    fn told(lines: &[Text]) -> String {
        let both = |line: &Text| format!("{}\n{}\n", line.en, line.zh);
        lines.iter().map(both).collect::<Vec<String>>().concat()
    }

    #[test]
    fn every_change_is_told_once() {
        let looks = [
            push("ruleset", "running", 1, &[("oa-17", "waiting", 1), ("web-1", "waiting", 2)]),
            push("ruleset", "running", 1, &[("oa-17", "sent", 1), ("web-1", "waiting", 2)]),
            push(
                "ruleset",
                "awaiting_confirmation",
                1,
                &[("oa-17", "reachable", 1), ("web-1", "waiting", 2)],
            ),
            push(
                "ruleset",
                "awaiting_confirmation",
                1,
                &[("oa-17", "reachable", 1), ("web-1", "waiting", 2)],
            ),
            push("ruleset", "failed", 2, &[("oa-17", "confirmed", 1), ("web-1", "refused", 2)]),
        ];
        let mut all = told(&changes(None, &looks[0]));
        for pair in looks.windows(2) {
            all.push_str(&told(&changes(Some(&pair[0]), &pair[1])));
        }
        insta::assert_snapshot!(all);
    }

    #[test]
    fn following_ends_when_nothing_more_will_happen() {
        let long = HOST_PATIENCE;
        let check = |push: &Push, unattended, followed, expect| {
            assert_eq!(end(push, unattended, followed), expect, "{push:?}");
        };
        let waiting: &[_] = &[("oa-17", "waiting", 1)];
        check(&push("ruleset", "running", 1, waiting), false, long, None);
        let held = push("ruleset", "awaiting_confirmation", 1, &[("oa-17", "reachable", 1)]);
        check(&held, false, long, None);
        check(&held, true, long, Some(End::NeedsPerson));
        check(&push("ruleset", "done", 2, waiting), false, Duration::ZERO, Some(End::Done));
        check(&push("ruleset", "failed", 1, waiting), false, Duration::ZERO, Some(End::Failed));
        check(&push("ruleset", "cancelled", 1, waiting), false, long, Some(End::Cancelled));
        check(&push("quarantine", "running", 1, waiting), false, Duration::ZERO, None);
        check(&push("quarantine", "running", 1, waiting), false, long, Some(End::Away));
        check(&push("quarantine", "done", 1, waiting), false, long, Some(End::Away));
        let sent = push("quarantine", "running", 1, &[("oa-17", "sent", 1)]);
        check(&sent, false, long, None);
        let applied = push("quarantine", "done", 1, &[("oa-17", "applied", 1)]);
        check(&applied, false, Duration::ZERO, Some(End::Done));
    }

    #[test]
    fn the_end_says_how_it_went_and_what_next() {
        let confirmed: &[_] = &[("oa-17", "confirmed", 1), ("web-1", "waiting", 2)];
        let mut all = Vec::new();
        for (end, push) in [
            (End::Done, push("ruleset", "done", 2, confirmed)),
            (End::Failed, push("ruleset", "failed", 2, confirmed)),
            (End::Cancelled, push("ruleset", "cancelled", 2, confirmed)),
            (End::NeedsPerson, push("ruleset", "awaiting_confirmation", 1, confirmed)),
            (End::Away, push("quarantine", "running", 1, &[("oa-17", "waiting", 1)])),
        ] {
            let (exit, words) = last_words(end, &push);
            all.push(format!("{} {}", exit.code(), told(&[words])));
        }
        insta::assert_snapshot!(all.join("\n"));
    }
}
