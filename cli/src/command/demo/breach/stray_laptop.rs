//! A machine of the outer network that is plugged into a switch of the inner one (GB/T 22239, 8.1.3.1
//! b).

use std::time::Duration;

use bailey_rules::text::Text;

use super::{Breach, Raises, Scene};
use crate::netns::Netns;

const LAPTOP: &str = "laptop";
const ADDRESS: &str = "172.20.8.8";
const NEIGHBOUR: &str = "10.1.4.10";

/// How long the laptop waits for an answer to its one packet; the question before it is what is seen.
const ANSWER_LIMIT: Duration = Duration::from_millis(200);

pub(super) const BREACH: Breach = Breach {
    name: "stray-laptop",
    what: || {
        Text::new(
            "somebody plugs a laptop of the outer network into a switch of the inner one, and it looks for oracle-fin",
            "有人将外网笔记本接入内网交换机，并探测 oracle-fin",
        )
    },
    raises: Raises {
        check: "foreign_neighbour",
        host: "oracle-fin",
        subject: ADDRESS,
        alert: "BaileyIsolationViolation",
    },
    cause: |scene| {
        let laptop = Netns::add(scene.site.netns(LAPTOP).name())?;
        scene.site.plug(LAPTOP, "eth9", "sw-inner")?;
        laptop.batch(&format!(
            "addr add {ADDRESS}/32 dev eth9\nroute add 10.1.0.0/16 dev eth9 src {ADDRESS}\n"
        ))?;
        laptop.inside(|| {
            let database = format!("{NEIGHBOUR}:1521").parse()?;
            // Nobody answers it: the rules of the database drop what it sends.
            let _ = std::net::TcpStream::connect_timeout(&database, ANSWER_LIMIT);
            Ok(())
        })
    },
    undo: |scene: &Scene<'_>| {
        scene.site.netns(LAPTOP).remove()?;
        // The neighbour is remembered for as long as there is room (arp(7), gc_thresh1).
        scene.site.netns("oracle-fin").ip(&format!("neigh del {ADDRESS} dev eth0"))
    },
};
