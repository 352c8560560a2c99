//! Ways round our table: what other tables do so that packets do not meet it, or are not what it takes
//! them for.
//!
//! A packet that one table drops is gone, whatever another one accepts (nft(8), `accept`). So only this
//! counts: forwarding or copying before our hooks (`fwd`, `dup`, a flowtable), packets without a
//! connection (`notrack`), and senders that are rewritten behind our table, so that the gateway after
//! this host judges somebody else. Rewritten destinations do not count: they are rewritten before our
//! table, which judges what they have become.
//!
//! It cannot know: filters outside nftables (XDP, tc), rules of iptables-legacy, and traffic between two
//! ports of a bridge, which passes no hook of ours at all.

use bailey_rules::fact::bounded;
use bailey_rules::fact::enforcement::{MAX_WAYS_ROUND, RoundBy, WayRound};

use super::ruleset::TABLE;
use crate::probe::firewall::watch::{Silence, attributes, rules, text_in};

/// Attributes of a rule (`NFTA_RULE_*`), of an expression in it (`NFTA_EXPR_*`), of a translation of
/// addresses (`NFTA_NAT_TYPE`) and of a target of iptables (`NFTA_TARGET_*`).
const RULE_TABLE: u16 = 1;
const RULE_CHAIN: u16 = 2;
const RULE_EXPRESSIONS: u16 = 4;
const EXPRESSION_NAME: u16 = 1;
const EXPRESSION_DATA: u16 = 2;
const NAT_TYPE: u16 = 1;
const TARGET_NAME: u16 = 1;
const TARGET_INFO: u16 = 3;
/// `NFT_NAT_SNAT`.
const NAT_SENDER: [u8; 4] = [0; 4];
/// `XT_CT_NOTRACK`, in the first octets of a `CT` target, which are of the machine's order.
const CT_NOTRACK: u16 = 1;

/// Every way round our table that rules of other tables make, at most [`MAX_WAYS_ROUND`]; the same
/// in the same chain once.
pub(crate) fn ways_round() -> Result<Vec<WayRound>, Silence> {
    let mut ways: Vec<WayRound> = Vec::new();
    for (family, rule) in rules()? {
        let value = |kind| value_of(&rule, kind);
        let (Some(table), Some(chain)) = (value(RULE_TABLE), value(RULE_CHAIN)) else { continue };
        let table = format!("{family} {}", text_in(table));
        if table == TABLE {
            continue;
        }
        for (_, expression) in attributes(value(RULE_EXPRESSIONS).unwrap_or_default()) {
            let Some((how, word)) = look(expression) else { continue };
            let line = bounded(&format!("table {table}, chain {}: {word}", text_in(chain)));
            let way = WayRound { how, line };
            if ways.len() < MAX_WAYS_ROUND && !ways.contains(&way) {
                ways.push(way);
            }
        }
    }
    // The kernel's order is that of loading; the same rules are to give the same fact.
    ways.sort_by(|a, b| a.line.cmp(&b.line));
    Ok(ways)
}

/// Which way round an expression makes, and the word for it.
fn look(expression: &[u8]) -> Option<(RoundBy, &'static str)> {
    let name = text_in(value_of(expression, EXPRESSION_NAME)?);
    let data = value_of(expression, EXPRESSION_DATA).unwrap_or_default();
    match name.as_str() {
        "flow_offload" => Some((RoundBy::Flowtable, "flow add")),
        "fwd" => Some((RoundBy::Forwarded, "fwd")),
        "dup" => Some((RoundBy::Copied, "dup")),
        "notrack" => Some((RoundBy::Untracked, "notrack")),
        "masq" => Some((RoundBy::Rewritten, "masquerade")),
        "nat" if value_of(data, NAT_TYPE) == Some(&NAT_SENDER) => {
            Some((RoundBy::Rewritten, "snat"))
        }
        "target" => target(data),
        _ => None,
    }
}

/// The same of a target of iptables-nft.
fn target(data: &[u8]) -> Option<(RoundBy, &'static str)> {
    match text_in(value_of(data, TARGET_NAME)?).as_str() {
        "MASQUERADE" => Some((RoundBy::Rewritten, "MASQUERADE")),
        "SNAT" => Some((RoundBy::Rewritten, "SNAT")),
        "NETMAP" => Some((RoundBy::Rewritten, "NETMAP")),
        "TEE" => Some((RoundBy::Copied, "TEE")),
        "NOTRACK" => Some((RoundBy::Untracked, "NOTRACK")),
        "CT" => {
            let flags = *value_of(data, TARGET_INFO)?.first_chunk::<2>()?;
            let untracked = u16::from_ne_bytes(flags) & CT_NOTRACK != 0;
            untracked.then_some((RoundBy::Untracked, "CT --notrack"))
        }
        _ => None,
    }
}

fn value_of(octets: &[u8], kind: u16) -> Option<&[u8]> {
    attributes(octets).find(|(of, _)| *of == kind).map(|(_, value)| value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
        let length = u16::try_from(4 + value.len()).unwrap();
        let mut octets = [length.to_ne_bytes(), kind.to_ne_bytes()].concat();
        octets.extend(value);
        octets.resize(octets.len().next_multiple_of(4), 0);
        octets
    }

    fn expression(name: &str, data: &[u8]) -> Vec<u8> {
        let name = attribute(EXPRESSION_NAME, format!("{name}\0").as_bytes());
        [name, attribute(EXPRESSION_DATA, data)].concat()
    }

    fn of_iptables(name: &str, info: &[u8]) -> Vec<u8> {
        let name = attribute(TARGET_NAME, format!("{name}\0").as_bytes());
        expression("target", &[name, attribute(TARGET_INFO, info)].concat())
    }

    /// What this kernel may lack: flowtables, and targets of iptables.
    #[test]
    fn every_way_round_is_known_by_its_expression() {
        let how = |octets: &[u8]| look(octets).map(|(how, _)| how);
        let cases = [
            (expression("flow_offload", &[]), Some(RoundBy::Flowtable)),
            (of_iptables("MASQUERADE", &[]), Some(RoundBy::Rewritten)),
            (of_iptables("TEE", &[]), Some(RoundBy::Copied)),
            (of_iptables("CT", &CT_NOTRACK.to_ne_bytes()), Some(RoundBy::Untracked)),
            (of_iptables("CT", &0_u16.to_ne_bytes()), None),
            (of_iptables("DNAT", &[]), None),
            (expression("counter", &[]), None),
        ];
        for (octets, wanted) in cases {
            assert_eq!(how(&octets), wanted, "{octets:?}");
        }
        let sender = attribute(NAT_TYPE, &NAT_SENDER);
        assert_eq!(how(&expression("nat", &sender)), Some(RoundBy::Rewritten));
        assert_eq!(how(&expression("nat", &attribute(NAT_TYPE, &1_u32.to_be_bytes()))), None);
    }

    #[test]
    fn an_expression_that_is_cut_is_none_and_never_panics() {
        let whole = of_iptables("CT", &CT_NOTRACK.to_ne_bytes());
        for end in 0..whole.len() - 4 {
            assert_eq!(look(&whole[..end]), None, "{end}");
        }
    }
}
