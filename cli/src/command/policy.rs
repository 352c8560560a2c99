//! `bailey policy`: what a policy file says, before anything follows it, and how it comes to the
//! hosts. `check`, `compile`, `diff`, `schema` and `key` ask no collector, nor does `trace` of files.

mod cancel;
mod confirm;
mod hosts;
mod key;
mod plan;
pub(super) mod proof;
mod push;
mod pushes;
mod rollback;
mod trace;

use std::io::Read as _;
use std::path::Path;

use bailey_rules::compile;
use bailey_rules::name::ZoneName;
use bailey_rules::plan::{Changes, Piece, changes as changes_between};
use bailey_rules::policy::{Addresses, Mode, Origin, Party, Policy, SCHEMA as SCHEMA_OF_FILES};
use bailey_rules::yaml;
use serde_json::{Value, json};

use super::Asking;
use super::json as written;
use crate::arguments::{Compile, Format, Global, OnePolicy, PolicyCommand, TwoPolicies};
use crate::exit::{Done, Exit, Failure};
use crate::screen::Screen;

/// The version of the answers for programs.
const SCHEMA: u32 = 1;

/// The most networks of one end that a line shows.
const SHOWN_NETWORKS: usize = 4;

/// Does one of the verbs of policies.
pub(super) fn run(
    command: &PolicyCommand,
    global: &Global,
    screen: Screen,
) -> Result<Done, Failure> {
    let format = global.output;
    let asking = || Asking::new(global, screen);
    match command {
        PolicyCommand::Check(one) => check(one, format, screen),
        PolicyCommand::Compile(compile) => ruleset(compile, format),
        PolicyCommand::Diff(two) => diff(two, format, screen),
        PolicyCommand::Key(key) => key::run(key, format, screen),
        PolicyCommand::Hosts => hosts::run(&asking()?),
        PolicyCommand::Push(push) => push::run(push, &asking()?),
        PolicyCommand::Confirm(one) => confirm::run(one, &asking()?),
        PolicyCommand::Cancel(one) => cancel::run(one, &asking()?),
        PolicyCommand::Pushes(one) => pushes::run(one, &asking()?),
        PolicyCommand::Rollback(rollback) => rollback::run(rollback, &asking()?),
        PolicyCommand::Plan(plan) => plan::run(plan, global, screen),
        PolicyCommand::Trace(wanted) => trace::run(wanted, global, screen),
        PolicyCommand::Schema => Ok(Done::said(SCHEMA_OF_FILES.to_owned())),
    }
}

/// Reads a policy file.
///
/// # Errors
/// When it cannot be read, or is wrong: then with everything that is.
pub(super) fn read(path: &Path) -> Result<Policy, Failure> {
    read_with_text(path).map(|(policy, _)| policy)
}

/// Reads a policy file, and gives its text too.
///
/// # Errors
/// As [`read`].
pub(super) fn read_with_text(path: &Path) -> Result<(Policy, String), Failure> {
    let shown = path.display().to_string();
    let text = read_bounded(path).map_err(|why| {
        let (en, zh) = (format!("cannot read {shown}: {why}"), format!("无法读取 {shown}：{why}"));
        match why.kind() {
            std::io::ErrorKind::NotFound => Failure::new(Exit::NotFound, en, zh),
            _ => Failure::error(en, zh),
        }
    })?;
    Ok((parse(&shown, &text)?, text))
}

/// What a policy file says that is called `name`.
///
/// # Errors
/// When it is wrong: then with everything that is.
pub(super) fn parse(name: &str, text: &str) -> Result<Policy, Failure> {
    Policy::parse(name, text).map_err(|problems| {
        Failure::error(
            format!("the policy is wrong:\n{problems}"),
            format!("策略文件有误：\n{problems}"),
        )
    })
}

/// What rulesets call a policy file: its name without the folder.
pub(super) fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned()
}

