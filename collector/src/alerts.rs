//! Findings to Alertmanager (API v2). One task for each Alertmanager; each of them looks at what is
//! open and at what its Alertmanager has, and sends the difference.
//!
//! Open findings are sent at once and again each [`RESENT`], with an end that lies [`GOOD_FOR`]
//! ahead: when the collector dies, Alertmanager forgets them by itself. Resolved ones are kept until
//! they were delivered.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bailey_rules::finding::Finding;
use bailey_rules::name::FindingId;
use bailey_rules::time::Timestamp;
use rand::Rng as _;
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use serde::Serialize;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use crate::site::{Part, Site};
use crate::web::shown::pages_of;

/// Open findings are sent again this often.
pub const RESENT: Duration = Duration::from_mins(1);

/// How long an alert lives at Alertmanager without being sent again.
pub const GOOD_FOR: Duration = Duration::from_mins(5);

/// The most alerts of one request.
const MAX_IN_ONE: usize = 200;

/// The longest that one request may take.
const REQUEST_LIMIT: Duration = Duration::from_secs(10);

/// What happens within this time goes out together.
const GATHERED: Duration = Duration::from_millis(50);

/// The first and the longest wait after a failure.
const AGAIN: (Duration, Duration) = (Duration::from_secs(1), Duration::from_mins(1));

/// An Alertmanager that is away for so long is told of on every page.
const AWAY: Duration = Duration::from_secs(30);

/// Longer values are cut: Alertmanager keeps labels in memory.
const MAX_VALUE: usize = 1_024;

/// Where the authorities of this system are, as Debian and most others keep them.
const SYSTEM_AUTHORITIES: &str = "/etc/ssl/certs/ca-certificates.crt";

/// Why Alertmanagers cannot be reached at all.
#[derive(Debug, thiserror::Error)]
pub enum AlertsError {
    /// The authorities cannot be read.
    #[error("cannot read the authorities that Alertmanager is verified with, {}: {why}; set alertmanager_ca", path.display())]
    Authorities {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// No client can be made.
    #[error("cannot make a client for Alertmanager: {0}")]
    Client(String),
}

/// What alerts link to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Links {
    /// The page, as `https://host:port`.
    pub(crate) page: String,
    /// Where it is written what to do, with `{alert}` for the alert's name; our own page if unset.
    pub(crate) runbook: Option<String>,
}

/// An HTTP client for Alertmanagers. Authorities are only needed for https.
pub(crate) fn client(
    authorities: Option<&Path>,
    https: bool,
) -> Result<reqwest::Client, AlertsError> {
    let mut roots = RootCertStore::empty();
    if https || authorities.is_some() {
        let path = authorities.unwrap_or(Path::new(SYSTEM_AUTHORITIES));
        let fail = |why: String| AlertsError::Authorities { path: path.to_owned(), why };
        let read = CertificateDer::pem_file_iter(path).map_err(|error| fail(error.to_string()))?;
        let certificates: Vec<_> =
            read.collect::<Result<_, _>>().map_err(|error| fail(error.to_string()))?;
        let (added, _) = roots.add_parsable_certificates(certificates);
        if added == 0 {
            return Err(fail("it holds no certificate".into()));
        }
    }
    let fail = |error: &dyn std::fmt::Display| AlertsError::Client(error.to_string());
    let provider = bailey_wire::tls::provider();
    let tls = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| fail(&error))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    reqwest::Client::builder()
        .tls_backend_preconfigured(tls)
        .timeout(REQUEST_LIMIT)
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        .user_agent(concat!("bailey-collector/", env!("CARGO_PKG_VERSION")))
        .build()
        .map_err(|error| fail(&error))
}

/// One alert as Alertmanager takes it (`postableAlert` of its API v2).
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
struct Alert {
    labels: Labels,
    annotations: BTreeMap<&'static str, String>,
    starts_at: Timestamp,
    ends_at: Timestamp,
    #[serde(rename = "generatorURL")]
    generator_url: String,
}

type Labels = BTreeMap<&'static str, String>;

fn kept(value: &str) -> String {
    value.chars().take(MAX_VALUE).collect()
}

fn labels(finding: &Finding) -> Labels {
    let all = [
        ("alertname", finding.alert.as_str()),
        ("severity", finding.severity.as_str()),
        ("zone", finding.zone.as_str()),
        ("component", finding.component.as_str()),
        ("host", finding.host_name.as_str()),
        ("check", finding.check.as_str()),
        ("subject", finding.subject.as_str()),
    ];
    let mut labels: Labels = all
        .into_iter()
        // Alertmanager takes an empty label for none.
        .filter(|(_, value)| !value.is_empty())
        .map(|(name, value)| (name, kept(value)))
        .collect();
    labels.insert("finding", finding.id.to_string());
    labels
}

