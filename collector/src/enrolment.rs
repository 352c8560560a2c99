//! Who may report: tokens, identities, approval, revocation.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bailey_rules::name::{HostKey, HostName, ZoneName};
use bailey_rules::text::Text;
use bailey_rules::time::Timestamp;
use bailey_wire::order::VerifyingKey;
use bailey_wire::token::{Token, secret_hash};
use rand::RngCore as _;
use rusqlite::types::Type;
use rusqlite::{Connection, OptionalExtension as _, Row, Transaction, params};
use serde::Serialize;
use tracing::warn;

use crate::ca::{Ca, CaError, HOST_LIFE, Issued, Request};
use crate::counters::AuthFailure;
use crate::host::Host;
use crate::journal::NewEvent;
use crate::judging::write_finding;
use crate::listings;
use crate::site::{EventKind, Removed, Site};
use crate::store::{StoreError, forget_snapshot};
use crate::zone::{self, UnknownZone};

/// The shortest and the longest time that a token may be good for.
pub const TOKEN_LIFE: std::ops::RangeInclusive<Duration> =
    Duration::from_secs(10)..=Duration::from_hours(7 * 24);

/// The most tokens that wait to be used.
pub const MAX_TOKENS: i64 = 20_000;

/// The most machines that wait for approval.
pub const MAX_WAITING: i64 = 1_000;

/// The longest reason that is kept, in characters.
pub const MAX_REASON: usize = 500;

/// Who did something, for the journal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Actor(String);

impl Actor {
    /// A user of this machine, by number.
    #[must_use]
    pub fn uid(uid: u32) -> Self {
        Self(format!("uid {uid}"))
    }

    /// Somebody with a name; at most 64 characters of it are kept.
    #[must_use]
    pub fn named(name: &str) -> Self {
        Self(name.chars().filter(|c| !c.is_control()).take(64).collect())
    }

    /// The collector itself.
    #[must_use]
    pub fn collector() -> Self {
        Self::named("collector")
    }

    /// As it is stored.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Actor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// A token that was just made. This is the only moment at which its secret is known.
#[derive(Debug, Clone)]
pub struct MadeToken {
    /// The token.
    pub token: Token,
    /// The line to paste on the host.
    pub line: String,
    /// When it stops being good.
    pub expires_at: Timestamp,
}

impl MadeToken {
    /// The same token, which also tells the host to follow the orders of `key`. The collector keeps
    /// no note of that: only the host pins it.
    #[must_use]
    pub fn with_security_key(self, key: VerifyingKey) -> Self {
        let token = self.token.with_security_key(key);
        Self { line: pasted(&token), token, ..self }
    }
}

fn pasted(token: &Token) -> String {
    format!("printf %s '{token}' | sudo bailey-agent enroll")
}

/// A machine that asks for a name that belongs to another key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct WaitingHost {
    /// The name it asks for.
    pub host: HostName,
    /// The zone of its token.
    pub zone: ZoneName,
    /// Its key.
    pub key: HostKey,
    /// The key that has the name now.
    pub holder: Option<HostKey>,
    /// Since when it waits.
    pub since: Timestamp,
    /// The address that it asked from.
    pub source: String,
}

/// An enrolled host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Identity {
    /// Its name.
    pub host: HostName,
    /// Its zone.
    pub zone: ZoneName,
    /// Its key.
    pub key: HostKey,
    /// When it was enrolled.
    pub enrolled_at: Timestamp,
    /// When its newest certificate began.
    pub certificate_began: Timestamp,
    /// When its newest certificate ends.
    pub certificate_ends: Timestamp,
    /// When it was revoked, if it was.
    pub revoked_at: Option<Timestamp>,
    /// Why it was revoked.
    pub revoked_reason: Option<String>,
}

