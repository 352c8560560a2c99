//! Messages out of a stream (RFC 6587, RFC 5425): counted (`17 <13>...`) or one a line. Senders do not
//! say which; every message shows it by its first octet.

use super::MAX_MESSAGE;

/// The most digits of a count: longer messages than [`MAX_SKIPPED`] are not followed.
const MAX_DIGITS: usize = 7;

/// The longest counted message that is skipped in order to read the one after it, in octets.
const MAX_SKIPPED: usize = 1024 * 1024;

/// Why a stream cannot be followed any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the stream holds no messages: a count is no number, or is above {MAX_SKIPPED}")]
pub struct NotFramed;

/// A message out of a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// Its octets, at most [`MAX_MESSAGE`].
    pub message: Vec<u8>,
    /// Whether more was sent and cut off.
    pub cut: bool,
}

/// Cuts a stream into messages, whatever the pieces in which it comes. Holds one message at most.
#[derive(Debug, Default)]
pub struct Frames {
    state: State,
    held: Vec<u8>,
    cut: bool,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Before the first octet of a message.
    #[default]
    Between,
    /// In the count: how much it is so far, and how many digits it has.
    Count(usize, usize),
    /// In a counted message, of which this much is left.
    Counted(usize),
    /// In a line.
    Line,
}

impl Frames {
    /// Takes the next piece of the stream; puts the messages that end in it into `ended`.
    ///
    /// # Errors
    /// When the stream cannot be followed any more; what ended before that is in `ended`.
    pub fn push(&mut self, mut piece: &[u8], ended: &mut Vec<Frame>) -> Result<(), NotFramed> {
        while let Some(first) = piece.first().copied() {
            match self.state {
                State::Between => match first {
                    b'1'..=b'9' => self.state = State::Count(0, 0),
                    // Between two lines, and behind counted messages of some senders.
                    b'\n' | b'\r' | b'\0' | b' ' => piece = &piece[1..],
                    _ => self.state = State::Line,
                },
                State::Count(count, digits) => {
                    piece = &piece[1..];
                    self.state = match first {
                        b'0'..=b'9' if digits < MAX_DIGITS => {
                            State::Count(count * 10 + usize::from(first - b'0'), digits + 1)
                        }
                        b' ' if count > 0 && count <= MAX_SKIPPED => State::Counted(count),
                        _ => return Err(NotFramed),
                    };
                }
                State::Counted(left) => {
                    let taken = left.min(piece.len());
                    self.hold(&piece[..taken]);
                    piece = &piece[taken..];
                    if taken == left {
                        ended.extend(self.end());
                    } else {
                        self.state = State::Counted(left - taken);
                    }
                }
                State::Line => {
                    let end = piece.iter().position(|octet| matches!(octet, b'\n' | b'\0'));
                    self.hold(&piece[..end.unwrap_or(piece.len())]);
                    match end {
                        Some(end) => {
                            piece = &piece[end + 1..];
                            ended.extend(self.end());
                        }
                        None => piece = &[],
                    }
                }
            }
        }
        Ok(())
    }

    /// The stream has ended; gives the message that had no end yet. One that was counted is cut.
    ///
    /// # Errors
    /// When it ended in a count.
    pub fn finish(&mut self) -> Result<Option<Frame>, NotFramed> {
        match self.state {
            State::Between => Ok(None),
            State::Line => Ok(self.end()),
            State::Counted(_) => {
                self.cut = true;
                Ok(self.end())
            }
            State::Count(..) => Err(NotFramed),
        }
    }

    fn hold(&mut self, octets: &[u8]) {
        let room = MAX_MESSAGE - self.held.len();
        self.held.extend_from_slice(&octets[..octets.len().min(room)]);
        self.cut |= octets.len() > room;
    }

