//! Pushes as the collector tells of them.

use bailey_rules::policy::Policy;
use bailey_rules::text::Text;
use bailey_rules::time::Timestamp;
use bailey_wire::order::VerifyingKey;
use bailey_wire::seal::unseal;
use serde::Deserialize;
use serde_json::Value;

use super::send::path_of;
use crate::command::policy::parse;
use crate::command::{Asking, read};
use crate::exit::{Exit, Failure};
use crate::screen::Screen;

/// So many pushes are looked at, newest first.
const LOOKED_AT: usize = 200;

/// One push of the list.
#[derive(Debug, Clone, Deserialize)]
pub(in crate::command) struct Listed {
    pub(in crate::command) id: u64,
    pub(in crate::command) kind: String,
    pub(in crate::command) actor: String,
    pub(in crate::command) created_at: Timestamp,
    pub(in crate::command) state: String,
    pub(in crate::command) stage: u32,
    pub(in crate::command) stages: u32,
    pub(in crate::command) policy: Option<String>,
    pub(in crate::command) hosts: u64,
    pub(in crate::command) states: std::collections::BTreeMap<String, u64>,
}

/// One push with its hosts.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(in crate::command) struct Push {
    pub(in crate::command) id: u64,
    pub(in crate::command) kind: String,
    pub(in crate::command) actor: String,
    pub(in crate::command) created_at: Timestamp,
    pub(in crate::command) state: String,
    pub(in crate::command) why: Option<Text>,
    pub(in crate::command) stage: u32,
    pub(in crate::command) stages: u32,
    pub(in crate::command) deadline: Option<Timestamp>,
    pub(in crate::command) hosts: Vec<PushedHost>,
}

/// How one host of a push is.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(in crate::command) struct PushedHost {
    pub(in crate::command) host: String,
    pub(in crate::command) zone: String,
    pub(in crate::command) version: u64,
    pub(in crate::command) state: String,
    pub(in crate::command) why: Option<Text>,
    pub(in crate::command) stage: u32,
}

impl Listed {
    /// Whether it goes on by itself or when a person confirms.
    pub(in crate::command) fn runs(&self) -> bool {
        matches!(self.state.as_str(), "running" | "awaiting_confirmation")
    }

    /// Whether it brought rulesets.
    pub(in crate::command) fn is_of_rulesets(&self) -> bool {
        self.kind == "ruleset"
    }
}

/// The newest pushes, newest first.
pub(in crate::command) fn newest(asking: &Asking) -> Result<Vec<Listed>, Failure> {
    #[derive(Deserialize)]
    struct Answer {
        pushes: Vec<Listed>,
    }
    let answer: Answer = read(&list(asking)?)?;
    Ok(answer.pushes)
}

/// The answer of [`newest`] itself.
pub(in crate::command) fn list(asking: &Asking) -> Result<Value, Failure> {
    asking.client.get(&format!("/api/v1/pushes?limit={LOOKED_AT}"))
}

/// A policy that was pushed, known again by the seal of the key that pushed it.
pub(in crate::command) struct PushedPolicy {
    pub(in crate::command) policy: Policy,
    /// What its rulesets call it.
    pub(in crate::command) name: String,
    /// As it was written.
    pub(in crate::command) text: String,
    /// When it was pushed.
    pub(in crate::command) sealed_at: Timestamp,
}

#[derive(Debug, Deserialize)]
struct KeptPolicy {
    name: String,
    text: String,
}

/// The policy of a push. Its text is only believed with the seal of `key`.
pub(in crate::command) fn policy_of(
    asking: &Asking,
    id: u64,
    key: &VerifyingKey,
) -> Result<PushedPolicy, Failure> {
    let kept: KeptPolicy = read(&asking.client.get(&path_of(id, "/policy"))?)?;
    let sealed = unseal(&kept.text, key).map_err(|error| {
        Failure::new(
            Exit::Denied,
            format!(
                "the policy that the collector keeps of push {id} is not signed again: {error}; use \
                 the file itself instead"
            ),
            format!("不会再次签名采集器所保存的第 {id} 次下发的策略：{error}；请改用策略文件本身"),
        )
    })?;
    let policy = parse(&kept.name, &sealed.text)?;
    Ok(PushedPolicy { policy, name: kept.name, text: sealed.text, sealed_at: sealed.at })
}

/// The policy of a push as the collector keeps it, for looking at only; `None` when it cannot be
/// read.
pub(in crate::command) fn policy_to_look_at(asking: &Asking, id: u64) -> Option<(Policy, String)> {
    let kept: KeptPolicy = read(&asking.client.get(&path_of(id, "/policy")).ok()?).ok()?;
    let policy = Policy::parse(&kept.name, &kept.text).ok()?;
    Some((policy, kept.name))
}

/// What a push brings, in words.
pub(in crate::command) fn kind_word(kind: &str, screen: Screen) -> &str {
    match kind {
        "ruleset" => screen.word("policy", "策略"),
        "quarantine" => screen.word("quarantine", "隔离"),
        "release" => screen.word("release", "解除隔离"),
        other => other,
    }
}

/// How a push is, in words; a word of a later version stays as it is.
pub(in crate::command) fn state_word(state: &str, screen: Screen) -> &str {
    match state {
        "draft" => screen.word("draft", "未开始"),
        "running" => screen.word("running", "进行中"),
        "awaiting_confirmation" => screen.word("waits for a person", "等待人工确认"),
        "done" => screen.word("done", "完成"),
        "failed" => screen.word("failed", "失败"),
        "cancelled" => screen.word("cancelled", "已取消"),
        other => other,
    }
}

/// How a host of a push is, in words.
pub(in crate::command) fn host_word(state: &str, screen: Screen) -> &str {
    match state {
        "waiting" => screen.word("waiting", "等待中"),
        "sent" => screen.word("sent", "已发送"),
        "applied" => screen.word("in force", "已生效"),
        "reachable" => screen.word("reachable over the new rules", "经新规则可达"),
        "confirmed" => screen.word("confirmed", "已确认"),
        "refused" => screen.word("refused", "已拒绝"),
        "no_enforcer" => screen.word("has no enforcer", "没有执行程序"),
        "reverted" => screen.word("reverted", "已恢复原规则集"),
        "superseded" => screen.word("superseded", "已被更新的命令取代"),
        "expired" => screen.word("expired", "已过期"),
        "cancelled" => screen.word("cancelled", "已取消"),
        other => other,
    }
}
