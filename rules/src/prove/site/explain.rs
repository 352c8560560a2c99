//! One packet and its way, out of the sets that a search has found.

use std::collections::BTreeSet;
use std::rc::Rc;

use serde::{Deserialize, Serialize};

use super::super::arena::{Set, TooComplex};
use super::super::lint::not_understood;
use super::super::pass::{Layer, RuleAt, Stage, Walk};
use super::super::space::{Space, Values};
use super::super::words::{Example, example};
use super::search::{Ends, Found, Place, Reached, wished};
use super::transfer::{Leaves, ON_THE_WIRE, Piece};
use super::wire::{Layout, WireId};
use super::{Breach, Bridge, Host, Port, Prover};
use crate::model::field::{Field, device, device_name, kind};
use crate::model::interval::Intervals;
use crate::model::network::{self, Asked};
use crate::model::ruleset::{
    At, ChainId, Data, Hook, Place as RulePlace, Rule, Ruleset, Statement, Verdict,
};
use crate::name::HostName;
use crate::text::Text;

/// A host on the way of a packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hop {
    /// The host; nothing where the packet is put on the wire by whoever is on it.
    pub host: Option<HostName>,
    /// The interface by which it comes.
    pub input: Option<String>,
    /// The interface by which it leaves.
    pub output: Option<String>,
    /// The packet as it comes.
    pub packet: Example,
    /// What lets it through, in the order in which the kernel asks.
    pub deciding: Vec<Deciding>,
}

/// What lets a packet through a base chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deciding {
    /// The hook.
    pub hook: &'static str,
    /// Family of the table.
    pub family: &'static str,
    /// The table.
    pub table: String,
    /// The chain that decides.
    pub chain: String,
    /// The rule; nothing where the policy of the chain decides.
    pub rule: Option<DecidingRule>,
    at: RuleAt,
}

/// The rule that decides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DecidingRule {
    /// How to find it: its handle, or its line in the listing.
    pub place: RulePlace,
    /// Its words.
    pub text: String,
    /// Its comment, which in rules that were compiled names the line of the policy.
    pub comment: Option<String>,
}

/// A change that would stop a packet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cut {
    /// Where.
    pub host: HostName,
    /// What.
    pub what: Text,
}

/// The packets of a way, as they come to each of its steps.
pub(super) type Way = (Vec<usize>, Vec<Values>, Reached);

/// The way that is shown: of the shortest the one with the plainest packet.
pub(super) fn best(prover: &mut Prover, found: &Found) -> Result<Way, TooComplex> {
    let length = |reached: &Reached| {
        let mut length = 1;
        let mut at = reached.step;
        while let Some((before, _)) = &found.steps[at].from {
            at = *before;
            length += 1;
        }
        length
    };
    let shortest = found.reached.iter().map(length).min().unwrap_or_default();
    let mut wishes = wished(&mut prover.space, &prover.site.policy)?;
    // Somebody who shares a wire with others may have an address of theirs; one of his own says more.
    wishes.insert(1, found.from);
    let mut best: Option<(usize, Way)> = None;
    for reached in found.reached.iter().filter(|reached| length(reached) == shortest) {
        let (trail, packets) = trail(&mut prover.space, found, reached, &wishes)?;
        let Some(first) = packets.first() else { continue };
        // The dearest wishes come first, so the first one that is not granted tells.
        let granted = wishes.iter().take_while(|wish| prover.space.holds(**wish, first)).count();
        if best.as_ref().is_none_or(|(had, _)| *had < granted) {
            best = Some((granted, (trail, packets, reached.clone())));
        }
    }
    best.map(|(_, way)| way).ok_or(TooComplex::Unshown)
}

