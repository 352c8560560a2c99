//! The calls of an enrolled host: its session, and a new certificate.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bailey_rules::host::Connection;
use bailey_rules::name::BootId;
use bailey_rules::report::{Gap, LossReason, Place};
use bailey_rules::time::Timestamp;
use bailey_wire::convert::{self, ConvertError};
use bailey_wire::identity::{goodbye_bytes, verify};
use bailey_wire::{PROTOCOL, v1};
use prost::Message as _;
use rustls::pki_types::CertificateDer;
use tokio::sync::{Notify, mpsc};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, Streaming};
use tracing::{debug, info, warn};

use super::{DRAIN_LIMIT, Shared};
use crate::ca;
use crate::counters::{AuthFailure, ReportResult};
use crate::enrolment::Refusal;
use crate::host::{Arrival, Begun, Host, Mail, Said, Taken};
use crate::journal;
use crate::judging::save_snapshot;
use crate::listings::Taking;
use crate::store::StoreError;

/// The oldest protocol that is understood: agents two versions old are.
const OLDEST_PROTOCOL: u32 = 1;
const _: () = assert!(OLDEST_PROTOCOL <= PROTOCOL);

/// How long a session may take to say who it is of.
const HELLO_LIMIT: Duration = Duration::from_secs(10);

/// Answers that wait to be sent. Acknowledgements are cumulative, so few are enough.
const MAX_ANSWERS: usize = 16;

/// While the collector starts, hosts that connect again are no news.
const STARTING: Duration = Duration::from_mins(2);

pub(super) struct Service {
    shared: Arc<Shared>,
    host: Arc<Host>,
    certificate: CertificateDer<'static>,
    connection: Connection,
    cut: CancellationToken,
    begun: Arc<Notify>,
}

type Answers = mpsc::Sender<Result<v1::FromCollector, Status>>;

impl Service {
    /// The service, and what is told when the first call begins.
    pub(super) fn new(
        shared: Arc<Shared>,
        host: Arc<Host>,
        certificate: CertificateDer<'static>,
        connection: Connection,
        cut: &CancellationToken,
    ) -> (Self, Arc<Notify>) {
        let begun = Arc::new(Notify::new());
        let told = Arc::clone(&begun);
        (Self { shared, host, certificate, connection, cut: cut.clone(), begun }, told)
    }
}

#[tonic::async_trait]
impl v1::uplink_server::Uplink for Service {
    type SessionStream = ReceiverStream<Result<v1::FromCollector, Status>>;

    async fn session(
        &self,
        request: Request<Streaming<v1::FromAgent>>,
    ) -> Result<Response<Self::SessionStream>, Status> {
        self.begun.notify_one();
        let (answers, stream) = mpsc::channel(MAX_ANSWERS);
        let session = Session {
            shared: Arc::clone(&self.shared),
            host: Arc::clone(&self.host),
            certificate: self.certificate.clone(),
            connection: self.connection,
            cut: self.cut.clone(),
            answers,
            told: None,
            number: 0,
        };
        tokio::spawn(session.run(request.into_inner()));
        Ok(Response::new(ReceiverStream::new(stream)))
    }

    async fn renew(
        &self,
        request: Request<v1::RenewRequest>,
    ) -> Result<Response<v1::Certificate>, Status> {
        self.begun.notify_one();
        if !self.host.may_renew(Instant::now()) {
            self.shared.turned_away(self.connection.from, AuthFailure::TooMany);
            return Err(Status::resource_exhausted("too many renewals; wait some minutes"));
        }
        let refuse = |refusal: Refusal| {
            if let Some(why) = refusal.counted() {
                self.shared.turned_away(self.connection.from, why);
            }
            match refusal {
                Refusal::Store(error) => Status::unavailable(error.to_string()),
                other => Status::permission_denied(other.to_string()),
            }
        };
        let wanted =
            ca::Request::read(&request.into_inner().request).map_err(|e| refuse(e.into()))?;
        let enrolment = &self.shared.enrolment;
        let issued = enrolment.renew(&self.host, wanted).await.map_err(refuse)?;
        debug!(host = %self.host.name, ends = %issued.ends, "certificate renewed");
        let ca = enrolment.ca().certificate().to_vec();
        Ok(Response::new(v1::Certificate { leaf: issued.der, ca }))
    }
}

/// One session of a host.
struct Session {
    shared: Arc<Shared>,
    host: Arc<Host>,
    certificate: CertificateDer<'static>,
    connection: Connection,
    cut: CancellationToken,
    answers: Answers,
    /// The last place that was acknowledged in this session.
    told: Option<Place>,
    /// Its number among the sessions of the host, once it has begun.
    number: u64,
}

/// Why a session ends.
enum End {
    /// The agent ended it, or the connection did.
    Gone,
    /// We end it, and say why.
    Told(Status),
    /// The collector stops.
    Stopping,
}

