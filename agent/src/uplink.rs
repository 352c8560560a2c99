//! The one connection to the collector: what the spool holds goes up in order, and a place that is
//! acknowledged leaves the spool. Connecting, renewing the certificate and going back over what was
//! not acknowledged is one loop, the same for the first start and for every recovery.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bailey_rules::fact::ProbeName;
use bailey_rules::fact::enforcement::OrderRef;
use bailey_rules::listing::{ListingDigest, ListingSource};
use bailey_rules::report::Place;
use bailey_wire::convert::{
    OrderGathering, OrderResult, intervals_from_wire, listings_held_from_wire, loss_to_wire,
    named_order, order_ref_to_wire, outcome_to_wire, place_from_wire, place_to_wire,
};
use bailey_wire::identity::goodbye_bytes;
use bailey_wire::tls;
use bailey_wire::v1::uplink_client::UplinkClient;
use bailey_wire::v1::{self, from_agent, from_collector};
use bailey_wire::{MAX_MESSAGE, PROTOCOL};
use prost::Message as _;
use rand::Rng as _;
use sha2::{Digest as _, Sha256};
use tokio::sync::{Mutex, MutexGuard, Notify, mpsc, watch};
use tokio::time::{sleep, timeout};
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;
use tonic::{Status, Streaming};
use tracing::{debug, info, warn};

use crate::channel;
use crate::clock::Clock;
use crate::enroll::restore;
use crate::folder::{Credentials, StateFolder};
use crate::listings::{NewestListings, Sending};
use crate::own::{Own, Part};
use crate::relay::{Heard, Relay};
use crate::spool::{Item, Kept, Resumed, Spool};

/// The first wait after a failed attempt, and the longest; each is drawn between zero and its bound,
/// so that a thousand hosts do not come back in the same second.
const FIRST_WAIT: Duration = Duration::from_secs(1);
const LONGEST_WAIT: Duration = Duration::from_mins(1);
/// A session that lived so long was a good one: the next wait is short again.
const GOOD_SESSION: Duration = Duration::from_mins(1);
/// How long the collector may take to welcome us.
const WELCOME_LIMIT: Duration = Duration::from_secs(20);
/// How long a goodbye may take in all.
const GOODBYE_LIMIT: Duration = Duration::from_secs(3);
/// How long the collector may take to end a session that we end to dial anew.
const HANG_UP_LIMIT: Duration = Duration::from_secs(3);
/// With nothing to report for so long, a heartbeat keeps the clock offset alive.
const HEARTBEAT: Duration = Duration::from_mins(1);
/// A renewal that failed is tried again after this time.
const RENEW_AGAIN: Duration = Duration::from_mins(10);
/// Renewal is spread over this part of the certificate's life after its half.
const RENEW_SPREAD: f64 = 0.1;
/// The most messages on their way to the connection.
const MAX_SENDING: usize = 8;

/// What the uplink asks of the rest of the agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Order {
    /// The next report must be complete.
    SendEverything,
    /// How often probes read.
    Intervals(Vec<(ProbeName, Option<Duration>)>),
}

/// The spool, shared by who fills it and who empties it. A lock is held for one call only.
#[derive(Debug, Clone)]
pub struct SharedSpool(Arc<Mutex<Spool>>);

impl SharedSpool {
    /// Shares a spool.
    #[must_use]
    pub fn new(spool: Spool) -> Self {
        Self(Arc::new(Mutex::new(spool)))
    }

