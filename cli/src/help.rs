//! The Chinese words of the command line: help, and what is wrong with a command line.
//!
//! The English ones stand beside the arguments they describe. A test holds that none is missing.

use bailey_rules::text::Lang;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, Command};

use crate::arguments::GLOBAL;

/// What each command does, by its path.
const COMMANDS: &[(&str, &str)] = &[
    ("bailey", "Bailey 监视站点内的主机和网络隔离。"),
    ("bailey up", "启动采集器并监视本机，按 Ctrl-C 停止"),
    ("bailey demo", "在本机运行参考站点，可触发并恢复违规场景，按 Ctrl-C 停止"),
    ("bailey demo break", "触发一个违规场景，并等待告警出现"),
    ("bailey demo fix", "恢复一个或全部违规场景，并等待告警消除"),
    ("bailey demo status", "列出违规场景及其状态"),
    ("bailey demo down", "结束演示，并清除被强制终止的演示的残留"),
    ("bailey demo part", "运行演示自身的一个程序"),
    ("bailey status", "显示站点概况"),
    ("bailey hosts", "列出主机及其状态"),
    ("bailey hosts show", "显示一台主机：各项检查及其原因"),
    ("bailey alerts", "列出未解决的告警，最严重的在前"),
    ("bailey traps", "列出设备通过 SNMP 主动发送的陷阱，最新的在前"),
    ("bailey check", "按监控插件的格式报告一台主机"),
    ("bailey enroll", "准入与吊销主机"),
    ("bailey enroll token", "生成令牌，并打印在主机上粘贴执行的一行命令"),
    ("bailey enroll ls", "列出已注册和等待批准的主机"),
    ("bailey enroll approve", "批准等待中的机器使用其主机名；原机器随即失效"),
    ("bailey enroll refuse", "拒绝等待中的机器"),
    ("bailey enroll revoke", "立即吊销主机，并切断其现有会话"),
    ("bailey policy", "检查、编译策略，查看其带来的变化，并下发到主机"),
    ("bailey policy check", "读取策略文件，并指出其中的全部错误"),
    ("bailey policy compile", "打印策略对一台主机生成的规则集"),
    ("bailey policy diff", "显示新策略放行和阻断了哪些连接"),
    ("bailey policy key", "生成主机所听从的安全管理员密钥"),
    ("bailey policy hosts", "列出各主机当前执行的规则集"),
    ("bailey policy push", "为策略签名并分批下发到主机"),
    ("bailey policy confirm", "确认等待确认的主机保留新规则集"),
    ("bailey policy cancel", "停止下发；尚未确认的主机自动恢复原规则集"),
    ("bailey policy pushes", "列出历次下发，或显示其中一次"),
    ("bailey policy rollback", "停止进行中的下发；没有时重新下发之前的策略"),
    ("bailey policy plan", "显示下发策略将带来的变化、将切断的连接，以及可能失去管理的主机"),
    ("bailey policy trace", "跟踪一个连接逐跳经过站点的往返路径"),
    ("bailey policy schema", "打印策略文件的 JSON Schema，供编辑器使用"),
    ("bailey quarantine", "隔离一台主机，仅保留其管理通道，或解除隔离；或关闭交换机端口"),
    ("bailey quarantine port", "经第二人批准后关闭设备端口，到期自动恢复，或解除"),
    ("bailey ruleset", "根据内核导出的内容，查询包过滤规则的作用"),
    ("bailey ruleset trace", "让报文逐条经过过滤规则，给出其结果"),
    ("bailey ruleset matrix", "显示哪些地址可以向哪些地址建立哪些服务的连接"),
    ("bailey ruleset lint", "查找不起作用、相互矛盾或完全放行的规则"),
    ("bailey ruleset diff", "显示一份规则集放行而另一份不放行的报文"),
    ("bailey prove", "证明没有报文违反不变式，或给出一个违反的报文"),
    ("bailey device", "由采集器通过 SNMP 轮询设备：交换机、UPS、小型机、防火墙设备"),
    ("bailey device add", "诊断设备并开始轮询；有问题时以 6 退出"),
    ("bailey device list", "列出设备及其状态"),
    ("bailey device show", "显示一台设备：各项检查，以及接口和利用率"),
    ("bailey device credentials", "更换查询设备的凭据；凭据有误时以 6 退出"),
    ("bailey device remove", "停止轮询设备"),
    ("bailey lines", "列出专线：使用量、丢包、往返时延和可用率"),
    ("bailey snmp", "通过 SNMP 查询设备"),
    ("bailey snmp doctor", "诊断无应答的设备，指出问题所在；有问题时以 6 退出"),
    ("bailey snmp show", "显示设备的全部信息：接口、电源、存储、邻居"),
    ("bailey signin", "打印一次性登录链接，供一个浏览器使用"),
];

