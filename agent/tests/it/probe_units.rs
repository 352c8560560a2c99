//! Failed units over a real message bus, with an object in the place of systemd: none runs in a
//! container.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};

use bailey_agent::probe::system::SystemProbe;
use bailey_agent::probe::{Probe as _, Roots, Wake};
use bailey_rules::fact::host::Units;
use bailey_rules::fact::{Fact, FactKind, Named as _, Reading};
use zbus::OwnedObjectPath;

struct Bus {
    daemon: Child,
    address: String,
}

impl Bus {
    fn start() -> Self {
        let mut daemon = Command::new("dbus-daemon")
            .args(["--session", "--nofork", "--print-address"])
            .stdout(Stdio::piped())
            .spawn()
            .expect("dbus-daemon is installed");
        let mut address = String::new();
        BufReader::new(daemon.stdout.take().expect("piped"))
            .read_line(&mut address)
            .expect("it prints its address");
        Self { daemon, address: address.trim().to_owned() }
    }
}

impl Drop for Bus {
    fn drop(&mut self) {
        let _ = self.daemon.kill();
        let _ = self.daemon.wait();
    }
}

struct Manager;

type Unit =
    (String, String, String, String, String, String, OwnedObjectPath, u32, String, OwnedObjectPath);

#[zbus::interface(name = "org.freedesktop.systemd1.Manager")]
impl Manager {
    #[allow(clippy::unused_self, clippy::needless_pass_by_value)] // The interface's signature.
    fn list_units_filtered(&self, states: Vec<String>) -> Vec<Unit> {
        assert_eq!(states, ["failed"]);
        let path = || OwnedObjectPath::try_from("/").expect("a path");
        let unit = |name: &str| {
            let text = |word: &str| word.to_owned();
            (
                text(name),
                text("A unit"),
                text("loaded"),
                text("failed"),
                text("failed"),
                String::new(),
                path(),
                0,
                String::new(),
                path(),
            )
        };
        vec![unit("oracle.service"), unit("backup.timer")]
    }
}

async fn units(probe: &mut SystemProbe) -> Reading<Units> {
    let facts: Vec<Fact> = probe.read(Wake::Interval).await.expect("procfs is there");
    let fact = facts.into_iter().find(|fact| fact.key.kind == FactKind::Units).expect("named");
    match fact.reading {
        Reading::Known(value) => Reading::Known(Units::of(&value).expect("its type").clone()),
        Reading::Unreadable { why } => Reading::Unreadable { why },
    }
}

#[tokio::test]
async fn failed_units_are_named_and_a_bus_that_goes_away_is_unreadable_not_well() {
    let bus = Bus::start();
    let mut probe = SystemProbe::with_bus(&Roots::default(), &bus.address);
    assert!(units(&mut probe).await.known().is_none(), "nobody answers for systemd yet");
    let _served = zbus::connection::Builder::address(bus.address.as_str())
        .name("org.freedesktop.systemd1")
        .serve_at("/org/freedesktop/systemd1", Manager)
        .build()
        .await
        .expect("the bus takes us");
    let expect =
        Units { failed: vec!["backup.timer".into(), "oracle.service".into()], failed_count: 2 };
    assert_eq!(units(&mut probe).await, Reading::Known(expect));
    drop(bus);
    assert!(units(&mut probe).await.known().is_none(), "the bus is gone");
}
