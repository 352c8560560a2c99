//! `bailey enroll`: letting hosts in, and throwing them out.

use std::io::{self, IsTerminal as _};

use bailey_rules::name::HostName;
use bailey_rules::text::Text;
use bailey_rules::time::Timestamp;
use bailey_wire::order::VerifyingKey;
use bailey_wire::token;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Asking, read, short_key};
use crate::arguments::{EnrollCommand, Revoke, Token};
use crate::exit::{Done, Exit, Failure};
use crate::key_file;
use crate::screen::{Screen, Table, clean};

/// Does one of the verbs of enrolment.
pub(super) fn run(command: &EnrollCommand, asking: &Asking) -> Result<Done, Failure> {
    match command {
        EnrollCommand::Token(token) => make_token(token, asking),
        EnrollCommand::Ls => {
            let answer = asking.client.get("/api/v1/enroll")?;
            asking.answer(&answer, list)
        }
        EnrollCommand::Approve(one) => decide("approve", &one.host, APPROVED, asking),
        EnrollCommand::Refuse(one) => decide("refuse", &one.host, REFUSED, asking),
        EnrollCommand::Revoke(revoke) => throw_out(revoke, asking),
    }
}

#[derive(Debug, Deserialize)]
struct MadeToken {
    line: String,
    token: String,
}

/// Only the line itself goes to standard output, so that it can be piped; what to do with it is
/// talk.
fn make_token(token: &Token, asking: &Asking) -> Result<Done, Failure> {
    let security_key = token.security_key.as_deref().map(key_file::public).transpose()?;
    let mut body = json!({
        "host": token.host.as_str(),
        "zone": token.zone.as_str(),
        "ttl_seconds": token.ttl.as_secs(),
    });
    if let Some(key) = &security_key {
        body["security_key"] = key.to_pem().into();
    }
    let answer = asking.client.post("/api/v1/enroll/tokens", &body)?;
    carries(&read(&answer)?, security_key.as_ref())?;
    let done = asking.answer(&answer, |made: &MadeToken, _| format!("{}\n", clean(&made.line)))?;
    if io::stdout().is_terminal() {
        let length = asking.screen.length(token.ttl.as_secs_f64());
        let host = &token.host;
        asking.talk(&Text::new(
            format!("Paste this line on {host} within {length}; it works once:"),
            format!("请在 {length}内于 {host} 上粘贴执行以下命令，仅能使用一次："),
        ));
    }
    Ok(done)
}

/// Whose orders the host will follow is not for the collector to say: the token must carry the key
/// that was asked for, and no other.
fn carries(made: &MadeToken, wanted: Option<&VerifyingKey>) -> Result<(), Failure> {
    let parsed = made.token.parse::<token::Token>();
    let carried = parsed.ok().map(|token| token.security_key);
    if wanted.is_none() || carried.as_ref().is_some_and(|carried| carried.as_ref() == wanted) {
        return Ok(());
    }
    Err(Failure::error(
        "the collector's token does not carry the key that was asked for; do not use it, and look \
         at the collector",
        "采集器给出的令牌未携带所要求的公钥；请勿使用，并检查采集器",
    ))
}

#[derive(Debug, Deserialize)]
struct Answer {
    identities: Vec<Identity>,
    waiting: Vec<Waiting>,
}

#[derive(Debug, Deserialize)]
struct Identity {
    host: String,
    zone: String,
    key: String,
    certificate_ends: Timestamp,
    revoked_at: Option<Timestamp>,
}

#[derive(Debug, Deserialize)]
struct Waiting {
    host: String,
    zone: String,
    key: String,
    since: Timestamp,
}

const HEADINGS: [(&str, &str); 5] = [
    ("host", "主机"),
    ("zone", "安全域"),
    ("state", "状态"),
    ("certificate ends", "证书到期"),
    ("key", "密钥"),
];

