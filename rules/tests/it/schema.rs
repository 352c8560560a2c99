//! The JSON Schema of the policy file says what the reader says: every key, every word, every bound.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use bailey_rules::policy::{MAX_ENTRIES, MAX_NETWORKS, MAX_ZONES, Policy, REFERENCE, SCHEMA};
use bailey_rules::yaml;
use jsonschema::Validator;
use serde_json::{Value, json};

use crate::policy::{CONTRADICTIONS, WELL, WRONG};
use crate::site::POLICY;

fn schema() -> Value {
    serde_json::from_str(SCHEMA).unwrap()
}

fn validator() -> Validator {
    jsonschema::draft202012::new(&schema()).unwrap()
}

/// What an editor sees of a file.
fn seen(text: &str) -> Value {
    yaml::parse("policy.yaml", text).unwrap_or_else(|e| panic!("{e}"))
}

/// What the reader says of a file that is wrong; nothing when it is not.
fn told(policy: &Value) -> String {
    // JSON is YAML.
    let text = policy.to_string();
    Policy::parse("policy.yaml", &text).err().map(|told| told.to_string()).unwrap_or_default()
}

/// The words between the marks, as a message lists them.
fn words(message: &str, before: &str, after: &str) -> BTreeSet<String> {
    let from = message.find(before).unwrap_or_else(|| panic!("no {before} in {message}"));
    let rest = &message[from + before.len()..];
    let list = &rest[..rest.find(after).unwrap_or(rest.len())];
    list.split(", ").map(|word| word.trim().to_owned()).collect()
}

fn keys(object: &Value) -> BTreeSet<String> {
    object.as_object().unwrap().keys().cloned().collect()
}

/// A policy that uses every key there is.
fn whole() -> Value {
    json!({
        "site": "jiaxing",
        "zones": {
            "inner": {"name": "内网", "networks": ["10.1.0.0/16"], "mode": "enforce", "on_drift": "restore"},
            "outer": {"networks": ["172.20.0.0/16", "fd00:2::/48"]},
        },
        "hosts": {"fw-in": {
            "zone": "inner", "addresses": ["10.1.0.1"], "forwards": true, "mode": "observe", "on_drift": "audit",
        }},
        "groups": {"admins": ["fw-in", "10.1.9.0/24"]},
        "services": {"all": {
            "tcp": [22, "8000-8099"], "udp": ["53"], "icmp": ["echo-request", 13], "icmpv6": ["echo-request"],
        }},
        "exchange_points": {"EX-1": {
            "from": "outer", "to": "inner", "hosts": ["fw-in"], "service": "all", "owner": "information centre",
        }},
        "flows": [{"from": "admins", "to": "inner", "service": "all"}],
        "invariants": {
            "INV-1": {"never": ["inner", "internet"]},
            "INV-2": {"only": ["outer", "inner"], "through": ["EX-1"]},
            "INV-3": {"always": ["admins", "inner"], "service": "all"},
        },
        "management": {"inner": {
            "from": "admins", "service": "all", "collectors": ["10.1.0.5:7710", "[fd00:2::5]:7710"],
        }},
        "quarantine": {"services": ["all"], "longest": "1 d 12 h"},
    })
}

/// Every mapping with keys of its own: where a policy has one, and where the schema says it.
const MAPPINGS: [(&str, &str); 9] = [
    ("", ""),
    ("/zones/inner", "/$defs/zone"),
    ("/hosts/fw-in", "/$defs/host"),
    ("/services/all", "/$defs/service"),
    ("/exchange_points/EX-1", "/$defs/exchange_point"),
    ("/flows/0", "/$defs/flow"),
    ("/invariants/INV-1", "/$defs/invariant"),
    ("/management/inner", "/$defs/management"),
    ("/quarantine", "/$defs/quarantine"),
];

#[test]
fn every_policy_that_is_read_is_one_by_the_schema() {
    let validator = validator();
    let networks = ["10.1.7.20/16".parse().unwrap(), "fd00:1::7/64".parse().unwrap()];
    let (site, zone) = ("jiaxing".parse().unwrap(), "inner".parse().unwrap());
    let first = Policy::for_this_host(&site, &zone, &networks);
    for text in [REFERENCE, POLICY, WELL, &first] {
        Policy::parse("policy.yaml", text).unwrap_or_else(|e| panic!("{e}"));
        let said: Vec<String> = validator
            .iter_errors(&seen(text))
            .map(|e| format!("{}: {e}", e.instance_path()))
            .collect();
        assert_eq!(said, [""; 0], "{text}");
    }
    assert_eq!(told(&whole()), "");
    assert!(validator.is_valid(&whole()));
}

