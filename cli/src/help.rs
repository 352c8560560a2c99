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
    ("bailey status", "显示站点概况"),
    ("bailey hosts", "列出主机及其状态"),
    ("bailey hosts show", "显示一台主机：各项检查及其原因"),
    ("bailey alerts", "列出未解决的告警，最严重的在前"),
    ("bailey check", "按监控插件的格式报告一台主机"),
    ("bailey enroll", "准入与吊销主机"),
    ("bailey enroll token", "生成令牌，并打印在主机上粘贴执行的一行命令"),
    ("bailey enroll ls", "列出已注册和等待批准的主机"),
    ("bailey enroll approve", "批准等待中的机器使用其主机名；原机器随即失效"),
    ("bailey enroll refuse", "拒绝等待中的机器"),
    ("bailey enroll revoke", "立即吊销主机，并切断其现有会话"),
    ("bailey policy", "检查、编译策略，并查看其带来的变化"),
    ("bailey policy check", "读取策略文件，并指出其中的全部错误"),
    ("bailey policy compile", "打印策略对一台主机生成的规则集"),
    ("bailey policy diff", "显示新策略放行和阻断了哪些连接"),
    ("bailey snmp", "通过 SNMP 查询设备"),
    ("bailey snmp doctor", "诊断无应答的设备，指出问题所在；有问题时以 6 退出"),
    ("bailey snmp show", "显示设备的全部信息：接口、电源、存储、邻居"),
    ("bailey signin", "打印一次性登录链接，供一个浏览器使用"),
];

/// What each argument is, by the path of its command.
const ARGUMENTS: &[(&str, &str, &str)] = &[
    ("bailey", "output", "输出表格，或采集器返回的 JSON：table、json [默认：table]"),
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
    ("bailey status", "exit_code", "有未解决的严重告警时以 6 退出"),
    ("bailey hosts", "zone", "只列出该安全域的主机"),
    ("bailey hosts show", "host", "主机名"),
    ("bailey alerts", "zone", "只列出该安全域的告警"),
    ("bailey alerts", "exit_code", "有未解决的严重告警时以 6 退出"),
    ("bailey check", "host", "主机名"),
    ("bailey enroll token", "host", "该主机将使用的名称"),
    ("bailey enroll token", "zone", "该主机所在的安全域"),
    ("bailey enroll token", "ttl", "令牌有效时间，例如 10m 或 2 h [默认：10m]"),
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
    ("bailey snmp doctor", "device", "设备地址；端口不是 161 时一并给出"),
    ("bailey snmp doctor", "credentials", "凭据文件：YAML，含团体名或 SNMPv3 用户"),
    ("bailey snmp show", "device", "设备地址；端口不是 161 时一并给出"),
    ("bailey snmp show", "credentials", "凭据文件：YAML，含团体名或 SNMPv3 用户"),
];

/// What a value must be, by the name under which usage shows it.
const WANTED: &[(&str, &str)] = &[
    ("<HOST>", "主机名由 a-z、0-9、-、_ 和 . 组成，各段以字母或数字开头和结尾，最长 253 个字符"),
    ("<ZONE>", "安全域名由 a-z、0-9、- 和 _ 组成，以字母或数字开头和结尾，最长 63 个字符"),
    ("<TIME>", "时间应写作 10m、30 s 或 2 h"),
    ("<URL>", "地址应写作 http://127.0.0.1:9093"),
    ("<HOST:PORT>", "地址应写作 10.1.0.1:7710"),
    ("<ADDR>", "地址应写作 127.0.0.1:7711 或 [::]:7711"),
    ("<ADDRESS[:PORT]>", "设备应写作 10.1.0.2、10.1.0.2:161、core-1:161 或 [fd00::2]:161"),
];

const AFTER: &str = "\
退出码：
  0 完成   1 出错   2 命令行有误   3 不存在   4 无权限
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
                let free = ["DIR", "FILE", "OLD", "NEW", "TEXT", "FORMAT", "LANGUAGE"];
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
