//! From the queue to the journal.

use std::collections::HashMap;
use std::net::{IpAddr, UdpSocket};
use std::time::{Duration, Instant};

use bailey_rules::fact::bounded;
use bailey_rules::name::HostName;
use bailey_rules::syslog::refused::{Refused, refused};
use bailey_rules::syslog::{Facility, Message, Severity, parse};
use bailey_rules::text::Text;
use bailey_rules::time::{Timestamp, spoken};
use tokio::sync::mpsc;
use tracing::{debug, warn};

use super::{Received, text};
use crate::counters::SyslogResult;
use crate::datagrams::{Loss, Losses};
use crate::journal::{self, NewEvent};
use crate::queue::Waiting;
use crate::quota::{Bucket, Rate};
use crate::senders::Senders;
use crate::settings::SyslogSettings;
use crate::site::{EventKind, Part, Site};

/// The most messages of one write.
const MAX_BATCH: usize = 500;

/// How often it is looked at what was dropped and what firewalls refused.
const LOOKED_AT: Duration = Duration::from_secs(1);

/// For how long a message that says what one before it said is only counted.
const REPEATED: Duration = Duration::from_mins(1);

/// The most messages that are remembered as said.
const MAX_SAID: usize = 8_192;

/// How often what a firewall refused is told, together.
const REFUSALS_TOLD: Duration = Duration::from_mins(5);

/// The most firewalls whose refusals are told of each, and the most of those whom one refused by
/// address. What strangers say that they refused is told as one, and so is what is beyond this.
const MAX_FIREWALLS: usize = 256;
/// See [`MAX_FIREWALLS`].
const MAX_REFUSED: usize = 1_024;

/// The events that one sender may have at once, and how fast he may have more. All strangers together
/// are one sender.
const EVENTS: Rate = Rate { a_second: 0.2, burst: 120.0 };

/// What a firewall has refused since that was last told.
#[derive(Debug)]
struct Refusals {
    since: Timestamp,
    began: Instant,
    count: u64,
    by: HashMap<IpAddr, u64>,
}

impl Refusals {
    fn new(since: Timestamp, began: Instant) -> Self {
        Self { since, began, count: 0, by: HashMap::new() }
    }

    fn one(&mut self, refused: &Refused) {
        self.count += 1;
        if let Some(from) = refused.from
            && (self.by.len() < MAX_REFUSED || self.by.contains_key(&from))
        {
            *self.by.entry(from).or_default() += 1;
        }
    }

    fn told(&self, now: Timestamp) -> Text {
        let (count, within) = (self.count, spoken(self.since.age(now)));
        // Of equally loud ones the same is named each time.
        let loudest = self.by.iter().max_by_key(|(address, count)| (**count, **address));
        match loudest {
            Some((address, most)) => Text::new(
                format!("{count} connections refused within {}, {most} of {address}", within.en),
                format!("{} 内拒绝 {count} 个连接，其中 {most} 个来自 {address}", within.zh),
            ),
            None => Text::new(
                format!("{count} connections refused within {}", within.en),
                format!("{} 内拒绝 {count} 个连接", within.zh),
            ),
        }
    }
}

pub(super) struct Intake {
    site: Site,
    senders: Senders,
    severity: Severity,
    facilities: Option<Vec<Facility>>,
    said: HashMap<(IpAddr, String), Instant>,
    events: HashMap<Option<HostName>, Bucket>,
    /// By the firewall; `None`: of strangers and of whoever is too many.
    refusals: HashMap<Option<HostName>, Refusals>,
    losses: Losses,
}

impl Intake {
    pub(super) fn new(site: &Site, settings: &SyslogSettings, socket: Option<UdpSocket>) -> Self {
        Self {
            site: site.clone(),
            senders: site.senders().clone(),
            severity: settings.severity,
            facilities: settings.facilities.clone(),
            said: HashMap::new(),
            events: HashMap::new(),
            refusals: HashMap::new(),
            losses: Losses::new(socket),
        }
    }

