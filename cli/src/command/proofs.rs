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

/// One invariant. What stands beside a proof is read first, then the proof from the same object: the
/// two share names.
#[derive(Deserialize)]
#[serde(try_from = "Value")]
struct Row {
    beside: Beside,
    proof: Option<Proof>,
}

#[derive(Deserialize)]
struct Beside {
    invariant: String,
    line: Option<u64>,
    standing: Standing,
    seen_at: Option<Timestamp>,
    old: Option<Text>,
}

impl TryFrom<Value> for Row {
    type Error = serde_json::Error;
    fn try_from(row: Value) -> Result<Self, serde_json::Error> {
        let beside = Beside::deserialize(&row)?;
        let proof = row["answer"].is_string().then(|| Proof::deserialize(&row)).transpose()?;
        Ok(Self { beside, proof })
    }
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
    if told.invariants.is_empty() {
        asking.talk(&Text::new(
            "the policy has no invariant that can be proved",
            "策略中没有可证明的不变式",
        ));
    }
    let all_proved = told.invariants.iter().all(|row| row.beside.standing == Standing::Proved);
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
        let Beside { invariant, line, standing, seen_at, old } = &self.beside;
        let mut out = match (&self.proof, standing) {
            (Some(proof), Standing::Proved | Standing::OutOfModel | Standing::Broken) => {
                lines(proof, site, screen)
            }
            // What was proved of something else says nothing now.
            (Some(_) | None, standing) => {
                let line = line.map_or_else(String::new, |line| format!(":{line}"));
                format!("{} {invariant}  {site}{line}\n", screen.say(&standing.word()))
            }
        };
        if let Some(old) = old {
            out.push_str(&format!("    {}\n", screen.say(old)));
        }
        if let Some(seen_at) = seen_at {
            let word = screen.word("last seen so", "最近确认于");
            out.push_str(&format!("    {word} {seen_at}\n"));
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use bailey_rules::text::Lang;
    use serde_json::json;

    use super::*;

    fn words(row: &Value, lang: Lang) -> String {
        let row = Row::deserialize(row).unwrap();
        row.words(&"jiaxing".parse().unwrap(), Screen { lang, colour: false })
    }

    #[test]
    fn an_invariant_is_told_as_from_files_and_with_its_age() {
        let proved = json!({
            "standing": "proved", "since": "2026-11-23T06:00:00Z", "old": null,
            "seen_at": "2026-11-23T06:30:00Z", "invariant": "INV-01", "line": 7,
            "answer": "proved", "hosts": ["fw-1"],
            "assumptions": [{"assumption": "wires", "text": {"en": "wires", "zh": "线路"}}],
        });
        let en = words(&proved, Lang::En);
        assert_eq!(
            en,
            "proved INV-01  jiaxing:7\n    if wires\n    last seen so 2026-11-23T06:30:00Z\n"
        );
        let mut stale = proved;
        stale["standing"] = json!("stale");
        stale["old"] = json!({"en": "it was last proved 20 min ago", "zh": "上次证明于 20 分钟前"});
        assert_eq!(
            words(&stale, Lang::Zh),
            "已过期 INV-01  jiaxing:7\n    上次证明于 20 分钟前\n    最近确认于 2026-11-23T06:30:00Z\n"
        );
        let never = json!({
            "standing": "stale", "since": null, "seen_at": null, "invariant": "INV-02", "line": 9,
            "old": {"en": "it was never proved", "zh": "尚未进行过证明"},
        });
        let told = "stale INV-02  jiaxing:9\n    it was never proved\n";
        assert_eq!(words(&never, Lang::En), told);
    }

    #[test]
    fn an_answer_that_is_not_understood_is_no_proof() {
        let odd = json!({
            "standing": "proved", "invariant": "INV-01", "line": 7, "answer": "certainly",
        });
        assert!(Row::deserialize(&odd).is_err());
    }
}