    /// The spool, for a call that does not wait for the disk itself.
    async fn lock(&self) -> MutexGuard<'_, Spool> {
        self.0.lock().await
    }

    /// Does something that may wait for the disk, where that holds up nobody.
    async fn on_disk<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Spool) -> T + Send + 'static,
    ) -> T {
        let mut spool = Arc::clone(&self.0).lock_owned().await;
        tokio::task::spawn_blocking(move || work(&mut spool))
            .await
            .expect("the spool's calls do not panic")
    }

    /// Keeps a report that `make` puts together for the place it is given. Gives `None` when there
    /// is none, or when a new numbering began meanwhile: a complete report follows then.
    pub async fn keep(
        &self,
        make: impl FnOnce(Place) -> Option<v1::Report> + Send,
    ) -> Option<Kept> {
        let mut place = self.lock().await.next_place();
        let mut report = make(place)?;
        loop {
            let payload = report.encode_to_vec();
            let kept = self.on_disk(move |spool| match spool.next_place() {
                now if now == place => Ok(spool.put(payload.into(), Instant::now())),
                moved => Err(moved),
            });
            match kept.await {
                Ok(kept) => return Some(kept),
                // A session has begun a new numbering meanwhile.
                Err(moved) => {
                    place = moved;
                    report.place = Some(place_to_wire(moved));
                }
            }
        }
    }

    /// Says what the spool says of itself, and whether it has a problem.
    pub async fn tell(&self, own: &Own) -> bool {
        let spool = self.lock().await;
        own.set_spool(spool.waiting());
        own.set_problem(Part::Spool, spool.problem().map(|why| format!("spool: {why}")));
        spool.problem().is_some()
    }

    /// Tries the disk again, and removes what is no longer needed.
    pub async fn tend(&self) {
        self.on_disk(|spool| spool.tend(Instant::now())).await;
    }

    /// Moves whenever reports were dropped or found missing.
    #[must_use]
    pub async fn lost(&self) -> u64 {
        self.lock().await.lost()
    }

    /// Takes other bounds.
    pub async fn set_bounds(&self, bounds: crate::settings::SpoolBounds) {
        self.lock().await.set_bounds(bounds);
    }

    /// The place of the last report that was kept.
    async fn last(&self) -> Place {
        let next = self.lock().await.next_place();
        Place { seq: next.seq - 1, ..next }
    }

    /// Flushes everything once nobody else shares it.
    pub async fn close(self) {
        if let Some(spool) = Arc::into_inner(self.0) {
            let spool = spool.into_inner();
            // Flushing is the last thing; a panic in it was said on standard error.
            let _ = tokio::task::spawn_blocking(move || spool.close(Instant::now())).await;
        }
    }
}

/// What the uplink works with.
pub struct Uplink {
    /// Key, certificate and where to find the collector.
    pub folder: StateFolder,
    /// The collector's address; a change is used from the next connection on. `None`: the token's.
    pub address: watch::Receiver<Option<String>>,
    /// What to send.
    pub spool: SharedSpool,
    /// Told when there is something new to send.
    pub news: Arc<Notify>,
    /// What the collector wants.
    pub orders: mpsc::Sender<Order>,
    /// What is wrong with the certificate.
    pub own: Arc<Own>,
    /// What is sent beside the spool.
    pub listings: Arc<NewestListings>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// SHA-256 of what tells this machine from another with the same disk.
    pub machine: [u8; 32],
    /// The socket of the enforcer, where orders go; nobody needs to listen there.
    pub enforcer: PathBuf,
}

/// What a session is begun with.
struct Begin<'a> {
    credentials: &'a Credentials,
    channel: Channel,
    /// The ruleset that waited to be confirmed, and was in force, before the connection was dialled.
    proved: Option<OrderRef>,
}

/// SHA-256 of machine-id(5) and the kernel's boot id.
#[must_use]
pub fn machine_hash(machine_id: &str, boot_id: &str) -> [u8; 32] {
    let mut hash = Sha256::new();
    hash.update(machine_id.trim());
    hash.update([0]);
    hash.update(boot_id.trim());
    hash.finalize().into()
}

/// Why a session ended.
#[derive(Debug)]
enum End {
    /// The certificate was renewed, or the rules have changed: connect again, at once.
    DialAnew,
    /// The agent stops; the goodbye is said.
    Stopped,
    /// Anything else.
    Failed(String),
}

