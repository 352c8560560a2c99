//! The far ends of lines that a host asks, and what is said of far ends whoever asks them.

use std::time::Duration;

use super::sentence::{tight, with_limit};
use super::{Given, Status, Verdict};
use crate::expectation::{Ask, Ceiling};
use crate::fact::lines::LineQuality;
use crate::fact::{FactKey, FactKind};
use crate::text::Text;
use crate::time::spoken;
use crate::unit::{Percent, Period};

/// What a check says of one line: the status, why, and the value it rests on.
pub(super) type Said = (Status, Text, String);

/// The verdict of each line that the host has asked, and of the others why nothing can be said.
///
/// An agent that does not know this probe asks nothing, and nothing is said of it.
pub(super) fn of_each(
    given: &Given<'_>,
    judge: impl Fn(&str, &LineQuality) -> Said,
) -> Vec<Verdict> {
    let kind = FactKind::LineQuality;
    if given.facts().probe(kind.probe()).is_none() {
        return Vec::new();
    }
    let all = match given.each::<LineQuality>() {
        Ok(all) => all,
        Err(unknown) => return vec![unknown],
    };
    let one = |(name, told): (&str, Result<&LineQuality, Verdict>)| {
        let line = match told {
            Ok(line) => line,
            Err(unknown) => return unknown,
        };
        let (status, why, value) = if line.since.is_some() {
            judge(name, line)
        } else {
            (Status::Unknown, not_asked(name, line.ask), "not asked yet".to_owned())
        };
        given.rests_on(Verdict::new(name, status, why), &FactKey::new(kind, name), value)
    };
    all.into_iter().map(one).collect()
}

/// It was not asked yet.
pub(super) fn not_asked(line: &str, ask: Ask) -> Text {
    Text::new(
        format!("{ask}, the far end of {line}, was not asked yet"),
        format!("尚未探测 {line} 的对端 {ask}"),
    )
}

/// What was heard of a far end that was asked.
#[derive(Debug, Clone, Copy)]
pub(super) struct Heard {
    /// For how long nothing was answered.
    pub(super) silence: Duration,
    /// Whether it has ever answered.
    pub(super) answered: bool,
    /// Whether it answered the newest packet.
    pub(super) answers: bool,
}

/// Whether a far end answers, and what is said of it. One that was asked and has never answered is not well
/// before it is silent for too long: nobody knows.
pub(super) fn answering(
    line: &str,
    ask: Ask,
    heard: Heard,
    wanted: &Ceiling<Period>,
) -> (Status, Text) {
    let status = wanted.judge(Period(heard.silence));
    match status {
        Status::Ok if heard.answers => (status, answers(line, ask)),
        Status::Ok if !heard.answered => (Status::Unknown, not_yet(line, ask)),
        Status::Ok => (status, silent(line, ask, heard.silence)),
        Status::Unknown | Status::Warning | Status::Critical => {
            (status, with_limit(silent(line, ask, heard.silence), wanted.limit(status)))
        }
    }
}

/// Packets are on their way, or lost; it is too soon to tell.
fn not_yet(line: &str, ask: Ask) -> Text {
    Text::new(
        format!("{ask}, the far end of {line}, has not answered yet"),
        format!("{line} 的对端 {ask} 尚无应答"),
    )
}

/// It answers.
fn answers(line: &str, ask: Ask) -> Text {
    Text::new(
        format!("{ask}, the far end of {line}, answers"),
        format!("{line} 的对端 {ask} 应答正常"),
    )
}

/// It has not answered for so long.
pub(super) fn silent(line: &str, ask: Ask, silence: Duration) -> Text {
    let length = spoken(silence);
    Text::new(
        format!("{ask}, the far end of {line}, has not answered for {}", length.en),
        format!("{line} 的对端 {ask} 已有 {}没有应答", length.zh),
    )
}

/// Too few packets came back to say anything.
pub(super) fn too_few(line: &str) -> Text {
    Text::new(
        format!("too few packets were answered over {line} to count"),
        format!("{line} 有应答的探测报文过少，无法统计"),
    )
}

/// The part of the packets that is lost.
pub(super) fn loses(line: &str, lost: Percent) -> Text {
    Text::new(
        format!("{line} loses {lost} of the packets there and back"),
        format!("{line} 往返丢包 {}", tight(&lost)),
    )
}

/// How long a packet takes.
pub(super) fn takes(line: &str, round_trip: Duration) -> Text {
    let millis = millis(round_trip);
    Text::new(
        format!("a packet takes {millis} over {line} and back"),
        format!("{line} 往返时延 {millis}"),
    )
}

/// A round trip in milliseconds, to the tenth.
pub(super) fn millis(round_trip: Duration) -> String {
    format!("{:.1} ms", round_trip.as_secs_f64() * 1000.0)
}
