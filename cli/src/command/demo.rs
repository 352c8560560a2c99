//! `bailey demo`: the reference site in network namespaces of this machine, with real agents, a real
//! collector and real rules in the kernel, and a menu of breaches to cause and undo.
//!
//! One process runs it and is found by its lock ([`folder`]); what it starts are processes of their
//! own ([`process`], [`part`]) on the machines of [`site`]. The other commands act on the same
//! namespaces from outside. Whatever a killed one leaves is found by its names and taken away.

mod breach;
mod folder;
mod hosts;
mod name;
mod page;
mod part;
mod process;
mod site;
mod status;
mod welcome;

pub use self::name::DemoName;

use std::io::Write as _;
use std::net::{SocketAddr, TcpListener};
use std::time::{Duration, Instant};

use bailey_collector::poll::snmp::hexadecimal;
use bailey_rules::check::State;
use bailey_wire::order::SigningKey;
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tracing::warn;

use self::breach::{BREACHES, Breach, Scene};
use self::folder::{Folder, Held, ITSELF, Running};
use self::process::{Identity, Part};
use self::site::{COLLECTOR, EXPECTATIONS, POLICY, Site};
use self::welcome::Welcome;
use super::json as written;
use super::up::{Stop, log_to_stderr};
use crate::arguments::{Demo, DemoCommand, Format, Global};
use crate::client::Door;
use crate::exit::{Done, Exit, Failure};
use crate::key_file;
use crate::netns::run as run_program;
use crate::screen::Screen;

/// Where the page is when nobody says otherwise.
const WEB: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 7711);

/// What every command of the demo needs on this machine.
const PROGRAMS: [(&str, &str); 2] = [("ip", "iproute2"), ("nft", "nftables")];

/// How long the collector may take until it answers.
const COLLECTOR_LIMIT: Duration = Duration::from_secs(20);

/// How long to wait until every host is judged to be as it should be.
const CALM_LIMIT: Duration = Duration::from_secs(30);

/// How long an alert may take to come, and to go.
const ALERT_LIMIT: Duration = Duration::from_secs(90);

/// How long a demo that was asked to stop may take.
const DOWN_LIMIT: Duration = Duration::from_secs(30);

/// How long to wait between two looks.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// How often the demo looks whether its parts run.
const BEAT: Duration = Duration::from_secs(1);

/// The word that stands for every open breach.
const ALL: &str = "all";

/// Does one of the verbs of the demo.
pub(super) fn run(demo: &Demo, global: &Global, screen: Screen) -> Result<Done, Failure> {
    if let Some(DemoCommand::Part(part)) = &demo.command {
        return part::run(part);
    }
    let elsewhere = global.url.is_some() || global.state.is_some();
    if elsewhere {
        return Err(Failure::new(
            Exit::Usage,
            "a demo has a state folder of its own, on this machine: leave --state and --url out",
            "演示使用本机上独立的状态目录：请去掉 --state 和 --url",
        ));
    }
    possible()?;
    let at = Place::of(&demo.name, global.output, screen);
    match &demo.command {
        None => at.up(demo.web.unwrap_or(WEB)),
        Some(DemoCommand::Break(one)) => at.cause(&one.breach, one.no_wait),
        Some(DemoCommand::Fix(one)) => at.fix(&one.breach, one.no_wait),
        Some(DemoCommand::Status) => at.status(),
        Some(DemoCommand::Down) => at.down(),
        Some(DemoCommand::Part(_)) => unreachable!("done above"),
    }
}

/// Whether this machine and this user can do it.
fn possible() -> Result<(), Failure> {
    if !nix::unistd::geteuid().is_root() {
        return Err(Failure::new(
            Exit::Denied,
            "the demo makes network namespaces, which only root may: run it with sudo. Nothing else of \
             this machine is changed",
            "演示需要创建网络命名空间，仅 root 可以：请用 sudo 运行。本机其他设置不受影响",
        ));
    }
    for (program, package) in PROGRAMS {
        if run_program(std::process::Command::new(program).arg("-V")).is_err() {
            return Err(Failure::error(
                format!("the demo needs `{program}`; install the package {package}"),
                format!("演示需要 `{program}` 命令；请安装软件包 {package}"),
            ));
        }
    }
    Ok(())
}