/// What each argument is, by the path of its command.
const ARGUMENTS: &[(&str, &str, &str)] = &[
    ("bailey", "output", "输出表格，或 JSON（展开或每行一个）：table、json、ndjson [默认：table]"),
    ("bailey", "lang", "使用英文或中文：en、zh [默认：按系统语言环境]"),
    ("bailey", "state", "采集器的状态目录 [默认：用户数据目录下的 bailey]"),
    ("bailey", "url", "访问另一台机器上采集器的网页地址；须同时给出 --ca-file 和 --token-file"),
    ("bailey", "ca_file", "该采集器的 CA 证书，即其状态目录中的 ca.pem"),
    ("bailey", "token_file", "只读密钥文件，即其状态目录中的 scrape.token"),
    ("bailey", "no_input", "不提问；需要人工确认时以 5 退出"),
    ("bailey", "help", "显示本帮助"),
    ("bailey", "version", "显示版本"),
    ("bailey up", "web", "网页监听地址；端口 0 表示任选空闲端口 [默认：127.0.0.1:7711]"),
    ("bailey up", "agents", "代理连接地址；端口 0 表示任选空闲端口 [默认：127.0.0.1:7710]"),
    ("bailey up", "public_address", "其他主机访问 --agents 时所用的本机地址"),
    ("bailey up", "alertmanager", "接收告警的 Alertmanager；可多次给出"),
    ("bailey up", "zone", "本机所在的安全域 [默认：按本机地址判断，首次启动为 inner]"),
    ("bailey up", "verbose", "向标准错误输出更多日志；给出两次则输出全部"),
    ("bailey demo", "name", "演示的名称，本机同时运行多个演示时使用 [默认：demo]"),
    ("bailey demo", "web", "网页监听地址；端口 0 表示任选空闲端口 [默认：127.0.0.1:7711]"),
    ("bailey demo break", "breach", "违规场景名，见 `bailey demo status`"),
    ("bailey demo break", "no_wait", "不等待告警"),
    ("bailey demo fix", "breach", "违规场景名，all 表示全部"),
    ("bailey demo fix", "no_wait", "不等待告警"),
    ("bailey demo part", "record", "记录进程身份的文件"),
    ("bailey demo part", "line", "程序及其命令行"),
    ("bailey status", "exit_code", "有未解决的严重告警时以 6 退出"),
    ("bailey hosts", "zone", "只列出该安全域的主机"),
    ("bailey hosts show", "host", "主机名"),
    ("bailey alerts", "zone", "只列出该安全域的告警"),
    ("bailey alerts", "exit_code", "有未解决的严重告警时以 6 退出"),
    ("bailey traps", "host", "只列出该主机或设备的"),
    ("bailey traps", "strangers", "只列出不属于任何已知资产的地址发来的"),
    ("bailey traps", "limit", "条数：1 到 200 [默认：50]"),
    ("bailey check", "host", "主机名"),
    ("bailey enroll token", "host", "该主机将使用的名称"),
    ("bailey enroll token", "zone", "该主机所在的安全域"),
    ("bailey enroll token", "ttl", "令牌有效时间，例如 10m 或 2 h [默认：10m]"),
    (
        "bailey enroll token",
        "security_key",
        "主机将听从的公钥，即 `bailey policy key` 生成的 FILE.pub",
    ),
    ("bailey enroll approve", "host", "主机名"),
    ("bailey enroll refuse", "host", "主机名"),
    ("bailey enroll revoke", "host", "主机名"),
    ("bailey enroll revoke", "reason", "原因，记入日志"),
    ("bailey enroll revoke", "yes", "不再询问"),
    ("bailey policy check", "file", "策略文件"),
    ("bailey policy compile", "file", "策略文件"),
    ("bailey policy compile", "host", "主机名"),
    ("bailey policy compile", "zone", "该主机所在的安全域，策略未声明该主机时使用"),
    ("bailey policy compile", "quarantine", "改为打印隔离处置时的规则集"),
    ("bailey policy diff", "old", "现行策略"),
    ("bailey policy diff", "new", "将要替换它的策略"),
    ("bailey policy diff", "host", "只显示以该主机为一端的变化"),
    ("bailey policy diff", "exit_code", "有变化时以 6 退出"),
    ("bailey policy key", "out", "私钥写入此文件，公钥写入同目录的 FILE.pub"),
    ("bailey policy push", "file", "策略文件"),
    ("bailey policy push", "key", "主机所听从的私钥文件"),
    ("bailey policy push", "host", "只下发到该主机；可多次给出"),
    ("bailey policy push", "zone", "只下发到该安全域的主机；可多次给出"),
    (
        "bailey policy push",
        "confirm_within",
        "新规则集须在此时间内确认，否则主机自动恢复原规则集 [默认：120s]",
    ),
    ("bailey policy push", "expires", "超过此时间才连接的主机不再执行 [默认：24h]"),
    ("bailey policy push", "at_once", "所有主机同时下发，而非先一台、再十分之一、最后全部"),
    ("bailey policy push", "hold", "每一批由人员用 `bailey policy confirm` 确认"),
    ("bailey policy push", "no_wait", "只打印下发编号，不等待结束"),
    ("bailey policy push", "yes", "不再询问"),
    ("bailey policy push", "to", "为每台主机在此目录写一个签名命令文件，不发送"),
    (
        "bailey policy push",
        "inventory",
        "主机清单，即 `bailey -o json policy hosts` 的输出；无法访问采集器时使用",
    ),
    ("bailey policy push", "number", "使用此命令序号；主机不执行序号不高于已见序号的命令"),
    ("bailey policy push", "dry_run", "只显示哪些主机将收到什么，不发送；规则集有变化时以 6 退出"),
    ("bailey policy confirm", "id", "下发编号"),
    ("bailey policy cancel", "id", "下发编号"),
    ("bailey policy pushes", "id", "下发编号"),
    ("bailey policy rollback", "key", "主机所听从的私钥文件"),
    (
        "bailey policy rollback",
        "confirm_within",
        "新规则集须在此时间内确认，否则主机自动恢复原规则集 [默认：120s]",
    ),
    ("bailey policy rollback", "expires", "超过此时间才连接的主机不再执行 [默认：24h]"),
    ("bailey policy rollback", "at_once", "所有主机同时下发，而非先一台、再十分之一、最后全部"),
    ("bailey policy rollback", "hold", "每一批由人员用 `bailey policy confirm` 确认"),
    ("bailey policy rollback", "no_wait", "只打印下发编号，不等待结束"),
    ("bailey policy rollback", "yes", "不再询问"),
    ("bailey quarantine", "host", "主机名"),
    ("bailey quarantine", "until", "隔离自动结束的时间，或从现在起的时长"),
    ("bailey quarantine", "reason", "隔离原因，供处理该主机的人员查看"),
    ("bailey quarantine", "release", "解除隔离"),
    ("bailey quarantine", "key", "主机所听从的私钥文件"),
    ("bailey quarantine", "policy", "规定隔离主机可保留哪些通信的策略文件 [默认：最近下发的策略]"),
    ("bailey quarantine", "no_wait", "只打印下发编号，不等待结束"),
    ("bailey quarantine", "yes", "不再询问"),
    ("bailey policy trace", "src", "发起方：地址，或策略中的主机名"),
    (
        "bailey policy trace",
        "dst",
        "目的与服务：10.1.2.10:443/tcp、[fd00::2]:53/udp、mail-1:25/tcp、10.1.2.10/icmp",
    ),
    (
        "bailey policy trace",
        "model",
        "模型文件：列出策略、主机及各主机导出的内容 [默认：采集器所知的内容]",
    ),
    ("bailey quarantine port", "device", "设备名称"),
    ("bailey quarantine port", "port", "端口名称或编号"),
    ("bailey quarantine port", "until", "隔离自动结束的时间，或从现在起的时长"),
    ("bailey quarantine port", "reason", "隔离原因"),
    ("bailey quarantine port", "approve", "批准他人的申请"),
    ("bailey quarantine port", "release", "解除隔离，或撤回申请"),
    ("bailey quarantine port", "dry_run", "仅说明将切断哪些设备"),
    ("bailey quarantine port", "yes", "不再询问"),
    ("bailey policy plan", "file", "策略文件"),
    ("bailey policy plan", "host", "只看该主机；可多次给出"),
    ("bailey policy plan", "against", "与此文件比较，不访问采集器 [默认：最近一次下发的策略]"),
    ("bailey policy plan", "exit_code", "有变化时以 6 退出"),
    ("bailey ruleset trace", "src", "单个报文的来源：10.1.7.20 或 10.1.7.20:40000"),
    (
        "bailey ruleset trace",
        "dst",
        "其目的：10.1.2.10:443/tcp、[fd00:1::5]:53/udp 或 10.1.2.10/icmp",
    ),
    ("bailey ruleset trace", "nft_json", "`nft -j list ruleset` 的输出；- 表示标准输入"),
    ("bailey ruleset trace", "iptables_save", "iptables-save 或 ip6tables-save 的输出；可多次给出"),
    ("bailey ruleset trace", "addresses", "`ip address` 的输出，文本或 JSON"),
    ("bailey ruleset trace", "routes", "`ip route`、`ip -6 route` 或 `ip rule` 的输出；可多次给出"),
    ("bailey ruleset trace", "hook", "报文的走向：input、output、forward"),
    ("bailey ruleset trace", "packets", "多个报文，每行一个 JSON 对象；- 表示标准输入"),
    ("bailey ruleset trace", "iif", "单个报文进入的接口"),
    ("bailey ruleset trace", "oif", "其离开的接口"),
    (
        "bailey ruleset trace",
        "ct_state",
        "连接跟踪对它的判断：new、established、related、invalid、untracked [默认：new]",
    ),
    ("bailey ruleset trace", "tcp_flags", "其 TCP 标志，例如 syn,ack [默认：新连接为 syn]"),
    ("bailey ruleset trace", "icmp_type", "其 ICMP 类型，例如 echo-request 或 3/1"),
    ("bailey ruleset trace", "mac", "其链路层发送者"),
    ("bailey prove", "invariant", "只证明该不变式 [默认：策略中的全部]"),
    ("bailey prove", "model", "不询问采集器，改用该模型文件：列出策略、主机及各主机导出的内容"),
    ("bailey prove", "at", "查询该时刻（RFC 3339）的结论 [默认：现在]"),
    ("bailey ruleset matrix", "nft_json", "`nft -j list ruleset` 的输出；可多次给出"),
    (
        "bailey ruleset matrix",
        "iptables_save",
        "`iptables-save`、`ip6tables-save` 及其 legacy 版本的输出；可多次给出",
    ),
    ("bailey ruleset matrix", "addresses", "`ip addr` 或 `ip -j addr` 的输出"),
    ("bailey ruleset matrix", "routes", "`ip route`、`ip rule` 或 `ip -j route` 的输出"),
    ("bailey ruleset matrix", "hook", "报文的路径：input、output、forward"),
    ("bailey ruleset lint", "nft_json", "`nft -j list ruleset` 的输出；可多次给出"),
    (
        "bailey ruleset lint",
        "iptables_save",
        "`iptables-save`、`ip6tables-save` 及其 legacy 版本的输出；可多次给出",
    ),
    ("bailey ruleset lint", "addresses", "`ip addr` 或 `ip -j addr` 的输出"),
    ("bailey ruleset lint", "routes", "`ip route`、`ip rule` 或 `ip -j route` 的输出"),
    ("bailey ruleset lint", "hook", "只检查该路径上的规则：input、output、forward [默认：全部]"),
    ("bailey ruleset lint", "exit_code", "发现问题时以 6 退出"),
    ("bailey ruleset diff", "old", "原规则集：`nft -j list ruleset` 或 `iptables-save` 的输出"),
    ("bailey ruleset diff", "new", "与之比较的规则集"),
    ("bailey ruleset diff", "addresses", "`ip addr` 或 `ip -j addr` 的输出，两者共用"),
    ("bailey ruleset diff", "routes", "`ip route`、`ip rule` 或 `ip -j route` 的输出，两者共用"),
    ("bailey ruleset diff", "hook", "只比较该路径：input、output、forward [默认：全部]"),
    ("bailey device add", "device", "设备地址；端口不是 161 时一并给出"),
    ("bailey device add", "zone", "该设备所在的安全域"),
    ("bailey device add", "name", "设备名称 [默认：设备自身的名称，或其地址]"),
    (
        "bailey device add",
        "credentials",
        "凭据文件：YAML，含团体名或 SNMPv3 用户；- 表示标准输入 [默认：询问]",
    ),
    ("bailey device list", "zone", "只列出该安全域的设备"),
    ("bailey device show", "device", "设备名称"),
    ("bailey device credentials", "device", "设备名称"),
    (
        "bailey device credentials",
        "credentials",
        "凭据文件：YAML，含团体名或 SNMPv3 用户；- 表示标准输入 [默认：询问]",
    ),
    ("bailey device remove", "device", "设备名称"),
    ("bailey device remove", "yes", "不再询问"),
    ("bailey lines", "zone", "只列出该安全域的专线"),
    ("bailey lines", "device", "只列出该设备的专线"),
    ("bailey snmp doctor", "device", "设备地址；端口不是 161 时一并给出"),
    ("bailey snmp doctor", "credentials", "凭据文件：YAML，含团体名或 SNMPv3 用户"),
    ("bailey snmp show", "device", "设备地址；端口不是 161 时一并给出"),
    ("bailey snmp show", "credentials", "凭据文件：YAML，含团体名或 SNMPv3 用户"),
];

