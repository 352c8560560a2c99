//! `bailey policy push`: a policy's rulesets, proved and signed, on their way to the hosts.

use std::collections::HashMap;
use std::path::Path;

use bailey_rules::policy::{Mode, Policy};
use bailey_rules::text::Text;
use bailey_wire::order::{Order, OrderDigest, SigningKey, What};
use serde_json::{Value, json};

use super::proof::proved;
use super::{file_name, read_with_text};
use crate::arguments::{Format, Push};
use crate::command::delivery::known::{Chosen, Known, KnownHost, choose};
use crate::command::delivery::rulesets::{Written, deliver};
use crate::command::delivery::send::path_of;
use crate::command::delivery::{media, now, pushed, signed};
use crate::command::{Asking, json as written, read as reply};
use crate::exit::{Done, Exit, Failure};
use crate::key_file;
use crate::orders::{self, Terms};
use crate::screen::{Screen, Table};

/// Pushes a policy, writes it on removable media, or shows what either would do.
pub(super) fn run(push: &Push, asking: &Asking) -> Result<Done, Failure> {
    let (policy, text) = read_with_text(&push.file)?;
    let name = file_name(&push.file);
    let key = push.key.as_deref().map(key_file::private).transpose()?;
    let known = match &push.inventory {
        Some(file) => Known::from_file(file)?,
        None => Known::ask(asking)?,
    };
    let id = key.as_ref().map(|key| key.verifying_key().id());
    let chosen = choose(&known, &push.host, &push.zone, &policy, id)?;
    let issued_at = now();
    let terms = Terms {
        version: push.number.map_or(known.next_version, Into::into),
        issued_at,
        expires_at: issued_at + push.pace.expires,
    };
    asking.talk(&proved(&policy, &name)?.text());
    if push.dry_run {
        let before = if push.inventory.is_some() { None } else { Before::ask(asking) };
        let rows = preview(push, &policy, &name, &chosen, &terms, before.as_ref());
        return Ok(shown(&rows, &chosen, &terms, asking));
    }
    let Some(key) = key else {
        return Err(Failure::new(Exit::Usage, "--key is needed", "须给出 --key"));
    };
    match &push.to {
        Some(folder) => write(push, &policy, &name, &chosen, &terms, &key, folder, asking),
        None => {
            let written = Written { policy: &policy, name: &name, text: &text };
            deliver(asking, &written, &chosen, &known, &key, &push.pace)
        }
    }
}

/// One order a host into a folder, for removable media.
#[allow(clippy::too_many_arguments, reason = "all of them are what one order is made of")]
fn write(
    push: &Push,
    policy: &Policy,
    name: &str,
    chosen: &Chosen,
    terms: &Terms,
    key: &SigningKey,
    folder: &Path,
    asking: &Asking,
) -> Result<Done, Failure> {
    for (host, why) in &chosen.left_out {
        asking.talk(&Text::new(
            format!("{host} is left out: {}", why.en),
            format!("不包括 {host}：{}", why.zh),
        ));
    }
    media::prepare(folder, chosen.hosts.iter().map(|known| &known.host))?;
    let mut rows = Vec::new();
    for known in &chosen.hosts {
        let to = known.addressee();
        let order = orders::ruleset(policy, name, &to, terms, push.pace.confirm_within);
        let signed = signed(&to.host, &order, key)?;
        let path = media::write(folder, &to.host, &signed)?;
        rows.push((to.host, path, signed.digest()));
    }
    asking.talk(&Text::new(
        format!(
            "On each host, before {}: `bailey-agent apply FILE`, and then the line that it prints, \
             within the time it says.",
            terms.expires_at
        ),
        format!(
            "请在 {} 之前于各主机执行 `bailey-agent apply 文件`，并在其提示的时间内执行其打印的确认命令。",
            terms.expires_at
        ),
    ));
    Ok(Done::said(match asking.format {
        Format::Json | Format::Ndjson => {
            let files: Vec<Value> = rows
                .iter()
                .map(|(host, path, digest): &(_, _, OrderDigest)| {
                    json!({"host": host, "file": path, "digest": digest.to_string()})
                })
                .collect();
            let said = json!({"schema": 1, "version": terms.version, "files": files});
            written(&said, asking.format)
        }
        Format::Table => {
            let headings = [("host", "主机"), ("order", "命令"), ("file", "文件")];
            let mut table = Table::headed(asking.screen.words_of(headings));
            for (host, path, _) in &rows {
                let version = terms.version.to_string();
                let file = path.display().to_string();
                table.row([host.as_str().into(), version.into(), file.into()]);
            }
            table.render()
        }
    }))
}

/// The policy that was pushed last, to compare with.
struct Before {
    policy: Policy,
    name: String,
    /// Which order each host then had.
    versions: HashMap<String, u64>,
}

impl Before {
    /// `None` where nothing was pushed, or what was cannot be read: then everything counts as new.
    fn ask(asking: &Asking) -> Option<Self> {
        let pushes = pushed::newest(asking).ok()?;
        let last = pushes.iter().find(|push| push.is_of_rulesets() && push.state == "done")?;
        let (policy, name) = pushed::policy_to_look_at(asking, last.id)?;
        let path = path_of(last.id, "");
        let push: pushed::Push = reply(&asking.client.get(&path).ok()?).ok()?;
        let versions = push.hosts.into_iter().map(|host| (host.host, host.version)).collect();
        Some(Self { policy, name, versions })
    }
}

