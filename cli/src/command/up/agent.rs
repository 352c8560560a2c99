//! The agent of this machine itself, in the collector's process.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use bailey_agent::enroll::{self, Outcome};
use bailey_agent::folder::StateFolder;
use bailey_agent::settings::Settings;
use bailey_agent::{Agent, AgentHandle};
use bailey_collector::CollectorHandle;
use bailey_collector::enrolment::Actor;
use bailey_rules::name::{HostName, ZoneName};
use bailey_rules::policy::Policy;
use bailey_rules::text::Text;

use super::policy;
use crate::client::chain;
use crate::exit::Failure;
use crate::this_host;

/// How long the token for this machine is good: it is used at once.
const TOKEN_LIFE: Duration = Duration::from_mins(1);

/// The agent's folder in the state folder.
const FOLDER: &str = "agent";

/// The agent's settings in the state folder, for those who want others than the usual.
const SETTINGS: &str = "agent.yaml";

/// This machine's agent.
pub(super) struct LocalAgent {
    /// The name of this machine.
    pub(super) host: HostName,
    /// Its zone.
    pub(super) zone: ZoneName,
    /// The agent, or why there is none: a person must decide about this machine first.
    pub(super) running: Result<AgentHandle, Text>,
}

/// Enrols this machine where it is not enrolled yet, and starts its agent.
///
/// # Errors
/// When its zone cannot be told, or enrolment or start fail.
pub(super) async fn start(
    collector: &CollectorHandle,
    state: &Path,
    policy: &Policy,
    zone: Option<&ZoneName>,
) -> Result<LocalAgent, Failure> {
    let folder = StateFolder::open(&state.join(FOLDER)).map_err(|e| failed(&e))?;
    let mut settings = settings(state, folder.path())?;
    let address = dialled(collector.addresses().agents).to_string();
    settings.collector = Some(address.clone());
    let (host, zone) = match standing(collector, &folder).await? {
        Standing::In(host, zone) => (host, zone),
        Standing::Revoked(host, zone) => {
            let folder = folder.path().display();
            let why = Text::new(
                format!("it was revoked; to enrol it anew remove {folder} and start again"),
                format!("已被吊销；如需重新注册，请删除 {folder} 后重新启动"),
            );
            return Ok(LocalAgent { host, zone, running: Err(why) });
        }
        Standing::Unknown => {
            let host = this_host::name();
            let zone = policy::zone_of_this_host(policy, &host, zone)?;
            if !enrol(collector, &folder, &host, &zone, &address).await? {
                let why = Text::new(
                    format!(
                        "its name belongs to another key; `bailey enroll approve {host}` lets it in, \
                         then start again"
                    ),
                    format!("该名称属于另一密钥；用 `bailey enroll approve {host}` 批准后重新启动"),
                );
                return Ok(LocalAgent { host, zone, running: Err(why) });
            }
            (host, zone)
        }
    };
    // Its file is not watched: a file that is taken up anew would undo the address above.
    let running = Agent::start(settings, None).await.map_err(|e| failed(&e))?;
    Ok(LocalAgent { host, zone, running: Ok(running) })
}

/// How this machine stands with the collector.
enum Standing {
    /// It is enrolled here.
    In(HostName, ZoneName),
    /// It was, and was thrown out.
    Revoked(HostName, ZoneName),
    /// The collector does not know its key, or it has none.
    Unknown,
}

async fn standing(collector: &CollectorHandle, folder: &StateFolder) -> Result<Standing, Failure> {
    if !folder.is_enrolled() {
        return Ok(Standing::Unknown);
    }
    let key = folder.credentials().map_err(|e| failed(&e))?.key.host_key();
    let identities = collector.enrolment().identities().await.map_err(|e| failed(&e))?;
    let of_key = |revoked: bool| {
        identities
            .iter()
            .find(|identity| identity.key == key && identity.revoked_at.is_some() == revoked)
            .map(|identity| (identity.host.clone(), identity.zone.clone()))
    };
    Ok(match (of_key(false), of_key(true)) {
        (Some((host, zone)), _) => Standing::In(host, zone),
        (None, Some((host, zone))) => Standing::Revoked(host, zone),
        (None, None) => Standing::Unknown,
    })
}

/// Enrols this machine by a token like any other; `false` when a person must approve it first.
async fn enrol(
    collector: &CollectorHandle,
    folder: &StateFolder,
    host: &HostName,
    zone: &ZoneName,
    address: &str,
) -> Result<bool, Failure> {
    let by = Actor::named("bailey up");
    let made = collector.enrolment().make_token(host.clone(), zone.clone(), TOKEN_LIFE, by).await;
    let token = made.map_err(|e| failed(&e))?.token;
    match enroll::enroll(&token, folder, Some(address)).await.map_err(|e| failed(&e))? {
        Outcome::Enrolled(_) => Ok(true),
        Outcome::Waiting { .. } => Ok(false),
    }
}

fn settings(state: &Path, folder: &Path) -> Result<Settings, Failure> {
    let file = state.join(SETTINGS);
    if !file.exists() {
        return Ok(Settings::in_folder(folder.to_owned()));
    }
    Settings::read(&file, Some(folder)).map_err(|e| {
        Failure::error(format!("the agent's settings are wrong: {e}"), format!("代理设置有误：{e}"))
    })
}

/// Where the agent beside the collector dials: a wildcard is this machine.
fn dialled(mut listening: SocketAddr) -> SocketAddr {
    if listening.ip().is_unspecified() {
        listening.set_ip(match listening {
            SocketAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
            SocketAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
        });
    }
    listening
}

fn failed(error: &(dyn std::error::Error + 'static)) -> Failure {
    let error = chain(error);
    Failure::error(
        format!("the agent of this machine did not start: {error}"),
        format!("本机代理未能启动：{error}"),
    )
}
