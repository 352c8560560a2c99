//! An agent of the tests' own for SNMPv2c: plays values that were written down, and lies where an
//! honest agent would not. What it answers with is made octet by octet here, so that its errors are
//! no library's.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bailey_collector::poll::oid::Oid;
use bailey_collector::poll::value::Value;
use tokio::net::UdpSocket;

/// How many numbers the name of a column of `ifTable` has.
const COLUMN: usize = 10;

/// How the agent answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Habit {
    /// As it should.
    Honest,
    /// Every next value is the first one again.
    Loops,
    /// With the number of another question.
    WrongNumber,
    /// With a length inside that is longer than the datagram.
    LongLength,
    /// With a datagram that is cut.
    Cut,
    /// With more values than were asked for.
    TooMany,
    /// With the values of other names.
    OtherNames,
    /// Nothing more after this many answers.
    StopsAfter(usize),
    /// At most this many values; `tooBig` otherwise.
    AtMost(usize),
    /// Another value without end.
    Endless,
}

/// A running responder; it ends with this.
pub(crate) struct Responder {
    /// Where it answers.
    pub(crate) address: SocketAddr,
    /// How many questions came.
    pub(crate) asked: Arc<AtomicUsize>,
    /// How many octets it answered with.
    pub(crate) answered: Arc<AtomicUsize>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Responder {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Responder {
    /// Plays `values` with a habit.
    pub(crate) async fn start(values: BTreeMap<Oid, Value>, habit: Habit) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap();
        let asked = Arc::new(AtomicUsize::new(0));
        let answered = Arc::new(AtomicUsize::new(0));
        let (counted, summed) = (Arc::clone(&asked), Arc::clone(&answered));
        let task = tokio::spawn(async move {
            let mut datagram = vec![0; 65_535];
            while let Ok((length, from)) = socket.recv_from(&mut datagram).await {
                let nth = counted.fetch_add(1, Ordering::SeqCst);
                if let Some(answer) = answer(&datagram[..length], &values, habit, nth) {
                    summed.fetch_add(answer.len(), Ordering::SeqCst);
                    let _ = socket.send_to(&answer, from).await;
                }
            }
        });
        Self { address, asked, answered, task }
    }
}

/// What a question asks.
struct Question {
    kind: snmp::MessageType,
    number: i32,
    community: Vec<u8>,
    repetitions: usize,
    names: Vec<Oid>,
}

fn understood(datagram: &[u8]) -> Option<Question> {
    let pdu = snmp::Pdu::from_bytes(datagram).ok()?;
    let names = pdu.varbinds.clone().map(|(name, _)| name.to_string().parse().unwrap()).collect();
    Some(Question {
        kind: pdu.message_type,
        number: pdu.req_id,
        community: pdu.community.to_vec(),
        repetitions: usize::try_from(pdu.error_index).unwrap(),
        names,
    })
}

fn answer(
    datagram: &[u8],
    values: &BTreeMap<Oid, Value>,
    habit: Habit,
    nth: usize,
) -> Option<Vec<u8>> {
    let question = understood(datagram)?;
    let mut given = values_for(&question, values, habit);
    let mut number = question.number;
    let mut status = 0;
    match habit {
        Habit::StopsAfter(answers) if nth >= answers => return None,
        Habit::WrongNumber => number = number.wrapping_add(1),
        Habit::TooMany => given.extend(given.clone()),
        Habit::OtherNames => {
            for (name, _) in &mut given {
                *name = name.then(&[9]);
            }
        }
        Habit::AtMost(most) if given.len() > most => {
            given.clear();
            status = 1;
        }
        Habit::Honest
        | Habit::Loops
        | Habit::LongLength
        | Habit::Cut
        | Habit::StopsAfter(_)
        | Habit::AtMost(_)
        | Habit::Endless => {}
    }
    let mut list = Vec::new();
    for (name, value) in &given {
        let mut pair = tlv(0x06, &identifier(name));
        pair.extend(encoded(value));
        list.extend(tlv(0x30, &pair));
    }
    let mut pdu = tlv(0x02, &number.to_be_bytes());
    pdu.extend(tlv(0x02, &[status]));
    pdu.extend(tlv(0x02, &[0]));
    pdu.extend(tlv(0x30, &list));
    let mut message = tlv(0x02, &[1]);
    message.extend(tlv(0x04, &question.community));
    message.extend(tlv(0xa2, &pdu));
    let mut datagram = tlv(0x30, &message);
    match habit {
        Habit::Cut => datagram.truncate(datagram.len() - 3),
        // The outer length in its long form says 65,535.
        Habit::LongLength => {
            let inside = tlv(0x30, &message).split_off(datagram.len() - message.len());
            datagram = vec![0x30, 0x82, 0xff, 0xff];
            datagram.extend(inside);
        }
        _ => {}
    }
    Some(datagram)
}

fn values_for(
    question: &Question,
    values: &BTreeMap<Oid, Value>,
    habit: Habit,
) -> Vec<(Oid, Value)> {
    let next = |name: &Oid| -> (Oid, Value) {
        match habit {
            Habit::Loops => values.iter().next().map(|(n, v)| (n.clone(), v.clone())).unwrap(),
            Habit::Endless => {
                let (column, row) = name.arcs().split_at(COLUMN);
                let next = row.first().map_or(1, |row| row + 1);
                (Oid::new(column.to_vec()).unwrap().then(&[next]), Value::Integer(1))
            }
            _ => {
                let after = (std::ops::Bound::Excluded(name), std::ops::Bound::Unbounded);
                values
                    .range::<Oid, _>(after)
                    .next()
                    .map_or((name.clone(), Value::EndOfMib), |(n, v)| (n.clone(), v.clone()))
            }
        }
    };
    match question.kind {
        snmp::MessageType::GetRequest => question
            .names
            .iter()
            .map(|name| {
                let value = values.get(name).cloned().unwrap_or(Value::NoSuchObject);
                (name.clone(), value)
            })
            .collect(),
        snmp::MessageType::GetBulkRequest => {
            let mut at = question.names.clone();
            let mut given = Vec::new();
            for _ in 0..question.repetitions {
                for name in &mut at {
                    let (found, value) = next(name);
                    given.push((found.clone(), value));
                    *name = found;
                }
            }
            given
        }
        _ => question.names.iter().map(next).collect(),
    }
}

/// Tag, length, value (X.690 8.1).
fn tlv(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = u16::try_from(content.len()).unwrap();
    let mut out = vec![tag];
    match length {
        0..=127 => out.push(u8::try_from(length).unwrap()),
        _ => {
            out.push(0x82);
            out.extend(length.to_be_bytes());
        }
    }
    out.extend(content);
    out
}

/// The content of an object identifier (X.690 8.19).
fn identifier(name: &Oid) -> Vec<u8> {
    let arcs = name.arcs();
    let mut out = Vec::new();
    for arc in std::iter::once(arcs[0] * 40 + arcs[1]).chain(arcs[2..].iter().copied()) {
        let groups = (0..5).rev().map(|group| (arc >> (7 * group)) & 0x7f);
        let significant: Vec<u32> = groups.skip_while(|group| *group == 0).collect();
        let significant = if significant.is_empty() { vec![0] } else { significant };
        let last = significant.len() - 1;
        for (nth, group) in significant.into_iter().enumerate() {
            let more = if nth < last { 0x80 } else { 0 };
            out.push(u8::try_from(group).unwrap() | more);
        }
    }
    out
}

/// A number that cannot be below zero needs a leading zero where its first bit is set.
fn unsigned(tag: u8, octets: &[u8]) -> Vec<u8> {
    let significant = octets.iter().skip_while(|octet| **octet == 0);
    let mut content: Vec<u8> = significant.copied().collect();
    if content.first().is_none_or(|first| *first >= 0x80) {
        content.insert(0, 0);
    }
    tlv(tag, &content)
}

fn encoded(value: &Value) -> Vec<u8> {
    match value {
        Value::Integer(value) => tlv(0x02, &value.to_be_bytes()),
        Value::Octets(octets) => tlv(0x04, octets),
        Value::Null => tlv(0x05, &[]),
        Value::Oid(oid) => tlv(0x06, &identifier(oid)),
        Value::Address(address) => tlv(0x40, &address.octets()),
        Value::Counter32(value) => unsigned(0x41, &value.to_be_bytes()),
        Value::Gauge(value) => unsigned(0x42, &value.to_be_bytes()),
        Value::Ticks(value) => unsigned(0x43, &value.to_be_bytes()),
        Value::Opaque(octets) => tlv(0x44, octets),
        Value::Counter64(value) => unsigned(0x46, &value.to_be_bytes()),
        Value::NoSuchObject => tlv(0x80, &[]),
        Value::NoSuchInstance => tlv(0x81, &[]),
        Value::EndOfMib => tlv(0x82, &[]),
    }
}
