//! Rules that do nothing, say the opposite of others, or open everything.

use std::collections::{BTreeSet, HashMap};

use super::arena::{Set, TooComplex};
use super::matrix::{WAYS, on_way};
use super::pass::{RuleAt, Walk};
use super::space::Space;
use crate::model::field::{Field, device, state};
use crate::model::network::Network;
use crate::model::ruleset::{
    At, ChainId, ChainKind, Data, Hook, Match, Ruleset, Statement, Verdict,
};
use crate::model::trace::Direction;
use crate::text::Text;

/// Rules named as the cause, at most.
const CAUSES: usize = 3;

/// What is odd about a rule or chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Oddity {
    /// Nothing that comes to it is what it asks for, whatever stands before it.
    NeverTrue,
    /// Everything that it asks for was decided by these rules before, otherwise than it says.
    Contradicted(Vec<RuleAt>),
    /// Everything that it asks for was decided by these rules before, as it says.
    Repeated(Vec<RuleAt>),
    /// Nothing comes to it.
    Unreachable,
    /// Without it the same would happen, by what stands behind it.
    Redundant,
    /// Its counter stands at zero.
    NeverHit,
    /// It lets anybody open anything to anybody.
    AnyToAny,
    /// It has conditions or statements that are not understood, in these words.
    NotUnderstood(Vec<String>),
    /// The chain lets through what no rule decides.
    AcceptsByDefault,
    /// No rule calls the chain.
    NeverCalled,
}

/// An oddity, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Odd {
    /// The chain.
    pub chain: At,
    /// The rule's place in it; nothing where it is about the chain.
    pub rule: Option<u32>,
    /// What is odd.
    pub what: Oddity,
}

impl Oddity {
    /// Its name for programs.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::NeverTrue => "never_true",
            Self::Contradicted(_) => "contradicted",
            Self::Repeated(_) => "repeated",
            Self::Unreachable => "unreachable",
            Self::Redundant => "redundant",
            Self::NeverHit => "never_hit",
            Self::AnyToAny => "any_to_any",
            Self::NotUnderstood(_) => "not_understood",
            Self::AcceptsByDefault => "accepts_by_default",
            Self::NeverCalled => "never_called",
        }
    }

    /// The rules that are the cause.
    #[must_use]
    pub fn causes(&self) -> &[RuleAt] {
        match self {
            Self::Contradicted(by) | Self::Repeated(by) => by,
            Self::NeverTrue
            | Self::Unreachable
            | Self::Redundant
            | Self::NeverHit
            | Self::AnyToAny
            | Self::NotUnderstood(_)
            | Self::AcceptsByDefault
            | Self::NeverCalled => &[],
        }
    }

    /// What is odd, and what next.
    #[must_use]
    pub fn text(&self) -> Text {
        match self {
            Self::NeverTrue => Text::new(
                "its conditions are never true together; correct or remove it",
                "其条件不可能同时成立；请更正或删除",
            ),
            Self::Contradicted(_) => Text::new(
                "rules before it decide otherwise for everything that it asks for; move it up or remove it",
                "前面的规则已对其全部报文作出相反的判定；请上移或删除",
            ),
            Self::Repeated(_) => Text::new(
                "rules before it have said the same already; remove it",
                "前面的规则已作出相同的判定；可以删除",
            ),
            Self::Unreachable => Text::new(
                "nothing comes to it; remove it, or what stands before it",
                "没有报文能到达该规则；请删除该规则或其前面的规则",
            ),
            Self::Redundant => Text::new(
                "without it the same happens, by the rules behind it; remove it",
                "删除后结果不变，后面的规则会作出相同的判定；可以删除",
            ),
            Self::NeverHit => Text::new(
                "its counter stands at zero; ask whether it is needed",
                "计数器为零；请确认是否仍需要",
            ),
            Self::AnyToAny => Text::new(
                "it lets anybody open anything to anybody; name who, to whom and what",
                "允许任意来源向任意目的建立任意连接；请写明来源、目的与服务",
            ),
            Self::NotUnderstood(words) => {
                let words = words.join("; ");
                Text::new(
                    format!("not understood, so that it may be true or false: {words}"),
                    format!("无法理解，可能成立也可能不成立：{words}"),
                )
            }
            Self::AcceptsByDefault => Text::new(
                "it lets through what no rule decides; set its policy to drop",
                "放行未被任何规则判定的报文；请将其默认策略设为 drop",
            ),
            Self::NeverCalled => {
                Text::new("no rule calls it; remove it", "没有规则调用该链；可以删除")
            }
        }
    }
}