impl Uplink {
    /// Runs until `stop` says so; then says goodbye if there is a connection.
    pub async fn run(self, mut stop: watch::Receiver<bool>) {
        let mut bound = FIRST_WAIT;
        let mut relay = Relay::start(self.enforcer.clone());
        loop {
            let began = Instant::now();
            match self.connected(&mut relay, stop.clone()).await {
                End::Stopped => return,
                End::DialAnew => bound = FIRST_WAIT,
                End::Failed(why) => {
                    if began.elapsed() >= GOOD_SESSION {
                        bound = FIRST_WAIT;
                    }
                    let wait = rand::rng().random_range(Duration::ZERO..=bound);
                    bound = (bound * 2).min(LONGEST_WAIT);
                    warn!(%why, ?wait, "no connection to the collector");
                    tokio::select! {
                        () = sleep(wait) => {}
                        () = stopped(&mut stop) => return,
                    }
                }
            }
        }
    }

    /// Connects and keeps the session until it ends. Both listen for the stop.
    async fn connected(&self, relay: &mut Relay, mut stop: watch::Receiver<bool>) -> End {
        let connecting = async {
            // Before dialling: a connection that is there already proves nothing of newer rules. And
            // after it: one that got through because they were reverted meanwhile proves nothing.
            let waited = relay.pending().await;
            let (credentials, channel) = self.connect().await?;
            let proved = match waited {
                Some(order) => relay.pending().await.filter(|still| *still == order),
                None => None,
            };
            Ok((credentials, channel, proved))
        };
        let (credentials, channel, proved) = tokio::select! {
            connected = connecting => match connected {
                Ok(connected) => connected,
                Err(why) => return End::Failed(why),
            },
            () = stopped(&mut stop) => return End::Stopped,
        };
        let begin = Begin { credentials: &credentials, channel, proved };
        self.session(begin, relay, stop).await.unwrap_or_else(End::Failed)
    }

    async fn connect(&self) -> Result<(Credentials, Channel), String> {
        let failed = |error: &dyn std::fmt::Display| error.to_string();
        let mut credentials = self.folder.credentials().map_err(|error| failed(&error))?;
        let address = self.address.borrow().clone();
        let address = address.unwrap_or_else(|| credentials.enrolled.collector.clone());
        let ends = credentials.facts().map_err(|error| failed(&error))?.not_after;
        if ends <= self.clock.now() {
            info!(%ends, "the certificate has ended while nobody could renew it; asking for another");
            if let Err(error) = restore(&credentials, &self.folder, &address).await {
                self.own.set_problem(Part::Certificate, Some(format!("certificate: {error}")));
                return Err(error.to_string());
            }
            credentials = self.folder.credentials().map_err(|error| failed(&error))?;
        }
        let config = tls::agent_client_config(
            &credentials.ca,
            vec![credentials.certificate.clone()],
            credentials.key.for_tls(),
            &tls::system_clock(),
        )
        .map_err(|error| failed(&error))?;
        let channel = channel::open(&address, config).await.map_err(|error| failed(&error))?;
        Ok((credentials, channel))
    }

