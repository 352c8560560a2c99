//! Parts of sentences that several checks say.

use std::fmt;

use crate::text::Text;

/// A sentence with the limit it is measured by, where there is one.
pub(super) fn with_limit(said: Text, limit: Option<impl fmt::Display>) -> Text {
    match limit {
        None => said,
        Some(limit) => Text::new(
            format!("{} (limit {limit})", said.en),
            format!("{}（阈值 {}）", said.zh, tight(&limit)),
        ),
    }
}

/// The most names that one sentence lists.
const MAX_LISTED: usize = 8;

/// Names in a row, the first [`MAX_LISTED`] of them: a host may name thousands.
pub(super) fn listed<T: AsRef<str>>(names: &[T], joint: &str) -> String {
    let shown: Vec<&str> = names.iter().take(MAX_LISTED).map(AsRef::as_ref).collect();
    match names.len().saturating_sub(MAX_LISTED) {
        0 => shown.join(joint),
        more => format!("{} (+{more})", shown.join(joint)),
    }
}

/// A percentage as Chinese writes it, without a blank.
pub(super) fn tight(value: &impl fmt::Display) -> String {
    value.to_string().replace(" %", "%")
}
