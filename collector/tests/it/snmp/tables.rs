//! Tables come whole or as an error, and never from a device that lies.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bailey_collector::poll::credentials::Credentials;
use bailey_collector::poll::oid::{Oid, known};
use bailey_collector::poll::snmp::udp::{Dialler, Patience, Session};
use bailey_collector::poll::snmp::{Dial as _, Snmp as _, SnmpError};
use bailey_collector::poll::table::{Cells, Learned, MAX_VALUES, rows};
use bailey_collector::poll::value::Value;

use super::responder::{Habit, Responder};
use crate::agent::Agent;

const PATIENCE: Patience = Patience { timeout: Duration::from_millis(400), retries: 1 };

fn table() -> Oid {
    known(&[1, 3, 6, 1, 2, 1, 2, 2])
}

fn columns() -> Vec<Oid> {
    [1, 2, 10].map(|column| table().then(&[1, column])).to_vec()
}

/// 48 ports with three columns, and something after them.
fn ports() -> BTreeMap<Oid, Value> {
    let mut values = BTreeMap::new();
    for port in 1..=48 {
        let [index, name, octets] = [1, 2, 10].map(|column| table().then(&[1, column, port]));
        values.insert(index, Value::Integer(i32::try_from(port).unwrap()));
        values.insert(name, Value::Octets(format!("ge0/{port}").into_bytes()));
        values.insert(octets, Value::Counter32(port.wrapping_mul(1_000_000_007)));
    }
    values.insert(known(&[1, 3, 6, 1, 2, 1, 31]), Value::Integer(0));
    values
}

async fn session(responder: &Responder) -> Session {
    let dialler = Dialler::new(responder.address, PATIENCE).await.unwrap();
    dialler.dial(&Credentials::parse("f", "community: public").unwrap()).await.unwrap()
}

async fn walked(habit: Habit) -> (Result<usize, SnmpError>, Responder, Learned) {
    let responder = Responder::start(ports(), habit).await;
    let session = session(&responder).await;
    let mut learned = Learned::default();
    let found = rows(&session, &table(), &columns(), &mut learned).await;
    let counted = found.map(|rows| rows.values().map(Cells::len).sum());
    (counted, responder, learned)
}

#[tokio::test]
async fn a_table_is_whole_and_needs_few_questions() {
    let (found, responder, learned) = walked(Habit::Honest).await;
    assert_eq!(found, Ok(48 * 3));
    // 8, 16 and 32 repetitions.
    assert_eq!(responder.asked.load(Ordering::SeqCst), 3);
    assert!(learned.repetitions() > Learned::default().repetitions());
}

