//! Orders on their way to hosts: over the command line's socket in, over real TLS out.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::support::{self, Facts, Lab, Link, Machine, settings, until};
use bailey_collector::Collector;
use bailey_collector::clock::{Clock as _, SystemClock};
use bailey_rules::fact::Fact;
use bailey_rules::fact::enforcement::{Enforcement, OrderRef};
use bailey_rules::name::HostKey;
use bailey_wire::convert::{self, OrderGathering, OrderOutcome, OrderResult};
use bailey_wire::identity::host_key_of;
use bailey_wire::order::{Order, SigningKey, What, sign};
use bailey_wire::v1;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::UnixStream;

/// How soon a ruleset has to be confirmed in most of these tests: longer than any of them takes.
const CONFIRM_WITHIN: Duration = Duration::from_mins(10);

/// Asks over the command line's socket; gives the status and the answer.
async fn call(socket: &Path, method: &str, path: &str, body: Option<&Value>) -> (u16, Value) {
    try_call(socket, method, path, body).await.expect("an answer")
}

/// The same; `None` when the collector hung up while it was still being asked.
async fn try_call(
    socket: &Path,
    method: &str,
    path: &str,
    body: Option<&Value>,
) -> Option<(u16, Value)> {
    let stream = UnixStream::connect(socket).await.unwrap();
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let body = body.map(Value::to_string).unwrap_or_default();
    let request = http::Request::builder()
        .method(method)
        .uri(path)
        .header("host", "localhost")
        .header("content-type", "application/json")
        .body(Full::new(Bytes::from(body)))
        .unwrap();
    let answer = sender.send_request(request).await.ok()?;
    let status = answer.status().as_u16();
    let octets = answer.into_body().collect().await.unwrap().to_bytes();
    Some((status, serde_json::from_slice(&octets).unwrap_or(Value::Null)))
}

/// Whoever pushes: a signing key, and the socket.
struct Desk {
    key: SigningKey,
    socket: PathBuf,
}

impl Desk {
    fn at(lab: &Lab) -> Self {
        Self {
            key: SigningKey::generate().unwrap(),
            socket: lab.collector.addresses().socket.clone(),
        }
    }

    async fn ask(&self, path: &str) -> Value {
        let (status, answer) = call(&self.socket, "GET", path, None).await;
        assert_eq!(status, 200, "{path}: {answer}");
        answer
    }

    async fn tell(&self, path: &str, body: Value) -> (u16, Value) {
        call(&self.socket, "POST", path, Some(&body)).await
    }

    /// A refusal: its status and what it says.
    async fn refused(&self, path: &str, body: Value) -> (u16, String) {
        let (status, answer) = self.tell(path, body).await;
        assert!(status >= 400, "{path}: {answer}");
        (status, answer["detail"].as_str().unwrap_or_default().to_owned())
    }

    fn order(&self, machine: &Machine, version: u64, what: What) -> String {
        let now = SystemClock.now();
        let order = Order {
            host: key_of(machine),
            version,
            issued_at: now,
            expires_at: now + Duration::from_hours(24),
            what,
        };
        STANDARD.encode(sign(&order, &self.key).unwrap().to_bytes())
    }

    fn ruleset(&self, machine: &Machine, version: u64) -> String {
        self.order(machine, version, ruleset(CONFIRM_WITHIN))
    }

    async fn draft(&self, kind: &str, confirm: &str) -> i64 {
        let policy = json!({"name": "policy.yaml", "text": support::POLICY});
        let wish = json!({"kind": kind, "policy": policy, "confirm": confirm, "stages": "staged"});
        let (status, made) = self.tell("/api/v1/pushes", wish).await;
        assert_eq!(status, 201, "{made}");
        made["id"].as_i64().unwrap()
    }

