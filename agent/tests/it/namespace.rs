//! Network namespaces of the tests' own, what is done in them, and another machine on the same cable.
//! Needs root.

use std::future::Future;
use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, Command, Stdio};

use nix::sched::{CloneFlags, setns, unshare};

/// Runs a test on a thread of its own, with a fresh network namespace whose loopback is up, and with mounts
/// that nobody else sees.
pub(crate) fn alone(test: impl FnOnce() + Send + 'static) {
    let thread = std::thread::spawn(|| {
        unshare(CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS)
            .expect("these tests need root for a network namespace");
        run("mount --make-rprivate / && ip link set lo up");
        test();
    });
    if let Err(panic) = thread.join() {
        std::panic::resume_unwind(panic);
    }
}

/// The same for a test that waits.
pub(crate) fn in_namespace<F: Future<Output = ()>>(test: impl FnOnce() -> F + Send + 'static) {
    alone(|| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(test());
    });
}

/// Runs a line of the shell, and gives what it printed.
pub(crate) fn run(line: &str) -> String {
    let ran = Command::new("sh").args(["-c", line]).output().unwrap();
    assert!(ran.status.success(), "{line}: {}", String::from_utf8_lossy(&ran.stderr));
    String::from_utf8(ran.stdout).unwrap()
}

/// Runs a program that reads this.
pub(crate) fn fed(program: &str, arguments: &[&str], input: &str) {
    let mut child = Command::new(program).args(arguments).stdin(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    assert!(child.wait().unwrap().success(), "{program} {arguments:?} refused:\n{input}");
}

/// Gives nft(8) these lines.
pub(crate) fn nft(rules: &str) {
    fed("nft", &["-f", "-"], rules);
}

/// Set in the process of [`again_without`].
const WITHOUT: &str = "BAILEY_TEST_WITHOUT_RIGHTS";

/// Whether this process lacks the right that [`again_without`] took.
pub(crate) fn is_without() -> bool {
    std::env::var_os(WITHOUT).is_some()
}

/// Runs one test of this program again, in a process of its own that lacks a right (capabilities(7), as
/// setpriv(1) writes it): a whole process must do without it.
pub(crate) fn again_without(right: &str, test: &str) {
    let less = format!("-{right}");
    let again = Command::new("setpriv")
        .args(["--bounding-set", &less, "--inh-caps", &less])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", test])
        .env(WITHOUT, "1")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&again.stdout);
    assert!(again.status.success() && said.contains("1 passed"), "{said}");
}

/// Another machine on the same cable, which is `eth0` on both. It lives as long as its shell's input is
/// open.
pub(crate) struct Beside(Child);

impl Beside {
    /// Lays the cable to the namespace of the calling thread, where the loopback comes up too.
    pub(crate) fn new() -> Self {
        let mut shell = Command::new("unshare")
            .args(["--net", "sh", "-c", "echo ready; cat"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(shell.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line, "ready\n");
        let pid = shell.id();
        run(&format!("ip link set lo up && ip link add eth0 type veth peer name eth0 netns {pid}"));
        Self(shell)
    }

    /// Does something there: on a thread of its own, which alone goes there.
    pub(crate) fn there<T: Send>(&self, what: impl FnOnce() -> T + Send) -> T {
        let namespace = std::fs::File::open(format!("/proc/{}/ns/net", self.0.id())).unwrap();
        std::thread::scope(|scope| {
            let there = scope.spawn(move || {
                setns(namespace, CloneFlags::CLONE_NEWNET).unwrap();
                what()
            });
            there.join().unwrap()
        })
    }

    /// Runs a line of the shell there.
    pub(crate) fn run(&self, line: &str) {
        run(&format!("nsenter --net=/proc/{}/ns/net sh -c '{line}'", self.0.id()));
    }
}

impl Drop for Beside {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        let _ = self.0.wait();
    }
}