/// The steps that lead to an end, and a packet at each of them.
fn trail(
    space: &mut Space,
    found: &Found,
    reached: &Reached,
    wishes: &[Set],
) -> Result<(Vec<usize>, Vec<Values>), TooComplex> {
    // Backwards: which packets of each step get there.
    let mut steps = vec![reached.step];
    let mut sets = vec![reached.packets];
    let mut pieces: Vec<Option<Rc<Piece>>> = Vec::new();
    let (mut at, mut there) = (reached.step, reached.packets);
    while let Some((before, piece)) = &found.steps[at].from {
        let wire = space.only(there, &ON_THE_WIRE)?;
        there = match piece {
            None => wire,
            Some(piece) => {
                let change = piece.change.of_fields(&ON_THE_WIRE);
                let came = change.before(space, wire)?.maybe;
                space.and(came, piece.reach.maybe)?
            }
        };
        at = *before;
        there = space.and(there, found.steps[at].packets)?;
        steps.push(at);
        sets.push(there);
        pieces.push(piece.clone());
    }
    steps.reverse();
    sets.reverse();
    pieces.reverse();
    // Forwards: one of them.
    let mut packets = Vec::new();
    let mut now = sets[0];
    for (place, set) in sets.iter().enumerate() {
        now = space.and(now, *set)?;
        let Some(packet) = space.pick(now, wishes)? else { return Ok((steps, Vec::new())) };
        packets.push(packet);
        let cube = on_the_wire(space, &packet)?;
        now = match pieces.get(place) {
            Some(Some(piece)) => piece.change.of_fields(&ON_THE_WIRE).image(space, cube)?,
            Some(None) | None => cube,
        };
    }
    Ok((steps, packets))
}

/// All packets that look like this one on the wire.
pub(super) fn on_the_wire(space: &mut Space, packet: &Values) -> Result<Set, TooComplex> {
    let values = ON_THE_WIRE.map(|field| (field, Intervals::one(packet.get(field))));
    space.product(values.iter().map(|(field, value)| (*field, value)))
}

/// The packet that is shown, with its way and what would stop it.
pub(super) fn breach(
    prover: &mut Prover,
    found: &Found,
    (steps, packets, reached): &Way,
) -> Result<Breach, TooComplex> {
    let mut path = Vec::new();
    let mut cuts = Vec::new();
    for (place, (step, packet)) in steps.iter().zip(packets).enumerate() {
        let at = &found.steps[*step].place;
        let Some((name, input)) = at.within() else {
            if let (Place::Wire(wire), [_]) = (at, &steps[..]) {
                cuts.extend(apart(prover, found.layout, *wire));
                path.push(Hop {
                    host: None,
                    input: None,
                    output: None,
                    packet: example(packet),
                    deciding: Vec::new(),
                });
            }
            continue;
        };
        let piece = piece_at(found, steps, place, reached);
        let hooks = hooks(input, piece);
        let output = hooks.output;
        let Some(host) = prover.site.hosts.get(name) else { continue };
        let deciding = deciding(&mut prover.space, host, &host.ruleset, hooks, packet)?;
        for decides in &deciding {
            let without = cut(&host.ruleset, decides);
            if !passes(&mut prover.space, host, &without, hooks, packet)? {
                cuts.push(Cut { host: name.clone(), what: words_of(decides) });
            }
        }
        if deciding.is_empty() {
            cuts.push(Cut {
                host: name.clone(),
                what: Text::new(
                    "nothing filters here: load a ruleset that drops it, or switch forwarding off",
                    "此处没有任何过滤：请加载丢弃该报文的规则集，或关闭转发",
                ),
            });
        }
        path.push(Hop {
            host: Some(name.clone()),
            input: input.map(str::to_owned),
            output: output.map(str::to_owned),
            packet: example(packet),
            deciding,
        });
    }
    let first = packets.first().copied().unwrap_or_else(Values::plain);
    Ok(Breach { packet: example(&first), path, end: end(&reached.ends), cuts })
}

/// What would part a wire that zones share.
fn apart(prover: &Prover, layout: Layout, wire: WireId) -> Vec<Cut> {
    let ports = &prover.laid(layout).get(wire).ports;
    let mut cuts = Vec::new();
    for (name, host) in &prover.site.hosts {
        let here = |interface: &str| {
            ports.contains(&Port { host: name.clone(), interface: interface.to_owned() })
        };
        for bridge in &host.bridges {
            let joined: Vec<&str> =
                bridge.interfaces().map(String::as_str).filter(|one| here(one)).collect();
            if joined.len() > 1 {
                let joined = joined.join(", ");
                cuts.push(Cut {
                    host: name.clone(),
                    what: Text::new(
                        format!("take one of {joined} out of their bridge"),
                        format!("将 {joined} 之一移出所在网桥"),
                    ),
                });
            }
        }
        for interface in host.network.up() {
            let device = device_name(interface.device);
            let mut zones = interface
                .addresses
                .iter()
                .filter_map(|one| Some((prover.site.policy.zone_of(one.address)?, one.address)));
            let Some((zone, _)) = zones.next().filter(|_| here(&device)) else { continue };
            if let Some((_, address)) = zones.find(|(other, _)| *other != zone) {
                cuts.push(Cut {
                    host: name.clone(),
                    what: Text::new(
                        format!("take {address} from {device}, or the others of another zone"),
                        format!("从 {device} 移除地址 {address}，或移除其上属于另一区域的地址"),
                    ),
                });
            }
        }
    }
    cuts
}