/// Why an order about enrolment could not be carried out.
#[derive(Debug, thiserror::Error)]
pub enum EnrolmentError {
    /// The policy has no such zone.
    #[error(transparent)]
    UnknownZone(#[from] UnknownZone),
    /// The policy puts the host into another zone.
    #[error("the policy puts the host \"{host}\" into the zone \"{wanted}\", not \"{zone}\"")]
    OtherZone {
        /// The host.
        host: HostName,
        /// The zone of the policy.
        wanted: ZoneName,
        /// The zone asked for.
        zone: ZoneName,
    },
    /// A device has the name.
    #[error("\"{0}\" is the name of a device that is polled; choose another, or remove the device")]
    IsDevice(HostName),
    /// The time is too short or too long.
    #[error("a token may be good for 10 s to 7 d, not for {} s", .0.as_secs())]
    Life(Duration),
    /// Too many tokens wait.
    #[error("{MAX_TOKENS} tokens wait to be used; use them or let them expire first")]
    TooManyTokens,
    /// The address that tokens must carry is unusable.
    #[error("tokens cannot carry the address {0}; set public_address to one that hosts can dial")]
    Address(String),
    /// Nobody waits under this name.
    #[error("nothing waits for approval as \"{0}\"; bailey enroll ls lists what waits")]
    NothingWaits(HostName),
    /// Nobody is enrolled under this name.
    #[error("no host \"{0}\" is enrolled; bailey enroll ls lists the enrolled")]
    NotEnrolled(HostName),
    /// The store could not be read or written.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl EnrolmentError {
    /// Why, in both languages.
    #[must_use]
    pub fn text(&self) -> Text {
        let zh = match self {
            Self::UnknownZone(error) => return error.text(),
            Self::OtherZone { host, wanted, zone } => {
                format!("策略将主机 \"{host}\" 置于安全域 \"{wanted}\"，而非 \"{zone}\"")
            }
            Self::IsDevice(name) => {
                format!("\"{name}\" 是被轮询设备的名称；请另选名称，或移除该设备")
            }
            Self::Life(life) => {
                format!("令牌有效时间为 10 秒到 7 天，不能是 {} 秒", life.as_secs())
            }
            Self::TooManyTokens => {
                format!("已有 {MAX_TOKENS} 个令牌等待使用；请先使用，或等待其过期")
            }
            Self::Address(address) => {
                format!("令牌不能携带地址 {address}；请将 public_address 设为主机可以连接的地址")
            }
            Self::NothingWaits(name) => {
                format!("没有以 \"{name}\" 等待批准的机器；bailey enroll ls 列出等待者")
            }
            Self::NotEnrolled(name) => {
                format!("主机 \"{name}\" 未注册；bailey enroll ls 列出已注册的主机")
            }
            Self::Store(error) => return error.text(),
        };
        Text::new(self.to_string(), zh)
    }
}

/// How long spent and expired tokens are kept, so that a late or repeated use is told what happened.
const TOKENS_KEPT: Duration = Duration::from_hours(7 * 24);
/// How long refused machines are remembered.
const REFUSED_KEPT: Duration = Duration::from_hours(7 * 24);
/// The most revoked identities that are listed, newest first.
const MAX_REVOKED_LISTED: i64 = 1_000;
/// When a waiting machine is to ask again.
pub(crate) const ASK_AGAIN: Duration = Duration::from_secs(30);

/// Why an enrolment over the wire was turned away.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Refusal {
    #[error("no such token; make a new one with bailey enroll token")]
    UnknownToken,
    #[error("the token's time is over; make a new one with bailey enroll token")]
    ExpiredToken,
    #[error("the token was used by another machine; make a new one with bailey enroll token")]
    SpentToken,
    #[error("this enrolment was refused by an administrator")]
    Refused,
    #[error("this machine's key was revoked; remove the agent's state folder to make a new one")]
    Revoked,
    #[error("this machine is enrolled as {host} in zone {zone}; revoke that first")]
    OtherName { host: String, zone: String },
    #[error("too many machines wait for approval")]
    TooManyWait,
    #[error(transparent)]
    Ca(#[from] CaError),
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Refusal {
    /// The word that it is counted by; `None` for failures of our own.
    pub(crate) fn counted(&self) -> Option<AuthFailure> {
        match self {
            Self::UnknownToken => Some(AuthFailure::UnknownToken),
            Self::ExpiredToken => Some(AuthFailure::ExpiredToken),
            Self::SpentToken => Some(AuthFailure::SpentToken),
            Self::Refused => Some(AuthFailure::Refused),
            Self::Revoked => Some(AuthFailure::Revoked),
            Self::OtherName { .. } | Self::Ca(_) => Some(AuthFailure::BadRequest),
            Self::TooManyWait => Some(AuthFailure::TooMany),
            Self::Store(_) => None,
        }
    }
}

/// What a machine that asks to be enrolled gets.
#[derive(Debug)]
pub(crate) enum Answer {
    Enrolled { issued: Issued, host: HostName, zone: ZoneName },
    Waiting,
}

/// What the decision in the store came to, and what follows from it in memory.
enum Decided {
    Known { issued: Issued, identity: Identity },
    New { issued: Issued, no: i64, identity: Identity },
    Waits { since: Timestamp, host: HostName },
}

/// Tokens, identities, approval, revocation. Cheap to clone.
#[derive(Clone)]
pub struct Enrolment(Arc<Shared>);

struct Shared {
    site: Site,
    ca: Arc<Ca>,
    /// What tokens carry: where hosts dial.
    address: String,
}

fn kept_reason(reason: &str) -> String {
    reason.chars().filter(|c| !c.is_control()).take(MAX_REASON).collect()
}

impl Enrolment {
    pub(crate) fn new(site: Site, ca: Arc<Ca>, address: String) -> Self {
        Self(Arc::new(Shared { site, ca, address }))
    }

    fn site(&self) -> &Site {
        &self.0.site
    }

    /// Makes a token for one host and zone, good for `life` and for one use.
    ///
    /// # Errors
    /// When the policy has no such zone or another one for the host, the time is out of
    /// [`TOKEN_LIFE`], too many tokens wait, or the store cannot be written.
    pub async fn make_token(
        &self,
        host: HostName,
        zone: ZoneName,
        life: Duration,
        by: Actor,
    ) -> Result<MadeToken, EnrolmentError> {
        self.check_zone(&host, &zone)?;
        if self.site().held_device(&host).is_some() {
            return Err(EnrolmentError::IsDevice(host));
        }
        if !TOKEN_LIFE.contains(&life) {
            return Err(EnrolmentError::Life(life));
        }
        let mut secret = [0; 32];
        rand::rng().fill_bytes(&mut secret);
        let token =
            Token::new(&self.0.address, self.0.ca.pin(), secret, host.clone(), zone.clone())
                .map_err(|error| EnrolmentError::Address(error.to_string()))?;
        let now = self.site().now();
        let expires_at = now + life;
        let hash = token.secret_hash();
        let length = bailey_rules::time::spoken(life);
        let event = NewEvent {
            at: now,
            host: Some(host.clone()),
            kind: EventKind::TokenMade,
            text: Text::new(
                format!("a token for zone {zone} was made, good for {}", length.en),
                format!("已生成安全域 {zone} 的注册令牌，有效期 {}", length.zh),
            ),
            actor: Some(by.clone()),
        };
        let made = move |store: &Transaction<'_>| -> rusqlite::Result<bool> {
            store.execute(
                "DELETE FROM token WHERE expires_at < ?",
                [(now - TOKENS_KEPT).as_millis()],
            )?;
            let waiting: i64 = store.query_row(
                "SELECT count(*) FROM token WHERE spent_by IS NULL AND expires_at > ?",
                [now.as_millis()],
                |row| row.get(0),
            )?;
            if waiting >= MAX_TOKENS {
                return Ok(false);
            }
            store
                .prepare_cached("INSERT INTO token VALUES (?, ?, ?, ?, ?, ?, NULL, NULL)")?
                .execute(params![
                    hash,
                    host.as_str(),
                    zone.as_str(),
                    now.as_millis(),
                    by.as_str(),
                    expires_at.as_millis(),
                ])?;
            event.insert(store)?;
            Ok(true)
        };
        let made = self
            .site()
            .store()
            .write("make a token", move |store| {
                made(store).map_err(StoreError::failed("make a token"))
            })
            .await?;
        if !made {
            return Err(EnrolmentError::TooManyTokens);
        }
        self.site().dirty().wake.notify_one();
        Ok(MadeToken { line: pasted(&token), token, expires_at })
    }

    fn check_zone(&self, host: &HostName, zone: &ZoneName) -> Result<(), EnrolmentError> {
        let policy = self.site().policy();
        zone::check(&policy, zone)?;
        match policy.hosts.get(host) {
            Some(entry) if entry.zone != *zone => Err(EnrolmentError::OtherZone {
                host: host.clone(),
                wanted: entry.zone.clone(),
                zone: zone.clone(),
            }),
            Some(_) | None => Ok(()),
        }
    }

    /// Machines that wait for a person's approval, the longest first.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn waiting(&self) -> Result<Vec<WaitingHost>, EnrolmentError> {
        let query = |store: &Connection| {
            store
                .prepare_cached(
                    "SELECT w.host, w.zone, w.key, i.key, w.since, w.source FROM waiting w
                     LEFT JOIN identity i ON i.host = w.host AND i.revoked_at IS NULL
                     WHERE w.refused_at IS NULL ORDER BY w.since",
                )?
                .query_map([], |row| {
                    Ok(WaitingHost {
                        host: parsed(row, 0)?,
                        zone: parsed(row, 1)?,
                        key: key(row, 2)?,
                        holder: row.get_ref(3)?.as_blob_or_null()?.and_then(|k| k.try_into().ok()),
                        since: Timestamp::from_millis(row.get(4)?),
                        source: row.get(5)?,
                    })
                })?
                .collect()
        };
        Ok(self.site().store().read("list who waits", query).await?)
    }

