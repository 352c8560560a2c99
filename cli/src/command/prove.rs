//! `bailey prove --model FILE`: whether a site keeps its invariants, from what its kernels printed. It
//! asks no collector.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read as _;
use std::path::{Path, PathBuf};

use bailey_rules::model::ruleset::Place;
use bailey_rules::name::{HostName, ZoneName};
use bailey_rules::policy::Policy;
use bailey_rules::prove::site::{
    Answer, Breach, Deciding, Host, MAX_HOSTS, Port, Prover, Result as Proof, ReversePath, Site,
};
use bailey_rules::text::{Lang, Text};
use bailey_rules::yaml;
use serde::Deserialize;
use serde_json::{Value, json};

use super::json as json_text;
use super::policy;
use super::ruleset::files::{self, Loaded};
use crate::arguments::{Format, Listings, Prove};
use crate::exit::{Done, Exit, Failure};
use crate::screen::{Screen, clean};

/// The version of the answers for programs.
const SCHEMA: u32 = 1;

/// The model file. Names of files are from where it stands.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    policy: PathBuf,
    hosts: BTreeMap<HostName, WrittenHost>,
    #[serde(default)]
    links: Vec<BTreeSet<String>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenHost {
    zone: Option<ZoneName>,
    #[serde(default)]
    nft_json: Vec<PathBuf>,
    #[serde(default)]
    iptables_save: Vec<PathBuf>,
    #[serde(default)]
    addresses: Vec<PathBuf>,
    #[serde(default)]
    routes: Vec<PathBuf>,
    #[serde(default)]
    forwards: Forwards,
    #[serde(default)]
    rp_filter: WrittenReversePath,
    #[serde(default)]
    bridges: Vec<BTreeSet<String>>,
}

/// Which packets a host passes on.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Forwards {
    #[default]
    Nothing,
    Ipv4,
    Ipv6,
    Both,
}

#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
enum WrittenReversePath {
    #[default]
    Off,
    Strict,
    Loose,
}

/// Proves what the model file says.
pub(super) fn run(wanted: &Prove, format: Format, screen: Screen) -> Result<Done, Failure> {
    let site = site(&wanted.model)?;
    let mut prover = Prover::new(site);
    let results = match &wanted.invariant {
        None => prover.prove(),
        Some(name) => vec![prover.invariant(name).ok_or_else(|| {
            Failure::new(
                Exit::NotFound,
                format!("the policy has no invariant {name}"),
                format!("策略中没有不变式 {name}"),
            )
        })?],
    };
    let proved = results.iter().all(|result| matches!(result.answer, Answer::Proved { .. }));
    let done = Done::said(match format {
        Format::Json | Format::Ndjson => json_text(
            &json!({
                "schema": SCHEMA,
                "invariants": results.iter().map(result).collect::<Vec<_>>(),
            }),
            format,
        ),
        Format::Table => {
            let policy = &prover.site().policy;
            results.iter().map(|result| lines(result, policy, screen)).collect()
        }
    });
    Ok(if proved { done } else { done.ending(Exit::Findings.code()) })
}

/// The site that a model file names.
pub(super) fn site(path: &Path) -> Result<Site, Failure> {
    let shown = path.display().to_string();
    let unreadable = |why: std::io::Error| files::unreadable(path, &why);
    // One octet more than is taken, so that a longer file is refused and never cut.
    let most = u64::try_from(yaml::MAX_FILE).unwrap_or(u64::MAX).saturating_add(1);
    let mut text = String::new();
    let file = std::fs::File::open(path).map_err(unreadable)?;
    file.take(most).read_to_string(&mut text).map_err(unreadable)?;
    let written: Written = yaml::parse(&shown, &text).map_err(|problems| {
        Failure::error(
            format!("the model file is wrong:\n{problems}"),
            format!("模型文件有误：\n{problems}"),
        )
    })?;
    if written.hosts.len() > MAX_HOSTS {
        return Err(Failure::error(
            format!("{shown}: more than {MAX_HOSTS} hosts; prove the site in parts"),
            format!("{shown}：主机超过 {MAX_HOSTS} 台；请分部分证明"),
        ));
    }
    let folder = path.parent().unwrap_or(Path::new(""));
    let policy = policy::read(&folder.join(&written.policy))?;
    let mut links = Vec::new();
    for link in &written.links {
        links.push(link.iter().map(|text| port(text, &shown)).collect::<Result<_, _>>()?);
    }
    let mut hosts = BTreeMap::new();
    for (name, host) in written.hosts {
        let host = read(&name, host, folder, &policy)?;
        hosts.insert(name, host);
    }
    Ok(Site { policy, hosts, links })
}

