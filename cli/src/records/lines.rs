//! Bytes, as they come, into lines.

/// The most bytes that a line may have: 4 MiB. A span's own limits keep its record far below that.
pub const MAX_LINE: usize = 4 << 20;

/// A line, without its break.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Line<'a> {
    /// What stands on it.
    Text(&'a [u8]),
    /// It is longer than a line may be; nothing of it is kept.
    TooLong,
}

/// Cuts bytes into lines. It never keeps more than one line of the longest allowed, whatever comes.
#[derive(Debug)]
pub struct Lines {
    max: usize,
    /// What came of a line whose end has not come yet.
    begun: Vec<u8>,
    /// Is the current line too long already?
    is_too_long: bool,
    /// How many lines have ended.
    number: usize,
}

impl Lines {
    /// Lines of at most `max` bytes.
    pub fn new(max: usize) -> Self {
        Self {
            max,
            begun: Vec::new(),
            is_too_long: false,
            number: 0,
        }
    }

    /// How many lines there were up to now.
    pub fn number(&self) -> usize {
        self.number
    }

    /// Gives `each` the lines that end in `bytes`, with their numbers from 1 on, until it fails.
    pub fn feed<E>(
        &mut self,
        bytes: &[u8],
        mut each: impl FnMut(usize, Line<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut rest = bytes;
        while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
            let (line, after) = (&rest[..end], &rest[end + 1..]);
            rest = after;
            if self.begun.is_empty() && !self.is_too_long && line.len() <= self.max {
                self.number += 1;
                each(self.number, Line::Text(line))?;
            } else {
                self.keep(line);
                self.end(&mut each)?;
            }
        }
        self.keep(rest);
        Ok(())
    }

    /// There is no more: gives `each` what stands behind the last line break, if anything does.
    pub fn finish<E>(
        &mut self,
        each: impl FnMut(usize, Line<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        if self.begun.is_empty() && !self.is_too_long {
            return Ok(());
        }
        self.end(each)
    }

    fn keep(&mut self, bytes: &[u8]) {
        if self.is_too_long || self.begun.len() + bytes.len() > self.max {
            self.is_too_long = true;
            self.begun = Vec::new();
        } else {
            self.begun.extend_from_slice(bytes);
        }
    }

    fn end<E>(&mut self, mut each: impl FnMut(usize, Line<'_>) -> Result<(), E>) -> Result<(), E> {
        self.number += 1;
        let line = std::mem::take(&mut self.begun);
        if std::mem::take(&mut self.is_too_long) {
            each(self.number, Line::TooLong)
        } else {
            each(self.number, Line::Text(&line))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::convert::Infallible;

    fn cut(pieces: &[&[u8]], max: usize) -> Vec<(usize, Option<Vec<u8>>)> {
        let mut lines = Lines::new(max);
        let mut found = Vec::new();
        let mut each = |number, line: Line<'_>| {
            found.push(match line {
                Line::Text(text) => (number, Some(text.to_vec())),
                Line::TooLong => (number, None),
            });
            Ok::<_, Infallible>(())
        };
        for piece in pieces {
            let Ok(()) = lines.feed(piece, &mut each);
            assert!(lines.begun.len() <= max);
        }
        let Ok(()) = lines.finish(&mut each);
        assert_eq!(lines.number(), found.len());
        found
    }

    #[test]
    fn lines_are_put_together_from_pieces() {
        let found = cut(&[b"a\nb", b"", b"c\n\n", b"d"], 9);
        let wanted = [(1, "a"), (2, "bc"), (3, ""), (4, "d")];
        assert_eq!(found, wanted.map(|(n, text)| (n, Some(text.into()))));
    }

    #[test]
    fn a_line_that_is_too_long_is_left_out_however_it_comes() {
        for pieces in [
            &[&b"abcd\nef\n"[..]][..],
            &[b"ab", b"cd\nef\n"],
            &[b"a", b"b", b"c", b"d", b"\n", b"ef"],
        ] {
            assert_eq!(cut(pieces, 3), [(1, None), (2, Some(b"ef".into()))]);
        }
        assert_eq!(cut(&[b"abc\n"], 3), [(1, Some(b"abc".into()))]);
        assert_eq!(cut(&[b"abcd"], 3), [(1, None)]);
    }

    #[test]
    fn random_pieces_give_the_lines_of_the_whole() {
        // Numerical Recipes' generator: enough to choose where to cut.
        let mut state = 7_u32;
        let mut random = |below: usize| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) as usize % below
        };
        for _ in 0..2_000 {
            let bytes: Vec<u8> = (0..random(60)).map(|_| b"ab\n"[random(3)]).collect();
            let max = random(6);
            let mut pieces = Vec::new();
            let mut rest = &bytes[..];
            while !rest.is_empty() {
                let (piece, after) = rest.split_at(random(rest.len() + 1));
                pieces.push(piece);
                rest = after;
            }
            let mut wanted: Vec<_> = bytes.split(|byte| *byte == b'\n').collect();
            if wanted.last().is_some_and(|last| last.is_empty()) {
                wanted.pop();
            }
            let wanted: Vec<_> = wanted
                .into_iter()
                .enumerate()
                .map(|(index, line)| (index + 1, (line.len() <= max).then(|| line.to_vec())))
                .collect();
            assert_eq!(cut(&pieces, max), wanted, "{bytes:?}");
        }
    }
}