/// What is odd about the rules that packets meet on some ways through a host.
pub fn lint(
    space: &mut Space,
    ruleset: &Ruleset,
    network: &Network,
    directions: &[Direction],
) -> Result<Vec<Odd>, TooComplex> {
    let mut begins = Vec::new();
    for direction in directions {
        begins.push((*direction, on_way(space, *direction)?));
    }
    let mut walk = Walk::new(space, ruleset).knowing(network).noting();
    for (direction, begin) in begins {
        walk.through(direction.hooks(), begin)?;
    }
    let hooks: BTreeSet<Hook> =
        directions.iter().flat_map(|direction| direction.hooks()).copied().collect();
    let mut odd = Vec::new();
    for (number, table) in (0..).zip(&ruleset.tables) {
        if table.dormant {
            continue;
        }
        let called = called(table, &hooks);
        let mut chains = Suffixes { walk: &mut walk, ruleset, known: HashMap::new() };
        for (id, chain) in (0..).map(ChainId).zip(&table.chains) {
            let at = At { table: number, chain: id };
            let mut say = |rule, what| odd.push(Odd { chain: at, rule, what });
            let Some(hook) = called.get(&id) else {
                // Only whoever asked about every way knows that none leads here.
                if chain.base.is_none() && directions.len() == WAYS.len() {
                    say(None, Oddity::NeverCalled);
                }
                continue;
            };
            if let Some(base) = &chain.base {
                let filters = base.kind == ChainKind::Filter
                    && matches!(base.hook, Hook::Input | Hook::Forward);
                if filters && base.accepts && !chains.decides_all(at, *hook)? {
                    say(None, Oddity::AcceptsByDefault);
                }
            }
            chains.rules(at, *hook, &mut |rule, what| say(Some(rule), what))?;
        }
    }
    Ok(odd)
}

/// The chains that packets of some hooks come to, with one of these hooks.
fn called(table: &crate::model::ruleset::Table, hooks: &BTreeSet<Hook>) -> HashMap<ChainId, Hook> {
    let mut called = HashMap::new();
    let mut open = Vec::new();
    for (id, chain) in (0..).map(ChainId).zip(&table.chains) {
        if let Some(base) = chain.base.as_ref().filter(|base| hooks.contains(&base.hook)) {
            open.push((id, base.hook));
        }
    }
    while let Some((id, hook)) = open.pop() {
        if called.insert(id, hook).is_some() {
            continue;
        }
        for statement in table.chain(id).rules.iter().flat_map(|rule| &rule.statements) {
            let mut call = |verdict: &Verdict| {
                if let Verdict::Jump(to) | Verdict::Goto(to) = verdict {
                    open.push((*to, hook));
                }
            };
            match statement {
                Statement::Verdict(verdict) => call(verdict),
                Statement::VerdictMap { map, .. } => {
                    let set = table.set(*map);
                    let all = set.elements.iter().map(|one| &one.data).chain(&set.otherwise);
                    for data in all {
                        if let Data::Verdict(verdict) = data {
                            call(verdict);
                        }
                    }
                }
                Statement::Match(_)
                | Statement::Set { .. }
                | Statement::Nat(_)
                | Statement::Notrack
                | Statement::Offload
                | Statement::Unknown { .. } => {}
            }
        }
    }
    called
}

/// How packets end: accepted, dropped, rejected, at the chain's end, or nobody knows.
const ENDS: usize = 5;
const ACCEPT: usize = 0;
const DROP: usize = 1;
const REJECT: usize = 2;
const THROUGH: usize = 3;
const UNKNOWN: usize = 4;

/// For each end, the packets that come to it. Together everything, and none twice.
type Outcome = [Set; ENDS];

/// Every packet to one end.
const fn all_to(end: usize) -> Outcome {
    let mut outcome = [Set::EMPTY; ENDS];
    outcome[end] = Set::ALL;
    outcome
}

/// What chains do from each of their rules on.
struct Suffixes<'w, 'a> {
    walk: &'w mut Walk<'a>,
    ruleset: &'a Ruleset,
    known: HashMap<(At, Hook), Outcome>,
}

impl Suffixes<'_, '_> {
    /// Whether no packet comes to the end of a chain.
    fn decides_all(&mut self, at: At, hook: Hook) -> Result<bool, TooComplex> {
        Ok(self.chain(at, hook)?[THROUGH].is_empty())
    }

    /// What a chain does with every packet; what its policy does is not counted.
    fn chain(&mut self, at: At, hook: Hook) -> Result<Outcome, TooComplex> {
        if let Some(known) = self.known.get(&(at, hook)) {
            return Ok(*known);
        }
        let mut after = all_to(THROUGH);
        let rules = self.ruleset.chain(at).rules.len();
        for rule in (0..rules).rev() {
            let at = RuleAt { chain: at, rule: u32::try_from(rule).unwrap_or(u32::MAX) };
            let own = self.rule(at, hook, after, all_to(THROUGH))?;
            after = self.either(at, hook, own, after)?;
        }
        self.known.insert((at, hook), after);
        Ok(after)
    }