fn read_bounded(path: &Path) -> std::io::Result<String> {
    // One octet more than is taken, so that a longer file is refused and never cut.
    let most = u64::try_from(yaml::MAX_FILE).unwrap_or(u64::MAX).saturating_add(1);
    let mut text = String::new();
    std::fs::File::open(path)?.take(most).read_to_string(&mut text)?;
    Ok(text)
}

fn check(one: &OnePolicy, format: Format, screen: Screen) -> Result<Done, Failure> {
    let policy = read(&one.file)?;
    let proof = proof::proved(&policy, &file_name(&one.file))?;
    let enforcing = |mode: Mode| -> Vec<&ZoneName> {
        policy.zones.iter().filter(|(_, zone)| zone.mode == mode).map(|(name, _)| name).collect()
    };
    let (enforce, observe) = (enforcing(Mode::Enforce), enforcing(Mode::Observe));
    let said = match format {
        Format::Json | Format::Ndjson => written(
            &json!({
                "schema": SCHEMA,
                "site": policy.site,
                "zones": policy.zones.len(),
                "enforce": enforce,
                "observe": observe,
                "hosts": policy.hosts.len(),
                "services": policy.services.len(),
                "exchange_points": policy.exchange_points.len(),
                "flows": policy.flows.len(),
                "invariants": policy.invariants.len(),
                "proved": proof.holding,
                "demanded": proof.demanded,
            }),
            format,
        ),
        Format::Table => {
            let listed = |zones: &[&ZoneName]| match zones {
                [] => "-".to_owned(),
                zones => zones.iter().map(|zone| zone.as_str()).collect::<Vec<_>>().join(", "),
            };
            let (file, site) = (one.file.display(), &policy.site);
            let counts = [
                (policy.zones.len(), "zones", "个安全域"),
                (policy.hosts.len(), "hosts", "台主机"),
                (policy.services.len(), "services", "个服务"),
                (policy.exchange_points.len(), "exchange points", "个交换点"),
                (policy.flows.len(), "flows", "条流"),
                (policy.invariants.len(), "invariants", "条不变式"),
            ];
            let counts: Vec<String> = counts
                .iter()
                .map(|(count, en, zh)| {
                    screen.word(&format!("{count} {en}"), &format!("{count} {zh}")).to_owned()
                })
                .collect();
            let counts = counts.join(screen.word(", ", "，"));
            let (enforce, observe) = (listed(&enforce), listed(&observe));
            let proof = screen.say(&proof.text());
            match screen.lang {
                bailey_rules::text::Lang::En => format!(
                    "{file}: the policy of {site} is well formed and agrees with itself\n  {counts}\n  \
                     enforce: {enforce}\n  observe: {observe}\n  {proof}\n"
                ),
                bailey_rules::text::Lang::Zh => format!(
                    "{file}：站点 {site} 的策略格式正确，且没有自相矛盾\n  {counts}\n  \
                     强制执行：{enforce}\n  仅观察：{observe}\n  {proof}\n"
                ),
            }
        }
    };
    Ok(Done::said(said))
}

fn ruleset(wanted: &Compile, format: Format) -> Result<Done, Failure> {
    let policy = read(&wanted.file)?;
    let host = &wanted.host;
    let named = policy.hosts.get(host).map(|entry| entry.zone.clone());
    let zone = match (named, &wanted.zone) {
        (Some(named), Some(zone)) if named != *zone => {
            return Err(Failure::error(
                format!("{host} is in zone {named}, not in {zone}; leave --zone out"),
                format!("{host} 位于安全域 {named}，而非 {zone}；请去掉 --zone"),
            ));
        }
        (Some(named), _) => named,
        (None, Some(zone)) if policy.zones.contains_key(zone) => zone.clone(),
        (None, Some(zone)) => {
            return Err(Failure::new(
                Exit::NotFound,
                format!("the policy has no zone {zone}"),
                format!("策略中没有安全域 {zone}"),
            ));
        }
        (None, None) => {
            return Err(Failure::new(
                Exit::NotFound,
                format!("the policy does not name {host}: say its zone with --zone"),
                format!("策略未声明主机 {host}：请用 --zone 指明其安全域"),
            ));
        }
    };
    let file = file_name(&wanted.file);
    let text = if wanted.quarantine {
        compile::quarantine(&policy, &file, host, &zone)
    } else {
        compile::ruleset(&policy, &file, host, &zone).text
    };
    Ok(Done::said(match format {
        Format::Table => text,
        Format::Json | Format::Ndjson => written(
            &json!({
                "schema": SCHEMA, "host": host, "zone": zone, "ruleset": text,
            }),
            format,
        ),
    }))
}

