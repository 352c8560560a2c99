//! The kernel's own word on nftables, through netlink: which generation of the rules is in force,
//! which tables there are, and who changed them (`linux/netfilter/nf_tables.h`, nfnetlink).

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::time::Duration;

use bailey_rules::fact::bounded;
use netlink_packet_core::{
    DefaultNla, NLM_F_DUMP, NLM_F_REQUEST, NetlinkBuffer, NetlinkHeader, NetlinkMessage,
    NetlinkPayload, Nla as _,
};
use netlink_packet_netfilter::nftables::{
    GenAttribute, GenMessage, NfTablesMessage, RuleMessage, TableAttribute, TableFlags,
    TableMessage,
};
use netlink_packet_netfilter::{
    NetfilterHeader, NetfilterMessage, NetfilterMessageInner, NetfilterProtoFamily,
};
use netlink_sys::constants::NETLINK_NETFILTER;
use netlink_sys::{AsyncSocket as _, AsyncSocketExt as _, Socket, SocketAddr, TokioSocket};
use tokio::time::Instant;

/// The multicast group of nftables (`NFNLGRP_NFTABLES`).
const GROUP_NFTABLES: u32 = 7;
/// The type of the message that ends a change: subsystem `NFNL_SUBSYS_NFTABLES` (10), message
/// `NFT_MSG_NEWGEN` (15).
const NEW_GENERATION: u16 = (10 << 8) | 15;
/// Room for one datagram. Longer ones are cut, but the end of a change always fits.
const DATAGRAM: usize = 16 * 1024;
/// The most datagrams of one answer; more tables than fit are more than anybody has.
const MAX_DATAGRAMS: usize = 1024;
/// Changes often come in a row, one for each rule. They count as over after a rest of this length,
const REST: Duration = Duration::from_millis(50);
/// or when the first is this old.
const PATIENCE: Duration = Duration::from_millis(400);

/// Attributes of an object (`NFTA_OBJ_*`), the type of a counter (`NFT_OBJECT_COUNTER`), and what is in
/// one (`NFTA_COUNTER_*`, in the order of the network).
const OBJECT_TABLE: u16 = 1;
const OBJECT_NAME: u16 = 2;
const OBJECT_TYPE: u16 = 3;
const OBJECT_DATA: u16 = 4;
const OBJECT_IS_COUNTER: u32 = 1;
const COUNTER_OCTETS: u16 = 1;
const COUNTER_PACKETS: u16 = 2;

/// The octets of a message before it names its family (`struct nlmsghdr`), and from there to its first
/// attribute (`struct nfgenmsg`).
const MESSAGE_HEADER: usize = 16;
const FAMILY_HEADER: usize = 4;
/// The kind of an attribute without its flags (`NLA_TYPE_MASK`).
const ATTRIBUTE_KIND: u16 = 0x3fff;
/// The kinds of messages that end an answer.
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
/// Every message about something in a table has the table's name as its attribute 1 (`NFTA_*_TABLE`).
const ANY_TABLE: u16 = 1;
/// The most tables whose changes are remembered until somebody asks.
const MAX_TOUCHED: usize = 64;

/// Why the kernel does not say.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Silence {
    /// The agent lacks the right to ask.
    #[error("needs CAP_NET_ADMIN")]
    Refused,
    /// This kernel has no nftables, so it has no such rules either.
    #[error("the kernel has no nftables")]
    Absent,
    /// Anything else.
    #[error("netlink: {0}")]
    Failed(String),
}

impl From<io::Error> for Silence {
    fn from(error: io::Error) -> Self {
        match error.raw_os_error() {
            Some(libc::EPERM | libc::EACCES) => Self::Refused,
            // No such subsystem, no such protocol.
            Some(
                libc::EINVAL
                | libc::EOPNOTSUPP
                | libc::EPROTONOSUPPORT
                | libc::EAFNOSUPPORT
                | libc::ENOPROTOOPT,
            ) => Self::Absent,
            _ => Self::Failed(error.to_string()),
        }
    }
}

/// The number of the ruleset in force. It moves with every change and only then.
pub(crate) fn generation() -> Result<u32, Silence> {
    let request = NfTablesMessage::GetGen(GenMessage { attributes: Vec::new() });
    for answer in ask(request, NLM_F_REQUEST)? {
        if let NfTablesMessage::NewGen(message) = answer.1 {
            for attribute in message.attributes {
                if let GenAttribute::Id(id) = attribute {
                    return Ok(id);
                }
            }
        }
    }
    Err(Silence::Failed("the kernel did not name the generation".to_owned()))
}