    async fn session(
        &self,
        begin: Begin<'_>,
        relay: &mut Relay,
        mut stop: watch::Receiver<bool>,
    ) -> Result<End, String> {
        let Begin { credentials, channel, proved } = begin;
        let status = |status: Status| format!("{}: {}", status.code(), status.message());
        let mut client = UplinkClient::new(channel)
            .max_decoding_message_size(MAX_MESSAGE)
            .max_encoding_message_size(2 * MAX_MESSAGE);
        let (send, sending) = mpsc::channel(MAX_SENDING);
        let oldest = self.spool.on_disk(|spool| {
            spool.rewind();
            spool.oldest()
        });
        let hello = v1::Hello {
            protocol: PROTOCOL,
            agent_version: env!("CARGO_PKG_VERSION").to_owned(),
            machine: self.machine.to_vec(),
            oldest: oldest.await.map(place_to_wire),
            pending: proved.map(order_ref_to_wire),
        };
        self.send(&send, from_agent::Message::Hello(hello)).await?;
        let mut answers =
            client.session(ReceiverStream::new(sending)).await.map_err(status)?.into_inner();
        let Welcomed { acknowledged, listings } = timeout(WELCOME_LIMIT, welcome(&mut answers))
            .await
            .map_err(|_| "the collector does not welcome us".to_owned())??;
        let resumed =
            self.spool.on_disk(move |spool| spool.resume(acknowledged, &mut rand::rng())).await;
        if resumed == Resumed::Renumbered {
            warn!("the collector knows more than the spool: the spool is of an older state");
        }
        info!(?acknowledged, "connected to the collector");
        // The collector may have missed something: what is made from now on begins with everything.
        self.order(Order::SendEverything).await?;

        let renewal = sleep(self.until_renewal(credentials)?);
        tokio::pin!(renewal);
        let mut gathering = OrderGathering::default();
        let mut listings = Sending::new(&self.listings, listings);
        let mut listed = self.listings.moved();
        loop {
            self.send_waiting(&send).await?;
            tokio::select! {
                // An order that cannot be handed on is not read either.
                answer = answers.message(), if relay.has_room() => {
                    let answer = answer.map_err(status)?.ok_or("the collector hung up")?;
                    match ordered(answer, &mut gathering)? {
                        Ordered::Nothing => {}
                        Ordered::Apply(order, octets) => relay.apply(order, octets),
                        Ordered::Confirm(order) => relay.confirm(order, proved),
                        Ordered::Listings(held) => listings.hear(held),
                        Ordered::Other(answer) => self.answered(answer).await?,
                    }
                }
                heard = relay.heard() => if self.tell(&send, heard).await? {
                    drop(send);
                    let hang_up = async { while let Ok(Some(_)) = answers.message().await {} };
                    if timeout(HANG_UP_LIMIT, hang_up).await.is_err() {
                        debug!("the collector does not end the session; it is cut");
                    }
                    return Ok(End::DialAnew);
                },
                () = self.news.notified() => {}
                changed = listed.changed() => changed.map_err(|_| "the agent is stopping")?,
                // One part when everything before it is on its way, so that no report waits long.
                room = room(&send), if listings.has_more() => {
                    room?;
                    if let Some(message) = listings.next() {
                        self.send(&send, message).await?;
                    }
                }
                () = sleep(HEARTBEAT) => {
                    self.send(&send, from_agent::Message::Heartbeat(v1::Heartbeat {})).await?;
                }
                () = &mut renewal => match self.renew(&mut client, credentials).await {
                    Ok(()) => {
                        self.own.set_problem(Part::Certificate, None);
                        return Ok(End::DialAnew);
                    }
                    Err(why) => {
                        warn!(%why, "the certificate could not be renewed");
                        self.own.set_problem(Part::Certificate, Some(format!("certificate: {why}")));
                        renewal.as_mut().reset(tokio::time::Instant::now() + RENEW_AGAIN);
                    }
                },
                () = stopped(&mut stop) => {
                    let goodbye = self.goodbye(credentials, &send, &mut answers);
                    if timeout(GOODBYE_LIMIT, goodbye).await.is_err() {
                        debug!("the collector did not hear the goodbye in time");
                    }
                    return Ok(End::Stopped);
                }
            }
        }
    }

    /// Sends what the spool hands out.
    async fn send_waiting(&self, send: &mpsc::Sender<v1::FromAgent>) -> Result<(), String> {
        if self.spool.lock().await.is_window_full() {
            return Ok(());
        }
        while let Some(item) = self.spool.on_disk(Spool::next).await {
            let message = match item {
                Item::Report { place, payload } => match v1::Report::decode(payload) {
                    Ok(report) => from_agent::Message::Report(report),
                    Err(error) => {
                        // Its checksum was right, so it was written like this: a defect, told as
                        // what it is to the collector, a loss.
                        tracing::error!(?place, %error, "a report in the spool cannot be read");
                        let reason = bailey_rules::report::LossReason::SpoolDamaged;
                        let (boot, from, to) = (place.boot, place.seq, place.seq);
                        let gap = bailey_rules::report::Gap { boot, from, to, reason };
                        from_agent::Message::Loss(loss_to_wire(&gap))
                    }
                },
                Item::Loss(gap) => from_agent::Message::Loss(loss_to_wire(&gap)),
            };
            self.send(send, message).await?;
        }
        Ok(())
    }

    async fn send(
        &self,
        send: &mpsc::Sender<v1::FromAgent>,
        message: from_agent::Message,
    ) -> Result<(), String> {
        let sent_at_millis = self.clock.now().as_millis();
        send.send(v1::FromAgent { sent_at_millis, message: Some(message) })
            .await
            .map_err(|_| "the connection ended".to_owned())
    }

