//! Generates the messages from `proto/` without protoc: protox parses, tonic-prost-build writes.

use std::path::PathBuf;

/// Every file of the protocol; adding one is adding it here.
const FILES: [&str; 4] = [
    "bailey/v1/fact.proto",
    "bailey/v1/order.proto",
    "bailey/v1/report.proto",
    "bailey/v1/session.proto",
];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=proto");
    let mut set = protox::compile(FILES, ["proto"])?;
    // Comments and positions are no part of the protocol.
    for file in &mut set.file {
        file.source_code_info = None;
    }
    let out = PathBuf::from(std::env::var("OUT_DIR")?);
    std::fs::write(out.join("protocol.binpb"), prost::Message::encode_to_vec(&set))?;
    tonic_prost_build::configure()
        .bytes(".bailey.v1.FactEntry.reading")
        .bytes(".bailey.v1.ListingPart.octets")
        .bytes(".bailey.v1.OrderPart.octets")
        .compile_fds(set)?;
    Ok(())
}
