//! Whom real LLDP daemons see: `lldpd` at either end of a cable, one of which tells a real `snmpd` by its
//! `AgentX` subagent (RFC 2741). Needs root.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use bailey_collector::poll::credentials::Credentials;
use bailey_collector::poll::device::look;
use bailey_collector::poll::snmp::Dial as _;
use bailey_collector::poll::snmp::udp::{Dialler, Patience};
use bailey_collector::poll::table::Learned;
use bailey_rules::device::neighbour::Neighbour;
use bailey_rules::fact::Reading;
use bailey_rules::topology::Protocol;

use super::{in_a_namespace, run};
use crate::agent::Agent;

const PATIENCE: Patience = Patience { timeout: Duration::from_secs(3), retries: 2 };

/// How often, and how often at most, it is looked at whether a daemon is ready or has heard something.
const LOOK: Duration = Duration::from_millis(100);
const LOOKS: usize = 300;

/// A running `lldpd`; it ends with this.
struct Daemon {
    child: Child,
    socket: PathBuf,
}

impl Daemon {
    /// Starts one that knows one interface only, and calls its machine so.
    async fn start(folder: &Path, interface: &str, machine: &str, more: &[&str]) -> Self {
        let socket = folder.join(format!("{interface}.sock"));
        // It is not to read the machine's own settings: until it has, it is deaf.
        let child = Command::new("lldpd")
            .args(["-d", "-L", "", "-I", interface, "-C", interface, "-u"])
            .arg(&socket)
            .args(more)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("lldpd is installed");
        let daemon = Self { child, socket };
        let name = format!("configure system hostname {machine}");
        for order in [&*name, "configure lldp tx-interval 1"] {
            let mut looks = 0;
            while !daemon.takes(order) {
                looks += 1;
                assert!(looks < LOOKS, "lldpd of {interface} does not take {order:?}");
                tokio::time::sleep(LOOK).await;
            }
        }
        daemon
    }

    fn takes(&self, order: &str) -> bool {
        let mut lldpcli = Command::new("lldpcli");
        lldpcli.arg("-u").arg(&self.socket).args(order.split(' '));
        lldpcli.output().is_ok_and(|done| done.status.success())
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // Asked to end, it tells its monitor process, which killed would stay behind.
        let pid = nix::unistd::Pid::from_raw(self.child.id().cast_signed());
        let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM);
        let _ = self.child.wait();
    }
}

async fn neighbours(dialler: &Dialler) -> Vec<Neighbour> {
    let credentials = Credentials::parse("f", "community: public").unwrap();
    let session = dialler.dial(&credentials).await.unwrap();
    match look(&session, &mut Learned::default()).await.unwrap().neighbours {
        Reading::Known(neighbours) => neighbours,
        Reading::Unreadable { why } => panic!("{why}"),
    }
}

fn hardware_address(interface: &str) -> String {
    let path = format!("/sys/class/net/{interface}/address");
    std::fs::read_to_string(path).unwrap().trim().to_owned()
}

#[test]
fn whom_a_real_daemon_hears_at_a_port_is_a_neighbour_until_it_says_farewell() {
    in_a_namespace(|| async {
        // What /sys shows belongs to the namespace in which it was mounted.
        nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNS).unwrap();
        run("mount", &["--make-rprivate", "/"]);
        run("mount", &["-t", "sysfs", "none", "/sys"]);
        run("ip", &["link", "add", "port1", "type", "veth", "peer", "name", "far1"]);
        run("ip", &["link", "set", "port1", "up"]);
        run("ip", &["link", "set", "far1", "up"]);
        let folder = tempfile::tempdir().unwrap();
        let agentx = folder.path().join("agentx");
        let agentx = agentx.to_str().unwrap();
        let agent = Agent::start(&format!(
            "rocommunity public default\nmaster agentx\nagentXSocket {agentx}\n"
        ))
        .await;
        let dialler = agent.dialler(PATIENCE).await;
        let _here = Daemon::start(folder.path(), "port1", "floor-3", &["-x", "-X", agentx]).await;
        let there = Daemon::start(folder.path(), "far1", "core-1", &[]).await;
        let mut heard = Vec::new();
        for _ in 0..LOOKS {
            heard = neighbours(&dialler).await;
            if heard.iter().any(|one| one.name.as_deref() == Some("core-1")) {
                break;
            }
            tokio::time::sleep(LOOK).await;
        }
        let [neighbour] = heard.as_slice() else { panic!("{heard:?}") };
        assert_eq!(neighbour.protocol, Protocol::Lldp);
        assert_eq!(neighbour.name.as_deref(), Some("core-1"));
        assert_eq!(neighbour.port_description.as_deref(), Some("far1"));
        let address = hardware_address("far1");
        assert_eq!((&neighbour.chassis, &neighbour.port), (&address, &address));
        assert_eq!(neighbour.local_name.as_deref(), Some("port1"));

        drop(there);
        for _ in 0..LOOKS {
            heard = neighbours(&dialler).await;
            if heard.is_empty() {
                break;
            }
            tokio::time::sleep(LOOK).await;
        }
        assert_eq!(heard, [], "it has said farewell");
    });
}