/// The tables in force by family and name, and whether they are dormant: kept, but not entered.
/// nft(8) 1.0.6 does not write this into its JSON.
pub(crate) fn tables() -> Result<BTreeMap<(String, String), bool>, Silence> {
    let request = NfTablesMessage::GetTable(TableMessage { attributes: Vec::new() });
    let mut tables = BTreeMap::new();
    for (family, answer) in ask(request, NLM_F_REQUEST | NLM_F_DUMP)? {
        let NfTablesMessage::NewTable(message) = answer else { continue };
        let mut name = String::new();
        let mut dormant = false;
        for attribute in message.attributes {
            match attribute {
                TableAttribute::Name(text) => name = text,
                TableAttribute::Flags(flags) => dormant = flags.contains(TableFlags::Dormant),
                // The crate's enum is open; no other attribute matters here.
                _ => {}
            }
        }
        tables.insert((family_name(family).to_owned(), name), dormant);
    }
    Ok(tables)
}

/// What the named counters of a table say: name, packets, octets; at most `most`. Gives too how many
/// there are.
pub(crate) fn counters(
    family: &str,
    table: &str,
    most: usize,
) -> Result<(BTreeMap<String, (u64, u64)>, usize), Silence> {
    let name = [table.as_bytes(), &[0]].concat();
    let attributes = vec![
        DefaultNla::new(OBJECT_TABLE, name),
        DefaultNla::new(OBJECT_TYPE, OBJECT_IS_COUNTER.to_be_bytes().to_vec()),
    ];
    let request = NfTablesMessage::GetObject(attributes);
    let mut counters = BTreeMap::new();
    let mut count = 0;
    for (of, answer) in ask(request, NLM_F_REQUEST | NLM_F_DUMP)? {
        let NfTablesMessage::NewObject(attributes) = answer else { continue };
        let value = |kind| attributes.iter().find(|nla| nla.kind() == kind).map(octets_of);
        let text = |kind| Some(text_in(&value(kind)?));
        if family_name(of) != family || text(OBJECT_TABLE).as_deref() != Some(table) {
            continue;
        }
        let (Some(name), Some(data)) = (text(OBJECT_NAME), value(OBJECT_DATA)) else { continue };
        let [mut packets, mut octets] = [0; 2];
        for (kind, value) in self::attributes(&data) {
            match (kind, value.try_into().map(u64::from_be_bytes)) {
                (COUNTER_OCTETS, Ok(number)) => octets = number,
                (COUNTER_PACKETS, Ok(number)) => packets = number,
                (_, _) => {}
            }
        }
        count += 1;
        if counters.len() < most {
            counters.insert(name, (packets, octets));
        }
    }
    Ok((counters, count))
}

fn octets_of(nla: &DefaultNla) -> Vec<u8> {
    let mut octets = vec![0; nla.value_len()];
    nla.emit_value(&mut octets);
    octets
}

/// The text of an attribute, which ends with a zero octet.
pub(crate) fn text_in(octets: &[u8]) -> String {
    let end = octets.iter().position(|octet| *octet == 0).unwrap_or(octets.len());
    bounded(&String::from_utf8_lossy(&octets[..end]))
}

fn family_name(family: NetfilterProtoFamily) -> &'static str {
    match family {
        NetfilterProtoFamily::Inet => "inet",
        NetfilterProtoFamily::IPv4 => "ip",
        NetfilterProtoFamily::IPv6 => "ip6",
        NetfilterProtoFamily::ARP => "arp",
        NetfilterProtoFamily::NetDev => "netdev",
        NetfilterProtoFamily::Bridge => "bridge",
        // The crate's enum is open; nftables has no other family.
        _ => "other",
    }
}

/// Asks the kernel and collects its whole answer. It is there as soon as the question is put.
fn ask(
    request: NfTablesMessage,
    flags: u16,
) -> Result<Vec<(NetfilterProtoFamily, NfTablesMessage)>, Silence> {
    let mut answers = Vec::new();
    for message in ask_raw(request, flags)? {
        let message = NetlinkMessage::<NetfilterMessage>::deserialize(&message)
            .map_err(|error| Silence::Failed(error.to_string()))?;
        if let NetlinkPayload::InnerMessage(NetfilterMessage {
            header,
            inner: NetfilterMessageInner::NfTables(answer),
            ..
        }) = message.payload
        {
            answers.push((header.family, answer));
        }
    }
    Ok(answers)
}

