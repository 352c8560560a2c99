//! A simulated fleet: devices that answer SNMPv2c on addresses of the loopback, with the shape of the
//! reference site, and that lose, delay, repeat, loop and die as they are told.
//!
//! Answers are made octet by octet here, so that their errors are no library's.

#![allow(
    dead_code,
    unreachable_pub,
    missing_docs,
    clippy::unwrap_used,
    clippy::missing_panics_doc,
    clippy::must_use_candidate,
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_sign_loss,
    reason = "part of tests and of an example, each of which uses its own part"
)]

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::net::UdpSocket;

/// The community that every device answers to.
pub const COMMUNITY: &str = "fleet";

/// The most octets of one answer; a question for more is answered in part (RFC 3416 4.2.3).
const MAX_ANSWER: usize = 60_000;

/// Octets a second that an idle port passes.
const IDLE: u64 = 1_000;

/// A value of a device.
#[derive(Debug, Clone)]
pub enum Value {
    Integer(i32),
    Text(Vec<u8>),
    Oid(Vec<u32>),
    Gauge(u32),
    Ticks,
    Counter32(u32),
    /// It grows by what the port with this number passes.
    Octets(usize),
    /// It grows by a packet for each 500 octets of the port.
    Packets(usize),
    /// It grows by as many errors a second as the port is told.
    Errors(usize),
    /// Whether the port is wanted up, as `ifAdminStatus`; it can be set.
    Admin(usize),
    /// Whether the port is up, as `ifOperStatus`.
    Status(usize),
    /// What feeds a UPS, as `upsOutputSource`.
    Source,
    /// Seconds on battery.
    OnBattery,
    /// Minutes that the battery lasts.
    Lasts,
}

/// What a device is told to do.
#[derive(Debug, Default)]
pub struct Habit {
    pub dead: AtomicBool,
    /// Of a thousand questions so many get no answer.
    pub loss: AtomicU32,
    /// Of a thousand answers so many come twice.
    pub twice: AtomicU32,
    /// So long it takes to answer, in milliseconds.
    pub delay: AtomicU32,
    /// Every next value of the interfaces is the first one again.
    pub loops: AtomicBool,
    /// It takes no order: what is set stays as it was.
    pub stubborn: AtomicBool,
    pub on_battery: AtomicBool,
    /// Minutes that the battery lasts.
    pub lasts: AtomicU32,
    /// How many questions came.
    pub asked: AtomicU64,
}

/// What a port does.
#[derive(Debug)]
pub struct Port {
    pub up: AtomicBool,
    /// Switched off.
    pub off: AtomicBool,
    /// Octets a second, each way.
    pub rate: AtomicU64,
    /// Packets in error a second.
    pub errors: AtomicU64,
    base: AtomicU64,
}

/// A running device; it ends with the fleet.
#[derive(Debug)]
pub struct Device {
    pub name: String,
    pub address: SocketAddr,
    pub habit: Arc<Habit>,
    pub ports: Arc<Vec<Port>>,
}

/// A running fleet.
pub struct Fleet {
    pub devices: Vec<Device>,
    tasks: Vec<tokio::task::JoinHandle<()>>,
}

impl Drop for Fleet {
    fn drop(&mut self) {
        self.tasks.iter().for_each(tokio::task::JoinHandle::abort);
    }
}

impl Fleet {
    /// Starts the devices of some plans, each on an address of its own and any free port.
    pub async fn start(plans: Vec<Plan>) -> Self {
        Self::start_at(plans, 0).await
    }

    /// Starts them all on one port.
    pub async fn start_at(plans: Vec<Plan>, port: u16) -> Self {
        let mut fleet = Self { devices: Vec::new(), tasks: Vec::new() };
        for (nth, plan) in plans.into_iter().enumerate() {
            let [high, low] = (u16::try_from(nth).unwrap() + 1).to_be_bytes();
            let address = SocketAddr::from((Ipv4Addr::new(127, 77, high, low), port));
            let socket = UdpSocket::bind(address).await.unwrap();
            let address = socket.local_addr().unwrap();
            let habit = Arc::new(Habit::default());
            let ports = Arc::new(plan.ports());
            let agent = Agent {
                rows: plan.rows(),
                ports: Arc::clone(&ports),
                habit: Arc::clone(&habit),
                began: Instant::now(),
                chance: nth as u64 + 1,
            };
            fleet.tasks.push(tokio::spawn(agent.run(socket)));
            fleet.devices.push(Device { name: plan.name, address, habit, ports });
        }
        fleet
    }

