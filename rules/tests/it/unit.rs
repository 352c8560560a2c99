//! Quantities as people write them.

use std::time::Duration;

use bailey_rules::time::spoken;
use bailey_rules::unit::{Bytes, Celsius, Hundredths, Percent, Period, Size};
use proptest::prelude::*;

#[test]
fn a_length_of_time_is_read_with_its_unit() {
    let millis = |text: &str| text.parse::<Period>().map(|p| p.0.as_millis()).ok();
    assert_eq!(millis("26 h"), Some(93_600_000));
    assert_eq!(millis("5min"), Some(300_000));
    assert_eq!(millis("1 d 12 h"), Some(129_600_000));
    assert_eq!(millis("1.5 s"), Some(1500));
    assert_eq!(millis("250 ms"), Some(250));
    assert_eq!(millis("2 w"), Some(1_209_600_000));
    for wrong in ["", "5", "h", "5 hours", "5 m", "-5 s", "1e9 s", "5 s x", "99999999999 w", ".5 s"]
    {
        assert_eq!(millis(wrong), None, "{wrong}");
    }
}

#[test]
fn percentages_sizes_temperatures_and_numbers_are_read() {
    assert_eq!("85 %".parse(), Ok(Percent(850)));
    assert_eq!("0.5%".parse(), Ok(Percent(5)));
    assert!("85".parse::<Percent>().is_err());
    assert_eq!("512 MiB".parse(), Ok(Size(Bytes(512 << 20))));
    assert_eq!("1.5 GB".parse(), Ok(Size(Bytes(1_500_000_000))));
    assert!("5 mb".parse::<Size>().is_err());
    assert!("99999999999999 TiB".parse::<Size>().is_err());
    assert_eq!("80 °C".parse(), Ok(Celsius(80_000)));
    assert_eq!("1.5".parse(), Ok(Hundredths(150)));
}

#[test]
fn a_refused_quantity_says_how_to_write_it() {
    let said = "soon".parse::<Period>().unwrap_err().to_string();
    assert_eq!(said, "\"soon\" is not a length of time; write it as 26 h, 5 min, 30 s or 1 d 12 h");
    let said = "85".parse::<Percent>().unwrap_err().to_string();
    assert_eq!(said, "\"85\" is not a percentage; write it as 85 %");
}

#[test]
fn an_age_is_said_by_the_one_figure_that_matters() {
    let said = |seconds| {
        let text = spoken(Duration::from_secs(seconds));
        (text.en, text.zh)
    };
    assert_eq!(said(40), ("40 s".to_owned(), "40 秒".to_owned()));
    assert_eq!(said(300), ("5 min".to_owned(), "5 分钟".to_owned()));
    assert_eq!(said(31 * 3600), ("31 h".to_owned(), "31 小时".to_owned()));
    assert_eq!(said(9 * 86_400), ("9 d".to_owned(), "9 天".to_owned()));
}

proptest! {
    #[test]
    fn a_period_survives_printing(millis in 0_u64..1_000_000_000_000) {
        let period = Period(Duration::from_millis(millis));
        prop_assert_eq!(period.to_string().parse(), Ok(period));
    }

    #[test]
    fn a_percentage_survives_printing(tenths in 0_u32..1_000_000) {
        prop_assert_eq!(Percent(tenths).to_string().parse(), Ok(Percent(tenths)));
    }

    #[test]
    fn no_text_makes_a_quantity_panic(text in ".{0,40}") {
        let _ = text.parse::<Period>();
        let _ = text.parse::<Percent>();
        let _ = text.parse::<Size>();
        let _ = text.parse::<Celsius>();
        let _ = text.parse::<Hundredths>();
    }
}