/// The same without understanding the answer: each message as it came.
fn ask_raw(request: NfTablesMessage, flags: u16) -> Result<Vec<Vec<u8>>, Silence> {
    let mut socket = Socket::new(NETLINK_NETFILTER)?;
    socket.bind_auto()?;
    socket.set_non_blocking(true)?;
    let about = NetfilterHeader::new(NetfilterProtoFamily::Unspec, 0, 0);
    let mut header = NetlinkHeader::default();
    header.flags = flags;
    let payload = NetlinkPayload::from(NetfilterMessage::new(about, request));
    let mut question = NetlinkMessage::new(header, payload);
    question.finalize();
    let mut octets = vec![0; question.buffer_len()];
    question.serialize(&mut octets);
    socket.send_to(&octets, &SocketAddr::new(0, 0), 0)?;

    let many = flags & NLM_F_DUMP == NLM_F_DUMP;
    let mut answers = Vec::new();
    let mut datagram = vec![0; DATAGRAM];
    for _ in 0..MAX_DATAGRAMS {
        let (size, from) = socket.recv_from(&mut &mut datagram[..], 0)?;
        if from.port_number() != 0 {
            continue;
        }
        for message in messages(&datagram[..size.min(DATAGRAM)]) {
            match NetlinkBuffer::new(message).message_type() {
                NLMSG_ERROR => {
                    let error = NetlinkMessage::<NetfilterMessage>::deserialize(message)
                        .map_err(|error| Silence::Failed(error.to_string()))?;
                    if let NetlinkPayload::Error(error) = error.payload
                        && error.code.is_some()
                    {
                        return Err(error.to_io().into());
                    }
                }
                NLMSG_DONE => return Ok(answers),
                _ => answers.push(message.to_vec()),
            }
        }
        if !many && !answers.is_empty() {
            return Ok(answers);
        }
    }
    Err(Silence::Failed("the kernel's answer does not end".to_owned()))
}

/// Every rule in the kernel as it came: its family, and its attributes.
pub(crate) fn rules() -> Result<Vec<(&'static str, Vec<u8>)>, Silence> {
    let request = NfTablesMessage::GetRule(RuleMessage { attributes: Vec::new() });
    let rules = ask_raw(request, NLM_F_REQUEST | NLM_F_DUMP)?;
    Ok(rules.iter().filter_map(|rule| of_family(rule)).collect())
}

/// Attributes in their order: kind and value (`struct nlattr`). Stops at the first that is not whole.
pub(crate) fn attributes(mut octets: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let (length, rest) = octets.split_first_chunk::<2>()?;
        let kind = u16::from_ne_bytes(*rest.first_chunk::<2>()?) & ATTRIBUTE_KIND;
        let length = usize::from(u16::from_ne_bytes(*length));
        let value = octets.get(4..length)?;
        octets = octets.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, value))
    })
}

/// The family of a message of nftables, and its attributes (`struct nfgenmsg`).
fn of_family(message: &[u8]) -> Option<(&'static str, Vec<u8>)> {
    let family = NetfilterProtoFamily::from(*message.get(MESSAGE_HEADER)?);
    let attributes = message.get(MESSAGE_HEADER + FAMILY_HEADER..)?;
    Some((family_name(family), attributes.to_vec()))
}

/// The messages of one datagram. Stops at the first that is not whole.
fn messages(mut datagram: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let length = NetlinkBuffer::new_checked(datagram).ok()?.length() as usize;
        let message = &datagram[..length];
        // Messages begin at multiples of four octets (`NLMSG_ALIGNTO`).
        datagram = datagram.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some(message)
    })
}

/// A change of the rules that the kernel told of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Change {
    /// The generation that it began.
    pub generation: u32,
    /// The process that made it, such as `nft (pid 4711)`.
    pub by: Option<String>,
}

/// A table, by family and name.
pub(crate) type Table = (String, String);

/// Listens for changes.
pub(crate) struct Watch {
    socket: TokioSocket,
    datagram: Vec<u8>,
    last: Option<Change>,
    /// Tables that the transaction touches whose messages are coming in.
    touching: BTreeSet<Table>,
    /// Tables that were touched since somebody asked, and by whom last.
    touched: BTreeMap<Table, Option<String>>,
    /// First and last change that nobody has looked at yet.
    waiting: Option<(Instant, Instant)>,
}

impl std::fmt::Debug for Watch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Watch").field("last", &self.last).finish_non_exhaustive()
    }
}

impl Watch {
    /// Begins to listen. Needs `CAP_NET_ADMIN`.
    pub(crate) fn begin() -> io::Result<Self> {
        let mut socket = TokioSocket::new(NETLINK_NETFILTER)?;
        socket.socket_mut().bind_auto()?;
        socket.socket_ref().add_membership(GROUP_NFTABLES)?;
        Ok(Self {
            socket,
            datagram: vec![0; DATAGRAM],
            last: None,
            touching: BTreeSet::new(),
            touched: BTreeMap::new(),
            waiting: None,
        })
    }

    /// Tells of the last change once more, for who could not look at it.
    pub(crate) fn remind(&mut self) {
        self.note();
    }

