//! A simulated fleet for measuring and for looking at: `fleet [--reference] COUNT [PORT]`.
//!
//! Prints a line `NAME ADDRESS` for each device and answers SNMPv2c with the community `fleet` until its
//! standard input ends.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a tool of the tests")]

#[path = "../tests/it/fleet.rs"]
mod fleet;

use tokio::io::AsyncReadExt as _;

#[tokio::main]
async fn main() {
    let mut words: Vec<String> = std::env::args().skip(1).collect();
    let reference = words.first().is_some_and(|word| word == "--reference");
    if reference {
        words.remove(0);
    }
    let number = |at: usize| words.get(at).map(|word| word.parse::<u16>().unwrap());
    let count = usize::from(number(0).unwrap_or(40));
    let plans = if reference { fleet::reference_site(count) } else { fleet::switches(count) };
    let fleet = fleet::Fleet::start_at(plans, number(1).unwrap_or(0)).await;
    for device in &fleet.devices {
        println!("{} {}", device.name, device.address);
    }
    let mut rest = Vec::new();
    tokio::io::stdin().read_to_end(&mut rest).await.unwrap();
}