fn alert(finding: &Finding, links: &Links, now: Timestamp) -> Alert {
    let (host, subject) = (&finding.host_name, &finding.subject);
    let about = if subject.is_empty() { String::new() } else { format!(" {subject}") };
    let pages = pages_of(finding.asset);
    let page = format!("{}/{pages}/{host}", links.page);
    let runbook = links.runbook.as_ref().map_or_else(
        || format!("{}/runbook#{}", links.page, finding.alert),
        |link| link.replace("{alert}", &finding.alert),
    );
    let evidence: Vec<String> = finding
        .evidence
        .iter()
        .take(8)
        .map(|evidence| format!("{}: {}", evidence.fact, evidence.value))
        .collect();
    let description = |why: &str| {
        if evidence.is_empty() {
            kept(why)
        } else {
            kept(&format!("{why} ({})", evidence.join("; ")))
        }
    };
    let annotations = BTreeMap::from([
        ("summary", kept(&format!("{host}{about}: {}", finding.why.en))),
        ("summary_zh", kept(&format!("{host}{about}：{}", finding.why.zh))),
        ("description", description(&finding.why.en)),
        ("description_zh", description(&finding.why.zh)),
        ("dashboard_url", page.clone()),
        ("runbook_url", runbook),
    ]);
    Alert {
        labels: labels(finding),
        annotations,
        starts_at: finding.first_at,
        ends_at: finding.resolved_at.unwrap_or(now + GOOD_FOR),
        generator_url: page,
    }
}

/// Tells one Alertmanager.
pub(crate) struct Teller {
    site: Site,
    /// Its number among all of them.
    target: usize,
    url: reqwest::Url,
    client: reqwest::Client,
    links: Arc<Links>,
    /// Open findings as this Alertmanager has them, and when they were sent.
    has: BTreeMap<FindingId, (Labels, Timestamp, Instant)>,
    away_since: Option<Instant>,
    /// How long to wait after the next failure.
    again: Duration,
}

impl Teller {
    pub(crate) fn new(
        site: Site,
        target: usize,
        base: &reqwest::Url,
        client: reqwest::Client,
        links: Arc<Links>,
    ) -> Self {
        let mut url = base.clone();
        let path = format!("{}/api/v2/alerts", base.path().trim_end_matches('/'));
        url.set_path(&path);
        Self {
            site,
            target,
            url,
            client,
            links,
            has: BTreeMap::new(),
            away_since: None,
            again: AGAIN.0,
        }
    }

    /// Tells until the collector stops.
    pub(crate) async fn run(mut self, stop: CancellationToken) {
        let mut moved = self.site.findings_moved();
        let mut wait = Duration::ZERO;
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(wait) => {}
                changed = moved.changed(), if self.away_since.is_none() => {
                    if changed.is_err() {
                        return;
                    }
                    tokio::time::sleep(GATHERED).await;
                }
            }
            moved.mark_unchanged();
            let told = tokio::select! {
                () = stop.cancelled() => return,
                told = self.tell() => told,
            };
            wait = match told {
                Ok(()) => self.next_due(),
                Err(why) => self.failed(&why),
            };
        }
    }

    /// When the first of the open findings must be sent again.
    fn next_due(&mut self) -> Duration {
        self.again = AGAIN.0;
        if self.away_since.take().is_some() {
            info!(url = %self.url, "Alertmanager is back");
        }
        self.site.set_problem(Part::Alertmanager(self.target), None);
        let oldest = self.has.values().map(|(_, _, sent)| *sent).min();
        oldest.map_or(RESENT, |sent| RESENT.saturating_sub(sent.elapsed()))
    }

    fn failed(&mut self, why: &str) -> Duration {
        self.site.counters().notifications_failed.one();
        let since = *self.away_since.get_or_insert_with(Instant::now);
        warn!(url = %self.url, why, "an Alertmanager was not reached");
        if since.elapsed() >= AWAY {
            self.site.set_problem(
                Part::Alertmanager(self.target),
                Some(format!(
                    "the Alertmanager {} cannot be told of findings: {why}; alerts are kept until \
                     it can",
                    self.url
                )),
            );
        }
        let wait = self.again;
        self.again = (wait * 2).min(AGAIN.1);
        // Not all of them in the same moment.
        wait.mul_f64(rand::rng().random_range(0.8..1.2))
    }

    /// Sends what this Alertmanager does not have yet, or not lately enough.
    async fn tell(&mut self) -> Result<(), String> {
        loop {
            let now = self.site.now();
            let open: BTreeMap<FindingId, Finding> =
                self.site.findings().into_iter().map(|finding| (finding.id, finding)).collect();
            let resolved = self.site.undelivered(self.target, MAX_IN_ONE);
            let mut alerts = Vec::new();
            for (_, finding) in &resolved {
                // What was found again meanwhile is open, and is told as that.
                if !open.contains_key(&finding.id) {
                    alerts.push(alert(finding, &self.links, now));
                }
            }
            let mut sent = Vec::new();
            for finding in open.values() {
                if alerts.len() >= MAX_IN_ONE {
                    break;
                }
                let wanted = labels(finding);
                let ended = match self.has.get(&finding.id) {
                    Some((has, since, at))
                        if *has == wanted
                            && *since == finding.first_at
                            && at.elapsed() < RESENT =>
                    {
                        continue;
                    }
                    Some((has, since, _)) if *has != wanted => Some((has.clone(), *since)),
                    Some(_) | None => None,
                };
                let new = alert(finding, &self.links, now);
                if let Some((labels, starts_at)) = ended {
                    // Another severity is another alert there: the one before must not linger.
                    alerts.push(Alert { labels, starts_at, ends_at: now, ..new.clone() });
                }
                alerts.push(new);
                sent.push((finding.id, wanted, finding.first_at));
            }
            self.has.retain(|id, _| open.contains_key(id));
            if !alerts.is_empty() {
                self.post(&alerts).await?;
                self.site.counters().notifications.many(alerts.len() as u64);
                debug!(url = %self.url, count = alerts.len(), "alerts sent");
            }
            let at = Instant::now();
            let more = !sent.is_empty() || !resolved.is_empty();
            for (id, labels, since) in sent {
                self.has.insert(id, (labels, since, at));
            }
            if let Some((number, _)) = resolved.last() {
                self.site.delivered(self.target, *number);
            }
            if !more {
                return Ok(());
            }
        }
    }

    async fn post(&self, alerts: &[Alert]) -> Result<(), String> {
        let answer = self
            .client
            .post(self.url.clone())
            .json(alerts)
            .send()
            .await
            .map_err(|error| with_causes(&error.without_url()))?;
        let status = answer.status();
        if status.is_success() {
            return Ok(());
        }
        let said = answer.text().await.unwrap_or_default();
        Err(format!("it answered {status}: {}", said.chars().take(200).collect::<String>()))
    }
}

fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        text = format!("{text}: {next}");
        cause = next.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use bailey_rules::finding::Severity;
    use bailey_rules::name::HostKey;
    use bailey_rules::text::Text;

    use super::*;

    fn finding() -> Finding {
        Finding {
            id: FindingId::from_bytes([7; 8]),
            host: HostKey::from_bytes([1; 32]),
            asset: bailey_rules::finding::AssetKind::Host,
            host_name: "oa-17".parse().unwrap(),
            zone: "inner".parse().unwrap(),
            check: "backup_age".into(),
            component: "backup".into(),
            alert: "BaileyBackupMissing".into(),
            severity: Severity::Critical,
            subject: "oracle-fin".into(),
            why: Text::new("the newest copy is 53 h old", "最新备份已有 53 小时"),
            evidence: Vec::new(),
            first_at: Timestamp::from_seconds(1_790_000_000),
            last_at: Timestamp::from_seconds(1_790_000_000),
            held: false,
            resolved_at: None,
        }
    }

    fn links() -> Links {
        Links {
            page: "https://127.0.0.1:7711".into(),
            runbook: Some("https://wiki.example/bailey/{alert}".into()),
        }
    }

    #[test]
    fn an_alert_says_what_where_and_what_to_do_in_both_languages() {
        let now = Timestamp::from_seconds(1_790_000_100);
        let json = serde_json::to_string_pretty(&alert(&finding(), &links(), now)).unwrap();
        insta::assert_snapshot!(json, @r#"
        {
          "labels": {
            "alertname": "BaileyBackupMissing",
            "check": "backup_age",
            "component": "backup",
            "finding": "0707070707070707",
            "host": "oa-17",
            "severity": "critical",
            "subject": "oracle-fin",
            "zone": "inner"
          },
          "annotations": {
            "dashboard_url": "https://127.0.0.1:7711/hosts/oa-17",
            "description": "the newest copy is 53 h old",
            "description_zh": "最新备份已有 53 小时",
            "runbook_url": "https://wiki.example/bailey/BaileyBackupMissing",
            "summary": "oa-17 oracle-fin: the newest copy is 53 h old",
            "summary_zh": "oa-17 oracle-fin：最新备份已有 53 小时"
          },
          "startsAt": "2026-09-21T14:13:20Z",
          "endsAt": "2026-09-21T14:20:00Z",
          "generatorURL": "https://127.0.0.1:7711/hosts/oa-17"
        }
        "#);
    }

    #[test]
    fn an_open_alert_ends_by_itself_and_a_resolved_one_when_it_was_resolved() {
        let now = Timestamp::from_seconds(1_790_000_100);
        assert_eq!(alert(&finding(), &links(), now).ends_at, now + GOOD_FOR);
        let resolved = Finding { resolved_at: Some(now - RESENT), ..finding() };
        assert_eq!(alert(&resolved, &links(), now).ends_at, now - RESENT);
    }

    #[test]
    fn an_empty_subject_is_no_label() {
        let plain = Finding { subject: String::new(), ..finding() };
        assert!(!labels(&plain).contains_key("subject"));
    }

    #[test]
    fn text_of_a_device_cannot_make_a_label_endless() {
        let long = Finding { subject: "x".repeat(100_000), ..finding() };
        assert_eq!(labels(&long)["subject"].len(), MAX_VALUE);
    }
}