fn failed(error: &dyn std::fmt::Display) -> Failure {
    Failure::error(format!("the demo failed: {error}"), format!("演示出错：{error}"))
}

fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|e| Failure::error(format!("cannot start: {e}"), format!("无法启动：{e}")))
}

/// Says something to a person without it becoming part of the output.
fn talk(screen: Screen, en: &str, zh: &str) {
    // Nobody may listen; nothing depends on it.
    let _ = writeln!(std::io::stderr(), "{}", screen.word(en, zh));
}

/// One demo, and how to speak of it.
struct Place {
    name: DemoName,
    site: Site,
    folder: Folder,
    format: Format,
    screen: Screen,
}

impl Place {
    fn of(name: &DemoName, format: Format, screen: Screen) -> Self {
        let (site, folder) = (Site::of(name), Folder::of(name));
        Self { name: name.clone(), site, folder, format, screen }
    }

    fn door(&self) -> Door {
        Door::in_state(&self.folder.collector())
    }

    /// Builds the site, and keeps it until it is told to stop.
    fn up(&self, web: SocketAddr) -> Result<Done, Failure> {
        let began = Instant::now();
        let Some(held) = self.folder.hold().map_err(|error| failed(&format!("{error:#}")))? else {
            let option = self.name.option();
            return Err(Failure::error(
                format!(
                    "this demo runs already: `bailey demo{option} status` shows it, \
                     `bailey demo{option} down` ends it"
                ),
                format!(
                    "该演示已在运行：用 `bailey demo{option} status` 查看，\
                     用 `bailey demo{option} down` 结束"
                ),
            ));
        };
        super::up::ports::try_to_listen("--web", web)?;
        let listener = TcpListener::bind(web).map_err(|error| failed(&error))?;
        let web = listener.local_addr().map_err(|error| failed(&error))?;
        log_to_stderr(0);
        let mut parts = Vec::new();
        let outcome = runtime()?.block_on(async {
            let mut stop = Stop::new()?;
            tokio::select! {
                ran = self.build(listener, web, began, &mut parts) => ran?,
                () = stop.asked() => return Ok(()),
            }
            self.keep(&mut parts, &mut stop).await;
            Ok(())
        });
        self.clean(&held)?;
        outcome.map(|()| Done::said(""))
    }

