//! Who is silent because somebody else is.
//!
//! Seen from the collector, everything that is silent is either at the edge of what still answers, and
//! then the cause, or behind such an edge. A device that has another way around a dead one is not
//! behind it. A device that answers no more but still passes on what others say is a cause of its own
//! and no excuse for anybody.
//!
//! Nobody falls silent for all observers at once. A host is missed within seconds, the switch it hangs
//! on is asked once a minute: until the switch was asked again, the host waits for that answer
//! ([`Cause::Waiting`]).

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::{Asset, Confidence, Topology};
use crate::name::HostName;
use crate::text::Text;
use crate::time::Timestamp;

/// The most causes that are named for one asset.
pub const MAX_NAMED: usize = 4;

/// Whether an asset answers. One that is never asked has no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// It did last at this time.
    Heard {
        /// When.
        at: Timestamp,
    },
    /// It does not, since this time: the first at which an answer was due and did not come.
    Silent {
        /// Since when.
        since: Timestamp,
    },
}

impl Answer {
    const fn is_silent(self) -> bool {
        match self {
            Self::Silent { .. } => true,
            Self::Heard { .. } => false,
        }
    }
}

/// Why an asset is silent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cause {
    /// For itself: everything before it answers.
    Root,
    /// It is behind these, which are silent for themselves or wait; of many the first
    /// [`MAX_NAMED`].
    Behind(Vec<Asset>),
    /// It may be behind these, which have not been asked since; of many the first [`MAX_NAMED`].
    Waiting(Vec<Asset>),
}

impl Cause {
    /// Why nothing can be said of the asset itself; `None` of a root.
    #[must_use]
    pub fn text(&self) -> Option<Text> {
        let listed = |assets: &[Asset], between: &str| {
            let names: Vec<&str> = assets.iter().map(|asset| asset.name().as_str()).collect();
            names.join(between)
        };
        match self {
            Self::Root => None,
            Self::Behind(roots) => Some(Text::new(
                format!("behind {}", listed(roots, ", ")),
                format!("位于 {} 之后", listed(roots, "、")),
            )),
            Self::Waiting(on) => Some(Text::new(
                format!("perhaps behind {}, which is asked next", listed(on, ", ")),
                format!("可能位于 {} 之后，正等待其应答", listed(on, "、")),
            )),
        }
    }
}

/// Who reaches whom.
#[derive(Debug, Clone, Default)]
pub struct Graph {
    /// In order.
    assets: Vec<Asset>,
    /// By asset: its neighbours, in order.
    near: Vec<Vec<usize>>,
    /// By asset: whether packets of others pass through it.
    passes: Vec<bool>,
}

/// What holds for each asset while causes are sought.
struct State {
    answers: Vec<Option<Answer>>,
    /// It is silent and yet passes packets on.
    forwards: Vec<bool>,
}

impl State {
    /// Whether an asset stops what would pass through it.
    fn blocks(&self, no: usize) -> bool {
        self.answers[no].is_some_and(Answer::is_silent) && !self.forwards[no]
    }
}

impl Graph {
    /// Takes links and places that are at least likely. `passing`: the devices through which packets
    /// pass, switches and routers.
    #[must_use]
    pub fn new(topology: &Topology, passing: &BTreeSet<HostName>) -> Self {
        let mut edges: BTreeSet<(Asset, Asset)> = BTreeSet::new();
        for link in topology.links.iter().filter(|link| link.confidence >= Confidence::Medium) {
            let [one, other] = &link.ends;
            edges.insert((Asset::Device(one.device.clone()), Asset::Device(other.device.clone())));
        }
        for place in &topology.attachments {
            if place.confidence >= Confidence::Medium {
                edges.insert((place.asset.clone(), Asset::Device(place.device.clone())));
            }
        }
        Self::of(&edges, |asset| match asset {
            Asset::Device(name) => passing.contains(name),
            Asset::Host(_) => false,
        })
    }

    /// Of edges.
    fn of(edges: &BTreeSet<(Asset, Asset)>, passes: impl Fn(&Asset) -> bool) -> Self {
        let all: BTreeSet<&Asset> = edges.iter().flat_map(|(one, other)| [one, other]).collect();
        let assets: Vec<Asset> = all.into_iter().cloned().collect();
        let mut near = vec![BTreeSet::new(); assets.len()];
        for (one, other) in edges {
            let ends = assets.binary_search(one).ok().zip(assets.binary_search(other).ok());
            if let Some((one, other)) = ends.filter(|(one, other)| one != other) {
                near[one].insert(other);
                near[other].insert(one);
            }
        }
        Self {
            passes: assets.iter().map(passes).collect(),
            near: near.into_iter().map(|near| near.into_iter().collect()).collect(),
            assets,
        }
    }

    /// Why each silent asset is silent, seen from `from`, where the collector is. What is not connected
    /// to it at all, as far as is known, is silent for itself.
    #[must_use]
    pub fn causes(
        &self,
        from: &BTreeSet<Asset>,
        answers: &BTreeMap<Asset, Answer>,
    ) -> BTreeMap<Asset, Cause> {
        let starts: Vec<usize> =
            from.iter().filter_map(|asset| self.assets.binary_search(asset).ok()).collect();
        let mut state = State {
            answers: self.assets.iter().map(|asset| answers.get(asset).copied()).collect(),
            forwards: vec![false; self.assets.len()],
        };
        self.find_forwarding(&starts, &mut state);
        let reached = self.reach(&starts, |no| !state.blocks(no));
        let silent = answers.iter().filter(|(_, answer)| answer.is_silent());
        silent
            .map(|(asset, _)| {
                let cause = match self.assets.binary_search(asset) {
                    Ok(no) => self.cause(no, &starts, &reached, &state),
                    Err(_) => Cause::Root,
                };
                (asset.clone(), cause)
            })
            .collect()
    }

