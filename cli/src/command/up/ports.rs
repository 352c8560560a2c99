//! The two addresses that `bailey up` listens on, tried before anything is started.

use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener};

use crate::exit::Failure;

/// Tries that `address`, given by `option`, can be listened on. Somebody may still take it until it
/// is; the collector then says so in its own words.
///
/// # Errors
/// When it is taken, or is no address of this machine, or may not be listened on.
pub(in crate::command) fn try_to_listen(option: &str, address: SocketAddr) -> Result<(), Failure> {
    let Err(error) = TcpListener::bind(address) else { return Ok(()) };
    Err(match error.kind() {
        ErrorKind::AddrInUse => Failure::error(
            format!(
                "the port of {address} is in use by another program (`ss -ltnp` shows which); stop it, \
                 or choose another with {option} ADDR:PORT, where port 0 takes a free one"
            ),
            format!(
                "{address} 的端口已被其他程序占用（可用 `ss -ltnp` 查看）；请停止该程序，或用 {option} \
                 地址:端口 另行指定，端口 0 表示任选空闲端口"
            ),
        ),
        ErrorKind::AddrNotAvailable => Failure::error(
            format!(
                "{address} is no address of this machine; choose another with {option} ADDR:PORT"
            ),
            format!("{address} 不是本机地址；请用 {option} 地址:端口 另行指定"),
        ),
        _ => Failure::error(
            format!("cannot listen on {address}: {error}; choose another with {option} ADDR:PORT"),
            format!("无法监听 {address}：{error}；请用 {option} 地址:端口 另行指定"),
        ),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_taken_port_is_told_with_what_to_do() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = taken.local_addr().unwrap();
        let failure = try_to_listen("--web", address).unwrap_err();
        for words in [failure.words.en, failure.words.zh] {
            assert!(words.contains(&address.to_string()) && words.contains("--web"), "{words}");
        }
        drop(taken);
        assert_eq!(try_to_listen("--web", address), Ok(()));
    }

    #[test]
    fn an_address_of_another_machine_is_refused() {
        // TEST-NET-1 (RFC 5737) is nobody's.
        let failure = try_to_listen("--agents", "192.0.2.1:0".parse().unwrap()).unwrap_err();
        assert!(failure.words.en.contains("no address of this machine"), "{}", failure.words.en);
    }
}
