//! The probe `firewall`: what the kernel's packet filters do, and which programs manage them.
//!
//! | what | from where | told of changes |
//! |---|---|---|
//! | nftables, all families | `nft -j list ruleset`; flags of tables through netlink | yes, netlink |
//! | rules of iptables-nft | the same; parts that nft prints as `xt`: `iptables-nft-save` | yes, netlink |
//! | iptables-legacy | `iptables-legacy-save`, only when the kernel names such tables | no: read at every interval |
//! | firewalld, ufw | their files, and what only they make in the kernel | with the rules |
//!
//! In a quiet cycle no program is run: the kernel is asked for the number of its ruleset, which
//! moves with every change. Rules are read when it has moved, and every [`COUNTERS_EVERY`] for the
//! counters.
//!
//! What the programs print also goes, whole, to [`NewestListings`], where rules have changed.
//!
//! It cannot know: filters outside netfilter (XDP, tc, eBPF at sockets and cgroups), and what a
//! program does with the packets that a rule queues to it.

mod chain;
mod iptables;
mod managers;
mod nftables;
pub(crate) mod watch;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bailey_rules::fact::firewall::Ruleset;
use bailey_rules::fact::{Fact, FactKind, ProbeName};
use bailey_rules::listing::{ListingDigest, ListingSource, MAX_LISTING};
use bailey_wire::listing::{PackedListing, TooLong};
use futures::future::BoxFuture;
use sha2::{Digest as _, Sha256};
use tokio::time::Instant;
use tracing::{debug, warn};

use self::chain::{At, Chains, Family};
use self::iptables::Saved;
use self::managers::Traces;
use self::nftables::{Beside, Listing, TableKey};
use self::watch::{Silence, Watch};
use crate::listings::NewestListings;
use crate::probe::program::{self, Run, SYSTEM_FOLDERS};
use crate::probe::{Probe, ProbeError, Roots, Wake};

/// How often the rules are read again for nothing but their counters.
pub const COUNTERS_EVERY: Duration = Duration::from_mins(5);
/// The most that a program may print, in octets. A ruleset that needs more is not read.
const MAX_PRINTED: usize = 64 * 1024 * 1024;
/// The longest that one program may take.
const LIMIT: Duration = Duration::from_secs(15);
/// The most tables that travel in one fact.
const MAX_TABLES: usize = 256;
/// Listings longer than this, in octets, are understood on another thread than the one of all probes.
const LONG_LISTING: usize = 256 * 1024;
/// Where changes come without end, reading takes at most this part of the time: one in ten.
const REST_AFTER_READING: u32 = 10;
/// The longest rest after a reading.
const MAX_REST: Duration = Duration::from_secs(30);

const NFTABLES: &str = "nftables";

/// What a part of the filter says, or why it cannot be read.
type Told<T> = Result<T, String>;

/// Reads packet filters.
#[derive(Debug)]
pub struct FirewallProbe {
    roots: Roots,
    folders: Vec<PathBuf>,
    listings: Arc<NewestListings>,
    watch: Option<Watch>,
    held: Option<Held>,
    /// Not to read again before, when told of changes.
    rest_until: Option<Instant>,
}

/// The last reading, good as long as nothing moves.
#[derive(Debug)]
struct Held {
    generation: Result<u32, Silence>,
    read_at: Instant,
    facts: Vec<Fact>,
    traces: Told<Traces>,
}

/// Tables of iptables-legacy of one family, as far as the kernel names them.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Legacy {
    None,
    Tables,
    Hidden(String),
}

/// Everything that was read in one go.
struct Seen {
    nftables: Told<Nftables>,
    legacy: [(Family, Told<Option<Printed>>); 2],
}

/// What nftables holds.
struct Nftables {
    listing: Listing,
    beside: Beside,
    /// The same in summary. Its digest goes over every rule, so it is made once.
    ruleset: Ruleset,
    /// What nft printed; empty where there are no tables.
    text: Vec<u8>,
    /// What iptables-save printed of families of which nft prints parts as `xt` only.
    saved: Vec<(Family, Told<Part>)>,
}

