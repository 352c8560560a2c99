//! Values of facts in words, in both languages. The API gives the same values typed.

use std::fmt::Write as _;
use std::time::Duration;

use bailey_rules::fact::backup::{Job, Repository};
use bailey_rules::fact::enforcement::{Enforcement, RuleCounter};
use bailey_rules::fact::firewall::{DefaultPolicy, Hook, Manager, Ruleset};
use bailey_rules::fact::flows::{FlowWatch, SeenFlow};
use bailey_rules::fact::host::{
    Agent, Clock, Cpu, Disk, FileSystem, Identity, Load, Memory, Pressure, Reboot, Temperature,
    Units,
};
use bailey_rules::fact::lines::{LatelyAsked, LineQuality};
use bailey_rules::fact::links::{
    Duplex, Forwarding, Interface, LinkKind, Neighbour, Route, RouteKind, Rule, RuleAction, Traffic,
};
use bailey_rules::fact::{FactKind, FactValue, ProbeName};
use bailey_rules::policy::Mode;
use bailey_rules::text::Text;
use bailey_rules::time::Timestamp;
use bailey_rules::unit::{Bytes, Permille};

use super::shown::LocalTime;
use crate::site::EventKind;

/// The most names of a list that a sentence repeats.
const MAX_NAMES: usize = 8;

/// A fact's value as a sentence.
#[must_use]
pub fn in_words(value: &FactValue, now: Timestamp, local: LocalTime) -> Text {
    match value {
        FactValue::Identity(value) => identity(value, now, local),
        FactValue::FileSystem(value) => file_system(value),
        FactValue::Reboot(value) => reboot(value),
        FactValue::Units(value) => units(value),
        FactValue::Cpu(value) => cpu(value),
        FactValue::Memory(value) => memory(value),
        FactValue::Load(value) => load(value),
        FactValue::Pressure(value) => pressure(value),
        FactValue::Disk(value) => disk(value),
        FactValue::Temperature(value) => temperature(value),
        FactValue::Clock(value) => clock(value),
        FactValue::Agent(value) => agent(value),
        FactValue::Interface(value) => interface(value),
        FactValue::Traffic(value) => traffic(value),
        FactValue::Route(value) => route(value),
        FactValue::Rule(value) => rule(value),
        FactValue::Neighbour(value) => neighbour(value),
        FactValue::Forwarding(value) => forwarding(value),
        FactValue::Ruleset(value) => ruleset(value),
        FactValue::Hook(value) => hook(value),
        FactValue::Manager(value) => manager(value),
        FactValue::BackupJob(value) => backup_job(value, now, local),
        FactValue::BackupRepository(value) => repository(value, now, local),
        FactValue::Enforcement(value) => enforcement(value, local),
        FactValue::RuleCounter(value) => rule_counter(value),
        FactValue::SeenFlow(value) => seen_flow(value, local),
        FactValue::FlowWatch(value) => flow_watch(value, local),
        FactValue::LineQuality(value) => line_quality(value),
    }
}

/// What a kind of fact is called on screen.
#[must_use]
pub fn kind_title(kind: FactKind) -> Text {
    match kind {
        FactKind::Identity => Text::new("System", "系统"),
        FactKind::FileSystem => Text::new("File system", "文件系统"),
        FactKind::Reboot => Text::new("Reboot", "重启"),
        FactKind::Units => Text::new("Service units", "服务单元"),
        FactKind::Cpu => Text::new("Processor", "处理器"),
        FactKind::Memory => Text::new("Memory", "内存"),
        FactKind::Load => Text::new("Load", "负载"),
        FactKind::Pressure => Text::new("Pressure", "资源压力"),
        FactKind::Disk => Text::new("Disk", "磁盘"),
        FactKind::Temperature => Text::new("Temperature", "温度"),
        FactKind::Clock => Text::new("Clock", "时钟"),
        FactKind::Agent => Text::new("Agent", "代理"),
        FactKind::Interface => Text::new("Interface", "网络接口"),
        FactKind::Traffic => Text::new("Traffic", "流量"),
        FactKind::Route => Text::new("Route", "路由"),
        FactKind::Rule => Text::new("Policy rule", "策略路由规则"),
        FactKind::Neighbour => Text::new("Neighbour", "邻居"),
        FactKind::Forwarding => Text::new("Forwarding", "转发"),
        FactKind::Ruleset => Text::new("Ruleset", "规则集"),
        FactKind::Hook => Text::new("Default at hook", "挂载点默认策略"),
        FactKind::Manager => Text::new("Manager", "管理程序"),
        FactKind::BackupJob => Text::new("Backup job", "备份任务"),
        FactKind::BackupRepository => Text::new("Backup repository", "备份库"),
        FactKind::Enforcement => Text::new("Enforcement", "策略执行"),
        FactKind::RuleCounter => Text::new("Rule counter", "规则计数"),
        FactKind::SeenFlow => Text::new("Connections seen", "已见连接"),
        FactKind::FlowWatch => Text::new("Watch of connections", "连接观察"),
        FactKind::LineQuality => Text::new("Line", "专线"),
    }
}