impl From<StoreError> for End {
    fn from(error: StoreError) -> Self {
        Self::Told(Status::unavailable(error.to_string()))
    }
}

impl Session {
    async fn run(mut self, mut inbound: Streaming<v1::FromAgent>) {
        let end = match self.begin(&mut inbound).await {
            Err(end) => end,
            Ok(begun) => {
                self.shared.site.push_wake().notify_one();
                let end = self.go_on(&mut inbound, &begun.replaced).await;
                if matches!(end, End::Stopping) {
                    self.drain().await;
                }
                self.host.end(begun.session);
                self.shared.site.push_wake().notify_one();
                // What woke this one last may be meant for the one that took its place.
                self.host.wake.notify_one();
                end
            }
        };
        let status = match end {
            End::Gone => return debug!(host = %self.host.name, "session ended"),
            End::Stopping => Status::unavailable("the collector is stopping"),
            End::Told(status) => status,
        };
        debug!(host = %self.host.name, why = status.message(), "session ended by us");
        // The answer is for a peer that reads; one that does not is cut with its connection.
        let _ = self.answers.try_send(Err(status));
    }

    async fn begin(&mut self, inbound: &mut Streaming<v1::FromAgent>) -> Result<Begun, End> {
        let first = tokio::select! {
            () = self.shared.stop.cancelled() => return Err(End::Stopping),
            first = tokio::time::timeout(HELLO_LIMIT, inbound.message()) => first,
        };
        let late = |_| End::Told(Status::deadline_exceeded("no hello came"));
        let first = first.map_err(late)?.map_err(End::Told)?.ok_or(End::Gone)?;
        let wrong = |why: &'static str| End::Told(Status::invalid_argument(why));
        let sent_at = Timestamp::from_millis(first.sent_at_millis);
        let Some(v1::from_agent::Message::Hello(hello)) = first.message else {
            return Err(wrong("a session begins with hello"));
        };
        if hello.protocol < OLDEST_PROTOCOL {
            return Err(End::Told(Status::failed_precondition(format!(
                "this agent is too old: it speaks protocol {}, and {OLDEST_PROTOCOL} is the \
                 oldest understood here",
                hello.protocol
            ))));
        }
        // A machine that has nothing to be told apart by says nothing.
        let machine = match hello.machine.len() {
            0 => None,
            _ => Some(
                <[u8; 32]>::try_from(hello.machine)
                    .map_err(|_| wrong("hello.machine is not 32 octets"))?,
            ),
        };
        let pending = hello
            .pending
            .as_ref()
            .map(convert::order_ref_from_wire)
            .transpose()
            .map_err(|_| wrong("hello.pending is not an order's number and digest"))?;
        let site = &self.shared.site;
        let now = site.now();
        let starting = site.started_at().age(now) < STARTING;
        let Some(mut begun) = self.host.begin(machine, pending, now, starting) else {
            self.shared.turned_away(self.connection.from, AuthFailure::TooMany);
            return Err(End::Told(Status::resource_exhausted("too many sessions; wait a minute")));
        };
        self.number = begun.session;
        self.host.is_open_over(begun.session, self.connection);
        self.host.heard(sent_at, now);
        let event = begun.event.take().into_iter().collect();
        if let Err(error) = journal::write(site, "write an event", event).await {
            warn!(%error, "an event is not in the journal");
        }
        let version: String =
            hello.agent_version.chars().filter(|c| !c.is_control()).take(64).collect();
        info!(host = %self.host.name, peer = %self.connection.from, agent = version, "session began");
        let welcome = v1::from_collector::Message::Welcome(v1::Welcome {
            protocol: PROTOCOL,
            collector_version: env!("CARGO_PKG_VERSION").into(),
            acknowledged: begun.acknowledged.map(convert::place_to_wire),
            listings: Some(self.listings_held()),
        });
        self.told = begun.acknowledged;
        if let Err(end) = self.say(welcome, &begun.replaced).await {
            self.host.end(begun.session);
            return Err(end);
        }
        Ok(begun)
    }