    /// Takes messages until every listener has ended and none is left.
    pub(super) async fn run(mut self, mut waiting: mpsc::Receiver<Waiting<Received>>) {
        let mut batch = Vec::with_capacity(MAX_BATCH);
        let mut tick = tokio::time::interval(LOOKED_AT);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                _ = tick.tick() => self.look().await,
                count = waiting.recv_many(&mut batch, MAX_BATCH) => {
                    if count == 0 {
                        return self.tell_refusals(true).await;
                    }
                    let now = Instant::now();
                    let (taken, room): (Vec<Received>, Vec<_>) =
                        batch.drain(..).map(Waiting::parts).unzip();
                    let events = taken.iter().filter_map(|r| self.take(r, now)).collect();
                    self.write(events).await;
                    drop(room);
                }
            }
        }
    }

    /// The event that a message is worth, if any. Whatever is none is counted here.
    fn take(&mut self, received: &Received, now: Instant) -> Option<NewEvent> {
        let count = |result| self.site.counters().syslog.of(result).one();
        let message = match parse(&text::read(&received.octets)) {
            Ok(message) => message,
            Err(error) => {
                debug!(source = %received.source, %error, "no message of syslog");
                count(SyslogResult::Malformed);
                return None;
            }
        };
        let asset = self.senders.of(received.source);
        if let Some(refused) = refused(&message) {
            count(SyslogResult::Refusal);
            self.note_refusal(asset, &refused, received.at, now);
            return None;
        }
        let wanted = self.facilities.as_ref();
        if message.severity > self.severity
            || wanted.is_some_and(|wanted| !wanted.contains(&message.facility))
        {
            count(SyslogResult::Filtered);
            return None;
        }
        let said = sentence(&message);
        if self.said.len() >= MAX_SAID {
            self.said.retain(|_, at| now.saturating_duration_since(*at) < REPEATED);
        }
        let key = (received.source, said.clone());
        let before = self.said.get(&key);
        if before.is_some_and(|at| now.saturating_duration_since(*at) < REPEATED) {
            count(SyslogResult::Repeated);
            return None;
        }
        let full = || Bucket::full(EVENTS, now);
        if !self.events.entry(asset.clone()).or_insert_with(full).take(now) {
            count(SyslogResult::LeftOut);
            self.site.counters().events_left_out.one();
            return None;
        }
        if self.said.len() < MAX_SAID {
            self.said.insert(key, now);
        }
        let text = match &asset {
            Some(_) => said,
            None => format!("{}: {said}", received.source),
        };
        let text = Text::quoted(text);
        Some(NewEvent { at: received.at, host: asset, kind: EventKind::Syslog, text, actor: None })
    }

    fn note_refusal(
        &mut self,
        firewall: Option<HostName>,
        refused: &Refused,
        at: Timestamp,
        now: Instant,
    ) {
        let has_room = self.refusals.len() < MAX_FIREWALLS || self.refusals.contains_key(&firewall);
        let firewall = firewall.filter(|_| has_room);
        let new = || Refusals::new(at, now);
        self.refusals.entry(firewall).or_insert_with(new).one(refused);
    }

    async fn write(&self, events: Vec<NewEvent>) {
        if events.is_empty() {
            return;
        }
        let count = u64::try_from(events.len()).unwrap_or(u64::MAX);
        let written = journal::write(&self.site, "write messages of syslog", events).await;
        let result = match written {
            Ok(()) => SyslogResult::Event,
            Err(error) => {
                warn!(%error, count, "messages of syslog are not in the journal");
                SyslogResult::NotStored
            }
        };
        self.site.counters().syslog.of(result).many(count);
        self.site.dirty().wake.notify_one();
    }

    /// Tells what firewalls refused: of those whose time it is, or of all.
    async fn tell_refusals(&mut self, all: bool) {
        let (now, here) = (self.site.now(), Instant::now());
        let is_due = |refusals: &Refusals| {
            all || here.saturating_duration_since(refusals.began) >= REFUSALS_TOLD
        };
        let due = self.refusals.extract_if(|_, refusals| is_due(refusals));
        let events: Vec<NewEvent> = due
            .map(|(host, refusals)| {
                let told = refusals.told(now);
                let text = match &host {
                    Some(_) => told,
                    None => Text::new(
                        format!("as others say: {}", told.en),
                        format!("其他发送者：{}", told.zh),
                    ),
                };
                NewEvent { at: now, host, kind: EventKind::Refusals, text, actor: None }
            })
            .collect();
        if events.is_empty() {
            return;
        }
        if let Err(error) = journal::write(&self.site, "write what firewalls refused", events).await
        {
            warn!(%error, "what firewalls refused is not in the journal");
        }
        self.site.dirty().wake.notify_one();
    }

    async fn look(&mut self) {
        self.tell_refusals(false).await;
        let counters = self.site.counters();
        counters.syslog.of(SyslogResult::SocketFull).many(self.losses.by_kernel());
        let lost = counters.syslog.each().filter(|(result, _)| result.is_loss());
        let counted = lost.map(|(_, count)| count).sum();
        match self.losses.look(counted, Instant::now()) {
            Some(Loss::More { lost, .. }) => {
                let message = format!(
                    "{lost} messages of syslog were lost: more came than is taken, or the disk was \
                     slow. See bailey_syslog_messages_total by result"
                );
                self.site.set_problem(Part::Syslog, Some(message));
            }
            Some(Loss::Over) => self.site.set_problem(Part::Syslog, None),
            None => {}
        }
    }
}

/// A message as the journal tells it, in the device's own words: those are not translated.
fn sentence(message: &Message) -> String {
    let Message { facility, severity, .. } = message;
    let front = message.kind.as_deref().or(message.program.as_deref());
    let said = match front {
        Some(front) => format!("{front}: {} ({facility}.{severity})", message.text),
        None => format!("{} ({facility}.{severity})", message.text),
    };
    bounded(&said)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_are_told_together_with_the_loudest_sender() {
        let now = Timestamp::from_seconds(1_790_000_000);
        let mut refusals = Refusals::new(now - Duration::from_mins(5), Instant::now());
        for nth in 0..3_u8 {
            let from = Some(IpAddr::from([10, 1, 7, 20 + nth / 2]));
            refusals.one(&Refused { from });
        }
        refusals.one(&Refused { from: None });
        assert_eq!(refusals.told(now).en, "4 connections refused within 5 min, 2 of 10.1.7.20");
    }

    #[test]
    fn a_message_is_told_in_the_devices_words_with_its_kind() {
        let line = "<187>Nov 26 09:12:33 SW-B-1 %%10IFNET/3/LINK_UPDOWN: GE1/0/1 link is DOWN.";
        let told = sentence(&parse(line).unwrap());
        assert_eq!(told, "IFNET/3/LINK_UPDOWN: GE1/0/1 link is DOWN. (local7.err)");
    }
}