/// An interface of a host: `fw-1 eth0`.
fn port(text: &str, file: &str) -> Result<Port, Failure> {
    let mut words = text.split_whitespace();
    let (host, interface) = (words.next(), words.next());
    let host = host.and_then(|host| host.parse().ok());
    match (host, interface, words.next()) {
        (Some(host), Some(interface), None) => Ok(Port { host, interface: interface.to_owned() }),
        _ => Err(Failure::error(
            format!("{file}: a link joins interfaces such as \"fw-1 eth0\", not \"{text}\""),
            format!("{file}：链路应写作 \"fw-1 eth0\" 这样的接口，而非 \"{text}\""),
        )),
    }
}

fn read(
    name: &HostName,
    written: WrittenHost,
    folder: &Path,
    policy: &Policy,
) -> Result<Host, Failure> {
    let from_here =
        |paths: &[PathBuf]| paths.iter().map(|path| folder.join(path)).collect::<Vec<_>>();
    let unfiltered = written.nft_json.is_empty() && written.iptables_save.is_empty();
    let listings = Listings {
        nft_json: from_here(&written.nft_json),
        iptables_save: from_here(&written.iptables_save),
        addresses: from_here(&written.addresses),
        routes: from_here(&written.routes),
    };
    let loaded = if unfiltered {
        // A host without a listing is one that filters nothing, as far as anybody knows.
        let network = files::network(&listings.addresses, &listings.routes)?;
        Loaded { ruleset: bailey_rules::model::ruleset::Ruleset::default(), network }
    } else {
        files::load(&listings)?
    };
    let mut unread = Vec::new();
    if unfiltered {
        unread.push("its packet filters are not in the model file".to_owned());
    }
    if written.addresses.is_empty() {
        unread.push("its addresses are not in the model file".to_owned());
    }
    let way_back = match written.rp_filter {
        WrittenReversePath::Off => ReversePath::Off,
        WrittenReversePath::Strict => ReversePath::Strict,
        WrittenReversePath::Loose => ReversePath::Loose,
    };
    let interfaces = loaded.network.interfaces.iter().flatten();
    let reverse_path = interfaces
        .map(|one| (bailey_rules::model::field::device_name(one.device), way_back))
        .collect();
    Ok(Host {
        zone: written.zone.or_else(|| policy.hosts.get(name).map(|entry| entry.zone.clone())),
        ruleset: loaded.ruleset,
        network: loaded.network,
        forwards_v4: matches!(written.forwards, Forwards::Ipv4 | Forwards::Both),
        forwards_v6: matches!(written.forwards, Forwards::Ipv6 | Forwards::Both),
        reverse_path,
        bridges: written.bridges,
        unread,
    })
}

fn both(text: &Text) -> Value {
    json!({ "en": text.in_lang(Lang::En), "zh": text.in_lang(Lang::Zh) })
}

fn result(result: &Proof) -> Value {
    let mut told = json!({
        "invariant": result.invariant,
        "line": result.line,
        "hosts": result.hosts,
    });
    match &result.answer {
        Answer::Proved { assumptions } => {
            told["answer"] = json!("proved");
            let all = assumptions
                .iter()
                .map(|one| json!({ "assumption": one.name(), "text": both(&one.text()) }));
            told["assumptions"] = json!(all.collect::<Vec<_>>());
        }
        Answer::Broken(breach) => {
            told["answer"] = json!("broken");
            told["breach"] = breach_json(breach);
        }
        Answer::OutOfModel(doubt) => {
            told["answer"] = json!("out_of_model");
            told["statement"] = json!(doubt.statement);
            told["at"] = json!(doubt.at);
            told["wanted"] = both(&doubt.wanted);
            told["perhaps"] = json!(doubt.perhaps.as_ref().map(breach_json));
        }
    }
    told
}

