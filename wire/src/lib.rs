//! What goes between agent and collector: the messages, their conversion to and from the domain,
//! who may speak to whom, and how a host is let in; and what both send to others.
//!
//! - [`v1`]: the protobuf messages and gRPC services, generated from `proto/`.
//! - [`convert`]: messages to domain types and back. The other side is hostile: every bound is
//!   checked here, and nothing past this module sees a message.
//! - [`echo`]: asks the far end of a line, which agent and collector do alike.
//! - [`tls`]: every TLS configuration there is.
//! - [`identity`]: keys, certificates and signatures.
//! - [`listing`]: what a program printed of a packet filter, packed.
//! - [`order`]: what the security role orders a host to enforce, signed.
//! - [`seal`]: the mark by which whoever pushed a policy knows it again.
//! - [`token`]: the line with which a host is enrolled.

pub mod convert;
pub mod echo;
pub mod identity;
pub mod listing;
pub mod order;
pub mod seal;
pub mod tls;
pub mod token;

/// The messages and services of `proto/bailey/v1`, as generated.
#[allow(
    missing_docs,
    unreachable_pub,
    clippy::pedantic,
    clippy::unwrap_used,
    clippy::large_enum_variant,
    reason = "generated code; the documentation stands in the .proto files, and a message lives only \
              while it is converted"
)]
pub mod v1 {
    tonic::include_proto!("bailey.v1");
}

/// The version of the protocol that both sides name in their first message. It moves when an old
/// agent and a new collector could misunderstand each other; new fields and facts do not move it.
pub const PROTOCOL: u32 = 1;

/// The largest gRPC message that is sent or taken, in octets: a full report with room for its
/// envelope is refused by the sender, not cut.
pub const MAX_MESSAGE: usize = bailey_rules::report::MAX_REPORT;

/// The protocol as an encoded `FileDescriptorSet` without comments, for the test that guards its
/// evolution and for tools.
pub const DESCRIPTOR: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/protocol.binpb"));
