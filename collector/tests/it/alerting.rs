//! From a report to the real Alertmanager and back.

use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::support::{self, Facts, Lab, memory, until};
use bailey_collector::settings::Endpoint;

/// A real Alertmanager on loopback, ended with the test.
struct Alertmanager {
    child: Child,
    address: SocketAddr,
}

impl Drop for Alertmanager {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn free() -> SocketAddr {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

impl Alertmanager {
    fn start(folder: &std::path::Path, address: SocketAddr) -> Self {
        let config = folder.join("alertmanager.yml");
        std::fs::write(&config, "route: {receiver: none}\nreceivers: [{name: none}]\n").unwrap();
        let child = Command::new("prometheus-alertmanager")
            .arg(format!("--config.file={}", config.display()))
            .arg(format!("--storage.path={}", folder.join("data").display()))
            .arg(format!("--web.listen-address={address}"))
            .arg("--cluster.listen-address=")
            .stderr(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .expect("prometheus-alertmanager is installed");
        Self { child, address }
    }

    async fn alerts(&self) -> Option<Vec<serde_json::Value>> {
        let url = format!("http://{}/api/v2/alerts", self.address);
        let client = plain_client();
        let answer = client.get(url).send().await.ok()?;
        answer.json().await.ok()
    }

    /// Waits until the alerts are as wanted.
    async fn until(&self, name: &str, wanted: impl Fn(&[serde_json::Value]) -> bool) {
        let began = std::time::Instant::now();
        loop {
            let alerts = self.alerts().await;
            if alerts.as_deref().is_some_and(&wanted) {
                return;
            }
            assert!(began.elapsed() < support::LIMIT, "{name}: {alerts:#?}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

fn plain_client() -> reqwest::Client {
    let tls = rustls::ClientConfig::builder_with_provider(bailey_wire::tls::provider())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth();
    reqwest::Client::builder().tls_backend_preconfigured(tls).no_proxy().build().unwrap()
}

fn of_memory(alerts: &[serde_json::Value]) -> Vec<&serde_json::Value> {
    alerts.iter().filter(|alert| alert["labels"]["check"] == "memory_available").collect()
}

async fn lab(address: SocketAddr) -> Lab {
    let url: Endpoint = format!("http://{address}").parse().unwrap();
    Lab::start_with(|settings| settings.alertmanagers = vec![url]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_finding_reaches_alertmanager_and_ends_there_too() {
    let folder = tempfile::tempdir().unwrap();
    let manager = Alertmanager::start(folder.path(), free());
    manager.until("Alertmanager to answer", |_| true).await;
    let lab = lab(manager.address).await;
    let machine = lab.enrolled("oa-17").await;
    let link = machine.connect().await;
    let mut facts = Facts::new(1);
    link.report(facts.complete([memory(1)])).await;
    manager.until("the alert", |alerts| of_memory(alerts).len() == 1).await;
    let alerts = manager.alerts().await.unwrap();
    let alert = of_memory(&alerts)[0];
    assert_eq!(alert["labels"]["host"], "oa-17");
    assert_eq!(alert["labels"]["zone"], "inner");
    assert_eq!(alert["labels"]["component"], "host");
    for text in ["summary", "summary_zh", "description", "description_zh", "runbook_url"] {
        assert!(alert["annotations"][text].is_string(), "{text}: {alert}");
    }
    until("the event", || {
        let counters = lab.collector.site().counters();
        counters.notifications.get() >= 1
    })
    .await;

    link.report(facts.changed([memory(1 << 33)])).await;
    manager.until("the alert to end", |alerts| of_memory(alerts).is_empty()).await;
    lab.event("finding_opened").await;
    lab.event("finding_resolved").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_severity_takes_the_place_of_the_alert_before() {
    let folder = tempfile::tempdir().unwrap();
    let manager = Alertmanager::start(folder.path(), free());
    manager.until("Alertmanager to answer", |_| true).await;
    let lab = lab(manager.address).await;
    let machine = lab.enrolled("oa-17").await;
    let link = machine.connect().await;
    let mut facts = Facts::new(1);
    let severity = |wanted: &'static str| {
        move |alerts: &[serde_json::Value]| {
            let found = of_memory(alerts);
            found.len() == 1 && found[0]["labels"]["severity"] == wanted
        }
    };
    // 6 % and then nothing of 16 GiB.
    link.report(facts.complete([memory(1 << 30)])).await;
    manager.until("a warning", severity("warning")).await;
    link.report(facts.changed([memory(1)])).await;
    manager.until("a critical one alone", severity("critical")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_happens_while_alertmanager_is_away_reaches_it_later() {
    let folder = tempfile::tempdir().unwrap();
    let address = free();
    let manager = Alertmanager::start(folder.path(), address);
    manager.until("Alertmanager to answer", |_| true).await;
    let lab = lab(address).await;
    let (one, other) = (lab.enrolled("oa-17").await, lab.enrolled("oa-18").await);
    let (mut link, mut second) = (one.connect().await, other.connect().await);
    let (mut facts, mut more) = (Facts::new(1), Facts::new(2));
    link.report(facts.complete([memory(1)])).await;
    manager.until("the alert", |alerts| of_memory(alerts).len() == 1).await;
    drop(manager);

    // One ends and one begins while nobody listens.
    link.report(facts.changed([memory(1 << 33)])).await;
    second.report(more.complete([memory(1)])).await;
    second.acknowledged(more.place()).await.unwrap();
    link.acknowledged(facts.place()).await.unwrap();
    let counters = lab.collector.site().counters();
    until("a failure to be counted", || counters.notifications_failed.get() > 0).await;
    let manager = Alertmanager::start(folder.path(), address);
    manager
        .until("only the later one", |alerts| {
            let found = of_memory(alerts);
            found.len() == 1 && found[0]["labels"]["host"] == "oa-18"
        })
        .await;
}
