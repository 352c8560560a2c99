//! One poll of one device: whatever of it is due, one question after the other.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use bailey_rules::check::device::line;
use bailey_rules::device::{DeviceView, Held, Identity, Part, schedule};
use bailey_rules::expectation::DeviceWanted;
use bailey_rules::text::Text;

use crate::clock::Clock;
use crate::counters::PollResult;
use crate::poll::device::LONGEST;
use crate::poll::oid::Oid;
use crate::poll::profile::addresses::Addresses;
use crate::poll::profile::bridge::Bridge;
use crate::poll::profile::cdp::Cdp;
use crate::poll::profile::ethernet::ethernet;
use crate::poll::profile::host_resources::HostResources;
use crate::poll::profile::interfaces::Interfaces;
use crate::poll::profile::lldp::{Lldp, Neighbour};
use crate::poll::profile::poe::{Poe, PowerEthernet};
use crate::poll::profile::processes::Running;
use crate::poll::profile::routes::{Routes, routes};
use crate::poll::profile::sensors::Sensors;
use crate::poll::profile::system::System;
use crate::poll::profile::ups::Ups;
use crate::poll::profile::vendor::Vendor;
use crate::poll::profile::{Profile, take};
use crate::poll::snmp::{Snmp, SnmpError, Status};
use crate::poll::table::{self, Cells, Learned, Rows};

/// What came of a poll.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Polled {
    /// Everything that was due was read.
    Whole,
    /// The device answered, but not to everything.
    Partial,
    /// Nothing came.
    Silent,
    /// What came was no answer: it refused, or broke the protocol.
    Refused,
}

impl From<Polled> for PollResult {
    fn from(polled: Polled) -> Self {
        match polled {
            Polled::Whole => Self::Whole,
            Polled::Partial => Self::Partial,
            Polled::Silent => Self::Silent,
            Polled::Refused => Self::Refused,
        }
    }
}