fn end(ends: &Ends) -> Text {
    match ends {
        Ends::OnTheWire => Text::new(
            "both are on one wire: nothing is between them",
            "两者位于同一线路，中间没有任何隔离",
        ),
        Ends::In(host) => {
            Text::new(format!("it is delivered to {host}"), format!("报文被交付给 {host}"))
        }
        Ends::AtAddress { host, interface, via: None } => Text::new(
            format!("{host} sends it out by {interface}, to an address there"),
            format!("{host} 从 {interface} 将其发往该处的地址"),
        ),
        Ends::AtAddress { host, interface, via: Some(router) } => Text::new(
            format!("{host} sends it out by {interface}, to router {router}"),
            format!("{host} 从 {interface} 将其发往路由器 {router}"),
        ),
    }
}

fn words_of(decides: &Deciding) -> Text {
    let Deciding { family, table, chain, .. } = decides;
    match &decides.rule {
        Some(rule) => {
            let (en, zh) = match rule.place {
                RulePlace::Handle(handle) => (format!("handle {handle}"), format!("句柄 {handle}")),
                RulePlace::Line(line) => (format!("line {line}"), format!("第 {line} 行")),
            };
            Text::new(
                format!("remove from {family} {table} {chain} the rule at {en}: {}", rule.text),
                format!("从 {family} {table} {chain} 删除{zh}的规则：{}", rule.text),
            )
        }
        None => Text::new(
            format!("let chain {chain} of {family} {table} drop what no rule decides"),
            format!("将 {family} {table} 的链 {chain} 的默认策略改为 drop"),
        ),
    }
}

/// By which interfaces a packet comes and leaves; one that does not come begins in the host, one that
/// does not leave ends there.
#[derive(Debug, Clone, Copy)]
pub(super) struct Hooks<'a> {
    pub(super) input: Option<&'a str>,
    pub(super) output: Option<&'a str>,
    /// Whether a bridge carries it from one to the other.
    pub(super) bridged: bool,
}

/// By which interfaces a packet comes to a host and leaves it.
pub(super) fn hooks<'a>(input: Option<&'a str>, piece: Option<&'a Piece>) -> Hooks<'a> {
    Hooks {
        input,
        output: piece.and_then(|piece| piece.leaves.interface()),
        bridged: piece.is_some_and(|piece| piece.leaves.is_bridged()),
    }
}

impl Hooks<'_> {
    /// All that it passes in a host.
    fn of(self, host: &Host) -> Vec<Stage> {
        host.stages(self.input, self.output, self.bridged)
    }
}

/// One packet as a set.
fn only(space: &mut Space, packet: &Values, hooks: Hooks<'_>) -> Result<Set, TooComplex> {
    let one = on_the_wire(space, packet)?;
    let state = space.value(Field::State, packet.get(Field::State))?;
    let one = space.and(one, state)?;
    let input = hooks.input.and_then(device).unwrap_or_default();
    let input = space.value(Field::InputDevice, input)?;
    space.and(one, input)
}

/// Takes one packet through a host. Gives whether it may pass.
fn walk_one(walk: &mut Walk<'_>, packet: Set, stages: &[Stage]) -> Result<bool, TooComplex> {
    let flows = walk.begin(packet)?;
    Ok(!walk.staged(stages, flows)?.0.is_empty())
}

/// The base chains that a packet meets on its way through a host, in order.
fn met(ruleset: &Ruleset, stages: &[Stage], hooks: Hooks<'_>, v6: bool) -> Vec<(Hook, At)> {
    let mut input = hooks.input.and_then(device);
    let mut output = None;
    let mut all = Vec::new();
    for stage in stages {
        let (hook, steps) = match *stage {
            Stage::At(Layer::Packet, hook) => (hook, ruleset.path(hook, v6)),
            Stage::At(Layer::Frame, hook) => (hook, ruleset.frame_path(hook)),
            Stage::Input(by) => {
                input = Some(by);
                continue;
            }
            Stage::Output(by) => {
                output = Some(by);
                continue;
            }
        };
        let by = match hook {
            Hook::Ingress => input,
            Hook::Egress => output,
            Hook::Prerouting | Hook::Input | Hook::Forward | Hook::Output | Hook::Postrouting => {
                None
            }
        };
        let chains = steps.into_iter().flat_map(|step| step.chains);
        let entered = chains.filter(|at| is_for(ruleset, *at, by)).map(|at| (hook, at));
        all.extend(entered);
    }
    all
}

