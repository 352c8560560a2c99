//! What the demo says once its site runs: where the page is, what to look at, and what to break.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use bailey_rules::text::Lang;
use serde_json::{Value, json};

use super::super::up::welcome::quoted;
use super::breach::BREACHES;
use crate::client::SCHEMA;
use crate::screen::{Screen, Table};

/// Everything there is to say.
#[derive(Debug, Clone)]
pub(super) struct Welcome {
    /// How this program was called.
    pub(super) program: String,
    /// The option that names this demo, or nothing.
    pub(super) option: String,
    /// Where the page is.
    pub(super) web: SocketAddr,
    /// The link that signs in once.
    pub(super) signin: String,
    /// The demo's folder.
    pub(super) folder: PathBuf,
    /// What the names of its namespaces begin with.
    pub(super) prefix: String,
    /// How many hosts there are.
    pub(super) hosts: usize,
    /// Whether all of them are as they should be.
    pub(super) calm: bool,
    /// How long all this took.
    pub(super) took: Duration,
}

/// The site as a drawing; the words in it are names, which no language changes.
const MAP: &str = concat!(
    "  inner 内网 10.1.0.0/16        exchange 交换区          outer 外网 172.20.0.0/16\n",
    "  admin-in-1  dns-in            ex-back  ex-front        dns-out  www-1  proxy\n",
    "  mail-in-1  oa-web                     |                           |\n",
    "  oracle-fin                            |                           |\n",
    "          |                             |                           |\n",
    "          +----------- fw-in -----------+---------- fw-out ---------+\n",
    "                      /  |  \\                       |  \\\n",
    "                tax-1   |   county-1                |   Internet 互联网\n",
    "                         +------- collector --------+\n",
    "                            machine-rooms 机房管理网\n",
);

impl Welcome {
    /// For people.
    pub(super) fn in_words(&self, screen: Screen) -> String {
        let (hosts, took) = (self.hosts, self.took.as_secs());
        let calm = if self.calm {
            screen.word("every host is OK", "全部主机正常")
        } else {
            screen.word("not every host is OK yet: see the page", "尚有主机未恢复正常，详见页面")
        };
        let first = match screen.lang {
            Lang::En => format!("The reference site runs: {hosts} hosts after {took} s, {calm}."),
            Lang::Zh => format!("参考站点已就绪：{hosts} 台主机，用时 {took} 秒，{calm}。"),
        };
        let mut places = Table::indented(2);
        let mut place = |en, zh, what: &str| places.row([screen.word(en, zh).into(), what.into()]);
        place("Page", "页面", &format!("https://{}/", self.web));
        place("Sign in", "登录", &self.signin);
        place(
            "",
            "",
            screen.word(
                "(works once, within 15 minutes; the browser will not know the demo's own CA)",
                "（仅能使用一次，15 分钟内有效；浏览器会提示证书由演示自带的 CA 签发）",
            ),
        );
        place("Hosts", "主机", &self.command("hosts"));
        place(
            "Rules",
            "规则",
            &format!("ip netns exec {}fw-in nft list table inet bailey", self.prefix),
        );
        place("Files", "文件", &self.folder.display().to_string());

        let mut menu = Table::indented(2);
        for breach in BREACHES {
            menu.row([breach.name.into(), screen.say(&(breach.what)()).as_str().into()]);
        }
        let program = quoted(&self.program);
        let option = &self.option;
        let verbs = format!("{program} demo{option}");
        let how = screen.word(
            "Break something, from another terminal, and watch the alert come and go:",
            "在另一个终端触发违规场景，观察告警出现与消除：",
        );
        let last = screen.word(
            "Ctrl-C ends the demo and takes everything away.",
            "按 Ctrl-C 结束演示并清理全部内容。",
        );
        format!(
            "{first}\n\n{MAP}\n{}\n{how}\n\n{}\n  {verbs} break dual-home\n  {verbs} fix all\n  \
             {verbs} status\n\n{last}\n",
            places.render(),
            menu.render(),
        )
    }

    /// A command line that asks the demo's collector.
    fn command(&self, words: &str) -> String {
        let state = quoted(&self.folder.join("collector").display().to_string());
        format!("{} --state {state} {words}", quoted(&self.program))
    }

    /// For programs.
    pub(super) fn in_json(&self) -> Value {
        json!({
            "schema": SCHEMA,
            "web": format!("https://{}/", self.web),
            "signin": self.signin,
            "folder": self.folder,
            "namespaces": self.prefix,
            "hosts": self.hosts,
            "all_ok": self.calm,
            "seconds": self.took.as_secs_f64(),
            "breaches": BREACHES.iter().map(|breach| breach.name).collect::<Vec<_>>(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn welcome() -> Welcome {
        Welcome {
            program: "target/release/bailey".into(),
            option: String::new(),
            web: "127.0.0.1:7711".parse().unwrap(),
            signin: "https://127.0.0.1:7711/signin?code=c0de".into(),
            folder: "/run/bailey-demo".into(),
            prefix: "bailey-demo-".into(),
            hosts: 15,
            calm: true,
            took: Duration::from_secs(21),
        }
    }

    #[test]
    fn says_where_the_page_is_and_what_to_break() {
        insta::assert_snapshot!(welcome().in_words(Screen { lang: Lang::En, colour: false }));
    }

    #[test]
    fn says_so_in_chinese_too() {
        let other = Welcome { option: " --name second".into(), calm: false, ..welcome() };
        insta::assert_snapshot!(other.in_words(Screen { lang: Lang::Zh, colour: false }));
    }
}
