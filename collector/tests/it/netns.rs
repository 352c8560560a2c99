//! What needs a network namespace of its own, and root for it.

mod lines;
mod lldp;

use std::process::Command;

use nix::sched::{CloneFlags, unshare};

/// Runs a test in a network namespace of its own, with nothing but a loopback.
fn in_a_namespace<Testing: Future<Output = ()>>(test: impl FnOnce() -> Testing + Send + 'static) {
    let thread = std::thread::spawn(|| {
        unshare(CloneFlags::CLONE_NEWNET).expect("these tests need root for a network namespace");
        run("ip", &["link", "set", "lo", "up"]);
        // Whatever it starts is in the namespace too, for it is started from this thread.
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(test());
    });
    if let Err(why) = thread.join() {
        std::panic::resume_unwind(why);
    }
}

/// Runs a program to its end.
fn run(program: &str, arguments: &[&str]) {
    let done = Command::new(program).args(arguments).output().unwrap();
    assert!(done.status.success(), "{program}: {}", String::from_utf8_lossy(&done.stderr));
}