    /// What a rule does with packets that it is for, if `after` is what happens behind it and `end` at
    /// the chain's end.
    fn rule(
        &mut self,
        at: RuleAt,
        hook: Hook,
        after: Outcome,
        end: Outcome,
    ) -> Result<Outcome, TooComplex> {
        let rule = &self.ruleset.chain(at.chain).rules[at.rule as usize];
        for statement in &rule.statements {
            match statement {
                Statement::Match(_) | Statement::Offload => {}
                Statement::Verdict(verdict) => {
                    return Ok(match verdict {
                        Verdict::Accept => all_to(ACCEPT),
                        Verdict::Drop => all_to(DROP),
                        Verdict::Reject => all_to(REJECT),
                        Verdict::Return => end,
                        Verdict::Continue => after,
                        Verdict::Queue => all_to(UNKNOWN),
                        Verdict::Jump(to) => self.call(at.chain, *to, hook, after)?,
                        Verdict::Goto(to) => self.call(at.chain, *to, hook, end)?,
                    });
                }
                Statement::VerdictMap { .. }
                | Statement::Set { .. }
                | Statement::Nat(_)
                | Statement::Notrack
                | Statement::Unknown { .. } => return Ok(all_to(UNKNOWN)),
            }
        }
        Ok(after)
    }

    fn call(
        &mut self,
        from: At,
        to: ChainId,
        hook: Hook,
        back: Outcome,
    ) -> Result<Outcome, TooComplex> {
        let called = self.chain(At { table: from.table, chain: to }, hook)?;
        let space = self.walk.space();
        let mut outcome = called;
        for end in 0..ENDS {
            let here = space.and(called[THROUGH], back[end])?;
            outcome[end] = if end == THROUGH { here } else { space.or(called[end], here)? };
        }
        Ok(outcome)
    }

    /// What happens from a rule on, if `own` is what it does with what it is for.
    fn either(
        &mut self,
        at: RuleAt,
        hook: Hook,
        own: Outcome,
        after: Outcome,
    ) -> Result<Outcome, TooComplex> {
        let (maybe, surely) = self.walk.condition(hook, at)?;
        let space = self.walk.space();
        let mut outcome = all_to(UNKNOWN);
        for end in 0..ENDS {
            let hit = space.and(surely, own[end])?;
            let missed = space.without(after[end], maybe)?;
            outcome[end] = space.or(hit, missed)?;
        }
        let unsure = space.without(maybe, surely)?;
        outcome[UNKNOWN] = space.or(outcome[UNKNOWN], unsure)?;
        Ok(outcome)
    }

    fn rules(
        &mut self,
        chain: At,
        hook: Hook,
        say: &mut impl FnMut(u32, Oddity),
    ) -> Result<(), TooComplex> {
        let ruleset = self.ruleset;
        let rules = &ruleset.chain(chain).rules;
        let policy = match &ruleset.chain(chain).base {
            Some(base) if base.accepts => all_to(ACCEPT),
            Some(_) => all_to(DROP),
            None => all_to(THROUGH),
        };
        // Behind each rule, and what each one does.
        let count = u32::try_from(rules.len()).unwrap_or(u32::MAX);
        let mut after = policy;
        let mut suffixes = Vec::with_capacity(rules.len());
        for rule in (0..count).rev() {
            let at = RuleAt { chain, rule };
            let own = self.rule(at, hook, after, policy)?;
            suffixes.push((own, after));
            after = self.either(at, hook, own, after)?;
        }
        suffixes.reverse();
        // What may still come to each rule, if anything may come to the chain.
        let mut open = Set::ALL;
        for ((place, rule), (own, after)) in (0..count).zip(rules).zip(suffixes) {
            let at = RuleAt { chain, rule: place };
            let (maybe, surely) = self.walk.condition(hook, at)?;
            let words = not_understood(&rule.statements, false);
            if !words.is_empty() {
                say(place, Oddity::NotUnderstood(words));
            }
            let seen = self.walk.seen(at);
            let dead = seen.matched.is_empty();
            if maybe.is_empty() {
                say(place, Oddity::NeverTrue);
            } else if dead {
                say(place, self.shadow(chain, hook, place, maybe, own)?);
            } else if decides(&rule.statements) && self.is_redundant(maybe, open, own, after)? {
                say(place, Oddity::Redundant);
            }
            if !dead && rule.origin.counted.is_some_and(|counted| counted.packets == 0) {
                say(place, Oddity::NeverHit);
            }
            let accepts = rule.statements.last() == Some(&Statement::Verdict(Verdict::Accept));
            if !dead && accepts && self.is_any_to_any(surely)? {
                say(place, Oddity::AnyToAny);
            }
            let space = self.walk.space();
            let goes_on = space.or(own[THROUGH], own[UNKNOWN])?;
            let decided = space.without(surely, goes_on)?;
            open = space.without(open, decided)?;
        }
        Ok(())
    }

