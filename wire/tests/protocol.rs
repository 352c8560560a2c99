//! The protocol only grows. `proto/golden.txt` lists every message, field, word and call with its
//! number as it was released; agents two versions old still speak it.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::path::Path;

use bailey_wire::DESCRIPTOR;
use prost::Message as _;
use prost_types::field_descriptor_proto::{Label, Type};
use prost_types::{DescriptorProto, EnumDescriptorProto, FieldDescriptorProto, FileDescriptorSet};

const HOW_TO_ACCEPT: &str = "look at each line, then write proto/golden.txt anew with\n    \
    BAILEY_ACCEPT=1 cargo test -p bailey-wire --test protocol\nand commit it with the change";

fn field_type(field: &FieldDescriptorProto) -> String {
    let label = match field.label() {
        Label::Repeated => "repeated ",
        Label::Required => "required ",
        Label::Optional if field.proto3_optional() => "optional ",
        Label::Optional => "",
    };
    let kind = match field.r#type() {
        Type::Message | Type::Enum => field.type_name().trim_start_matches('.').to_owned(),
        plain => plain.as_str_name().trim_start_matches("TYPE_").to_lowercase(),
    };
    format!("{label}{kind}")
}

fn message_lines(package: &str, message: &DescriptorProto, lines: &mut Vec<String>) {
    let name = format!("{package}.{}", message.name());
    lines.push(format!("message {name}"));
    for field in &message.field {
        let member = match field.oneof_index {
            Some(index) if !field.proto3_optional() => {
                let index = usize::try_from(index).expect("the compiler numbers from 0");
                format!(" in {}", message.oneof_decl[index].name())
            }
            _ => String::new(),
        };
        lines.push(format!(
            "  {name}.{} = {}: {}{member}",
            field.name(),
            field.number(),
            field_type(field)
        ));
    }
    for inner in &message.nested_type {
        message_lines(&name, inner, lines);
    }
    for inner in &message.enum_type {
        enum_lines(&name, inner, lines);
    }
}

fn enum_lines(package: &str, words: &EnumDescriptorProto, lines: &mut Vec<String>) {
    let name = format!("{package}.{}", words.name());
    lines.push(format!("enum {name}"));
    for word in &words.value {
        lines.push(format!("  {name}.{} = {}", word.name(), word.number()));
    }
}

/// The protocol as this build speaks it, one line for everything that has a number or a name.
fn spoken() -> Vec<String> {
    let set = FileDescriptorSet::decode(DESCRIPTOR).unwrap();
    let mut lines = Vec::new();
    for file in &set.file {
        let package = file.package();
        for message in &file.message_type {
            message_lines(package, message, &mut lines);
        }
        for words in &file.enum_type {
            enum_lines(package, words, &mut lines);
        }
        for service in &file.service {
            for call in &service.method {
                let stream = |on: bool| if on { "stream " } else { "" };
                lines.push(format!(
                    "rpc {package}.{}.{}({}{}) returns ({}{})",
                    service.name(),
                    call.name(),
                    stream(call.client_streaming()),
                    call.input_type().trim_start_matches('.'),
                    stream(call.server_streaming()),
                    call.output_type().trim_start_matches('.'),
                ));
            }
        }
    }
    lines
}

#[test]
fn the_protocol_is_as_it_was_released() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("proto/golden.txt");
    let spoken = spoken();
    if std::env::var_os("BAILEY_ACCEPT").is_some() {
        std::fs::write(&path, spoken.join("\n") + "\n").unwrap();
    }
    let golden = std::fs::read_to_string(&path).unwrap();
    let golden: Vec<&str> = golden.lines().collect();

    let gone: Vec<&&str> =
        golden.iter().filter(|&&line| !spoken.iter().any(|s| s == line)).collect();
    assert!(
        gone.is_empty(),
        "gone or changed from the released protocol:\n{gone:#?}\nAn older agent still says this. \
         Add a new field with a new number and leave the old one; only what no supported version \
         speaks any more may go, with its number `reserved`. If it must be, {HOW_TO_ACCEPT}"
    );
    let new: Vec<&String> = spoken.iter().filter(|line| !golden.contains(&line.as_str())).collect();
    assert!(new.is_empty(), "new in the protocol:\n{new:#?}\nIf that is meant, {HOW_TO_ACCEPT}");
    assert_eq!(spoken, golden, "the same lines in another order; {HOW_TO_ACCEPT}");
}

#[test]
fn a_reading_has_the_number_of_its_kind_plus_one() {
    let lines = spoken();
    let kinds =
        lines.iter().filter_map(|line| line.strip_prefix("  bailey.v1.FactKind.FACT_KIND_"));
    for kind in kinds {
        let (name, number) = kind.split_once(" = ").unwrap();
        let number: u32 = number.parse().unwrap();
        if number == 0 {
            continue;
        }
        let member = format!("  bailey.v1.Reading.{} = {}: ", name.to_lowercase(), number + 1);
        assert!(lines.iter().any(|line| line.starts_with(&member)), "no {member}");
    }
}