    pub fn device(&self, name: &str) -> &Device {
        self.devices.iter().find(|device| device.name == name).unwrap()
    }
}

/// What a device is.
#[derive(Debug, Clone)]
pub struct Plan {
    pub name: String,
    pub kind: Kind,
}

#[derive(Debug, Clone)]
pub enum Kind {
    Switch {
        /// Its own address.
        mac: [u8; 6],
        ports: Vec<PortPlan>,
        /// Addresses it has learnt: VLAN, address, port.
        stations: Vec<(u32, [u8; 6], usize)>,
    },
    Ups,
    Minicomputer,
}

/// A port of a switch.
#[derive(Debug, Clone)]
pub struct PortPlan {
    pub name: String,
    pub alias: String,
    pub mbits: u32,
    pub full: bool,
    /// The switch at its other end: name, address and port there.
    pub far: Option<(String, [u8; 6], String)>,
}

/// The reference site: 2 core, 6 second-level and `floors` floor switches with 48 ports, a UPS and 2
/// minicomputers.
pub fn reference_site(floors: usize) -> Vec<Plan> {
    let mac = |kind: u8, nth: usize| [0x00, 0x1b, 0x21, kind, 0, nth as u8];
    let host = |floor: usize, port: usize| [0x52, 0x54, 0, 1, floor as u8, port as u8];
    let (core, second, floor) =
        (|n| format!("core-{n}"), |n| format!("sw-b-{n}"), |n| format!("floor-{n}"));
    let far = |name: String, mac, port: &str| Some((name, mac, port.to_owned()));
    let port =
        |name: String, alias: String, mbits, far| PortPlan { name, alias, mbits, full: true, far };
    let behind = |n: usize| (1..=floors).filter(move |f| (f - 1) % 6 + 1 == n);
    let all_hosts = |floor: usize| (1..=40).map(move |p| host(floor, p));
    let mut plans = Vec::new();
    for n in 1..=2 {
        let mut ports: Vec<PortPlan> = (1..=6)
            .map(|s| {
                let there = far(second(s), mac(2, s), &format!("XGE0/0/{n}"));
                port(format!("XGE1/0/{s}"), format!("to {}", second(s)), 1000, there)
            })
            .collect();
        let other = 3 - n;
        let there = far(core(other), mac(1, other), "XGE1/0/7");
        ports.push(port("XGE1/0/7".into(), format!("trunk {}", core(other)), 10_000, there));
        // Core 1 forwards what the spanning tree lets through; the other one learns it over the trunk.
        let stations = (1..=6).flat_map(|s| {
            behind(s).flat_map(all_hosts).map(move |mac| (10, mac, if n == 1 { s } else { 7 }))
        });
        let stations = stations.collect();
        plans.push(Plan { name: core(n), kind: Kind::Switch { mac: mac(1, n), ports, stations } });
    }
    for n in 1..=6 {
        let mut ports: Vec<PortPlan> = (1..=2)
            .map(|c| {
                let there = far(core(c), mac(1, c), &format!("XGE1/0/{n}"));
                port(format!("XGE0/0/{c}"), format!("uplink {}", core(c)), 1000, there)
            })
            .collect();
        let mut stations = Vec::new();
        for (nth, f) in behind(n).enumerate() {
            let there = far(floor(f), mac(3, f), "GE0/0/49");
            ports.push(port(format!("GE0/0/{}", nth + 1), format!("to {}", floor(f)), 1000, there));
            stations.extend(all_hosts(f).map(|mac| (10, mac, nth + 3)));
        }
        let elsewhere = (1..=6).filter(|s| *s != n).flat_map(behind).flat_map(all_hosts);
        stations.extend(elsewhere.map(|mac| (10, mac, 1)));
        plans
            .push(Plan { name: second(n), kind: Kind::Switch { mac: mac(2, n), ports, stations } });
    }
    for n in 1..=floors {
        let mut ports: Vec<PortPlan> = (1..=48)
            .map(|p| port(format!("GE0/0/{p}"), format!("desk {n}-{p}"), 100, None))
            .collect();
        let up = (n - 1) % 6 + 1;
        let there = far(second(up), mac(2, up), &format!("GE0/0/{}", (n - 1) / 6 + 1));
        ports.push(port("GE0/0/49".into(), format!("uplink {}", second(up)), 1000, there));
        let mut stations: Vec<_> = (1..=40).map(|p| (10, host(n, p), p)).collect();
        let elsewhere = (1..=floors).filter(|f| *f != n).flat_map(all_hosts);
        stations.extend(elsewhere.map(|mac| (10, mac, 49)));
        plans.push(Plan { name: floor(n), kind: Kind::Switch { mac: mac(3, n), ports, stations } });
    }
    plans.push(Plan { name: "ups-1".into(), kind: Kind::Ups });
    plans.extend((1..=2).map(|n| Plan { name: format!("hp-{n}"), kind: Kind::Minicomputer }));
    plans
}

