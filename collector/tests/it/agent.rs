//! A real agent: net-snmp's `snmpd` with a configuration of the test's own, on a free port of the
//! loopback.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use bailey_collector::poll::snmp::Dial as _;
use bailey_collector::poll::snmp::udp::{Dialler, Patience};

/// How long `snmpd` may take to answer.
const STARTING: Duration = Duration::from_mins(1);

/// Ports tried, in case another program takes one first.
const TRIES: usize = 5;

/// A running `snmpd`; it ends with this.
pub(crate) struct Agent {
    child: Child,
    /// Where it answers.
    pub(crate) address: SocketAddr,
    folder: tempfile::TempDir,
}

impl Agent {
    /// Starts an agent.
    pub(crate) async fn start(configuration: &str) -> Self {
        for _ in 0..TRIES {
            let folder = tempfile::tempdir().unwrap();
            let address = free_port();
            let mut child = started(folder.path(), address, configuration);
            if answers(&mut child, address).await {
                return Self { child, address, folder };
            }
        }
        panic!("snmpd does not start");
    }

    /// Ends it as a power cut does (`SIGKILL`).
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Starts it again where it was.
    pub(crate) async fn again(&mut self) {
        self.child = spawned(self.folder.path());
        assert!(answers(&mut self.child, self.address).await, "snmpd does not start again");
    }

    /// Asks with this patience.
    pub(crate) async fn dialler(&self, patience: Patience) -> Dialler {
        Dialler::new(self.address, patience).await.unwrap().hearing_refusals()
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A port of the loopback that is free now.
pub(crate) fn free_port() -> SocketAddr {
    UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap()
}

fn started(folder: &Path, address: SocketAddr, configuration: &str) -> Child {
    let kept = folder.join("kept");
    std::fs::create_dir(&kept).unwrap();
    let text = format!("agentAddress udp:{address}\n{configuration}");
    std::fs::write(folder.join("snmpd.conf"), text).unwrap();
    spawned(folder)
}

fn spawned(folder: &Path) -> Child {
    Command::new("snmpd")
        .env_clear()
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .env("SNMP_PERSISTENT_DIR", folder.join("kept"))
        .env("MIBS", "")
        .env("SNMPCONFPATH", folder)
        .arg("-f")
        .args(["-Lf".as_ref(), folder.join("log").as_os_str()])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("snmpd is installed")
}

async fn answers(child: &mut Child, address: SocketAddr) -> bool {
    let patience = Patience { timeout: Duration::from_millis(200), retries: 0 };
    let dialler = Dialler::new(address, patience).await.unwrap();
    let until = Instant::now() + STARTING;
    while Instant::now() < until {
        if dialler.discover().await.is_ok() {
            return true;
        }
        if child.try_wait().unwrap().is_some() {
            return false;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let _ = child.kill();
    let _ = child.wait();
    false
}
