//! The text of an ordered ruleset: it may say what stands in `table inet bailey`, and nothing else.
//!
//! This does not understand rules, which is the kernel's part. It makes sure of what the text can
//! reach: one block, of that one table, that is closed where the text ends, and inside it nothing
//! that brings in other text. Whoever holds the signing key is trusted with the table, not with
//! files, variables or other tables of the host.

/// The one table that is ours.
pub const TABLE: &str = "inet bailey";

/// What replaces the table in one transaction: added first, so that deleting it cannot fail.
/// Alone, it takes the table away, whether it was there or not.
const AFRESH: &str = "add table inet bailey\ndelete table inet bailey\n";
/// What a host enforces that has lost what it was to enforce: it reaches out, it can be
/// administered by SSH, and gets its addresses (DHCP, RFC 2131 and 8415; neighbour discovery,
/// RFC 4861). Nothing else comes in, and nothing goes through.
const CLOSED: &str = r#"table inet bailey {
	comment "the confirmed ruleset was lost"
	chain input {
		type filter hook input priority filter; policy drop;
		iif lo accept
		ct state established,related accept
		icmpv6 type { nd-router-advert, nd-neighbor-solicit, nd-neighbor-advert } accept
		udp sport 67 udp dport 68 accept
		udp dport 546 accept
		tcp dport 22 accept
	}
	chain forward {
		type filter hook forward priority filter; policy drop;
	}
}"#;
/// The most blocks inside each other: table, chain, braces of a set, braces in them.
const MAX_DEPTH: usize = 8;
/// What a block of the table may be.
const BLOCKS: [&str; 8] = ["chain", "set", "map", "counter", "limit", "quota", "ct", "comment"];
/// Words that would bring in other text or names, wherever they stand.
const FORBIDDEN: [&str; 4] = ["include", "define", "undefine", "redefine"];

/// Why a text is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {why}")]
pub struct BadText {
    /// Where, from 1.
    pub line: usize,
    /// Why.
    pub why: String,
}

/// A text that says nothing but what stands in our table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RulesetText(String);

impl RulesetText {
    /// Takes `text`: one `table inet bailey { ... }`, before which our own
    /// `add table`, `delete table` may stand.
    ///
    /// # Errors
    /// When it says anything besides.
    pub fn parse(text: &str) -> Result<Self, BadText> {
        let tokens = tokens(text)?;
        let mut at = &tokens[..];
        // A blank line or two before the table do no harm.
        at = skip_ends(at);
        if words(at, &["add", "table", "inet", "bailey"]) {
            at = command_end(&at[4..], text)?;
            if !words(at, &["delete", "table", "inet", "bailey"]) {
                return Err(bad(at, text, "after `add table` comes `delete table inet bailey`"));
            }
            at = command_end(&at[4..], text)?;
        }
        let only = "the text is one `table inet bailey { ... }` and nothing else";
        if !words(at, &["table", "inet", "bailey", "{"]) {
            return Err(bad(at, text, only));
        }
        let begin = at[0].at;
        let rest = block(&at[3..], text)?;
        let end = at[at.len() - rest.len() - 1].end();
        if let Some(more) = skip_ends(rest).first() {
            return Err(BadText { line: more.line, why: only.to_owned() });
        }
        Ok(Self(text[begin..end].to_owned()))
    }

    /// What a host enforces that has lost what it was to enforce.
    #[must_use]
    pub fn closed() -> Self {
        Self::parse(CLOSED).expect("it is one table of ours")
    }

    /// What nft(8) is given: the table as it was is gone and the new one is there in one step.
    #[must_use]
    pub fn transaction(&self) -> String {
        format!("{AFRESH}{}\n", self.0)
    }

    /// What takes our table out of the kernel.
    #[must_use]
    pub fn removal() -> String {
        AFRESH.to_owned()
    }
}

/// A word, a quoted string, a brace, or the end of a command.
#[derive(Debug, Clone, Copy)]
struct Token<'a> {
    text: &'a str,
    at: usize,
    line: usize,
}

impl Token<'_> {
    const fn end(&self) -> usize {
        self.at + self.text.len()
    }

    fn ends_command(&self) -> bool {
        self.text == "\n" || self.text == ";"
    }
}

