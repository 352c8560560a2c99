//! The doctor names what is wrong, for every protocol and every wrong parameter.

use std::time::Duration;

use bailey_collector::poll::credentials::{AuthProtocol, Credentials, PrivProtocol};
use bailey_collector::poll::doctor::{Diagnosis, examine};
use bailey_collector::poll::snmp::udp::{Dialler, Patience};
use futures::StreamExt as _;

use crate::agent::{Agent, free_port};

/// Longer than a busy machine needs, shorter than a test may take.
const PATIENCE: Patience = Patience { timeout: Duration::from_millis(700), retries: 2 };

/// Examinations at the same time.
const AT_ONCE: usize = 6;

const AUTH: &str = "auth-pass-17";
const PRIV: &str = "priv-pass-17";

/// The words of `createUser` in snmpd.conf.
fn create(user: &str, auth: AuthProtocol, privacy: Option<PrivProtocol>) -> String {
    let privacy = privacy.map(|privacy| {
        let word = match privacy {
            PrivProtocol::Des => "DES",
            PrivProtocol::Aes128 => "AES",
            PrivProtocol::Aes192 => "AES-192",
            PrivProtocol::Aes192Reeder => "AES192C",
            PrivProtocol::Aes256 => "AES-256",
            PrivProtocol::Aes256Reeder => "AES256C",
        };
        format!(" {word} \"{PRIV}\"")
    });
    let auth = auth.name();
    format!("createUser {user} {auth} \"{AUTH}\"{}\n", privacy.unwrap_or_default())
}

fn user(name: &str, auth: &str, auth_pass: &str, privacy: &str, priv_pass: &str) -> String {
    format!(
        "user: {name}\nauth: {{protocol: {auth}, passphrase: {auth_pass}}}\n\
         priv: {{protocol: {privacy}, passphrase: {priv_pass}}}\n"
    )
}

async fn examined(dialler: &Dialler, credentials: &str) -> Diagnosis {
    let credentials = Credentials::parse("credentials.yaml", credentials).unwrap();
    examine(dialler, &credentials).await
}

fn name(diagnosis: &Diagnosis) -> &'static str {
    diagnosis.fault.as_ref().map_or("healthy", bailey_collector::poll::doctor::fault::Fault::name)
}

/// Holds that each of the credentials gives the fault, and that its words name `what`.
async fn check(agent: &Agent, cases: Vec<(String, &str, String)>) {
    let dialler = agent.dialler(PATIENCE).await;
    let examined = futures::stream::iter(cases)
        .map(async |(credentials, fault, what)| {
            let found = examined(&dialler, &credentials).await;
            assert_eq!(name(&found), fault, "{credentials}{:#?}", found.steps);
            if let Some(fault) = &found.fault {
                let said = fault.said();
                assert!(said.en.contains(&what) && said.zh.contains(&what), "{said:?}: {what}");
            }
        })
        .buffer_unordered(AT_ONCE);
    examined.collect::<Vec<_>>().await;
}

#[tokio::test]
async fn every_protocol_of_version_3_is_healthy_with_the_right_keys() {
    let mut configuration = String::new();
    let mut cases = Vec::new();
    for (a, auth) in AuthProtocol::ALL.iter().enumerate() {
        let name = format!("u{a}");
        configuration += &format!("{}rouser {name} auth\n", create(&name, *auth, None));
        let credentials = format!("user: {name}\nauth: {{protocol: {auth}, passphrase: {AUTH}}}\n");
        cases.push((credentials, "healthy", String::new()));
        for (p, privacy) in PrivProtocol::ALL.iter().enumerate() {
            let name = format!("u{a}{p}");
            configuration += &create(&name, *auth, Some(*privacy));
            configuration += &format!("rouser {name} priv\n");
            let credentials = user(&name, auth.name(), AUTH, privacy.name(), PRIV);
            cases.push((credentials, "healthy", String::new()));
        }
    }
    let agent = Agent::start(&configuration, "").await;
    check(&agent, cases).await;
}
