//! The enforcer as its own process against the real kernel and nft, each test in a network namespace
//! of its own. Needs root.

use std::io::Write as _;
use std::process::Command;
use std::time::{Duration, Instant};

use bailey_agent::clock::{Clock as _, SystemClock};
use bailey_agent::enforce;
use bailey_agent::enforce::drift::DriftEnded;
use bailey_agent::enforce::socket::{Answer, Refusal, Request, Status, apply, ask};
use bailey_agent::enforce::state::{Ended, OrderRef};
use bailey_agent::enroll::pin::{PinnedAt, pin_at_enrolment};
use bailey_agent::folder::{Enrolled, StateFolder};
use bailey_rules::name::HostKey;
use bailey_wire::order::{Order, SigningKey, What, sign};
use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::Signal;
use rand::{Rng as _, SeedableRng as _};

use crate::enforcer::{AGENT, HOST, LONG, Lab, PATIENCE, order, ordered, ruleset};
use crate::namespace::{in_namespace, nft, run};

/// A ruleset that can be told from others by its number.
fn text(number: u64) -> String {
    format!(
        "table inet bailey {{
    comment \"ruleset {number}\"
    set inner {{
        type ipv4_addr
        flags interval
        elements = {{ 10.1.0.0/16, 10.2.0.0/16 }}
    }}
    set seen {{
        type ipv4_addr
        flags dynamic,timeout
        timeout 5m
    }}
    counter flow_1 {{
        packets 5 bytes 500
    }}
    chain input {{
        type filter hook input priority filter; policy drop;
        iif lo accept
        ct state established,related accept
        ip saddr @inner tcp dport {{ 22, 443 }} counter name flow_1 accept comment \"policy.yaml:14\"
        add @seen {{ ip saddr }} counter packets 7 bytes 700 drop
    }}
}}
"
    )
}

impl Lab {
    /// With `text(1)` confirmed.
    async fn enforcing(restore: bool) -> Self {
        let lab = Self::started().await;
        let order = lab.sign(1, ordered(text(1), LONG, restore));
        lab.applied(&order).await;
        lab.confirmed(&order).await;
        lab
    }
}

fn holds(number: u64) -> bool {
    ruleset().contains(&format!("comment \"ruleset {number}\""))
}

#[test]
fn a_ruleset_stays_when_it_is_confirmed_and_gives_way_when_not() {
    in_namespace(|| async {
        nft("table inet other { chain input { type filter hook input priority 5; }\n}");
        let other = ruleset();
        let mut lab = Lab::started().await;

        // The first one ever: nothing of ours is left.
        let first = lab.sign(1, ordered(text(1), Duration::from_secs(1), false));
        let status = lab.applied(&first).await;
        assert_eq!(status.pending.unwrap().order.version, 1);
        assert!(status.reverts_in_millis.is_some_and(|left| left <= 1_000), "{status:?}");
        assert!(holds(1));
        let status = lab.until("the first is reverted", |now| now.pending.is_none()).await;
        assert_eq!(status.last.unwrap().what, Ended::NotConfirmed);
        assert_eq!(ruleset(), other);

        let second = lab.sign(2, ordered(text(2), LONG, false));
        lab.applied(&second).await;
        let status = lab.confirmed(&second).await;
        assert_eq!((status.highest, status.confirmed.unwrap().version), (2, 2));

        let third = lab.sign(3, ordered(text(3), Duration::from_secs(1), false));
        lab.applied(&third).await;
        assert!(holds(3));
        lab.until("the third is reverted", |now| now.pending.is_none()).await;
        assert!(holds(2) && ruleset().contains("table inet other"));

        // Stopping changes nothing, counters included; nor does starting again.
        let before = ruleset();
        lab.end(Signal::SIGTERM);
        assert_eq!(ruleset(), before);
        lab.start().await;
        assert_eq!(ruleset(), before);
        assert_eq!(lab.status().await.drift, None);
    });
}