/// Switches with 48 ports and nothing else, for measuring.
pub fn switches(count: usize) -> Vec<Plan> {
    (1..=count)
        .map(|n| {
            let [high, low] = (n as u16).to_be_bytes();
            let port = |p| PortPlan {
                name: format!("GE0/0/{p}"),
                alias: format!("desk {n}-{p}"),
                mbits: 1000,
                full: true,
                far: None,
            };
            let mac = [0x00, 0x1b, 0x21, 9, high, low];
            let ports = (1..=48).map(port).collect();
            let kind = Kind::Switch { mac, ports, stations: Vec::new() };
            Plan { name: format!("bench-{n}"), kind }
        })
        .collect()
}

type Row = (Vec<u32>, Value);

const MIB_2: [u32; 6] = [1, 3, 6, 1, 2, 1];

fn below(further: &[&[u32]]) -> Vec<u32> {
    MIB_2.iter().copied().chain(further.iter().flat_map(|part| part.iter().copied())).collect()
}

fn text(text: &str) -> Value {
    Value::Text(text.as_bytes().to_vec())
}

impl Plan {
    fn ports(&self) -> Vec<Port> {
        let count = match &self.kind {
            Kind::Switch { ports, .. } => ports.len(),
            Kind::Ups | Kind::Minicomputer => 1,
        };
        let port = || Port {
            up: AtomicBool::new(true),
            off: AtomicBool::new(false),
            rate: AtomicU64::new(IDLE),
            errors: AtomicU64::new(0),
            base: AtomicU64::new(0),
        };
        std::iter::repeat_with(port).take(count).collect()
    }

    /// Everything that the device shows, in the order in which agents walk it.
    fn rows(&self) -> Vec<Row> {
        let mut rows = Vec::new();
        let mut add = |name: Vec<u32>, value| rows.push((name, value));
        let (description, product): (&str, &[u32]) = match &self.kind {
            Kind::Switch { .. } => ("S5720-52X-LI-AC V200R019", &[2011, 2, 23, 414]),
            Kind::Ups => ("APC Smart-UPS 3000", &[318, 1, 3, 2, 11]),
            Kind::Minicomputer => ("HP-UX hp B.11.31 U ia64", &[11, 2, 3, 2, 5]),
        };
        let product = [1, 3, 6, 1, 4, 1].iter().chain(product).copied().collect();
        add(below(&[&[1, 1, 0]]), text(description));
        add(below(&[&[1, 2, 0]]), Value::Oid(product));
        add(below(&[&[1, 3, 0]]), Value::Ticks);
        add(below(&[&[1, 4, 0]]), text("information centre"));
        add(below(&[&[1, 5, 0]]), text(&self.name));
        add(below(&[&[1, 6, 0]]), text("machine room 1"));
        match &self.kind {
            Kind::Switch { mac, ports, stations } => switch_rows(*mac, ports, stations, &mut add),
            Kind::Ups => {
                interface_rows(&[port_plan("eth0")], [0, 0xc0, 0xb7, 0, 0, 1], &mut add);
                ups_rows(&mut add);
            }
            Kind::Minicomputer => {
                interface_rows(&[port_plan("lan0")], [0, 0x30, 0x6e, 0, 0, 1], &mut add);
                computer_rows(&mut add);
            }
        }
        rows.sort_by(|a, b| a.0.cmp(&b.0));
        rows
    }
}

