//! `bailey quarantine`: one host off the network but for its management, at once, and back; or a port.

mod port;

use bailey_rules::policy::Policy;
use bailey_rules::text::Text;
use bailey_rules::time::{Timestamp, spoken};
use bailey_wire::order::{MAX_REASON, SigningKey};

use super::Asking;
use super::delivery::known::{Known, KnownHost};
use super::delivery::pushed::{newest, policy_of};
use super::delivery::rulesets::begun;
use super::delivery::send::{Wish, send};
use super::delivery::{now, signed};
use super::policy::{file_name, read};
use crate::arguments::{Quarantine, QuarantineVerb, QuarantineWhat, Until};
use crate::exit::{Done, Exit, Failure};
use crate::key_file;
use crate::orders::{self, Terms};

/// How long an order to end a quarantine waits for its host.
const RELEASE_EXPIRES: std::time::Duration = std::time::Duration::from_hours(24);

/// Puts a host or a port into quarantine, or ends it.
pub(super) fn run(verb: &QuarantineVerb, asking: &Asking) -> Result<Done, Failure> {
    match (&verb.what, &verb.host) {
        (Some(QuarantineWhat::Port(one)), _) => port::run(one, asking),
        (None, Some(host)) => of_host(host, asking),
        (None, None) => Err(Failure::new(
            Exit::Usage,
            "name a host, or write: bailey quarantine port DEVICE PORT",
            "请给出主机名，或使用：bailey quarantine port 设备 端口",
        )),
    }
}

fn of_host(quarantine: &Quarantine, asking: &Asking) -> Result<Done, Failure> {
    let key = key_file::private(&quarantine.key)?;
    let known = Known::ask(asking)?;
    let host = known.host(&quarantine.host)?;
    if let Some(why) = host.deaf_to(key.verifying_key().id()) {
        let name = &host.host;
        return Err(Failure::error(
            format!("{name} would not follow: {}", why.en),
            format!("{name} 不会执行：{}", why.zh),
        ));
    }
    match (&quarantine.until, &quarantine.reason) {
        (Some(until), Some(reason)) => {
            isolate(quarantine, *until, reason, host, &known, &key, asking)
        }
        _ => release(quarantine, host, &known, &key, asking),
    }
}

fn isolate(
    quarantine: &Quarantine,
    until: Until,
    reason: &str,
    host: &KnownHost,
    known: &Known,
    key: &SigningKey,
    asking: &Asking,
) -> Result<Done, Failure> {
    let (policy, file) = policy(quarantine, key, asking)?;
    let name = &host.host;
    if orders::zone_of(&policy, name, &host.zone).is_none() {
        let zone = &host.zone;
        return Err(Failure::new(
            Exit::NotFound,
            format!("{name} was enrolled into zone {zone}, which {file} does not have"),
            format!("{name} 注册的安全域 {zone} 在 {file} 中不存在"),
        ));
    }
    let issued_at = now();
    let until = end(until, issued_at, &policy)?;
    let reason = plain(reason)?;
    let question = Text::new(
        format!(
            "{name} will be cut off at once but for its management, until {until}. Write its name to \
             go on:"
        ),
        format!("{name} 将立即断网，仅保留管理通道，直至 {until}。输入主机名继续："),
    );
    confirmed(quarantine, &question, asking)?;
    // It begins in time or not at all.
    let terms = Terms { version: known.next_version, issued_at, expires_at: until };
    let to = host.addressee();
    let order = orders::quarantine(&policy, &file, &to, &terms, until, &reason);
    let signed = signed(name, &order, key)?;
    let wish = Wish { kind: "quarantine", policy: None, hold: false, at_once: true };
    let id = send(asking, wish, std::iter::once(Ok((name.clone(), signed))))?;
    begun(asking, id, quarantine.no_wait)
}

fn release(
    quarantine: &Quarantine,
    host: &KnownHost,
    known: &Known,
    key: &SigningKey,
    asking: &Asking,
) -> Result<Done, Failure> {
    let name = &host.host;
    let question = Text::new(
        format!("The quarantine of {name} ends and its ruleset returns. Write its name to go on:"),
        format!("将解除 {name} 的隔离并恢复其规则集。输入主机名继续："),
    );
    confirmed(quarantine, &question, asking)?;
    let issued_at = now();
    let terms =
        Terms { version: known.next_version, issued_at, expires_at: issued_at + RELEASE_EXPIRES };
    let signed = signed(name, &orders::release(&host.addressee(), &terms), key)?;
    let wish = Wish { kind: "release", policy: None, hold: false, at_once: true };
    let id = send(asking, wish, std::iter::once(Ok((name.clone(), signed))))?;
    begun(asking, id, quarantine.no_wait)
}