#[test]
fn whatever_is_refused_leaves_the_rules_as_they_were() {
    in_namespace(|| async {
        let unpinned = {
            let mut lab = Lab::new();
            lab.start().await;
            let order = lab.sign(1, ordered(text(1), LONG, false));
            lab.refused(&order.to_bytes()).await
        };
        assert_eq!(unpinned.0, Refusal::NotPinned);
        assert_eq!(ruleset(), "");

        let lab = Lab::enforcing(false).await;
        let before = ruleset();
        let stranger = SigningKey::generate().unwrap();
        let new = || ordered(text(2), LONG, false);
        let mut forged = lab.sign(2, new());
        forged.signature[5] ^= 1;
        let elsewhere = Order { host: HostKey::from_bytes([8; 32]), ..order(2, new()) };
        let late = Order { expires_at: SystemClock.now(), ..order(2, new()) };
        let wrong = |text: &str| lab.sign(2, ordered(text.to_owned(), LONG, false)).to_bytes();
        let cases = [
            (Refusal::BadOrder, forged.to_bytes()),
            (Refusal::BadOrder, b"no order".to_vec()),
            (Refusal::BadOrder, Vec::new()),
            (Refusal::WrongKey, sign(&order(2, new()), &stranger).unwrap().to_bytes()),
            (Refusal::WrongHost, sign(&elsewhere, &lab.key).unwrap().to_bytes()),
            (Refusal::Older, lab.sign(1, new()).to_bytes()),
            (Refusal::Expired, sign(&late, &lab.key).unwrap().to_bytes()),
            (Refusal::BadText, wrong("flush ruleset\n")),
            (Refusal::BadText, wrong(&format!("{}flush ruleset\n", text(2)))),
            (Refusal::KernelRefused, wrong(&text(2).replace("iif lo accept", "iif lo dance"))),
            (Refusal::KernelRefused, wrong(&text(2).replace("@inner", "@nowhere"))),
            (Refusal::NotPending, Vec::new()),
            (Refusal::AlreadyPinned, Vec::new()),
        ];
        for (wanted, octets) in cases {
            let (refusal, why) = match wanted {
                Refusal::NotPending => {
                    let digest = lab.sign(1, new()).digest();
                    let confirm = Request::Confirm(OrderRef { version: 2, digest });
                    refusal(ask(&lab.socket(), &confirm, &[]).await.unwrap())
                }
                Refusal::AlreadyPinned => {
                    let pin = Request::Pin { key: stranger.verifying_key().to_pem(), host: HOST };
                    refusal(ask(&lab.socket(), &pin, &[]).await.unwrap())
                }
                _ => lab.refused(&octets).await,
            };
            assert_eq!(refusal, wanted, "{why}");
            assert_eq!(ruleset(), before, "{wanted:?}");
            if wanted == Refusal::KernelRefused {
                assert!(why.contains("line "), "in the words of nft: {why}");
            }
        }
        // And none of them used up the number.
        lab.applied(&lab.sign(2, new())).await;
        assert!(holds(2));
    });
}

fn refusal(answer: Answer) -> (Refusal, String) {
    match answer {
        Answer::Done(status) => panic!("it was done: {status:?}"),
        Answer::Refused { error, why } => (error, why),
    }
}

#[test]
fn a_full_disk_refuses_orders_and_hinders_no_revert() {
    in_namespace(|| async {
        let mut lab = Lab::new();
        let state = lab.settings().folder;
        std::fs::create_dir(&state).unwrap();
        run(&format!("mount -t tmpfs -o size=64k none {}", state.display()));
        lab.start().await;
        lab.pin().await;
        let first = lab.sign(1, ordered(text(1), LONG, false));
        lab.applied(&first).await;
        lab.confirmed(&first).await;
        let second = lab.sign(2, ordered(text(2), Duration::from_secs(2), false));
        lab.applied(&second).await;

        let filler = state.join("filler");
        let mut file = std::fs::File::create(&filler).unwrap();
        while file.write_all(&[1; 512]).is_ok() {}
        let before = ruleset();
        let third = lab.sign(3, ordered(text(3), LONG, false)).to_bytes();
        let (refusal, why) = lab.refused(&third).await;
        assert_eq!(refusal, Refusal::FullDisk, "{why}");
        assert_eq!(ruleset(), before);

        let status = lab.until("reverted", |now| now.pending.is_none()).await;
        assert!(holds(1) && status.problem.is_some(), "{status:?}");
        drop(file);
        std::fs::remove_file(&filler).unwrap();
        lab.until("written", |now| now.problem.is_none()).await;
        lab.end(Signal::SIGKILL);
        lab.start().await;
        assert_eq!(lab.status().await.last.unwrap().what, Ended::NotConfirmed);
        lab.end(Signal::SIGTERM);
        run(&format!("umount {}", state.display()));
    });
}