    /// The change that began `generation`, if the kernel told of it.
    pub(crate) fn change(&self, generation: u32) -> Option<&Change> {
        self.last.as_ref().filter(|change| change.generation == generation)
    }

    /// The tables that were changed since this was called last, at most [`MAX_TOUCHED`], and which
    /// process changed each last, such as `nft (pid 4711)`.
    pub(crate) fn touched(&mut self) -> BTreeMap<Table, Option<String>> {
        std::mem::take(&mut self.touched)
    }

    /// Takes note of everything told up to now; [`Watch::changed`] then waits for the next.
    pub(crate) fn catch_up(&mut self) -> io::Result<()> {
        for _ in 0..MAX_DATAGRAMS {
            match self.socket.socket_ref().recv_from(&mut &mut self.datagram[..], 0) {
                Ok((size, from)) => self.take(size, from),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => self.lost(error)?,
            }
        }
        self.waiting = None;
        Ok(())
    }

    /// Completes when the rules have changed and the change seems to be over, and not before
    /// `earliest`. May be dropped and called again at any time.
    pub(crate) async fn changed(&mut self, earliest: Instant) -> io::Result<()> {
        loop {
            let over = self.waiting.map(|(first, last)| (first + PATIENCE).min(last + REST));
            let received = match over.map(|over| over.max(earliest)) {
                None => self.receive().await,
                Some(over) => tokio::select! {
                    biased;
                    received = self.receive() => received,
                    () = tokio::time::sleep_until(over) => break,
                },
            };
            match received {
                Ok((size, from)) => self.take(size, from),
                Err(error) => self.lost(error)?,
            }
            if over.is_some_and(|over| over.max(earliest) <= Instant::now()) {
                break;
            }
        }
        // Told once: who asks again waits for the next change.
        self.waiting = None;
        Ok(())
    }

    async fn receive(&mut self) -> io::Result<(usize, SocketAddr)> {
        let mut room = &mut self.datagram[..];
        let from = self.socket.recv_from(&mut room).await?;
        let left = room.len();
        Ok((DATAGRAM - left, from))
    }

    /// When the kernel had more to say than there was room for, something has changed for sure.
    fn lost(&mut self, error: io::Error) -> io::Result<()> {
        if error.raw_os_error() != Some(libc::ENOBUFS) {
            return Err(error);
        }
        self.last = None;
        self.note();
        Ok(())
    }

    fn note(&mut self) {
        let now = Instant::now();
        let first = self.waiting.map_or(now, |(first, _)| first);
        self.waiting = Some((first, now));
    }

    fn take(&mut self, size: usize, from: SocketAddr) {
        if from.port_number() != 0 {
            return;
        }
        let mut ended = None;
        for message in messages(&self.datagram[..size.min(DATAGRAM)]) {
            let kind = NetlinkBuffer::new(message).message_type();
            if kind == NEW_GENERATION {
                ended = Some(NetlinkMessage::<NetfilterMessage>::deserialize(message));
            } else if let Some(table) = table_of(message)
                && self.touching.len() < MAX_TOUCHED
            {
                self.touching.insert(table);
            }
        }
        let Some(ended) = ended else { return };
        self.last = ended.ok().and_then(|message| read_change(message.payload));
        let by = self.last.as_ref().and_then(|change| change.by.clone());
        for table in std::mem::take(&mut self.touching) {
            if self.touched.len() < MAX_TOUCHED || self.touched.contains_key(&table) {
                self.touched.insert(table, by.clone());
            }
        }
        self.note();
    }
}

/// The table that a message is about.
fn table_of(message: &[u8]) -> Option<Table> {
    let (family, attributes) = of_family(message)?;
    let (_, name) = self::attributes(&attributes).find(|(kind, _)| *kind == ANY_TABLE)?;
    Some((family.to_owned(), text_in(name)))
}

fn read_change(payload: NetlinkPayload<NetfilterMessage>) -> Option<Change> {
    let NetlinkPayload::InnerMessage(message) = payload else { return None };
    let NetfilterMessageInner::NfTables(NfTablesMessage::NewGen(message)) = message.inner else {
        return None;
    };
    let (mut generation, mut pid, mut name) = (None, None, None);
    for attribute in message.attributes {
        match attribute {
            GenAttribute::Id(id) => generation = Some(id),
            GenAttribute::ProcPid(id) => pid = Some(id),
            GenAttribute::ProcName(text) => name = Some(text),
            // The crate's enum is open; no other attribute matters here.
            _ => {}
        }
    }
    let by = name.zip(pid).map(|(name, pid)| bounded(&format!("{name} (pid {pid})")));
    Some(Change { generation: generation?, by })
}