    async fn go_on(
        &mut self,
        inbound: &mut Streaming<v1::FromAgent>,
        replaced: &CancellationToken,
    ) -> End {
        let host = Arc::clone(&self.host);
        let stop = self.shared.stop.clone();
        let mut taking = Taking::begin(&self.shared.site, &host, self.number);
        // Held back for having sent too much, until then.
        let mut held_back: Option<tokio::time::Instant> = None;
        loop {
            let wait = async {
                match held_back {
                    Some(until) => tokio::time::sleep_until(until).await,
                    None => std::future::pending().await,
                }
            };
            let message = tokio::select! {
                biased;
                () = host.revoked.cancelled() => {
                    return End::Told(Status::permission_denied("the identity was revoked"));
                }
                () = replaced.cancelled() => return self.why_replaced(),
                () = self.cut.cancelled() => return End::Gone,
                () = stop.cancelled() => return End::Stopping,
                () = host.wake.notified() => {
                    match self.deliver(replaced).await {
                        Ok(()) => continue,
                        Err(end) => return end,
                    }
                }
                () = wait => {
                    held_back = None;
                    continue;
                }
                () = taking.again() => {
                    let held = v1::from_collector::Message::ListingsHeld(self.listings_held());
                    match self.say(held, replaced).await {
                        Ok(()) => continue,
                        Err(end) => return end,
                    }
                }
                message = inbound.message(), if held_back.is_none() => message,
            };
            let message = match message {
                Ok(Some(message)) => message,
                Ok(None) => return End::Gone,
                Err(status) => {
                    debug!(host = %host.name, why = status.message(), "session broke off");
                    return End::Gone;
                }
            };
            match self.hear(message, &mut taking, replaced).await {
                Ok(None) => {}
                Ok(Some(wait)) => held_back = Some(tokio::time::Instant::now() + wait),
                Err(end) => return end,
            }
        }
    }

    /// The listings that need not be sent again.
    fn listings_held(&self) -> v1::ListingsHeld {
        convert::listings_held_to_wire(self.host.kept_listings().digests())
    }

    /// Another session of the same host began, or what this one sent could not be stored.
    fn why_replaced(&self) -> End {
        let status = match self.shared.site.store().problem() {
            Some(problem) => Status::unavailable(problem.message),
            None => Status::aborted("another session with this identity began"),
        };
        End::Told(status)
    }

    /// Takes one message. Gives how long nothing more is to be read, when there was too much.
    async fn hear(
        &mut self,
        message: v1::FromAgent,
        taking: &mut Taking,
        replaced: &CancellationToken,
    ) -> Result<Option<Duration>, End> {
        use v1::from_agent::Message;
        let arrived = Instant::now();
        let received_at = self.shared.site.now();
        let sent_at = Timestamp::from_millis(message.sent_at_millis);
        let malformed = |error: ConvertError| {
            End::Told(Status::invalid_argument(format!("malformed message: {error}")))
        };
        let said = match message.message {
            Some(Message::Heartbeat(_)) => {
                self.host.heard(sent_at, received_at);
                return Ok(None);
            }
            // What a newer agent may say is not answered, and not acknowledged either.
            None => return Ok(None),
            Some(Message::Hello(_)) => {
                return Err(End::Told(Status::invalid_argument("hello comes once")));
            }
            Some(Message::OrderOutcome(outcome)) => {
                self.host.heard(sent_at, received_at);
                let octets = outcome.encoded_len();
                let outcome = convert::outcome_from_wire(outcome).map_err(malformed)?;
                let version = outcome.order.version;
                info!(host = %self.host.name, version, result = ?outcome.result, "order answered");
                self.host.note_outcome(outcome);
                self.shared.site.push_wake().notify_one();
                return Ok(self.wait_for(octets, arrived));
            }
            Some(Message::ListingPart(part)) => {
                self.host.heard(sent_at, received_at);
                return Ok(self.wait_for(taking.part(part), arrived));
            }
            Some(Message::NoListing(none)) => {
                self.host.heard(sent_at, received_at);
                let octets = none.encoded_len();
                match convert::no_listing_from_wire(none) {
                    Ok((source, why)) => taking.none(source, why),
                    Err(error) => debug!(host = %self.host.name, %error, "not understood"),
                }
                return Ok(self.wait_for(octets, arrived));
            }
            Some(Message::Report(report)) => self.report(report)?,
            Some(Message::Loss(loss)) => Said::loss(&loss).map_err(malformed)?,
            Some(Message::Goodbye(goodbye)) => self.goodbye(&goodbye)?,
        };
        let octets = said.octets();
        let site = self.shared.site.clone();
        let room = tokio::select! {
            () = replaced.cancelled() => return Err(self.why_replaced()),
            () = self.host.revoked.cancelled() => return Err(End::Gone),
            room = site.store().room(octets) => room?,
        };
        let arrival = Arrival { sent_at, received_at, arrived, said };
        match self.host.admit(arrival, room, site.store())? {
            Taken::Admitted | Taken::Known => {}
            Taken::Stored(place) => self.acknowledge(place, replaced).await?,
        }
        Ok(self.wait_for(octets, arrived))
    }

    /// How long nothing more is to be read, after `octets` came.
    fn wait_for(&self, octets: usize, arrived: Instant) -> Option<Duration> {
        let wait = self.host.over_quota(octets, arrived);
        if wait.is_zero() {
            return None;
        }
        self.shared.counters().quota_waits.one();
        Some(wait)
    }

