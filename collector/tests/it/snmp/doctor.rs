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
const AT_ONCE: usize = 18;

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

/// Lets a user see everything, at this level at least.
fn rouser(user: &str, level: &str) -> String {
    format!("rouser {user} {level}\n")
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
        configuration += &create(&name, *auth, None);
        configuration += &rouser(&name, "auth");
        let credentials = format!("user: {name}\nauth: {{protocol: {auth}, passphrase: {AUTH}}}\n");
        cases.push((credentials, "healthy", String::new()));
        for (p, privacy) in PrivProtocol::ALL.iter().enumerate() {
            let name = format!("u{a}{p}");
            configuration += &create(&name, *auth, Some(*privacy));
            configuration += &rouser(&name, "priv");
            let credentials = user(&name, auth.name(), AUTH, privacy.name(), PRIV);
            cases.push((credentials, "healthy", String::new()));
        }
    }
    let agent = Agent::start(&configuration).await;
    check(&agent, cases).await;
}

#[tokio::test]
async fn a_wrong_authentication_is_named_protocol_or_passphrase() {
    let mut configuration = String::new();
    let mut cases = Vec::new();
    for auth in AuthProtocol::ALL {
        let name = format!("u-{auth}");
        configuration += &create(&name, *auth, Some(PrivProtocol::Aes128));
        configuration += &rouser(&name, "priv");
        let wrong = user(&name, auth.name(), "another-pass", "AES-128", PRIV);
        cases.push((wrong, "auth-key", String::new()));
        for other in AuthProtocol::ALL.iter().filter(|other| *other != auth) {
            let wrong = user(&name, other.name(), AUTH, "AES-128", PRIV);
            cases.push((wrong, "auth-protocol", format!(" {auth}")));
        }
    }
    let agent = Agent::start(&configuration).await;
    check(&agent, cases).await;
}

#[tokio::test]
async fn a_wrong_privacy_is_named_protocol_or_passphrase() {
    let mut configuration = String::new();
    let mut cases = Vec::new();
    for privacy in PrivProtocol::ALL {
        let name = format!("u-{privacy}");
        configuration += &create(&name, AuthProtocol::Sha1, Some(*privacy));
        configuration += &rouser(&name, "priv");
        for other in PrivProtocol::ALL {
            if other == privacy {
                let wrong = user(&name, "SHA", AUTH, other.name(), "another-pass");
                cases.push((wrong, "privacy-key", String::new()));
            } else {
                let wrong = user(&name, "SHA", AUTH, other.name(), PRIV);
                cases.push((wrong, "privacy-protocol", format!(" {privacy}")));
            }
        }
    }
    let agent = Agent::start(&configuration).await;
    check(&agent, cases).await;
}

#[tokio::test]
async fn every_other_wrong_parameter_of_a_user_is_named() {
    let configuration = format!(
        "{}{}{}createUser bare\nrouser both priv\nrouser half auth\nrouser bare noauth\n\
         rouser narrow auth .1.3.6.1.2.1.1\n{}",
        create("both", AuthProtocol::Sha256, Some(PrivProtocol::Aes128)),
        create("half", AuthProtocol::Sha256, None),
        create("nothing", AuthProtocol::Sha256, Some(PrivProtocol::Aes128)),
        create("narrow", AuthProtocol::Sha256, None),
    );
    let agent = Agent::start(&configuration).await;
    let auth = format!("auth: {{protocol: SHA-256, passphrase: {AUTH}}}\n");
    let privacy = format!("priv: {{protocol: AES-128, passphrase: {PRIV}}}\n");
    let case = |credentials: String, fault, what: &str| (credentials, fault, what.to_owned());
    let cases = vec![
        case(format!("user: both\n{auth}{privacy}"), "healthy", ""),
        case(format!("user: half\n{auth}"), "healthy", ""),
        case("user: bare\n".to_owned(), "healthy", ""),
        case(format!("user: nobody\n{auth}{privacy}"), "user", ""),
        case("user: nobody\n".to_owned(), "user", ""),
        case(format!("user: half\n{auth}{privacy}"), "security-level", " authNoPriv"),
        case(format!("user: bare\n{auth}"), "security-level", " noAuthNoPriv"),
        case(format!("user: bare\n{auth}{privacy}"), "security-level", " noAuthNoPriv"),
        case(format!("user: both\n{auth}"), "security-level", " authPriv"),
        case("user: both\n".to_owned(), "security-level", " authNoPriv"),
        case(format!("user: nothing\n{auth}{privacy}"), "view", "system"),
        case(format!("user: narrow\n{auth}"), "view", "interfaces"),
        case(format!("user: both\n{auth}{privacy}context: bridge9\n"), "context", ""),
        case(format!("user: half\n{auth}context: bridge9\n"), "context", ""),
        case(
            format!("user: both\n{auth}{privacy}engine_id: \"80001f8880aabbccdd\"\n"),
            "engine-id",
            " 80001f88",
        ),
    ];
    check(&agent, cases).await;
}