fn port_plan(name: &str) -> PortPlan {
    PortPlan { name: name.into(), alias: String::new(), mbits: 1000, full: true, far: None }
}

fn interface_rows(ports: &[PortPlan], mac: [u8; 6], add: &mut impl FnMut(Vec<u32>, Value)) {
    for (nth, port) in ports.iter().enumerate() {
        let index = nth as u32 + 1;
        let mut own = mac;
        own[4] = index as u8;
        for (column, value) in [
            (1, Value::Integer(index as i32)),
            (2, text(&port.name)),
            (3, Value::Integer(6)),
            (4, Value::Integer(1500)),
            (5, Value::Gauge(port.mbits.saturating_mul(1_000_000))),
            (6, Value::Text(own.to_vec())),
            (7, Value::Admin(nth)),
            (8, Value::Status(nth)),
            (9, Value::Counter32(0)),
            (10, Value::Counter32(0)),
            (11, Value::Counter32(0)),
            (13, Value::Counter32(0)),
            (14, Value::Errors(nth)),
            (16, Value::Counter32(0)),
            (17, Value::Counter32(0)),
            (19, Value::Counter32(0)),
            (20, Value::Counter32(0)),
        ] {
            add(below(&[&[2, 2, 1, column, index]]), value);
        }
        for (column, value) in [
            (1, text(&port.name)),
            (6, Value::Octets(nth)),
            (7, Value::Packets(nth)),
            (10, Value::Octets(nth)),
            (11, Value::Packets(nth)),
            (15, Value::Gauge(port.mbits)),
            (18, text(&port.alias)),
            (19, Value::Gauge(0)),
        ] {
            add(below(&[&[31, 1, 1, 1, column, index]]), value);
        }
    }
}

fn switch_rows(
    mac: [u8; 6],
    ports: &[PortPlan],
    stations: &[(u32, [u8; 6], usize)],
    add: &mut impl FnMut(Vec<u32>, Value),
) {
    interface_rows(ports, mac, add);
    let lldp = [1, 0, 8802, 1, 1, 2, 1];
    let of_lldp = |further: &[u32]| lldp.iter().chain(further).copied().collect::<Vec<u32>>();
    for (nth, port) in ports.iter().enumerate() {
        let index = nth as u32 + 1;
        let duplex = if port.full { 3 } else { 2 };
        add(below(&[&[10, 7, 2, 1, 3, index]]), Value::Counter32(0));
        add(below(&[&[10, 7, 2, 1, 8, index]]), Value::Counter32(0));
        add(below(&[&[10, 7, 2, 1, 19, index]]), Value::Integer(duplex));
        add(below(&[&[17, 1, 4, 1, 2, index]]), Value::Integer(index as i32));
        add(of_lldp(&[3, 7, 1, 3, index]), text(&port.name));
        add(of_lldp(&[3, 7, 1, 4, index]), text(&port.name));
        if let Some((name, chassis, far_port)) = &port.far {
            for (column, value) in [
                (4, Value::Integer(4)),
                (5, Value::Text(chassis.to_vec())),
                (6, Value::Integer(5)),
                (7, text(far_port)),
                (8, text(far_port)),
                (9, text(name)),
            ] {
                add(of_lldp(&[4, 1, 1, column, 0, index, 1]), value);
            }
        }
    }
    add(below(&[&[17, 1, 1, 0]]), Value::Text(mac.to_vec()));
    for (vlan, mac, port) in stations {
        let mac: Vec<u32> = mac.iter().map(|octet| u32::from(*octet)).collect();
        let port = Value::Integer(*port as i32);
        add(below(&[&[17, 7, 1, 2, 2, 1, 2, *vlan], &mac]), port);
        add(below(&[&[17, 7, 1, 2, 2, 1, 3, *vlan], &mac]), Value::Integer(3));
    }
    add(below(&[&[17, 7, 1, 4, 3, 1, 1, 10]]), text("office"));
    if !stations.is_empty() {
        route_rows(add);
    }
    if stations.iter().any(|(_, _, port)| *port < 41) && ports.len() > 40 {
        poe_rows(add);
    }
    // hwEntityCpuUsage, hwEntityMemUsage, hwEntityTemperature
    let entity = |column: u32| {
        let huawei = [1, 3, 6, 1, 4, 1, 2011, 5, 25, 31, 1, 1, 1, 1, column, 67_108_873];
        huawei.to_vec()
    };
    add(entity(5), Value::Integer(12));
    add(entity(7), Value::Integer(41));
    add(entity(11), Value::Integer(38));
}