/// What a probe is called on screen.
#[must_use]
pub fn probe_title(probe: ProbeName) -> Text {
    match probe {
        ProbeName::Host => Text::new("Load and health", "负载与健康"),
        ProbeName::System => Text::new("System", "系统"),
        ProbeName::Links => Text::new("Network", "网络"),
        ProbeName::Firewall => Text::new("Firewall", "防火墙"),
        ProbeName::Backup => Text::new("Backup", "备份"),
        ProbeName::Enforcement => Text::new("Enforcement", "策略执行"),
        ProbeName::Flows => Text::new("Connections", "连接"),
        ProbeName::Lines => Text::new("Lines", "专线"),
    }
}

/// What an event of the journal is called on screen.
#[must_use]
pub fn event_title(kind: EventKind) -> Text {
    match kind {
        EventKind::Started => Text::new("Collector started", "采集器启动"),
        EventKind::Stopped => Text::new("Collector stopped", "采集器停止"),
        EventKind::TokenMade => Text::new("Token made", "生成令牌"),
        EventKind::Enrolled => Text::new("Enrolled", "主机注册"),
        EventKind::Waiting => Text::new("Waits for approval", "等待批准"),
        EventKind::Approved => Text::new("Approved", "已批准"),
        EventKind::Refused => Text::new("Refused", "已拒绝"),
        EventKind::Revoked => Text::new("Revoked", "已吊销"),
        EventKind::Connected => Text::new("Connected", "已连接"),
        EventKind::Goodbye => Text::new("Agent stopped", "代理停止"),
        EventKind::Gap => Text::new("Reports lost", "报告丢失"),
        EventKind::Twin => Text::new("Identity conflict", "身份冲突"),
        EventKind::FindingOpened => Text::new("Finding opened", "新告警"),
        EventKind::FindingChanged => Text::new("Finding changed", "告警变化"),
        EventKind::FindingResolved => Text::new("Finding resolved", "告警解除"),
        EventKind::SettingsReloaded => Text::new("Settings reloaded", "配置已重新加载"),
        EventKind::SettingsRefused => Text::new("Settings refused", "配置被拒绝"),
        EventKind::PushStarted
        | EventKind::PushAwaits
        | EventKind::PushConfirmed
        | EventKind::PushDone
        | EventKind::PushFailed
        | EventKind::PushCancelled
        | EventKind::OrderFollowed
        | EventKind::OrderFailed
        | EventKind::InvariantProved
        | EventKind::InvariantBroken
        | EventKind::InvariantDoubted
        | EventKind::DeviceAdded
        | EventKind::DeviceChanged
        | EventKind::DeviceRemoved
        | EventKind::Trap
        | EventKind::TrapsLost
        | EventKind::Syslog
        | EventKind::Refusals
        | EventKind::PortAsked
        | EventKind::PortApproved
        | EventKind::PortOff
        | EventKind::PortReleased
        | EventKind::PortOn => kind.title(),
    }
}

