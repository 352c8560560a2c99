//! The program itself: killed, asked to stop, with no room on its disk; and its unit.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::support::{self, Facts, Machine, memory};
use http_body_util::{BodyExt as _, Full};
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;

/// A child that does not outlive the test.
struct Program(Child);

impl Drop for Program {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn arguments(state: &Path, agents: u16) -> Vec<String> {
    let state = state.to_str().unwrap();
    let agents = format!("127.0.0.1:{agents}");
    ["--state", state, "--web", "127.0.0.1:0", "--agents", &agents]
        .into_iter()
        .map(str::to_owned)
        .collect()
}

fn start(state: &Path, agents: u16) -> Program {
    let mut command = Command::new(support::program());
    command.args(arguments(state, agents)).stderr(Stdio::null());
    Program(command.spawn().unwrap())
}

/// A port that was free a moment ago.
fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

/// Asks over the command line's socket.
async fn call(state: &Path, path: &str, body: &str) -> Option<serde_json::Value> {
    let stream = UnixStream::connect(state.join("bailey.sock")).await.ok()?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.ok()?;
    tokio::spawn(connection);
    let method = if body.is_empty() { "GET" } else { "POST" };
    let request = http::Request::builder()
        .method(method)
        .uri(path)
        .header("host", "localhost")
        .header("content-type", "application/json")
        .body(Full::new(bytes::Bytes::from(body.to_owned())))
        .unwrap();
    let answer = sender.send_request(request).await.ok()?;
    let octets = answer.into_body().collect().await.ok()?.to_bytes();
    serde_json::from_slice(&octets).ok()
}

async fn answers(state: &Path) -> Duration {
    let began = Instant::now();
    while call(state, "/api/v1/status", "").await.is_none() {
        assert!(began.elapsed() < support::LIMIT, "the collector does not answer");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    began.elapsed()
}

async fn enrolled(state: &Path, host: &str) -> Machine {
    let body = format!(r#"{{"host": "{host}", "zone": "inner", "ttl_seconds": 600}}"#);
    let made = call(state, "/api/v1/enroll/tokens", &body).await.unwrap();
    let token = made["token"].as_str().unwrap_or_else(|| panic!("{made}")).parse().unwrap();
    let key = bailey_wire::identity::AgentKey::generate().unwrap();
    Machine::enrol(&token, key).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_at_any_moment_it_has_what_it_acknowledged() {
    let folder = support::state();
    let port = free_port();
    let mut program = start(folder.path(), port);
    answers(folder.path()).await;
    let machine = enrolled(folder.path(), "oa-17").await;
    let mut facts = Facts::new(1);
    let mut value = 0;
    for round in 0..6_u64 {
        let mut link = loop {
            if let Ok(link) = machine.try_connect().await {
                break link;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        };
        // What it has is at least what it told us, and the rest is sent again.
        let held = link.welcome.as_ref().unwrap().acknowledged.as_ref().map_or(0, |at| at.seq);
        assert!(held <= facts.seq);
        facts.seq = held;
        link.report(facts.complete([memory(value)])).await;
        link.acknowledged(facts.place()).await.unwrap();
        let told = facts.place();
        for _ in 0..100 * round {
            value += 1;
            link.report(facts.changed([memory(value)])).await;
        }
        program.0.kill().unwrap();
        program.0.wait().unwrap();
        program = start(folder.path(), port);
        let took = answers(folder.path()).await;
        assert!(took < Duration::from_secs(10), "{took:?}");
        let shown = call(folder.path(), "/api/v1/hosts/oa-17", "").await.unwrap();
        let session = &shown["session"];
        assert_eq!(session["lost_reports"], 0, "{session}");
        let accepted = session["reports_accepted"].as_u64();
        assert!(accepted.is_none_or(|count| count >= told.seq), "{accepted:?} < {told:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn asked_to_stop_it_stops_in_order_and_in_time() {
    let folder = support::state();
    let mut program = start(folder.path(), free_port());
    answers(folder.path()).await;
    let machine = enrolled(folder.path(), "oa-17").await;
    let mut link = machine.connect().await;
    let pid = nix::unistd::Pid::from_raw(i32::try_from(program.0.id()).unwrap());
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).unwrap();
    let began = Instant::now();
    link.end().await;
    let status = tokio::task::spawn_blocking(move || program.0.wait().unwrap()).await.unwrap();
    assert!(status.success(), "{status:?}");
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    assert!(!folder.path().join("bailey.sock").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn with_a_full_disk_nothing_is_acknowledged_and_with_room_it_heals_by_itself() {
    // It fills a file system of its own, for which it needs to be root.
    assert!(nix::unistd::geteuid().is_root(), "run ./test as root, or ./test quick without this");
    let outside = tempfile::tempdir().unwrap();
    let port = free_port();
    // A disk of its own, in a mount namespace of its own.
    let script = "mount -t tmpfs -o size=12m,mode=0700 none \"$0\" && cp \"$1\" \"$0/policy.yaml\" && \
                  shift && exec \"$@\"";
    let policy = outside.path().join("policy.yaml");
    let disk = outside.path().join("disk");
    std::fs::create_dir(&disk).unwrap();
    std::fs::write(&policy, support::POLICY).unwrap();
    let mut command = Command::new("unshare");
    command
        .args(["-m", "sh", "-c", script])
        .arg(&disk)
        .arg(&policy)
        .arg(support::program())
        .args(arguments(&disk, port))
        .stderr(Stdio::null());
    let program = Program(command.spawn().unwrap());
    // The child's view of its disk; unshare and sh became the program by exec.
    let seen = Path::new("/proc").join(program.0.id().to_string()).join("root");
    let seen = seen.join(disk.strip_prefix("/").unwrap());
    answers(&seen).await;
    let machine = enrolled(&seen, "oa-17").await;
    let mut link = machine.connect().await;
    let mut facts = Facts::new(1);
    link.report(facts.complete([memory(1)])).await;
    link.acknowledged(facts.place()).await.unwrap();
    let told = facts.place();

    let filler = seen.join("filler");
    let full = (0..64).try_for_each(|_| {
        use std::io::Write as _;
        let mut file = std::fs::OpenOptions::new().create(true).append(true).open(&filler)?;
        file.write_all(&vec![7; 1 << 20])
    });
    assert!(full.is_err(), "the disk took everything");
    // Reports go on until one does not fit any more; the session ends then.
    let big = |value: u64| {
        let text = format!("{value}-{}", "x".repeat(240));
        bailey_rules::fact::Fact::unreadable(bailey_rules::fact::FactKind::Memory, "", text)
    };
    let refused = async {
        let mut value = 0;
        loop {
            value += 1;
            link.report(facts.changed([big(value)])).await;
            let answer = tokio::time::timeout(Duration::from_millis(20), link.next()).await;
            if let Ok(Err(status)) = answer {
                return status;
            }
        }
    };
    let refused = tokio::time::timeout(Duration::from_mins(1), refused).await.unwrap();
    assert_eq!(refused.code(), tonic::Code::Unavailable, "{refused:?}");
    let status = call(&seen, "/api/v1/status", "").await.unwrap();
    let problems = status["config_problems"].to_string();
    assert!(problems.contains("cannot be written"), "{problems}");

    std::fs::remove_file(&filler).unwrap();
    let healed = async {
        while call(&seen, "/api/v1/status", "")
            .await
            .is_none_or(|status| !status["config_problems"].as_array().is_some_and(Vec::is_empty))
        {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(15), healed).await.expect("it heals by itself");
    let mut link = machine.connect().await;
    let held = link.welcome.as_ref().unwrap().acknowledged.as_ref().unwrap().seq;
    assert!(held >= told.seq);
    facts.seq = held;
    link.report(facts.complete([memory(9)])).await;
    link.acknowledged(facts.place()).await.unwrap();
    let shown = call(&seen, "/api/v1/hosts/oa-17", "").await.unwrap();
    assert_eq!(shown["session"]["lost_reports"], 0);
}