/// A default route and the network that the switch is in (`inetCidrRouteTable`).
fn route_rows(add: &mut impl FnMut(Vec<u32>, Value)) {
    add(below(&[&[4, 24, 6, 0]]), Value::Gauge(2));
    for (network, prefix, gateway, kind) in
        [([0, 0, 0, 0], 0, &[1, 4, 10, 1, 0, 254][..], 4), ([10, 1, 0, 0], 16, &[0, 0], 3)]
    {
        // Destination, prefix, policy (0.0), gateway.
        let index = [&[1, 4][..], &network, &[prefix, 2, 0, 0], gateway].concat();
        add(below(&[&[4, 24, 7, 1, 7], &index]), Value::Integer(1));
        add(below(&[&[4, 24, 7, 1, 8], &index]), Value::Integer(kind));
    }
}

/// A supply of 370 W, of whose 48 ports 8 feed (`pethMainPseTable`, `pethPsePortTable`).
fn poe_rows(add: &mut impl FnMut(Vec<u32>, Value)) {
    for (column, value) in [(2, Value::Gauge(370)), (3, Value::Integer(1)), (4, Value::Gauge(112))]
    {
        add(below(&[&[105, 1, 3, 1, 1, column, 1]]), value);
    }
    for port in 1..=48 {
        let feeding = if port <= 8 { 3 } else { 2 };
        add(below(&[&[105, 1, 1, 1, 6, 1, port]]), Value::Integer(feeding));
        add(below(&[&[105, 1, 1, 1, 10, 1, port]]), Value::Integer(3));
    }
}

fn ups_rows(add: &mut impl FnMut(Vec<u32>, Value)) {
    for (name, value) in [
        (&[1, 1, 0][..], text("APC")),
        (&[1, 2, 0], text("Smart-UPS 3000")),
        (&[2, 1, 0], Value::Integer(2)),
        (&[2, 2, 0], Value::OnBattery),
        (&[2, 3, 0], Value::Lasts),
        (&[2, 4, 0], Value::Integer(97)),
        (&[2, 7, 0], Value::Integer(27)),
        (&[3, 3, 1, 3, 1], Value::Integer(221)),
        (&[4, 1, 0], Value::Source),
        (&[4, 4, 1, 5, 1], Value::Integer(42)),
        (&[6, 1, 0], Value::Gauge(0)),
    ] {
        add(below(&[&[33, 1], name]), value);
    }
}

fn computer_rows(add: &mut impl FnMut(Vec<u32>, Value)) {
    process_rows(add);
    add(below(&[&[25, 1, 1, 0]]), Value::Ticks);
    add(below(&[&[25, 1, 6, 0]]), Value::Gauge(187));
    for processor in 1..=4 {
        add(below(&[&[25, 3, 3, 1, 2, processor]]), Value::Integer(20 + processor as i32));
    }
    for (index, kind, name, unit, size, used) in [
        (1, 2, "memory", 4096, 4_194_304, 4_100_000),
        (2, 3, "virtual memory", 4096, 8_388_608, 3_000_000),
        (3, 4, "/", 4096, 2_000_000, 900_000),
        (4, 4, "/oracle", 4096, 50_000_000, 31_000_000),
    ] {
        let of = |column: u32| below(&[&[25, 2, 3, 1, column, index]]);
        add(of(2), Value::Oid(below(&[&[25, 2, 1, kind]])));
        add(of(3), text(name));
        add(of(4), Value::Integer(unit));
        add(of(5), Value::Integer(size));
        add(of(6), Value::Integer(used));
    }
}