/// What one host would get.
#[derive(Debug, PartialEq, Eq)]
struct Row {
    host: String,
    zone: String,
    mode: Mode,
    connected: bool,
    octets: usize,
    changes: bool,
}

fn preview(
    push: &Push,
    policy: &Policy,
    name: &str,
    chosen: &Chosen,
    terms: &Terms,
    before: Option<&Before>,
) -> Vec<Row> {
    let within = push.pace.confirm_within;
    let row = |known: &KnownHost| {
        let to = known.addressee();
        let new = orders::ruleset(policy, name, &to, terms, within);
        // Only what a host has confirmed is known to be what it enforces.
        let old = before
            .filter(|before| {
                let version = before.versions.get(to.host.as_str()).copied();
                version.is_some() && version == known.confirmed.map(|order| order.version)
            })
            .map(|before| orders::ruleset(&before.policy, &before.name, &to, terms, within));
        let zone = orders::zone_of(policy, &to.host, &to.zone).unwrap_or(&to.zone);
        Row {
            host: to.host.to_string(),
            zone: zone.to_string(),
            mode: orders::mode_of(policy, &to),
            connected: known.connected,
            octets: text_of(&new).len(),
            changes: old.as_ref().map(enforced) != Some(enforced(&new)),
        }
    };
    chosen.hosts.iter().map(row).collect()
}

/// What of an order a host enforces.
fn enforced(order: &Order) -> (&str, bool) {
    let restore = matches!(&order.what, What::Ruleset { restore: true, .. });
    (text_of(order), restore)
}

fn text_of(order: &Order) -> &str {
    match &order.what {
        What::Ruleset { text, .. } | What::Quarantine { text, .. } => text,
        What::Release => "",
    }
}

fn shown(rows: &[Row], chosen: &Chosen, terms: &Terms, asking: &Asking) -> Done {
    let any = rows.iter().any(|row| row.changes);
    let text = match asking.format {
        Format::Json | Format::Ndjson => written(&as_json(rows, chosen, terms), asking.format),
        Format::Table => as_table(rows, chosen, asking.screen),
    };
    let done = Done::said(text);
    if any { done.ending(Exit::Findings.code()) } else { done }
}

fn as_json(rows: &[Row], chosen: &Chosen, terms: &Terms) -> Value {
    let hosts: Vec<Value> = rows
        .iter()
        .map(|row| {
            json!({
                "host": row.host, "zone": row.zone, "mode": row.mode, "connected": row.connected,
                "octets": row.octets, "changes": row.changes,
            })
        })
        .collect();
    let left_out: Vec<Value> = chosen
        .left_out
        .iter()
        .map(|(host, why)| json!({"host": host, "why": {"en": why.en, "zh": why.zh}}))
        .collect();
    json!({"schema": 1, "version": terms.version, "hosts": hosts, "left_out": left_out})
}

const HEADINGS: [(&str, &str); 5] = [
    ("host", "主机"),
    ("zone", "安全域"),
    ("mode", "模式"),
    ("connected", "连接"),
    ("ruleset", "规则集"),
];

fn as_table(rows: &[Row], chosen: &Chosen, screen: Screen) -> String {
    let mut table = Table::headed(screen.words_of(HEADINGS));
    for row in rows {
        let mode = match row.mode {
            Mode::Enforce => screen.word("enforce", "强制执行"),
            Mode::Observe => screen.word("observe", "仅观察"),
        };
        let connected =
            if row.connected { screen.word("yes", "是") } else { screen.word("no", "否") };
        let ruleset = if row.changes {
            screen.word("changes", "有变化")
        } else {
            screen.word("the same", "无变化")
        };
        table.row([
            row.host.as_str().into(),
            row.zone.as_str().into(),
            mode.into(),
            connected.into(),
            ruleset.into(),
        ]);
    }
    let words = screen.word(" is left out: ", " 不下发：");
    let left_out = chosen.left_out.iter().map(|(host, why)| (host, screen.say(why)));
    let left_out: Vec<String> =
        left_out.map(|(host, why)| format!("{host}{words}{why}\n")).collect();
    table.render() + &left_out.concat()
}

#[cfg(test)]
mod tests {
    use bailey_rules::text::Lang;

    use super::*;

    #[test]
    fn a_preview_names_who_changes_and_who_is_left_out() {
        let row = |host: &str, mode, connected, changes| Row {
            host: host.into(),
            zone: "inner".into(),
            mode,
            connected,
            octets: 5000,
            changes,
        };
        let rows =
            [row("oa-17", Mode::Enforce, true, true), row("oa-18", Mode::Observe, false, false)];
        let why = Text::new("it follows key aa, not bb", "其听从密钥 aa，而非 bb");
        let chosen = Chosen { hosts: Vec::new(), left_out: vec![("hp-1".parse().unwrap(), why)] };
        let both = [Lang::En, Lang::Zh]
            .map(|lang| as_table(&rows, &chosen, Screen { lang, colour: false }));
        insta::assert_snapshot!(both.join("\n"));
    }
}