/// Asks a device for whatever is due, and notes in `view` what came and when. `wanted` says how often
/// that is, and which interfaces are lines.
pub async fn round(
    session: &impl Snmp,
    view: &mut DeviceView,
    wanted: &DeviceWanted,
    learned: &mut Learned,
    clock: &(dyn Clock + '_),
) -> Polled {
    let began = Instant::now();
    let asked_at = clock.now();
    view.polling.asked_at = Some(asked_at);
    view.polling.interval = schedule::bounded(wanted.interval.0);
    let product = match greeted(session, view, learned, clock).await {
        Ok(product) => product,
        Err(error) => {
            view.polling.failed = Some(error.text());
            view.polling.silent = view.polling.silent.saturating_add(1);
            return match error {
                SnmpError::Silent { .. } | SnmpError::PortClosed | SnmpError::Network { .. } => {
                    Polled::Silent
                }
                SnmpError::Refused(_)
                | SnmpError::Status { .. }
                | SnmpError::Malformed { .. }
                | SnmpError::Looping { .. }
                | SnmpError::Partial { .. }
                | SnmpError::TooMany { .. }
                | SnmpError::Unaskable { .. } => Polled::Refused,
            };
        }
    };
    let mut whole = true;
    for part in Part::ALL.into_iter().filter(|part| *part != Part::Identity) {
        if !view.is_due(part, asked_at) {
            continue;
        }
        let Err(error) = taken(session, view, wanted, learned, clock, part, product.as_ref()).await
        else {
            continue;
        };
        whole = false;
        // A device that has just died would be waited for in every part that is left.
        if is_silence(&error) && session.get(&[up_time()]).await.is_err() {
            break;
        }
    }
    view.polling.took = Some(began.elapsed());
    if whole { Polled::Whole } else { Polled::Partial }
}

const fn is_silence(error: &SnmpError) -> bool {
    match error {
        SnmpError::Silent { .. } => true,
        SnmpError::Partial { why, .. } => matches!(**why, SnmpError::Silent { .. }),
        _ => false,
    }
}

/// `sysUpTime.0`.
fn up_time() -> Oid {
    System::root().then(&[3, 0])
}

/// Asks who the device is. That it says so is what counts as an answer.
async fn greeted(
    session: &impl Snmp,
    view: &mut DeviceView,
    learned: &mut Learned,
    clock: &(dyn Clock + '_),
) -> Result<Option<Oid>, SnmpError> {
    // One question for all of it; SNMPv1 refuses that where one of them is missing.
    let names: Vec<Oid> = System::columns().iter().map(|column| column.then(&[0])).collect();
    let identity = match session.get(&names).await {
        Ok(answer) => {
            let mut row = Cells::default();
            for (column, varbind) in answer.into_iter().enumerate() {
                if varbind.value.is_there() {
                    row.set(column, varbind.value);
                }
            }
            System::read(&Rows::from([(vec![0], row)]))
        }
        Err(SnmpError::Status { status: Status::NoSuchName | Status::TooBig, .. }) => {
            take::<System>(session, learned).await?
        }
        Err(error) => return Err(error),
    };
    let now = clock.now();
    view.polling.answered_at = Some(now);
    view.polling.failed = None;
    view.polling.silent = 0;
    let vendor = identity.product.as_ref().and_then(Vendor::of);
    let told = Identity {
        description: identity.description,
        product: identity.product.as_ref().map(ToString::to_string),
        vendor: vendor.map(|vendor| vendor.name().to_owned()),
        name: identity.name,
        contact: identity.contact,
        location: identity.location,
        up: identity.up,
    };
    let interval = view.interval_of(Part::Identity);
    view.identity.take(Ok(told), now, interval);
    Ok(identity.product)
}

/// Asks for one part and notes what came.
async fn taken(
    session: &impl Snmp,
    view: &mut DeviceView,
    wanted: &DeviceWanted,
    learned: &mut Learned,
    clock: &(dyn Clock + '_),
    part: Part,
    product: Option<&Oid>,
) -> Result<(), SnmpError> {
    let every = view.polling.interval;
    match part {
        Part::Identity => Ok(()),
        Part::Interfaces => {
            let (outcome, failed) = parted(asked::<Interfaces>(session, learned).await);
            view.take_interfaces(outcome, clock.now(), |interface| {
                line(wanted, interface).is_some()
            });
            failed
        }
        Part::Ethernet => {
            let interfaces = view.interfaces.value().map(Vec::as_slice).unwrap_or_default();
            let outcome = in_time(ethernet(session, learned, interfaces)).await;
            let (outcome, failed) = parted(outcome);
            view.take_ethernet(outcome, clock.now());
            failed
        }
        Part::Power => {
            let outcome = asked::<Ups>(session, learned).await;
            noted(
                &mut view.power,
                outcome,
                clock,
                |none| part.interval(every, none),
                Option::is_none,
            )
        }
        Part::Poe => {
            let outcome = asked::<PowerEthernet>(session, learned).await;
            noted(&mut view.poe, outcome, clock, |none| part.interval(every, none), Poe::is_empty)
        }
        Part::Processes => {
            let outcome = asked::<Running>(session, learned).await;
            noted(
                &mut view.processes,
                outcome,
                clock,
                |none| part.interval(every, none),
                |processes| processes.list.is_empty(),
            )
        }
        Part::Resources => {
            let outcome = asked::<HostResources>(session, learned).await;
            noted(
                &mut view.resources,
                outcome,
                clock,
                |none| part.interval(every, none),
                |r| *r == bailey_rules::device::resources::Resources::default(),
            )
        }
        Part::Hardware => {
            let outcome = asked::<Sensors>(session, learned).await;
            noted(
                &mut view.hardware,
                outcome,
                clock,
                |none| part.interval(every, none),
                |h| h.parts.is_empty() && h.sensors.is_empty(),
            )
        }
        Part::Vendor => {
            let outcome = of_vendor(session, learned, product).await;
            noted(
                &mut view.vendor_values,
                outcome,
                clock,
                |none| part.interval(every, none),
                Vec::is_empty,
            )
        }
        Part::Neighbours => {
            let outcome = neighbours(session, learned, product).await;
            noted(
                &mut view.neighbours,
                outcome,
                clock,
                |none| part.interval(every, none),
                Vec::is_empty,
            )
        }
        Part::Bridge => {
            let outcome = asked::<Bridge>(session, learned).await;
            noted(
                &mut view.bridge,
                outcome,
                clock,
                |none| part.interval(every, none),
                |b| b.stations.is_empty() && b.vlans.is_empty(),
            )
        }
        Part::Addresses => {
            let outcome = asked::<Addresses>(session, learned).await;
            noted(
                &mut view.addresses,
                outcome,
                clock,
                |none| part.interval(every, none),
                BTreeSet::is_empty,
            )
        }
        Part::Routes => {
            let outcome = in_time(routes(session, learned)).await;
            noted(
                &mut view.routes,
                outcome,
                clock,
                |none| part.interval(every, none),
                Routes::is_empty,
            )
        }
    }
}

/// What is held of a part, and the error that goes on.
fn parted<T>(outcome: Result<T, SnmpError>) -> (Result<T, Text>, Result<(), SnmpError>) {
    match outcome {
        Ok(value) => (Ok(value), Ok(())),
        Err(error) => (Err(error.text()), Err(error)),
    }
}

fn noted<T>(
    held: &mut Held<T>,
    outcome: Result<T, SnmpError>,
    clock: &(dyn Clock + '_),
    interval: impl FnOnce(bool) -> Duration,
    is_empty: impl FnOnce(&T) -> bool,
) -> Result<(), SnmpError> {
    let (outcome, failed) = parted(outcome);
    let none = outcome.as_ref().is_ok_and(is_empty);
    held.take(outcome, clock.now(), interval(none));
    failed
}

async fn asked<P: Profile>(
    session: &impl Snmp,
    learned: &mut Learned,
) -> Result<P::Facts, SnmpError> {
    in_time(take::<P>(session, learned)).await
}

/// Neighbours by LLDP, and those that only speak Cisco's own protocol.
async fn neighbours(
    session: &impl Snmp,
    learned: &mut Learned,
    product: Option<&Oid>,
) -> Result<Vec<Neighbour>, SnmpError> {
    let mut all = asked::<Lldp>(session, learned).await?;
    if Cdp::is_spoken_by(product) {
        let known: BTreeSet<u32> = all.iter().map(|neighbour| neighbour.local_port).collect();
        let more = asked::<Cdp>(session, learned).await?;
        all.extend(more.into_iter().filter(|neighbour| !known.contains(&neighbour.local_port)));
    }
    Ok(all)
}

async fn of_vendor(
    session: &impl Snmp,
    learned: &mut Learned,
    product: Option<&Oid>,
) -> Result<Vec<bailey_rules::device::vendor::VendorValue>, SnmpError> {
    let Some((vendor, product)) = product.and_then(|of| Vendor::of(of).zip(Some(of))) else {
        return Ok(Vec::new());
    };
    let columns = vendor.columns();
    let rows = in_time(table::rows(session, product, &columns, learned)).await?;
    Ok(vendor.read(&rows))
}

async fn in_time<T>(asking: impl Future<Output = Result<T, SnmpError>>) -> Result<T, SnmpError> {
    tokio::time::timeout(LONGEST, asking).await.unwrap_or_else(|_| {
        let why = format!("it took longer than {} s", LONGEST.as_secs());
        Err(SnmpError::Malformed { why })
    })
}