/// What runs on a minicomputer (`hrSWRunTable`, `hrSWRunPerfTable`).
fn process_rows(add: &mut impl FnMut(Vec<u32>, Value)) {
    let all = [("init", "/sbin/init"), ("oracle", "ora_pmon_GIS"), ("oracle", "ora_smon_GIS")];
    for (nth, (name, path)) in all.into_iter().enumerate() {
        let index = nth as u32 * 100 + 1;
        for (below_host, value) in [
            ([4, 2, 1, 2], text(name)),
            ([4, 2, 1, 4], text(path)),
            ([4, 2, 1, 7], Value::Integer(2)),
            ([5, 1, 1, 1], Value::Integer(9_000)),
            ([5, 1, 1, 2], Value::Integer(20_480)),
        ] {
            add(below(&[&[25], &below_host, &[index]]), value);
        }
    }
}

struct Agent {
    rows: Vec<Row>,
    ports: Arc<Vec<Port>>,
    habit: Arc<Habit>,
    began: Instant,
    chance: u64,
}

/// What a question asks.
struct Question<'a> {
    community: &'a [u8],
    kind: u8,
    number: &'a [u8],
    /// Non-repeaters and repetitions.
    second: usize,
    third: usize,
    names: Vec<Vec<u32>>,
}

const GET: u8 = 0xa0;
const GET_NEXT: u8 = 0xa1;
const GET_BULK: u8 = 0xa5;
const RESPONSE: u8 = 0xa2;
const SET: u8 = 0xa3;

impl Agent {
    async fn run(mut self, socket: UdpSocket) {
        let mut datagram = vec![0; 65_535];
        while let Ok((length, from)) = socket.recv_from(&mut datagram).await {
            self.habit.asked.fetch_add(1, Ordering::Relaxed);
            let lost = self.one_of(self.habit.loss.load(Ordering::Relaxed));
            if lost || self.habit.dead.load(Ordering::Relaxed) {
                continue;
            }
            let Some(answer) = self.answer(&datagram[..length]) else { continue };
            let delay = self.habit.delay.load(Ordering::Relaxed);
            if delay > 0 {
                tokio::time::sleep(Duration::from_millis(delay.into())).await;
            }
            let _ = socket.send_to(&answer, from).await;
            if self.one_of(self.habit.twice.load(Ordering::Relaxed)) {
                let _ = socket.send_to(&answer, from).await;
            }
        }
    }

    /// True for so many of a thousand, always in the same order.
    fn one_of(&mut self, permille: u32) -> bool {
        // Xorshift (Marsaglia, 2003).
        self.chance ^= self.chance << 13;
        self.chance ^= self.chance >> 7;
        self.chance ^= self.chance << 17;
        self.chance % 1000 < u64::from(permille)
    }

    fn answer(&self, datagram: &[u8]) -> Option<Vec<u8>> {
        let question = understood(datagram)?;
        if question.community != COMMUNITY.as_bytes() {
            return None;
        }
        let mut list = Vec::new();
        match question.kind {
            GET => question.names.iter().for_each(|name| {
                match self.rows.binary_search_by(|(known, _)| known.cmp(name)) {
                    Ok(at) => self.put(&self.rows[at], &mut list),
                    Err(_) => put_varbind(name, &[0x81, 0], &mut list),
                }
            }),
            GET_NEXT => question.names.iter().for_each(|name| self.put_next(name, &mut list)),
            GET_BULK => self.put_bulk(&question, &mut list),
            SET => self.set(&question.names, datagram, &mut list)?,
            _ => return None,
        }
        let mut pdu = tlv(0x02, question.number);
        pdu.extend([2, 1, 0, 2, 1, 0]);
        pdu.extend(tlv(0x30, &list));
        let mut message = vec![2, 1, 1];
        message.extend(tlv(0x04, question.community));
        message.extend(tlv(RESPONSE, &pdu));
        Some(tlv(0x30, &message))
    }