#[test]
fn a_kill_at_any_moment_leaves_the_old_or_the_new_rules_and_the_revert_still_happens() {
    const ROUNDS: u64 = 20;
    in_namespace(|| async {
        let mut rng = rand::rngs::StdRng::seed_from_u64(3);
        let mut lab = Lab::enforcing(false).await;
        let mut confirmed = 1;
        for round in 0..ROUNDS {
            let version = lab.status().await.highest + 1;
            let within = if round % 2 == 0 { Duration::from_secs(1) } else { LONG };
            let order = lab.sign(version, ordered(text(version), within, false));
            let (socket, octets) = (lab.socket(), order.to_bytes());
            let asking = tokio::spawn(async move { apply(&socket, &octets).await });
            tokio::time::sleep(Duration::from_micros(rng.random_range(0..60_000))).await;
            lab.end(Signal::SIGKILL);
            let _ = asking.await;
            assert!(holds(confirmed) || holds(version), "round {round}:\n{}", ruleset());

            lab.start().await;
            let status = lab.status().await;
            match status.pending {
                Some(pending) if within == LONG => {
                    assert_eq!(pending.order.version, version);
                    assert!(holds(version), "round {round}");
                    lab.confirmed(&order).await;
                    confirmed = version;
                }
                Some(_) => {
                    lab.until("reverted", |now| now.pending.is_none()).await;
                }
                None => {}
            }
            assert!(holds(confirmed), "round {round}:\n{}", ruleset());
        }
        assert!(confirmed > 1, "no kill came late enough; the seed is a bad one");
    });
}

#[test]
fn a_changed_table_is_reported_with_who_and_what_and_put_back() {
    in_namespace(|| async {
        let lab = Lab::enforcing(true).await;
        let whole = run("nft -s list table inet bailey");
        let begin = Instant::now();
        run("nft add rule inet bailey input tcp dport 23 accept");
        let status = lab.until("put back", |now| now.restored == 1).await;
        assert!(begin.elapsed() < Duration::from_secs(5));
        let drift = status.drift.unwrap();
        assert_eq!(drift.added, ["chain input: tcp dport 23 accept"]);
        assert_eq!((drift.removed.len(), drift.ended.unwrap().how), (0, DriftEnded::Restored));
        assert!(drift.by.as_ref().is_some_and(|by| by.starts_with("nft (pid ")), "{drift:?}");
        assert_eq!(run("nft -s list table inet bailey"), whole);

        run("nft flush ruleset");
        let status = lab.until("put back again", |now| now.restored == 2).await;
        assert!(status.drift.unwrap().removed.len() > 5);
        assert_eq!(run("nft -s list table inet bailey"), whole);

        // Asleep, a table is there and does nothing; the JSON of nft 1.0.6 does not even show it.
        nft("add table inet bailey { flags dormant; }");
        let status = lab.until("woken", |now| now.restored == 3).await;
        assert_eq!(status.drift.unwrap().added, ["table: flags dormant"]);
        assert_eq!(run("nft -s list table inet bailey"), whole);

        // What packets put into a set, and other tables, are nobody's change of ours.
        run("nft add element inet bailey seen { 10.9.9.9 }");
        nft("table inet other { chain input { type filter hook input priority -5; }\n}");
        tokio::time::sleep(Duration::from_millis(1_500)).await;
        assert_eq!(lab.status().await.restored, 3);
    });
}

