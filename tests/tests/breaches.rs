//! What the proof says and what the kernels do, in the demo's site: each breach of isolation is found
//! with a packet, that packet really passes, and after the fix the proof holds and the packet is dropped.
//! Needs root.

use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use bailey_cli::netns::Netns;
use bailey_tests::demo::Demo;
use bailey_tests::process;
use bailey_tests::wait::until;
use serde_json::Value;

/// As long as a busy machine may take from a change in a kernel to what is proved of it.
const PROOF_LIMIT: Duration = Duration::from_mins(2);
/// A packet without an answer for so long was dropped; the kernel asks again after one second.
const ANSWER_LIMIT: Duration = Duration::from_millis(2500);

/// The breaches that only a proof sees, with the invariant that each breaks and the wires, named by their
/// switches, between which it does so where no host is on the way.
const BREACHES: [(&str, &str, [&str; 2]); 6] = [
    ("forgotten-accept", "INV-09", ["sw-tax", "sw-inner"]),
    ("translation", "INV-06", ["sw-exchange", "sw-inner"]),
    ("open-ipv6", "INV-07", ["sw-county", "sw-inner"]),
    ("second-card", "INV-12", ["sw-outer", "sw-county"]),
    ("router", "INV-12", ["sw-outer", "sw-county"]),
    ("bridge", "INV-12", ["sw-outer", "sw-county"]),
];

/// What the collector has proved of an invariant.
fn proof(demo: &Demo, invariant: &str) -> anyhow::Result<Value> {
    let state = demo.folder().join("collector");
    let mut command = Command::new(process::bailey("bailey"));
    command.args(["-o", "json", "--state"]).arg(state).args(["prove", invariant]);
    let output = command.output()?;
    // 6: it is not proved, which is an answer too.
    let code = output.status.code();
    ensure!(matches!(code, Some(0 | 6)), "{code:?}: {}", String::from_utf8_lossy(&output.stderr));
    let answer: Value = serde_json::from_slice(&output.stdout)?;
    let proof = answer["invariants"][0].clone();
    ensure!((proof["standing"] == "proved") == (code == Some(0)), "{code:?}: {proof}");
    Ok(proof)
}

fn text<'v>(value: &'v Value, name: &str) -> anyhow::Result<&'v str> {
    value[name].as_str().with_context(|| format!("{name} in {value}"))
}

/// The switch that a card of the demo is plugged into.
fn switch(host: &str, card: &str) -> anyhow::Result<String> {
    Ok(match (host, card) {
        ("county-1", "eth0" | "br0") => "sw-county".into(),
        ("county-1", "eth5" | "eth6" | "eth7") => "sw-outer".into(),
        ("fw-in" | "fw-out", card) => format!("sw-{card}"),
        other => anyhow::bail!("{other:?} is on no way of these breaches"),
    })
}

/// An address of a card, of a family.
fn address_of(host: &Netns, card: &str, v6: bool) -> anyhow::Result<IpAddr> {
    let family = if v6 { "-6" } else { "-4" };
    let listed = host.sh(&format!("ip {family} -j address show dev {card} scope global"))?;
    let listed: Value = serde_json::from_str(&listed)?;
    Ok(text(&listed[0]["addr_info"][0], "local")?.parse()?)
}

/// One end of a connection, played by a switch: whoever is on the wire.
struct Stranger {
    switch: Netns,
    own: IpAddr,
    other: IpAddr,
}

impl Stranger {
    /// Takes an address on a wire, and knows a way to another: by a router, or on the wire itself.
    fn take(
        switch: Netns,
        own: IpAddr,
        other: IpAddr,
        router: Option<IpAddr>,
    ) -> anyhow::Result<Self> {
        let (length, sure) = if own.is_ipv6() { (128, " nodad") } else { (32, "") };
        let by = match router.filter(|router| *router != other) {
            Some(router) => format!("via {router} dev bridge onlink"),
            None => "dev bridge".to_owned(),
        };
        switch.batch(&format!(
            "addr add {own}/{length} dev bridge{sure}\nroute add {other}/{length} {by} src {own}\n"
        ))?;
        Ok(Self { switch, own, other })
    }

    /// Counts what comes of the connection. Its answers may be dropped all the same: what opens a
    /// connection is what must not pass.
    fn watch(&self, port: u16) -> anyhow::Result<()> {
        let family = if self.own.is_ipv6() { "ip6" } else { "ip" };
        let (own, other) = (self.own, self.other);
        self.switch.nft(&format!(
            "table inet arrived {{\n\
             counter seen {{ }}\n\
             chain in {{ type filter hook input priority -300; \
             {family} saddr {other} {family} daddr {own} tcp dport {port} counter name seen; }}\n\
             }}\n"
        ))
    }

    /// Whether something came.
    fn saw(&self) -> anyhow::Result<bool> {
        let listed = self.switch.sh("nft list counter inet arrived seen")?;
        Ok(!listed.contains("packets 0 "))
    }

    fn mac(&self) -> anyhow::Result<String> {
        let mac = self.switch.sh("cat /sys/class/net/bridge/address")?;
        Ok(mac.trim().to_owned())
    }
}

impl Drop for Stranger {
    fn drop(&mut self) {
        let length = if self.own.is_ipv6() { 128 } else { 32 };
        let (own, other) = (self.own, self.other);
        let _ = self.switch.ip(&format!("route del {other}/{length} dev bridge"));
        let _ = self.switch.ip(&format!("addr del {own}/{length} dev bridge"));
        let _ = self.switch.nft("table inet arrived { }\ndelete table inet arrived\n");
    }
}