    /// Sets the one thing that can be: whether a port is wanted up. Its value stands last.
    fn set(&self, names: &[Vec<u32>], datagram: &[u8], list: &mut Vec<u8>) -> Option<()> {
        let [name] = names else { return None };
        let at = self.rows.binary_search_by(|(known, _)| known.cmp(name)).ok()?;
        let Value::Admin(nth) = self.rows[at].1 else { return None };
        if !self.habit.stubborn.load(Ordering::Relaxed) {
            self.ports[nth].off.store(datagram.last() == Some(&2), Ordering::Relaxed);
        }
        self.put(&self.rows[at], list);
        Some(())
    }

    fn put_bulk(&self, question: &Question<'_>, list: &mut Vec<u8>) {
        let (once, repeated) = question.names.split_at(question.second.min(question.names.len()));
        for name in once {
            self.put_next(name, list);
        }
        let mut at: Vec<Vec<u32>> = repeated.to_vec();
        for _ in 0..question.third {
            let mut ended = true;
            for name in &mut at {
                if list.len() > MAX_ANSWER {
                    return;
                }
                match self.next(name) {
                    Some(row) => {
                        self.put(row, list);
                        name.clone_from(&row.0);
                        ended = false;
                    }
                    None => put_varbind(name, &[0x82, 0], list),
                }
            }
            if ended {
                return;
            }
        }
    }

    fn next(&self, name: &[u32]) -> Option<&Row> {
        let mut at = self.rows.partition_point(|(known, _)| known.as_slice() <= name);
        if self.habit.loops.load(Ordering::Relaxed) && name.starts_with(&below(&[&[2, 2, 1]])) {
            let column = &name[..name.len().min(10)];
            at = self.rows.partition_point(|(known, _)| known.as_slice() <= column);
        }
        self.rows.get(at)
    }

    fn put_next(&self, name: &[u32], list: &mut Vec<u8>) {
        match self.next(name) {
            Some(row) => self.put(row, list),
            None => put_varbind(name, &[0x82, 0], list),
        }
    }

    fn put(&self, (name, value): &Row, list: &mut Vec<u8>) {
        let elapsed = self.began.elapsed();
        let seconds = elapsed.as_millis() as u64;
        let grown = |rate: u64| rate * seconds / 1000;
        let octets = |nth: usize| {
            let port = &self.ports[nth];
            port.base.load(Ordering::Relaxed) + grown(port.rate.load(Ordering::Relaxed))
        };
        let on_battery = self.habit.on_battery.load(Ordering::Relaxed);
        let encoded = match value {
            Value::Integer(value) => tlv(0x02, &signed((*value).into())),
            Value::Text(octets) => tlv(0x04, octets),
            Value::Oid(arcs) => tlv(0x06, &oid(arcs)),
            Value::Gauge(value) => tlv(0x42, &unsigned((*value).into())),
            Value::Counter32(value) => tlv(0x41, &unsigned((*value).into())),
            Value::Ticks => {
                tlv(0x43, &unsigned(u64::from((elapsed.as_millis() / 10) as u32) + 360_000))
            }
            Value::Octets(nth) => tlv(0x46, &unsigned(octets(*nth))),
            Value::Packets(nth) => tlv(0x46, &unsigned(octets(*nth) / 500)),
            Value::Errors(nth) => {
                let errors = grown(self.ports[*nth].errors.load(Ordering::Relaxed));
                tlv(0x41, &unsigned(u64::from(errors as u32)))
            }
            Value::Admin(nth) => {
                let off = self.ports[*nth].off.load(Ordering::Relaxed);
                tlv(0x02, &signed(if off { 2 } else { 1 }))
            }
            Value::Status(nth) => {
                let up = self.ports[*nth].up.load(Ordering::Relaxed);
                tlv(0x02, &signed(if up { 1 } else { 2 }))
            }
            Value::Source => tlv(0x02, &signed(if on_battery { 5 } else { 3 })),
            Value::OnBattery => tlv(0x02, &signed(if on_battery { 120 } else { 0 })),
            Value::Lasts => {
                let lasts = i64::from(self.habit.lasts.load(Ordering::Relaxed));
                tlv(0x02, &signed(if on_battery { lasts } else { 38 }))
            }
        };
        put_varbind(name, &encoded, list);
    }
}