#[test]
fn the_reload_of_another_manager_is_undone_and_what_iptables_adds_is_named() {
    in_namespace(|| async {
        let lab = Lab::enforcing(true).await;
        let whole = run("nft -s list table inet bailey");
        // As the nftables service of a distribution loads its file: it empties everything first.
        nft("flush ruleset
table inet filter { chain input { type filter hook input priority 0; policy accept; }
}");
        let status = lab.until("put back", |now| now.restored == 1).await;
        let drift = status.drift.unwrap();
        assert!(drift.removed.len() > 5, "{drift:?}");
        assert!(drift.by.as_ref().is_some_and(|by| by.starts_with("nft (pid ")), "{drift:?}");
        assert_eq!(run("nft -s list table inet bailey"), whole);
        assert!(run("nft list tables").contains("table inet filter"), "what is theirs stays");

        run("iptables-nft -I INPUT -j ACCEPT");
        let named =
            |now: &Status| now.other.as_ref().is_some_and(|other| other.tables == ["ip filter"]);
        let other = lab.until("told", named).await.other.unwrap();
        assert!(other.by.as_ref().is_some_and(|by| by.starts_with("iptables")), "{other:?}");
        assert_eq!(run("nft -s list table inet bailey"), whole);
        assert_eq!(lab.status().await.restored, 1);
    });
}

#[test]
fn where_the_policy_only_audits_the_change_stays_and_is_told() {
    in_namespace(|| async {
        let mut lab = Lab::enforcing(false).await;
        run("nft insert rule inet bailey input tcp dport 23 accept");
        let lasting = |now: &Status| now.drift.as_ref().is_some_and(|drift| drift.ended.is_none());
        lab.until("told", lasting).await;
        tokio::time::sleep(Duration::from_millis(1_500)).await;
        assert!(ruleset().contains("tcp dport 23 accept"));
        assert_eq!(lab.status().await.restored, 0);

        // A change that was made while nobody looked is told too.
        lab.end(Signal::SIGTERM);
        lab.start().await;
        lab.until("told after a start", lasting).await;

        let second = lab.sign(2, ordered(text(2), LONG, false));
        let status = lab.applied(&second).await;
        assert_eq!(status.drift.unwrap().ended.unwrap().how, DriftEnded::Replaced);
        assert!(!ruleset().contains("tcp dport 23 accept"));
    });
}

#[test]
fn a_boot_loads_the_confirmed_ruleset_and_reverts_what_was_pending() {
    in_namespace(|| async {
        let mut lab = Lab::enforcing(false).await;
        let second = lab.sign(2, ordered(text(2), LONG, false));
        lab.applied(&second).await;
        lab.end(Signal::SIGKILL);
        // As after a boot: an empty kernel, and another id of it.
        run("nft flush ruleset");
        let proc = lab.folder.path().join("proc/sys/kernel/random");
        std::fs::create_dir_all(&proc).unwrap();
        std::fs::write(proc.join("boot_id"), "00000000-0000-4000-8000-000000000002\n").unwrap();
        let mut settings = lab.settings();
        settings.roots.proc = lab.folder.path().join("proc");
        enforce::boot(&settings).await.unwrap();
        assert!(holds(1), "{}", ruleset());

        // The command of the unit, and a disk that lost the confirmed ruleset: the one before it.
        lab.start().await;
        assert_eq!(lab.status().await.last.unwrap().what, Ended::Rebooted);
        let third = lab.sign(3, ordered(text(3), LONG, false));
        lab.applied(&third).await;
        lab.confirmed(&third).await;
        lab.end(Signal::SIGTERM);
        for (damaged, wanted) in [(false, 3), (true, 1)] {
            run("nft flush ruleset");
            let folder = lab.settings().folder;
            let _ = std::fs::remove_file(folder.join("loaded"));
            if damaged {
                std::fs::write(folder.join("order-3"), b"").unwrap();
            }
            let mut boot = Command::new(AGENT);
            let boot = boot.args(["enforce", "--boot", "--state"]).arg(folder);
            assert!(boot.env("BAILEY_LOG", "off").status().unwrap().success());
            assert!(holds(wanted), "{}", ruleset());
        }
    });
}

#[test]
fn a_host_that_lost_its_orders_comes_up_closed_and_one_that_had_none_open() {
    in_namespace(|| async {
        let mut lab = Lab::new();
        enforce::boot(&lab.settings()).await.unwrap();
        assert_eq!(ruleset(), "");
        lab.start().await;
        lab.pin().await;
        let first = lab.sign(1, ordered(text(1), LONG, false));
        lab.applied(&first).await;
        lab.confirmed(&first).await;
        lab.end(Signal::SIGKILL);
        for lost in ["order-1", "state.json"] {
            run("nft flush ruleset");
            let folder = lab.settings().folder;
            let _ = std::fs::remove_file(folder.join("loaded"));
            std::fs::write(folder.join(lost), b"").unwrap();
            assert!(enforce::boot(&lab.settings()).await.is_err(), "{lost}");
            assert!(ruleset().contains("the confirmed ruleset was lost"), "{lost}");
        }
    });
}

#[test]
fn the_agent_speaks_by_owning_its_folder_and_may_not_pin() {
    in_namespace(|| async {
        use std::io::Read as _;
        const AGENT_USER: u32 = 65_534;
        let lab = Lab::new();
        let owned = lab.folder.path().join("agent");
        std::fs::create_dir(&owned).unwrap();
        std::os::unix::fs::chown(&owned, Some(AGENT_USER), None).unwrap();
        let settings = enforce::Settings { agent: Some(owned), ..lab.settings() };
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let enforcer = tokio::spawn(async move {
            let stopped = async { drop(stopped.await) };
            enforce::run(&settings, stopped).await.unwrap();
        });
        lab.until_it_answers().await;
        let copy = lab.folder.path().join("bailey-agent");
        std::fs::copy(AGENT, &copy).unwrap();
        let key = lab.folder.path().join("security.pem");
        std::fs::write(&key, lab.key.verifying_key().to_pem()).unwrap();
        let as_agent = |words: Vec<String>| {
            let mut command = tokio::process::Command::new("setpriv");
            let user = [format!("--reuid={AGENT_USER}"), "--clear-groups".into()];
            command.args(user).arg(&copy).args(words).arg("--socket").arg(lab.socket()).output()
        };
        let answer = as_agent(vec!["enforced".into()]).await.unwrap();
        assert_eq!(answer.status.code(), Some(0), "{answer:?}");
        let pin = vec!["pin".into(), key.display().to_string(), "--host".into(), HOST.to_string()];
        let answer = as_agent(pin).await.unwrap();
        assert_eq!(answer.status.code(), Some(3), "{answer:?}");

        // Whatever else is said gets an answer or an end, and hinders nobody.
        let hostile: [&[u8]; 5] = [
            b"\n",
            b"flush ruleset\n",
            b"{\"apply\":{\"octets\":99999999999}}\n",
            b"{\"apply\":{\"octets\":-1}}\n",
            &[b'x'; 10_000],
        ];
        let socket = lab.socket();
        tokio::task::spawn_blocking(move || {
            for said in hostile {
                let mut stream = std::os::unix::net::UnixStream::connect(&socket).unwrap();
                let _ = stream.write_all(said);
                let mut answer = String::new();
                let _ = stream.read_to_string(&mut answer);
                assert!(answer.is_empty() || answer.contains("bad_request"), "{answer}");
            }
        })
        .await
        .unwrap();
        let silent = std::os::unix::net::UnixStream::connect(lab.socket()).unwrap();
        assert_eq!(lab.status().await.key, None);
        drop(silent);
        stop.send(()).unwrap();
        enforcer.await.unwrap();
        assert!(!lab.socket().exists());
    });
}

#[test]
fn another_pinned_key_is_followed_from_then_on_and_takes_nothing_away() {
    in_namespace(|| async {
        let mut lab = Lab::enforcing(true).await;
        lab.end(Signal::SIGTERM);
        std::fs::remove_file(lab.settings().folder.join("pinned.json")).unwrap();
        run("nft flush ruleset");
        let old = std::mem::replace(&mut lab.key, SigningKey::generate().unwrap());
        lab.start().await;
        lab.until("put back", |now| now.restored == 1).await;
        assert!(holds(1));
        lab.pin().await;
        let (refusal, why) =
            lab.refused(&sign(&order(2, What::Release), &old).unwrap().to_bytes()).await;
        assert_eq!(refusal, Refusal::WrongKey, "{why}");
        lab.applied(&lab.sign(2, ordered(text(2), LONG, false))).await;
        assert!(holds(2));
    });
}

/// Datagrams to a port that no ruleset lets through, from a neighbour, while rulesets are swapped.
#[test]
fn no_packet_slips_through_while_one_ruleset_replaces_another() {
    const SWAPS: u64 = 40;
    in_namespace(|| async {
        let lab = Lab::enforcing(false).await;
        run("ip link set lo up");
        run("ip link add out type veth peer name in");
        let victim = std::net::UdpSocket::bind("0.0.0.0:4000").unwrap();
        victim.set_nonblocking(true).unwrap();
        let (tell, told) = std::sync::mpsc::sync_channel(1);
        let (stop, stopped) = std::sync::mpsc::sync_channel::<()>(1);
        let neighbour = std::thread::spawn(move || {
            unshare(CloneFlags::CLONE_NEWNET).unwrap();
            tell.send(nix::unistd::gettid()).unwrap();
            let socket = std::net::UdpSocket::bind("0.0.0.0:0").unwrap();
            let mut sent = 0_u64;
            while stopped.try_recv().is_err() {
                // Until the link is up there is no way.
                sent += u64::from(socket.send_to(b"x", "10.9.0.1:4000").is_ok());
            }
            sent
        });
        let there = told.recv().unwrap();
        run(&format!("ip link set out netns {there}"));
        run("ip address add 10.9.0.1/24 dev in");
        run("ip link set in up");
        let inside = |line: &str| run(&format!("nsenter --net=/proc/{there}/ns/net {line}"));
        inside("ip address add 10.9.0.2/24 dev out");
        inside("ip link set out up");
        let mut octet = [0];
        for version in 2..SWAPS + 2 {
            let order = lab.sign(version, ordered(text(version), LONG, false));
            lab.applied(&order).await;
            lab.confirmed(&order).await;
        }
        let leaked = victim.recv_from(&mut octet);
        // The flood did arrive: without the table it comes through.
        run("nft delete table inet bailey");
        let begin = Instant::now();
        while victim.recv_from(&mut octet).is_err() {
            assert!(begin.elapsed() < PATIENCE, "there was no flood");
        }
        stop.send(()).unwrap();
        let sent = neighbour.join().unwrap();
        assert!(leaked.is_err(), "of {sent} packets at least one came through: {leaked:?}");
        assert!(sent > 1_000, "{sent} are no flood");
    });
}

#[test]
fn a_quarantine_holds_at_once_and_ends_by_itself_or_by_order() {
    in_namespace(|| async {
        let lab = Lab::enforcing(false).await;
        let quarantine = |seconds| What::Quarantine {
            text: text(99),
            until: SystemClock.now() + Duration::from_secs(seconds),
            reason: "scans inner".into(),
        };
        let status = lab.applied(&lab.sign(2, quarantine(2))).await;
        assert_eq!(status.quarantine.unwrap().reason, "scans inner");
        assert!(holds(99));
        // It is kept, whatever the policy says of drift.
        run("nft delete table inet bailey");
        lab.until("kept", |now| now.restored == 1).await;
        let status = lab.until("over", |now| now.quarantine.is_none()).await;
        assert_eq!(status.last.unwrap().what, Ended::QuarantineOver);
        assert!(holds(1));

        lab.applied(&lab.sign(3, quarantine(600))).await;
        let (refusal, _) =
            lab.refused(&lab.sign(4, ordered(text(4), LONG, false)).to_bytes()).await;
        assert_eq!(refusal, Refusal::InQuarantine);
        assert!(holds(99));
        lab.applied(&lab.sign(5, What::Release)).await;
        assert!(holds(1));
        let (refusal, why) = lab.refused(&lab.sign(6, quarantine(60 * 86_400)).to_bytes()).await;
        assert_eq!(refusal, Refusal::QuarantineLength, "{why}");
    });
}

/// A state folder as enrolment leaves it. What the certificates say does not matter here.
fn enrolled(lab: &Lab) -> StateFolder {
    let state = StateFolder::open(&lab.folder.path().join("agent")).unwrap();
    let certificate = rcgen::CertificateParams::default()
        .self_signed(&rcgen::KeyPair::generate().unwrap())
        .unwrap();
    let said = Enrolled {
        site: "jiaxing".into(),
        host: "oa-17".parse().unwrap(),
        zone: "inner".parse().unwrap(),
        collector: "10.1.0.1:7710".into(),
    };
    state.keep_enrolment(certificate.der(), certificate.der(), &said).unwrap();
    state
}

#[test]
fn the_key_of_a_token_is_pinned_once_and_kept_for_later_where_nobody_answers() {
    in_namespace(|| async {
        let mut lab = Lab::new();
        let state = enrolled(&lab);
        let key = lab.key.verifying_key();
        let PinnedAt::Folder { file, why } =
            pin_at_enrolment(&key, &state, &lab.socket()).await.unwrap()
        else {
            panic!("nobody was there");
        };
        assert!(why.contains("no enforcer answers"), "{why}");
        assert_eq!(std::fs::read_to_string(file).unwrap(), key.to_pem());

        lab.start().await;
        // Twice: whoever repeats an enrolment with the same token has done nothing wrong.
        for _ in 0..2 {
            let pinned = pin_at_enrolment(&key, &state, &lab.socket()).await.unwrap();
            assert_eq!(pinned, PinnedAt::Enforcer);
        }
        let Answer::Done(status) = ask(&lab.socket(), &Request::Status, &[]).await.unwrap() else {
            panic!("the status is no secret");
        };
        assert_eq!(status.key, Some(key.id().to_string()));
        assert_eq!(status.host, Some(state.key().unwrap().host_key()));

        let stranger = SigningKey::generate().unwrap().verifying_key();
        let PinnedAt::Nowhere { why } =
            pin_at_enrolment(&stranger, &state, &lab.socket()).await.unwrap()
        else {
            panic!("a token took the enforcer over");
        };
        assert!(why.contains(&key.id().to_string()), "{why}");
    });
}

#[test]
fn an_enforcer_with_nothing_to_do_does_nothing_also_after_a_change() {
    in_namespace(|| async {
        let lab = Lab::enforcing(false).await;
        nft("add table inet other");
        nft("delete table inet other");
        // Processor time, which no other load on the machine adds to. One that spins takes at least
        // some tenths of a second.
        let pid = lab.child.as_ref().unwrap().id();
        let spent = || {
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
            let (_, fields) = stat.rsplit_once(") ").unwrap();
            let ticks =
                |nth: usize| -> u64 { fields.split(' ').nth(nth).unwrap().parse().unwrap() };
            ticks(11) + ticks(12)
        };
        let quiet = async {
            loop {
                let before = spent();
                tokio::time::sleep(Duration::from_secs(1)).await;
                if spent() - before <= 1 {
                    return;
                }
            }
        };
        tokio::time::timeout(PATIENCE, quiet).await.expect("it never rests");
    });
}

#[test]
fn other_users_are_turned_away_and_the_commands_work_from_removable_media() {
    in_namespace(|| async {
        let mut lab = Lab::new();
        lab.start().await;
        let file = |name: &str, octets: &[u8]| {
            let path = lab.folder.path().join(name);
            std::fs::write(&path, octets).unwrap();
            path.display().to_string()
        };
        let key = file("security.pem", lab.key.verifying_key().to_pem().as_bytes());
        let order = lab.sign(1, ordered(text(1), LONG, false));
        let medium = file("order.bailey", &order.to_file());
        let socket = lab.socket().display().to_string();
        let agent = |words: &[&str]| {
            let mut command = Command::new(AGENT);
            let command = command.args(["--lang", "en"]).args(words).args(["--socket", &socket]);
            let ran = command.output().unwrap();
            let said = format!(
                "{}{}",
                String::from_utf8_lossy(&ran.stdout),
                String::from_utf8_lossy(&ran.stderr)
            );
            (ran.status.code(), said)
        };
        let (code, said) = agent(&["apply", &medium]);
        assert_eq!(code, Some(3));
        assert!(said.contains("bailey-agent pin"), "{said}");
        assert_eq!(agent(&["pin", &key, "--host", &HOST.to_string()]).0, Some(0));
        let (code, said) = agent(&["apply", &medium]);
        let confirm = format!("bailey-agent confirm 1 {}", order.digest());
        assert!(code == Some(0) && said.contains(&confirm), "{said}");
        assert_eq!(agent(&["confirm", "1", &order.digest().to_string()]).0, Some(0));
        let (code, said) = agent(&["enforced"]);
        assert!(code == Some(0) && said.contains("was confirmed"), "{said}");
        let (code, said) = agent(&["apply", &key]);
        assert_eq!(code, Some(1), "{said}");
        assert!(said.contains("not a file with a signed order"), "{said}");

        // The program must be where that user may run it.
        let copy = lab.folder.path().join("bailey-agent");
        std::fs::copy(AGENT, &copy).unwrap();
        let stranger = Command::new("setpriv")
            .args(["--reuid=65534", "--regid=65534", "--clear-groups"])
            .arg(&copy)
            .args(["enforced", "--socket", &socket])
            .output()
            .unwrap();
        assert_eq!(stranger.status.code(), Some(1));
        let said = String::from_utf8_lossy(&stranger.stderr);
        assert!(said.contains("no enforcer answers"), "{said}");
    });
}
