//! The breaches that can be caused on the demo's site, and undone. One breach is one file; this file
//! says what a breach is and lists them all.

mod bridge;
mod drift;
mod dual_home;
mod firewall_off;
mod forgotten_accept;
mod forwarding;
mod hidden_sender;
mod new_tunnel;
mod open_firewall;
mod open_ipv6;
mod open_port;
mod rogue_route;
mod router;
mod second_card;
mod silent_host;
mod stray_laptop;
mod translation;

use bailey_rules::text::Text;
use serde_json::Value;

use super::folder::Folder;
use super::site::Site;

/// Every breach, in the order in which a person may try them.
pub(super) const BREACHES: &[Breach] = &[
    dual_home::BREACH,
    rogue_route::BREACH,
    new_tunnel::BREACH,
    forwarding::BREACH,
    stray_laptop::BREACH,
    open_port::BREACH,
    drift::BREACH,
    hidden_sender::BREACH,
    open_firewall::BREACH,
    firewall_off::BREACH,
    silent_host::BREACH,
    forgotten_accept::BREACH,
    translation::BREACH,
    open_ipv6::BREACH,
    second_card::BREACH,
    router::BREACH,
    bridge::BREACH,
];

/// Something that somebody does to the site and should not.
pub(super) struct Breach {
    /// Its name on the command line.
    pub(super) name: &'static str,
    /// What is done, in one sentence.
    pub(super) what: fn() -> Text,
    /// What must be found.
    pub(super) raises: Raises,
    /// Does it, as somebody would by hand.
    pub(super) cause: fn(&Scene<'_>) -> anyhow::Result<()>,
    /// Undoes it.
    pub(super) undo: fn(&Scene<'_>) -> anyhow::Result<()>,
}

/// A finding that a breach leads to.
pub(super) struct Raises {
    /// The check that sees it.
    pub(super) check: &'static str,
    /// The host it is found on.
    pub(super) host: &'static str,
    /// What the finding's subject begins with.
    pub(super) subject: &'static str,
    /// Its alert, as Alertmanager is told.
    pub(super) alert: &'static str,
}

impl Raises {
    /// Whether another breach leads to the same finding.
    pub(super) fn is_shared_with(&self, other: &Self) -> bool {
        (self.check, self.host, self.subject) == (other.check, other.host, other.subject)
    }

    /// Whether an open finding of the collector's list is this one.
    pub(super) fn is(&self, finding: &Value) -> bool {
        let begins = |text: &Value| text.as_str().is_some_and(|s| s.starts_with(self.subject));
        finding["check"] == self.check
            && finding["host_name"] == self.host
            && begins(&finding["subject"])
    }
}

/// Where a breach takes place.
pub(super) struct Scene<'a> {
    pub(super) site: &'a Site,
    pub(super) folder: &'a Folder,
    /// The breach's own file: it is there as long as the breach is, and holds what its undoing needs.
    pub(super) notes: std::path::PathBuf,
}

impl<'a> Scene<'a> {
    /// The scene of a breach.
    pub(super) fn of(breach: &Breach, site: &'a Site, folder: &'a Folder) -> Self {
        Self { site, folder, notes: folder.breach(breach.name) }
    }

    /// Keeps the enforced table of a machine, so that it can be put back.
    ///
    /// # Errors
    /// When there is none, or it cannot be kept.
    fn keep_table(&self, machine: &str) -> anyhow::Result<()> {
        let table = self.site.netns(machine).sh("nft -s list table inet bailey")?;
        Ok(std::fs::write(&self.notes, table)?)
    }

    /// Puts the table that was kept in place of what is there now.
    ///
    /// # Errors
    /// When the kernel refuses.
    fn put_back_table(&self, machine: &str) -> anyhow::Result<()> {
        let kept = std::fs::read_to_string(&self.notes)?;
        // Deleting wants something there.
        let script = format!("add table inet bailey\ndelete table inet bailey\n{kept}");
        self.site.netns(machine).nft(&script)
    }

    /// Has a machine pass on IPv4 packets that are not for it, or not any more.
    ///
    /// # Errors
    /// When the kernel refuses.
    fn set_forwarding(&self, machine: &str, forwards: bool) -> anyhow::Result<()> {
        let value = if forwards { "1" } else { "0" };
        let write = || Ok(std::fs::write("/proc/sys/net/ipv4/ip_forward", value)?);
        self.site.netns(machine).inside(write)
    }

    /// Puts a rule before all others of a machine's enforced chain for what it forwards. Nothing else in
    /// the table may have the comment.
    ///
    /// # Errors
    /// When the kernel refuses.
    fn insert_rule(&self, machine: &str, rule: &str, comment: &str) -> anyhow::Result<()> {
        let line = format!("insert rule inet bailey forward {rule} comment \"{comment}\"\n");
        self.site.netns(machine).nft(&line)
    }

    /// Takes that rule out again, if nobody else has.
    ///
    /// # Errors
    /// When the kernel refuses.
    fn delete_rule(&self, machine: &str, comment: &str) -> anyhow::Result<()> {
        let machine = self.site.netns(machine);
        let listed = machine.sh("nft -a list chain inet bailey forward")?;
        let comment = format!("comment \"{comment}\"");
        for line in listed.lines().filter(|line| line.contains(&comment)) {
            if let Some((_, handle)) = line.rsplit_once("# handle ") {
                machine.nft(&format!("delete rule inet bailey forward handle {handle}\n"))?;
            }
        }
        Ok(())
    }

    /// Whether the breach is open.
    pub(super) fn is_open(&self) -> bool {
        self.notes.exists()
    }

    /// Does it. A breach that fails half way is open all the same, so that it can be undone.
    ///
    /// # Errors
    /// When it cannot be done.
    pub(super) fn cause(&self, breach: &Breach) -> anyhow::Result<()> {
        std::fs::write(&self.notes, "")?;
        (breach.cause)(self)
    }

    /// Undoes it.
    ///
    /// # Errors
    /// When it cannot be undone; it is then still open.
    pub(super) fn undo(&self, breach: &Breach) -> anyhow::Result<()> {
        (breach.undo)(self)?;
        Ok(std::fs::remove_file(&self.notes)?)
    }
}

/// The breach of a name.
pub(super) fn called(name: &str) -> Option<&'static Breach> {
    BREACHES.iter().find(|breach| breach.name == name)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use bailey_rules::check::CHECKS;

    use super::*;

    #[test]
    fn every_breach_is_seen_by_a_check_on_a_host_of_the_site() {
        let site = Site::of(&"demo".parse().unwrap());
        let mut names = BTreeSet::new();
        for breach in BREACHES {
            assert!(names.insert(breach.name), "{} is there twice", breach.name);
            let check = CHECKS.iter().find(|check| check.name == breach.raises.check).unwrap();
            let alerts = [check.alert.critical, check.alert.warning];
            assert!(alerts.contains(&breach.raises.alert), "{}", breach.name);
            let host = breach.raises.host.parse().unwrap();
            assert!(site.policy.hosts.contains_key(&host), "{}", breach.name);
        }
    }
}