    /// Says what came of an order. Tells whether the next connection must be a new one.
    async fn tell(&self, send: &mpsc::Sender<v1::FromAgent>, heard: Heard) -> Result<bool, String> {
        let Heard { outcome, dial_anew } = heard;
        let version = outcome.order.version;
        match &outcome.result {
            OrderResult::Applied => info!(version, "an order is in force"),
            OrderResult::Confirmed => info!(version, "an order is confirmed"),
            OrderResult::Refused { error, why } => {
                warn!(version, error, why, "an order is refused");
            }
            OrderResult::NoEnforcer { why } => warn!(version, why, "nobody here follows orders"),
        }
        let outcome = outcome_to_wire(&outcome);
        self.send(send, from_agent::Message::OrderOutcome(outcome)).await?;
        Ok(dial_anew)
    }

    async fn order(&self, order: Order) -> Result<(), String> {
        self.orders.send(order).await.map_err(|_| "the agent is stopping".to_owned())
    }

    async fn answered(&self, answer: v1::FromCollector) -> Result<(), String> {
        match answer.message {
            Some(from_collector::Message::Acknowledged(acknowledged)) => {
                let place = acknowledged.place.ok_or("an acknowledgement of nothing")?;
                let place = place_from_wire(&place).map_err(|error| error.to_string())?;
                let known = self
                    .spool
                    .on_disk(move |spool| {
                        let known = spool.acknowledge(place);
                        spool.tend(Instant::now());
                        known
                    })
                    .await;
                self.spool.tell(&self.own).await;
                if !known {
                    return Err("the collector acknowledges what was not sent".to_owned());
                }
            }
            Some(from_collector::Message::SendEverything(_)) => {
                self.order(Order::SendEverything).await?;
            }
            Some(from_collector::Message::Intervals(intervals)) => {
                let intervals =
                    intervals_from_wire(intervals).map_err(|error| error.to_string())?;
                self.order(Order::Intervals(intervals)).await?;
            }
            // While the agent stops it takes no order.
            Some(
                from_collector::Message::Welcome(_)
                | from_collector::Message::OrderPart(_)
                | from_collector::Message::ConfirmOrder(_)
                | from_collector::Message::ListingsHeld(_),
            )
            | None => {}
        }
        Ok(())
    }

    fn until_renewal(&self, credentials: &Credentials) -> Result<Duration, String> {
        let certificate = credentials.facts().map_err(|error| error.to_string())?;
        let life = certificate.not_before.age(certificate.not_after);
        let spread = life.mul_f64(RENEW_SPREAD * rand::rng().random::<f64>());
        Ok(self.clock.now().age(certificate.half_life() + spread))
    }

    async fn renew(
        &self,
        client: &mut UplinkClient<Channel>,
        credentials: &Credentials,
    ) -> Result<(), String> {
        let request = credentials.key.request().map_err(|error| error.to_string())?;
        let renewed = client.renew(v1::RenewRequest { request });
        let renewed = timeout(WELCOME_LIMIT, renewed).await.map_err(|_| "no answer".to_owned())?;
        let certificate = renewed.map_err(|status| status.message().to_owned())?.into_inner();
        let leaf = rustls::pki_types::CertificateDer::from(certificate.leaf.as_ref());
        if !credentials.key.fits(&leaf) {
            return Err("the new certificate is for another key".to_owned());
        }
        self.folder.keep_certificate(&certificate.leaf).map_err(|error| error.to_string())?;
        info!("the certificate is renewed");
        Ok(())
    }