/// What a value must be, by the name under which usage shows it.
const WANTED: &[(&str, &str)] = &[
    ("<HOST>", "主机名由 a-z、0-9、-、_ 和 . 组成，各段以字母或数字开头和结尾，最长 253 个字符"),
    ("<ZONE>", "安全域名由 a-z、0-9、- 和 _ 组成，以字母或数字开头和结尾，最长 63 个字符"),
    ("<SRC>", "来源应写作 10.1.7.20 或 10.1.7.20:40000"),
    ("<DST>", "目的应写作 10.1.2.10:443/tcp"),
    ("<HOOK>", "走向应为 input、output 或 forward"),
    ("<DEVICE>", "设备名由 a-z、0-9、-、_ 和 . 组成，各段以字母或数字开头和结尾，最长 253 个字符"),
    ("<NAME>", "接口名最长 15 个字符"),
    ("<PORT>", "端口应写作 GE0/0/7 或其编号"),
    ("<STATE>", "状态应为 new、established、related、invalid 或 untracked"),
    ("<FLAGS>", "TCP 标志应写作 syn,ack"),
    ("<TYPE>", "ICMP 类型应写作 echo-request 或 3/1"),
    ("<MAC>", "硬件地址应写作 02:00:00:00:00:01"),
    ("<TIME>", "时间应写作 10m、30 s 或 2 h"),
    ("<AT>", "时刻应写作 2026-11-26T08:00:00+08:00"),
    ("<DEMO>", "演示的名称由小写字母和数字组成，以字母开头，最长 16 个字符"),
    ("<WHEN>", "时间应写作 2026-11-26T08:00:00+08:00 或 4 h"),
    ("<N>", "序号为 1 以上的整数"),
    ("<COUNT>", "数量为 1 至 200 的整数"),
    ("<ID>", "编号为整数，见 `bailey policy pushes`"),
    ("<URL>", "地址应写作 http://127.0.0.1:9093"),
    ("<HOST:PORT>", "地址应写作 10.1.0.1:7710"),
    ("<ADDR>", "地址应写作 127.0.0.1:7711 或 [::]:7711"),
    ("<ADDRESS[:PORT]>", "设备应写作 10.1.0.2、10.1.0.2:161、core-1:161 或 [fd00::2]:161"),
];