fn diff(two: &TwoPolicies, format: Format, screen: Screen) -> Result<Done, Failure> {
    let (old, new) = (read(&two.old)?, read(&two.new)?);
    let mut changes = changes_between(&old, &new);
    if let Some(host) = &two.host {
        let party = Party::Host(host.clone());
        let at = old.addresses(&party).with(&new.addresses(&party));
        if at.is_empty() {
            return Err(Failure::new(
                Exit::NotFound,
                format!("neither policy says an address of {host}"),
                format!("两份策略均未给出 {host} 的地址"),
            ));
        }
        changes = changes.of(&at);
    }
    let said = match format {
        Format::Json | Format::Ndjson => written(
            &json!({
                "schema": SCHEMA,
                "added": changes.added.iter().map(piece).collect::<Vec<_>>(),
                "removed": changes.removed.iter().map(piece).collect::<Vec<_>>(),
            }),
            format,
        ),
        Format::Table => lines(&changes, two, screen),
    };
    let done = Done::said(said);
    if two.exit_code && !changes.is_empty() {
        return Ok(done.ending(Exit::Findings.code()));
    }
    Ok(done)
}

fn lines(changes: &Changes, two: &TwoPolicies, screen: Screen) -> String {
    if changes.is_empty() {
        let same = screen
            .word("The same connections may be opened under both.", "两份策略放行的连接完全相同。");
        return format!("{same}\n");
    }
    let line = |sign: char, file: &Path, piece: &Piece| {
        let name = file_name(file);
        format!(
            "{sign} {} > {}  {}  ({}:{} {})\n",
            networks(&piece.from),
            networks(&piece.to),
            piece.service,
            name,
            piece.line,
            origin(&piece.origin, screen),
        )
    };
    let removed = changes.removed.iter().map(|piece| line('-', &two.old, piece));
    let added = changes.added.iter().map(|piece| line('+', &two.new, piece));
    removed.chain(added).collect()
}

/// The first networks of a set, and how many more there are.
fn networks(all: &Addresses) -> String {
    let v4 = all.v4().iter().map(ToString::to_string);
    let networks: Vec<String> = v4.chain(all.v6().iter().map(ToString::to_string)).collect();
    match networks.get(..SHOWN_NETWORKS) {
        Some(first) if networks.len() > SHOWN_NETWORKS => {
            format!("{} +{}", first.join(","), networks.len() - SHOWN_NETWORKS)
        }
        Some(_) | None => networks.join(","),
    }
}

fn origin(origin: &Origin, screen: Screen) -> String {
    let (en, zh, name) = match origin {
        Origin::Flow(nth) => ("flow", "流", nth.to_string()),
        Origin::Exchange(name) => ("exchange point", "交换点", name.clone()),
        Origin::Management(zone) => ("management of", "管理通道", zone.to_string()),
        Origin::Collector(zone) => ("collector of", "采集器", zone.to_string()),
    };
    format!("{} {name}", screen.word(en, zh))
}

fn piece(piece: &Piece) -> Value {
    let all = |set: &Addresses| -> Vec<String> {
        let v4 = set.v4().iter().map(ToString::to_string);
        v4.chain(set.v6().iter().map(ToString::to_string)).collect()
    };
    json!({
        "origin": piece.origin,
        "line": piece.line,
        "from": all(&piece.from),
        "to": all(&piece.to),
        "service": piece.service,
    })
}
