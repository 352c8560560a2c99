//! Which language to speak, before the command line is understood.

use std::ffi::OsString;

use bailey_rules::text::Lang;

/// What the environment says of languages, in the order in which POSIX reads it (POSIX.1-2017,
/// 8.2): the first that is set and not empty decides.
const VARIABLES: [&str; 3] = ["LC_ALL", "LC_MESSAGES", "LANG"];

/// The language of a command line: `--lang`, or else the environment, or else English.
///
/// It is read without the parser, whose own errors must already be in that language. A wrong
/// value of `--lang` is left to the parser to refuse.
pub fn spoken(arguments: &[OsString], variable: impl Fn(&str) -> Option<OsString>) -> Lang {
    asked_for(arguments).unwrap_or_else(|| {
        VARIABLES
            .iter()
            .filter_map(|name| variable(name))
            .find(|value| !value.is_empty())
            .map_or(Lang::En, |value| of_locale(&value.to_string_lossy()))
    })
}

fn asked_for(arguments: &[OsString]) -> Option<Lang> {
    let mut words = arguments.iter().skip(1).map(|word| word.to_string_lossy());
    while let Some(word) = words.next() {
        let value = match word.strip_prefix("--lang") {
            Some("") => words.next()?.into_owned(),
            Some(value) => value.strip_prefix('=').unwrap_or_default().to_owned(),
            None if word == "--" => return None,
            None => continue,
        };
        return match value.as_str() {
            "zh" => Some(Lang::Zh),
            "en" => Some(Lang::En),
            _ => None,
        };
    }
    None
}

/// The language of a locale name such as `zh_CN.UTF-8`.
fn of_locale(locale: &str) -> Lang {
    let language = locale.split(['_', '.', '@', '-']).next().unwrap_or_default();
    if language.eq_ignore_ascii_case("zh") { Lang::Zh } else { Lang::En }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(line: &str, environment: &[(&str, &str)], expect: Lang) {
        let arguments: Vec<OsString> = line.split(' ').map(Into::into).collect();
        let variable = |name: &str| {
            environment.iter().find(|(set, _)| *set == name).map(|(_, value)| value.into())
        };
        assert_eq!(spoken(&arguments, variable), expect, "{line} {environment:?}");
    }

    #[test]
    fn the_option_wins_over_the_environment() {
        check("bailey --lang zh status", &[("LC_ALL", "en_US.UTF-8")], Lang::Zh);
        check("bailey status --lang=en", &[("LC_ALL", "zh_CN.UTF-8")], Lang::En);
        check("bailey status -- --lang zh", &[], Lang::En);
    }

    #[test]
    fn the_environment_is_read_in_the_order_of_posix() {
        check("bailey status", &[], Lang::En);
        check("bailey status", &[("LANG", "zh_CN.UTF-8")], Lang::Zh);
        check("bailey status", &[("LC_ALL", ""), ("LANG", "zh_CN.GB18030")], Lang::Zh);
        check("bailey status", &[("LC_ALL", "C"), ("LANG", "zh_CN.UTF-8")], Lang::En);
        check("bailey status", &[("LC_MESSAGES", "zh"), ("LANG", "de_DE")], Lang::Zh);
    }

    #[test]
    fn a_wrong_language_is_left_to_the_parser() {
        check("bailey --lang klingon", &[("LANG", "zh_CN.UTF-8")], Lang::Zh);
        check("bailey --lang", &[], Lang::En);
    }
}