    /// Says that no more reports will come, signed, and waits until all that were sent are
    /// acknowledged.
    async fn goodbye(
        &self,
        credentials: &Credentials,
        send: &mpsc::Sender<v1::FromAgent>,
        answers: &mut Streaming<v1::FromCollector>,
    ) -> Result<(), String> {
        self.send_waiting(send).await?;
        while self.spool.lock().await.in_flight() > 0 {
            let answer = answers.message().await.map_err(|status| status.to_string())?;
            self.answered(answer.ok_or("the collector hung up")?).await?;
            self.send_waiting(send).await?;
        }
        let last = self.spool.last().await;
        let at_millis = self.clock.now().as_millis();
        let said = goodbye_bytes(last.boot, last.seq, at_millis);
        let goodbye = v1::Goodbye {
            boot: last.boot.as_bytes().to_vec(),
            last_seq: last.seq,
            at_millis,
            signature: credentials.key.sign(&said).map_err(|error| error.to_string())?,
        };
        self.send(send, from_agent::Message::Goodbye(goodbye)).await?;
        // The collector closes the session once it has heard it.
        while let Ok(Some(_)) = answers.message().await {}
        Ok(())
    }
}

/// Waits until everything that is to be sent is on its way.
async fn room(send: &mpsc::Sender<v1::FromAgent>) -> Result<(), String> {
    let room = send.reserve_many(MAX_SENDING).await;
    room.map(drop).map_err(|_| "the connection ended".to_owned())
}

/// What an answer of the collector asks for, of the enforcer first of all.
enum Ordered {
    /// Nothing yet: the order is not whole.
    Nothing,
    /// To follow a signed order.
    Apply(OrderRef, bytes::Bytes),
    /// To keep what waits to be confirmed.
    Confirm(OrderRef),
    /// Nothing: it is about listings.
    Listings(BTreeMap<ListingSource, ListingDigest>),
    /// It is for the agent itself.
    Other(v1::FromCollector),
}

fn ordered(answer: v1::FromCollector, gathering: &mut OrderGathering) -> Result<Ordered, String> {
    match answer.message {
        Some(from_collector::Message::OrderPart(part)) => {
            let whole = gathering.take(&part).map_err(|error| format!("order_part.{error}"))?;
            Ok(whole.map_or(Ordered::Nothing, |(order, octets)| Ordered::Apply(order, octets)))
        }
        Some(from_collector::Message::ConfirmOrder(confirm)) => {
            let order = named_order(confirm.order.as_ref());
            order.map(Ordered::Confirm).map_err(|error| format!("confirm_order.{error}"))
        }
        Some(from_collector::Message::ListingsHeld(held)) => {
            let held = listings_held_from_wire(held);
            held.map(Ordered::Listings).map_err(|error| format!("listings_held.{error}"))
        }
        message => Ok(Ordered::Other(v1::FromCollector { message })),
    }
}

/// Completes when the agent is to stop.
pub async fn stopped(stop: &mut watch::Receiver<bool>) {
    // A sender that is gone stops us too.
    let _ = stop.wait_for(|stop| *stop).await;
}

/// What the collector begins a session with.
struct Welcomed {
    /// The last place that it has.
    acknowledged: Option<Place>,
    /// The listings that it has; `None` when it takes none.
    listings: Option<BTreeMap<ListingSource, ListingDigest>>,
}

async fn welcome(answers: &mut Streaming<v1::FromCollector>) -> Result<Welcomed, String> {
    loop {
        let answer =
            answers.message().await.map_err(|s| format!("{}: {}", s.code(), s.message()))?;
        match answer.ok_or("the collector hung up")?.message {
            Some(from_collector::Message::Welcome(welcome)) => {
                if welcome.protocol != PROTOCOL {
                    let theirs = welcome.protocol;
                    return Err(format!(
                        "the collector speaks protocol {theirs}, this agent {PROTOCOL}: update the older"
                    ));
                }
                let place = welcome.acknowledged.as_ref().map(place_from_wire).transpose();
                let listings = welcome.listings.map(listings_held_from_wire).transpose();
                return Ok(Welcomed {
                    acknowledged: place.map_err(|error| error.to_string())?,
                    listings: listings.map_err(|error| format!("welcome.{error}"))?,
                });
            }
            Some(
                from_collector::Message::Acknowledged(_)
                | from_collector::Message::SendEverything(_)
                | from_collector::Message::Intervals(_)
                | from_collector::Message::OrderPart(_)
                | from_collector::Message::ConfirmOrder(_)
                | from_collector::Message::ListingsHeld(_),
            )
            | None => {}
        }
    }
}