fn breach_json(breach: &Breach) -> Value {
    let hops = breach.path.iter().map(|hop| {
        let deciding = hop.deciding.iter().map(|by| {
            json!({
                "hook": by.hook, "family": by.family, "table": by.table, "chain": by.chain,
                "rule": by.rule.as_ref().map(|rule| &rule.text),
                "comment": by.rule.as_ref().and_then(|rule| rule.comment.as_ref()),
                "handle": by.rule.as_ref().and_then(|rule| match rule.place {
                    Place::Handle(handle) => Some(handle),
                    Place::Line(_) => None,
                }),
                "line": by.rule.as_ref().and_then(|rule| match rule.place {
                    Place::Line(line) => Some(line),
                    Place::Handle(_) => None,
                }),
            })
        });
        json!({
            "host": hop.host, "iif": hop.input, "oif": hop.output, "packet": hop.packet,
            "by": deciding.collect::<Vec<_>>(),
        })
    });
    let cuts = breach.cuts.iter().map(|cut| json!({ "host": cut.host, "what": both(&cut.what) }));
    json!({
        "packet": breach.packet,
        "path": hops.collect::<Vec<_>>(),
        "end": both(&breach.end),
        "cuts": cuts.collect::<Vec<_>>(),
    })
}

fn lines(result: &Proof, policy: &Policy, screen: Screen) -> String {
    let (name, line) = (&result.invariant, result.line);
    let site = &policy.site;
    let head = |en: &str, zh: &str| format!("{} {name}  {site}:{line}\n", screen.word(en, zh));
    match &result.answer {
        Answer::Proved { assumptions } => {
            let mut out = head("proved", "已证明");
            for one in assumptions {
                out.push_str(&format!(
                    "    {} {}\n",
                    screen.word("if", "前提："),
                    screen.say(&one.text())
                ));
            }
            out
        }
        Answer::Broken(breach) => head("BROKEN", "被违反") + &breach_lines(breach, screen),
        Answer::OutOfModel(doubt) => {
            let mut out = head("out of model", "超出模型");
            let at = doubt.at.as_ref().map_or_else(String::new, |at| format!(" ({})", clean(at)));
            out.push_str(&format!("    {}{at}\n", clean(&doubt.statement)));
            let wanted = screen.say(&doubt.wanted);
            out.push_str(&format!("    {} {wanted}\n", screen.word("it would take", "需要：")));
            if let Some(perhaps) = &doubt.perhaps {
                out.push_str(&format!("    {}\n", screen.word("perhaps so:", "可能如下：")));
                out.push_str(&breach_lines(perhaps, screen));
            }
            out
        }
    }
}

/// A packet with its way and what would stop it, line by line.
pub(super) fn breach_lines(breach: &Breach, screen: Screen) -> String {
    let mut out = format!("    {}\n", clean(&breach.packet.to_string()));
    for hop in &breach.path {
        let wire = screen.word("on the wire", "线路上");
        let host = hop.host.as_ref().map_or(wire, HostName::as_str);
        let input = hop.input.as_deref().unwrap_or("-");
        let output = hop.output.as_deref().unwrap_or("-");
        let packet = hop.packet.to_string();
        out.push_str(&clean(&format!("    {host}  {input} > {output}  {packet}")));
        out.push('\n');
        for by in &hop.deciding {
            out.push_str(&format!("        {}\n", clean(&rule(by, screen))));
        }
    }
    out.push_str(&format!("    {}\n", screen.say(&breach.end)));
    for cut in &breach.cuts {
        let word = screen.word("would stop it:", "可阻断：");
        out.push_str(&format!("    {word} {}: {}\n", cut.host, screen.say(&cut.what)));
    }
    out
}

fn rule(by: &Deciding, screen: Screen) -> String {
    let Deciding { hook, family, table, chain, .. } = by;
    let what = match &by.rule {
        None => screen.word("policy accept", "默认策略 accept").to_owned(),
        Some(rule) => {
            let place = match rule.place {
                Place::Handle(handle) => format!("{} {handle}", screen.word("handle", "句柄")),
                Place::Line(line) => format!("{} {line}", screen.word("line", "行")),
            };
            format!("{place}: {}", rule.text)
        }
    };
    format!("{hook}  {family} {table} {chain}  {what}")
}
