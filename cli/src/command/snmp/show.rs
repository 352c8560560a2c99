//! `bailey snmp show`: everything that a device tells, at once.

use bailey_collector::poll::device::{self, Look};
use bailey_collector::poll::doctor;
use bailey_collector::poll::profile::ethernet::{Duplex, Port};
use bailey_collector::poll::profile::interfaces::{Counter, Interface, Link};
use bailey_collector::poll::profile::poe::{Feeding, Poe, SupplyState};
use bailey_collector::poll::profile::processes::Processes;
use bailey_collector::poll::profile::routes::Routes;
use bailey_collector::poll::profile::sensors::{Measured, Quantity, Sensor};
use bailey_collector::poll::profile::ups::{Battery, Power, Source};
use bailey_collector::poll::profile::vendor::{VendorValue, What};
use bailey_collector::poll::snmp::Dial as _;
use bailey_collector::poll::table::Learned;
use bailey_rules::fact::Reading;
use bailey_rules::text::Text;
use bailey_rules::unit::Bytes;
use serde_json::json;

use super::super::json as written;
use super::{SCHEMA, cannot_ask, dialler, doctor as examination, read_credentials};
use crate::arguments::{Format, OneDevice};
use crate::exit::{Done, Exit, Failure};
use crate::screen::{Cell, Screen, Table};

/// Shows the device. When it does not answer as it should, says what is wrong instead, and ends with 6.
pub(super) async fn run(one: &OneDevice, format: Format, screen: Screen) -> Result<Done, Failure> {
    let from_file = read_credentials(&one.credentials)?;
    let dialler = dialler(&one.device, doctor::PATIENCE).await?.hearing_refusals();
    let diagnosis = doctor::examine(&dialler, &from_file.credentials).await;
    let device = one.device.to_string();
    if diagnosis.fault.is_some() {
        let said = examination::said(&device, &from_file, &diagnosis, format, screen);
        return Ok(Done::said(said).ending(Exit::Findings.code()));
    }
    let session = dialler.dial(&from_file.credentials).await.map_err(|e| cannot_ask(&e))?;
    let look = device::look(&session, &mut Learned::default()).await.map_err(|e| cannot_ask(&e))?;
    let warning = from_file.warning.as_ref();
    Ok(Done::said(match format {
        Format::Json | Format::Ndjson => {
            let answer = json!({
                "schema": SCHEMA,
                "device": device,
                "version": from_file.credentials.version(),
                "look": look,
                "warnings": warning.into_iter().collect::<Vec<_>>(),
            });
            written(&answer, format)
        }
        Format::Table => {
            let warned = warning.map(|warning| format!("\n{}\n", screen.say(warning)));
            shown(&device, &look, screen) + &warned.unwrap_or_default()
        }
    }))
}

