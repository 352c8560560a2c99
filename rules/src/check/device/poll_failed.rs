//! Can everything be read that the device has?

use super::super::{Alerts, Evidence, Status, Verdict};
use super::{DeviceCheck, Given, named};
use crate::device::Part;
use crate::text::Text;

/// One subject for each part that the device has. Without this, a table that a device will not give
/// would only grow old, and nobody would be told.
pub(super) const CHECK: DeviceCheck = DeviceCheck {
    check: named(
        "poll_failed",
        || Text::new("Polling", "轮询"),
        "network",
        Alerts { critical: "BaileyDeviceDown", warning: "BaileySnmpFailing" },
    ),
    parts: &[],
    judge,
};

fn judge(given: &Given<'_>) -> Vec<Verdict> {
    let silent = given.device.polling.failed.is_some();
    let parts = Part::ALL.into_iter().filter_map(|part| {
        let freshness = given.device.freshness(part);
        let title = part.title();
        let (status, why, value) = match (freshness.failed, freshness.read_at) {
            // That it does not answer at all another check says.
            (Some(_), _) if silent => return None,
            // Once is no reason to call anybody: what was read before still counts.
            (Some(failed), Some(_)) if !freshness.is_stale(given.now) => {
                let why = Text::new(
                    format!("could not read {} the last time: {}", title.en, failed.en),
                    format!("上次未能读取{}：{}", title.zh, failed.zh),
                );
                (Status::Ok, why, failed.en.clone())
            }
            (Some(failed), _) => {
                let why = Text::new(
                    format!("cannot read {}: {}", title.en, failed.en),
                    format!("无法读取{}：{}", title.zh, failed.zh),
                );
                (Status::Warning, why, failed.en.clone())
            }
            (None, Some(_)) => {
                let why =
                    Text::new(format!("can read {}", title.en), format!("{}读取正常", title.zh));
                (Status::Ok, why, "read".to_owned())
            }
            (None, None) => return None,
        };
        let mut verdict = Verdict::new(part.as_str(), status, why);
        verdict.stale = freshness.is_stale(given.now);
        let fact = format!("polling.{}", part.as_str());
        verdict.evidence.push(Evidence { fact, value, read_at: freshness.read_at });
        Some(verdict)
    });
    parts.collect()
}