const AFTER: &str = "\
退出码：
  0 完成   1 出错   2 命令行有误   3 不存在   4 无权限
  5 需要人工确认   6 有未解决的严重告警或将发生变化（使用 --exit-code 或 --dry-run 时）
  7 采集器无应答，或主机未连接
  5 需要人工确认   6 有未解决的严重告警（使用 --exit-code 时），或设备有问题   7 采集器无应答
  `bailey check` 使用监控插件的退出码：0 OK，1 WARNING，2 CRITICAL，3 UNKNOWN";

const TEMPLATE: &str = "{about-with-newline}\n用法：{usage}\n\n{all-args}{after-help}";

/// The command line in a language.
#[must_use]
pub fn spoken(command: Command, lang: Lang) -> Command {
    match lang {
        Lang::En => command,
        Lang::Zh => {
            let path = command.get_name().to_owned();
            chinese(command, &path).after_help(AFTER)
        }
    }
}

fn chinese(command: Command, path: &str) -> Command {
    let names: Vec<String> =
        command.get_subcommands().map(|under| under.get_name().to_owned()).collect();
    let mut command = command
        .help_template(TEMPLATE)
        .subcommand_help_heading("命令")
        .subcommand_value_name("命令")
        .mut_args(|arg| chinese_argument(arg, path));
    if let Some((_, about)) = COMMANDS.iter().find(|(of, _)| *of == path) {
        command = command.about(*about);
    }
    for name in names {
        let under = format!("{path} {name}");
        command = command.mut_subcommand(name, |command| chinese(command, &under));
    }
    command
}