/// Whether a base chain may be for an interface, if it is for any.
fn is_for(ruleset: &Ruleset, at: At, by: Option<u128>) -> bool {
    let devices = ruleset.chain(at).base.iter().flat_map(|base| &base.devices);
    let mut devices = devices.peekable();
    let Some(by) = by.filter(|_| devices.peek().is_some()) else { return true };
    devices.any(|name| device(name) == Some(by))
}

fn passes(
    space: &mut Space,
    host: &Host,
    ruleset: &Ruleset,
    hooks: Hooks<'_>,
    packet: &Values,
) -> Result<bool, TooComplex> {
    let one = only(space, packet, hooks)?;
    let mut walk = Walk::new(space, ruleset).knowing(&host.network);
    walk_one(&mut walk, one, &hooks.of(host))
}

/// What lets a packet through each base chain on its way through a host.
pub(super) fn deciding(
    space: &mut Space,
    host: &Host,
    ruleset: &Ruleset,
    hooks: Hooks<'_>,
    packet: &Values,
) -> Result<Vec<Deciding>, TooComplex> {
    let one = only(space, packet, hooks)?;
    let v6 = packet.get(Field::Version) == crate::model::field::IPV6;
    let mut walk = Walk::new(space, ruleset).knowing(&host.network).noting();
    let stages = hooks.of(host);
    walk_one(&mut walk, one, &stages)?;
    let mut found = Vec::new();
    for (hook, at) in met(ruleset, &stages, hooks, v6) {
        let (table, chain) = (ruleset.table(at), ruleset.chain(at));
        let by = decider(&walk, ruleset, at, lets_through);
        let accepts = chain.base.as_ref().is_some_and(|base| base.accepts);
        if by.is_none() && !accepts {
            continue;
        }
        let place = by.map_or(at, |by| by.chain);
        let rule = by.map(|by| &ruleset.chain(by.chain).rules[by.rule as usize]);
        found.push(Deciding {
            hook: hook.name(),
            family: table.family.name(),
            table: table.name.clone(),
            chain: ruleset.chain(place).name.clone(),
            rule: rule.map(|rule| DecidingRule {
                place: rule.origin.place,
                text: rule.origin.text.clone(),
                comment: rule.origin.comment.clone(),
            }),
            at: by.unwrap_or(RuleAt { chain: at, rule: u32::MAX }),
        });
    }
    Ok(found)
}

const fn lets_through(verdict: Verdict) -> bool {
    match verdict {
        Verdict::Accept | Verdict::Queue => true,
        Verdict::Drop
        | Verdict::Reject
        | Verdict::Return
        | Verdict::Continue
        | Verdict::Jump(_)
        | Verdict::Goto(_) => false,
    }
}

const fn stops(verdict: Verdict) -> bool {
    match verdict {
        Verdict::Drop | Verdict::Reject => true,
        Verdict::Accept
        | Verdict::Queue
        | Verdict::Return
        | Verdict::Continue
        | Verdict::Jump(_)
        | Verdict::Goto(_) => false,
    }
}

/// The first rule of a chain, and of those that it calls, that matched and decides so.
fn decider(
    walk: &Walk<'_>,
    ruleset: &Ruleset,
    chain: At,
    so: fn(Verdict) -> bool,
) -> Option<RuleAt> {
    for (place, rule) in (0..).zip(&ruleset.chain(chain).rules) {
        let at = RuleAt { chain, rule: place };
        if walk.seen(at).matched.is_empty() {
            continue;
        }
        for statement in &rule.statements {
            let verdicts: Vec<Verdict> = match statement {
                Statement::Verdict(verdict) => vec![*verdict],
                Statement::VerdictMap { map, .. } => {
                    let set = ruleset.table(chain).set(*map);
                    let all = set.elements.iter().map(|one| &one.data).chain(&set.otherwise);
                    all.filter_map(|data| match data {
                        Data::Verdict(verdict) => Some(*verdict),
                        Data::Present | Data::Value(_) | Data::Unknown => None,
                    })
                    .collect()
                }
                Statement::Nat(_) if so(Verdict::Accept) => return Some(at),
                Statement::Match(_)
                | Statement::Nat(_)
                | Statement::Set { .. }
                | Statement::Notrack
                | Statement::Offload
                | Statement::Unknown { .. } => Vec::new(),
            };
            for verdict in verdicts {
                if so(verdict) {
                    return Some(at);
                }
                if let Verdict::Jump(to) | Verdict::Goto(to) = verdict {
                    let called = decider(walk, ruleset, At { chain: to, ..chain }, so);
                    if called.is_some() {
                        return called;
                    }
                }
            }
        }
    }
    None
}