/// A span in words: the largest unit, or the two largest from an hour on.
#[must_use]
pub fn span(span: Duration) -> Text {
    let seconds = span.as_secs();
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    match seconds {
        0..60 => Text::new(format!("{seconds} s"), format!("{seconds} 秒")),
        60..3600 => Text::new(format!("{minutes} min"), format!("{minutes} 分钟")),
        3600..86_400 => {
            let rest = minutes % 60;
            Text::new(format!("{hours} h {rest} min"), format!("{hours} 小时 {rest} 分"))
        }
        86_400.. => {
            let rest = hours % 24;
            Text::new(format!("{days} d {rest} h"), format!("{days} 天 {rest} 小时"))
        }
    }
}

fn yes_no(yes: bool) -> (&'static str, &'static str) {
    if yes { ("on", "开启") } else { ("off", "关闭") }
}

fn names(list: &[String], all: usize) -> (String, String) {
    let mut en = list.iter().take(MAX_NAMES).map(String::as_str).collect::<Vec<_>>().join(", ");
    let mut zh = list.iter().take(MAX_NAMES).map(String::as_str).collect::<Vec<_>>().join("、");
    let more = all.saturating_sub(MAX_NAMES.min(list.len()));
    if more > 0 {
        let _ = write!(en, " and {more} more");
        let _ = write!(zh, " 等 {all} 个");
    }
    (en, zh)
}

fn share(part: u64, whole: u64) -> String {
    Permille::of(part, whole).map_or_else(|| "–".to_owned(), |part| part.to_string())
}

fn identity(value: &Identity, now: Timestamp, local: LocalTime) -> Text {
    let up = span(value.booted_at.age(now));
    let booted = local.minute(value.booted_at);
    let Identity { hostname, os, kernel, machine, agent_version, .. } = value;
    Text::new(
        format!(
            "{hostname}: {os}, kernel {kernel}, {machine}; up {} since {booted}; agent {agent_version}",
            up.en
        ),
        format!(
            "{hostname}：{os}，内核 {kernel}，{machine}；自 {booted} 起运行 {}；代理 {agent_version}",
            up.zh
        ),
    )
}

fn file_system(value: &FileSystem) -> Text {
    let FileSystem { device, kind, total, available, inodes, inodes_available, read_only } = value;
    let free = share(available.0, total.0);
    let (mut en, mut zh) = (
        format!("{available} free of {total} ({free}), {kind} on {device}"),
        format!("可用 {available}，共 {total}（{free}），{kind}，设备 {device}"),
    );
    if *inodes > 0 {
        let free = share(*inodes_available, *inodes);
        let _ = write!(en, "; inodes {free} free");
        let _ = write!(zh, "；inode 可用 {free}");
    }
    if *read_only {
        en.push_str("; read-only");
        zh.push_str("；只读");
    }
    Text::new(en, zh)
}

fn reboot(value: &Reboot) -> Text {
    if !value.needed {
        return Text::new("not needed", "无需重启");
    }
    let (en, zh) = names(&value.because, value.because.len());
    if en.is_empty() {
        return Text::new("needed", "需要重启");
    }
    Text::new(format!("needed for {en}"), format!("需要重启：{zh}"))
}

fn units(value: &Units) -> Text {
    if value.failed_count == 0 {
        return Text::new("none failed", "无失败单元");
    }
    let (en, zh) = names(&value.failed, value.failed_count as usize);
    Text::new(
        format!("{} failed: {en}", value.failed_count),
        format!("{} 个失败：{zh}", value.failed_count),
    )
}

fn cpu(value: &Cpu) -> Text {
    let Cpu { cores, busy, io_wait, steal } = value;
    Text::new(
        format!("busy {busy}, waiting for I/O {io_wait}, stolen {steal}; cores {cores}"),
        format!("忙 {busy}，等待 I/O {io_wait}，被占用 {steal}；{cores} 核"),
    )
}

