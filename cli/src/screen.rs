//! Text for a terminal: tables that stay aligned with Chinese in them, colours where they are
//! wanted, and nothing that a hostile device could do with either.

use std::time::Duration;

use bailey_rules::check::State;
use bailey_rules::text::{Lang, Text};
use bailey_rules::time;
use unicode_width::UnicodeWidthStr as _;

/// Columns between two columns of a table.
const GAP: usize = 2;

/// How this terminal wants its text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Screen {
    /// The reader's language.
    pub lang: Lang,
    /// Whether states are coloured besides their shape and word.
    pub colour: bool,
}

impl Screen {
    /// The words of `text` in the reader's language, safe to show.
    #[must_use]
    pub fn say(&self, text: &Text) -> String {
        clean(text.in_lang(self.lang))
    }

    /// One of two words, by the reader's language.
    #[must_use]
    pub const fn word<'a>(&self, en: &'a str, zh: &'a str) -> &'a str {
        match self.lang {
            Lang::En => en,
            Lang::Zh => zh,
        }
    }

    /// Headings by the reader's language.
    #[must_use]
    pub fn words_of<const COUNT: usize>(
        &self,
        words: [(&'static str, &'static str); COUNT],
    ) -> [&'static str; COUNT] {
        words.map(|(en, zh)| self.word(en, zh))
    }

    /// What a part of the site is called; one of a later version keeps its own word.
    #[must_use]
    pub fn component<'a>(&self, component: &'a str) -> &'a str {
        match component {
            "host" => self.word("host", "健康"),
            "firewall" => self.word("firewall", "防火墙"),
            "backup" => self.word("backup", "备份"),
            "isolation" => self.word("isolation", "隔离"),
            "agent" => self.word("agent", "代理"),
            "network" => self.word("network", "网络"),
            "power" => self.word("power", "电源"),
            other => other,
        }
    }

    /// How long `seconds` are, to one figure that matters; what is no length counts as none.
    #[must_use]
    pub fn length(&self, seconds: f64) -> String {
        let length = Duration::try_from_secs_f64(seconds).unwrap_or_default();
        time::spoken(length).in_lang(self.lang).to_owned()
    }

    /// A state: shape, word and, where wanted, colour.
    #[must_use]
    pub fn state(&self, state: State) -> Cell {
        let word = state.word();
        Cell {
            text: format!("{} {}", state.shape(), word.in_lang(self.lang)),
            colour: self.colour.then(|| colour_of(state)),
        }
    }
}

/// Select Graphic Rendition parameters (ECMA-48 8.3.117).
const fn colour_of(state: State) -> &'static str {
    match state {
        State::Ok => "32",
        State::Maintenance => "36",
        State::Stale => "2",
        State::Unknown => "35",
        State::Warning => "33",
        State::Critical => "1;31",
    }
}

/// `text` without what could move the cursor, change the terminal or turn the direction of
/// writing: a device's own words are shown here.
#[must_use]
pub fn clean(text: &str) -> String {
    let turns = |c: char| matches!(c, '\u{200e}' | '\u{200f}' | '\u{061c}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    text.chars().map(|c| if c.is_control() || turns(c) { '\u{fffd}' } else { c }).collect()
}

/// One cell of a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cell {
    text: String,
    colour: Option<&'static str>,
}

impl Cell {
    /// A cell of text that was made here, of words and coloured states. Only for the last column:
    /// its width is not known.
    #[must_use]
    pub const fn made(text: String) -> Self {
        Self { text, colour: None }
    }

    /// The cell as a line shows it: coloured where that is wanted.
    #[must_use]
    pub fn shown(&self) -> String {
        match self.colour {
            Some(colour) => format!("\u{1b}[{colour}m{}\u{1b}[0m", self.text),
            None => self.text.clone(),
        }
    }
}

impl<T: AsRef<str>> From<T> for Cell {
    /// A cell of plain text, made safe to show.
    fn from(text: T) -> Self {
        Self { text: clean(text.as_ref()), colour: None }
    }
}

/// A table whose columns are as wide as their widest cell.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Table {
    rows: Vec<Vec<Cell>>,
    indent: usize,
}

impl Table {
    /// A table under these headings.
    #[must_use]
    pub fn headed<const COLUMNS: usize>(headings: [&str; COLUMNS]) -> Self {
        Self { rows: vec![headings.iter().map(Cell::from).collect()], indent: 0 }
    }

    /// A table of a name and what is to be said of it, `indent` columns from the left.
    #[must_use]
    pub const fn indented(indent: usize) -> Self {
        Self { rows: Vec::new(), indent }
    }

    /// Adds a row.
    pub fn row<const COLUMNS: usize>(&mut self, cells: [Cell; COLUMNS]) {
        self.rows.push(cells.into());
    }

    /// Adds a row of as many cells as there are.
    pub fn row_of(&mut self, cells: impl IntoIterator<Item = Cell>) {
        self.rows.push(cells.into_iter().collect());
    }

    /// The table as lines, each ended; nothing is padded after the last cell.
    #[must_use]
    pub fn render(&self) -> String {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let widths: Vec<usize> = (0..columns)
            .map(|column| {
                let cells = self.rows.iter().filter_map(|row| row.get(column));
                cells.map(|cell| cell.text.width()).max().unwrap_or(0)
            })
            .collect();
        let mut out = String::new();
        for row in &self.rows {
            let last = row.iter().rposition(|cell| !cell.text.is_empty());
            out.extend(std::iter::repeat_n(' ', self.indent));
            for (column, cell) in row.iter().enumerate() {
                out.push_str(&cell.shown());
                if last.is_none_or(|last| column >= last) {
                    break;
                }
                let padding = widths[column] - cell.text.width() + GAP;
                out.extend(std::iter::repeat_n(' ', padding));
            }
            out.push('\n');
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: Screen = Screen { lang: Lang::Zh, colour: false };

    #[test]
    fn columns_stay_aligned_when_cells_hold_chinese() {
        let mut table = Table::headed(["主机", "zone", "why"]);
        table.row(["oa-17".into(), "inner 内网".into(), "备份过期".into()]);
        table.row(["h".into(), "x".into(), "".into()]);
        assert_eq!(
            table.render(),
            "主机   zone        why\n\
             oa-17  inner 内网  备份过期\n\
             h      x\n"
        );
    }

    #[test]
    fn a_device_cannot_speak_to_the_terminal() {
        let evil = "eth0\u{1b}[2J\u{202e}\r\nok";
        assert_eq!(clean(evil), "eth0\u{fffd}[2J\u{fffd}\u{fffd}\u{fffd}ok");
        assert_eq!(Cell::from(evil).shown(), clean(evil));
    }

    #[test]
    fn a_state_is_a_shape_and_a_word_and_a_colour_only_where_wanted() {
        assert_eq!(PLAIN.state(State::Critical).shown(), "■ 严重");
        let coloured = Screen { lang: Lang::En, colour: true };
        assert_eq!(coloured.state(State::Ok).shown(), "\u{1b}[32m● OK\u{1b}[0m");
    }

    #[test]
    fn colour_does_not_count_as_width() {
        let coloured = Screen { lang: Lang::En, colour: true };
        let mut table = Table::headed(["state", "host"]);
        table.row([coloured.state(State::Ok), "a".into()]);
        assert_eq!(table.render(), "state  host\n\u{1b}[32m● OK\u{1b}[0m   a\n");
    }
}