/// What iptables-save printed of a part of what nftables holds.
struct Part {
    /// The digest of its rules.
    digest: String,
    text: String,
}

/// What iptables-save printed.
struct Printed {
    saved: Saved,
    /// The same in summary.
    ruleset: Ruleset,
    text: String,
}

/// A listing that is not packed yet.
struct Unpacked {
    digest: ListingDigest,
    ruleset: String,
    text: String,
}

impl FirewallProbe {
    /// A probe that reads the packet filters of the network namespace it runs in.
    #[must_use]
    pub fn new(roots: &Roots) -> Self {
        Self::with_programs(roots, SYSTEM_FOLDERS.map(PathBuf::from).to_vec())
    }

    /// The same, looking for programs in other folders.
    #[must_use]
    pub fn with_programs(roots: &Roots, folders: Vec<PathBuf>) -> Self {
        let listings = Arc::default();
        Self { roots: roots.clone(), folders, listings, watch: None, held: None, rest_until: None }
    }

    /// The same, handing what programs print to `listings`.
    #[must_use]
    pub fn listing_into(self, listings: Arc<NewestListings>) -> Self {
        Self { listings, ..self }
    }

    async fn read_all(&mut self) -> Vec<Fact> {
        // Listen first, then read: what changes in between is then told.
        self.listen();
        let generation = watch::generation();
        let legacy = Family::ALL.map(|family| (family, self.legacy(family)));
        if let Some(facts) = self.unchanged(&generation, &legacy) {
            return facts;
        }
        let began = Instant::now();
        let seen = Seen {
            nftables: self.nftables(&generation).await,
            legacy: [self.saved(&legacy[0]).await, self.saved(&legacy[1]).await],
        };
        let changed_by = generation
            .as_ref()
            .ok()
            .and_then(|&generation| self.watch.as_ref()?.change(generation)?.by.clone());
        let facts = seen.facts(changed_by);
        let traces = seen.traces();
        let managers = self.managers(&traces);
        let took = began.elapsed();
        self.rest_until = Some(Instant::now() + (took * REST_AFTER_READING).min(MAX_REST));
        debug!(took_millis = u64::try_from(took.as_millis()).unwrap_or(0), "rules read");
        let all = facts.iter().cloned().chain(managers).collect();
        self.held = Some(Held { generation, read_at: began, facts, traces });
        self.list(seen).await;
        all
    }

    /// Hands on what has changed of what was printed.
    async fn list(&self, seen: Seen) {
        for (source, listing) in seen.listings() {
            match listing {
                Ok(Some(listing)) if self.listings.digest(source) == Some(listing.digest) => {}
                Ok(Some(listing)) => match packed(source, listing).await {
                    Ok(packed) => self.listings.list(packed),
                    Err(why) => {
                        warn!(%source, why, "a listing cannot be sent");
                        self.listings.unlist(source, &why);
                    }
                },
                Ok(None) => self.listings.unlist(source, ""),
                Err(why) => self.listings.unlist(source, &why),
            }
        }
    }

    /// What was read last, when it still holds.
    fn unchanged(
        &self,
        generation: &Result<u32, Silence>,
        legacy: &[(Family, Legacy); 2],
    ) -> Option<Vec<Fact>> {
        let quiet = |(_, legacy): &(Family, Legacy)| *legacy == Legacy::None;
        let held = self.held.as_ref()?;
        let holds = held.generation == *generation
            && matches!(generation, Ok(_) | Err(Silence::Absent))
            && legacy.iter().all(quiet)
            && held.read_at.elapsed() < COUNTERS_EVERY;
        let managers = holds.then(|| self.managers(&held.traces))?;
        Some(held.facts.iter().cloned().chain(managers).collect())
    }

    fn managers(&self, traces: &Told<Traces>) -> [Fact; 2] {
        let traces = traces.as_ref().map_err(String::as_str);
        managers::facts(&self.roots, &self.folders, traces)
    }