/// What a device tells, for people. What it does not have is left out.
fn shown(device: &str, look: &Look, screen: Screen) -> String {
    let identity = &look.identity;
    let mut about = Table::indented(0);
    let mut row = |en, zh, value: Option<&str>| {
        if let Some(value) = value.filter(|value| !value.is_empty()) {
            about.row([screen.word(en, zh).into(), value.into()]);
        }
    };
    row("device", "设备", Some(device));
    row("name", "名称", identity.name.as_deref());
    row("description", "描述", identity.description.as_deref());
    row("vendor", "厂商", look.vendor);
    row("location", "位置", identity.location.as_deref());
    let up = identity.up.map(|up| screen.length(up.as_secs_f64()));
    row("up", "运行时间", up.as_deref());
    let mut out = about.render();
    let none = std::collections::BTreeMap::new();
    let ethernet = match &look.ethernet {
        Reading::Known(ports) => ports,
        Reading::Unreadable { .. } => &none,
    };
    let mut part = |en, zh, reading: Reading<Option<Table>>| match reading {
        Reading::Known(None) => {}
        Reading::Known(Some(table)) => {
            out.extend(["\n", screen.word(en, zh), "\n", &table.render()]);
        }
        Reading::Unreadable { why } => {
            let failed = Text::new(format!("cannot be read: {why}"), format!("无法读取：{why}"));
            out.extend(["\n", screen.word(en, zh), "\n  ", &screen.say(&failed), "\n"]);
        }
    };
    part("Interfaces", "接口", told(&look.interfaces, |all| interfaces(all, ethernet, screen)));
    part("Power", "电源", told(&look.power, |power| Some(ups(power.as_ref()?, screen))));
    part("Power over Ethernet", "以太网供电", told(&look.poe, |all| poe(all, screen)));
    let storage = told(&look.resources, |resources| {
        let mut table = Table::indented(2);
        for storage in &resources.storage {
            let used = format!("{} / {}", storage.used, storage.size);
            table.row([(&storage.name).into(), used.into()]);
        }
        (!resources.storage.is_empty()).then_some(table)
    });
    part("Storage", "存储", storage);
    let processors = told(&look.resources, |resources| {
        let mut table = Table::indented(2);
        let busy: Vec<String> =
            resources.processors.iter().map(|busy| format!("{busy} %")).collect();
        table.row([screen.word("busy", "占用").into(), busy.join("  ").into()]);
        (!busy.is_empty()).then_some(table)
    });
    part("Processors", "处理器", processors);
    part("Processes", "进程", told(&look.processes, |all| processes(all, screen)));
    part("Sensors", "传感器", told(&look.hardware, |hardware| sensors(&hardware.sensors)));
    part("Own values", "厂商数据", told(&look.vendor_values, |values| own(values, screen)));
    let neighbours = told(&look.neighbours, |all| {
        let mut table = Table::indented(2);
        for neighbour in all {
            let here = neighbour.local_name.clone().unwrap_or(neighbour.local_port.to_string());
            let there = neighbour.name.as_ref().unwrap_or(&neighbour.chassis);
            table.row([here.into(), format!("{there} {}", neighbour.port).into()]);
        }
        (!all.is_empty()).then_some(table)
    });
    part("Neighbours", "邻居", neighbours);
    let stations = told(&look.bridge, |bridge| {
        let mut table = Table::indented(2);
        let count = bridge.stations.len();
        table.row([screen.word("learnt", "已学习").into(), count.to_string().into()]);
        (count > 0).then_some(table)
    });
    part("MAC addresses", "MAC 地址", stations);
    part("Routes", "路由", told(&look.routes, |all| routes(all, screen)));
    out
}

/// A reading as a table, if there is anything in it.
fn told<T>(
    reading: &Reading<T>,
    table: impl FnOnce(&T) -> Option<Table>,
) -> Reading<Option<Table>> {
    match reading {
        Reading::Known(value) => Reading::Known(table(value)),
        Reading::Unreadable { why } => Reading::Unreadable { why: why.clone() },
    }
}

fn interfaces(
    all: &[Interface],
    ethernet: &std::collections::BTreeMap<u32, Port>,
    screen: Screen,
) -> Option<Table> {
    let mut table = Table::headed(screen.words_of([
        ("name", "名称"),
        ("link", "状态"),
        ("speed", "速率"),
        ("duplex", "双工"),
        ("in", "接收"),
        ("out", "发送"),
        ("errors", "错误"),
        ("discards", "丢弃"),
        ("alias", "说明"),
    ]));
    for interface in all {
        let counters = &interface.counters;
        let duplex = ethernet.get(&interface.index).and_then(|port| port.duplex);
        let dash = || "-".to_owned();
        table.row([
            (&interface.name).into(),
            link(interface, screen).into(),
            interface.speed.map_or_else(dash, speed).into(),
            duplex
                .map_or("-", |duplex| match duplex {
                    Duplex::Half => screen.word("half", "半双工"),
                    Duplex::Full => screen.word("full", "全双工"),
                })
                .into(),
            octets(counters.in_octets).into(),
            octets(counters.out_octets).into(),
            both(counters.in_errors, counters.out_errors).into(),
            both(counters.in_discards, counters.out_discards).into(),
            (&interface.alias).into(),
        ]);
    }
    (!all.is_empty()).then_some(table)
}

/// The state of an interface; one that is down as it should be says so.
fn link(interface: &Interface, screen: Screen) -> &'static str {
    if interface.wanted == Link::Down {
        return screen.word("off", "已关闭");
    }
    match interface.link {
        Link::Up => screen.word("up", "连通"),
        Link::Down => screen.word("down", "断开"),
        Link::Testing => screen.word("testing", "测试中"),
        Link::Dormant => screen.word("dormant", "休眠"),
        Link::NotPresent => screen.word("not present", "缺失"),
        Link::LowerLayerDown => screen.word("lower layer down", "下层断开"),
        Link::Unknown => screen.word("unknown", "未知"),
    }
}

