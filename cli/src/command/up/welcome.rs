//! What `bailey up` says once everything runs: where the page is, and what to do next.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use bailey_rules::check::State;
use bailey_rules::name::{HostName, ZoneName};
use bailey_rules::text::{Lang, Text};
use serde_json::{Value, json};

use crate::client::SCHEMA;
use crate::screen::{Cell, Screen, Table};

/// How to point Prometheus at a collector: the page of the documentation, whose one block is what
/// people copy.
const PROMETHEUS: &str = include_str!("../../../../docs/prometheus.md");

/// Everything there is to say.
#[derive(Debug, Clone)]
pub(super) struct Welcome {
    /// How this program was called.
    pub(super) program: String,
    /// Where the page is served.
    pub(super) web: SocketAddr,
    /// Where agents connect.
    pub(super) agents: SocketAddr,
    /// Whether hosts elsewhere were given an address to connect to.
    pub(super) public: bool,
    /// The link that signs in once.
    pub(super) signin: String,
    /// The state folder.
    pub(super) state: PathBuf,
    /// Whether the other commands find that folder by themselves.
    pub(super) state_is_default: bool,
    /// This machine's name.
    pub(super) host: HostName,
    /// Its zone.
    pub(super) zone: ZoneName,
    /// The first verdict on it, where there is one.
    pub(super) verdict: Option<State>,
    /// Why this machine is not watched.
    pub(super) unwatched: Option<Text>,
}

impl Welcome {
    /// For people, as lines.
    pub(super) fn in_words(&self, screen: Screen) -> String {
        let mut table = Table::indented(2);
        let mut line = |en, zh, cell: Cell| table.row([screen.word(en, zh).into(), cell]);
        line("Page", "页面", format!("https://{}/", shown(self.web)).into());
        line("Sign in", "登录", self.signin.as_str().into());
        let once = "(works once, within 15 minutes; `bailey signin` makes another)";
        let once_zh = "（仅能使用一次，15 分钟内有效；可用 `bailey signin` 再次生成）";
        line("", "", screen.word(once, once_zh).into());
        line("This host", "本机", Cell::made(self.host_in_words(screen)));
        line("State", "状态目录", self.state.display().to_string().into());
        let policy = self.state.join("policy.yaml").display().to_string();
        line("Policy", "策略文件", policy.into());
        line("Add a host", "添加主机", self.enroll().into());
        if !self.is_reachable() {
            let port = self.agents.port();
            let how = format!("--agents 0.0.0.0:{port} --public-address ADDRESS:{port}");
            let how = match screen.lang {
                Lang::En => format!("(hosts elsewhere cannot reach this one: restart with {how})"),
                Lang::Zh => {
                    format!("（其他主机目前无法连接：请以 {how} 重新启动，ADDRESS 为本机地址）")
                }
            };
            line("", "", how.into());
        }
        let prometheus = screen.word("For prometheus.yml:", "写入 prometheus.yml：");
        let first = match self.unwatched {
            None => screen.word("Bailey watches this machine.", "Bailey 正在监视本机。"),
            Some(_) => screen.word("Bailey runs.", "Bailey 正在运行。"),
        };
        let last = screen.word("Ctrl-C stops it.", "按 Ctrl-C 停止。");
        let lines = self.prometheus();
        format!("{first}\n\n{}\n{prometheus}\n\n{lines}\n{last}\n", table.render())
    }

    /// For programs.
    pub(super) fn in_json(&self) -> Value {
        json!({
            "schema": SCHEMA,
            "web": format!("https://{}/", shown(self.web)),
            "agents": self.agents.to_string(),
            "signin": self.signin,
            "state": self.state,
            "host": self.host,
            "zone": self.zone,
            "verdict": self.verdict,
            "unwatched": self.unwatched,
        })
    }

    /// The lines of the documentation with its blanks filled in.
    fn prometheus(&self) -> String {
        let ca = self.state.join("ca.pem").display().to_string();
        let fenced = PROMETHEUS.split("```").nth(1).unwrap_or_default();
        let lines = fenced.strip_prefix("yaml\n").unwrap_or(fenced);
        let web = shown(self.web).to_string();
        lines.replace("COLLECTOR:7711", &web).replace("CA_FILE", &yaml_word(&ca))
    }

