//! `bailey snmp`: what it says of devices and of credentials, and how it ends.

#![allow(clippy::unwrap_used)] // The helpers of a test fail as the test does.

use std::net::{Ipv4Addr, UdpSocket};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

/// How long `snmpd` may take to answer.
const STARTING: Duration = Duration::from_mins(1);

const SECRETS: [&str; 3] = ["sesame-17", "auth-pass-17", "priv-pass-17"];

/// A real agent on a free port of the loopback; it ends with this.
struct Agent {
    child: Child,
    port: u16,
    folder: tempfile::TempDir,
}

impl Drop for Agent {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Agent {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let port = free_port();
        std::fs::create_dir(folder.path().join("kept")).unwrap();
        let configuration = format!(
            "agentAddress udp:127.0.0.1:{port}\nrocommunity {} default\nsysName core-1\n\
             sysDescr a switch of the test\ncreateUser monitor SHA-256 {} AES {}\n\
             rouser monitor priv\n",
            SECRETS[0], SECRETS[1], SECRETS[2]
        );
        std::fs::write(folder.path().join("snmpd.conf"), configuration).unwrap();
        let child = Command::new("snmpd")
            .env_clear()
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .env("SNMPCONFPATH", folder.path())
            .env("SNMP_PERSISTENT_DIR", folder.path().join("kept"))
            .env("MIBS", "")
            .arg("-f")
            .args(["-Lf".as_ref(), folder.path().join("log").as_os_str()])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("snmpd is installed");
        let agent = Self { child, port, folder };
        agent.file("community.yaml", &format!("community: {}\n", SECRETS[0]));
        let user = |auth: &str| {
            format!(
                "user: monitor\nauth: {{protocol: {auth}, passphrase: {}}}\n\
                 priv: {{protocol: AES-128, passphrase: {}}}\n",
                SECRETS[1], SECRETS[2]
            )
        };
        agent.file("user.yaml", &user("SHA-256"));
        agent.file("wrong-protocol.yaml", &user("SHA-512"));
        let until = Instant::now() + STARTING;
        while !agent.answers() {
            assert!(Instant::now() < until, "snmpd does not answer");
            std::thread::sleep(Duration::from_millis(50));
        }
        agent
    }