fn list(answer: &Answer, screen: Screen) -> String {
    if answer.identities.is_empty() && answer.waiting.is_empty() {
        let nobody = screen.word("No host is enrolled.", "没有已注册的主机。");
        return format!("{nobody}\n");
    }
    let mut table = Table::headed(screen.words_of(HEADINGS));
    for waiting in &answer.waiting {
        let state = format!("{} {}", screen.word("waits since", "等待批准，自"), waiting.since);
        table.row([
            waiting.host.as_str().into(),
            waiting.zone.as_str().into(),
            state.into(),
            "".into(),
            short_key(&waiting.key).into(),
        ]);
    }
    for identity in &answer.identities {
        let state = match identity.revoked_at {
            Some(at) => format!("{} {at}", screen.word("revoked", "已吊销，于")),
            None => screen.word("enrolled", "已注册").to_owned(),
        };
        table.row([
            identity.host.as_str().into(),
            identity.zone.as_str().into(),
            state.into(),
            identity.certificate_ends.to_string().into(),
            short_key(&identity.key).into(),
        ]);
    }
    table.render()
}

const APPROVED: (&str, &str) = ("is in; the machine before it is out", "已批准；原机器随即失效");
const REFUSED: (&str, &str) = ("was refused", "已拒绝");
const REVOKED: (&str, &str) = ("is out", "已吊销");

fn decide(
    verb: &str,
    host: &HostName,
    done: (&'static str, &'static str),
    asking: &Asking,
) -> Result<Done, Failure> {
    let body = json!({"host": host.as_str()});
    told(&asking.client.post(&format!("/api/v1/enroll/{verb}"), &body)?, host, done, asking)
}

fn told(
    answer: &Value,
    host: &HostName,
    (en, zh): (&'static str, &'static str),
    asking: &Asking,
) -> Result<Done, Failure> {
    asking.answer(answer, |_: &Value, screen| format!("{host} {}\n", screen.word(en, zh)))
}

fn throw_out(revoke: &Revoke, asking: &Asking) -> Result<Done, Failure> {
    let host = &revoke.host;
    let asked = Text::new(
        format!(
            "{host} will be cut off at once and must be enrolled anew. Write its name to confirm:"
        ),
        format!("{host} 将立即断开，须重新注册才能接入。请输入主机名确认："),
    );
    if !revoke.yes && !asking.confirmed(&asked, host.as_str()) {
        return Err(Failure::new(
            Exit::NeedsConfirmation,
            format!("{host} was not revoked: nobody confirmed it; add --yes to go without asking"),
            format!("未吊销 {host}：没有得到确认；加 --yes 可不经询问直接执行"),
        ));
    }
    let body = json!({"host": host.as_str(), "reason": revoke.reason});
    told(&asking.client.post("/api/v1/enroll/revoke", &body)?, host, REVOKED, asking)
}

#[cfg(test)]
mod tests {
    use bailey_rules::text::Lang;

    use super::*;

    #[test]
    fn a_token_with_another_key_than_was_asked_for_is_not_printed() {
        let key = |octet| VerifyingKey::from_bytes([octet; 32]);
        let pin = bailey_wire::tls::KeyPin([1; 32]);
        let (host, zone) = ("oa-17".parse().unwrap(), "inner".parse().unwrap());
        let plain = token::Token::new("10.1.0.1:7710", pin, [2; 32], host, zone).unwrap();
        let check = |token: &token::Token, wanted: Option<&VerifyingKey>| {
            let token = token.to_string();
            carries(&MadeToken { line: String::new(), token }, wanted).is_ok()
        };
        let with_key = plain.clone().with_security_key(key(3));
        assert!(check(&with_key, Some(&key(3))));
        assert!(!check(&with_key, Some(&key(4))));
        assert!(!check(&plain, Some(&key(3))));
        assert!(check(&plain, None));
        // A collector whose settings name the site's key may put it in by itself.
        assert!(check(&with_key, None));
    }

    #[test]
    fn the_list_names_who_waits_first() {
        let answer = json!({
            "schema": 1,
            "waiting": [{
                "host": "oa-17", "zone": "inner", "key": "ab".repeat(32),
                "since": "2026-11-23T06:00:00Z",
            }],
            "identities": [
                {
                    "host": "oa-17", "zone": "inner", "key": "7f".repeat(32),
                    "certificate_ends": "2026-11-24T01:00:00Z", "revoked_at": null,
                },
                {
                    "host": "web-1", "zone": "outer", "key": "80".repeat(32),
                    "certificate_ends": "2026-11-24T01:00:00Z",
                    "revoked_at": "2026-11-23T05:00:00Z",
                },
            ],
        });
        let typed = read(&answer).unwrap();
        insta::assert_snapshot!(list(&typed, Screen { lang: Lang::En, colour: false }));
        insta::assert_snapshot!(list(&typed, Screen { lang: Lang::Zh, colour: false }));
    }
}