/// Bits per second as people name lines.
fn speed(bits: u64) -> String {
    const UNITS: [(u64, &str); 3] = [(1_000_000_000, "G"), (1_000_000, "M"), (1000, "k")];
    let unit = UNITS.iter().find(|(size, _)| bits >= *size && bits.is_multiple_of(size / 10));
    match unit {
        Some((size, unit)) if bits.is_multiple_of(*size) => format!("{}{unit}", bits / size),
        Some((size, unit)) => format!("{:.1}{unit}", bits as f64 / *size as f64),
        None => bits.to_string(),
    }
}

fn number(counter: Counter) -> u64 {
    match counter {
        Counter::Narrow(value) => value.into(),
        Counter::Wide(value) => value,
    }
}

fn octets(counter: Option<Counter>) -> String {
    counter.map_or_else(|| "-".to_owned(), |counter| Bytes(number(counter)).to_string())
}

/// Two counters as one number each, in and out.
fn both(one: Option<Counter>, other: Option<Counter>) -> String {
    let shown = |counter: Option<Counter>| {
        counter.map_or_else(|| "-".to_owned(), |counter| number(counter).to_string())
    };
    format!("{}/{}", shown(one), shown(other))
}

fn ups(power: &Power, screen: Screen) -> Table {
    let mut table = Table::indented(2);
    let mut row = |en, zh, value: Option<String>| {
        if let Some(value) = value {
            table.row([Cell::from(screen.word(en, zh)), Cell::from(value)]);
        }
    };
    row("model", "型号", power.model.clone());
    let source = power.source.map(|source| match source {
        Source::None => screen.word("nothing", "无输出"),
        Source::Normal => screen.word("mains", "市电"),
        Source::Bypass => screen.word("bypass", "旁路"),
        Source::Battery => screen.word("battery", "电池"),
        Source::Booster => screen.word("mains, raised", "市电升压"),
        Source::Reducer => screen.word("mains, lowered", "市电降压"),
        Source::Other => screen.word("other", "其他"),
    });
    row("load fed by", "供电来源", source.map(str::to_owned));
    let battery = power.battery.map(|battery| match battery {
        Battery::Normal => screen.word("normal", "正常"),
        Battery::Low => screen.word("low", "电量低"),
        Battery::Depleted => screen.word("depleted", "耗尽"),
    });
    row("battery", "电池", battery.map(str::to_owned));
    row("charge", "电量", power.charge.map(|charge| format!("{charge} %")));
    row("lasts", "可持续", power.lasts.map(|lasts| screen.length(lasts.as_secs_f64())));
    let on_battery = power.on_battery.filter(|since| !since.is_zero());
    row("on battery for", "电池供电已", on_battery.map(|since| screen.length(since.as_secs_f64())));
    row("temperature", "温度", power.celsius.map(|celsius| format!("{celsius} °C")));
    let listed = |values: &[u64], unit: &str| {
        let values: Vec<String> = values.iter().map(|value| format!("{value} {unit}")).collect();
        (!values.is_empty()).then(|| values.join("  "))
    };
    row("input", "输入", listed(&power.input_volts, "V"));
    row("load", "负载", listed(&power.load, "%"));
    row("alarms", "告警", (!power.alarms.is_empty()).then(|| power.alarms.join(", ")));
    table
}

fn poe(poe: &Poe, screen: Screen) -> Option<Table> {
    let mut table = Table::indented(2);
    let watts =
        |watts: Option<u64>| watts.map_or_else(|| "?".to_owned(), |watts| watts.to_string());
    for supply in &poe.supplies {
        let name = format!("{} {}", screen.word("supply", "供电单元"), supply.group);
        let used = format!("{} / {} W", watts(supply.used), watts(supply.watts));
        let state = match supply.state {
            Some(SupplyState::On) => screen.word("on", "供电中"),
            Some(SupplyState::Off) => screen.word("off", "已关闭"),
            Some(SupplyState::Faulty) => screen.word("faulty", "故障"),
            None => "?",
        };
        table.row([name.into(), used.into(), state.into()]);
    }
    let doing = |feeding| poe.ports.iter().filter(|port| port.feeding == feeding).count();
    for (feeding, en, zh) in [
        (Feeding::Delivering, "ports that feed", "供电端口"),
        (Feeding::Searching, "ports that look for something to feed", "等待设备的端口"),
        (Feeding::Disabled, "ports switched off", "已关闭的端口"),
        (Feeding::Testing, "ports being tested", "测试中的端口"),
        (Feeding::Fault, "ports with something faulty", "所接设备故障的端口"),
        (Feeding::OtherFault, "faulty ports", "故障端口"),
    ] {
        let count = doing(feeding);
        if count > 0 {
            table.row([screen.word(en, zh).into(), count.to_string().into(), "".into()]);
        }
    }
    (!poe.is_empty()).then_some(table)
}

