//! Octets to text. Devices write UTF-8, or what their vendor took for it: here that is GBK, in which
//! Chinese firewalls and UPS cards log.

/// The text of a message: as UTF-8 where it is that, else as GBK (GB 18030 without its four-octet part
/// is a part of it), in which every octet that stands for nothing becomes U+FFFD.
#[must_use]
pub fn read(octets: &[u8]) -> String {
    match std::str::from_utf8(octets) {
        Ok(text) => text.to_owned(),
        // A message that was cut in a character is UTF-8 all the same.
        Err(error) if error.error_len().is_none() => {
            String::from_utf8_lossy(&octets[..error.valid_up_to()]).into_owned()
        }
        Err(_) => encoding_rs::GBK.decode_without_bom_handling(octets).0.into_owned(),
    }
}

#[cfg(test)]
mod tests {
    use bailey_rules::fact::MAX_TEXT;
    use bailey_rules::syslog::parse;
    use bailey_rules::syslog::refused::refused;
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig {
            cases: ProptestConfig::default().cases.max(20_000),
            ..ProptestConfig::default()
        })]

        #[test]
        fn no_octets_panic_on_their_way_to_the_journal(
            front in prop::sample::select(vec!["", "<13>", "<13>1 ", "<189>Nov 26 09:12:33 sw-1 "]),
            octets in prop::collection::vec(any::<u8>(), 0..200)
        ) {
            let whole = [front.as_bytes(), &octets].concat();
            if let Ok(message) = parse(&read(&whole)) {
                prop_assert!(message.text.len() <= MAX_TEXT);
                prop_assert!(!message.text.chars().any(char::is_control));
                let _ = refused(&message);
            }
        }
    }

    #[test]
    fn both_encodings_are_read_and_neither_is_taken_for_the_other() {
        let line = "<189>Nov 26 09:12:33 UPS-1 电源: 市电中断";
        assert_eq!(read(line.as_bytes()), line);
        let (gbk, _, unmappable) = encoding_rs::GBK.encode(line);
        assert!(!unmappable);
        assert_eq!(read(&gbk), line);
        assert_eq!(
            read(&line.as_bytes()[..line.len() - 1]),
            "<189>Nov 26 09:12:33 UPS-1 电源: 市电中"
        );
        assert_eq!(read(b"<13>x \xff\xff"), "<13>x \u{fffd}\u{fffd}");
    }
}
