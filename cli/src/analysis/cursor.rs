//! A place in the results of one analysis.

use std::vec;

use super::results::{Analysis, AnalysisResult};

/// How many results [`Cursor::next`] gives when it is left the choice.
pub const DEFAULT_LIMIT: u32 = 16;

/// The most results that [`Cursor::next`] gives at once.
pub const MAX_LIMIT: u32 = 256;

/// Hands the results of an analysis out, a few at a time: the summary, the frequent words, the
/// sentence lengths and their bands, the reading time.
#[derive(Debug)]
pub struct Cursor {
    rest: vec::IntoIter<AnalysisResult>,
}

impl Cursor {
    /// A cursor at the first result.
    pub fn new(analysis: Analysis) -> Self {
        let mut results = vec![AnalysisResult::Summary(analysis.summary)];
        results.extend(analysis.words.into_iter().map(AnalysisResult::Word));
        results.push(AnalysisResult::Sentences(analysis.sentences));
        results.extend(analysis.bands.into_iter().map(AnalysisResult::Band));
        results.push(AnalysisResult::ReadingTime(analysis.reading_time));
        Self {
            rest: results.into_iter(),
        }
    }

    /// The next results and whether they were the last. `limit` is cut to [`MAX_LIMIT`]; zero stands
    /// for [`DEFAULT_LIMIT`]. After the last there is nothing, and `true` again.
    pub fn next(&mut self, limit: u32) -> (Vec<AnalysisResult>, bool) {
        let limit = match limit {
            0 => DEFAULT_LIMIT,
            limit => limit.min(MAX_LIMIT),
        };
        let results = self.rest.by_ref().take(limit as usize).collect();
        (results, self.rest.as_slice().is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analysis::Counter;

    /// Two words, one sentence: summary, 2 words, sentences, 1 band, reading time.
    fn cursor() -> Cursor {
        let mut counter = Counter::default();
        counter.feed("Two words.");
        Cursor::new(counter.finish())
    }

    #[test]
    fn results_come_in_their_order_and_done_comes_with_the_last() {
        use AnalysisResult as R;
        let mut cursor = cursor();
        let (first, done) = cursor.next(4);
        assert!(!done);
        assert!(matches!(
            &first[..],
            [R::Summary(_), R::Word(a), R::Word(b), R::Sentences(_)]
                if (&a.text[..], &b.text[..]) == ("two", "words")
        ));
        let (second, done) = cursor.next(2);
        assert!(done);
        assert!(matches!(&second[..], [R::Band(_), R::ReadingTime(_)]));
        assert_eq!(cursor.next(2), (vec![], true));
    }

    #[test]
    fn zero_leaves_the_choice_and_too_much_is_cut() {
        assert_eq!(cursor().next(0).0.len(), 6);
        let mut counter = Counter::default();
        counter.feed(&(0..100).map(|i| format!("w{i} ")).collect::<String>());
        let analysis = counter.finish();
        assert_eq!(Cursor::new(analysis.clone()).next(0).0.len(), 16);
        let (all, done) = Cursor::new(analysis).next(u32::MAX);
        assert_eq!((all.len(), done), (1 + 50 + 1 + 9 + 1, true));
    }
}
