//! Keys and signed orders on removable media, without any collector: what is written, who may read
//! it, and what is refused.

#![allow(clippy::unwrap_used)] // The helpers of a test fail as the test does.

use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;

use bailey_rules::policy::REFERENCE;
use bailey_wire::order::{Order, SignedOrder, VerifyingKey, What};
use serde_json::{Value, json};

fn bailey(folder: &Path, line: &str) -> Output {
    Command::new(env!("CARGO_BIN_EXE_bailey"))
        .env_clear()
        .env("HOME", folder)
        .current_dir(folder)
        .args(line.split_whitespace())
        .output()
        .unwrap()
}

/// The answer of a command that ends with `code`.
fn said(folder: &Path, line: &str, code: i32) -> String {
    let output = bailey(folder, line);
    let (out, err) = (&output.stdout, &output.stderr);
    let all = format!("{}{}", String::from_utf8_lossy(out), String::from_utf8_lossy(err));
    assert_eq!(output.status.code(), Some(code), "{line}: {all}");
    all
}

/// A folder with a policy, a key, and an inventory of three hosts.
fn site() -> (tempfile::TempDir, VerifyingKey) {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("policy.yaml"), REFERENCE).unwrap();
    said(folder.path(), "--lang en policy key --out security.key", 0);
    let pem = std::fs::read_to_string(folder.path().join("security.key.pub")).unwrap();
    let key = VerifyingKey::from_pem(&pem).unwrap();
    let host = |name: &str, zone: &str, octet: &str, key_id: Option<String>| json!({"host": name, "zone": zone, "key": octet.repeat(32), "key_id": key_id});
    let ours = || Some(key.id().to_string());
    let inventory = json!({"schema": 1, "key_id": null, "next_version": 43, "hosts": [
        host("oa-web", "inner", "01", ours()),
        host("mail-out", "outer", "02", ours()),
        host("hp-1", "inner", "03", None),
    ]});
    std::fs::write(folder.path().join("hosts.json"), inventory.to_string()).unwrap();
    (folder, key)
}

fn order(path: &Path, key: &VerifyingKey) -> Order {
    SignedOrder::from_file(&std::fs::read(path).unwrap()).unwrap().verify(key).unwrap()
}

const PUSH: &str = "--lang en policy push policy.yaml --key security.key --inventory hosts.json";