    fn listen(&mut self) {
        if self.watch.is_none() {
            self.watch = match Watch::begin() {
                Ok(watch) => Some(watch),
                // Changes are then seen at the next interval.
                Err(error) => {
                    debug!(%error, "the kernel does not tell of changes of nftables");
                    None
                }
            };
        }
        if let Some(Err(error)) = self.watch.as_mut().map(Watch::catch_up) {
            warn!(%error, "listening for changes of nftables failed; it begins anew");
            self.watch = None;
        }
    }

    /// Which tables of iptables-legacy there are. Asking `iptables-legacy-save` instead would load
    /// modules of the kernel.
    fn legacy(&self, family: Family) -> Legacy {
        let file = match family {
            Family::Ip => "ip_tables_names",
            Family::Ip6 => "ip6_tables_names",
        };
        // The thread's own, since a network namespace belongs to a thread.
        let file = self.roots.proc.join("thread-self/net").join(file);
        match std::fs::read_to_string(&file) {
            Ok(names) if names.trim().is_empty() => Legacy::None,
            Ok(_) => Legacy::Tables,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Legacy::None,
            Err(_) if self.legacy_not_loaded(family) => Legacy::None,
            Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => {
                Legacy::Hidden(format!("needs root to read {}", file.display()))
            }
            Err(error) => Legacy::Hidden(format!("cannot read {}: {error}", file.display())),
        }
    }

    /// Whether the kernel has iptables-legacy as modules and none that holds a table is loaded. The
    /// list of modules can be read without any right.
    fn legacy_not_loaded(&self, family: Family) -> bool {
        let (core, tables) = match family {
            Family::Ip => ("ip_tables", "iptable_"),
            Family::Ip6 => ("ip6_tables", "ip6table_"),
        };
        let Ok(modules) = std::fs::read_to_string(self.roots.proc.join("modules")) else {
            return false;
        };
        let mut names = modules.lines().filter_map(|line| line.split(' ').next());
        names.clone().any(|name| name == core) && !names.any(|name| name.starts_with(tables))
    }

    async fn nftables(&self, generation: &Result<u32, Silence>) -> Told<Nftables> {
        match generation {
            Ok(_) => {}
            Err(Silence::Absent) => return Ok(Nftables::nothing()),
            Err(silence) => return Err(silence.to_string()),
        }
        let tables = watch::tables().map_err(|silence| silence.to_string())?;
        if tables.is_empty() {
            return Ok(Nftables::nothing());
        }
        let dormant = tables.into_iter().filter(|(_, dormant)| *dormant).map(|(key, _)| key);
        let beside = Beside { dormant: dormant.collect(), ..Beside::default() };
        let nft = program::find("nft", &self.folders)
            .ok_or("install nftables: the kernel holds rules, but there is no program nft")?;
        let text = self.output(&nft, &["-j", "list", "ruleset"]).await?;
        let (listing, beside, text) = understood(text, beside).await?;
        let with_xt = listing.families_with_xt();
        if with_xt.is_empty() {
            return Ok(Nftables::of(listing, beside, text, Vec::new()));
        }
        let mut beside = Beside { rules: listing.chains_with_xt(), ..beside };
        let mut saved = Vec::new();
        for family in Family::ALL.into_iter().filter(|family| with_xt.contains(family.as_str())) {
            match self.saved_in_nftables(family).await {
                Ok(Printed { saved: understood, ruleset, text }) => {
                    beside.saved.insert(family.as_str(), understood);
                    saved.push((family, Ok(Part { digest: ruleset.digest, text })));
                }
                // The rules stay opaque, and are counted as such.
                Err(why) => {
                    debug!(family = family.as_str(), why, "iptables-nft is not read");
                    saved.push((family, Err(why)));
                }
            }
        }
        let (listing, beside, text) = understood(text, beside).await?;
        Ok(Nftables::of(listing, beside, text, saved))
    }