/// Cuts a text as nft's scanner does (nft(8), LEXICAL CONVENTIONS), as far as matters here: comments
/// run to the end of the line, quotes hold together, braces and ends of commands stand alone.
fn tokens(text: &str) -> Result<Vec<Token<'_>>, BadText> {
    let mut tokens = Vec::new();
    let mut line = 1;
    let mut rest = text.char_indices().peekable();
    while let Some((at, c)) = rest.next() {
        let refuse = |why: &str| Err(BadText { line, why: why.to_owned() });
        match c {
            '\n' => {
                tokens.push(Token { text: "\n", at, line });
                line += 1;
            }
            ' ' | '\t' => {}
            '{' | '}' | ';' => tokens.push(Token { text: &text[at..=at], at, line }),
            '#' => {
                while let Some((_, c)) = rest.next_if(|(_, c)| *c != '\n') {
                    if c.is_control() && c != '\t' {
                        return refuse("a comment is plain text");
                    }
                }
            }
            '"' => loop {
                match rest.next() {
                    Some((end, '"')) => {
                        tokens.push(Token { text: &text[at..=end], at, line });
                        break;
                    }
                    Some((_, c)) if !c.is_control() => {}
                    Some(_) | None => return refuse("a quoted string ends on the same line"),
                }
            },
            // The scanner joins lines, fills in variables, and quotes in other ways too.
            '\\' | '$' | '\'' | '`' => return refuse(&format!("`{c}` has no place in an order")),
            c if c.is_control() || !c.is_ascii() => {
                return refuse("outside of quotes there is plain ASCII only");
            }
            _ => {
                let inside = |c: char| c.is_ascii_graphic() && !"{};#\"\\$'`".contains(c);
                let mut end = at;
                while let Some((next, _)) = rest.next_if(|(_, c)| inside(*c)) {
                    end = next;
                }
                let word = &text[at..=end];
                if FORBIDDEN.contains(&word) {
                    return refuse(&format!("`{word}` has no place in an order"));
                }
                tokens.push(Token { text: word, at, line });
            }
        }
    }
    Ok(tokens)
}

fn words(at: &[Token<'_>], wanted: &[&str]) -> bool {
    at.len() >= wanted.len() && at.iter().zip(wanted).all(|(token, word)| token.text == *word)
}

fn skip_ends<'a, 'b>(mut at: &'a [Token<'b>]) -> &'a [Token<'b>] {
    while at.first().is_some_and(Token::ends_command) {
        at = &at[1..];
    }
    at
}

fn command_end<'a, 'b>(at: &'a [Token<'b>], text: &str) -> Result<&'a [Token<'b>], BadText> {
    match at.first() {
        Some(token) if token.ends_command() => Ok(skip_ends(at)),
        Some(_) | None => Err(bad(at, text, "a command ends with its line")),
    }
}

