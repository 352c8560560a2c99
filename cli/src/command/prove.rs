//! `bailey prove --model FILE`: whether a site keeps its invariants, from what its kernels printed. It
//! asks no collector.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bailey_rules::compile::PolicyLine;
use bailey_rules::name::{HostName, SiteName, ZoneName};
use bailey_rules::policy::Policy;
use bailey_rules::prove::site::device::Device;
use bailey_rules::prove::site::told::{Answer, Breach, Proof};
use bailey_rules::prove::site::{Bridge, Host, MAX_HOSTS, Port, Prover, ReversePath, Site};
use bailey_rules::yaml;
use serde::Deserialize;
use serde_json::json;

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
    devices: BTreeMap<HostName, Device>,
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
    rp_filter: ReversePath,
    /// Each with the bridge itself first, then its ports.
    #[serde(default)]
    bridges: Vec<Vec<String>>,
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

/// Proves what the model file says.
pub(super) fn run(
    wanted: &Prove,
    model: &Path,
    format: Format,
    screen: Screen,
) -> Result<Done, Failure> {
    let site = site(model)?;
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
    let proofs: Vec<Proof> = results.iter().map(Proof::of).collect();
    let proved = proofs.iter().all(|proof| matches!(proof.answer, Answer::Proved { .. }));
    let done = Done::said(match format {
        Format::Json | Format::Ndjson => {
            json_text(&json!({ "schema": SCHEMA, "invariants": proofs }), format)
        }
        Format::Table => {
            let site = &prover.site().policy.site;
            proofs.iter().map(|proof| lines(proof, site, screen)).collect()
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
    if written.hosts.len() + written.devices.len() > MAX_HOSTS {
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
    for (name, device) in &written.devices {
        let host = device.host().map_err(|why| {
            Failure::error(
                format!("{shown}: device {name}: {why}"),
                format!("{shown}：设备 {name} 的声明有误：{why}"),
            )
        })?;
        if hosts.insert(name.clone(), host).is_some() {
            return Err(Failure::error(
                format!("{shown}: {name} is both a host and a device; name it once"),
                format!("{shown}：{name} 同时列为主机与设备；请只列一次"),
            ));
        }
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

/// A bridge with its ports: `[br0, eth0, usb0]`.
fn bridge(interfaces: &[String], host: &HostName) -> Result<Bridge, Failure> {
    match interfaces {
        [device, ports @ ..] if !ports.is_empty() => {
            Ok(Bridge { device: device.clone(), ports: ports.iter().cloned().collect() })
        }
        _ => Err(Failure::error(
            format!("host {host}: a bridge is itself and its ports, such as [br0, eth0, usb0]"),
            format!("主机 {host}：网桥应写作网桥本身及其端口，例如 [br0, eth0, usb0]"),
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
    let way_back = written.rp_filter;
    let interfaces = loaded.network.interfaces.iter().flatten();
    let reverse_path = interfaces
        .map(|one| (bailey_rules::model::field::device_name(one.device), way_back))
        .collect();
    Ok(Host {
        zone: written.zone.or_else(|| policy.hosts.get(name).map(|entry| entry.zone.clone())),
        ruleset: Arc::new(loaded.ruleset),
        network: loaded.network,
        forwards_v4: matches!(written.forwards, Forwards::Ipv4 | Forwards::Both),
        forwards_v6: matches!(written.forwards, Forwards::Ipv6 | Forwards::Both),
        reverse_path,
        bridges: written.bridges.iter().map(|all| bridge(all, name)).collect::<Result<_, _>>()?,
        unread,
    })
}

/// A proof in words.
pub(super) fn lines(proof: &Proof, site: &SiteName, screen: Screen) -> String {
    let (name, line) = (&proof.invariant, proof.line);
    let head = |en: &str, zh: &str| format!("{} {name}  {site}:{line}\n", screen.word(en, zh));
    match &proof.answer {
        Answer::Proved { assumptions } => {
            let mut out = head("proved", "已证明");
            for one in assumptions {
                let word = screen.word("if", "前提：");
                out.push_str(&format!("    {word} {}\n", screen.say(&one.text)));
            }
            out
        }
        Answer::Broken { breach } => head("BROKEN", "被违反") + &breach_lines(breach, screen),
        Answer::OutOfModel { statement, at, wanted, perhaps } => {
            let mut out = head("out of model", "超出模型");
            let at = at.as_ref().map_or_else(String::new, |at| format!(" ({})", clean(at)));
            out.push_str(&format!("    {}{at}\n", clean(statement)));
            let wanted = screen.say(wanted);
            out.push_str(&format!("    {} {wanted}\n", screen.word("it would take", "需要：")));
            if let Some(perhaps) = perhaps {
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
        let input = hop.iif.as_deref().unwrap_or("-");
        let output = hop.oif.as_deref().unwrap_or("-");
        let packet = hop.packet.to_string();
        out.push_str(&clean(&format!("    {host}  {input} > {output}  {packet}")));
        out.push('\n');
        for by in &hop.by {
            out.push_str(&format!("        {}\n", screen.say(&by.words())));
            if let Some(PolicyLine { file, line, what }) = &by.policy {
                let word = screen.word("compiled from", "编译自");
                out.push_str(&clean(&format!("            {word} {file}:{line} {what}")));
                out.push('\n');
            }
        }
    }
    out.push_str(&format!("    {}\n", screen.say(&breach.end)));
    for cut in &breach.cuts {
        let word = screen.word("would stop it:", "可阻断：");
        out.push_str(&format!("    {word} {}: {}\n", cut.host, screen.say(&cut.what)));
    }
    out
}