    async fn build(
        &self,
        listener: TcpListener,
        web: SocketAddr,
        began: Instant,
        parts: &mut Vec<Part>,
    ) -> Result<(), Failure> {
        let wrong = |error: anyhow::Error| failed(&format!("{error:#}"));
        let (processes, namespaces) = self.folder.sweep().map_err(wrong)?;
        if processes + namespaces > 0 {
            self.talk(
                &format!(
                    "removed what an earlier demo left: {processes} processes, {namespaces} namespaces"
                ),
                &format!("已清除先前演示的残留：{processes} 个进程、{namespaces} 个命名空间"),
            );
        }
        self.folder.prepare().map_err(wrong)?;
        let own = Identity::own().and_then(|own| own.keep(&self.folder.process(ITSELF)));
        own.map_err(|error| failed(&error))?;
        self.talk("wiring the site ...", "正在搭建站点网络……");
        self.site.build().map_err(wrong)?;

        self.talk("starting the collector ...", "正在启动采集器……");
        let collector = self.folder.collector();
        let write = |path: &std::path::Path, text: &str| {
            std::fs::write(path, text).map_err(|e| failed(&format!("{}: {e}", path.display())))
        };
        write(&collector.join("policy.yaml"), POLICY)?;
        write(&collector.join("rules/demo.yaml"), &expectations())?;
        let key = SigningKey::generate().map_err(|error| failed(&error))?;
        key_file::write(&self.folder.key(), &key)?;
        let settings = self.folder.collector_settings();
        write(&settings, &hosts::collector_settings(&self.folder, web))?;
        let line = vec!["collector".to_owned(), settings.display().to_string()];
        let inside = self.site.netns(COLLECTOR);
        let mut part =
            Part::start("collector", inside.clone(), line, self.folder.path()).map_err(wrong)?;
        self.answering(&mut part).await?;
        parts.push(part);
        page::carry(listener, &inside).map_err(wrong)?;

        self.talk("enrolling the hosts ...", "正在注册各主机……");
        let (door, hosts) = (self.door(), self.site.watched().len());
        let public = key.verifying_key().to_pem();
        hosts::start(&self.site, &self.folder, &door, &public, parts).await.map_err(wrong)?;
        self.talk("pushing the policy ...", "正在下发策略……");
        hosts::push(&self.folder, hosts, &door).await.map_err(wrong)?;
        self.talk("waiting for the first verdicts ...", "正在等待首次判断……");
        let calm = self.calm(hosts).await?;
        self.folder.keep(&Running { web }).map_err(wrong)?;

        let once = door.ask("/api/v1/signin", Some(&json!({}))).await?;
        let welcome = Welcome {
            program: std::env::args().next().unwrap_or_else(|| "bailey".to_owned()),
            option: self.name.option(),
            web,
            signin: once["url"].as_str().unwrap_or_default().to_owned(),
            folder: self.folder.path().to_owned(),
            prefix: self.name.prefix(),
            hosts,
            calm,
            took: began.elapsed(),
        };
        let text = match self.format {
            Format::Table => welcome.in_words(self.screen),
            Format::Json | Format::Ndjson => written(&welcome.in_json(), self.format),
        };
        // Whoever started this may not read it; the page is there all the same.
        let mut out = std::io::stdout().lock();
        let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
        Ok(())
    }

    async fn answering(&self, collector: &mut Part) -> Result<(), Failure> {
        let until = Instant::now() + COLLECTOR_LIMIT;
        loop {
            let asked = self.door().ask("/api/v1/status", None).await;
            match asked {
                Ok(_) => return Ok(()),
                Err(failure) if Instant::now() >= until => return Err(failure),
                Err(_) => {
                    collector.check_running().map_err(|error| failed(&format!("{error:#}")))?;
                    tokio::time::sleep(LOOK_AGAIN).await;
                }
            }
        }
    }

