//! Lines: what is used of each, and how well it carries packets. Also of those that the rule files name
//! and whose interface the device does not have.

use axum::Json;
use axum::extract::State;
use bailey_rules::check::device::{interface_of, used};
use bailey_rules::check::{State as AssetState, Verdict};
use bailey_rules::device::interface::{Link, Rate};
use bailey_rules::device::line::Month;
use bailey_rules::device::quality::{Lately, Quality};
use bailey_rules::expectation::{Ask, DeviceWanted, LineWanted};
use bailey_rules::name::{HostName, ZoneName};
use bailey_rules::text::Text;
use bailey_rules::time::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Asked, SCHEMA, limit_of, page_of};
use crate::device::DeviceStatus;
use crate::web::Web;
use crate::web::problem::Problem;
use crate::web::shown::{Shown, in_zone};

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct LinesQuery {
    zone: Option<String>,
    device: Option<HostName>,
    after: Option<String>,
    limit: Option<usize>,
}

#[derive(Serialize)]
pub(super) struct LinesAnswer {
    schema: u32,
    lines: Vec<LineRow>,
    next: Option<String>,
}

/// One line.
#[derive(Debug, Serialize)]
pub(super) struct LineRow {
    device: HostName,
    zone: ZoneName,
    /// What the rule files know it by: the name or alias of its interface.
    key: String,
    /// What they call it.
    name: Option<String>,
    /// Absent where the device tells of no interface of this name or alias.
    interface: Option<String>,
    /// Whether that passes packets.
    link: Option<Link>,
    /// Whether it leads to the Internet.
    exit: bool,
    /// The worst that a check says of it; absent where none judges it.
    state: Option<AssetState>,
    why: Option<Text>,
    rated_bits: u64,
    /// Octets a second between the last two polls.
    rate: Rate,
    /// Use of the busier direction on average over a quarter of an hour, in tenths of a percent.
    used_permille: Option<u32>,
    #[serde(flatten)]
    month: MonthRow,
    /// How its far end answers; absent where none is asked.
    far_end: Option<FarEndRow>,
}

/// Of a line: the 95th percentile of its use within a month, in bits a second.
#[derive(Debug, Default, Serialize)]
struct MonthRow {
    /// Of the busier direction, by which it is paid for.
    #[serde(rename = "month_95_bits")]
    busier: Option<u64>,
    #[serde(rename = "month_95_received_bits")]
    received: Option<u64>,
    #[serde(rename = "month_95_sent_bits")]
    sent: Option<u64>,
    /// How many samples of 5 min there are.
    #[serde(rename = "month_samples")]
    samples: usize,
}

impl MonthRow {
    fn of(month: &Month) -> Self {
        let parts = month.percentiles_95();
        let bits = |octets: Option<u64>| octets.map(|octets| octets.saturating_mul(8));
        Self {
            busier: bits(parts.busier()),
            received: bits(parts.received),
            sent: bits(parts.sent),
            samples: month.samples().len(),
        }
    }
}

/// How the far end of a line answers.
#[derive(Debug, Serialize)]
struct FarEndRow {
    #[serde(flatten)]
    ask: Ask,
    /// Why it cannot be asked at all.
    failed: Option<Text>,
    asked_at: Option<Timestamp>,
    answered_at: Option<Timestamp>,
    /// Within 5 min, outages left out: packets, those of a thousand that were lost, and the median round
    /// trip in microseconds.
    lately: Option<Lately>,
    /// Packets of a million within 30 days that fell into no outage, and of how many samples of 5 min.
    available_ppm: Option<u32>,
    available_samples: usize,
}

impl FarEndRow {
    fn of(quality: &Quality) -> Self {
        Self {
            ask: quality.ask,
            failed: quality.failed.clone(),
            asked_at: quality.asked_at(),
            answered_at: quality.answered_at(),
            lately: quality.lately(),
            available_ppm: quality.availability(),
            available_samples: quality.month().len(),
        }
    }
}

impl LineRow {
    pub(super) fn of(
        device: &DeviceStatus,
        wanted: &DeviceWanted,
        key: &str,
        line: &LineWanted,
    ) -> Self {
        let view = &device.view;
        let interface = interface_of(view, key);
        let subject = interface.map_or(key, |interface| &interface.name);
        let worst = device.network_verdicts(subject).max_by_key(|verdict| verdict.state());
        let used = interface.and_then(|interface| used(view, wanted, interface));
        Self {
            device: view.name.clone(),
            zone: view.zone.clone(),
            key: key.to_owned(),
            name: line.name.clone(),
            interface: interface.map(|interface| interface.name.clone()),
            link: interface.map(|interface| interface.link),
            exit: line.exit,
            state: worst.map(Verdict::state),
            why: worst.map(|verdict| verdict.why.clone()),
            rated_bits: line.rated.0,
            rate: used.map(|used| used.newest).unwrap_or_default(),
            used_permille: used.and_then(|used| used.part).map(|part| part.0),
            month: view.lines.get(subject).map(MonthRow::of).unwrap_or_default(),
            far_end: view.quality.get(key).map(|quality| FarEndRow::of(quality)),
        }
    }
}

