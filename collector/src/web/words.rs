//! Every word on the screens, in both languages. A word that lacks a language does not compile.
//! Sentences about a host come from the checks ([`bailey_rules::text::Text`]) and [`super::reading`].

use axum::http::StatusCode;
use bailey_rules::text::Lang;

macro_rules! words {
    ($($name:ident: $en:literal, $zh:literal;)*) => {
        /// The words of one language.
        #[derive(Debug)]
        pub struct Words {
            $(#[doc = $en] pub $name: &'static str,)*
        }

        static EN: Words = Words { $($name: $en,)* };
        static ZH: Words = Words { $($name: $zh,)* };

        /// Every word with its two languages, for the tests.
        #[cfg(test)]
        pub(crate) const ALL: &[(&str, &str, &str)] = &[$((stringify!($name), $en, $zh),)*];
    };
}

words! {
    // The frame.
    product: "Bailey", "Bailey";
    lang_tag: "en", "zh-CN";
    other_lang_tag: "zh-CN", "en";
    other_lang: "中文", "English";
    skip: "Skip to the content", "跳到正文";
    pages: "Pages", "页面";
    hosts: "Hosts", "主机";
    alerts: "Alerts", "告警";
    runbook: "Runbook", "处置手册";
    search: "Search", "搜索";
    search_hint: "Name, IP, MAC, finding ( / )", "名称、IP、MAC、告警（按 / ）";
    zones: "Zones", "安全域";
    zone: "Zone", "安全域";
    all_zones: "All zones", "全部安全域";
    hosts_by_state: "Hosts by state", "各状态主机数";
    site_time: "Site time", "本地时间";
    sign_out: "Sign out", "退出";
    live: "live", "实时";
    polled: "refreshed every 15 s", "每 15 秒刷新";
    screen_stale: "Connection lost. Screen stale for", "连接中断，屏幕数据已过期";
    config_problem: "Needs attention", "需要处理";
    more_problems: "more", "项其他问题";
    keys: "Keys", "快捷键";
    key_search: "search", "搜索";
    key_hosts: "hosts", "主机";
    key_alerts: "alerts", "告警";
    key_isolation: "isolation", "隔离";
    key_next: "next row", "下一行";
    key_previous: "previous row", "上一行";
    key_open: "open the row", "打开所选行";
    key_help: "this list", "本列表";
    key_close: "close", "关闭";
    close: "Close", "关闭";

    // Ages. The number takes the place of #.
    age_seconds: "# s", "# 秒";
    age_minutes: "# min", "# 分钟";
    age_hours: "# h", "# 小时";
    age_days: "# d", "# 天";
    left: "# left", "剩 #";
    over: "# over", "超出 #";
    never: "never", "从未";
    not_asked_yet: "not asked yet", "尚未探测";

    // Components and columns.
    state: "State", "状态";
    host: "Host", "主机";
    health: "Health", "健康";
    firewall: "Firewall", "防火墙";
    backup: "Backup", "备份";
    isolation: "Isolation", "隔离";
    agent: "Agent", "代理";
    network: "Network", "网络";
    power: "Power", "电源";
    last_report: "Last report", "最近上报";
    version: "Version", "版本";
    not_judged: "not judged", "未评估";

    // Hosts.
    shown_of: "Shown: # of ", "显示 #，共 ";
    filter: "Filter", "筛选";
    clear_filter: "Clear the filter", "清除筛选";
    no_match: "No host matches this filter.", "没有符合条件的主机。";
    show_zone: "Show all hosts of this zone", "显示本安全域全部主机";
    next_rows: "Next page", "下一页";
    first_rows: "First page", "第一页";
    zone_empty: "No host of this zone reports yet.", "本安全域尚无主机上报。";
    first_title: "No host reports yet", "尚无主机上报";
    first_why: "Bailey shows a host as soon as its agent has enrolled. Three steps, about two minutes:",
        "主机上的代理程序注册后即在此显示。三个步骤，约两分钟：";
    first_token: "On this collector, make a token for one host:", "在本采集器上为一台主机生成令牌：";
    first_paste: "On the host, install the agent and paste the printed line:",
        "在该主机上安装代理程序，并粘贴打印出的命令：";
    first_wait: "It appears here within seconds. This page refreshes itself.",
        "数秒内即显示在此。本页自动刷新。";

    // One host.
    connected: "connected", "已连接";
    not_connected: "not connected", "未连接";
    said_goodbye: "stopped in order", "正常停止";
    agent_version: "Agent", "代理版本";
    system: "System", "系统";
    addresses: "Addresses", "地址";
    session: "Session", "会话";
    certificate: "Certificate", "证书";
    clock_offset: "Clock offset", "时钟偏差";
    enrolled: "Enrolled", "注册于";
    lost_reports: "Lost reports", "丢失报告";
    host_key: "Host key", "主机密钥";
    unknown: "unknown", "未知";
    open_findings: "Open findings", "未解决的告警";
    no_findings: "No open finding.", "没有未解决的告警。";
    checks: "Checks", "检查";
    check: "Check", "检查项";
    subject: "Subject", "对象";
    why: "Why", "原因";
    evidence: "Evidence", "依据";
    evidence_age: "Age of evidence", "依据时效";
    no_checks: "Nothing was judged yet.", "尚未评估。";
    facts: "Facts", "事实";
    fact: "Fact", "事实";
    value: "Value", "值";
    since: "Since", "起始时间";
    age: "Age", "时效";
    probe: "probe", "探针";
    read_every: "read every", "读取间隔";
    interval: "Interval", "读取间隔";
    not_available: "not available", "无法获取";
    stale: "stale", "数据过期";
    probe_failed: "The probe failed", "探针读取失败";
    no_facts: "This host has reported no facts yet.", "该主机尚未上报任何事实。";
    show_kind: "Show all", "显示全部";
    all_facts: "All facts of this host", "该主机全部事实";
    timeline: "Last 24 hours", "最近 24 小时";
    no_events: "Nothing happened in the last 24 hours.", "最近 24 小时内无事件。";
    more_events: "Only the newest events are shown.", "仅显示最新事件。";
    events_unavailable: "The journal cannot be read now", "暂时无法读取日志";
    by_whom: "by", "操作者";

    // Alerts.
    no_alerts: "Nothing is open.", "没有未解决的告警。";
    no_alerts_why: "Every check of every host that reports is as the site demands. Silence would be a finding.",
        "所有已上报主机的各项检查均符合要求。主机静默也会产生告警。";
    no_alerts_match: "No open finding matches this filter.", "没有符合条件的告警。";
    last_confirmed: "Last confirmed", "最近确认";
    first_seen: "Since", "发生于";
    held: "held: no fresh data", "保持：无新数据";
    held_why: "Nothing fresh confirms or clears it. A finding never closes because data stopped.",
        "没有新数据确认或排除。告警不会因数据中断而关闭。";

    // Network.
    devices: "Devices", "设备";

    // What devices say of themselves.
    messages: "Messages", "设备消息";
    traps: "Traps and informs", "陷阱与通知";
    syslog: "Syslog", "系统日志";
    no_traps: "No trap has come.", "尚未收到陷阱。";
    traps_off: "Traps are not received: set \"traps:\" in collector.yaml.", "未接收陷阱：请在 collector.yaml 中设置 \"traps:\"。";
    no_syslog: "No message has come. They are received where collector.yaml has \"syslog:\".", "尚未收到消息。在 collector.yaml 中设置 \"syslog:\" 后开始接收。";
    last_time: "Last", "最近";
    times: "Times", "次数";
    sender: "Sender", "发送者";
    trap: "Trap", "陷阱";
    says: "Says", "内容";
    stranger: "unknown address", "未知地址";
    unproven: "not proven", "未经证明";

    // Devices.
    device: "Device", "设备";
    address: "Address", "地址";
    ports_up: "Ports up", "端口";
    last_answer: "Last answer", "最近应答";
    no_answer_why: "No answer", "无应答";
    no_device_title: "No device is polled yet", "尚未轮询任何设备";
    no_device_why: "Switches, UPS, minicomputers and firewall appliances are asked by SNMP. One command adds a device and says what is wrong with it, if anything:",
        "交换机、UPS、小型机和防火墙设备通过 SNMP 查询。一条命令即可添加设备，如有问题会直接指出：";
    no_device_match: "No device matches this filter.", "没有符合条件的设备。";
    error_device: "There is no device of this name. It may have been removed.",
        "没有此名称的设备。可能已被移除。";
    links: "Links", "链路";
    links_why: "lines, and interfaces in use or in trouble, the busiest first", "专线及在用或异常的接口，最繁忙的在前";
    lines: "Lines", "专线";
    lines_why: "what is paid for, what was used of it, and how the far end answers",
        "签约速率、使用情况与对端应答";
    exit_line: "exit", "出口";
    aggregate: "a member of this aggregate", "该聚合的成员";
    no_interface: "no such interface", "无此接口";
    month_95: "95 % of 30 d", "30 天 95 值";
    far_end: "Far end", "对端";
    round_trip: "Round trip", "往返时延";
    loss: "Loss, 5 min", "丢包（5 分钟）";
    asked_by: "Asked by", "探测方式";
    available_since: "Available", "可用率";
    available: "Available, 30 d", "可用率（30 天）";
    place: "Plugged into", "接入端口";
    wiring: "Wiring", "物理连接";
    wiring_why: "how devices are linked, and what shows it", "设备互联及其依据";
    no_wiring: "No link between devices is known yet.", "尚未发现设备之间的链路。";
    between: "Between", "两端";
    confidence: "Confidence", "可信度";
    shared_wire: "shared", "共享";
    disagreements: "What does not agree", "相互矛盾之处";
    no_links: "No link is in use yet; use is counted from the second poll on.", "暂无在用链路；流量自第二次轮询起统计。";
    link: "Link", "链路";
    link_is: "Is", "状态";
    link_up: "up", "正常";
    link_down: "down", "断开";
    link_off: "switched off", "已关闭";
    link_waits: "waits", "等待";
    interfaces: "Interfaces", "接口";
    speed: "Speed", "速率";
    rated: "rated", "签约";
    rated_speed: "Rated speed", "签约速率";
    receives: "Receives", "接收";
    sends: "Sends", "发送";
    used: "Used, 15 min", "利用率（15 分钟）";
    errors: "Errors", "误码";
    duplex: "Duplex", "双工";
    full_duplex: "full", "全双工";
    half_duplex: "half", "半双工";
    own_name: "Its own name", "自身名称";
    location: "Location", "位置";
    runs_since: "Runs for", "已运行";
    added: "Added by", "添加者";
    parts_read: "What is read", "读取内容";
    part: "Part", "部分";
    neighbours: "Neighbours", "邻居";
    neighbour: "Neighbour", "邻居";
    port: "Port", "端口";
    far_port: "Its port", "对端端口";
    poe: "Power over Ethernet", "以太网供电";
    supply: "Supply", "供电单元";
    in_use: "In use", "使用量";
    ports_fed: "Ports fed", "供电端口数";
    processes: "Processes", "进程";
    process: "Process", "进程";
    count: "Count", "数量";
    memory: "Memory", "内存";
    routes: "Routes", "路由";
    destination: "Destination", "目的网络";
    gateway: "Gateway", "网关";

    // Isolation.
    push: "Push", "下发";
    rulesets: "rulesets", "规则";
    quarantine: "quarantine", "隔离主机";
    release: "release from quarantine", "解除隔离";
    stage: "Stage", "阶段";
    stage_of: "stage # of #", "第 # 阶段，共 # 阶段";
    order: "Order", "命令号";
    confirm_within: "Confirm within", "请在限时内确认：剩余";
    reverts_by_itself: "or each host returns to its ruleset before by itself.", "到时未确认，主机将自动恢复先前规则。";
    stop_with: "Stop it with", "停止下发：";
    draft: "draft", "草稿";
    running: "running", "进行中";
    awaits_confirmation: "waits to be confirmed", "等待确认";
    done: "done", "已完成";
    failed: "failed", "失败";
    cancelled: "cancelled", "已取消";
    target_waiting: "waiting", "等待下发";
    target_sent: "sent", "已下发";
    target_applied: "applied", "已生效";
    target_reachable: "reachable", "可达";
    target_confirmed: "confirmed", "已确认";
    target_refused: "refused", "被拒绝";
    target_no_enforcer: "no enforcer", "无执行器";
    target_reverted: "reverted", "已回退";
    target_superseded: "superseded", "已被取代";
    target_expired: "expired", "已过期";
    changed_by_hand: "changed by hand", "被手工改动";
    somebody: "somebody unknown", "未知进程";
    line_come: "added", "新增";
    line_gone: "removed", "删除";
    more_lines: "more lines", "行未显示";
    more_drifts: "more hosts were changed by hand", "台主机也被手工改动";
    exchange_points: "Exchange points", "交换点";
    exchange_point: "Exchange point", "交换点";
    invariants: "Invariants", "不变式";
    invariants_why: "Proved from the rules, addresses and routes that the kernels have now.", "依据各主机内核当前的规则、地址与路由证明。";
    invariant: "Invariant", "不变式";
    line: "line", "行";
    demand: "Demand", "要求";
    demand_never: "never", "始终不可达";
    demand_only: "only through", "仅经由";
    rests_on: "Rests on", "依据";
    hosts_looked_at: "# hosts looked at", "检查了 # 台主机";
    assumptions: "assuming", "前提";
    proved: "Proved", "证明于";
    took: "Took", "用时";
    counterexample: "a packet that breaks it", "违反该不变式的报文";
    perhaps: "perhaps so", "可能如下";
    on_the_wire: "on the wire", "线路上";
    compiled_from: "compiled from", "编译自";
    would_stop_it: "would stop it:", "可阻断：";
    it_would_take: "it would take", "需要：";
    exchange_why: "The only declared ways between zones; volumes since each ruleset was loaded.", "安全域之间仅有的合法通道，流量自各规则加载时起计。";
    from_to: "From, to", "方向";
    service: "Service", "服务";
    owner: "Owner", "责任人";
    there: "There", "去向流量";
    back: "Back", "返回流量";
    not_counted: "not counted", "未计量";
    policy_says: "policy:", "策略：";
    mode_enforce: "enforce", "强制执行";
    mode_observe: "observe", "仅观察";
    mode_untold: "mode unknown", "模式未知";
    not_in_policy: "not in the policy", "策略中没有";
    no_enforcer: "no enforcer", "无执行器";
    no_key: "no key pinned", "未绑定密钥";
    nothing_in_force: "nothing in force", "无规则生效";
    in_quarantine: "in quarantine", "隔离中";
    enforcer_problem: "enforcer problem", "执行器故障";
    until: "until #", "至 #";
    wanted: "Policy", "策略";
    in_force: "In force", "生效命令";
    pushed: "Pushed", "下发命令";
    not_current: "differs", "不一致";
    would_drop: "Would drop", "将拦截";
    dropped: "Dropped", "已拦截";
    key: "Key", "密钥";

    // Sign-in.
    signin_title: "Sign in", "登录";
    signin_needed: "This page is for signed-in people. There is no password: a person with access to the collector makes a link that works once.",
        "本页仅供已登录人员使用。系统不设密码：由能登录采集器的人员生成一次性链接。";
    signin_how: "On the collector, run", "在采集器上运行";
    signin_then: "and open the printed link in this browser within 15 minutes.",
        "并在 15 分钟内用本浏览器打开打印出的链接。";
    signin_ready: "This link signs this browser in once. You stay signed in for 8 hours after last use.",
        "此链接可使本浏览器登录一次。最后一次使用后 8 小时内保持登录。";
    signin_button: "Sign in here", "在此登录";
    signin_refused: "This link is used up, expired or was never made.", "该链接已使用、已过期或不存在。";
    signed_out: "You are signed out.", "您已退出登录。";

    // Errors.
    error_title: "This cannot be shown", "无法显示";
    error_not_found: "There is nothing under this address.", "该地址下没有内容。";
    error_host: "No host of this name is enrolled. It may have been revoked or renamed.",
        "没有此名称的已注册主机。可能已被吊销或改名。";
    error_method: "This address does not take this method.", "该地址不支持此请求方法。";
    error_forbidden: "The form did not come from this page. Go back, reload and try again.",
        "表单并非来自本页面。请返回，刷新后重试。";
    error_other: "The request could not be answered.", "请求无法处理。";
    back_to_hosts: "Back to the hosts", "返回主机列表";
}

impl Words {
    /// The words of a language.
    #[must_use]
    pub fn of(lang: Lang) -> &'static Self {
        match lang {
            Lang::En => &EN,
            Lang::Zh => &ZH,
        }
    }

    /// What a component of the site is called; a component of a later version keeps its own word.
    #[must_use]
    pub fn component<'a>(&'a self, component: &'a str) -> &'a str {
        match component {
            "host" => self.health,
            "firewall" => self.firewall,
            "backup" => self.backup,
            "isolation" => self.isolation,
            "agent" => self.agent,
            "network" => self.network,
            "power" => self.power,
            other => other,
        }
    }

    /// What a page says to a status that is an error.
    #[must_use]
    pub fn error_of(&self, status: StatusCode) -> &'static str {
        match status {
            StatusCode::NOT_FOUND => self.error_not_found,
            StatusCode::METHOD_NOT_ALLOWED => self.error_method,
            StatusCode::FORBIDDEN => self.error_forbidden,
            _ => self.error_other,
        }
    }
}

/// `pattern` with `number` in the place of `#`.
#[must_use]
pub fn filled(pattern: &str, number: impl std::fmt::Display) -> String {
    pattern.replacen('#', &number.to_string(), 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_word_is_empty_in_either_language() {
        for (name, en, zh) in ALL {
            assert!(!en.is_empty() && !zh.is_empty(), "{name}");
        }
    }

    #[test]
    fn both_languages_of_a_word_take_the_same_numbers() {
        for (name, en, zh) in ALL {
            assert_eq!(en.matches('#').count(), zh.matches('#').count(), "{name}");
        }
    }

    #[test]
    fn chinese_words_are_chinese() {
        const SAME: [&str; 4] = ["product", "lang_tag", "other_lang_tag", "other_lang"];
        for (name, _, zh) in ALL.iter().filter(|(name, ..)| !SAME.contains(name)) {
            let chinese = zh.chars().any(|c| ('\u{4e00}'..='\u{9fff}').contains(&c));
            assert!(chinese, "{name}: {zh}");
            assert!(!zh.contains([',', ';', '!']), "{name}: punctuation of the other script: {zh}");
        }
    }
}
