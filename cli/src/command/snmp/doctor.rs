//! `bailey snmp doctor`: what is wrong with a device that does not answer as it should.

use bailey_collector::poll::credentials::FromFile;
use bailey_collector::poll::doctor::{self, Diagnosis};
use bailey_rules::text::Text;
use serde_json::{Value, json};

use super::super::json as written;
use super::{SCHEMA, dialler, read_credentials};
use crate::arguments::{Format, OneDevice};
use crate::exit::{Done, Exit, Failure};
use crate::screen::{Screen, Table};

/// Examines the device. Ends with 6 when it has a fault.
pub(super) async fn run(one: &OneDevice, format: Format, screen: Screen) -> Result<Done, Failure> {
    let from_file = read_credentials(&one.credentials)?;
    let dialler = dialler(&one.device, doctor::PATIENCE).await?.hearing_refusals();
    let diagnosis = doctor::examine(&dialler, &from_file.credentials).await;
    let done = Done::said(said(&one.device.to_string(), &from_file, &diagnosis, format, screen));
    Ok(match diagnosis.fault {
        None => done,
        Some(_) => done.ending(Exit::Findings.code()),
    })
}

/// The diagnosis as it is asked for.
pub(super) fn said(
    device: &str,
    from_file: &FromFile,
    diagnosis: &Diagnosis,
    format: Format,
    screen: Screen,
) -> String {
    let version = from_file.credentials.version();
    let warning = from_file.warning.as_ref();
    match format {
        Format::Json | Format::Ndjson => {
            written(&answer(device, version, diagnosis, warning), format)
        }
        Format::Table => shown(device, version, diagnosis, warning, screen),
    }
}

/// The diagnosis for people.
fn shown(
    device: &str,
    version: &str,
    diagnosis: &Diagnosis,
    warning: Option<&Text>,
    screen: Screen,
) -> String {
    let mut out = match &diagnosis.fault {
        None => {
            let healthy = Text::new(
                format!("● {device} answers as it should to SNMP{version}"),
                format!("● {device} 对 SNMP{version} 应答正常"),
            );
            format!("{}\n", screen.say(&healthy))
        }
        Some(fault) => {
            let said = screen.say(&fault.said());
            format!("■ {device} {}: {said}\n", fault.name())
        }
    };
    let mut about = Table::indented(2);
    let known = &diagnosis.about;
    let mut row = |en, zh, value: Option<String>| {
        if let Some(value) = value {
            about.row([screen.word(en, zh).into(), value.into()]);
        }
    };
    row("name", "名称", known.name.clone());
    row("description", "描述", known.description.clone());
    row("product", "产品", known.product.as_ref().map(ToString::to_string));
    row("up", "运行时间", known.up.map(|up| screen.length(up.as_secs_f64())));
    out.push_str(&about.render());
    let list = |out: &mut String, en, zh, lines: &[Text]| {
        if !lines.is_empty() {
            out.push_str(screen.word(en, zh));
            out.push('\n');
            out.extend(lines.iter().map(|line| format!("  - {}\n", screen.say(line))));
        }
    };
    if let Some(fault) = &diagnosis.fault {
        list(&mut out, "What to look at:", "建议检查：", &fault.next());
        list(&mut out, "What was asked, and what came:", "查询过程：", &diagnosis.steps);
    }
    if let Some(warning) = warning {
        list(&mut out, "Besides:", "另外：", std::slice::from_ref(warning));
    }
    out
}

/// The diagnosis for programs.
fn answer(device: &str, version: &str, diagnosis: &Diagnosis, warning: Option<&Text>) -> Value {
    let fault = diagnosis.fault.as_ref();
    let about = &diagnosis.about;
    json!({
        "schema": SCHEMA,
        "device": device,
        "version": version,
        "healthy": fault.is_none(),
        "fault": fault.map(doctor::fault::Fault::name),
        "what": fault.map(doctor::fault::Fault::said),
        "next": fault.map(doctor::fault::Fault::next).unwrap_or_default(),
        "steps": diagnosis.steps,
        "engine": diagnosis.engine.as_ref().map(|engine| json!({
            "id": engine.hexadecimal(),
            "boots": engine.boots,
            "up_seconds": engine.up.as_secs(),
        })),
        "about": {
            "name": about.name,
            "description": about.description,
            "product": about.product,
            "up_seconds": about.up.map(|up| up.as_secs()),
        },
        "warnings": warning.into_iter().collect::<Vec<_>>(),
    })
}