fn memory(value: &Memory) -> Text {
    let Memory { total, available, swap_total, swap_free } = value;
    let free = share(available.0, total.0);
    let (mut en, mut zh) = (
        format!("{available} available of {total} ({free})"),
        format!("可用 {available}，共 {total}（{free}）"),
    );
    if swap_total.0 > 0 {
        let used = Bytes(swap_total.0.saturating_sub(swap_free.0));
        let _ = write!(en, "; swap {used} used of {swap_total}");
        let _ = write!(zh, "；交换区已用 {used}，共 {swap_total}");
    }
    Text::new(en, zh)
}

fn hundredths(value: u32) -> String {
    format!("{}.{:02}", value / 100, value % 100)
}

fn load(value: &Load) -> Text {
    let [one, five, fifteen] = [value.one, value.five, value.fifteen].map(hundredths);
    Text::new(
        format!("{one} over 1 min, {five} over 5 min, {fifteen} over 15 min"),
        format!("1 分钟 {one}，5 分钟 {five}，15 分钟 {fifteen}"),
    )
}

fn pressure(value: &Pressure) -> Text {
    let some = value.some;
    match value.full {
        None => {
            Text::new(format!("some task waits {some} of the time"), format!("有任务等待 {some}"))
        }
        Some(full) => Text::new(
            format!("some task waits {some} of the time, all wait {full}"),
            format!("有任务等待 {some}，全部等待 {full}"),
        ),
    }
}

fn disk(value: &Disk) -> Text {
    let Disk { read, written, busy_millis } = value;
    let busy = span(Duration::from_millis(*busy_millis));
    Text::new(
        format!("read {read}, written {written}, busy {} since boot", busy.en),
        format!("启动以来读 {read}，写 {written}，忙 {}", busy.zh),
    )
}

fn celsius(millicelsius: i32) -> String {
    format!("{:.1} °C", f64::from(millicelsius) / 1000.0)
}

fn temperature(value: &Temperature) -> Text {
    let here = celsius(value.millicelsius);
    match value.critical.map(celsius) {
        None => Text::quoted(here),
        Some(limit) => {
            Text::new(format!("{here} (critical at {limit})"), format!("{here}（临界值 {limit}）"))
        }
    }
}

fn millis(micros: i64) -> String {
    format!("{:+.1} ms", micros as f64 / 1000.0)
}

fn clock(value: &Clock) -> Text {
    let offset = millis(value.offset_micros);
    let error = millis(value.max_error_micros);
    let error = error.trim_start_matches('+');
    if value.synchronised {
        Text::new(
            format!("synchronised, offset {offset}, error at most {error}"),
            format!("已同步，偏差 {offset}，误差不超过 {error}"),
        )
    } else {
        Text::new("not synchronised", "未同步")
    }
}

fn agent(value: &Agent) -> Text {
    let Agent { resident, cpu_millis, spool, problems } = value;
    let cpu = format!("{:.1}", *cpu_millis as f64 / 1000.0);
    let (mut en, mut zh) = (
        format!("memory {resident}, processor {cpu} s since start, waiting in the spool {spool}"),
        format!("内存 {resident}，启动以来处理器 {cpu} 秒，缓冲区待发 {spool}"),
    );
    if !problems.is_empty() {
        let (list_en, list_zh) = names(problems, problems.len());
        let _ = write!(en, "; problems: {list_en}");
        let _ = write!(zh, "；问题：{list_zh}");
    }
    Text::new(en, zh)
}

fn link_kind(kind: LinkKind) -> (&'static str, &'static str) {
    match kind {
        LinkKind::Loopback => ("loopback", "回环"),
        LinkKind::Ethernet => ("wired", "有线"),
        LinkKind::Bridge => ("bridge", "网桥"),
        LinkKind::Bond => ("bond", "链路聚合"),
        LinkKind::Vlan => ("VLAN", "VLAN"),
        LinkKind::Virtual => ("virtual", "虚拟"),
        LinkKind::Tunnel => ("tunnel", "隧道"),
        LinkKind::Wireless => ("wireless", "无线"),
        LinkKind::Usb => ("USB", "USB"),
        LinkKind::Modem => ("modem", "调制解调器"),
        LinkKind::Other => ("other kind", "其他类型"),
    }
}

