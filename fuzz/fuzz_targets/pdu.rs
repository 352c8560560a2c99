#![no_main]

libfuzzer_sys::fuzz_target!(|octets: &[u8]| bailey_fuzz::targets::pdu(octets));
