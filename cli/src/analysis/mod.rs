//! What the demo's service finds out about a text. Everything is computed from the text.
//!
//! A [`Counter`] is fed the text in pieces and gives an [`Analysis`]; a [`Cursor`] hands that out as
//! a few [`AnalysisResult`]s at a time, and [`wire`] carries these over Cap'n Proto.
//!
//! ```
//! use capspan_cli::analysis::{AnalysisResult, Counter, Cursor};
//!
//! let mut counter = Counter::default();
//! counter.feed("One text. Two ");
//! counter.feed("sentences.");
//! let mut cursor = Cursor::new(counter.finish());
//!
//! let (first, done) = cursor.next(1);
//! assert!(matches!(&first[..], [AnalysisResult::Summary(summary)] if summary.words == 4));
//! assert!(!done);
//! ```

mod counter;
mod cursor;
mod results;
pub mod wire;

pub use counter::{Counter, MODEL};
pub use cursor::{Cursor, DEFAULT_LIMIT, MAX_LIMIT};
pub use results::{
    Analysis, AnalysisResult, FREQUENT_WORDS, FrequentWord, LengthBand, ReadingTime,
    SentenceLengths, Summary, WORDS_PER_MINUTE,
};