#[test]
fn the_keys_of_the_schema_are_the_keys_of_the_reader() {
    let schema = schema();
    let closed = SCHEMA.matches("\"additionalProperties\": false").count();
    assert_eq!(closed, MAPPINGS.len(), "every mapping with keys of its own is looked at");
    for (place, said) in MAPPINGS {
        let said = schema.pointer(said).unwrap();
        let known = keys(&said["properties"]);

        let mut other = whole();
        other.pointer_mut(place).unwrap()["unheard-of"] = json!(1);
        let of_reader = words(&told(&other), "(keys: ", ")");
        assert_eq!(known, of_reader, "{place}");
        assert!(!validator().is_valid(&other), "{place}");

        let required = said.get("required").cloned().unwrap_or(json!([]));
        for key in &known {
            let mut less = whole();
            less.pointer_mut(place).unwrap().as_object_mut().unwrap().remove(key);
            let missing = told(&less).contains(&format!("the key \"{key}\" is missing"));
            let is_required = required.as_array().unwrap().contains(&json!(key));
            assert_eq!(is_required, missing, "{place}/{key}");
        }
    }
}

#[test]
fn the_words_of_the_schema_are_the_words_of_the_reader() {
    let schema = schema();
    let listed = |place: &str| -> BTreeSet<String> {
        let words = schema.pointer(place).unwrap().as_array().unwrap();
        words.iter().map(|word| word.as_str().unwrap().to_owned()).collect()
    };
    let cases = [
        ("/zones/inner/mode", "/$defs/mode/enum", "(known: ", ")"),
        ("/zones/inner/on_drift", "/$defs/on_drift/enum", "(known: ", ")"),
        ("/hosts/fw-in/mode", "/$defs/mode/enum", "(known: ", ")"),
        ("/hosts/fw-in/on_drift", "/$defs/on_drift/enum", "(known: ", ")"),
        (
            "/services/all/icmp/0",
            "/$defs/service/properties/icmp/items/anyOf/1/enum",
            "or one of ",
            "\n",
        ),
        (
            "/services/all/icmpv6/0",
            "/$defs/service/properties/icmpv6/items/anyOf/1/enum",
            "or one of ",
            "\n",
        ),
    ];
    for (place, said, before, after) in cases {
        let mut other = whole();
        *other.pointer_mut(place).unwrap() = json!("unheard-of");
        assert_eq!(listed(said), words(&told(&other), before, after), "{place}");
        assert!(!validator().is_valid(&other), "{place}");
    }
}

#[test]
fn the_bounds_of_the_schema_are_the_bounds_of_the_reader() {
    let schema = schema();
    let bound = |place: &str| schema.pointer(place).unwrap().as_u64().unwrap();
    assert_eq!(bound("/properties/zones/maxProperties"), MAX_ZONES as u64);
    assert_eq!(bound("/$defs/zone/properties/networks/maxItems"), MAX_NETWORKS as u64);
    for section in ["groups", "services", "exchange_points", "invariants"] {
        assert_eq!(bound(&format!("/properties/{section}/maxProperties")), MAX_ENTRIES as u64);
    }
    assert_eq!(bound("/properties/flows/maxItems"), MAX_ENTRIES as u64);
    let ports = |count: u16| -> Value { (1..=count).map(|nth| json!(nth * 2)).collect() };
    // A value that is just taken, one that is just not, and where it stands.
    let cases = [
        ("/services/all/tcp", ports(256), ports(257)),
        ("/services/all/tcp", json!([1, 65535]), json!([0])),
        ("/services/all/tcp", json!(["1-65535"]), json!([65536])),
        ("/services/all/icmp", json!([0, 255]), json!([256])),
        ("/zones/inner/name", json!("网".repeat(64)), json!("网".repeat(65))),
        ("/exchange_points/EX-1/owner", json!("x"), json!("two\nlines")),
        ("/zones/inner/name", json!("x"), json!("")),
        ("/site", json!("x".repeat(63)), json!("x".repeat(64))),
        ("/site", json!("jia-xing_2"), json!("jiaxing-")),
        ("/quarantine/longest", json!("90 min"), json!("90 minutes")),
        ("/management/inner/collectors", json!([]), json!(["10.1.0.5"])),
        ("/groups/admins", json!(["fw-in"]), json!([])),
    ];
    let validator = validator();
    for (place, taken, refused) in cases {
        let mut policy = whole();
        *policy.pointer_mut(place).unwrap() = taken;
        assert_eq!(told(&policy), "", "{place}");
        assert!(validator.is_valid(&policy), "{place}");
        *policy.pointer_mut(place).unwrap() = refused;
        assert_ne!(told(&policy), "", "{place}");
        assert!(!validator.is_valid(&policy), "{place}");
    }
}

#[test]
fn a_wrong_file_is_wrong_in_the_editor_where_its_form_is() {
    let validator = validator();
    let mut out = String::new();
    let mut judge = |shown: &str, text: &str| {
        let word = match validator.iter_errors(&seen(text)).next() {
            Some(error) => format!("refused at \"{}\"", error.instance_path()),
            None => "left to the reader".to_owned(),
        };
        writeln!(out, "{word}: {shown}").unwrap();
    };
    for text in WRONG {
        judge(&format!("{text:?}"), text);
    }
    for (from, to) in CONTRADICTIONS {
        judge(&format!("{from:?} => {to:?}"), &WELL.replacen(from, to, 1));
    }
    insta::assert_snapshot!(out);
}