    /// Enrolled hosts by name, and those whose identity was revoked lately.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn identities(&self) -> Result<Vec<Identity>, EnrolmentError> {
        let query = |store: &Connection| {
            let of = |row: &Row<'_>| identity(row).map(|(_, identity)| identity);
            let mut all: Vec<Identity> = store
                .prepare_cached(&format!("{IDENTITIES} WHERE revoked_at IS NULL ORDER BY host"))?
                .query_map([], of)?
                .collect::<Result<_, _>>()?;
            let revoked = store
                .prepare_cached(&format!(
                    "{IDENTITIES} WHERE revoked_at IS NOT NULL ORDER BY revoked_at DESC LIMIT ?"
                ))?
                .query_map([MAX_REVOKED_LISTED], of)?
                .collect::<Result<Vec<_>, _>>()?;
            all.extend(revoked);
            Ok(all)
        };
        Ok(self.site().store().read("list the identities", query).await?)
    }

    /// Lets the waiting machine take the name; whoever had it is revoked.
    ///
    /// # Errors
    /// When nobody waits under that name, or the store cannot be written.
    pub async fn approve(&self, host: &HostName, by: Actor) -> Result<(), EnrolmentError> {
        let now = self.site().now();
        let site = self.site().clone();
        let host = host.clone();
        let job = move |store: &Transaction<'_>| -> Result<_, EnrolmentError> {
            let failed = StoreError::failed("approve");
            approve(store, &host, now, by)
                .map_err(failed)?
                .ok_or(EnrolmentError::NothingWaits(host))
        };
        let gone = move |(before, no, identity): &(Option<HostKey>, i64, Identity)| {
            let removed = before.and_then(|key| site.remove(&key));
            site.add(site.new_host(*no, identity));
            removed
        };
        let (_, removed) = self.site().store().write_then("approve", job, gone).await?;
        self.clear_away(removed).await;
        Ok(())
    }

    /// Turns the waiting machine away.
    ///
    /// # Errors
    /// When nobody waits under that name, or the store cannot be written.
    pub async fn refuse(&self, host: &HostName, by: Actor) -> Result<(), EnrolmentError> {
        let now = self.site().now();
        let name = host.clone();
        let job = move |store: &Transaction<'_>| -> Result<(), EnrolmentError> {
            let refused = || -> rusqlite::Result<usize> {
                let refused = store.execute(
                    "UPDATE waiting SET refused_at = ? WHERE host = ? AND refused_at IS NULL",
                    params![now.as_millis(), name.as_str()],
                )?;
                if refused > 0 {
                    let text = Text::new(
                        "the machine that asked for this name was refused",
                        "已拒绝申请该主机名的机器",
                    );
                    let (host, actor) = (Some(name.clone()), Some(by));
                    NewEvent { at: now, host, kind: EventKind::Refused, text, actor }
                        .insert(store)?;
                }
                Ok(refused)
            };
            match refused().map_err(StoreError::failed("refuse"))? {
                0 => Err(EnrolmentError::NothingWaits(name)),
                _ => Ok(()),
            }
        };
        self.site().store().write("refuse", job).await?;
        if let Some(host) = self.site().by_name(host) {
            host.change_session(|session| session.approval_waiting_since = None);
        }
        Ok(())
    }

    /// Revokes a host's identity: its open sessions end at once, its findings are resolved, and its
    /// key never comes in again.
    ///
    /// # Errors
    /// When no host of that name is enrolled, or the store cannot be written; then nothing is revoked.
    pub async fn revoke(
        &self,
        host: &HostName,
        reason: &str,
        by: Actor,
    ) -> Result<(), EnrolmentError> {
        let now = self.site().now();
        let reason = kept_reason(reason);
        let site = self.site().clone();
        let host = host.clone();
        let job = move |store: &Transaction<'_>| -> Result<HostKey, EnrolmentError> {
            let revoked = revoke(store, &host, &reason, now, &by);
            revoked.map_err(StoreError::failed("revoke"))?.ok_or(EnrolmentError::NotEnrolled(host))
        };
        let gone = move |key: &HostKey| site.remove(key);
        let (_, removed) = self.site().store().write_then("revoke", job, gone).await?;
        self.clear_away(removed).await;
        Ok(())
    }

    /// Writes down that the findings of a host that is gone are resolved, and forgets what of it
    /// was on its way to the disk meanwhile. When that fails, the next start does it.
    async fn clear_away(&self, removed: Option<Removed>) {
        let Some(Removed { no, resolved }) = removed else { return };
        let now = self.site().now();
        let job = move |store: &Transaction<'_>| {
            resolved
                .iter()
                .try_for_each(|finding| write_finding(store, finding))
                .and_then(|()| resolve_of_nobody(store, now))
                .and_then(|()| forget_snapshot(store, no))
                .and_then(|()| listings::forget(store, no))
                .map_err(StoreError::failed("clear away a host"))
        };
        if let Err(error) = self.site().store().write("clear away a host", job).await {
            warn!(%error, "what is left of a revoked host is cleared away at the next start");
        }
    }

    /// A machine that shows a token asks to be enrolled. `source`: where from, for people.
    ///
    /// The token is spent by one conditional write for the key of the request: the same key may ask
    /// again, another key never.
    pub(crate) async fn enrol(
        &self,
        secret: [u8; 32],
        request: Request,
        source: String,
    ) -> Result<Answer, Refusal> {
        let now = self.site().now();
        let ca = Arc::clone(&self.0.ca);
        let hash = secret_hash(&secret);
        let job = move |store: &Transaction<'_>| decide(store, &ca, hash, &request, &source, now);
        let site = self.site().clone();
        let follow = move |decided: &Decided| match decided {
            Decided::New { no, identity, .. } => {
                site.counters().certificates_issued.one();
                site.add(site.new_host(*no, identity));
            }
            Decided::Known { issued, identity } => {
                site.counters().certificates_issued.one();
                note_certificate(&site, &identity.key, issued);
            }
            Decided::Waits { since, host } => {
                let since = *since;
                if let Some(host) = site.by_name(host) {
                    host.change_session(|held| held.approval_waiting_since = Some(since));
                }
            }
        };
        let (decided, ()) = self.site().store().write_then("enrol", job, follow).await?;
        Ok(match decided {
            Decided::New { issued, identity, .. } | Decided::Known { issued, identity } => {
                Answer::Enrolled { issued, host: identity.host, zone: identity.zone }
            }
            Decided::Waits { .. } => Answer::Waiting,
        })
    }

    /// A new certificate for an enrolled host whose certificate ended while it was off. The
    /// request is signed with the key, and the certificate is of no use to anybody else; a key that
    /// was revoked gets none.
    pub(crate) async fn restore(&self, request: Request) -> Result<Answer, Refusal> {
        let host = self.site().by_key(&request.host_key).ok_or(Refusal::UnknownToken)?;
        let issued = self.renew(&host, request).await?;
        Ok(Answer::Enrolled { issued, host: host.name.clone(), zone: host.zone.clone() })
    }

    /// A new certificate for the key of an enrolled host.
    pub(crate) async fn renew(&self, host: &Host, request: Request) -> Result<Issued, Refusal> {
        if request.host_key != host.key {
            let why = "the request is for another key; a host renews the key that it has";
            return Err(CaError::Request(why.into()).into());
        }
        let now = self.site().now();
        let issued = self.0.ca.issue(&request, &host.name, now)?;
        let (no, written) = (host.no, issued.clone());
        let job = move |store: &Transaction<'_>| -> Result<bool, Refusal> {
            let changed = write_certificate(store, no, &written);
            Ok(changed.map_err(StoreError::failed("renew"))? == 1)
        };
        if !self.site().store().write("renew", job).await? {
            return Err(Refusal::Revoked);
        }
        self.site().counters().certificates_issued.one();
        note_certificate(self.site(), &host.key, &issued);
        Ok(issued)
    }

    /// Whether a key was enrolled once and is revoked.
    pub(crate) async fn was_revoked(&self, key: HostKey) -> bool {
        let query = move |store: &Connection| {
            store
                .prepare_cached("SELECT 1 FROM identity WHERE key = ? AND revoked_at IS NOT NULL")?
                .exists([key.as_bytes()])
        };
        self.site().store().read("look up a key", query).await.unwrap_or(false)
    }

    pub(crate) fn ca(&self) -> &Ca {
        &self.0.ca
    }

    pub(crate) fn site_name(&self) -> String {
        self.site().policy().site.to_string()
    }
}

