//! Credentials asked for at the terminal. Secrets are not shown while they are written.

use std::io::{self, BufRead as _, IsTerminal as _, Read as _};

use bailey_collector::poll::credentials::Secret;
use bailey_rules::text::Text;
use nix::sys::termios::{LocalFlags, SetArg, Termios, tcgetattr, tcsetattr};

use super::checked;
use crate::command::Asking;
use crate::exit::{Exit, Failure};

/// The longest line that is read, in octets.
const MAX_LINE: u64 = 1024;

/// Asks for a community, or for a user of SNMPv3 with his keys.
pub(super) fn asked(asking: &Asking) -> Result<Secret, Failure> {
    if !asking.may_ask() || !io::stdin().is_terminal() {
        return Err(Failure::new(
            Exit::Usage,
            "how does the device want to be asked? Name a file with --credentials FILE, or - for \
             standard input",
            "请用 --credentials 文件 给出凭据文件，或用 - 从标准输入读取",
        ));
    }
    let community =
        hidden(asking, "Community (empty for SNMPv3): ", "团体名（SNMPv3 请直接回车）：")?;
    if !community.is_empty() {
        return checked(format!("community: {}\n", quoted(&community)));
    }
    let user = shown(asking, "SNMPv3 user: ", "SNMPv3 用户：")?;
    let mut text = format!("user: {}\n", quoted(&user));
    let keys = [
        (
            "auth",
            "Authentication protocol (SHA-256, ...; empty for none): ",
            "认证协议（如 SHA-256；无则回车）：",
        ),
        (
            "priv",
            "Privacy protocol (AES-128, ...; empty for none): ",
            "加密协议（如 AES-128；无则回车）：",
        ),
    ];
    for (key, en, zh) in keys {
        let protocol = shown(asking, en, zh)?;
        if protocol.is_empty() {
            break;
        }
        let passphrase = hidden(asking, "Passphrase: ", "口令：")?;
        let (protocol, passphrase) = (quoted(&protocol), quoted(&passphrase));
        text.push_str(&format!("{key}: {{protocol: {protocol}, passphrase: {passphrase}}}\n"));
    }
    checked(text)
}

/// A text as a YAML string in double quotes (YAML 1.2 7.3.1): JSON strings are such.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

fn shown(asking: &Asking, en: &str, zh: &str) -> Result<String, Failure> {
    asking.talk(&Text::new(en, zh));
    let mut line = String::new();
    io::BufReader::new(io::stdin().take(MAX_LINE)).read_line(&mut line).map_err(|why| {
        Failure::error(
            format!("cannot read from the terminal: {why}"),
            format!("无法从终端读取：{why}"),
        )
    })?;
    Ok(line.trim_end_matches(['\r', '\n']).to_owned())
}

fn hidden(asking: &Asking, en: &str, zh: &str) -> Result<String, Failure> {
    let before = silenced().map_err(|why| {
        Failure::error(
            format!("the terminal would show what is written: {why}"),
            format!("终端无法关闭回显：{why}"),
        )
    })?;
    let line = shown(asking, en, zh);
    // Whatever happened, the terminal is left as it was; nobody can be told if that fails.
    let _ = tcsetattr(io::stdin(), SetArg::TCSADRAIN, &before);
    line
}

/// Has the terminal show nothing; gives how it was.
fn silenced() -> nix::Result<Termios> {
    let before = tcgetattr(io::stdin())?;
    let mut silent = before.clone();
    silent.local_flags.remove(LocalFlags::ECHO);
    tcsetattr(io::stdin(), SetArg::TCSADRAIN, &silent)?;
    Ok(before)
}

#[cfg(test)]
mod tests {
    use bailey_collector::poll::credentials::Credentials;

    use super::*;

    #[test]
    fn whatever_is_written_stays_one_text() {
        for text in ["public", "a: b", "\"quoted\" \\ #x", "密钥 }", "line\nbreak", "- x"] {
            let yaml = format!("community: {}\n", quoted(text));
            let Ok(Credentials::Community { community, .. }) = Credentials::parse("f", &yaml)
            else {
                panic!("{yaml}");
            };
            assert_eq!(community.octets(), text.as_bytes());
        }
    }
}