/// The kinds of processes with the most memory.
fn processes(processes: &Processes, screen: Screen) -> Option<Table> {
    const SHOWN: usize = 20;
    let (largest, more) = processes.largest(SHOWN);
    let mut table = Table::indented(2);
    for process in &largest {
        let memory = process.memory.map(|memory| memory.to_string()).unwrap_or_default();
        let named = [process.name.as_str(), process.path.as_str()].join(" ");
        table.row([process.count.to_string().into(), memory.into(), named.trim_end().into()]);
    }
    if more > 0 {
        table.row([format!("+{more}").into(), "".into(), screen.word("more kinds", "其他").into()]);
    }
    (!largest.is_empty()).then_some(table)
}

/// The first routes: default routes stand first.
fn routes(routes: &Routes, screen: Screen) -> Option<Table> {
    const SHOWN: usize = 20;
    let mut table = Table::indented(2);
    for route in routes.list.iter().take(SHOWN) {
        let straight = || screen.word("directly", "直连").to_owned();
        let gateway = route.gateway.map_or_else(straight, |gateway| gateway.to_string());
        table.row([route.destination.to_string().into(), gateway.into()]);
    }
    let count = usize::try_from(routes.count.unwrap_or_default()).unwrap_or(usize::MAX);
    let more = count.max(routes.list.len()) - routes.list.len().min(SHOWN);
    if more > 0 {
        table.row([format!("+{more}").into(), screen.word("more", "其他").into()]);
    }
    (!routes.is_empty()).then_some(table)
}

fn sensors(all: &[Sensor]) -> Option<Table> {
    let mut table = Table::indented(2);
    for sensor in all {
        let unit = match sensor.quantity {
            Quantity::VoltsAc | Quantity::VoltsDc => "V",
            Quantity::Amperes => "A",
            Quantity::Watts => "W",
            Quantity::Hertz => "Hz",
            Quantity::Celsius => "°C",
            Quantity::RelativeHumidity => "%",
            Quantity::Rpm => "rpm",
            Quantity::CubicMetres => "m³/min",
            Quantity::Truth => "",
        };
        let measured = match sensor.measured {
            Measured::Value(value) => format!("{value} {unit}"),
            Measured::Unavailable => "?".to_owned(),
            Measured::Broken => "✗".to_owned(),
        };
        table.row([(&sensor.name).into(), measured.into()]);
    }
    (!all.is_empty()).then_some(table)
}

fn own(values: &[VendorValue], screen: Screen) -> Option<Table> {
    let mut table = Table::indented(2);
    for value in values {
        let octets = || Bytes(value.octets()).to_string();
        let (what, shown) = match value.what {
            What::Processor => (screen.word("processor", "处理器"), format!("{} %", value.value)),
            What::Memory => (screen.word("memory", "内存"), format!("{} %", value.value)),
            What::MemoryUsed => (screen.word("memory used", "已用内存"), octets()),
            What::MemoryFree => (screen.word("memory free", "空闲内存"), octets()),
            What::MemoryTotal => (screen.word("memory in all", "总内存"), octets()),
            What::Temperature => {
                (screen.word("temperature", "温度"), format!("{} °C", value.value))
            }
        };
        table.row([what.into(), (&value.row).into(), shown.into()]);
    }
    (!values.is_empty()).then_some(table)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_speed_is_named_as_lines_are() {
        for (bits, name) in [
            (10_000_000, "10M"),
            (2_000_000, "2M"),
            (2_500_000_000, "2.5G"),
            (10_000_000_000, "10G"),
            (64_000, "64k"),
            (300, "300"),
        ] {
            assert_eq!(speed(bits), name);
        }
    }
}