fn interface(value: &Interface) -> Text {
    let (kind_en, kind_zh) = link_kind(value.kind);
    let (state_en, state_zh) = match (value.admin_up, value.carrier) {
        (true, true) => ("up", "已连接"),
        (true, false) => ("no carrier", "无载波"),
        (false, _) => ("switched off", "已停用"),
    };
    let (mut en, mut zh) = (format!("{kind_en}, {state_en}"), format!("{kind_zh}，{state_zh}"));
    if let Some(speed) = value.speed_mbits {
        let _ = write!(en, ", {speed} Mbit/s");
        let _ = write!(zh, "，{speed} Mbit/s");
    }
    match value.duplex {
        Some(Duplex::Half) => {
            en.push_str(" half duplex");
            zh.push_str(" 半双工");
        }
        Some(Duplex::Full) => {
            en.push_str(" full duplex");
            zh.push_str(" 全双工");
        }
        None => {}
    }
    if !value.addresses.is_empty() {
        let list: Vec<String> = value.addresses.iter().map(ToString::to_string).collect();
        let (list_en, list_zh) = names(&list, list.len());
        let _ = write!(en, "; {list_en}");
        let _ = write!(zh, "；{list_zh}");
    }
    if let Some(mac) = value.mac {
        let _ = write!(en, "; {mac}");
        let _ = write!(zh, "；{mac}");
    }
    if let Some(master) = &value.master {
        let _ = write!(en, "; part of {master}");
        let _ = write!(zh, "；属于 {master}");
    }
    if !value.driver.is_empty() {
        let _ = write!(en, "; driver {}", value.driver);
        let _ = write!(zh, "；驱动 {}", value.driver);
    }
    let _ = write!(en, "; MTU {}", value.mtu);
    let _ = write!(zh, "；MTU {}", value.mtu);
    Text::new(en, zh)
}

fn traffic(value: &Traffic) -> Text {
    let Traffic { received, transmitted, .. } = value;
    let errors = value.receive_errors.saturating_add(value.transmit_errors);
    let drops = value.receive_drops.saturating_add(value.transmit_drops);
    Text::new(
        format!("received {received}, sent {transmitted}; errors {errors}, drops {drops}"),
        format!("收 {received}，发 {transmitted}；错误 {errors}，丢弃 {drops}"),
    )
}

fn route(value: &Route) -> Text {
    let Route { destination, gateway, interface, metric, table, carries: _, kind, source } = value;
    let (mut en, mut zh) = (destination.to_string(), destination.to_string());
    let (is_en, is_zh) = match kind {
        RouteKind::Unicast => ("", ""),
        RouteKind::Blackhole | RouteKind::Unreachable | RouteKind::Prohibit => {
            (" is refused", " 被拒绝")
        }
        RouteKind::Throw => (" is left to the next policy rule", " 交由下一条策略规则"),
        RouteKind::Local => (" is this host", " 即本机"),
    };
    en.push_str(is_en);
    zh.push_str(is_zh);
    if let Some(gateway) = gateway {
        let _ = write!(en, " through {gateway}");
        let _ = write!(zh, " 经由 {gateway}");
    }
    if let Some(interface) = interface {
        let _ = write!(en, " by {interface}");
        let _ = write!(zh, " 出口 {interface}");
    }
    let _ = write!(en, "; metric {metric}, table {table}");
    let _ = write!(zh, "；度量 {metric}，路由表 {table}");
    if let Some(source) = source {
        let _ = write!(en, ", source {source}");
        let _ = write!(zh, "，源地址 {source}");
    }
    Text::new(en, zh)
}

