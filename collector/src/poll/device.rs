//! Everything that one device tells, asked for at once.

use std::time::Duration;

use bailey_rules::fact::Reading;
use serde::Serialize;

use crate::poll::oid::Oid;
use crate::poll::profile::bridge::{self, Bridge};
use crate::poll::profile::ethernet::{self, ethernet};
use crate::poll::profile::host_resources::{HostResources, Resources};
use crate::poll::profile::interfaces::{Interface, Interfaces};
use crate::poll::profile::lldp::{Lldp, Neighbour};
use crate::poll::profile::poe::{Poe, PowerEthernet};
use crate::poll::profile::processes::{Processes, Running};
use crate::poll::profile::routes::{Routes, routes};
use crate::poll::profile::sensors::{Hardware, Sensors};
use crate::poll::profile::system::{Identity, System};
use crate::poll::profile::ups::{Power, Ups};
use crate::poll::profile::vendor::{Vendor, VendorValue};
use crate::poll::profile::{Profile, take};
use crate::poll::snmp::{Snmp, SnmpError};
use crate::poll::table::{self, Learned};

/// How long one profile may take. A core switch needs a while for its MAC table.
pub const LONGEST: Duration = Duration::from_mins(1);

/// What a device tells. What it does not have is empty; what failed says why.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Look {
    /// Who it is.
    pub identity: Identity,
    /// Whose product it is, where there is a file for the vendor.
    pub vendor: Option<&'static str>,
    /// Its interfaces.
    pub interfaces: Reading<Vec<Interface>>,
    /// What Ethernet knows of them, by `ifIndex`.
    pub ethernet: Reading<std::collections::BTreeMap<u32, ethernet::Port>>,
    /// What it is as a UPS.
    pub power: Reading<Option<Power>>,
    /// What it feeds through its ports.
    pub poe: Reading<Poe>,
    /// What it is as a computer.
    pub resources: Reading<Resources>,
    /// What runs on it as a computer.
    pub processes: Reading<Processes>,
    /// Whom it sees at its ports.
    pub neighbours: Reading<Vec<Neighbour>>,
    /// Which addresses it has learnt.
    pub bridge: Reading<bridge::Learned>,
    /// Where it sends packets.
    pub routes: Reading<Routes>,
    /// Parts and sensors.
    pub hardware: Reading<Hardware>,
    /// What only its vendor's devices tell.
    pub vendor_values: Reading<Vec<VendorValue>>,
}

/// Asks a device for everything, one question after the other, so that no old switch is hurt.
///
/// # Errors
/// When it does not even say who it is.
pub async fn look(session: &impl Snmp, learned: &mut Learned) -> Result<Look, SnmpError> {
    let identity = take::<System>(session, learned).await?;
    let vendor = identity.product.as_ref().and_then(Vendor::of);
    let interfaces = read::<Interfaces>(session, learned).await;
    let ports = match &interfaces {
        Reading::Known(list) => list.as_slice(),
        Reading::Unreadable { .. } => &[],
    };
    let ports = ethernet(session, learned, ports);
    Ok(Look {
        ethernet: reading(tokio::time::timeout(LONGEST, ports).await),
        interfaces,
        power: read::<Ups>(session, learned).await,
        poe: read::<PowerEthernet>(session, learned).await,
        resources: read::<HostResources>(session, learned).await,
        processes: read::<Running>(session, learned).await,
        neighbours: read::<Lldp>(session, learned).await,
        bridge: read::<Bridge>(session, learned).await,
        routes: reading(tokio::time::timeout(LONGEST, routes(session, learned)).await),
        hardware: read::<Sensors>(session, learned).await,
        vendor_values: of_vendor(session, learned, vendor, identity.product.as_ref()).await,
        vendor: vendor.map(Vendor::name),
        identity,
    })
}

async fn read<P: Profile>(session: &impl Snmp, learned: &mut Learned) -> Reading<P::Facts> {
    reading(tokio::time::timeout(LONGEST, take::<P>(session, learned)).await)
}

async fn of_vendor(
    session: &impl Snmp,
    learned: &mut Learned,
    vendor: Option<&'static Vendor>,
    product: Option<&Oid>,
) -> Reading<Vec<VendorValue>> {
    let (Some(vendor), Some(product)) = (vendor, product) else {
        return Reading::Known(Vec::new());
    };
    let columns = vendor.columns();
    let rows = table::rows(session, product, &columns, learned);
    let values = async { rows.await.map(|rows| vendor.read(&rows)) };
    reading(tokio::time::timeout(LONGEST, values).await)
}

fn reading<T>(outcome: Result<Result<T, SnmpError>, tokio::time::error::Elapsed>) -> Reading<T> {
    match outcome {
        Ok(Ok(facts)) => Reading::Known(facts),
        Ok(Err(error)) => Reading::Unreadable { why: error.to_string() },
        Err(_) => {
            Reading::Unreadable { why: format!("it took longer than {} s", LONGEST.as_secs()) }
        }
    }
}