fn bad(at: &[Token<'_>], text: &str, why: &str) -> BadText {
    let line = at.first().map_or_else(|| text.lines().count(), |token| token.line);
    BadText { line, why: why.to_owned() }
}

/// The block that begins at `at` with its brace: what follows it. Directly in it stand only the
/// parts of a table.
fn block<'a, 'b>(at: &'a [Token<'b>], text: &str) -> Result<&'a [Token<'b>], BadText> {
    let mut depth = 0_usize;
    let mut begins = true;
    for (nth, token) in at.iter().enumerate() {
        if depth == 1 && begins && !token.ends_command() && token.text != "}" {
            let first = token.text;
            if !BLOCKS.contains(&first) {
                let why =
                    format!("`{first}` is no part of our table; it has {}", BLOCKS.join(", "));
                return Err(BadText { line: token.line, why });
            }
        }
        begins = token.ends_command() || (token.text == "{" && depth == 0);
        match token.text {
            "{" => depth += 1,
            "}" => depth -= 1,
            _ => {}
        }
        if depth > MAX_DEPTH {
            let why = format!("more than {MAX_DEPTH} blocks inside each other");
            return Err(BadText { line: token.line, why });
        }
        if depth == 0 {
            return Ok(&at[nth + 1..]);
        }
        if depth == 1 && token.text == "}" {
            begins = true;
        }
    }
    Err(bad(&[], text, "a block is not closed"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const WHOLE: &str = r#"# made from policy.yaml
table inet bailey {
	comment "policy 12 of jiaxing; inner, outer {"
	set inner { type ipv4_addr; flags interval; elements = { 10.1.0.0/16, 10.2.0.0/16 }; }
	map to { type inet_service : verdict; elements = { 22 : accept, 80 : drop } }
	counter flow_1 { comment "policy.yaml:14" }
	chain input {
		type filter hook input priority filter; policy drop;
		ip saddr @inner tcp dport { 22, 443 } accept comment "内网 # not a comment"
	}
}
"#;

    #[test]
    fn one_table_of_ours_is_taken_with_or_without_what_replaces_it() {
        let plain = RulesetText::parse(WHOLE).unwrap();
        for before in [
            "",
            "\n\n",
            "add table inet bailey\ndelete table inet bailey\n",
            "add table inet bailey; delete table inet bailey;",
        ] {
            assert_eq!(RulesetText::parse(&format!("{before}{WHOLE}")).as_ref(), Ok(&plain));
        }
        let transaction = plain.transaction();
        assert!(transaction.starts_with("add table inet bailey\ndelete table inet bailey\ntable"));
        assert!(transaction.ends_with("}\n}\n"), "{transaction}");
    }

    #[test]
    fn whatever_reaches_beyond_our_table_is_refused() {
        let inside = |rule: &str| format!("table inet bailey {{\nchain c {{\n{rule}\n}}\n}}\n");
        let cases = [
            ("nothing at all", String::new()),
            ("another table", "table inet filter {\n}\n".into()),
            ("another family", "table ip bailey {\n}\n".into()),
            ("a longer name", "table inet bailey2 {\n}\n".into()),
            ("a second table", format!("{WHOLE}table inet filter {{\n}}\n")),
            ("a second table of ours", format!("{WHOLE}{WHOLE}")),
            ("a command behind it", format!("{WHOLE}flush ruleset\n")),
            ("a command behind it on the line", "table inet bailey { }; flush ruleset".into()),
            ("a command before it", format!("flush ruleset\n{WHOLE}")),
            (
                "another table deleted",
                format!("add table inet bailey\ndelete table inet f\n{WHOLE}"),
            ),
            ("a deletion alone", "add table inet bailey\ndelete table inet bailey\n".into()),
            (
                "a block that closes too early",
                inside("} }\nflush ruleset\ntable inet bailey { chain d {"),
            ),
            ("a block that is not closed", "table inet bailey {\nchain c {\n}\n".into()),
            ("a table that sleeps", "table inet bailey { flags dormant; }".into()),
            ("a file brought in", inside("include \"/etc/shadow\"")),
            (
                "a file brought in by the table",
                "table inet bailey {\ninclude \"/etc/nftables.conf\"\n}".into(),
            ),
            ("a variable", inside("define x = 5")),
            ("a variable used", inside("tcp dport $x accept")),
            ("lines joined", inside("accept # x \\\n} } flush ruleset").replace("# ", "\\\n")),
            ("a quote that does not end", inside("accept comment \"x")),
            ("other quotes", inside("accept comment 'x'")),
            ("an octet zero", inside("accept\0")),
            ("a return of the carriage", inside("accept # \r flush ruleset").replace("# ", "")),
            ("blocks without end", inside(&"{ ".repeat(100))),
        ];
        for (what, text) in cases {
            assert!(RulesetText::parse(&text).is_err(), "{what}: {text}");
        }
    }

    #[test]
    fn what_is_wrong_is_named_with_its_line() {
        let error = RulesetText::parse("table inet bailey {\n\n\tflags dormant\n}\n").unwrap_err();
        insta::assert_snapshot!(error, @"line 3: `flags` is no part of our table; it has chain, set, map, counter, limit, quota, ct, comment");
        let error = RulesetText::parse("table inet bailey {\n}\nflush ruleset").unwrap_err();
        insta::assert_snapshot!(error, @"line 3: the text is one `table inet bailey { ... }` and nothing else");
    }
}