/// Where a page goes on: after the line of a device. No name of a device holds a slash.
fn place(after: &str) -> Result<(&str, &str), Problem> {
    after.split_once('/').ok_or_else(|| {
        Problem::bad_request("after is not a cursor; take it from `next` of the page before")
    })
}

impl LinesAnswer {
    /// The lines in the order of their devices and keys.
    fn of(query: &LinesQuery, shown: &Shown) -> Result<Self, Problem> {
        let limit = limit_of(query.limit)?;
        let after = query.after.as_deref().map(place).transpose()?;
        let devices = shown
            .devices
            .iter()
            .filter(|device| in_zone(device.view.zone.as_str(), query.zone.as_deref()))
            .filter(|device| query.device.as_ref().is_none_or(|name| device.view.name == *name))
            .filter(|device| after.is_none_or(|(name, _)| device.view.name.as_str() >= name));
        // No more of the devices is looked at than fills one page and shows that more follow.
        let mut rows = Vec::new();
        for device in devices {
            let view = &device.view;
            let wanted = shown.rule_files.for_host(&view.name, &view.zone).device;
            let follows = |key: &str| after.is_none_or(|after| (view.name.as_str(), key) > after);
            let lines = wanted.lines.iter().filter(|(key, _)| follows(key));
            rows.extend(lines.map(|(key, line)| LineRow::of(device, &wanted, key, line)));
            if rows.len() > limit {
                break;
            }
        }
        let (lines, next) =
            page_of(rows.into_iter(), limit, |row| format!("{}/{}", row.device, row.key));
        Ok(Self { schema: SCHEMA, lines, next })
    }
}

pub(super) async fn list(
    State(web): State<Web>,
    Asked(query): Asked<LinesQuery>,
) -> Result<Json<LinesAnswer>, Problem> {
    LinesAnswer::of(&query, &Shown::of(&web)).map(Json)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::web::fixture;

    fn answer(query: &LinesQuery) -> Value {
        let answer = LinesAnswer::of(query, &fixture::with_lines("x")).unwrap();
        serde_json::to_value(answer).unwrap()
    }

    #[test]
    fn a_line_tells_what_was_used_of_it_and_how_it_carries_packets() {
        let all = answer(&LinesQuery::default());
        let lines = all["lines"].as_array().unwrap();
        let [province, exit, unasked, missing] = &lines[..] else { panic!("{lines:?}") };
        assert_eq!((&province["device"], &province["zone"]), (&json!("exit-1"), &json!("outer")));
        assert_eq!((&province["key"], &province["name"]), (&json!("GE0/0/1"), &json!("province")));
        assert_eq!((&province["interface"], &province["link"]), (&json!("GE0/0/1"), &json!("up")));
        assert_eq!(province["rated_bits"], 2_000_000);
        assert_eq!(province["rate"]["received"], 230_000);
        assert_eq!(province["used_permille"], 920);
        assert_eq!(province["state"], "warning", "92 % are used");
        assert_eq!(province["month_95_bits"], 230_000 * 8);
        assert_eq!(province["month_95_received_bits"], 230_000 * 8);
        assert!(province["month_95_sent_bits"].is_u64(), "{province}");
        assert_eq!(province["month_samples"], 3);
        let far = &province["far_end"];
        assert_eq!((&far["far"], &far["by"]), (&json!("10.254.0.1"), &json!("icmp")));
        assert_eq!(far["lately"]["round_trip_micros"], 18_250);
        assert!(far["available_ppm"].is_u64(), "{far}");

        assert_eq!((&exit["exit"], &exit["state"]), (&json!(true), &json!("critical")));
        assert!(exit["why"]["zh"].as_str().unwrap().contains("203.0.113.1"), "{exit}");
        assert_eq!(unasked["state"], "unknown", "its far end cannot be asked");
        assert_eq!(unasked["far_end"]["failed"]["en"], "this program may not send ICMP");
        assert_eq!(missing["key"], "GE0/0/9");
        assert_eq!((&missing["interface"], &missing["link"]), (&Value::Null, &Value::Null));
        assert_eq!(missing["state"], "unknown", "nobody sees its interface");
    }

    #[test]
    fn lines_come_in_pages_that_join() {
        let mut seen = Vec::new();
        let mut after = None;
        loop {
            let query = LinesQuery { after, limit: Some(3), ..LinesQuery::default() };
            let page = answer(&query);
            let rows = page["lines"].as_array().unwrap();
            seen.extend(rows.iter().map(|row| row["key"].as_str().unwrap().to_owned()));
            after = page["next"].as_str().map(str::to_owned);
            if after.is_none() {
                break;
            }
        }
        assert_eq!(seen, ["GE0/0/1", "GE0/0/2", "GE0/0/3", "GE0/0/9"]);
        let elsewhere = LinesQuery { zone: Some("inner".to_owned()), ..LinesQuery::default() };
        assert_eq!(answer(&elsewhere)["lines"], json!([]));
        let of_another = LinesQuery { device: "core-1".parse().ok(), ..LinesQuery::default() };
        assert_eq!(answer(&of_another)["lines"], json!([]));
    }
}