#[tokio::test]
async fn a_device_whose_count_of_starts_has_run_out_has_a_fault_of_time() {
    // At its last number the count stays, and no message is in time any more (RFC 3414 2.2.2). It
    // counts one more at its start, and only if it still has the engine id of before.
    let configuration = format!(
        "oldEngineID 0x80001f88806562321fef64076b00000000\nengineBoots 2147483646\n{}rouser both priv\n",
        create("both", AuthProtocol::Sha256, Some(PrivProtocol::Aes128))
    );
    let agent = Agent::start(&configuration).await;
    let credentials = user("both", "SHA-256", AUTH, "AES-128", PRIV);
    check(&agent, vec![(credentials, "engine-time", String::new())]).await;
}

#[tokio::test]
async fn a_wrong_community_version_or_view_is_named() {
    let agent = Agent::start(
        "rocommunity sesame default\nrocommunity narrow default .1.3.6.1.2.1.1\n\
         rocommunity elsewhere default .1.3.6.1.4.1\nrocommunity far 192.0.2.1\n\
         com2sec old default ancient\ngroup old v1 old\nview all included .1\n\
         access old \"\" v1 noauth exact all none none\n\
         com2sec none default nothing\n",
    )
    .await;
    let case =
        |credentials: &str, fault, what: &str| (credentials.to_owned(), fault, what.to_owned());
    let cases = vec![
        case("community: sesame", "healthy", ""),
        case("{community: sesame, version: v1}", "healthy", ""),
        case("community: Sesame", "community", ""),
        case("{community: Sesame, version: v1}", "community", ""),
        case("community: far", "community", ""),
        case("community: ancient", "version", "v1"),
        case("{community: ancient, version: v1}", "healthy", ""),
        case("community: narrow", "view", "interfaces"),
        case("{community: narrow, version: v1}", "view", "interfaces"),
        case("community: elsewhere", "view", "system"),
        case("{community: elsewhere, version: v1}", "view", "system"),
        case("community: nothing", "community", ""),
    ];
    check(&agent, cases).await;
}

#[tokio::test]
async fn a_closed_port_a_silent_one_and_one_that_speaks_otherwise_are_told_apart() {
    // Echoes, as a service of another kind might.
    let echo = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let silent = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let ports = [
        (free_port(), "port-unreachable"),
        (silent.local_addr().unwrap(), "no-answer"),
        (echo.local_addr().unwrap(), "malformed"),
    ];
    let echoing = tokio::spawn(async move {
        let mut datagram = [0; 2048];
        while let Ok((length, from)) = echo.recv_from(&mut datagram).await {
            let _ = echo.send_to(&datagram[1..length], from).await;
        }
    });
    let examined = ports.map(async |(port, fault)| {
        let dialler = Dialler::new(port, PATIENCE).await.unwrap();
        for credentials in ["community: public", "user: monitor"] {
            assert_eq!(name(&examined(&dialler, credentials).await), fault, "{credentials}");
        }
    });
    futures::future::join_all(examined).await;
    echoing.abort();
}