    async fn saved_in_nftables(&self, family: Family) -> Told<Printed> {
        let names = match family {
            Family::Ip => ["iptables-nft-save", "iptables-save"],
            Family::Ip6 => ["ip6tables-nft-save", "ip6tables-save"],
        };
        let program = names.iter().find_map(|name| program::find(name, &self.folders));
        let program = program.ok_or("install iptables to read the rules it has loaded")?;
        let printed = self.save(&program, family).await?;
        if !printed.saved.in_nftables {
            return Err(format!("{} shows iptables-legacy", program.display()));
        }
        Ok(printed)
    }

    async fn saved(&self, (family, legacy): &(Family, Legacy)) -> (Family, Told<Option<Printed>>) {
        let saved = match legacy {
            Legacy::None => Ok(None),
            Legacy::Hidden(why) => Err(why.clone()),
            Legacy::Tables => self.saved_in_legacy(*family).await.map(Some),
        };
        (*family, saved)
    }

    async fn saved_in_legacy(&self, family: Family) -> Told<Printed> {
        let names = match family {
            Family::Ip => ["iptables-legacy-save", "iptables-save"],
            Family::Ip6 => ["ip6tables-legacy-save", "ip6tables-save"],
        };
        let program = names.iter().find_map(|name| program::find(name, &self.folders));
        let program = program
            .ok_or("install iptables: the kernel holds its rules, but there is no iptables-save")?;
        let printed = self.save(&program, family).await?;
        if printed.saved.in_nftables {
            return Err(format!("{} does not show iptables-legacy", program.display()));
        }
        Ok(printed)
    }

    async fn save(&self, program: &Path, family: Family) -> Told<Printed> {
        let text = self.output(program, &["-c"]).await?;
        let text = String::from_utf8_lossy(&text).into_owned();
        let saved = iptables::parse(&text);
        let saved = saved.map_err(|error| format!("{}: {error}", program.display()))?;
        let ruleset = saved.ruleset(family.as_str());
        Ok(Printed { saved, ruleset, text })
    }

    async fn output(&self, program: &Path, arguments: &[&str]) -> Told<Vec<u8>> {
        let run = Run {
            program,
            arguments,
            environment: &[],
            input: None,
            limit: LIMIT,
            most: MAX_PRINTED,
        };
        let ended = run.until_end().await.map_err(|error| error.to_string())?;
        if ended.success {
            return Ok(ended.output);
        }
        Err(format!("{}: {}", program.display(), ended.first_complaint()))
    }
}

/// Reads a listing, off this thread when it is long. Gives everything back for a second look.
async fn understood(text: Vec<u8>, beside: Beside) -> Told<(Listing, Beside, Vec<u8>)> {
    let is_long = text.len() > LONG_LISTING;
    let read = move || {
        let listing = Listing::parse(&text, &beside).map_err(|error| error.to_string())?;
        Ok((listing, beside, text))
    };
    if is_long {
        return tokio::task::spawn_blocking(read).await.map_err(|error| error.to_string())?;
    }
    read()
}

/// Packs a listing, off this thread when it is long.
async fn packed(source: ListingSource, listing: Unpacked) -> Told<PackedListing> {
    let Unpacked { digest, ruleset, text } = listing;
    // A text that will be refused need not go to another thread.
    let is_long = (LONG_LISTING..=MAX_LISTING).contains(&text.len());
    let pack = move || {
        PackedListing::pack(source, digest, &ruleset, &text)
            .map_err(|error: TooLong| error.to_string())
    };
    if is_long {
        return tokio::task::spawn_blocking(pack).await.map_err(|error| error.to_string())?;
    }
    pack()
}

impl Probe for FirewallProbe {
    fn name(&self) -> ProbeName {
        ProbeName::Firewall
    }