    /// Whether it answers to the community already.
    fn answers(&self) -> bool {
        let device = format!("127.0.0.1:{}", self.port);
        let asked = Command::new("snmpget")
            .env("MIBS", "")
            .args(["-v2c", "-c", SECRETS[0], "-t", "1", "-r", "0"])
            .args([&device, "1.3.6.1.2.1.1.3.0"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
        asked.unwrap().success()
    }

    fn file(&self, name: &str, text: &str) {
        let path = self.folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    }

    fn doctor(&self, options: &str, credentials: &str) -> Output {
        let device = format!("127.0.0.1:{}", self.port);
        let line = format!("{options} snmp doctor {device} --credentials {credentials}");
        bailey(self.folder.path(), &line)
    }
}

fn free_port() -> u16 {
    UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port()
}

fn bailey(folder: &Path, line: &str) -> Output {
    let output = Command::new(env!("CARGO_BIN_EXE_bailey"))
        .env_clear()
        .env("HOME", folder)
        .current_dir(folder)
        .args(line.split_whitespace())
        .output()
        .unwrap();
    for secret in SECRETS {
        assert!(!said(&output.stdout).contains(secret), "{output:?}");
        assert!(!said(&output.stderr).contains(secret), "{output:?}");
    }
    output
}

fn said(octets: &[u8]) -> String {
    String::from_utf8(octets.to_vec()).unwrap()
}

#[test]
fn the_doctor_ends_with_0_for_a_healthy_device_and_with_6_and_a_name_for_a_fault() {
    let agent = Agent::start();
    for credentials in ["community.yaml", "user.yaml"] {
        let healthy = agent.doctor("--lang en", credentials);
        assert_eq!(healthy.status.code(), Some(0), "{healthy:?}");
        let told = said(&healthy.stdout);
        assert!(told.contains("answers as it should") && told.contains("core-1"), "{told}");
    }
    let fault = agent.doctor("--lang zh", "wrong-protocol.yaml");
    assert_eq!(fault.status.code(), Some(6), "{fault:?}");
    let told = said(&fault.stdout);
    assert!(told.contains("auth-protocol: 认证协议不对：设备使用 SHA-256"), "{told}");

    let json = agent.doctor("-o json", "wrong-protocol.yaml");
    assert_eq!(json.status.code(), Some(6), "{json:?}");
    let json: serde_json::Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!(json["schema"], 1);
    assert_eq!(json["healthy"], false);
    assert_eq!(json["fault"], "auth-protocol");
    assert!(json["next"][0]["en"].as_str().unwrap().contains("protocol: SHA-256"), "{json}");
    assert!(!json["engine"]["id"].as_str().unwrap().is_empty(), "{json}");

    let json = agent.doctor("-o json", "user.yaml");
    let json: serde_json::Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!((&json["healthy"], &json["fault"]), (&true.into(), &serde_json::Value::Null));
    assert_eq!(json["about"]["description"], "a switch of the test");
}

#[test]
fn a_device_is_shown_at_once_and_one_that_does_not_answer_is_examined() {
    let agent = Agent::start();
    let device = format!("127.0.0.1:{}", agent.port);
    let show = |options: &str, credentials: &str| {
        let line = format!("{options} snmp show {device} --credentials {credentials}");
        bailey(agent.folder.path(), &line)
    };
    let shown = show("--lang en", "user.yaml");
    assert_eq!(shown.status.code(), Some(0), "{shown:?}");
    let told = said(&shown.stdout);
    for words in ["core-1", "Interfaces", "lo ", "Storage", "net-snmp"] {
        assert!(told.contains(words), "{words}: {told}");
    }
    let json = show("-o json", "community.yaml");
    let json: serde_json::Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!(json["look"]["identity"]["name"], "core-1");
    let interfaces = json["look"]["interfaces"]["known"].as_array().unwrap();
    assert!(interfaces.iter().any(|interface| interface["name"] == "lo"), "{json}");
    let wrong = show("--lang zh", "wrong-protocol.yaml");
    assert_eq!(wrong.status.code(), Some(6), "{wrong:?}");
    assert!(said(&wrong.stdout).contains("auth-protocol"), "{wrong:?}");
}

#[test]
fn a_closed_port_is_a_fault_and_a_wrong_line_or_file_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    write("open.yaml", "community: sesame-17\n");
    write("wrong.yaml", "comunity: sesame-17\n");
    let port = free_port();
    let closed = bailey(
        folder.path(),
        &format!("--lang en snmp doctor 127.0.0.1:{port} --credentials open.yaml"),
    );
    assert_eq!(closed.status.code(), Some(6), "{closed:?}");
    let told = said(&closed.stdout);
    assert!(told.contains("port-unreachable: the machine answers"), "{told}");
    // The file was made readable by others.
    assert!(told.contains("chmod 600 open.yaml"), "{told}");

    for (line, code, words) in [
        ("snmp doctor 127.0.0.1 --credentials wrong.yaml", 1, "did you mean \"community\"?"),
        ("snmp doctor 127.0.0.1 --credentials none.yaml", 3, "cannot read none.yaml"),
        ("snmp doctor 127.0.0.1", 2, "--credentials <FILE>"),
        ("snmp doctor 127.0.0.1:0 --credentials open.yaml", 2, "write it as 10.1.0.2"),
        ("snmp doctor no-such-host.invalid --credentials open.yaml", 1, "has no address"),
    ] {
        let output = bailey(folder.path(), &format!("--lang en {line}"));
        assert_eq!(output.status.code(), Some(code), "{line}: {output:?}");
        assert!(said(&output.stderr).contains(words), "{line}: {output:?}");
    }
}