fn chinese_argument(arg: Arg, path: &str) -> Arg {
    let heading = match arg.get_help_heading() {
        Some(GLOBAL) => "全局选项",
        Some(_) | None if arg.is_positional() => "参数",
        Some(_) | None => "选项",
    };
    let help = ARGUMENTS
        .iter()
        .find(|(of, id, _)| *of == path && arg.get_id() == id)
        .map(|(_, _, help)| *help);
    let arg = arg.help_heading(heading);
    match help {
        Some(help) => arg.help(help),
        None => arg,
    }
}

/// Help or version as clap gives them, in a language.
#[must_use]
pub fn shown(answer: &clap::Error, lang: Lang) -> String {
    let text = answer.render().to_string();
    match lang {
        Lang::En => text,
        Lang::Zh => in_chinese_usage(&text),
    }
}

/// A usage line without the words that clap does not let translate.
fn in_chinese_usage(text: &str) -> String {
    text.replace("Usage: ", "用法：").replace("[OPTIONS]", "[选项]")
}

/// What is wrong with a command line, in a language.
#[must_use]
pub fn wrong(error: &clap::Error, lang: Lang) -> String {
    match lang {
        Lang::En => error.render().to_string(),
        Lang::Zh => wrong_in_chinese(error).unwrap_or_else(|| error.render().to_string()),
    }
}