fn rule(value: &Rule) -> Text {
    let Rule { priority, ipv6, not, from, to, iif, oif, mark, action, unsure } = value;
    let family = if *ipv6 { "IPv6" } else { "IPv4" };
    let (mut en, mut zh) = (format!("{family} {priority}:"), format!("{family} {priority}："));
    let mut say = |said_en: &str, said_zh: &str, what: &dyn std::fmt::Display| {
        let _ = write!(en, " {said_en}{what}");
        let _ = write!(zh, " {said_zh}{what}");
    };
    if *not {
        say("unless", "除非", &"");
    }
    if let Some(from) = from {
        say("from ", "来自 ", from);
    }
    if let Some(to) = to {
        say("to ", "去往 ", to);
    }
    if let Some(iif) = iif {
        say("in by ", "入口 ", iif);
    }
    if let Some(oif) = oif {
        say("bound to ", "绑定 ", oif);
    }
    if let Some(mark) = mark {
        say("with the mark ", "标记 ", &format_args!("{:#x}/{:#x}", mark.value, mark.mask));
    }
    if *unsure {
        say("and more", "及其他条件", &"");
    }
    match action {
        RuleAction::Table(table) => say("table ", "路由表 ", table),
        RuleAction::Blackhole => say("dropped", "丢弃", &""),
        RuleAction::Unreachable | RuleAction::Prohibit => say("refused", "拒绝", &""),
        RuleAction::Other => say("something else", "其他动作", &""),
    }
    Text::new(en, zh)
}

fn neighbour(value: &Neighbour) -> Text {
    let Neighbour { address, interface, mac, router, silent } = value;
    let mac = mac.map(|mac| format!(" ({mac})")).unwrap_or_default();
    let (is_en, is_zh) = if *router { ("; a router", "；路由器") } else { ("", "") };
    let (heard_en, heard_zh) =
        if *silent { ("; not heard for 5 min", "；5 分钟内无报文") } else { ("", "") };
    Text::new(
        format!("{address}{mac} on {interface}{is_en}{heard_en}"),
        format!("{address}{mac}，接口 {interface}{is_zh}{heard_zh}"),
    )
}

fn forwarding(value: &Forwarding) -> Text {
    let (v4_en, v4_zh) = yes_no(value.ipv4);
    let (v6_en, v6_zh) = yes_no(value.ipv6);
    let (mut en, mut zh) =
        (format!("IPv4 {v4_en}, IPv6 {v6_en}"), format!("IPv4 {v4_zh}，IPv6 {v6_zh}"));
    if !value.interfaces.is_empty() {
        let (list_en, list_zh) = names(&value.interfaces, value.interfaces.len());
        let _ = write!(en, "; on for {list_en}");
        let _ = write!(zh, "；单独开启：{list_zh}");
    }
    if value.bridged == Some(true) {
        en.push_str("; the rules of IP see what bridges carry");
        zh.push_str("；网桥承载的报文也经过 IP 规则");
    }
    Text::new(en, zh)
}

fn ruleset(value: &Ruleset) -> Text {
    let Ruleset { tables, rules, opaque_rules, packets, octets, changed_by, digest } = value;
    let tables = tables.len();
    let (mut en, mut zh) = (
        format!("rules {rules} in tables {tables}; {packets} packets, {octets} counted"),
        format!("规则 {rules} 条，表 {tables} 个；计数 {packets} 包，{octets}"),
    );
    if *opaque_rules > 0 {
        let _ = write!(en, "; {opaque_rules} not readable");
        let _ = write!(zh, "；{opaque_rules} 条无法解读");
    }
    if let Some(by) = changed_by {
        let _ = write!(en, "; last changed by {by}");
        let _ = write!(zh, "；最近由 {by} 修改");
    }
    let short: String = digest.chars().take(12).collect();
    if !short.is_empty() {
        let _ = write!(en, "; digest {short}…");
        let _ = write!(zh, "；摘要 {short}…");
    }
    Text::new(en, zh)
}

fn default_policy(policy: DefaultPolicy) -> (&'static str, &'static str) {
    match policy {
        DefaultPolicy::NoChain => ("everything passes: no chain", "无链：全部放行"),
        DefaultPolicy::Accept => ("accept", "放行"),
        DefaultPolicy::Drop => ("drop", "丢弃"),
        DefaultPolicy::Reject => ("reject", "拒绝"),
        DefaultPolicy::Unknown => ("not readable", "无法解读"),
    }
}

