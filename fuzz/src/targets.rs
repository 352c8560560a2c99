//! The decoders that meet what anybody can send, one function each. The fuzzer gives them anything; the
//! test `collector/tests/it/corpus.rs` gives them what the fuzzer has found worth keeping.
//!
//! Each asserts more than that nothing panics: what is written is read again as the same, what is taken is
//! bounded, and nothing is believed without its proof.

use std::cell::RefCell;
use std::sync::LazyLock;
use std::time::Instant;

use async_snmp::ber::{Decoder, EncodeBuf};
use async_snmp::message::Message;
use async_snmp::v3::auth::authenticate_message;
use async_snmp::v3::{LocalizedKey, PrivKey, SaltCounter, UsmSecurityParams};
use async_snmp::{
    AuthProtocol, DecodeConfig, DesSaltState, MasterKeys, PersistedDesSaltState, PrivProtocol,
    VarBind,
};
use bailey_collector::poll::credentials::Credentials;
use bailey_collector::syslog::text;
use bailey_collector::trap::decode::{Notification, Receiver, Taken};
use bailey_rules::check::Status;
use bailey_rules::fact::MAX_TEXT;
use bailey_rules::syslog::frame::{Frame, Frames, NotFramed};
use bailey_rules::syslog::refused::refused;
use bailey_rules::syslog::{MAX_MESSAGE, parse};
use bailey_rules::time::Timestamp;
use bailey_rules::trap::catalogue::{About, Catalogue};
use bailey_rules::trap::ledger::Ledger;
use bailey_rules::trap::{MAX_VALUES, Proof};
use bytes::Bytes;

/// How deep constructed values are followed.
const MAX_DEPTH: usize = 16;

/// The most octets that UDP carries over IPv4.
const MAX_DATAGRAM: usize = 65_507;

const AUTH: &str = "a passphrase for authentication";
const PRIV: &str = "a passphrase for privacy";

/// The engine in whose name messages are signed here.
const ENGINE: &[u8] = &[0x80, 0, 0x1f, 0x88, 0x80, 0xaa, 0xbb, 0xcc, 0xdd];

/// When everything comes, so that no message is too late.
static NOW: LazyLock<Instant> = LazyLock::new(Instant::now);

static CATALOGUE: LazyLock<Catalogue> = LazyLock::new(Catalogue::shipped);

/// Single values (X.690): whatever stands there is read as its tag says.
pub fn ber(octets: &[u8]) {
    let decoder = || strict(Bytes::copy_from_slice(octets));
    walk(&mut decoder(), 0);
    let mut values = decoder();
    while let Ok(value) = VarBind::decode(&mut values) {
        let mut written = EncodeBuf::new();
        if let Err(why) = value.encode(&mut written) {
            assert!(is_only_read(&why), "what was read can be written: {why}");
            continue;
        }
        let again = VarBind::decode(&mut strict(written.finish()));
        assert_eq!(again.expect("what was written can be read"), value);
    }
}

/// Whether something is not written because nobody writes it any more, or its tag is nobody's.
fn is_only_read(why: &async_snmp::Error) -> bool {
    let why = why.to_string();
    why.contains("receive-only") || why.contains("cannot be encoded")
}

fn strict(octets: Bytes) -> Decoder<'static> {
    Decoder::new(octets).with_decode_config(DecodeConfig::STRICT)
}

fn walk(decoder: &mut Decoder<'_>, depth: usize) {
    while let Some(tag) = decoder.peek_tag() {
        let left = decoder.remaining();
        let read = match tag {
            0x02 => decoder.read_integer().map(drop),
            0x04 => decoder.read_octet_string().map(drop),
            0x05 => decoder.read_null(),
            0x06 => decoder.read_oid().map(drop),
            0x40 => decoder.read_ip_address().map(drop),
            0x41..=0x43 => decoder.read_unsigned32(tag).map(drop),
            0x46 => decoder.read_integer64(tag).map(drop),
            0x30 | 0xa0..=0xa8 => decoder.read_constructed(tag).map(|mut inside| {
                if depth < MAX_DEPTH {
                    walk(&mut inside, depth + 1);
                }
            }),
            _ => decoder.skip_tlv(),
        };
        if read.is_err() {
            return;
        }
        assert!(decoder.remaining() < left, "it goes on");
    }
}