#[test]
fn one_signed_order_a_host_is_written_and_nothing_is_written_over() {
    let (folder, key) = site();
    let line = format!("{PUSH} --to media --confirm-within 90s --expires 2h");
    let told = said(folder.path(), &line, 0);
    assert!(told.contains("hp-1 is left out: no enforcer there follows a key"), "{told}");
    assert!(told.contains("bailey-agent apply"), "{told}");
    let media = folder.path().join("media");
    let mut files: Vec<String> = std::fs::read_dir(&media)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    files.sort();
    assert_eq!(files, ["mail-out.order", "oa-web.order"]);
    for (host, octet) in [("oa-web", 1), ("mail-out", 2)] {
        let path = media.join(format!("{host}.order"));
        assert_eq!(std::fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        let order = order(&path, &key);
        assert_eq!((order.version, order.host.as_bytes()), (43, &[octet; 32]));
        let length = order.expires_at.as_seconds() - order.issued_at.as_seconds();
        assert_eq!(length, 2 * 3600);
        let What::Ruleset { text, confirm_within, .. } = order.what else { panic!("a ruleset") };
        assert_eq!(confirm_within, Duration::from_secs(90));
        let compiled = said(folder.path(), &format!("policy compile policy.yaml --host {host}"), 0);
        assert_eq!(text, compiled);
    }

    let before = std::fs::read(media.join("oa-web.order")).unwrap();
    let again = said(folder.path(), &line, 1);
    assert!(again.contains("not written over"), "{again}");
    assert_eq!(std::fs::read(media.join("oa-web.order")).unwrap(), before);

    // The second medium of a day has a number of its own, for the hosts that are named.
    let line = format!("{PUSH} --to second --number 44 --host oa-web -o json");
    let answer: Value = serde_json::from_str(&{
        let output = bailey(folder.path(), &line);
        assert_eq!(output.status.code(), Some(0));
        String::from_utf8(output.stdout).unwrap()
    })
    .unwrap();
    assert_eq!((&answer["version"], answer["files"].as_array().unwrap().len()), (&44.into(), 1));
    assert_eq!(order(&folder.path().join("second/oa-web.order"), &key).version, 44);
}

#[test]
fn a_dry_run_needs_no_key_writes_nothing_and_ends_with_what_would_change() {
    let (folder, _) = site();
    let line = "--lang en policy push policy.yaml --to media --inventory hosts.json --dry-run";
    let told = said(folder.path(), line, 6);
    insta::assert_snapshot!(told, @r"
    host      zone   mode     connected  ruleset
    oa-web    inner  enforce  no         changes
    mail-out  outer  enforce  no         changes
    hp-1      inner  enforce  no         changes
    proved: 12 invariants hold for what the policy compiles to; 3 demand a way, which the running site proves; hosts that observe drop nothing until they enforce; it takes for granted that nobody forges sources of another network, such as 10.1.6.10:40000 > 10.1.0.1:22 tcp new: switch rp_filter on
    ");
    assert!(!folder.path().join("media").exists());
}

#[test]
fn a_key_is_shown_to_nobody_and_not_taken_from_a_careless_file() {
    let (folder, key) = site();
    let private = folder.path().join("security.key");
    let secret = std::fs::read_to_string(&private).unwrap();
    let secret = secret.lines().nth(1).unwrap().to_owned();
    assert_eq!(std::fs::metadata(&private).unwrap().mode() & 0o777, 0o600);
    let again = said(folder.path(), "--lang en policy key --out security.key", 1);
    assert!(again.contains("not written over") && !again.contains(&secret), "{again}");
    let other = said(folder.path(), "--lang zh policy key --out other.key", 0);
    assert!(other.contains("bailey-agent pin other.key.pub") && other.contains("密钥"), "{other}");
    assert!(!other.contains(&key.id().to_string()));

    std::fs::set_permissions(&private, std::fs::Permissions::from_mode(0o644)).unwrap();
    let exposed = said(folder.path(), &format!("{PUSH} --to media"), 4);
    assert!(exposed.contains("chmod 600") && !exposed.contains(&secret), "{exposed}");
    let mixed = PUSH.replace("security.key", "security.key.pub");
    std::fs::set_permissions(
        folder.path().join("security.key.pub"),
        std::fs::Permissions::from_mode(0o600),
    )
    .unwrap();
    let mixed = said(folder.path(), &format!("{mixed} --to media"), 1);
    assert!(mixed.contains("not an Ed25519 private key"), "{mixed}");
    let token = "--lang en enroll token --host oa-17 --zone inner --security-key security.key";
    let token = said(folder.path(), token, 1);
    assert!(token.contains("not an Ed25519 public key") && !token.contains(&secret), "{token}");
}

#[test]
fn what_cannot_be_pushed_is_said_with_what_to_do() {
    let (folder, _) = site();
    let check = |line: &str, code, expect: &str| {
        let told = said(folder.path(), line, code);
        assert!(told.contains(expect), "{line}: {told}");
    };
    let to = |more: &str| format!("{PUSH} --to media {more}");
    check(&to("--host oa-wep"), 3, "did you mean oa-web?");
    check(&to("--host hp-1"), 1, "nothing can be sent to hp-1: no enforcer there follows a key");
    check(&to("--zone iner"), 3, "the policy has no zone iner");
    check(&to("--zone tax"), 3, "there is no host to send this to");
    check(&to("--confirm-within 2h"), 2, "the order's time to confirm is out of bounds");
    check("--lang en policy push policy.yaml --to media", 2, "--key <FILE>");
    check(&to("--hold"), 2, "cannot be used with");
    check("--lang en policy push policy.yaml --key security.key", 7, "no collector answers");
    let quarantine = "--lang en quarantine oa-web --key security.key";
    check(quarantine, 2, "--until <WHEN>");
    check(&format!("{quarantine} --until tomorrow --reason x"), 2, "RFC 3339");
    check(&format!("{quarantine} --release --until 4h"), 2, "cannot be used with");
    let strange = "--lang en policy push policy.yaml --key security.key --inventory policy.yaml";
    check(&format!("{strange} --to media"), 1, "policy.yaml is no inventory");
    assert!(!folder.path().join("media").exists() || is_empty(&folder.path().join("media")));
}

fn is_empty(folder: &Path) -> bool {
    std::fs::read_dir(folder).unwrap().next().is_none()
}