    /// The generation tells whether anything has changed, however the probe was woken.
    fn read(&mut self, _wake: Wake) -> BoxFuture<'_, Result<Vec<Fact>, ProbeError>> {
        Box::pin(async { Ok(self.read_all().await) })
    }

    fn told(&mut self) -> BoxFuture<'_, ()> {
        Box::pin(async {
            let Some(watch) = self.watch.as_mut() else { return std::future::pending().await };
            let earliest = self.rest_until.unwrap_or_else(Instant::now);
            if let Err(error) = watch.changed(earliest).await {
                warn!(%error, "listening for changes of nftables failed; it begins anew");
                // Reading comes next, and that listens again.
                self.watch = None;
            }
        })
    }
}

impl Seen {
    fn facts(&self, changed_by: Option<String>) -> Vec<Fact> {
        let mut facts = Vec::new();
        facts.push(match &self.nftables {
            Ok(Nftables { ruleset, .. }) => {
                Fact::known(NFTABLES, Ruleset { changed_by, ..ruleset.clone() })
            }
            Err(why) => Fact::unreadable(FactKind::Ruleset, NFTABLES, why),
        });
        for (family, saved) in &self.legacy {
            let filter = legacy_name(*family);
            match saved {
                Ok(None) => {}
                Ok(Some(saved)) => facts.push(Fact::known(filter, saved.ruleset.clone())),
                Err(why) => facts.push(Fact::unreadable(FactKind::Ruleset, filter, why)),
            }
        }
        for (family, _) in &self.legacy {
            let chains = self.chains(*family);
            for at in At::ALL {
                let subject = format!("{} {}", family.as_str(), at.as_str());
                facts.push(match &chains {
                    Ok(chains) => Fact::known(&subject, chain::effective(chains, *family, at)),
                    Err(why) => Fact::unreadable(FactKind::Hook, &subject, why),
                });
            }
        }
        facts
    }

    /// All chains that packets of a family pass.
    fn chains(&self, family: Family) -> Told<Vec<Chains>> {
        let Nftables { listing, beside, .. } = self.nftables.as_ref().map_err(Clone::clone)?;
        let mut chains = listing.chains(beside);
        for (of, saved) in self.legacy.iter().filter(|(of, _)| *of == family) {
            if let Some(saved) = saved.as_ref().map_err(Clone::clone)? {
                chains.extend(saved.saved.chains(legacy_name(*of), *of == Family::Ip6));
            }
        }
        Ok(chains)
    }

    fn traces(&self) -> Told<Traces> {
        let Nftables { listing, .. } = self.nftables.as_ref().map_err(Clone::clone)?;
        let mut ufw = listing.has_chain(UFW_CHAIN);
        for (_, saved) in &self.legacy {
            if let Some(saved) = saved.as_ref().map_err(Clone::clone)? {
                ufw |=
                    saved.saved.tables.values().any(|table| table.chains.contains_key(UFW_CHAIN));
            }
        }
        Ok(Traces { firewalld: listing.has_table(FIREWALLD_TABLE), ufw })
    }

    /// The listing of every source, or why there is none.
    fn listings(self) -> Vec<(ListingSource, Told<Option<Unpacked>>)> {
        use ListingSource::{Ip6tablesLegacy, Ip6tablesNft, IptablesLegacy, IptablesNft};
        let mut listings = match self.nftables {
            Ok(nftables) => nftables.listings(),
            Err(why) => vec![
                (ListingSource::Nftables, Err(why)),
                (IptablesNft, Ok(None)),
                (Ip6tablesNft, Ok(None)),
            ],
        };
        for (family, printed) in self.legacy {
            let source = match family {
                Family::Ip => IptablesLegacy,
                Family::Ip6 => Ip6tablesLegacy,
            };
            let unpacked = |Printed { ruleset, text, .. }: Printed| {
                let ruleset = ruleset.digest;
                Unpacked { digest: digest_of(source, &[&ruleset]), ruleset, text }
            };
            listings.push((source, printed.map(|printed| printed.map(unpacked))));
        }
        listings
    }
}

impl Nftables {
    fn of(
        listing: Listing,
        beside: Beside,
        text: Vec<u8>,
        saved: Vec<(Family, Told<Part>)>,
    ) -> Self {
        let ruleset = listing.ruleset(&beside);
        Self { listing, beside, ruleset, text, saved }
    }

