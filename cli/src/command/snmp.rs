//! `bailey snmp`: one device, asked by SNMP from here. None of this asks a collector.

mod doctor;
mod show;

use std::path::Path;
use std::time::Duration;

use bailey_collector::poll::credentials::{self, CredentialsError, FromFile};
use bailey_collector::poll::snmp::SnmpError;
use bailey_collector::poll::snmp::udp::{Dialler, Patience};

use crate::arguments::{DeviceAddress, Format, SnmpCommand};
use crate::exit::{Done, Exit, Failure};
use crate::screen::Screen;

/// The version of the answers for programs.
const SCHEMA: u32 = 1;

/// How long a name may take to become an address.
const RESOLVING: Duration = Duration::from_secs(5);

/// Does one of the verbs of devices.
pub(super) fn run(command: &SnmpCommand, format: Format, screen: Screen) -> Result<Done, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime
        .map_err(|e| Failure::error(format!("cannot start: {e}"), format!("无法启动：{e}")))?;
    match command {
        SnmpCommand::Doctor(one) => runtime.block_on(doctor::run(one, format, screen)),
        SnmpCommand::Show(one) => runtime.block_on(show::run(one, format, screen)),
    }
}

/// Reads a credentials file.
pub(super) fn read_credentials(path: &Path) -> Result<FromFile, Failure> {
    credentials::read(path).map_err(|error| match error {
        CredentialsError::Unreadable { path, why, missing } => {
            let shown = path.display();
            let exit = if missing { Exit::NotFound } else { Exit::Error };
            Failure::new(
                exit,
                format!("cannot read {shown}: {why}"),
                format!("无法读取 {shown}：{why}"),
            )
        }
        CredentialsError::Wrong(problems) => Failure::error(
            format!("the credentials are wrong:\n{problems}"),
            format!("凭据文件有误：\n{problems}"),
        ),
    })
}

/// A way to ask the device.
async fn dialler(device: &DeviceAddress, patience: Patience) -> Result<Dialler, Failure> {
    let looked_up = tokio::net::lookup_host((device.host.as_str(), device.port));
    let found = match tokio::time::timeout(RESOLVING, looked_up).await {
        Ok(Ok(mut addresses)) => addresses.next().ok_or("no address".to_owned()),
        Ok(Err(why)) => Err(why.to_string()),
        Err(_) => Err(format!("nothing within {} s", RESOLVING.as_secs())),
    };
    let address = found.map_err(|why| {
        let host = &device.host;
        Failure::error(
            format!("{host} has no address: {why}; give the device's IP address"),
            format!("无法解析 {host}：{why}；请给出设备的 IP 地址"),
        )
    })?;
    Dialler::new(address, patience).await.map_err(|e| cannot_ask(&e))
}

fn cannot_ask(error: &SnmpError) -> Failure {
    Failure::error(format!("the device cannot be asked: {error}"), format!("无法查询设备：{error}"))
}
