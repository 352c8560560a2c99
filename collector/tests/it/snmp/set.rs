//! What is set on a device is there when the call returns, and a refusal is one.

use bailey_collector::poll::credentials::Credentials;
use bailey_collector::poll::oid::Oid;
use bailey_collector::poll::snmp::udp::{Patience, Session};
use bailey_collector::poll::snmp::{Dial as _, Snmp as _, SnmpError};
use bailey_collector::poll::value::Value;

use crate::agent::Agent;

fn name(text: &str) -> Oid {
    text.parse().unwrap()
}

async fn session(agent: &Agent, community: &str) -> Session {
    let credentials = Credentials::parse("f", &format!("community: {community}\n")).unwrap();
    agent.dialler(Patience::default()).await.dial(&credentials).await.unwrap()
}

#[tokio::test]
async fn a_value_is_set_and_read_back_and_what_may_not_be_set_is_refused() {
    let agent = Agent::start(
        "rwcommunity private-17 127.0.0.1\nrocommunity public-17 127.0.0.1\nsysName floor-3\n",
    )
    .await;
    let writer = session(&agent, "private-17").await;
    let contact = name("1.3.6.1.2.1.1.4.0");
    let value = Value::Octets("李，信息中心".as_bytes().to_vec());
    writer.set(&contact, &value).await.unwrap();
    let read = writer.get(std::slice::from_ref(&contact)).await.unwrap();
    assert_eq!(read[0].value, value);

    // Given in the file, and so not writable; unknown; and asked for by one who may only read.
    let given = writer.set(&name("1.3.6.1.2.1.1.5.0"), &value).await;
    assert!(matches!(given, Err(SnmpError::Status { .. })), "{given:?}");
    let nothing = writer.set(&name("1.3.6.1.2.1.99999.1.0"), &value).await;
    assert!(matches!(nothing, Err(SnmpError::Status { .. })), "{nothing:?}");
    let reader = session(&agent, "public-17").await;
    let refused = reader.set(&contact, &Value::Octets(b"x".to_vec())).await;
    assert!(matches!(refused, Err(SnmpError::Status { .. })), "{refused:?}");
    let read = reader.get(std::slice::from_ref(&contact)).await.unwrap();
    assert_eq!(read[0].value, value, "nothing of it was taken");
    let counter = writer.set(&contact, &Value::Counter64(1)).await;
    assert!(matches!(counter, Err(SnmpError::Unaskable { .. })), "{counter:?}");
}