    /// There are no tables.
    fn nothing() -> Self {
        Self::of(Listing::default(), Beside::default(), Vec::new(), Vec::new())
    }

    fn listings(self) -> Vec<(ListingSource, Told<Option<Unpacked>>)> {
        let Self { listing, beside, ruleset, text, mut saved } = self;
        let ruleset = ruleset.digest;
        let nftables = if text.is_empty() {
            Ok(None)
        } else {
            told_dormant(text, &beside.dormant).map(|text| {
                let handles = hexadecimal(&listing.digest_with_handles());
                let digest = digest_of(ListingSource::Nftables, &[&ruleset, &handles]);
                Some(Unpacked { digest, ruleset: ruleset.clone(), text })
            })
        };
        let mut listings = vec![(ListingSource::Nftables, nftables)];
        for family in Family::ALL {
            let source = match family {
                Family::Ip => ListingSource::IptablesNft,
                Family::Ip6 => ListingSource::Ip6tablesNft,
            };
            let at = saved.iter().position(|(of, _)| *of == family);
            let printed = at.map(|at| saved.swap_remove(at).1);
            let printed = printed.map(|part| {
                part.map(|Part { digest: own, text }| {
                    // It is a part of the ruleset, and is told of with the whole.
                    let digest = digest_of(source, &[&ruleset, &own]);
                    Unpacked { digest, ruleset: ruleset.clone(), text }
                })
            });
            listings.push((source, printed.transpose()));
        }
        listings
    }
}

/// What tells a listing from every other of its source.
fn digest_of(source: ListingSource, parts: &[&str]) -> ListingDigest {
    let mut hash = Sha256::new();
    hash.update(iptables::line(&[source.as_str()]));
    hash.update(iptables::line(parts));
    ListingDigest(hash.finalize().into())
}

/// What nft printed, with the flag `dormant` at tables that have it, as newer versions of nft print it:
/// old ones do not tell.
fn told_dormant(text: Vec<u8>, dormant: &BTreeSet<TableKey>) -> Told<String> {
    let mut text = String::from_utf8(text).map_err(|_| "nft printed no UTF-8".to_owned())?;
    for (family, name) in dormant {
        let quoted = |word| serde_json::to_string(word).expect("a text is always JSON");
        let head =
            format!("{{\"table\": {{\"family\": {}, \"name\": {}, ", quoted(family), quoted(name));
        let at = text.find(&head).map(|at| at + head.len());
        let at = at.ok_or_else(|| {
            format!("the table {family} {name} is dormant, which this nft does not print")
        })?;
        let end = text[at..].find('}').map_or(text.len(), |end| at + end);
        let flags = text[at..end].find("\"flags\": ").map_or(end, |flags| at + flags);
        // Version 1.0.6 prints the table's name in the place of its flags.
        if !text[flags..end].contains("\"dormant\"") {
            let others = text[at..flags].trim_end_matches([',', ' ']).len();
            text.replace_range(at + others..end, ", \"flags\": [\"dormant\"]");
        }
    }
    Ok(text)
}

/// A chain that ufw always makes (ufw-framework(8)).
const UFW_CHAIN: &str = "ufw-before-input";
/// The table that firewalld keeps its rules in (firewalld.conf(5), `FirewallBackend=nftables`).
const FIREWALLD_TABLE: &str = "firewalld";

const fn legacy_name(family: Family) -> &'static str {
    match family {
        Family::Ip => "iptables-legacy",
        Family::Ip6 => "ip6tables-legacy",
    }
}

/// A count as facts carry it.
fn count(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

fn hexadecimal(octets: &[u8]) -> String {
    use std::fmt::Write as _;
    octets.iter().fold(String::with_capacity(octets.len() * 2), |mut text, octet| {
        write!(text, "{octet:02x}").expect("writing to a string never fails");
        text
    })
}