    /// Makes a push of rulesets for these hosts and starts it.
    async fn push(&self, confirm: &str, version: u64, hosts: &[(&str, &Machine)]) -> i64 {
        let id = self.draft("ruleset", confirm).await;
        for (host, machine) in hosts {
            let order = self.ruleset(machine, version);
            let body = json!({"orders": [{"host": host, "order": order}]});
            let (status, added) = self.tell(&format!("/api/v1/pushes/{id}/orders"), body).await;
            assert_eq!(status, 200, "{added}");
        }
        self.start(id).await;
        id
    }

    async fn start(&self, id: i64) {
        let (status, started) = self.tell(&format!("/api/v1/pushes/{id}/start"), json!({})).await;
        assert_eq!((status, &started["state"]), (200, &json!("running")), "{started}");
    }

    async fn look(&self, id: i64) -> Value {
        self.ask(&format!("/api/v1/pushes/{id}")).await
    }

    /// Waits until a push is as wanted.
    async fn until(&self, id: i64, name: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let began = Instant::now();
        loop {
            let push = self.look(id).await;
            if wanted(&push) {
                return push;
            }
            assert!(began.elapsed() < support::LIMIT, "{name}: {push:#}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

fn ruleset(confirm_within: Duration) -> What {
    What::Ruleset { text: "table inet bailey {\n}\n".into(), confirm_within, restore: true }
}

fn key_of(machine: &Machine) -> HostKey {
    host_key_of(&machine.certificate).unwrap()
}

fn is(state: &'static str) -> impl Fn(&Value) -> bool {
    move |push| push["state"] == state
}

/// The state of one host of a push.
fn host<'a>(push: &'a Value, name: &str) -> &'a Value {
    let hosts = push["hosts"].as_array().unwrap();
    hosts.iter().find(|row| row["host"] == name).unwrap_or_else(|| panic!("no {name}: {push:#}"))
}

fn states(push: &Value) -> Vec<&str> {
    push["hosts"].as_array().unwrap().iter().map(|row| row["state"].as_str().unwrap()).collect()
}

/// The next order that comes, whole.
async fn next_order(link: &mut Link) -> (OrderRef, Bytes) {
    let mut gathering = OrderGathering::default();
    loop {
        if let v1::from_collector::Message::OrderPart(part) = link.next().await.unwrap()
            && let Some(whole) = gathering.take(&part).unwrap()
        {
            return whole;
        }
    }
}

async fn next_confirmation(link: &mut Link) -> OrderRef {
    loop {
        if let v1::from_collector::Message::ConfirmOrder(confirm) = link.next().await.unwrap() {
            return convert::named_order(confirm.order.as_ref()).unwrap();
        }
    }
}

async fn say(link: &Link, order: OrderRef, result: OrderResult) {
    let outcome = convert::outcome_to_wire(&OrderOutcome { order, result });
    link.send(v1::from_agent::Message::OrderOutcome(outcome)).await;
}

/// Takes an order, and comes back over the new rules.
async fn follow(machine: &Machine, mut link: Link) -> (OrderRef, Link) {
    let (order, _) = next_order(&mut link).await;
    say(&link, order, OrderResult::Applied).await;
    drop(link);
    (order, machine.connect_over(order).await)
}

/// Takes an order, comes back, and confirms when it is told to.
async fn obey(machine: &Machine, link: Link) -> Link {
    let (order, mut link) = follow(machine, link).await;
    assert_eq!(next_confirmation(&mut link).await, order);
    say(&link, order, OrderResult::Confirmed).await;
    link
}

/// As many enrolled machines, all of them connected.
async fn machines(lab: &Lab, count: usize) -> Vec<(String, Machine, Link)> {
    let mut all = Vec::new();
    for number in 0..count {
        let name = format!("oa-{number}");
        let machine = lab.enrolled(&name).await;
        let link = machine.connect().await;
        all.push((name, machine, link));
    }
    all
}

fn named(machines: &[(String, Machine, Link)]) -> Vec<(&str, &Machine)> {
    machines.iter().map(|(name, machine, _)| (name.as_str(), machine)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_push_goes_through_its_stages_and_every_host_is_given_its_own_order_only() {
    let lab = Lab::start().await;
    let desk = Desk::at(&lab);
    let mut hosts = machines(&lab, 3).await;
    let id = desk.push("auto", 1, &named(&hosts)).await;
    let push = desk.until(id, "the first", |push| states(push).contains(&"sent")).await;
    assert_eq!((push["stages"].as_u64(), push["stage"].as_u64()), (Some(2), Some(1)));
    assert_eq!(states(&push).iter().filter(|state| **state == "sent").count(), 1);
    assert_eq!(push["actor"], format!("uid {}", nix::unistd::getuid()));

    let (_, machine, link) = hosts.remove(0);
    let (first, mut link) = follow(&machine, link).await;
    assert_eq!(next_confirmation(&mut link).await, first);
    let push = desk.until(id, "reachable", |p| host(p, "oa-0")["state"] == "reachable").await;
    assert_eq!(states(&push).iter().filter(|state| **state == "waiting").count(), 2);
    say(&link, first, OrderResult::Confirmed).await;

    let mut links = vec![link];
    for (name, machine, mut link) in hosts {
        let (order, octets) = next_order(&mut link).await;
        let signed = bailey_wire::order::SignedOrder::from_bytes(&octets).unwrap();
        assert_eq!(signed.verify(&desk.key.verifying_key()).unwrap().host, key_of(&machine));
        assert_eq!(host(&desk.look(id).await, &name)["digest"], order.digest.to_string());
        say(&link, order, OrderResult::Applied).await;
        drop(link);
        let mut link = machine.connect_over(order).await;
        assert_eq!(next_confirmation(&mut link).await, order);
        say(&link, order, OrderResult::Confirmed).await;
        links.push(link);
    }
    let push = desk.until(id, "the end", is("done")).await;
    assert_eq!(states(&push), ["confirmed"; 3]);
    lab.event("push_started").await;
    lab.event("push_done").await;
    assert_eq!(lab.events("order_followed").await.len(), 3);
    let policy = desk.ask(&format!("/api/v1/pushes/{id}/policy")).await;
    assert_eq!(policy["text"], support::POLICY);
    let list = desk.ask("/api/v1/pushes?limit=1").await;
    assert_eq!(list["pushes"][0]["states"], json!({"confirmed": 3}));
    let name = "oa-0".parse().unwrap();
    let pushed =
        || lab.collector.site().host(&name)?.view.pushed.map(|pushed| pushed.order.version);
    until("the checks to know what was pushed", || pushed() == Some(1)).await;
    assert_eq!(desk.ask("/api/v1/enforcement").await["next_version"], 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_in_the_first_stage_stops_the_rest() {
    let lab = Lab::start().await;
    let desk = Desk::at(&lab);
    let mut hosts = machines(&lab, 3).await;
    let id = desk.push("auto", 1, &named(&hosts)).await;
    let (order, _) = next_order(&mut hosts[0].2).await;
    let (error, why) = ("kernel_refused".to_owned(), "line 3: no such set".to_owned());
    say(&hosts[0].2, order, OrderResult::Refused { error, why }).await;
    let push = desk.until(id, "the end", is("failed")).await;
    assert_eq!(push["why"]["en"], "oa-0: kernel_refused: line 3: no such set");
    assert_eq!(states(&push), ["refused", "cancelled", "cancelled"]);
    assert_eq!(host(&push, "oa-0")["error"], "kernel_refused");
    lab.event("push_failed").await;
    lab.event("order_failed").await;
    // Nobody else was sent anything: what comes next is another answer.
    let mut facts = Facts::new(1);
    hosts[1].2.report(facts.complete([support::memory(1)])).await;
    match hosts[1].2.next().await.unwrap() {
        v1::from_collector::Message::Acknowledged(_) => {}
        other => panic!("{other:?}"),
    }
    let (status, _) = desk.refused(&format!("/api/v1/pushes/{id}/cancel"), json!({})).await;
    assert_eq!(status, 409);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_does_not_come_back_fails_the_stage() {
    let lab = Lab::start().await;
    let desk = Desk::at(&lab);
    let mut hosts = machines(&lab, 2).await;
    let id = desk.push("auto", 1, &named(&hosts)).await;
    let (_, _, mut link) = hosts.remove(0);
    let (order, _) = next_order(&mut link).await;
    say(&link, order, OrderResult::Applied).await;
    desk.until(id, "applied", |push| host(push, "oa-0")["state"] == "applied").await;
    drop(link);
    lab.clock.forward(CONFIRM_WITHIN + Duration::from_secs(31));
    let push = desk.until(id, "the end", is("failed")).await;
    assert_eq!(states(&push), ["reverted", "cancelled"]);
    assert!(push["why"]["en"].as_str().unwrap().starts_with("oa-0: it did not come back"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_was_away_is_given_its_order_when_it_connects() {
    let lab = Lab::start().await;
    let desk = Desk::at(&lab);
    let away = lab.enrolled("oa-away").await;
    let mut hosts = machines(&lab, 1).await;
    let id = desk.push("auto", 1, &[("oa-away", &away), ("oa-0", &hosts[0].1)]).await;
    let (_, machine, link) = hosts.remove(0);
    let _link = obey(&machine, link).await;
    let push = desk.until(id, "the rest", is("running")).await;
    assert_eq!(host(&push, "oa-away")["state"], "waiting");
    let _back = obey(&away, away.connect().await).await;
    let push = desk.until(id, "the end", is("done")).await;
    assert_eq!(states(&push), ["confirmed"; 2]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_confirms_and_until_then_nothing_is_confirmed() {
    let lab = Lab::start().await;
    let desk = Desk::at(&lab);
    let mut hosts = machines(&lab, 1).await;
    let id = desk.push("person", 1, &named(&hosts)).await;
    let (status, why) = desk.refused(&format!("/api/v1/pushes/{id}/confirm"), json!({})).await;
    assert_eq!((status, why.contains("does not wait to be confirmed")), (409, true), "{why}");
    let (_, machine, link) = hosts.remove(0);
    let (order, mut link) = follow(&machine, link).await;
    let push = desk.until(id, "somebody to confirm", is("awaiting_confirmation")).await;
    assert!(push["deadline"].is_string(), "{push:#}");
    lab.event("push_awaits").await;
    let (status, _) = desk.tell(&format!("/api/v1/pushes/{id}/confirm"), json!({})).await;
    assert_eq!(status, 200);
    assert_eq!(next_confirmation(&mut link).await, order);
    say(&link, order, OrderResult::Confirmed).await;
    desk.until(id, "the end", is("done")).await;
    lab.event("push_confirmed").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_push_confirms_nothing_and_makes_room_for_the_next() {
    let lab = Lab::start().await;
    let desk = Desk::at(&lab);
    let mut hosts = machines(&lab, 2).await;
    let id = desk.push("person", 1, &named(&hosts)).await;
    let next = desk.draft("ruleset", "auto").await;
    let order = desk.ruleset(&hosts[0].1, 2);
    let body = json!({"orders": [{"host": "oa-0", "order": order}]});
    assert_eq!(desk.tell(&format!("/api/v1/pushes/{next}/orders"), body).await.0, 200);
    let (status, why) = desk.refused(&format!("/api/v1/pushes/{next}/start"), json!({})).await;
    assert_eq!((status, why.contains(&format!("push {id} is running"))), (409, true), "{why}");

    let (_, machine, link) = hosts.remove(0);
    let (_, mut link) = follow(&machine, link).await;
    desk.until(id, "somebody to confirm", is("awaiting_confirmation")).await;
    let (status, push) = desk.tell(&format!("/api/v1/pushes/{id}/cancel"), json!({})).await;
    assert_eq!((status, &push["state"]), (200, &json!("cancelled")));
    assert_eq!(states(&push), ["reachable", "cancelled"]);
    desk.start(next).await;
    let (order, _) = next_order(&mut link).await;
    assert_eq!(order.version, 2, "the next, and no confirmation before it");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_quarantine_is_done_when_it_is_applied() {
    let lab = Lab::start().await;
    let desk = Desk::at(&lab);
    let mut hosts = machines(&lab, 1).await;
    let id = desk.draft("quarantine", "auto").await;
    let until = SystemClock.now() + Duration::from_hours(2);
    let text = "table inet bailey {\n}\n".to_owned();
    let what = What::Quarantine { text, until, reason: "worm".into() };
    let order = desk.order(&hosts[0].1, 1, what);
    let body = json!({"orders": [{"host": "oa-0", "order": order}]});
    assert_eq!(desk.tell(&format!("/api/v1/pushes/{id}/orders"), body).await.0, 200);
    desk.start(id).await;
    let (order, _) = next_order(&mut hosts[0].2).await;
    say(&hosts[0].2, order, OrderResult::Applied).await;
    let push = desk.until(id, "the end", is("done")).await;
    assert_eq!(states(&push), ["applied"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_order_arrives_whole() {
    let lab = Lab::start().await;
    let desk = Desk::at(&lab);
    let mut hosts = machines(&lab, 1).await;
    let id = desk.draft("ruleset", "auto").await;
    let text = format!("table inet bailey {{ # {}\n}}\n", "x".repeat(3_000_000));
    let what = What::Ruleset { text, confirm_within: CONFIRM_WITHIN, restore: false };
    let order = desk.order(&hosts[0].1, 1, what);
    let body = json!({"orders": [{"host": "oa-0", "order": order}]});
    assert_eq!(desk.tell(&format!("/api/v1/pushes/{id}/orders"), body).await.0, 200);
    desk.start(id).await;
    let (_, octets) = next_order(&mut hosts[0].2).await;
    assert_eq!(STANDARD.encode(octets), order);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_that_starts_again_in_the_middle_of_a_push_goes_on_with_it() {
    let lab = Lab::start().await;
    let desk = Desk::at(&lab);
    let mut hosts = machines(&lab, 2).await;
    let id = desk.push("auto", 1, &named(&hosts)).await;
    let (_, mut first, link) = hosts.remove(0);
    let (_, mut second, idle) = hosts.remove(0);
    let (order, link) = follow(&first, link).await;
    desk.until(id, "reachable", |push| host(push, "oa-0")["state"] == "reachable").await;
    drop((link, idle));
    let Lab { folder, collector, clock: _ } = lab;
    collector.shutdown().await;

    let collector = Collector::start(settings(folder.path())).await.unwrap();
    let agents = collector.addresses().agents.to_string();
    (first.address, second.address) = (agents.clone(), agents);
    let push = desk.look(id).await;
    assert_eq!((&push["state"], states(&push)), (&json!("running"), vec!["reachable", "waiting"]));
    let mut link = first.connect_over(order).await;
    assert_eq!(next_confirmation(&mut link).await, order, "asked again, for its answer is missing");
    say(&link, order, OrderResult::Confirmed).await;
    let _link = obey(&second, second.connect().await).await;
    desk.until(id, "the end", is("done")).await;
    collector.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_was_lost_is_made_up_for_by_what_the_host_reports() {
    let lab = Lab::start().await;
    let desk = Desk::at(&lab);
    let mut hosts = machines(&lab, 1).await;
    let id = desk.push("auto", 1, &named(&hosts)).await;
    let (_, machine, link) = hosts.remove(0);
    let (order, mut link) = follow(&machine, link).await;
    next_confirmation(&mut link).await;
    let enforcement = Enforcement {
        highest: 1,
        confirmed: Some(order),
        in_force: Some(order),
        ..Enforcement::default()
    };
    let mut facts = Facts::new(1);
    link.report(facts.complete([Fact::known("", enforcement)])).await;
    desk.until(id, "the end", is("done")).await;
    let name = "oa-0".parse().unwrap();
    let pushed = || lab.collector.site().host(&name)?.view.pushed.map(|pushed| pushed.order);
    until("the checks to know what was pushed", || pushed() == Some(order)).await;
    let told = desk.ask("/api/v1/enforcement").await;
    assert_eq!(told["hosts"][0]["confirmed"]["version"], 1);
    assert_eq!(told["hosts"][0]["pushed"]["digest"], order.digest.to_string());
}

#[tokio::test(flavor = "multi_thread")]
async fn orders_that_would_not_be_followed_are_refused_when_they_are_added() {
    let lab = Lab::start().await;
    let desk = Desk::at(&lab);
    let (one, two) = (lab.enrolled("oa-1").await, lab.enrolled("oa-2").await);
    let id = desk.draft("ruleset", "auto").await;
    let path = format!("/api/v1/pushes/{id}/orders");
    let body = |host: &str, order: &str| json!({"orders": [{"host": host, "order": order}]});
    let good = desk.ruleset(&one, 5);
    let expired = {
        let long_ago = SystemClock.now() - Duration::from_hours(1);
        let order = Order {
            host: key_of(&one),
            version: 6,
            issued_at: long_ago,
            expires_at: long_ago,
            what: ruleset(CONFIRM_WITHIN),
        };
        STANDARD.encode(sign(&order, &desk.key).unwrap().to_bytes())
    };
    for (host, order, status, says) in [
        ("oa-9", good.clone(), 422, "no host of this name is enrolled"),
        ("oa-2", good.clone(), 422, "it is made for the key"),
        ("oa-1", desk.order(&one, 6, What::Release), 422, "it is no ruleset"),
        ("oa-1", expired, 422, "it expired at"),
        ("oa-1", "!".into(), 400, "not base64"),
        ("oa-1", STANDARD.encode("nonsense"), 422, "damaged"),
        ("not a name", good.clone(), 422, "is not a host name"),
    ] {
        let (got, why) = desk.refused(&path, body(host, &order)).await;
        assert_eq!((got, why.contains(says)), (status, true), "{host}: {got} {why}");
    }
    assert_eq!(desk.look(id).await["hosts"], json!([]));
    let (status, why) = desk.refused(&format!("/api/v1/pushes/{id}/start"), json!({})).await;
    assert_eq!((status, why.contains("has no orders yet")), (422, true), "{why}");

    assert_eq!(desk.tell(&path, body("oa-1", &good)).await.0, 200);
    // The number is used up, in this push and in every other.
    for again in [good.clone(), desk.ruleset(&one, 5)] {
        let (status, why) = desk.refused(&path, body("oa-1", &again)).await;
        assert_eq!((status, why.contains("is not above 5")), (422, true), "{why}");
    }
    let (status, why) = desk.refused(&path, body("oa-1", &desk.ruleset(&one, 6))).await;
    assert_eq!((status, why.contains("an order for this host already")), (422, true), "{why}");
    // All or nothing.
    let twice = desk.ruleset(&two, 7);
    let both =
        json!({"orders": [{"host": "oa-2", "order": twice}, {"host": "oa-2", "order": twice}]});
    assert_eq!(desk.refused(&path, both).await.0, 422);
    assert_eq!(desk.look(id).await["hosts"].as_array().unwrap().len(), 1);
    let large = "A".repeat(17 * 1024 * 1024);
    // It is not read to its end: whoever still sends it may find the collector gone.
    let answer = try_call(&desk.socket, "POST", &path, Some(&body("oa-2", &large))).await;
    assert!(answer.is_none_or(|(status, _)| status == 413));
    assert_eq!(desk.look(id).await["hosts"].as_array().unwrap().len(), 1);
    assert_eq!(desk.refused("/api/v1/pushes/999/orders", body("oa-2", &twice)).await.0, 404);
    let wrong = json!({"kind": "script", "policy": null});
    assert_eq!(desk.refused("/api/v1/pushes", wrong).await.0, 422);
}

#[tokio::test(flavor = "multi_thread")]
async fn orders_of_another_key_are_refused_where_the_key_is_known() {
    let ours = SigningKey::generate().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("security.pub");
    std::fs::write(&file, ours.verifying_key().to_pem()).unwrap();
    let lab = Lab::start_with(|settings| settings.security_key = Some(file)).await;
    let mut desk = Desk::at(&lab);
    let machine = lab.enrolled("oa-1").await;
    let id = desk.draft("ruleset", "auto").await;
    let path = format!("/api/v1/pushes/{id}/orders");
    let body = |order: String| json!({"orders": [{"host": "oa-1", "order": order}]});
    let (status, why) = desk.refused(&path, body(desk.ruleset(&machine, 1))).await;
    assert_eq!((status, why.contains("signed by key")), (422, true), "{why}");
    desk.key = ours;
    let key_id = desk.ask("/api/v1/enforcement").await["key_id"].clone();
    assert_eq!(key_id, desk.key.verifying_key().id().to_string());
    let good = STANDARD.decode(desk.ruleset(&machine, 1)).unwrap();
    let mut forged = good.clone();
    *forged.last_mut().unwrap() ^= 1;
    assert_eq!(desk.refused(&path, body(STANDARD.encode(forged))).await.0, 422);
    assert_eq!(desk.tell(&path, body(STANDARD.encode(good))).await.0, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_for_a_host_that_is_away_can_be_cancelled_after_the_push_is_done() {
    let lab = Lab::start().await;
    let desk = Desk::at(&lab);
    let away = lab.enrolled("oa-away").await;
    let mut hosts = machines(&lab, 2).await;
    let all = [("oa-away", &away), ("oa-0", &hosts[0].1), ("oa-1", &hosts[1].1)];
    let id = desk.push("auto", 1, &all).await;
    let mut links = Vec::new();
    for (_, machine, link) in hosts.drain(..) {
        links.push(obey(&machine, link).await);
    }
    let push = desk.until(id, "the end", is("done")).await;
    assert_eq!(host(&push, "oa-away")["state"], "waiting");
    let name = "oa-away".parse().unwrap();
    let pushed = || lab.collector.site().host(&name).unwrap().view.pushed;
    until("it to be missed", || pushed().is_some_and(|pushed| !pushed.running)).await;
    let (status, push) = desk.tell(&format!("/api/v1/pushes/{id}/cancel"), json!({})).await;
    assert_eq!((status, &push["state"]), (200, &json!("done")), "every stage did pass");
    assert_eq!(host(&push, "oa-away")["state"], "cancelled");
    until("it to be missed no more", || pushed().is_none()).await;
    let (status, why) = desk.refused(&format!("/api/v1/pushes/{id}/cancel"), json!({})).await;
    assert_eq!((status, why.contains("has ended")), (409, true), "{why}");
}

#[tokio::test(flavor = "multi_thread")]
async fn drafts_are_few_and_can_be_cancelled() {
    let lab = Lab::start().await;
    let desk = Desk::at(&lab);
    let mut ids = Vec::new();
    for _ in 0..bailey_collector::push::MAX_DRAFTS {
        ids.push(desk.draft("ruleset", "auto").await);
    }
    let wish = json!({"kind": "ruleset", "policy": null});
    assert_eq!(desk.refused("/api/v1/pushes", wish.clone()).await.0, 409);
    let (status, _) = desk.tell(&format!("/api/v1/pushes/{}/cancel", ids[0]), json!({})).await;
    assert_eq!(status, 200);
    assert_eq!(desk.tell("/api/v1/pushes", wish.clone()).await.0, 201);
    lab.clock.forward(bailey_collector::push::DRAFT_LIFE + Duration::from_secs(1));
    assert_eq!(desk.tell("/api/v1/pushes", wish).await.0, 201, "old ones make room");
}
