//! `bailey prove` without a model: what the collector has proved of the running site, now or at a time
//! before.

use bailey_rules::name::SiteName;
use bailey_rules::prove::site::told::{Proof, Standing};
use bailey_rules::text::Text;
use bailey_rules::time::Timestamp;
use serde::Deserialize;
use serde_json::Value;

use super::prove::lines;
use super::{Asking, escaped, json, read};
use crate::arguments::{Format, Prove};
use crate::exit::{Done, Exit, Failure};
use crate::screen::Screen;

#[derive(Deserialize)]
struct Answer {
    site: SiteName,
    invariants: Vec<Row>,
    not_proved: Vec<String>,
}

#[derive(Deserialize)]
struct Row {
    invariant: String,
    line: u64,
    standing: Standing,
    seen_at: Option<Timestamp>,
    old: Option<Text>,
    #[serde(flatten)]
    proof: Option<Proof>,
}

/// Asks the collector.
pub(super) fn run(wanted: &Prove, asking: &Asking) -> Result<Done, Failure> {
    let path = match wanted.at {
        Some(at) => format!("/api/v1/proofs?at={}", escaped(&at.to_string())),
        None => "/api/v1/proofs".to_owned(),
    };
    let mut answer = asking.client.get(&path)?;
    if let Some(name) = &wanted.invariant
        && let Some(all) = answer["invariants"].as_array_mut()
    {
        all.retain(|row| row["invariant"] == name.as_str());
    }
    let told: Answer = read(&answer)?;
    if let (Some(name), []) = (&wanted.invariant, told.invariants.as_slice()) {
        return Err(unknown(name, &told));
    }
    let all_proved = told.invariants.iter().all(|row| row.standing == Standing::Proved);
    let done = Done::said(said(&answer, &told, asking));
    Ok(if all_proved { done } else { done.ending(Exit::Findings.code()) })
}

fn unknown(name: &str, told: &Answer) -> Failure {
    if told.not_proved.iter().any(|one| one == name) {
        return Failure::new(
            Exit::NotFound,
            format!("no proof decides {name}, which is of the kind always: a connection tests it"),
            format!("{name} 属于 always 类型，不作证明，由实际连接检验"),
        );
    }
    Failure::new(
        Exit::NotFound,
        format!("the collector knows no invariant {name}"),
        format!("采集器没有不变式 {name}"),
    )
}

fn said(answer: &Value, told: &Answer, asking: &Asking) -> String {
    match asking.format {
        Format::Json | Format::Ndjson => json(answer, asking.format),
        Format::Table => {
            let rows = told.invariants.iter();
            rows.map(|row| row.words(&told.site, asking.screen)).collect()
        }
    }
}

impl Row {
    fn words(&self, site: &SiteName, screen: Screen) -> String {
        let mut out = match (&self.proof, self.standing) {
            (Some(proof), Standing::Proved | Standing::OutOfModel | Standing::Broken) => {
                lines(proof, site, screen)
            }
            (Some(_) | None, standing) => {
                let word = screen.say(&standing.word());
                format!("{word} {}  {site}:{}\n", self.invariant, self.line)
            }
        };
        if let Some(old) = &self.old {
            out.push_str(&format!("    {}\n", screen.say(old)));
        }
        if let Some(seen_at) = self.seen_at {
            let word = screen.word("last seen so", "最近确认于");
            out.push_str(&format!("    {word} {seen_at}\n"));
        }
        out
    }
}