    fn host_in_words(&self, screen: Screen) -> String {
        let verdict = match self.verdict {
            Some(state) => screen.state(state).shown(),
            None => screen.word("not judged yet", "尚无判断").to_owned(),
        };
        let verdict = match &self.unwatched {
            Some(why) => format!("{}: {}", screen.word("not watched", "未监视"), screen.say(why)),
            None => verdict,
        };
        format!("{}  {}  {verdict}", self.host, self.zone)
    }

    fn enroll(&self) -> String {
        let program = quoted(&self.program);
        let state = if self.state_is_default {
            String::new()
        } else {
            format!(" --state {}", quoted(&self.state.display().to_string()))
        };
        format!("{program}{state} enroll token --host NAME --zone {}", self.zone)
    }

    fn is_reachable(&self) -> bool {
        !self.agents.ip().is_loopback() && (self.public || !self.agents.ip().is_unspecified())
    }
}

/// The address that people type: a wildcard is this machine.
fn shown(mut address: SocketAddr) -> SocketAddr {
    if address.ip().is_unspecified() {
        address.set_ip(match address.ip() {
            IpAddr::V4(_) => std::net::Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(_) => std::net::Ipv6Addr::LOCALHOST.into(),
        });
    }
    address
}

/// `text` as one value in YAML, also within braces (YAML 1.2.2, 7.3.2).
fn yaml_word(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-".contains(c);
    if text.starts_with('/') && text.chars().all(plain) {
        return text.to_owned();
    }
    format!("'{}'", text.replace('\'', "''"))
}

/// `text` as one word of a shell (POSIX.1-2017, Shell Command Language 2.2).
pub(in crate::command) fn quoted(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+:@%".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        return text.to_owned();
    }
    format!("'{}'", text.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn welcome() -> Welcome {
        Welcome {
            program: "bailey".into(),
            web: "127.0.0.1:7711".parse().unwrap(),
            agents: "127.0.0.1:7710".parse().unwrap(),
            public: false,
            signin: "https://127.0.0.1:7711/signin?code=c0de".into(),
            state: "/home/li/.local/share/bailey".into(),
            state_is_default: true,
            host: "oa-17".parse().unwrap(),
            zone: "inner".parse().unwrap(),
            verdict: Some(State::Warning),
            unwatched: None,
        }
    }

    #[test]
    fn says_where_the_page_is_and_what_to_do_next() {
        let screen = Screen { lang: Lang::En, colour: false };
        insta::assert_snapshot!(welcome().in_words(screen));
    }

    #[test]
    fn says_so_in_chinese_too() {
        let screen = Screen { lang: Lang::Zh, colour: false };
        let reachable = Welcome {
            program: "target/release/bailey".into(),
            web: "0.0.0.0:7711".parse().unwrap(),
            agents: "0.0.0.0:7710".parse().unwrap(),
            public: true,
            state: "/srv/站点 a".into(),
            state_is_default: false,
            verdict: None,
            unwatched: Some(Text::new("it was revoked", "已被吊销")),
            ..welcome()
        };
        insta::assert_snapshot!(reachable.in_words(screen));
    }

    #[test]
    fn no_blank_of_the_documentation_is_left() {
        let lines = welcome().prometheus();
        assert!(lines.starts_with("scrape_configs:\n"), "{lines}");
        assert!(lines.contains("https://127.0.0.1:7711/sd"), "{lines}");
        assert!(!lines.contains("COLLECTOR") && !lines.contains("CA_FILE"), "{lines}");
        assert_eq!(lines.lines().count(), 5);
        assert_eq!(yaml_word("/srv/it's {here}"), "'/srv/it''s {here}'");
    }

    #[test]
    fn a_path_is_one_word_of_a_shell() {
        for (text, word) in [
            ("/srv/bailey", "/srv/bailey"),
            ("a b", "'a b'"),
            ("it's", r"'it'\''s'"),
            ("$(rm)", "'$(rm)'"),
            ("", "''"),
        ] {
            assert_eq!(quoted(text), word);
        }
    }
}
