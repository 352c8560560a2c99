//! What a UPS tells by UPS-MIB (RFC 1628), as Network UPS Tools read it too: served by a real agent, read by
//! both.

use std::collections::BTreeMap;
use std::process::Command;
use std::time::Duration;

use bailey_collector::poll::profile::ups::{Battery, Source};

use super::profiles::{PATIENCE, known, looked_at};
use crate::agent::Agent;

/// The driver for SNMP; Debian's nut-snmp installs it outside of all paths.
const DRIVER: &str = "/lib/nut/snmp-ups";

/// What the driver says of the UPS, by its names.
fn told(agent: &Agent) -> BTreeMap<String, String> {
    let done = Command::new(DRIVER)
        .args(["-s", "ups", "-d", "1", "-u", "root"])
        .args(["-x", &format!("port={}", agent.address)])
        .args(["-x", "community=public", "-x", "snmp_version=v2c", "-x", "mibs=ietf"])
        .output()
        .expect("nut-snmp is installed");
    let text = String::from_utf8_lossy(&done.stdout);
    let pairs = text.lines().filter_map(|line| line.split_once(": "));
    pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

#[tokio::test]
async fn a_ups_on_battery_is_read_as_network_ups_tools_read_it() {
    let agent = Agent::start(
        "rocommunity public default\n\
         override .1.3.6.1.2.1.1.2.0 object_id .1.3.6.1.2.1.33\n\
         override .1.3.6.1.2.1.33.1.1.1.0 octet_str \"APC\"\n\
         override .1.3.6.1.2.1.33.1.1.2.0 octet_str \"Smart-UPS 3000\"\n\
         override .1.3.6.1.2.1.33.1.2.1.0 integer 3\n\
         override .1.3.6.1.2.1.33.1.2.2.0 integer 90\n\
         override .1.3.6.1.2.1.33.1.2.3.0 integer 7\n\
         override .1.3.6.1.2.1.33.1.2.4.0 integer 22\n\
         override .1.3.6.1.2.1.33.1.2.7.0 integer 31\n\
         override .1.3.6.1.2.1.33.1.3.2.0 integer 1\n\
         override .1.3.6.1.2.1.33.1.3.3.1.3.1 integer 198\n\
         override .1.3.6.1.2.1.33.1.4.1.0 integer 5\n\
         override .1.3.6.1.2.1.33.1.4.3.0 integer 1\n\
         override .1.3.6.1.2.1.33.1.4.4.1.5.1 integer 63\n",
    )
    .await;
    let power = known(looked_at(&agent.dialler(PATIENCE).await).await.power).unwrap();
    assert_eq!((power.battery, power.source), (Some(Battery::Low), Some(Source::Battery)));
    assert_eq!(power.on_battery, Some(Duration::from_secs(90)));

    let told = told(&agent);
    let told =
        |name: &str| told.get(name).unwrap_or_else(|| panic!("no {name}: {told:?}")).as_str();
    // It writes some numbers with decimal places.
    let number = |name: &str| format!("{:.0}", told(name).parse::<f64>().unwrap());
    // On battery, and the battery is low.
    let status: Vec<&str> = told("ups.status").split(' ').collect();
    assert!(status.contains(&"OB") && status.contains(&"LB"), "{status:?}");
    let model = format!("{} {}", told("device.mfr"), told("device.model"));
    assert_eq!(power.model.as_deref(), Some(&*model));
    let lasts = power.lasts.unwrap().as_secs();
    assert_eq!(lasts.to_string(), number("battery.runtime"));
    assert_eq!(power.charge.unwrap().to_string(), number("battery.charge"));
    assert_eq!(power.celsius.unwrap().to_string(), number("battery.temperature"));
    assert_eq!(power.input_volts[0].to_string(), number("input.voltage"));
    assert_eq!(power.load[0].to_string(), number("ups.load"));
}
