//! The enforcer as its own process, in a network namespace of the test.

use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use crate::namespace::run;
use bailey_agent::clock::{Clock as _, SystemClock};
use bailey_agent::enforce;
use bailey_agent::enforce::socket::{Answer, Refusal, Request, Status, apply, ask};
use bailey_agent::enforce::state::OrderRef;
use bailey_agent::probe::Roots;
use bailey_rules::name::HostKey;
use bailey_wire::order::{Order, SignedOrder, SigningKey, What, sign};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

pub(crate) const AGENT: &str = env!("CARGO_BIN_EXE_bailey-agent");
pub(crate) const HOST: HostKey = HostKey::from_bytes([7; 32]);
/// Long enough for every test.
pub(crate) const LONG: Duration = Duration::from_mins(10);
/// Waiting ends as failed after this.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

pub(crate) fn ruleset() -> String {
    run("nft list ruleset")
}

/// An enforcer, its folder, and who gives it orders.
pub(crate) struct Lab {
    pub(crate) folder: tempfile::TempDir,
    pub(crate) key: SigningKey,
    pub(crate) child: Option<Child>,
}

impl Lab {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
        Self { folder, key: SigningKey::generate().unwrap(), child: None }
    }

    /// With the enforcer running and the key pinned.
    pub(crate) async fn started() -> Self {
        let mut lab = Self::new();
        lab.start().await;
        lab.pin().await;
        lab
    }

    pub(crate) fn settings(&self) -> enforce::Settings {
        enforce::Settings {
            folder: self.folder.path().join("state"),
            socket: self.socket(),
            agent: None,
            roots: Roots::default(),
        }
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.folder.path().join("socket")
    }

    pub(crate) async fn start(&mut self) {
        let settings = self.settings();
        let child = Command::new(AGENT)
            .args(["enforce", "--state"])
            .arg(settings.folder)
            .arg("--socket")
            .arg(settings.socket)
            .env("BAILEY_LOG", "warn")
            .spawn();
        self.child = Some(child.unwrap());
        self.until_it_answers().await;
    }

    pub(crate) async fn until_it_answers(&self) {
        let begin = Instant::now();
        while ask(&self.socket(), &Request::Status, &[]).await.is_err() {
            assert!(begin.elapsed() < PATIENCE, "the enforcer does not answer");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    pub(crate) fn end(&mut self, signal: Signal) {
        if let Some(mut child) = self.child.take() {
            kill(Pid::from_raw(child.id().try_into().unwrap()), signal).unwrap();
            child.wait().unwrap();
        }
    }

    pub(crate) async fn pin(&self) {
        let key = self.key.verifying_key().to_pem();
        self.done(&Request::Pin { key, host: HOST }, &[]).await;
    }

    pub(crate) fn sign(&self, version: u64, what: What) -> SignedOrder {
        sign(&order(version, what), &self.key).unwrap()
    }

    pub(crate) async fn done(&self, request: &Request, body: &[u8]) -> Status {
        match ask(&self.socket(), request, body).await.unwrap() {
            Answer::Done(status) => *status,
            Answer::Refused { error, why } => panic!("{request:?}: {error:?} {why}"),
        }
    }

    pub(crate) async fn status(&self) -> Status {
        self.done(&Request::Status, &[]).await
    }

    pub(crate) async fn applied(&self, order: &SignedOrder) -> Status {
        let body = order.to_bytes();
        self.done(&Request::Apply { octets: body.len() }, &body).await
    }

    pub(crate) async fn confirmed(&self, order: &SignedOrder) -> Status {
        let version = order.verify(&self.key.verifying_key()).unwrap().version;
        self.done(&Request::Confirm(OrderRef { version, digest: order.digest() }), &[]).await
    }

    pub(crate) async fn refused(&self, octets: &[u8]) -> (Refusal, String) {
        match apply(&self.socket(), octets).await.unwrap() {
            Answer::Done(status) => panic!("it was followed: {status:?}"),
            Answer::Refused { error, why } => (error, why),
        }
    }

    pub(crate) async fn until(&self, what: &str, holds: impl Fn(&Status) -> bool) -> Status {
        let begin = Instant::now();
        loop {
            let status = self.status().await;
            if holds(&status) {
                return status;
            }
            assert!(begin.elapsed() < PATIENCE, "{what}: {status:?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

pub(crate) fn order(version: u64, what: What) -> Order {
    let now = SystemClock.now();
    Order { host: HOST, version, issued_at: now, expires_at: now + LONG, what }
}

pub(crate) fn ordered(text: String, confirm_within: Duration, restore: bool) -> What {
    What::Ruleset { text, confirm_within, restore }
}