    /// Why nothing comes to a rule that it is for.
    fn shadow(
        &mut self,
        chain: At,
        hook: Hook,
        place: u32,
        wanted: Set,
        own: Outcome,
    ) -> Result<Oddity, TooComplex> {
        let mut left = wanted;
        let (mut causes, mut otherwise) = (Vec::new(), false);
        for before in 0..place {
            let at = RuleAt { chain, rule: before };
            let (_, surely) = self.walk.condition(hook, at)?;
            let did = self.rule(at, hook, all_to(THROUGH), all_to(THROUGH))?;
            let space = self.walk.space();
            let taken = space.and(left, surely)?;
            let taken = space.without(taken, did[THROUGH])?;
            if taken.is_empty() {
                continue;
            }
            for end in [ACCEPT, DROP, REJECT] {
                let alike = space.and(taken, did[end])?;
                otherwise |= !space.is_within(alike, own[end])?;
            }
            left = space.without(left, taken)?;
            if causes.len() < CAUSES {
                causes.push(at);
            }
        }
        Ok(match (causes.is_empty(), otherwise) {
            // Other chains, or the way that packets take, leave nothing of it.
            (true, _) => Oddity::Unreachable,
            (false, true) => Oddity::Contradicted(causes),
            (false, false) => Oddity::Repeated(causes),
        })
    }

    fn is_redundant(
        &mut self,
        maybe: Set,
        open: Set,
        own: Outcome,
        after: Outcome,
    ) -> Result<bool, TooComplex> {
        let space = self.walk.space();
        let hit = space.and(maybe, open)?;
        if hit.is_empty() {
            return Ok(false);
        }
        for end in 0..ENDS {
            let with = space.and(hit, own[end])?;
            let without = space.and(hit, after[end])?;
            if with != without || end == UNKNOWN && !with.is_empty() {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Whether packets of a new connection between any addresses, of any protocol, are among these, not
    /// counting loopback.
    fn is_any_to_any(&mut self, packets: Set) -> Result<bool, TooComplex> {
        let space = self.walk.space();
        let new = space.value(Field::State, state::NEW)?;
        let mut these = space.and(packets, new)?;
        let Some(lo) = device("lo") else { return Ok(false) };
        for field in [Field::InputDevice, Field::OutputDevice] {
            let loopback = space.value(field, lo)?;
            these = space.without(these, loopback)?;
        }
        let told = [
            Field::Version,
            Field::Source4,
            Field::Source6,
            Field::Destination4,
            Field::Destination6,
            Field::Protocol,
            Field::DestinationPort,
        ];
        let these = space.only(these, &told)?;
        for v6 in [false, true] {
            let all = space.version(v6)?;
            if space.is_within(all, these)? {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

/// Whether a rule does anything that its removal could change.
fn decides(statements: &[Statement]) -> bool {
    statements.iter().any(|statement| match statement {
        Statement::Verdict(verdict) => *verdict != Verdict::Continue,
        Statement::VerdictMap { .. }
        | Statement::Set { .. }
        | Statement::Nat(_)
        | Statement::Notrack
        | Statement::Unknown { .. } => true,
        Statement::Match(_) | Statement::Offload => false,
    })
}

/// What of a rule may be true or false, in its words: what is not understood, and with `limits` also
/// what is understood well and still nobody knows.
pub(super) fn not_understood(statements: &[Statement], limits: bool) -> Vec<String> {
    fn of(one: &Match, limits: bool, words: &mut Vec<String>) {
        match one {
            Match::Unknown { text } if !limits && text.starts_with("limit") => {}
            Match::Unknown { text } => words.push(text.clone()),
            Match::Any(some) => some.iter().for_each(|one| of(one, limits, words)),
            Match::In { .. } | Match::Lookup { .. } => {}
        }
    }
    let mut words = Vec::new();
    for statement in statements {
        match statement {
            Statement::Match(one) => of(one, limits, &mut words),
            Statement::Unknown { text, .. } => words.push(text.clone()),
            Statement::Verdict(_)
            | Statement::VerdictMap { .. }
            | Statement::Set { .. }
            | Statement::Nat(_)
            | Statement::Notrack
            | Statement::Offload => {}
        }
    }
    words
}
