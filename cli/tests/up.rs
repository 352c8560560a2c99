//! `bailey up` for real, on ports of its own, and every other command asked of it.

#![allow(clippy::unwrap_used)] // The helpers of a test fail as the test does.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

/// How long starting or stopping may take here: a debug build on a busy machine.
const LIMIT: Duration = Duration::from_mins(1);

/// A running `bailey up`. It is killed when the test ends, however that happens.
struct Up {
    child: Child,
    folder: PathBuf,
    said: Value,
}

impl Up {
    /// Starts it with the state folder `state` in `folder` and waits for what it says.
    fn start(folder: &Path) -> Self {
        let (out, errors) = (folder.join("up.out"), folder.join("up.err"));
        let child = bailey(folder)
            .args(["-o", "json", "up", "--web", "127.0.0.1:0", "--agents", "127.0.0.1:0"])
            .stdout(std::fs::File::create(&out).unwrap())
            .stderr(std::fs::File::create(&errors).unwrap())
            .spawn()
            .unwrap();
        let mut up = Self { child, folder: folder.to_owned(), said: Value::Null };
        up.said = up.wait("what `up` says", |up| {
            let text = std::fs::read_to_string(&out).unwrap();
            if let Some(status) = up.child.try_wait().unwrap() {
                panic!("up ended with {status}: {}", std::fs::read_to_string(&errors).unwrap());
            }
            serde_json::from_str(&text).ok()
        });
        up
    }