/// Whole messages with their PDU (RFC 1157 4.1, RFC 3416 3, RFC 3412 6).
pub fn pdu(octets: &[u8]) {
    let decode = |octets: Bytes| Message::decode(octets, DecodeConfig::STRICT);
    let Ok(message) = decode(Bytes::copy_from_slice(octets)) else { return };
    let written = match &message.value {
        Message::Community(message) => message.encode(),
        Message::V3(message) => message.encode(),
    };
    // The crate writes by stricter rules than it reads.
    let Ok(written) = written else { return };
    let again = decode(written);
    let again = again.expect("what was written can be read").value;
    assert_eq!(format!("{again:?}"), format!("{:?}", message.value));
}

/// Datagrams as the receiver of traps takes them (RFC 3413 3.4), up to the findings that they open.
pub fn trap(octets: &[u8]) {
    if let Some(notification) = taken(octets) {
        assert_eq!(notification.trap.proof == Proof::Key, notification.sealed.is_some());
    }
}

/// What is under the digest and the cipher of a message (RFC 3414), which no fuzzer could guess: the first
/// octet says which user signs, the others are what he signs.
pub fn usm(octets: &[u8]) {
    let Some((user, inside)) = octets.split_first() else { return };
    let [md5, des, aes] = &*SIGNERS;
    let message = match user % 5 {
        0 => md5.message(inside.to_vec(), &[]),
        // What he encrypts, and octets that he says are encrypted.
        1 => des.encrypted(inside),
        2 => des.message(octet_string(inside), &[7; 8]),
        3 => aes.encrypted(inside),
        _ => aes.message(octet_string(inside), &[7; 8]),
    };
    if let Some(notification) = taken(&message) {
        assert_eq!(notification.trap.proof, Proof::Key);
    }
}

/// Lines of syslog (RFC 5424, RFC 3164), and what firewalls say in them.
pub fn syslog(octets: &[u8]) {
    let Ok(message) = parse(&text::read(octets)) else { return };
    let words = [&message.program, &message.kind];
    for text in words.into_iter().flatten().chain([&message.text]) {
        assert!(text.len() <= MAX_TEXT && !text.chars().any(char::is_control), "{text:?}");
    }
    let _ = refused(&message);
}

/// Streams of syslog (RFC 6587): the pieces in which one comes do not matter. The first octet says how
/// long they are.
pub fn frames(octets: &[u8]) {
    let Some((length, stream)) = octets.split_first() else { return };
    let whole = messages_of(std::iter::once(stream));
    assert_eq!(whole, messages_of(stream.chunks(usize::from(*length).max(1))));
    let (ended, last) = &whole;
    for frame in ended.iter().chain(last.iter().flatten()) {
        assert!((1..=MAX_MESSAGE).contains(&frame.message.len()));
    }
}

/// The messages of a stream, and how it ended.
fn messages_of<'a>(
    mut pieces: impl Iterator<Item = &'a [u8]>,
) -> (Vec<Frame>, Result<Option<Frame>, NotFramed>) {
    let (mut frames, mut ended) = (Frames::default(), Vec::new());
    let followed = pieces.try_for_each(|piece| frames.push(piece, &mut ended));
    let last = followed.and_then(|()| frames.finish());
    (ended, last)
}

/// What the receiver takes, held against everything that is done with it.
fn taken(datagram: &[u8]) -> Option<Box<Notification>> {
    thread_local! {
        static RECEIVER: RefCell<Receiver> = RefCell::new(receiver());
    }
    let taken = RECEIVER.with_borrow_mut(|receiver| receiver.take(datagram, *NOW));
    let notification = match taken {
        Taken::Notification(notification) => notification,
        Taken::Dropped(_, answer) => {
            assert!(answer.is_none_or(|answer| answer.len() <= MAX_DATAGRAM));
            return None;
        }
    };
    assert!(notification.trap.values.len() <= MAX_VALUES);
    assert!(notification.answer.as_ref().is_none_or(|answer| answer.len() <= MAX_DATAGRAM));
    assert!(notification.user.as_ref().is_none_or(|user| user.len() <= MAX_TEXT));
    let now = Timestamp::EPOCH;
    let mut ledger = Ledger::default();
    for meaning in CATALOGUE.meanings(&notification.trap) {
        assert!(meaning.subject.len() <= MAX_TEXT);
        assert!(!meaning.text.en.chars().any(char::is_control), "{:?}", meaning.text.en);
        ledger.note(&meaning, notification.trap.proof, now);
    }
    for about in [About::Device, About::Link, About::Power, About::Security] {
        for verdict in ledger.verdicts(about, now) {
            let critical = verdict.status == Status::Critical;
            assert!(!critical || notification.trap.proof == Proof::Key, "without proof");
        }
    }
    Some(notification)
}

