//! Floods a receiver of traps or syslog at a steady rate, each datagram unlike the one before, and says
//! how many it sent. For the benches in `tests/bench/`; it speaks only to loopback.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use anyhow::ensure;
use clap::{Parser, ValueEnum};

/// How often datagrams are sent: what a millisecond is owed goes out together.
const SLOT: Duration = Duration::from_millis(1);

#[derive(Parser)]
struct Arguments {
    /// Where to.
    #[arg(long)]
    to: SocketAddr,
    /// From which address.
    #[arg(long, default_value = "127.0.0.1")]
    from: IpAddr,
    /// Datagrams a second.
    #[arg(long)]
    rate: u32,
    /// How long.
    #[arg(long)]
    seconds: u64,
    /// What is sent.
    #[arg(long, value_enum, default_value_t = Kind::Trap)]
    kind: Kind,
    /// The community of the traps.
    #[arg(long, default_value = "public")]
    community: String,
}

#[derive(Clone, Copy, ValueEnum)]
enum Kind {
    /// `SNMPv2c` linkDown, of another interface each.
    Trap,
    /// A line of RFC 3164, with another number each.
    Syslog,
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    ensure!(arguments.to.ip().is_loopback(), "only loopback is flooded");
    let socket = UdpSocket::bind((arguments.from, 0))?;
    socket.connect(arguments.to)?;
    let began = Instant::now();
    let whole = Duration::from_secs(arguments.seconds);
    let (mut sent, mut failed) = (0_u64, 0_u64);
    while began.elapsed() < whole {
        let owed = began.elapsed().as_secs_f64() * f64::from(arguments.rate);
        while ((sent + failed) as f64) < owed {
            let number = u32::try_from((sent + failed) % 0x7fff_ffff)?;
            let datagram = match arguments.kind {
                Kind::Trap => trap(&arguments.community, number),
                Kind::Syslog => format!("<187>sw-1: another line {number}").into_bytes(),
            };
            // A full buffer of the loopback refuses some; those never reached the receiver.
            match socket.send(&datagram) {
                Ok(_) => sent += 1,
                Err(_) => failed += 1,
            }
        }
        std::thread::sleep(SLOT);
    }
    say(&format!("{sent}"));
    ensure!(failed == 0, "{failed} datagrams could not be sent");
    Ok(())
}

#[allow(clippy::print_stdout)] // A bench's figures are its output.
fn say(line: &str) {
    println!("{line}");
}

/// A linkDown of interface `number` (RFC 2863), in BER (X.690).
fn trap(community: &str, number: u32) -> Vec<u8> {
    /// `sysUpTime.0`, `snmpTrapOID.0`, `linkDown`, and the column `ifIndex`.
    const UPTIME: &[u8] = &[0x2b, 6, 1, 2, 1, 1, 3, 0];
    const TRAP: &[u8] = &[0x2b, 6, 1, 6, 3, 1, 1, 4, 1, 0];
    const LINK_DOWN: &[u8] = &[0x2b, 6, 1, 6, 3, 1, 1, 5, 3];
    const INDEX: &[u8] = &[0x2b, 6, 1, 2, 1, 2, 2, 1, 1];
    let row = [INDEX, &base_128(number)].concat();
    let whole = |value: u32| tlv(0x02, trimmed(&value.to_be_bytes()));
    let pair = |name: &[u8], value: Vec<u8>| tlv(0x30, &[tlv(0x06, name), value].concat());
    let values = [
        pair(UPTIME, tlv(0x43, &[1])),
        pair(TRAP, tlv(0x06, LINK_DOWN)),
        pair(&row, whole(number)),
    ]
    .concat();
    let zero = tlv(0x02, &[0]);
    let pdu = [whole(number), zero.clone(), zero, tlv(0x30, &values)].concat();
    let message = [tlv(0x02, &[1]), tlv(0x04, community.as_bytes()), tlv(0xa7, &pdu)].concat();
    tlv(0x30, &message)
}

/// Without the zeros in front that an INTEGER must not have (X.690 8.3.2).
fn trimmed(octets: &[u8; 4]) -> &[u8] {
    let spare = |pair: &[u8]| pair[0] == 0 && pair[1] < 0x80;
    let skipped = octets.windows(2).take_while(|pair| spare(pair)).count();
    &octets[skipped..]
}

fn base_128(number: u32) -> Vec<u8> {
    let mut octets = vec![u8::try_from(number & 0x7f).unwrap_or(0)];
    let mut rest = number >> 7;
    while rest > 0 {
        octets.insert(0, u8::try_from(rest & 0x7f).unwrap_or(0) | 0x80);
        rest >>= 7;
    }
    octets
}

/// Tag, length, value; shorter than 65,536 octets.
fn tlv(tag: u8, value: &[u8]) -> Vec<u8> {
    let mut octets = vec![tag];
    match (u8::try_from(value.len()), u16::try_from(value.len())) {
        (Ok(length), _) if length < 0x80 => octets.push(length),
        (_, Ok(length)) => {
            octets.push(0x82);
            octets.extend(length.to_be_bytes());
        }
        (_, Err(_)) => octets.clear(),
    }
    octets.extend(value);
    octets
}