fn hook(value: &Hook) -> Text {
    let (default_en, default_zh) = default_policy(value.default);
    let (mut en, mut zh) = (default_en.to_owned(), default_zh.to_owned());
    if !value.by.is_empty() {
        let _ = write!(en, " by {}", value.by);
        let _ = write!(zh, "，由 {} 决定", value.by);
    }
    if value.chains > 1 {
        let _ = write!(en, "; chains {}", value.chains);
        let _ = write!(zh, "；链 {} 条", value.chains);
    }
    Text::new(en, zh)
}

fn manager(value: &Manager) -> Text {
    match (value.installed, value.active) {
        (false, _) => Text::new("not installed", "未安装"),
        (true, false) => Text::new("installed, not active", "已安装，未启用"),
        (true, true) => Text::new("active", "运行中"),
    }
}

fn enforcement(value: &Enforcement, local: LocalTime) -> Text {
    let (mut en, mut zh) = match value.in_force {
        None => ("nothing of ours is in force".to_owned(), "无规则生效".to_owned()),
        Some(order) => {
            let version = order.version;
            let (how, zh_how) = match value.mode {
                Some(Mode::Enforce) => ("enforced", "强制执行"),
                Some(Mode::Observe) => ("observed", "仅观察"),
                None => ("in force", "生效"),
            };
            (format!("order {version} is {how}"), format!("命令 {version} {zh_how}"))
        }
    };
    if let Some(pending) = &value.pending {
        let until = local.minute(pending.until);
        let _ = write!(en, "; reverts at {until} unless confirmed");
        let _ = write!(zh, "；{until} 前未确认则回退");
    }
    if let Some(quarantine) = &value.quarantine {
        let (until, reason) = (local.minute(quarantine.until), &quarantine.reason);
        let _ = write!(en, "; in quarantine until {until}: {reason}");
        let _ = write!(zh, "；隔离至 {until}：{reason}");
    }
    if let Some(drift) = value.drift.as_ref().filter(|drift| drift.ended.is_none()) {
        let since = local.minute(drift.since);
        let by = drift.by.as_deref();
        let _ = write!(en, "; changed since {since} by {}", by.unwrap_or("somebody unknown"));
        let _ = write!(zh, "；自 {since} 起被改动，改动者：{}", by.unwrap_or("未知"));
    }
    if let Some(problem) = &value.problem {
        let _ = write!(en, "; problem: {problem}");
        let _ = write!(zh, "；问题：{problem}");
    }
    Text::new(en, zh)
}

fn seen_flow(value: &SeenFlow, local: LocalTime) -> Text {
    let (count, last) = (value.count, local.minute(value.last));
    Text::new(
        format!("{count} or more, last in the hour of {last}"),
        format!("至少 {count} 次，最近一次在 {last} 起的一小时内"),
    )
}

fn flow_watch(value: &FlowWatch, local: LocalTime) -> Text {
    let since = local.minute(value.since);
    let (mut en, mut zh) = (format!("watched since {since}"), format!("自 {since} 起观察"));
    if value.forgotten > 0 {
        let _ = write!(en, "; {} or more forgotten for want of room", value.forgotten);
        let _ = write!(zh, "；因数量上限已遗忘至少 {} 条", value.forgotten);
    }
    if value.overrun > 0 {
        let _ = write!(en, "; {} times too many at once", value.overrun);
        let _ = write!(zh, "；{} 次因瞬时过多而可能遗漏", value.overrun);
    }
    Text::new(en, zh)
}

fn line_quality(value: &LineQuality) -> Text {
    let ask = value.ask;
    let (mut en, mut zh) = (format!("{ask}: "), format!("{ask}："));
    let silence = span(value.silence());
    match (value.since, value.answers(), value.answered) {
        (None, _, _) => {
            en.push_str("not asked yet");
            zh.push_str("尚未探测");
        }
        (Some(_), true, _) => {
            en.push_str("answers");
            zh.push_str("应答正常");
        }
        (Some(_), false, true) => {
            let _ = write!(en, "silent for {}", silence.en);
            let _ = write!(zh, "已有 {}没有应答", silence.zh);
        }
        (Some(_), false, false) => {
            let _ = write!(en, "has not answered, asked for {}", silence.en);
            let _ = write!(zh, "从未应答，已探测 {}", silence.zh);
        }
    }
    if let Some(lately) = value.lately {
        let _ = write!(en, "; {} of {} lost within 5 min", lately.lost, lately.asked);
        let lost = lately.lost.to_string().replace(" %", "%");
        let _ = write!(zh, "；5 分钟内 {} 个报文丢失 {lost}", lately.asked);
    }
    if let Some(took) = value.lately.as_ref().and_then(LatelyAsked::round_trip) {
        let millis = took.as_secs_f64() * 1000.0;
        let _ = write!(en, "; {millis:.1} ms there and back");
        let _ = write!(zh, "；往返 {millis:.1} ms");
    }
    Text::new(en, zh)
}

