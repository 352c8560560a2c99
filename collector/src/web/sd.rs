//! HTTP service discovery for Prometheus (`http_sd_config`): one target for the site page, one for
//! each host's and device's page.

use axum::Json;
use axum::extract::{Extension, State};
use serde::Serialize;

use super::Web;
use super::access::AskedFor;

/// One target group in the form of `http_sd_config`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TargetGroup {
    targets: [String; 1],
    labels: Labels,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Labels {
    #[serde(rename = "__scheme__")]
    scheme: &'static str,
    #[serde(rename = "__metrics_path__")]
    path: String,
    instance: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    zone: Option<String>,
}

/// The targets, at the address under which Prometheus asked for them.
pub(crate) async fn targets(
    State(web): State<Web>,
    asked_for: Option<Extension<AskedFor>>,
) -> Json<Vec<TargetGroup>> {
    let address = asked_for
        .map_or_else(|| web.shown_address().to_string(), |Extension(asked_for)| asked_for.0);
    let (hosts, devices) = (web.site().hosts(), web.site().devices());
    let of_hosts =
        hosts.iter().map(|host| ("host", host.view.name.as_str(), host.view.zone.as_str()));
    let of_devices = devices
        .iter()
        .map(|device| ("device", device.view.name.as_str(), device.view.zone.as_str()));
    Json(groups(&address, of_hosts.chain(of_devices)))
}

/// `assets`: for each the word of its page, its name and its zone.
fn groups<'a>(
    address: &str,
    assets: impl Iterator<Item = (&'a str, &'a str, &'a str)>,
) -> Vec<TargetGroup> {
    let group = |path, instance, zone| TargetGroup {
        targets: [address.to_owned()],
        labels: Labels { scheme: "https", path, instance, zone },
    };
    let site = group("/metrics".to_owned(), address.to_owned(), None);
    let assets = assets.map(|(page, name, zone)| {
        group(format!("/metrics/{page}/{name}"), name.to_owned(), Some(zone.to_owned()))
    });
    std::iter::once(site).chain(assets).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_host_and_device_is_a_target_of_its_own() {
        let assets = [("host", "oa-17", "inner"), ("device", "core-1", "inner")];
        let found = groups("10.1.0.2:7711", assets.into_iter());
        insta::assert_snapshot!(serde_json::to_string_pretty(&found).unwrap(), @r#"
        [
          {
            "targets": [
              "10.1.0.2:7711"
            ],
            "labels": {
              "__scheme__": "https",
              "__metrics_path__": "/metrics",
              "instance": "10.1.0.2:7711"
            }
          },
          {
            "targets": [
              "10.1.0.2:7711"
            ],
            "labels": {
              "__scheme__": "https",
              "__metrics_path__": "/metrics/host/oa-17",
              "instance": "oa-17",
              "zone": "inner"
            }
          },
          {
            "targets": [
              "10.1.0.2:7711"
            ],
            "labels": {
              "__scheme__": "https",
              "__metrics_path__": "/metrics/device/core-1",
              "instance": "core-1",
              "zone": "inner"
            }
          }
        ]
        "#);
    }
}