fn put_varbind(name: &[u32], value: &[u8], list: &mut Vec<u8>) {
    let mut both = tlv(0x06, &oid(name));
    both.extend_from_slice(value);
    list.extend(tlv(0x30, &both));
}

fn tlv(tag: u8, body: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(body.len() + 4);
    out.push(tag);
    match body.len() {
        length @ 0..128 => out.push(length as u8),
        length @ 128..256 => out.extend([0x81, length as u8]),
        length => {
            let [high, low] = (length as u16).to_be_bytes();
            out.extend([0x82, high, low]);
        }
    }
    out.extend_from_slice(body);
    out
}

/// The shortest octets of a number that is not below zero (X.690 8.3).
fn unsigned(value: u64) -> Vec<u8> {
    let octets = value.to_be_bytes();
    let first = octets.iter().position(|octet| *octet != 0).unwrap_or(7);
    let mut out = octets[first..].to_vec();
    if out[0] & 0x80 != 0 {
        out.insert(0, 0);
    }
    out
}

fn signed(value: i64) -> Vec<u8> {
    if let Ok(value) = u64::try_from(value) { unsigned(value) } else { vec![value as u8] }
}

fn oid(arcs: &[u32]) -> Vec<u8> {
    let mut out = Vec::with_capacity(arcs.len() + 4);
    let first = arcs[0] * 40 + arcs[1];
    for arc in std::iter::once(first).chain(arcs[2..].iter().copied()) {
        let mut shift = (32 - arc.leading_zeros()).div_ceil(7).max(1);
        while shift > 1 {
            shift -= 1;
            out.push(((arc >> (shift * 7)) as u8 & 0x7f) | 0x80);
        }
        out.push(arc as u8 & 0x7f);
    }
    out
}

/// The first value of some octets: its tag, its body, and what follows.
fn first(octets: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&tag, rest) = octets.split_first()?;
    let (&length, rest) = rest.split_first()?;
    let (length, rest) = if length < 128 {
        (usize::from(length), rest)
    } else {
        let (digits, rest) = rest.split_at_checked(usize::from(length & 0x7f))?;
        (digits.iter().fold(0, |sum, digit| (sum << 8) | usize::from(*digit)), rest)
    };
    let (body, rest) = rest.split_at_checked(length)?;
    Some((tag, body, rest))
}

fn understood(datagram: &[u8]) -> Option<Question<'_>> {
    let (_, message, _) = first(datagram)?;
    let (_, _, message) = first(message)?;
    let (_, community, message) = first(message)?;
    let (kind, pdu, _) = first(message)?;
    let (_, number, pdu) = first(pdu)?;
    let (_, second, pdu) = first(pdu)?;
    let (_, third, pdu) = first(pdu)?;
    let (_, mut list, _) = first(pdu)?;
    let count =
        |octets: &[u8]| octets.iter().fold(0, |sum, octet| (sum << 8) | usize::from(*octet));
    let mut names = Vec::new();
    while let Some((_, varbind, rest)) = first(list) {
        names.push(arcs(first(varbind)?.1));
        list = rest;
    }
    Some(Question { community, kind, number, second: count(second), third: count(third), names })
}

fn arcs(octets: &[u8]) -> Vec<u32> {
    let mut out = Vec::new();
    let mut arc = 0_u32;
    for octet in octets {
        arc = (arc << 7) | u32::from(octet & 0x7f);
        if octet & 0x80 == 0 {
            if out.is_empty() {
                let first = (arc / 40).min(2);
                out.extend([first, arc - first * 40]);
            } else {
                out.push(arc);
            }
            arc = 0;
        }
    }
    out
}