    /// What can be reached through assets that pass packets on and are `open`.
    fn reach(&self, starts: &[usize], open: impl Fn(usize) -> bool) -> Vec<bool> {
        let mut reached = vec![false; self.assets.len()];
        let mut edge: Vec<usize> = Vec::new();
        for start in starts {
            // The collector's own machine passes its own packets on.
            reached[*start] = true;
            edge.push(*start);
        }
        while let Some(at) = edge.pop() {
            for next in &self.near[at] {
                if !reached[*next] && open(*next) {
                    reached[*next] = true;
                    if self.passes[*next] {
                        edge.push(*next);
                    }
                }
            }
        }
        reached
    }

    /// Finds those that are silent and yet pass packets on: somebody was heard through them later than
    /// they fell silent. Of several ways the one with the fewest silent ones is believed.
    fn find_forwarding(&self, starts: &[usize], state: &mut State) {
        let first_silence = state.answers.iter().filter_map(|answer| match answer {
            Some(Answer::Silent { since }) => Some(*since),
            Some(Answer::Heard { .. }) | None => None,
        });
        let Some(first_silence) = first_silence.min() else { return };
        let connected = self.reach(starts, |_| true);
        // To most of those that are heard there is a way on which nobody is silent.
        let open = self.reach(starts, |no| !state.blocks(no));
        for (no, connected) in connected.into_iter().enumerate() {
            let Some(Answer::Heard { at }) = state.answers[no] else { continue };
            if at <= first_silence || !connected || open[no] {
                continue;
            }
            for silent in self.silent_on_the_way(starts, no, at, state) {
                state.forwards[silent] = true;
            }
        }
    }

    /// The blocking assets on the way with the fewest of them to `goal`, which was heard at `at`; only
    /// those count as passable that were silent before.
    fn silent_on_the_way(
        &self,
        starts: &[usize],
        goal: usize,
        at: Timestamp,
        state: &State,
    ) -> Vec<usize> {
        let silent_before = |no: usize| match state.answers[no] {
            Some(Answer::Silent { since }) => since < at,
            Some(Answer::Heard { .. }) | None => true,
        };
        let mut least: Vec<Option<usize>> = vec![None; self.assets.len()];
        let mut before: Vec<Option<usize>> = vec![None; self.assets.len()];
        let mut edge: VecDeque<usize> = VecDeque::new();
        for start in starts {
            least[*start] = Some(0);
            edge.push_back(*start);
        }
        while let Some(here) = edge.pop_front() {
            let Some(cost) = least[here] else { continue };
            if here == goal {
                break;
            }
            if !self.passes[here] && !starts.contains(&here) {
                continue;
            }
            for next in &self.near[here] {
                if !silent_before(*next) {
                    continue;
                }
                let step = usize::from(state.blocks(*next));
                if least[*next].is_none_or(|known| cost + step < known) {
                    least[*next] = Some(cost + step);
                    before[*next] = Some(here);
                    if step == 0 {
                        edge.push_front(*next);
                    } else {
                        edge.push_back(*next);
                    }
                }
            }
        }
        if least[goal].is_none() {
            return Vec::new();
        }
        let way = std::iter::successors(before[goal], |no| before[*no]);
        way.filter(|no| state.blocks(*no)).collect()
    }

    fn cause(&self, no: usize, starts: &[usize], reached: &[bool], state: &State) -> Cause {
        if starts.contains(&no) || !state.blocks(no) {
            return Cause::Root;
        }
        let open_to = self.doors(no, starts, reached);
        if !open_to.is_empty() {
            return self.root_or_waiting(no, &open_to, starts, state);
        }
        // Through what is not reached to where it ends.
        let mut seen = BTreeSet::from([no]);
        let mut edge = VecDeque::from([no]);
        let mut ends = BTreeSet::new();
        while let Some(at) = edge.pop_front() {
            for next in &self.near[at] {
                if reached[*next] || !seen.insert(*next) {
                    continue;
                }
                if !self.passes[*next] {
                    continue;
                }
                if self.doors(*next, starts, reached).is_empty() {
                    edge.push_back(*next);
                } else {
                    ends.insert(*next);
                }
            }
        }
        if ends.is_empty() { Cause::Root } else { Cause::Behind(self.named(ends)) }
    }

    /// The assets that are reached and lead to this one.
    fn doors(&self, no: usize, starts: &[usize], reached: &[bool]) -> Vec<usize> {
        let near = self.near[no].iter().copied();
        near.filter(|near| reached[*near] && (self.passes[*near] || starts.contains(near)))
            .collect()
    }

    /// What is at the edge is the cause, once somebody before it has answered since.
    fn root_or_waiting(
        &self,
        no: usize,
        open_to: &[usize],
        starts: &[usize],
        state: &State,
    ) -> Cause {
        let Some(Answer::Silent { since }) = state.answers[no] else { return Cause::Root };
        let confirmed = |near: &usize| match state.answers[*near] {
            Some(Answer::Heard { at }) => at >= since || starts.contains(near),
            // It passes packets on, which is all that counts here; or nobody ever asks it.
            Some(Answer::Silent { .. }) | None => true,
        };
        if open_to.iter().any(confirmed) {
            Cause::Root
        } else {
            Cause::Waiting(self.named(open_to.iter().copied()))
        }
    }

    fn named(&self, all: impl IntoIterator<Item = usize>) -> Vec<Asset> {
        all.into_iter().take(MAX_NAMED).map(|no| self.assets[no].clone()).collect()
    }
}