    fn end(&mut self) -> Option<Frame> {
        self.state = State::Between;
        let cut = std::mem::take(&mut self.cut);
        let message = std::mem::take(&mut self.held);
        (!message.is_empty()).then_some(Frame { message, cut })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn pushed(frames: &mut Frames, piece: &[u8]) -> Vec<Frame> {
        let mut ended = Vec::new();
        frames.push(piece, &mut ended).unwrap();
        ended
    }

    fn texts(frames: &[Frame]) -> Vec<String> {
        frames.iter().map(|f| String::from_utf8_lossy(&f.message).into_owned()).collect()
    }

    #[test]
    fn counted_messages_and_lines_are_told_apart_one_by_one() {
        let mut frames = Frames::default();
        let stream = b"9 <13>a\nb c<14>line one\n\n<15>line two\r\n7 <16>end";
        let ended = pushed(&mut frames, stream);
        assert_eq!(texts(&ended), ["<13>a\nb c", "<14>line one", "<15>line two\r", "<16>end"]);
        assert_eq!(pushed(&mut frames, b"<17>cut off"), []);
        assert_eq!(texts(&[frames.finish().unwrap().unwrap()]), ["<17>cut off"]);
        assert_eq!(frames.finish(), Ok(None));
    }

    #[test]
    fn what_is_too_long_is_cut_and_the_one_after_it_is_read() {
        let mut frames = Frames::default();
        let long = "x".repeat(MAX_MESSAGE * 3);
        let stream = format!("{} {long}<13>line {long}\n<14>next\n", long.len());
        let ended: Vec<Frame> =
            stream.as_bytes().chunks(1000).flat_map(|c| pushed(&mut frames, c)).collect();
        assert_eq!(ended.len(), 3);
        assert!(ended[0].cut && ended[1].cut && !ended[2].cut);
        assert!(ended.iter().all(|frame| frame.message.len() <= MAX_MESSAGE));
        assert_eq!(ended[2].message, b"<14>next");
    }

    #[test]
    fn a_stream_that_counts_wrong_is_given_up() {
        for stream in ["12x<13>a", "99999999 a", "1048577 a", "123456789012345678901234567890 "] {
            let mut ended = Vec::new();
            let followed = Frames::default().push(stream.as_bytes(), &mut ended);
            assert_eq!((followed, ended), (Err(NotFramed), Vec::new()), "{stream}");
        }
    }

    #[test]
    fn what_ended_before_a_stream_went_wrong_or_broke_off_is_not_lost() {
        let mut ended = Vec::new();
        let followed = Frames::default().push(b"5 <13>a<14>b\n12x", &mut ended);
        assert_eq!(followed, Err(NotFramed));
        assert_eq!(texts(&ended), ["<13>a", "<14>b"]);

        let mut frames = Frames::default();
        assert_eq!(pushed(&mut frames, b"20 <13>a"), []);
        let broken = frames.finish().unwrap().unwrap();
        assert_eq!((broken.message.as_slice(), broken.cut), (b"<13>a".as_slice(), true));
        assert_eq!(pushed(&mut frames, b"20"), []);
        assert_eq!(frames.finish(), Err(NotFramed));
    }

    proptest! {
        #[test]
        fn the_pieces_in_which_a_stream_comes_do_not_matter(
            messages in prop::collection::vec((any::<bool>(), "<[0-9]{2}>[a-z ]{1,40}"), 1..8),
            pieces in prop::collection::vec(1..20_usize, 1..40),
        ) {
            let stream: String = messages
                .iter()
                .map(|(counted, text)| if *counted {
                    format!("{} {text}", text.len())
                } else {
                    format!("{text}\n")
                })
                .collect();
            let mut frames = Frames::default();
            let (mut left, mut got) = (stream.as_bytes(), Vec::new());
            for piece in pieces.iter().cycle() {
                if left.is_empty() { break; }
                let (now, later) = left.split_at((*piece).min(left.len()));
                got.extend(pushed(&mut frames, now));
                left = later;
            }
            let sent: Vec<String> = messages.into_iter().map(|(_, text)| text).collect();
            prop_assert_eq!(texts(&got), sent);
        }

        #[test]
        fn no_stream_panics_and_none_is_held_beyond_one_message(
            pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 0..20)
        ) {
            let mut frames = Frames::default();
            for piece in &pieces {
                let mut ended = Vec::new();
                let followed = frames.push(piece, &mut ended);
                prop_assert!(ended.iter().all(|frame| frame.message.len() <= MAX_MESSAGE));
                prop_assert!(frames.held.len() <= MAX_MESSAGE);
                if followed.is_err() { break; }
            }
        }
    }
}