fn rule_counter(value: &RuleCounter) -> Text {
    let RuleCounter { packets, octets } = value;
    Text::new(format!("{packets} packets, {octets}"), format!("{packets} 个包，{octets}"))
}

fn backup_job(value: &Job, now: Timestamp, local: LocalTime) -> Text {
    let Job {
        tool, finished_at, success, size, files, destination, message, last_success_at, ..
    } = value;
    let ended = local.minute(*finished_at);
    let (word_en, word_zh) = if *success { ("worked", "成功") } else { ("failed", "失败") };
    let (mut en, mut zh) = (
        format!("{tool}: last run {word_en}, ended {ended}"),
        format!("{tool}：最近一次{word_zh}，结束于 {ended}"),
    );
    if let Some(size) = size {
        let _ = write!(en, ", {size}");
        let _ = write!(zh, "，{size}");
    }
    if let Some(files) = files {
        let _ = write!(en, ", files {files}");
        let _ = write!(zh, "，文件 {files} 个");
    }
    if !destination.is_empty() {
        let _ = write!(en, ", to {destination}");
        let _ = write!(zh, "，存于 {destination}");
    }
    if !*success {
        if let Some(at) = last_success_at {
            let age = span(at.age(now));
            let _ = write!(en, "; last success {} ago", age.en);
            let _ = write!(zh, "；上次成功在 {} 前", age.zh);
        } else {
            en.push_str("; it never worked");
            zh.push_str("；从未成功");
        }
    }
    if !message.is_empty() {
        let _ = write!(en, "; it says \"{message}\"");
        let _ = write!(zh, "；报告：“{message}”");
    }
    Text::new(en, zh)
}

fn repository(value: &Repository, now: Timestamp, local: LocalTime) -> Text {
    let Repository { tool, snapshots, newest } = value;
    let (mut en, mut zh) =
        (format!("{tool}: snapshots {snapshots}"), format!("{tool}：快照 {snapshots} 个"));
    if let Some(newest) = newest.first() {
        let age = span(newest.taken_at.age(now));
        let at = local.minute(newest.taken_at);
        let _ = write!(en, "; newest {} ago ({at})", age.en);
        let _ = write!(zh, "；最新在 {} 前（{at}）", age.zh);
        if let Some(size) = newest.size {
            let _ = write!(en, ", {size}");
            let _ = write!(zh, "，{size}");
        }
        if let Some(files) = newest.files {
            let _ = write!(en, ", files {files}");
            let _ = write!(zh, "，文件 {files} 个");
        }
    }
    Text::new(en, zh)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_names_at_most_two_units() {
        for (seconds, en, zh) in [
            (0, "0 s", "0 秒"),
            (59, "59 s", "59 秒"),
            (60, "1 min", "1 分钟"),
            (3_599, "59 min", "59 分钟"),
            (3_600, "1 h 0 min", "1 小时 0 分"),
            (90_000, "1 d 1 h", "1 天 1 小时"),
        ] {
            assert_eq!(span(Duration::from_secs(seconds)), Text::new(en, zh));
        }
    }

    #[test]
    fn a_long_list_says_how_many_are_left_out() {
        let list: Vec<String> = (0..10).map(|n| format!("u{n}")).collect();
        let (en, zh) = names(&list, 12);
        assert!(en.ends_with("u7 and 4 more"), "{en}");
        assert!(zh.ends_with("u7 等 12 个"), "{zh}");
    }
}