    /// Waits until every host is OK. Gives whether that came in time; the page shows what is not.
    async fn calm(&self, hosts: usize) -> Result<bool, Failure> {
        let until = Instant::now() + CALM_LIMIT;
        loop {
            let status = self.door().ask("/api/v1/status", None).await?;
            if status["hosts"][State::Ok.as_str()].as_u64() == u64::try_from(hosts).ok() {
                return Ok(true);
            }
            if Instant::now() >= until {
                return Ok(false);
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }

    /// Keeps the parts running until somebody asks to stop.
    async fn keep(&self, parts: &mut [Part], stop: &mut Stop) {
        loop {
            tokio::select! {
                () = stop.asked() => return,
                () = tokio::time::sleep(BEAT) => {}
            }
            for part in &mut *parts {
                match part.keep_running() {
                    Ok(false) => {}
                    Ok(true) => warn!(part = part.name(), "it had ended and was started again"),
                    Err(error) => warn!(part = part.name(), %error, "cannot be started again"),
                }
            }
        }
    }

    /// Takes everything away. `held`: only who has the demo may.
    fn clean(&self, _held: &Held) -> Result<(), Failure> {
        self.talk("taking the site away ...", "正在清理……");
        let swept = self.folder.sweep().and_then(|_| self.folder.remove());
        swept.map_err(|error| failed(&format!("{error:#}")))
    }

    fn down(&self) -> Result<Done, Failure> {
        let until = Instant::now() + DOWN_LIMIT;
        let itself = Identity::kept(&self.folder.process(ITSELF));
        let mut asked = false;
        let held = loop {
            if let Some(held) = self.folder.hold().map_err(|error| failed(&format!("{error:#}")))? {
                break held;
            }
            let signal = match Instant::now() < until {
                true if asked => None,
                true => Some(Signal::SIGTERM),
                false => Some(Signal::SIGKILL),
            };
            if let (Some(signal), Some(itself)) = (signal, itself) {
                itself.signal(signal).map_err(|error| failed(&format!("{error:#}")))?;
                asked = true;
            }
            if Instant::now() >= until + DOWN_LIMIT {
                return Err(failed(&"it does not end"));
            }
            std::thread::sleep(LOOK_AGAIN);
        };
        self.clean(&held)?;
        Ok(Done::said(format!(
            "{}\n",
            self.screen.word("The demo is gone.", "演示已结束并清理完毕。")
        )))
    }

    /// What is known of the demo, which must be up.
    fn running(&self) -> Result<Running, Failure> {
        let running = self.folder.kept().filter(|_| self.folder.is_held());
        running.ok_or_else(|| {
            let option = self.name.option();
            Failure::new(
                Exit::Unreachable,
                format!(
                    "no demo runs here, or it is not up yet; start it with `bailey demo{option}`"
                ),
                format!("演示未在运行或尚未就绪；请用 `bailey demo{option}` 启动"),
            )
        })
    }

    fn cause(&self, name: &str, no_wait: bool) -> Result<Done, Failure> {
        let breach = known(name)?;
        self.running()?;
        let scene = Scene::of(breach, &self.site, &self.folder);
        if scene.is_open() {
            let option = self.name.option();
            return Err(Failure::error(
                format!("{name} is open already; `bailey demo{option} fix {name}` undoes it"),
                format!("{name} 已经处于触发状态；用 `bailey demo{option} fix {name}` 恢复"),
            ));
        }
        let what = (breach.what)();
        self.talk(&what.en, &what.zh);
        let began = Instant::now();
        scene.cause(breach).map_err(|error| failed(&format!("{error:#}")))?;
        let finding = if no_wait { None } else { Some(self.awaited(breach, true)?) };
        let took = began.elapsed();
        Ok(Done::said(match self.format {
            Format::Json | Format::Ndjson => {
                let said = json!({
                    "schema": crate::client::SCHEMA, "breach": name, "open": true,
                    "finding": finding, "seconds": took.as_secs_f64(),
                });
                written(&said, self.format)
            }
            Format::Table => {
                finding
                    .map_or_else(String::new, |finding| status::raised(&finding, took, self.screen))
                    + &self.way_back(name)
            }
        }))
    }

    fn way_back(&self, name: &str) -> String {
        let option = self.name.option();
        format!("{}: bailey demo{option} fix {name}\n", self.screen.word("Undo it", "恢复"))
    }

    fn fix(&self, name: &str, no_wait: bool) -> Result<Done, Failure> {
        let wanted: Vec<&Breach> =
            if name == ALL { BREACHES.iter().collect() } else { vec![known(name)?] };
        self.running()?;
        let mut undone = Vec::new();
        for breach in wanted {
            let scene = Scene::of(breach, &self.site, &self.folder);
            if !scene.is_open() {
                continue;
            }
            let began = Instant::now();
            scene.undo(breach).map_err(|error| failed(&format!("{error:#}")))?;
            undone.push((breach, began));
        }
        let mut rows = Vec::new();
        for (breach, began) in undone {
            if !no_wait && !self.is_raised_still(breach) {
                self.awaited(breach, false)?;
            }
            rows.push((breach.name, began.elapsed()));
        }
        Ok(Done::said(match self.format {
            Format::Json | Format::Ndjson => {
                let undone: Vec<Value> = rows
                    .iter()
                    .map(|(name, took)| json!({"breach": name, "seconds": took.as_secs_f64()}))
                    .collect();
                let said = json!({"schema": crate::client::SCHEMA, "undone": undone});
                written(&said, self.format)
            }
            Format::Table => status::undone(&rows, no_wait, self.screen),
        }))
    }

    /// Whether another breach is open that leads to the same finding.
    fn is_raised_still(&self, undone: &Breach) -> bool {
        let mut open =
            BREACHES.iter().filter(|breach| Scene::of(breach, &self.site, &self.folder).is_open());
        open.any(|breach| breach.raises.is_shared_with(&undone.raises))
    }

    /// Waits until the finding of a breach is on the list, or off it. Gives the finding where it is.
    fn awaited(&self, breach: &Breach, open: bool) -> Result<Value, Failure> {
        let until = Instant::now() + ALERT_LIMIT;
        let runtime = runtime()?;
        loop {
            let findings = runtime.block_on(findings(&self.door()))?;
            let found = findings.into_iter().find(|finding| breach.raises.is(finding));
            if found.is_some() == open {
                return Ok(found.unwrap_or_default());
            }
            if Instant::now() >= until {
                let (check, host) = (breach.raises.check, breach.raises.host);
                let limit = ALERT_LIMIT.as_secs();
                return Err(if open {
                    Failure::error(
                        format!("no finding of {check} on {host} within {limit} s"),
                        format!("{limit} 秒内没有出现 {host} 的 {check} 告警"),
                    )
                } else {
                    Failure::error(
                        format!("the finding of {check} on {host} is still there after {limit} s"),
                        format!("{limit} 秒后 {host} 的 {check} 告警仍未消除"),
                    )
                });
            }
            std::thread::sleep(LOOK_AGAIN);
        }
    }

    fn status(&self) -> Result<Done, Failure> {
        let running = self.running()?;
        let runtime = runtime()?;
        let (site, findings) = runtime.block_on(async {
            let site = self.door().ask("/api/v1/status", None).await?;
            Ok::<_, Failure>((site, findings(&self.door()).await?))
        })?;
        let rows: Vec<status::Row> = BREACHES
            .iter()
            .map(|breach| status::Row {
                breach,
                open: Scene::of(breach, &self.site, &self.folder).is_open(),
                seen: findings.iter().any(|finding| breach.raises.is(finding)),
            })
            .collect();
        Ok(Done::said(match self.format {
            Format::Json | Format::Ndjson => {
                written(&status::in_json(&running, &site, &rows), self.format)
            }
            Format::Table => status::in_words(&running, &site, &rows, &self.name, self.screen),
        }))
    }

    fn talk(&self, en: &str, zh: &str) {
        talk(self.screen, en, zh);
    }
}

/// What is demanded of the demo's site, whose machines are one and bear one machine-id(5).
fn expectations() -> String {
    let machine = std::fs::read_to_string("/etc/machine-id").unwrap_or_default();
    let machine = hexadecimal(&Sha256::digest(machine.trim()));
    format!("{EXPECTATIONS}\nwire:\n  shared_machines: [\"{machine}\"]\n")
}

/// The open findings of the site; a demo has fewer than a page of them.
async fn findings(door: &Door) -> Result<Vec<Value>, Failure> {
    let answer = door.ask("/api/v1/findings?limit=200", None).await?;
    Ok(answer["findings"].as_array().cloned().unwrap_or_default())
}

/// The breach of a name.
fn known(name: &str) -> Result<&'static Breach, Failure> {
    breach::called(name).ok_or_else(|| {
        let names: Vec<&str> = BREACHES.iter().map(|breach| breach.name).collect();
        Failure::new(
            Exit::NotFound,
            format!("there is no breach {name} (breaches: {})", names.join(", ")),
            format!("没有名为 {name} 的违规场景（可选：{}）", names.join("、")),
        )
    })
}
