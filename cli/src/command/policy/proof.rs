//! What a policy compiles to is proved before it is signed.

use bailey_rules::policy::{Demand, Mode, Policy};
use bailey_rules::prove::site::told::Breach;
use bailey_rules::prove::site::{Answer, Assumption, Prover, Result as Proof, Site};
use bailey_rules::text::{Lang, Text};

use crate::command::prove::breach_lines;
use crate::exit::{Exit, Failure};
use crate::screen::{Screen, clean};

/// What was proved of a policy that may be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::command) struct Proved {
    /// Invariants that hold.
    pub(in crate::command) holding: usize,
    /// Invariants that demand a way. A policy alone does not say by which routes; in the running site they
    /// are proved.
    pub(in crate::command) demanded: usize,
    /// A packet that would break one if it were sent with an address of another network.
    forged: Option<String>,
    /// Whether hosts observe: what is proved of them is not so until they enforce.
    observes: bool,
}

/// Proves every invariant of what the policy compiles to. `name` is what rulesets call the policy.
///
/// # Errors
/// When an invariant is broken, with the packet that breaks it, or is not proved: then nothing may be
/// sent.
pub(in crate::command) fn proved(policy: &Policy, name: &str) -> Result<Proved, Failure> {
    let site = Site::compiled(policy, name).map_err(|why| {
        Failure::error(format!("{name}: {why}"), format!("{name}：编译结果无法证明：{why}"))
    })?;
    let mut prover = Prover::new(site).without_receivers();
    let is_demand = |demand: &Demand| matches!(demand, Demand::Always { .. });
    let forbidding = policy.invariants.iter().filter(|(_, one)| !is_demand(&one.what));
    let asked: Vec<Proof> =
        forbidding.filter_map(|(invariant, _)| prover.invariant(invariant)).collect();
    if let Some(open) = asked.iter().find(|one| !matches!(one.answer, Answer::Proved { .. })) {
        return Err(refused(open, name));
    }
    let forged = asked.iter().find_map(|result| match &result.answer {
        Answer::Proved { assumptions } => assumptions.iter().find_map(|one| match one {
            Assumption::NoForgedSources(packet) => Some(packet.to_string()),
            Assumption::Kernels
            | Assumption::Wires
            | Assumption::NoUnknownRouters
            | Assumption::Replies
            | Assumption::Neighbours
            | Assumption::AnswersComeBack => None,
        }),
        Answer::Broken(_) | Answer::OutOfModel(_) => None,
    });
    let zones = policy.zones.values().map(|zone| zone.mode);
    let hosts = policy.hosts.values().filter_map(|entry| entry.mode);
    Ok(Proved {
        holding: asked.len(),
        demanded: policy.invariants.len() - asked.len(),
        forged,
        observes: zones.chain(hosts).any(|mode| mode == Mode::Observe),
    })
}

fn refused(open: &Proof, name: &str) -> Failure {
    let (invariant, line) = (&open.invariant, open.line);
    let told = |screen: Screen| match &open.answer {
        Answer::Broken(breach) => breach_lines(&Breach::of(breach), screen),
        Answer::OutOfModel(doubt) => {
            let at = doubt.at.as_ref().map_or_else(String::new, |at| format!(" ({at})"));
            let perhaps =
                doubt.perhaps.as_ref().map(|breach| breach_lines(&Breach::of(breach), screen));
            format!(
                "    {}{}\n{}",
                clean(&doubt.statement),
                clean(&at),
                perhaps.unwrap_or_default()
            )
        }
        Answer::Proved { .. } => String::new(),
    };
    let in_lang = |lang| told(Screen { lang, colour: false }).trim_end().to_owned();
    let (en, zh) = match &open.answer {
        Answer::Broken(_) => {
            ("is broken by what the policy compiles to", "会被该策略的编译结果违反")
        }
        Answer::OutOfModel(_) | Answer::Proved { .. } => {
            ("is not proved of what the policy compiles to", "无法由该策略的编译结果得到证明")
        }
    };
    Failure::new(
        Exit::Findings,
        format!(
            "{invariant} ({name}:{line}) {en}, so that nothing of it is sent:\n{}\ncorrect the policy and \
             ask again",
            in_lang(Lang::En)
        ),
        format!(
            "{invariant}（{name}:{line}）{zh}，因此不会下发：\n{}\n请更正策略后重试",
            in_lang(Lang::Zh)
        ),
    )
}

impl Proved {
    /// The sentences for whoever sends it.
    pub(in crate::command) fn text(&self) -> Text {
        let Self { holding: proved, demanded, forged, observes } = self;
        let mut en = format!("proved: {proved} invariants hold for what the policy compiles to");
        let mut zh = format!("已证明：策略的编译结果满足 {proved} 条不变式");
        if *demanded > 0 {
            en.push_str(&format!("; {demanded} demand a way, which the running site proves"));
            zh.push_str(&format!("；另有 {demanded} 条要求连通，由运行中的站点证明"));
        }
        if *observes {
            en.push_str("; hosts that observe drop nothing until they enforce");
            zh.push_str("；处于观察模式的主机在强制执行之前不会丢弃任何报文");
        }
        if let Some(packet) = forged {
            en.push_str(&format!(
                "; it takes for granted that nobody forges sources of another network, such as {packet}: \
                 switch rp_filter on"
            ));
            zh.push_str(&format!(
                "；前提是没有主机伪造其他网络的源地址，例如 {packet}：请启用 rp_filter"
            ));
        }
        Text::new(en, zh)
    }
}
