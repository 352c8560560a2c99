//! What a host enforces, for the checks of it.

use super::{Given, Verdict};
use crate::fact::enforcement::{Enforcement, OrderRef};
use crate::fact::{FactKey, FactKind};
use crate::text::Text;

/// What the enforcer of the host says, or the verdict that this is unknown; `None` where there is no
/// enforcer.
pub(super) fn enforcement<'a>(given: &Given<'a>) -> Option<Result<&'a Enforcement, Verdict>> {
    given.host.facts.get(FactKind::Enforcement, "")?;
    Some(given.ask::<Enforcement>(""))
}

/// Makes `verdict` rest on what the enforcer says.
pub(super) fn rests_on_enforcer(given: &Given<'_>, verdict: Verdict, value: String) -> Verdict {
    given.rests_on(verdict, &FactKey::new(FactKind::Enforcement, ""), value)
}

/// An order as evidence names it.
pub(super) fn named(order: Option<OrderRef>) -> String {
    order.map_or_else(|| "none".to_owned(), |order| format!("{} {}", order.version, order.digest))
}

/// Who changed something, where the kernel told.
pub(super) fn who(by: Option<&str>) -> Text {
    by.map_or_else(|| Text::new("somebody unknown", "未知程序"), |by| Text::new(by, by))
}
