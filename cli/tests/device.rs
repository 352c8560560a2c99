//! `bailey device`: from the command line through a running collector to a real `snmpd` and back.

#![allow(clippy::unwrap_used)] // The helpers of a test fail as the test does.

use std::net::{Ipv4Addr, UdpSocket};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use bailey_collector::Collector;
use bailey_collector::settings::Given;
use serde_json::Value;

/// How long `snmpd` may take to answer.
const STARTING: Duration = Duration::from_mins(1);

const COMMUNITY: &str = "sesame-17";

/// A program that ends with this.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn snmpd(folder: &Path) -> (Ended, u16) {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = socket.local_addr().unwrap().port();
    drop(socket);
    std::fs::create_dir(folder.join("kept")).unwrap();
    let configuration = format!(
        "agentAddress udp:127.0.0.1:{port}\nrocommunity {COMMUNITY} default\nsysName Core-1\n\
         sysDescr a switch of the test\n"
    );
    std::fs::write(folder.join("snmpd.conf"), configuration).unwrap();
    let child = Command::new("snmpd")
        .env_clear()
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .env("SNMPCONFPATH", folder)
        .env("SNMP_PERSISTENT_DIR", folder.join("kept"))
        .env("MIBS", "")
        .args(["-f", "-Lf", "/dev/null"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("snmpd is installed");
    (Ended(child), port)
}

/// What a command says, which ends with `code`.
async fn said(state: &Path, line: &str, code: i32) -> String {
    let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
    let mut command = Command::new(env!("CARGO_BIN_EXE_bailey"));
    command.env_clear().env("HOME", state).arg("--state").arg(state).args(words);
    let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    let (out, err) = (&output.stdout, &output.stderr);
    let all = format!("{}{}", String::from_utf8_lossy(out), String::from_utf8_lossy(err));
    assert_eq!(output.status.code(), Some(code), "{line}: {all}");
    assert!(!all.contains(COMMUNITY), "{line} prints the community: {all}");
    all
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_device_is_added_shown_given_other_credentials_and_removed() {
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("state");
    std::fs::create_dir(&state).unwrap();
    let mode = std::fs::Permissions::from_mode(0o700);
    std::fs::set_permissions(&state, mode).unwrap();
    let policy = "site: jiaxing\nzones:\n  inner: {networks: [10.1.0.0/16]}\n";
    std::fs::write(state.join("policy.yaml"), policy).unwrap();
    let any = Some("127.0.0.1:0".parse().unwrap());
    let given = Given { state: Some(state.clone()), web: any, agents: any, ..Given::default() };
    let collector = Collector::start(given.settle(None).unwrap()).await.unwrap();

    let (_snmpd, port) = snmpd(folder.path());
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        path.display().to_string()
    };
    let good = write("good.yaml", &format!("community: {COMMUNITY}\n"));
    let wrong = write("wrong.yaml", "community: mistaken\n");
    let until = Instant::now() + STARTING;
    let doctor = format!("--lang en snmp doctor 127.0.0.1:{port} --credentials {good}");
    loop {
        let words = doctor.split_whitespace().map(str::to_owned);
        let mut asked = Command::new(env!("CARGO_BIN_EXE_bailey"));
        asked.args(words);
        let output = tokio::task::spawn_blocking(move || asked.output().unwrap()).await.unwrap();
        if output.status.success() {
            break;
        }
        assert!(Instant::now() < until, "snmpd does not answer");
    }

    let none = said(&state, "--lang en device list", 0).await;
    assert!(none.contains("bailey device add"), "{none}");
    let add = format!("device add 127.0.0.1:{port} --zone inner --credentials");
    let faulty = said(&state, &format!("--lang en {add} {wrong}"), 6).await;
    assert!(
        faulty.starts_with("■ community:") && faulty.contains("Nothing was changed"),
        "{faulty}"
    );
    let faulty = said(&state, &format!("-o json {add} {wrong}"), 6).await;
    let faulty: Value = serde_json::from_str(&faulty).unwrap();
    assert_eq!((&faulty["taken"], &faulty["fault"]["fault"]), (&false.into(), &"community".into()));

    let added = said(&state, &format!("--lang en {add} {good}"), 0).await;
    assert!(added.starts_with("core-1 is polled from now on"), "{added}");
    let list = said(&state, "--lang zh device list", 0).await;
    assert!(list.contains("core-1") && list.contains("安全域"), "{list}");
    let shown = said(&state, "--lang en device show core-1", 0).await;
    assert!(shown.contains("a switch of the test") && shown.contains("lo"), "{shown}");
    let shown = said(&state, "-o json device show core-1", 0).await;
    let shown: Value = serde_json::from_str(&shown).unwrap();
    assert_eq!(shown["version"], "v2c");
    assert!(shown["interfaces_seen"].as_array().is_some_and(|list| !list.is_empty()), "{shown}");

    let change = format!("--lang en device credentials core-1 --credentials {wrong}");
    said(&state, &change, 6).await;
    said(&state, "--lang en device remove core-1 --no-input", 5).await;
    said(&state, "--lang en device remove core-1 --yes", 0).await;
    said(&state, "--lang en device show core-1", 3).await;
    collector.shutdown().await;
}
