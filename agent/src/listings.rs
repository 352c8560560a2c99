//! The listings of packet filters, from the probe that reads them to the uplink that sends them.
//!
//! They are too long for a report and for the spool. Only the newest of each source is kept, packed,
//! in memory: the collector says when a session begins what it has, and whatever differs is sent.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bailey_rules::listing::{ListingDigest, ListingSource};
use bailey_wire::convert::{listing_parts, no_listing_to_wire};
use bailey_wire::listing::PackedListing;
use bailey_wire::v1::{self, from_agent};
use tokio::sync::watch;

/// What is known of one source.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Newest {
    Listed(PackedListing),
    /// There is none, and why; empty where there is no such packet filter.
    Unlisted(String),
}

/// The newest listing of each source. A source that was not read yet is not there.
#[derive(Debug)]
pub struct NewestListings {
    held: Mutex<BTreeMap<ListingSource, Newest>>,
    moved: watch::Sender<()>,
}

impl Default for NewestListings {
    fn default() -> Self {
        Self { held: Mutex::default(), moved: watch::Sender::new(()) }
    }
}

impl NewestListings {
    fn held(&self) -> MutexGuard<'_, BTreeMap<ListingSource, Newest>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What tells the newest listing of `source` from every other, if there is one.
    #[must_use]
    pub fn digest(&self, source: ListingSource) -> Option<ListingDigest> {
        match self.held().get(&source) {
            Some(Newest::Listed(listing)) => Some(listing.digest),
            Some(Newest::Unlisted(_)) | None => None,
        }
    }

    /// Puts a listing in the place of the one before.
    pub fn list(&self, listing: PackedListing) {
        self.set(listing.source, Newest::Listed(listing));
    }

    /// There is no listing of `source`, and why; empty where there is no such packet filter.
    pub fn unlist(&self, source: ListingSource, why: &str) {
        self.set(source, Newest::Unlisted(why.to_owned()));
    }

    fn set(&self, source: ListingSource, newest: Newest) {
        match self.held().entry(source) {
            Entry::Occupied(held) if *held.get() == newest => return,
            Entry::Occupied(mut held) => drop(held.insert(newest)),
            Entry::Vacant(free) => drop(free.insert(newest)),
        }
        self.moved.send_replace(());
    }

    /// Told whenever something has changed.
    #[must_use]
    pub fn moved(&self) -> watch::Receiver<()> {
        self.moved.subscribe()
    }
}

/// What the collector has of one source.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Told {
    Listed(ListingDigest),
    Unlisted(String),
}

/// What of the listings a session has still to send.
pub(crate) struct Sending<'a> {
    newest: &'a NewestListings,
    /// `None`: the collector takes no listings.
    told: Option<BTreeMap<ListingSource, Told>>,
    begun: Option<Begun>,
}

/// A listing of which some parts are sent.
struct Begun {
    source: ListingSource,
    digest: ListingDigest,
    rest: Box<dyn ExactSizeIterator<Item = v1::ListingPart> + Send>,
}

impl<'a> Sending<'a> {
    /// Begins with what the collector said it has.
    pub(crate) fn new(
        newest: &'a NewestListings,
        held: Option<BTreeMap<ListingSource, ListingDigest>>,
    ) -> Self {
        let mut sending = Self { newest, told: None, begun: None };
        if let Some(held) = held {
            sending.hear(held);
        }
        sending
    }

    /// The collector says, again, what it has.
    pub(crate) fn hear(&mut self, held: BTreeMap<ListingSource, ListingDigest>) {
        let listed = |(source, digest)| (source, Told::Listed(digest));
        self.told = Some(held.into_iter().map(listed).collect());
        self.begun = None;
    }

    /// Whether there is something to send.
    pub(crate) fn has_more(&self) -> bool {
        self.begun.is_some() || self.unsaid().is_some()
    }

    /// The first source of which the collector does not have what is newest.
    fn unsaid(&self) -> Option<(ListingSource, Newest)> {
        let told = self.told.as_ref()?;
        let held = self.newest.held();
        let mut unsaid = held.iter().filter(|(source, newest)| match (newest, told.get(source)) {
            (Newest::Listed(newest), Some(Told::Listed(told))) => newest.digest != *told,
            (Newest::Unlisted(why), Some(Told::Unlisted(told))) => why != told,
            (Newest::Unlisted(why), None) => !why.is_empty(),
            (Newest::Listed(_), Some(Told::Unlisted(_)) | None)
            | (Newest::Unlisted(_), Some(Told::Listed(_))) => true,
        });
        unsaid.next().map(|(source, newest)| (*source, newest.clone()))
    }