/// Sends the packet of a counterexample from where it begins to where it ends, and gives whether it
/// came there: a host of the site refuses the connection, since nobody listens; a stranger counts it.
fn passes(demo: &Demo, breach: &Value, wires: [&str; 2]) -> anyhow::Result<bool> {
    let packet = &breach["packet"];
    ensure!(packet["proto"] == "tcp", "a plain packet is shown where one passes: {packet}");
    let (src, dst): (IpAddr, IpAddr) =
        (text(packet, "src")?.parse()?, text(packet, "dst")?.parse()?);
    let port = |name: &str| -> anyhow::Result<u16> {
        Ok(packet[name].as_u64().with_context(|| name.to_owned())?.try_into()?)
    };
    let (sport, dport) = (port("sport")?, port("dport")?);
    let path = breach["path"].as_array().context("a path")?;
    let (first, last) = (path.first().context("a hop")?, path.last().context("a hop")?);

    let (sender, router) = match first["host"].as_str() {
        None => (Stranger::take(demo.netns(wires[0]), src, dst, None)?, None),
        Some(host) => {
            let card = text(first, "iif")?;
            let machine = demo.netns(host);
            if machine.ip(&format!("link show dev {card}")).is_err() {
                // The fix has taken the card away, and with it the way.
                return Ok(false);
            }
            let router = address_of(&machine, card, src.is_ipv6())?;
            let switch = demo.netns(&switch(host, card)?);
            let sender = Stranger::take(switch, src, dst, Some(router))?;
            // As whoever takes a neighbour's address does (ARP and ND spoofing).
            let mac = sender.mac()?;
            machine.ip(&format!("neigh replace {src} lladdr {mac} dev {card} nud permanent"))?;
            (sender, Some((machine, card.to_owned())))
        }
    };
    let receiver = match (last["host"].as_str(), last["oif"].as_str()) {
        (None, _) => Some(Stranger::take(demo.netns(wires[1]), dst, src, None)?),
        (Some(_), None) => None,
        (Some(host), Some(card)) => {
            let router = address_of(&demo.netns(host), card, dst.is_ipv6())?;
            Some(Stranger::take(demo.netns(&switch(host, card)?), dst, src, Some(router))?)
        }
    };
    if let Some(receiver) = &receiver {
        receiver.watch(dport)?;
    }
    let answered = sender.switch.inside(|| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            let socket = match src {
                IpAddr::V4(_) => tokio::net::TcpSocket::new_v4()?,
                IpAddr::V6(_) => tokio::net::TcpSocket::new_v6()?,
            };
            socket.set_reuseaddr(true)?;
            socket.bind(SocketAddr::new(src, sport))?;
            let connecting = socket.connect(SocketAddr::new(dst, dport));
            Ok(match tokio::time::timeout(ANSWER_LIMIT, connecting).await {
                Ok(Ok(_)) => true,
                Ok(Err(error)) => error.kind() == ErrorKind::ConnectionRefused,
                Err(_) => false,
            })
        })
    })?;
    if let Some((machine, card)) = router {
        machine.ip(&format!("neigh del {src} dev {card}"))?;
    }
    match receiver {
        Some(receiver) => receiver.saw(),
        None => Ok(answered),
    }
}

fn the_proof_and_the_kernels_agree(
    demo: &Demo,
    (breach, invariant, wires): (&str, &str, [&str; 2]),
) -> anyhow::Result<()> {
    demo.verb(&["break", breach, "--no-wait"])?;
    let (found, took) = until(&format!("{breach} to break {invariant}"), PROOF_LIMIT, || {
        let proof = proof(demo, invariant)?;
        ensure!(proof["answer"] == "broken", "{proof}");
        Ok(proof["breach"].clone())
    });
    process::report(&format!("{breach}: {invariant} broken after {took:?} by {}", found["packet"]));
    until("its finding", PROOF_LIMIT, || {
        let findings = demo.findings()?;
        let found =
            findings.iter().any(|one| one["check"] == "invariant" && one["subject"] == invariant);
        ensure!(found, "{findings:?}");
        Ok(())
    });
    ensure!(passes(demo, &found, wires)?, "{breach}: the packet does not pass: {found:#}");
    if found["path"][0]["host"] == "fw-in" {
        ensure!(found["cuts"].as_array().is_some_and(|cuts| !cuts.is_empty()), "{found:#}");
    }

    demo.verb(&["fix", breach, "--no-wait"])?;
    until(&format!("{invariant} to hold again"), PROOF_LIMIT, || {
        let proof = proof(demo, invariant)?;
        ensure!(proof["standing"] == "proved", "{proof}");
        Ok(())
    });
    // On one wire no more, neither end hears the other; elsewhere the rules are as they were.
    ensure!(!passes(demo, &found, wires)?, "{breach}: the packet passes still: {found:#}");
    Ok(())
}

#[test]
fn every_breach_of_isolation_is_found_with_a_packet_that_really_passes_until_it_is_fixed()
-> anyhow::Result<()> {
    let mut demo = Demo::new('p')?;
    demo.start()?;
    demo.wait_until_it_is_up();
    let ((), took) = until("every invariant to be proved", PROOF_LIMIT, || {
        for invariant in demo.invariants()? {
            let proof = proof(&demo, &invariant)?;
            ensure!(proof["standing"] == "proved", "{proof}");
        }
        Ok(())
    });
    process::report(&format!("every invariant is proved {took:?} after the site is up"));
    for breach in BREACHES {
        the_proof_and_the_kernels_agree(&demo, breach)?;
    }
    demo.down()?;
    demo.nothing_is_left()
}