#[tokio::test]
async fn a_table_is_asked_for_no_more_than_it_had_and_one_that_has_grown_is_whole() {
    let (_, responder, mut learned) = walked(Habit::Honest).await;
    let first = responder.answered.load(Ordering::SeqCst);
    let session = session(&responder).await;
    let again = rows(&session, &table(), &columns(), &mut learned).await.unwrap();
    assert_eq!(again.len(), 48);
    let second = responder.answered.load(Ordering::SeqCst) - first;
    // Three columns of 48 rows, and one value after each, instead of the 56 rows of before.
    assert!(second < first, "{second} octets after {first}");

    let mut more = ports();
    for port in 49..=260 {
        more.insert(table().then(&[1, 2, port]), Value::Octets(b"ge1".to_vec()));
    }
    let grown = Responder::start(more, Habit::Honest).await;
    let session = self::session(&grown).await;
    let found = rows(&session, &table(), &columns(), &mut learned).await.unwrap();
    assert_eq!(found.len(), 260);
    assert!(grown.asked.load(Ordering::SeqCst) < 12, "{:?}", grown.asked);

    // And one that is gone needs one question.
    let gone = Responder::start(BTreeMap::new(), Habit::Honest).await;
    let session = self::session(&gone).await;
    assert!(rows(&session, &table(), &columns(), &mut learned).await.unwrap().is_empty());
    assert_eq!(gone.asked.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn what_is_too_much_for_a_device_is_learnt() {
    for (most, repetitions, names) in [(24, 8, 12), (13, 4, 12), (3, 1, 12), (2, 1, 1), (1, 1, 1)] {
        let (found, _, learned) = walked(Habit::AtMost(most)).await;
        assert_eq!(found, Ok(48 * 3), "{most}");
        assert_eq!((learned.repetitions(), learned.names()), (repetitions, names), "{most}");
    }
}

#[tokio::test]
async fn a_table_that_breaks_off_is_no_table() {
    let (found, ..) = walked(Habit::StopsAfter(1)).await;
    assert!(
        matches!(&found, Err(SnmpError::Partial { why, .. })
            if matches!(**why, SnmpError::Silent { .. })),
        "{found:?}"
    );
}

#[tokio::test]
async fn a_device_that_does_not_advance_is_an_error() {
    let (found, responder, _) = walked(Habit::Loops).await;
    assert!(matches!(found, Err(SnmpError::Looping { .. })), "{found:?}");
    assert_eq!(responder.asked.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_device_that_goes_on_for_ever_is_an_error() {
    let (found, ..) = walked(Habit::Endless).await;
    assert_eq!(found, Err(SnmpError::TooMany { table: table(), most: MAX_VALUES }));
}

#[tokio::test]
async fn answers_that_lie_are_no_answers() {
    for habit in [Habit::WrongNumber, Habit::LongLength, Habit::Cut] {
        let (found, ..) = walked(habit).await;
        assert!(
            matches!(found, Err(SnmpError::Silent { .. } | SnmpError::Malformed { .. })),
            "{habit:?}: {found:?}"
        );
    }
    let (found, ..) = walked(Habit::TooMany).await;
    assert!(matches!(found, Err(SnmpError::Malformed { .. })), "{found:?}");
    for habit in [Habit::OtherNames, Habit::TooMany, Habit::WrongNumber, Habit::LongLength] {
        let responder = Responder::start(ports(), habit).await;
        let session = session(&responder).await;
        let found = session.get(&[table().then(&[1, 1, 1])]).await;
        assert!(
            matches!(found, Err(SnmpError::Silent { .. } | SnmpError::Malformed { .. })),
            "{habit:?}: {found:?}"
        );
    }
}

#[tokio::test]
async fn every_version_gives_the_same_table_of_a_real_agent_and_the_second_implementation_agrees() {
    let agent = Agent::start(
        "rwcommunity sesame default\nsysContact first\n\
         createUser both SHA-256 \"auth-pass-17\" AES \"priv-pass-17\"\nrwuser both priv\n",
    )
    .await;
    let patience = Patience { timeout: Duration::from_secs(3), retries: 2 };
    let dialler = agent.dialler(patience).await;
    let names: Vec<Oid> = [1, 2, 3, 6].map(|column| table().then(&[1, column])).to_vec();
    let mut tables = Vec::new();
    for credentials in [
        "{community: sesame, version: v1}",
        "community: sesame",
        "user: both\nauth: {protocol: SHA-256, passphrase: auth-pass-17}\n\
         priv: {protocol: AES, passphrase: priv-pass-17}\n",
    ] {
        let credentials = Credentials::parse("f", credentials).unwrap();
        let session = dialler.dial(&credentials).await.unwrap();
        let found = rows(&session, &table(), &names, &mut Learned::default()).await.unwrap();
        assert!(!found.is_empty());
        tables.push(found);
        // Contact is what anybody may write here; it is read back.
        let contact = known(&[1, 3, 6, 1, 2, 1, 1, 4, 0]);
        let by = Value::Octets(credentials.version().as_bytes().to_vec());
        let set = session.set(&contact, &by).await;
        // It stands in snmpd.conf, so that the agent keeps it.
        assert!(matches!(set, Err(SnmpError::Status { .. })), "{set:?}");
    }
    assert!(tables.windows(2).all(|two| two[0] == two[1]), "{tables:#?}");

    let security = snmp::v3::Security::new(b"both", b"auth-pass-17")
        .with_auth_protocol(snmp::v3::AuthProtocol::Sha256)
        .with_auth(snmp::v3::Auth::AuthPriv {
            cipher: snmp::v3::Cipher::Aes128,
            privacy_password: b"priv-pass-17".to_vec(),
        });
    let mut second = snmp::AsyncSession::new_v3(agent.address, 1, security).await.unwrap();
    second.init().await.unwrap();
    for (index, row) in &tables[0] {
        let name = names[1].then(index);
        let arcs: Vec<u64> = name.arcs().iter().map(|arc| u64::from(*arc)).collect();
        let asked = second.get(&snmp::Oid::from(&arcs).unwrap()).await;
        let asked = match asked {
            // The first answer brings the agent's time (RFC 3414 4).
            Err(snmp::Error::AuthUpdated) => second.get(&snmp::Oid::from(&arcs).unwrap()).await,
            other => other,
        };
        let pdu = asked.unwrap();
        let (_, value) = pdu.varbinds.clone().next().unwrap();
        let snmp::Value::OctetString(theirs) = value else { panic!("{value:?}") };
        assert_eq!(row.octets(1), Some(theirs));
    }
}
