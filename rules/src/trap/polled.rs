//! What polling says of what traps have told. A poll is a fact, a trap a hint: what a poll sees wrong makes
//! a trap certain, and what it sees well ends it, if it looked after the trap came.

use super::ledger::Ledger;
use crate::check::device::is_on_battery;
use crate::device::interface::Link;
use crate::device::{DeviceView, MAX_INTERFACES};

/// Holds what is open in a ledger against what was read of the device last.
pub fn confirm(ledger: &mut Ledger, device: &DeviceView) {
    let open: Vec<(String, String)> =
        ledger.open().map(|(cause, subject)| (cause.to_owned(), subject.to_owned())).collect();
    for (cause, subject) in open {
        let seen = match cause.as_str() {
            "link_down" => link(device, &subject).zip(device.interfaces.read_at()),
            "ups_on_battery" => on_battery(device).zip(device.power.read_at()),
            _ => None,
        };
        if let Some((wrong, read_at)) = seen {
            ledger.polled(&cause, &subject, wrong, read_at);
        }
    }
}

/// Whether an interface is down; `None` where its state says neither. What the device has no
/// interface of is not down: it was taken out, or the trap was made up.
fn link(device: &DeviceView, subject: &str) -> Option<bool> {
    // The trap did not say which.
    if subject.is_empty() {
        return None;
    }
    let interfaces = device.interfaces.value()?;
    let index: Option<u32> = subject.parse().ok();
    let named = interfaces.iter().find(|interface| Some(interface.index) == index);
    let Some(interface) = named else {
        let all_are_there = !interfaces.is_empty() && interfaces.len() < MAX_INTERFACES;
        return all_are_there.then_some(false);
    };
    match interface.link {
        Link::Up => Some(false),
        // What somebody has switched off is as it should be.
        Link::Down | Link::LowerLayerDown | Link::NotPresent => {
            Some(interface.wanted != Link::Down)
        }
        Link::Testing | Link::Dormant | Link::Unknown => None,
    }
}

fn on_battery(device: &DeviceView) -> Option<bool> {
    is_on_battery(device.power.value()?.as_ref()?)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::check::Status;
    use crate::device::interface::{Counters, Interface};
    use crate::device::power::{Power, Source};
    use crate::finding::Severity;
    use crate::name::HostKey;
    use crate::text::Text;
    use crate::time::Timestamp;
    use crate::trap::Proof;
    use crate::trap::catalogue::{About, Act, Meaning};

    const NOW: Timestamp = Timestamp::from_seconds(1_790_000_000);
    const MINUTE: Duration = Duration::from_mins(1);

    fn device() -> DeviceView {
        let (name, zone) = ("core-1".parse().unwrap(), "inner".parse().unwrap());
        let address = "10.1.0.2:161".parse().unwrap();
        DeviceView::new(HostKey::from_bytes([7; 32]), name, zone, address, NOW, NOW)
    }

    fn interface(wanted: Link, link: Link) -> Interface {
        Interface {
            index: 7,
            name: "Gi0/7".to_owned(),
            alias: String::new(),
            kind: Some(6),
            mac: None,
            wanted,
            link,
            speed: None,
            counters: Counters::default(),
        }
    }

    fn ledger(cause: &str, subject: &str, about: About) -> Ledger {
        let mut ledger = Ledger::default();
        let meaning = Meaning {
            trap: "x",
            cause,
            subject: subject.to_owned(),
            about,
            act: Act::Raise { severity: Severity::Critical, lasts: None },
            text: Text::new("x", "x"),
        };
        ledger.note(&meaning, Proof::None, NOW);
        ledger
    }

    fn status(ledger: &Ledger, about: About) -> Option<Status> {
        ledger.verdicts(about, NOW + MINUTE).first().map(|verdict| verdict.status)
    }

    #[test]
    fn a_poll_after_the_trap_confirms_or_ends_it_and_one_before_it_does_neither() {
        for (wanted, link, read_at, after) in [
            (Link::Up, Link::Down, NOW + MINUTE, Some(Status::Critical)),
            (Link::Up, Link::Up, NOW + MINUTE, None),
            (Link::Down, Link::Down, NOW + MINUTE, None),
            (Link::Up, Link::Up, NOW, Some(Status::Warning)),
        ] {
            let mut ledger = ledger("link_down", "7", About::Link);
            let mut device = device();
            device.interfaces.take(Ok(vec![interface(wanted, link)]), read_at, MINUTE);
            confirm(&mut ledger, &device);
            assert_eq!(status(&ledger, About::Link), after, "{wanted:?} {link:?}");
        }
        let mut unknown = ledger("link_down", "8", About::Link);
        confirm(&mut unknown, &device());
        assert_eq!(status(&unknown, About::Link), Some(Status::Warning));
    }

    #[test]
    fn a_trap_of_an_interface_that_a_whole_table_does_not_have_is_over() {
        for (subject, table, after) in [
            ("9999", vec![interface(Link::Up, Link::Up)], None),
            ("7.1", vec![interface(Link::Up, Link::Up)], None),
            // Which one, nobody said.
            ("", vec![interface(Link::Up, Link::Up)], Some(Status::Warning)),
            // A device that tells of no interface, or of more than are held.
            ("9999", vec![], Some(Status::Warning)),
            ("9999", vec![interface(Link::Up, Link::Up); MAX_INTERFACES], Some(Status::Warning)),
        ] {
            let mut ledger = ledger("link_down", subject, About::Link);
            let mut device = device();
            device.interfaces.take(Ok(table), NOW + MINUTE, MINUTE);
            confirm(&mut ledger, &device);
            assert_eq!(status(&ledger, About::Link), after, "{subject:?}");
        }
        // A table from before the trap says nothing.
        let mut ledger = ledger("link_down", "9999", About::Link);
        let mut device = device();
        device.interfaces.take(Ok(vec![interface(Link::Up, Link::Up)]), NOW, MINUTE);
        confirm(&mut ledger, &device);
        assert_eq!(status(&ledger, About::Link), Some(Status::Warning));
    }

    #[test]
    fn a_ups_that_is_polled_says_itself_whether_it_runs_on_its_battery() {
        for (source, after) in
            [(Some(Source::Battery), Some(Status::Critical)), (Some(Source::Normal), None)]
        {
            let mut ledger = ledger("ups_on_battery", "", About::Power);
            let mut device = device();
            let power = Power { source, ..Power::default() };
            device.power.take(Ok(Some(power)), NOW + MINUTE, MINUTE);
            confirm(&mut ledger, &device);
            assert_eq!(status(&ledger, About::Power), after, "{source:?}");
        }
    }
}
