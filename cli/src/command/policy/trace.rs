//! `bailey policy trace`: what becomes of one connection on its way through the site, there and back.

use bailey_rules::prove::site::follow::{Asked, Decides, Followed, Hopped, Way, follow};
use serde_json::{Value, json};

use crate::arguments::{Follow, Format, Global};
use crate::command::{Asking, escaped, json as written, prove, read};
use crate::exit::{Done, Exit, Failure};
use crate::screen::{Screen, clean};

/// The version of the answers for programs.
const SCHEMA: u32 = 1;
/// Where a collector tells it.
const PATH: &str = "/api/v1/trace";

/// Follows the connection through the files of a model, or through what the collector knows.
pub(super) fn run(wanted: &Follow, global: &Global, screen: Screen) -> Result<Done, Failure> {
    let followed = match &wanted.model {
        Some(path) => {
            let site = prove::site(path)?;
            let asked = Asked::parse(&site.policy, &wanted.src, &wanted.dst).map_err(|why| {
                let words = why.text();
                Failure::new(Exit::Usage, words.en, words.zh)
            })?;
            follow(&site, asked)
        }
        None => {
            let asking = Asking::new(global, screen)?;
            let (src, dst) = (escaped(&wanted.src), escaped(&wanted.dst));
            read::<Followed>(&asking.client.get(&format!("{PATH}?src={src}&dst={dst}"))?)?
        }
    };
    let passes = followed.passes;
    let done = Done::said(match global.output {
        Format::Json | Format::Ndjson => written(&as_json(&followed)?, global.output),
        Format::Table => lines(&followed, screen),
    });
    Ok(if passes { done } else { done.ending(Exit::Findings.code()) })
}

fn as_json(followed: &Followed) -> Result<Value, Failure> {
    let mut told = serde_json::to_value(followed).map_err(|why| {
        Failure::error(
            format!("the answer cannot be written: {why}"),
            format!("无法输出结果：{why}"),
        )
    })?;
    told["schema"] = json!(SCHEMA);
    Ok(told)
}

fn lines(followed: &Followed, screen: Screen) -> String {
    let Followed { asked, passes, certain, there, back } = followed;
    let port = |port: Option<u16>| port.map_or_else(String::new, |port| format!(" {port}"));
    let connection =
        format!("{} > {} {}{}", asked.src, asked.dst, asked.protocol.name(), port(asked.dport));
    let verdict = match (passes, certain) {
        (true, true) => screen.word("passes", "通过"),
        (true, false) => screen.word("may pass", "可能通过"),
        (false, true) => screen.word("does not pass", "不通过"),
        (false, false) => screen.word("does not pass, as far as it is known", "据已知信息不通过"),
    };
    let mut out = format!("{verdict}  {}\n", clean(&connection));
    for (ways, name) in [(there, screen.word("there", "去程")), (back, screen.word("back", "回程"))]
    {
        for (nth, way) in (1..).zip(ways) {
            let of = if ways.len() > 1 { format!(" {nth}/{}", ways.len()) } else { String::new() };
            out.push_str(&format!("  {name}{of}\n"));
            out.push_str(&way_lines(way, screen));
        }
    }
    out
}

fn way_lines(way: &Way, screen: Screen) -> String {
    let hops = way.hops.iter().map(|hop| hop_lines(hop, screen));
    let sign = if way.arrives { "=>" } else { "x" };
    hops.collect::<String>() + &format!("    {sign} {}\n", screen.say(&way.end))
}

fn hop_lines(hop: &Hopped, screen: Screen) -> String {
    let [iif, oif] = [&hop.iif, &hop.oif].map(|one| one.as_deref().unwrap_or("-"));
    let mut out = format!("    {}  {iif} > {oif}  {}", hop.host, hop.packet);
    if let Some(state) = &hop.state {
        out.push_str(&format!(" {state}"));
    }
    if let Some(changed) = &hop.changed {
        out.push_str(&format!("  {} {changed}", screen.word("becomes", "变为")));
    }
    let mut out = clean(&out) + "\n";
    for by in &hop.by {
        out.push_str(&format!("        {}\n", clean(&decides(by, screen))));
    }
    if hop.certainty != "exact" {
        let word = screen.word("not certain:", "不确定：");
        out.push_str(&format!("        {word} {}\n", clean(&hop.reasons.join("; "))));
    }
    out
}

fn decides(by: &Decides, screen: Screen) -> String {
    let Decides { hook, family, table, chain, .. } = by;
    let what = match (&by.rule, &by.policy) {
        (Some(rule), _) => {
            let place = match (by.handle, by.line) {
                (Some(handle), _) => format!("{} {handle}", screen.word("handle", "句柄")),
                (None, Some(line)) => format!("{} {line}", screen.word("line", "行")),
                (None, None) => screen.word("rule", "规则").to_owned(),
            };
            // iptables has it among the words of the rule.
            let comment = by.comment.as_ref().filter(|comment| !rule.contains(*comment));
            let comment = comment.map_or_else(String::new, |comment| format!(" \"{comment}\""));
            format!("{place}: {rule}{comment}")
        }
        (None, policy) => {
            format!("{} {}", screen.word("policy", "默认策略"), policy.as_deref().unwrap_or("-"))
        }
    };
    format!("{hook}  {family} {table} {chain}  {what}")
}