fn receiver() -> Receiver {
    let state = tempfile::tempdir().expect("a folder for the engine");
    let texts = [
        "community: let-me-in".to_owned(),
        "user: nobody".to_owned(),
        format!("user: md5\nauth: {{protocol: MD5, passphrase: {AUTH}}}"),
        format!(
            "user: des\nauth: {{protocol: SHA, passphrase: {AUTH}}}\n\
             priv: {{protocol: DES, passphrase: {PRIV}}}"
        ),
        format!(
            "user: sha512\nauth: {{protocol: SHA-512, passphrase: {AUTH}}}\n\
             priv: {{protocol: AES-256, passphrase: {PRIV}}}"
        ),
    ];
    let read = |text: &String| Credentials::parse("f", text).expect("credentials");
    let credentials: Vec<Credentials> = texts.iter().map(read).collect();
    Receiver::new(state.path(), &credentials).expect("a receiver")
}

/// A user with his keys.
struct Signer {
    name: &'static str,
    auth: LocalizedKey,
    privacy: Option<PrivKey>,
    salts: SaltCounter,
    des: DesSaltState,
}

static SIGNERS: LazyLock<[Signer; 3]> = LazyLock::new(|| {
    let signer = |name, auth, privacy: Option<PrivProtocol>| {
        let mut keys = MasterKeys::new(auth, AUTH.as_bytes()).expect("a passphrase");
        if let Some(protocol) = privacy {
            keys = keys.with_privacy(protocol, PRIV.as_bytes()).expect("a passphrase");
        }
        let (auth, privacy) = keys.localize(ENGINE).expect("an engine");
        let salts = SaltCounter::new().expect("randomness");
        let before = PersistedDesSaltState::new(1).expect("a start");
        let des = DesSaltState::restart(before, |_| Ok::<(), std::io::Error>(()));
        Signer { name, auth, privacy, salts, des: des.expect("a start") }
    };
    [
        signer("md5", AuthProtocol::Md5, None),
        signer("des", AuthProtocol::Sha1, Some(PrivProtocol::Des)),
        signer("sha512", AuthProtocol::Sha512, Some(PrivProtocol::Aes256Blumenthal)),
    ]
});

impl Signer {
    /// A message with `data` in the place of its scoped PDU, under a digest that fits.
    fn message(&self, data: Vec<u8>, salt: &[u8]) -> Vec<u8> {
        let flags = if self.privacy.is_some() { 7 } else { 5 };
        let head = [integer(1), integer(65_507), octet_string(&[flags]), integer(3)].concat();
        let usm = [
            octet_string(ENGINE),
            integer(1),
            integer(1),
            octet_string(self.name.as_bytes()),
            octet_string(&vec![0; self.auth.mac_len()]),
            octet_string(salt),
        ]
        .concat();
        let usm = octet_string(&tlv(0x30, &usm));
        let mut message = tlv(0x30, &[integer(3), tlv(0x30, &head), usm, data].concat());
        if let Some((offset, length)) = UsmSecurityParams::find_auth_params_offset(&message) {
            authenticate_message(&self.auth, &mut message, offset, length).expect("a digest");
        }
        message
    }

    /// A message in which `inside` is encrypted.
    fn encrypted(&self, inside: &[u8]) -> Vec<u8> {
        let privacy = self.privacy.as_ref().expect("a user with privacy");
        let hidden = match privacy.protocol() {
            PrivProtocol::Des => privacy.encrypt_des_family(inside, &self.des),
            _ => privacy.encrypt_aes(inside, 1, 1, &self.salts),
        };
        let (octets, salt) = hidden.expect("octets are encrypted");
        self.message(octet_string(&octets), &salt)
    }
}

fn octet_string(octets: &[u8]) -> Vec<u8> {
    tlv(0x04, octets)
}

fn integer(value: u32) -> Vec<u8> {
    let octets = value.to_be_bytes();
    // Without zeros in front, and not below zero (X.690 8.3).
    let spare = octets.windows(2).take_while(|pair| pair[0] == 0 && pair[1] < 0x80).count();
    tlv(0x02, &octets[spare..])
}

/// Tag, length, value (X.690 8.1).
fn tlv(tag: u8, value: &[u8]) -> Vec<u8> {
    let mut octets = vec![tag];
    match u8::try_from(value.len()) {
        Ok(length) if length < 0x80 => octets.push(length),
        _ => {
            octets.push(0x84);
            octets.extend(u32::try_from(value.len()).expect("it fits").to_be_bytes());
        }
    }
    octets.extend(value);
    octets
}
