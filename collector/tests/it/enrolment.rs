//! Who comes in, and who does not: over real TLS, against a real collector.

use std::time::Duration;

use crate::support::{Facts, Lab, Machine, ask, memory, stranger, until};
use bailey_collector::enrolment::{Actor, EnrolmentError};
use bailey_rules::name::HostName;
use bailey_rules::time::Timestamp;
use bailey_wire::identity::{AgentKey, Certificate};
use bailey_wire::{tls, v1};
use tokio::io::AsyncReadExt as _;
use tonic::Code;

fn name(host: &str) -> HostName {
    host.parse().unwrap()
}

fn by() -> Actor {
    Actor::named("li")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_lets_one_machine_in_under_its_name() {
    let lab = Lab::start().await;
    let machine = lab.enrolled("oa-17").await;
    let about = Certificate::read(&machine.certificate).unwrap();
    assert_eq!(about.key, machine.key.host_key());
    assert!(!about.is_ca);
    let host = lab.collector.site().host(&name("oa-17")).unwrap();
    assert_eq!(host.view.key, machine.key.host_key());
    assert_eq!(host.view.zone.as_str(), "inner");
    machine.connect().await;
    lab.event("enrolled").await;
    assert_eq!(lab.events("enrolled").await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_users_of_one_token_get_exactly_one_certificate() {
    let lab = Lab::start().await;
    let token = lab.token("oa-17", "inner").await;
    let mut users = tokio::task::JoinSet::new();
    for _ in 0..100 {
        let token = token.clone();
        users.spawn(async move { ask(&token, &AgentKey::generate().unwrap()).await });
    }
    let answers = users.join_all().await;
    let (won, lost): (Vec<_>, Vec<_>) = answers.into_iter().partition(Result::is_ok);
    assert_eq!(won.len(), 1);
    assert!(matches!(won[0], Ok(v1::enrol_reply::Answer::Enrolled(_))));
    assert!(lost.iter().all(|a| a.as_ref().is_err_and(|s| s.code() == Code::PermissionDenied)));
    assert_eq!(lab.failures("spent_token"), 99);
    assert_eq!(lab.collector.site().counters().certificates_issued.get(), 1);
    assert_eq!(lab.collector.enrolment().identities().await.unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_whose_answer_was_lost_asks_again_with_the_same_key() {
    let lab = Lab::start().await;
    let token = lab.token("oa-17", "inner").await;
    let key = AgentKey::generate().unwrap();
    for _ in 0..2 {
        assert!(matches!(ask(&token, &key).await.unwrap(), v1::enrol_reply::Answer::Enrolled(_)));
    }
    assert_eq!(lab.collector.enrolment().identities().await.unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_ends() {
    let lab = Lab::start().await;
    let token = lab.token("oa-17", "inner").await;
    lab.clock.forward(Duration::from_secs(601));
    let refused = ask(&token, &AgentKey::generate().unwrap()).await.unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied);
    assert_eq!(lab.failures("expired_token"), 1);
    assert!(lab.collector.enrolment().identities().await.unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn empty_cut_and_guessed_requests_are_refused() {
    let lab = Lab::start().await;
    let token = lab.token("oa-17", "inner").await;
    let request = AgentKey::generate().unwrap().request().unwrap();
    let channel = stranger(&token).await;
    let mut client = v1::enrolment_client::EnrolmentClient::new(channel);
    let cases = [
        (Vec::new(), request.clone(), Code::PermissionDenied),
        (vec![0; 32], request.clone(), Code::PermissionDenied),
        (token.secret[..31].to_vec(), request.clone(), Code::PermissionDenied),
        (token.secret.to_vec(), Vec::new(), Code::InvalidArgument),
        (token.secret.to_vec(), request[..100].to_vec(), Code::InvalidArgument),
        (token.secret.to_vec(), vec![0x30; 5000], Code::InvalidArgument),
    ];
    for (secret, request, code) in cases {
        let refused = client.enrol(v1::EnrolRequest { secret, request }).await.unwrap_err();
        assert_eq!(refused.code(), code, "{refused:?}");
    }
    let large = v1::EnrolRequest { secret: vec![0; 32], request: vec![0; 100_000] };
    assert!(client.enrol(large).await.is_err());
    assert!(lab.collector.enrolment().identities().await.unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_are_only_made_for_what_the_policy_knows() {
    let lab = Lab::start().await;
    let enrolment = lab.collector.enrolment();
    let life = Duration::from_mins(10);
    let wrong =
        enrolment.make_token(name("oa-17"), "iner".parse().unwrap(), life, by()).await.unwrap_err();
    assert_eq!(
        wrong.to_string(),
        "the policy has no zone \"iner\" (zones: inner, outer); did you mean \"inner\"?"
    );
    let other = enrolment.make_token(name("core-1"), "inner".parse().unwrap(), life, by()).await;
    assert!(matches!(other, Err(EnrolmentError::OtherZone { .. })));
    let year = Duration::from_hours(365 * 24);
    let long = enrolment.make_token(name("oa-17"), "inner".parse().unwrap(), year, by()).await;
    assert!(matches!(long, Err(EnrolmentError::Life(_))));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_secret_of_a_token_is_not_in_the_store() {
    let lab = Lab::start().await;
    let token = lab.token("oa-17", "inner").await;
    for file in ["collector.db", "collector.db-wal"] {
        let octets = std::fs::read(lab.folder.path().join("store").join(file)).unwrap();
        assert!(!octets.windows(32).any(|window| window == token.secret));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reimaged_machine_waits_and_an_approval_revokes_the_one_before() {
    let lab = Lab::start().await;
    let before = lab.enrolled("oa-17").await;
    let mut link = before.connect().await;
    let token = lab.token("oa-17", "inner").await;
    let key = AgentKey::generate().unwrap();
    for _ in 0..2 {
        assert!(matches!(ask(&token, &key).await.unwrap(), v1::enrol_reply::Answer::Waiting(_)));
    }
    let waiting = lab.collector.enrolment().waiting().await.unwrap();
    assert_eq!(waiting.len(), 1);
    assert_eq!(waiting[0].key, key.host_key());
    assert_eq!(waiting[0].holder, Some(before.key.host_key()));
    let site = lab.collector.site();
    until("the host to show that somebody waits", || {
        site.host(&name("oa-17")).unwrap().view.session.approval_waiting_since.is_some()
    })
    .await;
    until("the finding", || site.findings().iter().any(|f| f.alert == "BaileyApprovalWaiting"))
        .await;

    lab.collector.enrolment().approve(&name("oa-17"), by()).await.unwrap();
    assert_eq!(link.end().await.code(), Code::PermissionDenied);
    let after = Machine::enrol(&token, key).await.unwrap();
    after.connect().await;
    assert_eq!(site.host(&name("oa-17")).unwrap().view.key, after.key.host_key());
    until("the finding to go with the host it was about", || {
        !site.findings().iter().any(|f| f.alert == "BaileyApprovalWaiting")
    })
    .await;
    lab.event("waiting").await;
    assert_eq!(lab.events("waiting").await.len(), 1);
    lab.event("approved").await;
    assert_eq!(lab.events("approved").await.len(), 1);
    lab.event("revoked").await;
    assert_eq!(lab.events("revoked").await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_machine_stays_out_and_the_host_goes_on() {
    let lab = Lab::start().await;
    let before = lab.enrolled("oa-17").await;
    let token = lab.token("oa-17", "inner").await;
    let key = AgentKey::generate().unwrap();
    ask(&token, &key).await.unwrap();
    lab.collector.enrolment().refuse(&name("oa-17"), by()).await.unwrap();
    assert_eq!(ask(&token, &key).await.unwrap_err().code(), Code::PermissionDenied);
    before.connect().await;
    let again = lab.collector.enrolment().refuse(&name("oa-17"), by()).await;
    assert!(matches!(again, Err(EnrolmentError::NothingWaits(_))));
    lab.event("refused").await;
    assert_eq!(lab.events("refused").await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revocation_cuts_the_open_session_and_keeps_the_key_out_for_good() {
    let lab = Lab::start().await;
    let machine = lab.enrolled("oa-17").await;
    let mut link = machine.connect().await;
    let mut facts = Facts::new(1);
    link.report(facts.complete([memory(5)])).await;
    link.acknowledged(facts.place()).await.unwrap();

    let began = std::time::Instant::now();
    lab.collector.enrolment().revoke(&name("oa-17"), "stolen", by()).await.unwrap();
    link.end().await;
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());

    assert!(machine.try_connect().await.is_err());
    until("the refusal to be counted", || lab.failures("revoked") >= 1).await;
    assert!(lab.collector.site().host(&name("oa-17")).is_none());
    let token = lab.token("oa-17", "inner").await;
    let refused = ask(&token, &machine.key).await.unwrap_err();
    assert!(refused.message().contains("revoked"), "{refused:?}");
    let identities = lab.collector.enrolment().identities().await.unwrap();
    assert_eq!(identities[0].revoked_reason.as_deref(), Some("stolen"));
    let again = lab.collector.enrolment().revoke(&name("oa-17"), "", by()).await;
    assert!(matches!(again, Err(EnrolmentError::NotEnrolled(_))));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_is_renewed_for_the_same_key_only() {
    let lab = Lab::start().await;
    let machine = lab.enrolled("oa-17").await;
    let mut client = v1::uplink_client::UplinkClient::new(machine.channel().await.unwrap());
    lab.clock.forward(Duration::from_hours(12));
    let request = v1::RenewRequest { request: machine.key.request().unwrap() };
    let renewed = client.renew(request).await.unwrap().into_inner();
    let (old, new) = (
        Certificate::read(&machine.certificate).unwrap(),
        Certificate::read(&renewed.leaf).unwrap(),
    );
    assert_eq!(old.key, new.key);
    assert!(new.not_after > old.not_after);
    assert_ne!(old.serial, new.serial);
    let site = lab.collector.site();
    until("the new end to show", || {
        site.host(&name("oa-17")).unwrap().view.session.certificate_ends.as_seconds()
            == new.not_after.as_seconds()
    })
    .await;
    let other = AgentKey::generate().unwrap().request().unwrap();
    let refused = client.renew(v1::RenewRequest { request: other }).await.unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_certificate_there_is_no_uplink_and_with_one_no_enrolment() {
    let lab = Lab::start().await;
    let token = lab.token("oa-17", "inner").await;
    let mut uplink = v1::uplink_client::UplinkClient::new(stranger(&token).await);
    let refused = uplink.renew(v1::RenewRequest::default()).await.unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied);
    let nothing = tokio_stream::empty::<v1::FromAgent>();
    assert_eq!(uplink.session(nothing).await.unwrap_err().code(), Code::PermissionDenied);
    assert_eq!(lab.failures("wrong_service"), 2);

    let machine = lab.enrolled("oa-18").await;
    let channel = machine.channel().await.unwrap();
    let mut enrolment = v1::enrolment_client::EnrolmentClient::new(channel);
    let refused = enrolment.enrol(v1::EnrolRequest::default()).await.unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied);
    assert_eq!(lab.failures("wrong_service"), 3);
}

/// A certificate that somebody made without our CA's key, or not as we make them.
fn forged(
    name: &str,
    key: &AgentKey,
    issuer: &rcgen::Issuer<'_, rcgen::KeyPair>,
    change: impl FnOnce(&mut rcgen::CertificateParams),
) -> Vec<u8> {
    let mut params = rcgen::CertificateParams::default();
    params.distinguished_name.push(rcgen::DnType::CommonName, name);
    params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ClientAuth];
    change(&mut params);
    let pair = rcgen::KeyPair::from_pkcs8_der_and_sign_algo(
        &rustls::pki_types::PrivatePkcs8KeyDer::from(key.pkcs8_der().to_vec()),
        &rcgen::PKCS_ECDSA_P256_SHA256,
    )
    .unwrap();
    params.signed_by(&pair, issuer).unwrap().der().to_vec()
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_certificates_are_refused_before_anything_is_read_and_counted() {
    let lab = Lab::start().await;
    let good = lab.enrolled("oa-17").await;
    let ca_key = std::fs::read_to_string(lab.folder.path().join("ca.key")).unwrap();
    let ca_pair = rcgen::KeyPair::from_pem(&ca_key).unwrap();
    let ours = rcgen::Issuer::from_ca_cert_der(&good.ca.clone().into(), ca_pair).unwrap();
    let other_key = rcgen::KeyPair::generate().unwrap();
    let mut other = rcgen::CertificateParams::default();
    other.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let others = rcgen::Issuer::new(other, other_key);
    let day = |offset: i64| time::OffsetDateTime::now_utc() + time::Duration::days(offset);
    let key = AgentKey::generate().unwrap();
    let cases = [
        (
            "expired",
            "expired_certificate",
            forged("oa-17", &key, &ours, |params| {
                params.not_before = day(-3);
                params.not_after = day(-1);
            }),
        ),
        (
            "not yet valid",
            "expired_certificate",
            forged("oa-17", &key, &ours, |params| {
                params.not_before = day(1);
                params.not_after = day(2);
            }),
        ),
        ("of another CA", "foreign_certificate", forged("oa-17", &key, &others, |_| {})),
        (
            "for servers",
            "wrong_purpose",
            forged("oa-17", &key, &ours, |params| {
                params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ServerAuth];
            }),
        ),
        ("of a key that is not enrolled", "unknown_key", forged("oa-17", &key, &ours, |_| {})),
    ];
    for (case, reason, certificate) in cases {
        let machine = Machine {
            key: AgentKey::from_pkcs8_der(key.pkcs8_der()).unwrap(),
            certificate,
            ca: good.ca.clone(),
            address: good.address.clone(),
            run: [1; 32],
        };
        assert!(machine.try_connect().await.is_err(), "a certificate {case} was taken");
        until(case, || lab.failures(reason) >= 1).await;
    }
    good.connect().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_ends_with_the_certificate_it_was_opened_with() {
    let lab = Lab::start().await;
    let machine = lab.enrolled("oa-17").await;
    lab.clock.forward(Duration::from_hours(24) - Duration::from_secs(2));
    let mut link = machine.connect().await;
    let began = std::time::Instant::now();
    link.end().await;
    assert!(began.elapsed() < Duration::from_secs(5));
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_sockets_are_closed_and_good_machines_do_not_notice() {
    let lab = Lab::start().await;
    let machine = lab.enrolled("oa-17").await;
    let mut slow = Vec::new();
    for _ in 0..500 {
        slow.push(tokio::net::TcpStream::connect(lab.agents()).await.unwrap());
    }
    machine.connect().await;
    for mut socket in slow {
        let mut octets = Vec::new();
        let read = tokio::time::timeout(Duration::from_secs(12), socket.read_to_end(&mut octets));
        assert!(read.await.is_ok(), "a slow socket was left open");
    }
    until("each to be counted", || lab.failures("timeout") == 500).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_tls_is_counted_and_a_port_scan_is_not() {
    use tokio::io::AsyncWriteExt as _;
    let lab = Lab::start().await;
    drop(tokio::net::TcpStream::connect(lab.agents()).await.unwrap());
    let mut socket = tokio::net::TcpStream::connect(lab.agents()).await.unwrap();
    socket.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    let mut octets = Vec::new();
    // Whether it is closed or reset is the same to us.
    let _ = socket.read_to_end(&mut octets).await;
    until("the nonsense to be counted", || lab.failures("handshake") == 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_carries_the_pin_of_this_collector_and_no_other() {
    let (one, other) = (Lab::start().await, Lab::start().await);
    let token = one.token("oa-17", "inner").await;
    let config = tls::enrol_client_config(token.pin, &tls::system_clock()).unwrap();
    let connector = tokio_rustls::TlsConnector::from(config);
    let stream = tokio::net::TcpStream::connect(other.agents()).await.unwrap();
    let name = rustls::pki_types::ServerName::try_from(tls::COLLECTOR_NAME).unwrap();
    assert!(connector.connect(name, stream).await.is_err());
    assert_ne!(Timestamp::EPOCH, one.collector.site().started_at());
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_left_of_a_revoked_host_but_its_name_in_the_list() {
    let lab = Lab::start().await;
    let machine = lab.enrolled("oa-17").await;
    let mut link = machine.connect().await;
    let mut facts = Facts::new(1);
    // Nearly no memory left: a finding.
    link.report(facts.complete([memory(1)])).await;
    link.acknowledged(facts.place()).await.unwrap();
    let site = lab.collector.site();
    until("the finding", || !site.findings().is_empty()).await;
    for value in 2..200 {
        link.report(facts.changed([memory(value)])).await;
    }
    lab.collector.enrolment().revoke(&name("oa-17"), "", by()).await.unwrap();
    link.end().await;
    let folder = lab.folder;
    lab.collector.shutdown().await;
    let store = rusqlite::Connection::open(folder.path().join("store/collector.db")).unwrap();
    let count = |sql: &str| store.query_row(sql, [], |row| row.get::<_, i64>(0)).unwrap();
    assert_eq!(count("SELECT count(*) FROM report"), 0);
    assert_eq!(count("SELECT count(*) FROM snapshot"), 0);
    assert_eq!(count("SELECT count(*) FROM finding WHERE resolved_at IS NULL"), 0);
    assert_eq!(count("SELECT count(*) FROM identity"), 1);
}

/// What a machine asks whose certificate has ended: no token, only its key.
async fn restored(
    lab: &Lab,
    key: &AgentKey,
) -> Result<Option<v1::enrol_reply::Answer>, tonic::Status> {
    let door = lab.token("door", "inner").await;
    let request = v1::EnrolRequest { secret: Vec::new(), request: key.request().unwrap() };
    let mut client = v1::enrolment_client::EnrolmentClient::new(stranger(&door).await);
    client.enrol(request).await.map(|reply| reply.into_inner().answer)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_that_was_off_when_its_certificate_ended_gets_another_until_it_is_revoked() {
    let lab = Lab::start().await;
    let machine = lab.enrolled("oa-17").await;
    lab.clock.forward(Duration::from_hours(72));
    let answer = restored(&lab, &machine.key).await.unwrap();
    let Some(v1::enrol_reply::Answer::Enrolled(enrolled)) = answer else { panic!("{answer:?}") };
    assert_eq!((enrolled.host.as_str(), enrolled.zone.as_str()), ("oa-17", "inner"));
    let about = Certificate::read(&enrolled.certificate.unwrap().leaf).unwrap();
    assert_eq!(about.key, machine.key.host_key());
    assert!(about.not_after > lab.collector.site().now());

    let nobody = restored(&lab, &AgentKey::generate().unwrap()).await.unwrap_err();
    assert_eq!(nobody.code(), Code::PermissionDenied);
    lab.collector.enrolment().revoke(&name("oa-17"), "stolen", by()).await.unwrap();
    let revoked = restored(&lab, &machine.key).await.unwrap_err();
    assert_eq!(revoked.code(), Code::PermissionDenied);
}
