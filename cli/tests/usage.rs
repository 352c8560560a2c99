//! Command lines that cannot be done: what is said, in which language, and the exit code.

#![allow(clippy::unwrap_used)] // The helpers of a test fail as the test does.

use std::process::Command;

fn check(lang: &str, line: &str, code: i32, expect: &str) {
    let home = tempfile::tempdir().unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_bailey"))
        .env_clear()
        .env("HOME", home.path())
        .args(["--lang", lang])
        .args(line.split_whitespace())
        .output()
        .unwrap();
    let said = if output.stderr.is_empty() { output.stdout } else { output.stderr };
    let said = String::from_utf8(said).unwrap().replace(home.path().to_str().unwrap(), "HOME");
    assert_eq!(said.trim_end(), expect.trim_end(), "{line}");
    assert_eq!(output.status.code(), Some(code), "{line}");
}

#[test]
fn a_typing_error_is_answered_with_what_was_meant() {
    check(
        "en",
        "statu",
        2,
        "error: unrecognized subcommand 'statu'\n\n  tip: a similar subcommand exists: 'status'\n\n\
         Usage: bailey [OPTIONS] <COMMAND>\n\nFor more information, try '--help'.",
    );
    check(
        "zh",
        "statu",
        2,
        "错误：未知的命令 statu\n\n  提示：是否想输入 status？\n\n用法：bailey [选项] <命令>\n\n\
         更多信息请使用 --help。",
    );
    check(
        "zh",
        "hosts --zon inner",
        2,
        "错误：未知的参数 --zon\n\n  提示：是否想输入 --zone？\n\n用法：bailey hosts --zone <ZONE>\n\n\
         更多信息请使用 --help。",
    );
}

#[test]
fn a_wrong_value_is_answered_with_how_to_write_it() {
    check(
        "zh",
        "enroll token --host OA --zone inner",
        2,
        "错误：参数 --host <HOST> 的值 OA 无效：主机名由 a-z、0-9、-、_ 和 . 组成，各段以字母或数字开头和结尾，\
         最长 253 个字符\n\n更多信息请使用 --help。",
    );
    check(
        "zh",
        "-o xml status",
        2,
        "错误：参数 --output <FORMAT> 的值 xml 无效\n\n  可用的值：table、json、ndjson\n\n更多信息请使用 --help。",
    );
}

#[test]
fn options_that_contradict_each_other_are_refused() {
    check(
        "en",
        "--url https://10.1.0.1:7711 status",
        2,
        "bailey: --url needs --ca-file and --token-file; both files lie in the collector's state \
         folder: ca.pem and scrape.token",
    );
    check(
        "zh",
        "--ca-file ca.pem status",
        2,
        "bailey: --ca-file 与 --token-file 须与 --url 一起使用",
    );
    check(
        "en",
        "--url https://10.1.0.1:7711 up",
        2,
        "bailey: `up` starts a collector here; --url names one elsewhere",
    );
}

#[test]
fn without_a_collector_every_command_says_how_to_start_one() {
    check(
        "en",
        "status",
        7,
        "bailey: no collector answers on HOME/.local/share/bailey/bailey.sock: No such file or \
         directory (os error 2); start one with `bailey up`, or name its state folder with --state",
    );
    check(
        "en",
        "check oa-17",
        3,
        "BAILEY UNKNOWN - no collector answers on HOME/.local/share/bailey/bailey.sock: No such file \
         or directory (os error 2); start one with `bailey up`, or name its state folder with --state",
    );
}

#[test]
fn a_plugin_that_is_called_wrongly_is_unknown_and_never_critical() {
    check(
        "en",
        "check",
        3,
        "BAILEY UNKNOWN - error: the following required arguments were not provided: <HOST>",
    );
    check(
        "zh",
        "check OA",
        3,
        "BAILEY UNKNOWN - 错误：参数 <HOST> 的值 OA 无效：主机名由 a-z、0-9、-、_ 和 . 组成，各段以字母或数字开头和结尾，最长 253 个字符",
    );
}