    /// A report that cannot be understood but has a place is lost, and said to be: otherwise its agent
    /// would send it for ever.
    fn report(&self, report: v1::Report) -> Result<Said, End> {
        let place = report.place.as_ref().and_then(|place| convert::place_from_wire(place).ok());
        let error = match Said::report(report) {
            Ok(said) => return Ok(said),
            Err(error) => error,
        };
        self.shared.counters().reports.of(ReportResult::Malformed).one();
        warn!(host = %self.host.name, %error, ?place, "a report is malformed");
        let Some(Place { boot, seq }) = place else {
            return Err(End::Told(Status::invalid_argument(format!("malformed report: {error}"))));
        };
        let gap = Gap { boot, from: seq, to: seq, reason: LossReason::Undeclared };
        let body = convert::loss_to_wire(&gap).encode_to_vec().into();
        Ok(Said::Loss { body, gap })
    }

    fn goodbye(&self, goodbye: &v1::Goodbye) -> Result<Said, End> {
        let wrong = |why: &'static str| End::Told(Status::invalid_argument(why));
        let boot = BootId::try_from(&goodbye.boot[..])
            .map_err(|_| wrong("goodbye.boot is not 16 octets"))?;
        let signed = goodbye_bytes(boot, goodbye.last_seq, goodbye.at_millis);
        if verify(&self.certificate, &signed, &goodbye.signature).is_err() {
            self.shared.turned_away(self.connection.from, AuthFailure::BadSignature);
            return Err(wrong("the signature of the goodbye does not fit"));
        }
        let seq = goodbye.last_seq.min(convert::MAX_SEQ);
        Ok(Said::Goodbye {
            body: goodbye.encode_to_vec().into(),
            place: Place { boot, seq },
            at: Timestamp::from_millis(goodbye.at_millis),
        })
    }

    /// Applies what is on disk and tells the agent so.
    async fn deliver(&mut self, replaced: &CancellationToken) -> Result<(), End> {
        if let Some(snapshot) = self.host.settle() {
            save_snapshot(self.shared.site.store(), &self.host, snapshot);
        }
        let due = self.host.due();
        for place in due.acknowledged {
            self.acknowledge(place, replaced).await?;
        }
        if due.ask_everything {
            let ask = v1::from_collector::Message::SendEverything(v1::SendEverything {});
            self.say(ask, replaced).await?;
        }
        while let Some(mail) = self.host.next_mail(self.number) {
            self.send(mail, replaced).await?;
        }
        Ok(())
    }

    /// Sends an order in parts, or a confirmation.
    async fn send(&self, mail: Mail, replaced: &CancellationToken) -> Result<(), End> {
        use v1::from_collector::Message;
        let (order, octets) = match mail {
            Mail::Confirm(order) => {
                let order = Some(convert::order_ref_to_wire(order));
                return self.say(Message::ConfirmOrder(v1::ConfirmOrder { order }), replaced).await;
            }
            Mail::Order { order, octets } => (order, octets),
        };
        match convert::order_parts(order, &octets) {
            Ok(parts) => {
                for part in parts {
                    self.say(Message::OrderPart(part), replaced).await?;
                }
            }
            Err(error) => warn!(host = %self.host.name, %error, "an order cannot be sent"),
        }
        Ok(())
    }

    async fn acknowledge(&mut self, place: Place, replaced: &CancellationToken) -> Result<(), End> {
        if self.told == Some(place) {
            return Ok(());
        }
        self.told = Some(place);
        let place = Some(convert::place_to_wire(place));
        let said = v1::from_collector::Message::Acknowledged(v1::Acknowledged { place });
        self.say(said, replaced).await
    }

    /// Sends an answer; a peer that does not read is not read from either.
    async fn say(
        &self,
        message: v1::from_collector::Message,
        replaced: &CancellationToken,
    ) -> Result<(), End> {
        let message = v1::FromCollector { message: Some(message) };
        tokio::select! {
            sent = self.answers.send(Ok(message)) => sent.map_err(|_| End::Gone),
            () = replaced.cancelled() => Err(self.why_replaced()),
            () = self.host.revoked.cancelled() => Err(End::Gone),
            () = self.cut.cancelled() => Err(End::Gone),
        }
    }

    /// The collector stops: what is on its way to the disk is still acknowledged.
    async fn drain(&mut self) {
        let never = CancellationToken::new();
        let drained = async {
            loop {
                if self.deliver(&never).await.is_err() || self.host.is_settled() {
                    return;
                }
                self.host.wake.notified().await;
            }
        };
        // Half of the time is for the rest of the connection to end.
        if tokio::time::timeout(DRAIN_LIMIT / 2, drained).await.is_err() {
            debug!("not everything was acknowledged in time");
        }
    }
}