fn confirmed(quarantine: &Quarantine, question: &Text, asking: &Asking) -> Result<(), Failure> {
    let host = &quarantine.host;
    if quarantine.yes || asking.confirmed(question, host.as_str()) {
        return Ok(());
    }
    Err(Failure::new(
        Exit::NeedsConfirmation,
        format!("nothing was sent to {host}: nobody confirmed it; add --yes to go without asking"),
        format!("未下发到 {host}：没有得到确认；加 --yes 可不经询问直接执行"),
    ))
}

/// The policy that says what is left, and its name: the file that is named, or the newest that was
/// pushed with the same key.
fn policy(
    quarantine: &Quarantine,
    key: &SigningKey,
    asking: &Asking,
) -> Result<(Policy, String), Failure> {
    if let Some(file) = &quarantine.policy {
        return Ok((read(file)?, file_name(file)));
    }
    let pushes = newest(asking)?;
    let last = pushes.iter().find(|push| push.is_of_rulesets() && push.state == "done");
    let last = last.ok_or_else(|| {
        Failure::new(
            Exit::NotFound,
            "no policy was pushed yet; name the one that says what a host in quarantine keeps with \
             --policy FILE",
            "尚未下发过策略；请用 --policy 文件 指定规定隔离主机可保留哪些通信的策略",
        )
    })?;
    let kept = policy_of(asking, last.id, &key.verifying_key())?;
    Ok((kept.policy, kept.name))
}

/// When the quarantine ends, within what the policy allows.
fn end(until: Until, now: Timestamp, policy: &Policy) -> Result<Timestamp, Failure> {
    let until = match until {
        Until::At(at) => at,
        Until::For(length) => now + length,
    };
    let longest = policy.quarantine.longest;
    if until <= now {
        return Err(Failure::new(
            Exit::Usage,
            format!("--until {until} is over; now it is {now}"),
            format!("--until {until} 已过；现在是 {now}"),
        ));
    }
    if until > now + longest {
        let longest = spoken(longest);
        return Err(Failure::new(
            Exit::Usage,
            format!(
                "--until {until} is more than {} away, the longest that the policy allows \
                 (quarantine: {{longest: ...}})",
                longest.en
            ),
            format!(
                "--until {until} 超过策略允许的最长时间 {}（quarantine: {{longest: ...}}）",
                longest.zh
            ),
        ));
    }
    Ok(until)
}

/// The reason as hosts take it: one line, not too long.
fn plain(reason: &str) -> Result<String, Failure> {
    let fits = !reason.trim().is_empty()
        && reason.len() <= MAX_REASON
        && bailey_rules::fact::bounded(reason) == *reason;
    if fits {
        return Ok(reason.to_owned());
    }
    Err(Failure::new(
        Exit::Usage,
        format!("--reason is one line of plain text, at most {MAX_REASON} octets"),
        format!("--reason 须为一行纯文本，不超过 {MAX_REASON} 字节"),
    ))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use bailey_rules::policy::REFERENCE;

    use super::*;

    #[test]
    fn a_quarantine_ends_in_the_future_and_within_what_the_policy_allows() {
        let policy = Policy::parse("policy.yaml", REFERENCE).unwrap();
        let (now, longest) = (Timestamp::from_seconds(1_795_415_400), policy.quarantine.longest);
        let hour = Duration::from_hours(1);
        assert_eq!(end(Until::For(hour), now, &policy), Ok(now + hour));
        assert_eq!(end(Until::At(now + longest), now, &policy), Ok(now + longest));
        for wrong in [
            Until::At(now),
            Until::At(now - hour),
            Until::For(Duration::ZERO),
            Until::For(longest + hour),
        ] {
            let failure = end(wrong, now, &policy).unwrap_err();
            assert_eq!(failure.exit, Exit::Usage, "{wrong:?}");
            assert!(failure.words.en.starts_with("--until 2026-"), "{failure:?}");
        }
    }

    #[test]
    fn a_reason_is_one_line_that_a_host_takes() {
        assert!(plain("勒索软件: oa-17 scans inner").is_ok());
        for wrong in ["", "  ", "two\nlines", "\u{1b}[2J", &"x".repeat(MAX_REASON + 1)] {
            assert_eq!(plain(wrong).unwrap_err().exit, Exit::Usage, "{wrong:?}");
        }
    }
}
