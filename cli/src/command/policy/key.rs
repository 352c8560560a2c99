//! `bailey policy key`: the key whose orders hosts follow. It is made here and never leaves its
//! file.

use bailey_wire::order::SigningKey;
use serde_json::json;

use crate::arguments::{self, Format};
use crate::command::json as written;
use crate::exit::{Done, Failure};
use crate::key_file;
use crate::screen::{Screen, clean};

/// Makes a key and writes both its halves.
pub(super) fn run(key: &arguments::Key, format: Format, screen: Screen) -> Result<Done, Failure> {
    let made = SigningKey::generate().map_err(|error| {
        Failure::error(format!("no key was made: {error}"), format!("未能生成密钥：{error}"))
    })?;
    key_file::write(&key.out, &made)?;
    let (id, public) = (made.verifying_key().id(), key_file::public_beside(&key.out));
    let (file, public) = (key.out.display().to_string(), public.display().to_string());
    Ok(Done::said(match format {
        Format::Json | Format::Ndjson => written(
            &json!({"schema": 1, "key_id": id.to_string(), "private": file, "public": public}),
            format,
        ),
        Format::Table => {
            let (file, public) = (clean(&file), clean(&public));
            let said = screen.word(
                "Keep {file} with the people who decide what hosts enforce, away from the collector. \
                 Give {public} to each host: at enrolment with\n  bailey enroll token --security-key \
                 {public} ...\nor on the host with\n  bailey-agent pin {public}\n",
                "私钥 {file} 由决定主机策略的人员保管，不要放在采集器上。公钥 {public} 交给各主机：注册时使用\n  \
                 bailey enroll token --security-key {public} ...\n或在主机上执行\n  bailey-agent pin \
                 {public}\n",
            );
            let made = screen.word("key", "密钥");
            format!("{made} {id}\n{}", said.replace("{file}", &file).replace("{public}", &public))
        }
    }))
}