fn note_certificate(site: &Site, key: &HostKey, issued: &Issued) {
    let (began, ends) = (issued.began, issued.ends);
    if let Some(host) = site.by_key(key) {
        host.change_session(|session| {
            session.certificate_began = began;
            session.certificate_ends = ends;
        });
    }
}

const IDENTITIES: &str = "SELECT no, host, zone, key, enrolled_at, certificate_began,
     certificate_ends, revoked_at, revoked_reason FROM identity";

/// A column that holds a name. What we wrote parses; anything else is damage.
fn parsed<T: std::str::FromStr>(row: &Row<'_>, column: usize) -> rusqlite::Result<T>
where
    T::Err: std::error::Error + Send + Sync + 'static,
{
    row.get_ref(column)?.as_str()?.parse().map_err(|error: T::Err| {
        rusqlite::Error::FromSqlConversionFailure(column, Type::Text, Box::new(error))
    })
}

fn key(row: &Row<'_>, column: usize) -> rusqlite::Result<HostKey> {
    HostKey::try_from(row.get_ref(column)?.as_blob()?).map_err(|error| {
        rusqlite::Error::FromSqlConversionFailure(column, Type::Blob, Box::new(error))
    })
}

fn identity(row: &Row<'_>) -> rusqlite::Result<(i64, Identity)> {
    let identity = Identity {
        host: parsed(row, 1)?,
        zone: parsed(row, 2)?,
        key: key(row, 3)?,
        enrolled_at: Timestamp::from_millis(row.get(4)?),
        certificate_began: Timestamp::from_millis(row.get(5)?),
        certificate_ends: Timestamp::from_millis(row.get(6)?),
        revoked_at: row.get::<_, Option<i64>>(7)?.map(Timestamp::from_millis),
        revoked_reason: row.get(8)?,
    };
    Ok((row.get(0)?, identity))
}

/// Every enrolled host with its number.
pub(crate) fn enrolled(store: &Connection) -> rusqlite::Result<Vec<(i64, Identity)>> {
    store
        .prepare(&format!("{IDENTITIES} WHERE revoked_at IS NULL ORDER BY no"))?
        .query_map([], identity)?
        .collect()
}

/// Names that a machine waits for, and since when.
pub(crate) fn waited_for(store: &Connection) -> rusqlite::Result<Vec<(HostName, Timestamp)>> {
    store
        .prepare("SELECT host, since FROM waiting WHERE refused_at IS NULL")?
        .query_map([], |row| Ok((parsed(row, 0)?, Timestamp::from_millis(row.get(1)?))))?
        .collect()
}

/// Takes away refused machines that are long gone.
pub(crate) fn retain(store: &Transaction<'_>, now: Timestamp) -> rusqlite::Result<usize> {
    store.execute("DELETE FROM waiting WHERE refused_at < ?", [(now - REFUSED_KEPT).as_millis()])
}

/// Clears away what a fall between a revocation and its end left behind.
pub(crate) fn clear_leftovers(store: &Transaction<'_>, now: Timestamp) -> rusqlite::Result<()> {
    let revoked: Vec<i64> = store
        .prepare("SELECT no FROM identity WHERE revoked_at IS NOT NULL")?
        .query_map([], |row| row.get(0))?
        .collect::<Result<_, _>>()?;
    revoked
        .into_iter()
        .try_for_each(|no| forget_snapshot(store, no).and_then(|()| listings::forget(store, no)))?;
    resolve_of_nobody(store, now)
}

/// Resolves the open findings of hosts and devices that are no more.
fn resolve_of_nobody(store: &Transaction<'_>, now: Timestamp) -> rusqlite::Result<()> {
    store
        .execute(
            "UPDATE finding SET resolved_at = ? WHERE resolved_at IS NULL AND host NOT IN
             (SELECT key FROM identity WHERE revoked_at IS NULL UNION SELECT key FROM device)",
            [now.as_millis()],
        )
        .map(drop)
}

fn live_by(
    store: &Connection,
    column: &'static str,
    value: &dyn rusqlite::ToSql,
) -> rusqlite::Result<Option<(i64, Identity)>> {
    store
        .prepare_cached(&format!("{IDENTITIES} WHERE {column} = ? AND revoked_at IS NULL"))?
        .query_row([value], identity)
        .optional()
}

fn write_certificate(store: &Connection, no: i64, issued: &Issued) -> rusqlite::Result<usize> {
    store
        .prepare_cached(
            "UPDATE identity SET certificate_began = ?, certificate_ends = ?
             WHERE no = ? AND revoked_at IS NULL",
        )?
        .execute(params![issued.began.as_millis(), issued.ends.as_millis(), no])
}

fn insert_identity(
    store: &Connection,
    host: HostName,
    zone: ZoneName,
    key: HostKey,
    now: Timestamp,
    certificate: (Timestamp, Timestamp),
) -> rusqlite::Result<(i64, Identity)> {
    store
        .prepare_cached(
            "INSERT INTO identity (key, host, zone, enrolled_at, certificate_began, certificate_ends)
             VALUES (?, ?, ?, ?, ?, ?)",
        )?
        .execute(params![
            key.as_bytes(),
            host.as_str(),
            zone.as_str(),
            now.as_millis(),
            certificate.0.as_millis(),
            certificate.1.as_millis(),
        ])?;
    let identity = Identity {
        host,
        zone,
        key,
        enrolled_at: now,
        certificate_began: certificate.0,
        certificate_ends: certificate.1,
        revoked_at: None,
        revoked_reason: None,
    };
    Ok((store.last_insert_rowid(), identity))
}

fn revoke(
    store: &Transaction<'_>,
    host: &HostName,
    reason: &str,
    now: Timestamp,
    by: &Actor,
) -> rusqlite::Result<Option<HostKey>> {
    let Some((no, identity)) = live_by(store, "host", &host.as_str())? else { return Ok(None) };
    store.execute(
        "UPDATE identity SET revoked_at = ?, revoked_reason = ? WHERE no = ?",
        params![now.as_millis(), reason, no],
    )?;
    forget_snapshot(store, no)?;
    listings::forget(store, no)?;
    let (en, zh) = match reason {
        "" => (String::new(), String::new()),
        reason => (format!(": {reason}"), format!("：{reason}")),
    };
    let text = Text::new(format!("the identity was revoked{en}"), format!("身份已吊销{zh}"));
    let (host, actor) = (Some(host.clone()), Some(by.clone()));
    NewEvent { at: now, host, kind: EventKind::Revoked, text, actor }.insert(store)?;
    Ok(Some(identity.key))
}

/// Gives the key that had the name before, and the identity that has it now.
fn approve(
    store: &Transaction<'_>,
    host: &HostName,
    now: Timestamp,
    by: Actor,
) -> rusqlite::Result<Option<(Option<HostKey>, i64, Identity)>> {
    let waiting = store
        .prepare_cached("SELECT key, zone FROM waiting WHERE host = ? AND refused_at IS NULL")?
        .query_row([host.as_str()], |row| Ok((key(row, 0)?, parsed::<ZoneName>(row, 1)?)))
        .optional()?;
    let Some((key, zone)) = waiting else { return Ok(None) };
    let before = revoke(store, host, "another machine was approved for this name", now, &by)?;
    // It has no certificate until it asks again; what counts from now on is that it must.
    let (no, identity) =
        insert_identity(store, host.clone(), zone, key, now, (now, now + HOST_LIFE))?;
    store.execute("DELETE FROM waiting WHERE host = ?", [host.as_str()])?;
    let text =
        Text::new("another machine was approved for this name", "已批准另一台机器使用该主机名");
    let (host, actor) = (Some(host.clone()), Some(by));
    NewEvent { at: now, host, kind: EventKind::Approved, text, actor }.insert(store)?;
    Ok(Some((before, no, identity)))
}

/// The decision about one enrolment, in one transaction.
fn decide(
    store: &Transaction<'_>,
    ca: &Ca,
    hash: [u8; 32],
    request: &Request,
    source: &str,
    now: Timestamp,
) -> Result<Decided, Refusal> {
    let failed = || StoreError::failed("enrol");
    let asker = request.host_key;
    let spent = store
        .prepare_cached(
            "UPDATE token SET spent_by = ?1, spent_at = coalesce(spent_at, ?2)
             WHERE hash = ?3 AND (spent_by = ?1 OR (spent_by IS NULL AND expires_at > ?2))
             RETURNING host, zone",
        )
        .and_then(|mut statement| {
            statement
                .query_row(params![asker.as_bytes(), now.as_millis(), hash], |row| {
                    Ok((parsed::<HostName>(row, 0)?, parsed::<ZoneName>(row, 1)?))
                })
                .optional()
        })
        .map_err(failed())?;
    let Some((host, zone)) = spent else {
        return Err(why_not_spent(store, hash).map_err(failed())?);
    };
    let of_key = store
        .prepare_cached(&format!("{IDENTITIES} WHERE key = ?"))
        .and_then(|mut statement| statement.query_row([asker.as_bytes()], identity).optional())
        .map_err(failed())?;
    if let Some((no, known)) = of_key {
        if known.revoked_at.is_some() {
            return Err(Refusal::Revoked);
        }
        if known.host != host || known.zone != zone {
            let (host, zone) = (known.host.to_string(), known.zone.to_string());
            return Err(Refusal::OtherName { host, zone });
        }
        let issued = ca.issue(request, &host, now)?;
        write_certificate(store, no, &issued).map_err(failed())?;
        return Ok(Decided::Known { issued, identity: known });
    }
    if live_by(store, "host", &host.as_str()).map_err(failed())?.is_some() {
        return wait(store, &host, &zone, asker, source, now);
    }
    let issued = ca.issue(request, &host, now)?;
    let insert = || -> rusqlite::Result<(i64, Identity)> {
        let certificate = (issued.began, issued.ends);
        let new = insert_identity(store, host.clone(), zone.clone(), asker, now, certificate)?;
        let text = Text::new(
            format!("enrolled into zone {zone}, from {source}"),
            format!("已注册到安全域 {zone}，来自 {source}"),
        );
        let (host, actor) = (Some(host.clone()), None);
        NewEvent { at: now, host, kind: EventKind::Enrolled, text, actor }.insert(store)?;
        Ok(new)
    };
    let (no, identity) = insert().map_err(failed())?;
    Ok(Decided::New { issued, no, identity })
}

fn why_not_spent(store: &Transaction<'_>, hash: [u8; 32]) -> rusqlite::Result<Refusal> {
    let spent_by = store
        .query_row("SELECT spent_by IS NOT NULL FROM token WHERE hash = ?", [hash], |row| {
            row.get(0)
        })
        .optional()?;
    Ok(match spent_by {
        None => Refusal::UnknownToken,
        Some(true) => Refusal::SpentToken,
        Some(false) => Refusal::ExpiredToken,
    })
}

/// The name belongs to another key: a person must say which machine is the right one.
fn wait(
    store: &Transaction<'_>,
    host: &HostName,
    zone: &ZoneName,
    asker: HostKey,
    source: &str,
    now: Timestamp,
) -> Result<Decided, Refusal> {
    let failed = || StoreError::failed("enrol");
    let known: Option<(i64, bool)> = store
        .query_row(
            "SELECT since, refused_at IS NOT NULL FROM waiting WHERE key = ?",
            [asker.as_bytes()],
            |row| Ok((row.get(0)?, row.get(1)?)),
        )
        .optional()
        .map_err(failed())?;
    match known {
        Some((_, true)) => return Err(Refusal::Refused),
        Some((since, false)) => {
            let since = Timestamp::from_millis(since);
            return Ok(Decided::Waits { since, host: host.clone() });
        }
        None => {}
    }
    let waiting: i64 = store
        .query_row("SELECT count(*) FROM waiting WHERE refused_at IS NULL", [], |row| row.get(0))
        .map_err(failed())?;
    if waiting >= MAX_WAITING {
        return Err(Refusal::TooManyWait);
    }
    let insert = || -> rusqlite::Result<()> {
        // Who asks for the name last is whom the person at the machine sees waiting.
        store.execute(
            "UPDATE waiting SET refused_at = ? WHERE host = ? AND refused_at IS NULL",
            params![now.as_millis(), host.as_str()],
        )?;
        store.execute(
            "INSERT INTO waiting VALUES (?, ?, ?, ?, ?, NULL)",
            params![asker.as_bytes(), host.as_str(), zone.as_str(), now.as_millis(), source],
        )?;
        let text = Text::new(
            format!("another machine asks for this name, from {source}; it waits for approval"),
            format!("另一台机器（来自 {source}）申请使用该主机名，等待批准"),
        );
        let (host, actor) = (Some(host.clone()), None);
        NewEvent { at: now, host, kind: EventKind::Waiting, text, actor }.insert(store)
    };
    insert().map_err(failed())?;
    Ok(Decided::Waits { since: now, host: host.clone() })
}