/// What stops a packet in a host, in words. Its hooks need not say by which interface it would leave.
pub(super) fn stop(
    space: &mut Space,
    host: &Host,
    name: &HostName,
    hooks: Hooks<'_>,
    packet: &Values,
) -> Result<Text, TooComplex> {
    let v6 = packet.get(Field::Version) == crate::model::field::IPV6;
    let dst = example(packet).dst;
    let asked = Asked { src: None, dst, iif: hooks.input.and_then(device), mark: None };
    let (leaves, output) = match host.network.way(asked) {
        network::Way::Known { kind: kind::LOCAL, .. } => (false, None),
        network::Way::Known { hops, .. } if hops.is_empty() => {
            return Ok(Text::new(
                format!("{name} has no route to {dst}"),
                format!("{name} 没有通往 {dst} 的路由"),
            ));
        }
        network::Way::Known { hops, .. } => (true, hops.first().and_then(|hop| hop.device)),
        network::Way::Unknown => (true, None),
    };
    if leaves && hooks.input.is_some() && !host.forwards(v6) {
        return Ok(Text::new(format!("{name} does not forward"), format!("{name} 未启用转发")));
    }
    let output = output.map(device_name);
    let hooks = Hooks { output: output.as_deref(), ..hooks };
    let one = only(space, packet, hooks)?;
    let ruleset = &host.ruleset;
    let mut walk = Walk::new(space, ruleset).knowing(&host.network).noting();
    let stages = hooks.of(host);
    walk_one(&mut walk, one, &stages)?;
    for (_, at) in met(ruleset, &stages, hooks, v6) {
        let chain = ruleset.chain(at);
        let family = ruleset.table(at).family.name();
        let table = &ruleset.table(at).name;
        if let Some(by) = decider(&walk, ruleset, at, stops) {
            let inner = ruleset.chain(by.chain);
            let text = &inner.rules[by.rule as usize].origin.text;
            return Ok(Text::new(
                format!("{name} stops it in {family} {table} {}: {text}", inner.name),
                format!("{name} 在 {family} {table} {} 中将其阻断：{text}", inner.name),
            ));
        }
        let passes = decider(&walk, ruleset, at, lets_through).is_some();
        if !passes && chain.base.as_ref().is_some_and(|base| !base.accepts) {
            return Ok(Text::new(
                format!("{name} stops it: no rule of {family} {table} {} accepts it", chain.name),
                format!("{name} 将其阻断：{family} {table} {} 中没有规则接受它", chain.name),
            ));
        }
    }
    Ok(Text::new(format!("{name} does not let it through"), format!("{name} 不放行该报文")))
}

/// The ruleset without what lets a packet through.
fn cut(ruleset: &Ruleset, decides: &Deciding) -> Ruleset {
    let mut without = ruleset.clone();
    let RuleAt { chain, rule } = decides.at;
    let Some(table) = without.tables.get_mut(chain.table as usize) else { return without };
    let Some(chain) = table.chains.get_mut(chain.chain.0 as usize) else { return without };
    match (&decides.rule, &mut chain.base) {
        (Some(_), _) => {
            chain.rules.remove(rule as usize);
        }
        (None, Some(base)) => base.accepts = false,
        (None, None) => {}
    }
    without
}

/// What of a way is not understood, and where.
pub(super) fn doubt(
    prover: &mut Prover,
    found: &Found,
    (steps, packets, reached): &Way,
) -> Result<(String, Option<String>), TooComplex> {
    for (place, (step, packet)) in steps.iter().zip(packets).enumerate() {
        let Some((name, input)) = found.steps[*step].place.within() else { continue };
        let piece = piece_at(found, steps, place, reached);
        let somehow = matches!(piece.map(|piece| &piece.leaves), Some(Leaves::Somehow { .. }));
        if let Some(found) = doubt_at(prover, name, hooks(input, piece), packet, somehow)? {
            return Ok(found);
        }
    }
    let on = |step: &usize| match &found.steps[*step].place {
        Place::Wire(wire) => Some(*wire),
        Place::Port(port) => prover.laid(found.layout).at(port),
        Place::Host(_) => None,
    };
    let wires: BTreeSet<WireId> = steps.iter().filter_map(on).collect();
    Ok(unknown_sides(prover, found.layout, &wires).unwrap_or_else(several))
}