    /// The next message; a listing that has changed meanwhile begins anew.
    pub(crate) fn next(&mut self) -> Option<from_agent::Message> {
        if let Some(begun) = &mut self.begun {
            let is_newest = self.newest.digest(begun.source) == Some(begun.digest);
            if is_newest && let Some(part) = begun.rest.next() {
                if begun.rest.len() == 0 {
                    let told = Told::Listed(begun.digest);
                    let source = begun.source;
                    self.begun = None;
                    self.told.as_mut()?.insert(source, told);
                }
                return Some(from_agent::Message::ListingPart(part));
            }
            self.begun = None;
        }
        match self.unsaid()? {
            (source, Newest::Listed(listing)) => {
                let rest = Box::new(listing_parts(&listing));
                self.begun = Some(Begun { source, digest: listing.digest, rest });
                self.next()
            }
            (source, Newest::Unlisted(why)) => {
                let message = no_listing_to_wire(source, &why);
                self.told.as_mut()?.insert(source, Told::Unlisted(why));
                Some(from_agent::Message::NoListing(message))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use bailey_wire::convert::MAX_LISTING_PART;

    use super::*;

    const SOURCE: ListingSource = ListingSource::Nftables;

    /// A listing of `parts` parts.
    fn listing(digest: u8, parts: usize) -> PackedListing {
        PackedListing {
            source: SOURCE,
            digest: ListingDigest([digest; 32]),
            ruleset: "r".to_owned(),
            length: 1,
            text_digest: [0; 32],
            octets: vec![digest; parts * MAX_LISTING_PART].into(),
        }
    }

    fn parts(sending: &mut Sending<'_>) -> Vec<(u8, u32)> {
        std::iter::from_fn(|| sending.next())
            .map(|message| match message {
                from_agent::Message::ListingPart(part) => (part.digest[0], part.part),
                other => panic!("{other:?}"),
            })
            .collect()
    }

    #[test]
    fn what_the_collector_has_is_not_sent_again() {
        let newest = NewestListings::default();
        newest.list(listing(1, 2));
        newest.unlist(ListingSource::IptablesLegacy, "");
        let has = |digest| Some(BTreeMap::from([(SOURCE, ListingDigest([digest; 32]))]));
        assert!(!Sending::new(&newest, has(1)).has_more());
        let mut sending = Sending::new(&newest, has(2));
        assert!(sending.has_more());
        assert_eq!(parts(&mut sending), [(1, 0), (1, 1)]);
        assert!(!sending.has_more());
        sending.hear(BTreeMap::new());
        assert_eq!(parts(&mut sending), [(1, 0), (1, 1)], "it was asked for again");
    }

    #[test]
    fn a_collector_that_takes_none_is_sent_none() {
        let newest = NewestListings::default();
        newest.list(listing(1, 1));
        let mut sending = Sending::new(&newest, None);
        assert!(!sending.has_more());
        assert_eq!(sending.next(), None);
    }

    #[test]
    fn a_listing_that_changes_on_the_way_begins_anew() {
        let newest = NewestListings::default();
        let mut moved = newest.moved();
        newest.list(listing(1, 3));
        assert!(moved.has_changed().unwrap());
        moved.mark_unchanged();
        newest.list(listing(1, 3));
        assert!(!moved.has_changed().unwrap(), "it is the same");
        let mut sending = Sending::new(&newest, Some(BTreeMap::new()));
        sending.next().unwrap();
        newest.list(listing(2, 2));
        assert_eq!(parts(&mut sending), [(2, 0), (2, 1)]);
    }

    #[test]
    fn a_listing_that_is_gone_is_told_once_and_with_its_reason() {
        let newest = NewestListings::default();
        newest.unlist(SOURCE, "");
        let has = Some(BTreeMap::from([(SOURCE, ListingDigest([1; 32]))]));
        let mut sending = Sending::new(&newest, has);
        let gone =
            |why: &str| Some(from_agent::Message::NoListing(no_listing_to_wire(SOURCE, why)));
        assert_eq!(sending.next(), gone(""));
        assert_eq!(sending.next(), None);
        newest.unlist(SOURCE, "too long");
        assert_eq!(sending.next(), gone("too long"));
        assert!(!sending.has_more());
    }
}