fn wrong_in_chinese(error: &clap::Error) -> Option<String> {
    let of = |kind| error.get(kind).map(listed);
    let invalid = of(ContextKind::InvalidArg).unwrap_or_default();
    let what = match error.kind() {
        ErrorKind::UnknownArgument => format!("未知的参数 {invalid}"),
        ErrorKind::InvalidSubcommand => {
            format!("未知的命令 {}", of(ContextKind::InvalidSubcommand)?)
        }
        ErrorKind::MissingRequiredArgument => format!("缺少必需的参数：{invalid}"),
        ErrorKind::MissingSubcommand => "缺少子命令".to_owned(),
        ErrorKind::ArgumentConflict => {
            format!("参数 {invalid} 不能与 {} 同时使用", of(ContextKind::PriorArg)?)
        }
        ErrorKind::InvalidValue => match of(ContextKind::InvalidValue) {
            Some(value) if !value.is_empty() => format!("参数 {invalid} 的值 {value} 无效"),
            Some(_) | None => format!("参数 {invalid} 缺少值"),
        },
        ErrorKind::ValueValidation => {
            let value = of(ContextKind::InvalidValue)?;
            let wanted = WANTED.iter().find(|(name, _)| invalid.ends_with(name));
            let wanted = wanted.map(|(_, wanted)| format!("：{wanted}")).unwrap_or_default();
            format!("参数 {invalid} 的值 {value} 无效{wanted}")
        }
        _ => return None,
    };
    let valid = of(ContextKind::ValidValue).filter(|values| !values.is_empty());
    let hint =
        [ContextKind::SuggestedArg, ContextKind::SuggestedSubcommand, ContextKind::SuggestedValue]
            .into_iter()
            .find_map(of)
            .filter(|hint| !hint.is_empty());
    let usage = of(ContextKind::Usage).map(|usage| in_chinese_usage(&usage));
    let parts = [
        Some(format!("错误：{what}\n")),
        valid.map(|valid| format!("  可用的值：{valid}\n")),
        hint.map(|hint| format!("  提示：是否想输入 {hint}？\n")),
        usage.map(|usage| format!("{usage}\n")),
        Some("更多信息请使用 --help。\n".to_owned()),
    ];
    Some(parts.into_iter().flatten().collect::<Vec<_>>().join("\n"))
}