/// A bridge on one of some wires that filters, where nobody knows what it filters from whom.
pub(super) fn unknown_sides(
    prover: &Prover,
    layout: Layout,
    among: &BTreeSet<WireId>,
) -> Option<(String, Option<String>)> {
    let wires = prover.laid(layout);
    prover.site.hosts.iter().find_map(|(name, host)| {
        let here = |bridge: &&Bridge| {
            let own = Port { host: name.clone(), interface: bridge.device.clone() };
            let wire = wires.at(&own).filter(|wire| among.contains(wire));
            wire.is_some_and(|wire| wires.get(wire).ports.contains(&own))
        };
        let Bridge { device, .. } = host.filtering().find(here)?;
        let mut what =
            format!("bridge {device} filters, and not all is known that is behind its ports");
        if let Some(why) = host.unknown_of_frames() {
            what.push_str("; ");
            what.push_str(why);
        }
        Some((what, Some(name.to_string())))
    })
}

/// Which of a host's pieces leads on from a place of a way.
fn piece_at<'f>(
    found: &'f Found,
    steps: &[usize],
    place: usize,
    reached: &'f Reached,
) -> Option<&'f Piece> {
    let leads = steps.get(place + 1).and_then(|next| found.steps[*next].from.as_ref());
    leads.map_or(reached.piece.as_deref(), |(_, piece)| piece.as_deref())
}

/// What it would take to know.
pub(super) fn wanted() -> Text {
    Text::new(
        "a rule or setting in its place that does not depend on it, or the facts that are missing",
        "以不依赖该条件的规则或设置代替，或补全缺失的事实",
    )
}

/// What nobody can name.
pub(super) fn several() -> (String, Option<String>) {
    let what = "more than one thing that is not known decides together";
    (what.to_owned(), None)
}

/// What of a host is not understood that a packet meets. `somehow`: where it is routed is not known.
pub(super) fn doubt_at(
    prover: &mut Prover,
    name: &HostName,
    hooks: Hooks<'_>,
    packet: &Values,
    somehow: bool,
) -> Result<Option<(String, Option<String>)>, TooComplex> {
    let Some(host) = prover.site.hosts.get(name) else { return Ok(None) };
    if let Some(unread) = host.unread.first() {
        return Ok(Some((unread.clone(), Some(name.to_string()))));
    }
    if let Some((text, rule)) = odd_rule(&mut prover.space, host, hooks, packet)? {
        return Ok(Some((text, Some(format!("{name}: {rule}")))));
    }
    if somehow {
        let what = "where it routes packets is not known";
        return Ok(Some((what.to_owned(), Some(name.to_string()))));
    }
    Ok(None)
}

/// The first rule that a packet comes to and that is not understood.
fn odd_rule(
    space: &mut Space,
    host: &Host,
    hooks: Hooks<'_>,
    packet: &Values,
) -> Result<Option<(String, String)>, TooComplex> {
    let one = only(space, packet, hooks)?;
    let mut walk = Walk::new(space, &host.ruleset).knowing(&host.network).noting();
    walk_one(&mut walk, one, &hooks.of(host))?;
    for (number, table) in (0..).zip(&host.ruleset.tables) {
        for (id, chain) in (0..).map(ChainId).zip(&table.chains) {
            for (place, rule) in (0..).zip(&chain.rules) {
                let at = RuleAt { chain: At { table: number, chain: id }, rule: place };
                if walk.seen(at).reached.is_empty() {
                    continue;
                }
                if let Some(words) = unsure_words(rule) {
                    let (family, name) = (table.family.name(), &table.name);
                    let where_ = format!("{family} {name} {}: {}", chain.name, rule.origin.text);
                    return Ok(Some((words, where_)));
                }
            }
        }
    }
    Ok(None)
}

fn unsure_words(rule: &Rule) -> Option<String> {
    let words = not_understood(&rule.statements, true);
    (!words.is_empty()).then(|| words.join("; "))
}