    fn wait<T>(&mut self, what: &str, mut look: impl FnMut(&mut Self) -> Option<T>) -> T {
        let began = Instant::now();
        loop {
            if let Some(found) = look(self) {
                return found;
            }
            let errors = std::fs::read_to_string(self.folder.join("up.err")).unwrap_or_default();
            assert!(began.elapsed() < LIMIT, "{what} did not come\n{errors}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Asks it something; gives the exit code, standard output and standard error.
    fn ask(&self, arguments: &[&str]) -> (i32, String, String) {
        said(bailey(&self.folder).args(arguments))
    }

    fn json(&self, arguments: &[&str]) -> Value {
        let (code, out, errors) = self.ask(&[&["-o", "json"], arguments].concat());
        assert_eq!(code, 0, "{arguments:?}: {errors}");
        let answer: Value = serde_json::from_str(&out).unwrap();
        assert_eq!(answer["schema"], 1, "{arguments:?}: {answer}");
        answer
    }

    /// Stops it as a service manager would and gives its exit code.
    fn stop(mut self, signal: Signal) -> Option<i32> {
        kill(Pid::from_raw(i32::try_from(self.child.id()).unwrap()), signal).unwrap();
        let status = self.wait("the end", |up| up.child.try_wait().unwrap());
        let errors = std::fs::read_to_string(self.folder.join("up.err")).unwrap();
        assert!(!errors.contains("panicked"), "{errors}");
        status.code()
    }
}

impl Drop for Up {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The program, on the state folder of a test and in the language of nobody.
fn bailey(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bailey"));
    command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
    command.env("LC_ALL", "C").stdin(Stdio::null()).arg("--state").arg(folder.join("state"));
    command
}

fn said(command: &mut Command) -> (i32, String, String) {
    let Output { status, stdout, stderr } = command.output().unwrap();
    let text = |octets| String::from_utf8(octets).unwrap();
    (status.code().unwrap_or(-1), text(stdout), text(stderr))
}

#[test]
fn a_machine_watches_itself_from_the_first_start_to_the_second() {
    let folder = tempfile::tempdir().unwrap();
    let up = Up::start(folder.path());
    let host = up.said["host"].as_str().unwrap().to_owned();
    let web = up.said["web"].as_str().unwrap().to_owned();

    // The addresses are the real ones, and the first verdict was waited for.
    assert!(web.starts_with("https://127.0.0.1:") && !web.contains(":0/"), "{web}");
    assert!(!up.said["agents"].as_str().unwrap().ends_with(":0"));
    assert!(up.said["signin"].as_str().unwrap().starts_with(&web), "{}", up.said);
    assert_eq!(up.said["zone"], "inner");
    assert!(up.said["verdict"].is_string(), "{}", up.said);

    every_command_answers(&up, &host);
    over_https_the_same_is_read(&up, &web);
    a_second_one_is_refused(&up);

    let key = up.json(&["hosts", "show", &host])["key"].clone();
    let policy = std::fs::read(folder.path().join("state/policy.yaml")).unwrap();
    assert_eq!(up.stop(Signal::SIGTERM), Some(0));
    assert!(!folder.path().join("state/bailey.sock").exists());
    let (code, _, errors) = said(bailey(folder.path()).arg("status"));
    assert_eq!(code, 7, "{errors}");
    assert!(errors.contains("bailey up"), "{errors}");

    // The second start finds everything: the same key, no second enrolment, the same policy.
    let up = Up::start(folder.path());
    assert_eq!(up.json(&["hosts", "show", &host])["key"], key);
    let identities = up.json(&["enroll", "ls"])["identities"].clone();
    assert_eq!(identities.as_array().map(Vec::len), Some(1), "{identities}");
    assert_eq!(std::fs::read(folder.path().join("state/policy.yaml")).unwrap(), policy);
    assert_eq!(up.stop(Signal::SIGINT), Some(0));

    // A machine that was off for longer than a certificate lives comes back by itself.
    let ended = folder.path().join("state/agent/certificate.der");
    std::fs::write(&ended, certificate_of_2020()).unwrap();
    let up = Up::start(folder.path());
    assert_eq!(up.json(&["hosts", "show", &host])["key"], key);
    assert_eq!(up.json(&["status"])["agents_connected"], 1);

    // One that was thrown out does not.
    let (code, out, errors) = up.ask(&["enroll", "revoke", &host, "--yes"]);
    assert_eq!((code, errors.as_str()), (0, ""), "{out}");
    assert_eq!(up.stop(Signal::SIGTERM), Some(0));
    let up = Up::start(folder.path());
    assert!(up.said["unwatched"]["en"].as_str().is_some_and(|why| why.contains("revoked")));
    assert_eq!(up.stop(Signal::SIGTERM), Some(0));
}

fn certificate_of_2020() -> Vec<u8> {
    let mut parameters = rcgen::CertificateParams::new(Vec::new()).unwrap();
    parameters.not_before = rcgen::date_time_ymd(2020, 1, 1);
    parameters.not_after = rcgen::date_time_ymd(2020, 1, 2);
    let key = rcgen::KeyPair::generate().unwrap();
    parameters.self_signed(&key).unwrap().der().to_vec()
}

fn every_command_answers(up: &Up, host: &str) {
    let status = up.json(&["status"]);
    assert_eq!(status["agents_connected"], 1, "{status}");
    let hosts = up.json(&["hosts"]);
    assert_eq!(hosts["hosts"][0]["host"], host);
    assert_eq!(up.json(&["hosts", "--zone", "outer"])["hosts"], Value::Array(Vec::new()));
    let shown = up.json(&["hosts", "show", host]);
    assert!(shown["facts"].as_array().is_some_and(|facts| facts.len() > 10), "{shown}");
    assert!(shown["checks"].as_array().is_some_and(|checks| !checks.is_empty()), "{shown}");
    let alerts = up.json(&["alerts"]);
    assert!(alerts["findings"].is_array(), "{alerts}");

    // The tables say the same in both languages, and the codes are those of the help.
    for lang in ["en", "zh"] {
        for command in
            [&["status"][..], &["hosts"], &["hosts", "show", host], &["alerts"], &["enroll", "ls"]]
        {
            let (code, out, errors) = up.ask(&[&["--lang", lang], command].concat());
            assert_eq!((code, errors.as_str()), (0, ""), "{lang} {command:?}");
            assert!(!out.is_empty(), "{lang} {command:?}");
        }
    }
    let critical = alerts["findings"]
        .as_array()
        .is_some_and(|all| all.iter().any(|finding| finding["severity"] == "critical"));
    let expected = if critical { 6 } else { 0 };
    assert_eq!(up.ask(&["alerts", "--exit-code"]).0, expected);
    assert_eq!(up.ask(&["status", "--exit-code"]).0, expected);

    let (code, out, _) = up.ask(&["check", host]);
    let word = out.split(' ').nth(1).unwrap();
    let words = ["OK", "WARNING", "CRITICAL", "UNKNOWN"];
    assert_eq!(words.iter().position(|known| *known == word), usize::try_from(code).ok(), "{out}");
    assert_eq!(up.ask(&["check", "nobody"]).0, 3);
    assert_eq!(up.ask(&["check"]).0, 3);

    assert_eq!(up.ask(&["hosts", "show", "nobody"]).0, 3);
    assert_eq!(up.ask(&["hosts", "shwo", "nobody"]).0, 2);
    assert!(up.json(&["signin"])["url"].as_str().is_some_and(|url| url.contains("/signin?code=")));

    let token = ["enroll", "token", "--host", "oa-17", "--zone", "inner"];
    let made = up.json(&token);
    assert!(made["token"].as_str().is_some_and(|token| token.starts_with("bailey1.")), "{made}");
    let (code, out, errors) = up.ask(&token);
    assert_eq!((code, errors.as_str()), (0, ""));
    assert!(out.starts_with("printf %s 'bailey1.") && out.lines().count() == 1, "{out}");
    assert_eq!(up.ask(&["enroll", "token", "--host", "oa-17", "--zone", "iner"]).0, 1);
    assert_eq!(up.ask(&["enroll", "approve", "oa-17"]).0, 3);
    let (code, _, errors) = up.ask(&["enroll", "revoke", "oa-17"]);
    assert_eq!(code, 5, "{errors}");
    assert_eq!(up.ask(&["enroll", "revoke", "oa-17", "--yes"]).0, 3);
}

fn over_https_the_same_is_read(up: &Up, web: &str) {
    let state = up.folder.join("state");
    let ask = |command: &[&str]| {
        let mut asked = Command::new(env!("CARGO_BIN_EXE_bailey"));
        asked.env("LC_ALL", "C").args(["-o", "json", "--url", web]);
        asked.arg("--ca-file").arg(state.join("ca.pem"));
        asked.arg("--token-file").arg(state.join("scrape.token"));
        said(asked.args(command))
    };
    let (code, out, errors) = ask(&["hosts"]);
    assert_eq!(code, 0, "{errors}");
    let answer: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(answer["hosts"][0]["host"], up.said["host"]);
    let (code, _, errors) = ask(&["signin"]);
    assert_eq!(code, 4, "changing anything takes the socket: {errors}");
}

fn a_second_one_is_refused(up: &Up) {
    let (code, out, errors) = up.ask(&["up", "--web", "127.0.0.1:0", "--agents", "127.0.0.1:0"]);
    assert_eq!((code, out.as_str()), (1, ""));
    assert!(errors.contains("signin"), "{errors}");

    // Another state folder, but the ports of the first.
    let other = tempfile::tempdir().unwrap();
    let taken = up.said["agents"].as_str().unwrap();
    let (code, out, errors) =
        said(bailey(other.path()).args(["up", "--web", "127.0.0.1:0", "--agents", taken]));
    assert_eq!((code, out.as_str()), (1, ""), "{errors}");
    assert!(errors.contains(taken) && errors.contains("--agents"), "{errors}");
    let taken = up.said["web"].as_str().unwrap();
    let taken = taken.trim_start_matches("https://").trim_end_matches('/');
    let (code, _, errors) = said(bailey(other.path()).args([
        "--lang",
        "zh",
        "up",
        "--web",
        taken,
        "--agents",
        "127.0.0.1:0",
    ]));
    assert_eq!(code, 1, "{errors}");
    assert!(errors.contains(taken) && errors.contains("端口"), "{errors}");
}