fn listed(value: &ContextValue) -> String {
    match value {
        ContextValue::Strings(many) => many.join("、"),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;
    use crate::arguments::Arguments;

    fn has_chinese(text: &str) -> bool {
        text.chars().any(|c| ('\u{4e00}'..='\u{9fff}').contains(&c))
    }

    fn walk(command: &Command, path: &str, visit: &mut impl FnMut(&Command, &str)) {
        visit(command, path);
        for under in command.get_subcommands() {
            walk(under, &format!("{path} {}", under.get_name()), visit);
        }
    }

    #[test]
    fn no_command_and_no_argument_lacks_its_chinese_help() {
        let command = spoken(Arguments::command(), Lang::Zh);
        let mut seen = 0;
        walk(&command, "bailey", &mut |command, path| {
            let about = command.get_about().map(ToString::to_string).unwrap_or_default();
            assert!(has_chinese(&about), "{path}: {about}");
            for arg in command.get_arguments() {
                let help = arg.get_help().map(ToString::to_string).unwrap_or_default();
                assert!(has_chinese(&help), "{path} {}: {help}", arg.get_id());
                assert!(arg.get_help_heading().is_some_and(has_chinese), "{path} {}", arg.get_id());
                seen += 1;
            }
        });
        assert_eq!(seen, ARGUMENTS.len(), "the catalogue names an argument that does not exist");
    }

    #[test]
    fn no_command_and_no_argument_lacks_its_english_help() {
        walk(&spoken(Arguments::command(), Lang::En), "bailey", &mut |command, path| {
            assert!(command.get_about().is_some(), "{path}");
            for arg in command.get_arguments() {
                let help = arg.get_help().map(ToString::to_string).unwrap_or_default();
                assert!(!help.is_empty() && !has_chinese(&help), "{path} {}", arg.get_id());
            }
        });
    }

    #[test]
    fn every_name_of_the_catalogue_exists() {
        let mut paths = Vec::new();
        walk(&Arguments::command(), "bailey", &mut |_, path| paths.push(path.to_owned()));
        for (path, _) in COMMANDS {
            assert!(paths.iter().any(|known| known == path), "{path}");
        }
        assert_eq!(paths.len(), COMMANDS.len());
    }

    #[test]
    fn a_value_that_is_refused_is_explained_in_chinese() {
        walk(&Arguments::command(), "bailey", &mut |command, path| {
            for arg in command.get_arguments().filter(|arg| arg.get_action().takes_values()) {
                let name = arg
                    .get_value_names()
                    .and_then(|names| names.first())
                    .map(clap::builder::Str::as_str);
                let free = [
                    "DIR", "FILE", "OLD", "NEW", "TEXT", "FORMAT", "LANGUAGE", "BREACH", "LINE",
                    "A", "B", "INV",
                ];
                let name = name.unwrap_or_default();
                let wanted = format!("<{name}>");
                let explained = WANTED.iter().any(|(known, _)| *known == wanted);
                assert!(explained || free.contains(&name), "{path} {}", arg.get_id());
            }
        });
    }

    #[test]
    fn the_command_line_is_well_formed_in_both_languages() {
        spoken(Arguments::command(), Lang::En).debug_assert();
        spoken(Arguments::command(), Lang::Zh).debug_assert();
    }
}
