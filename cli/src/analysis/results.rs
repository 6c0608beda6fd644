//! The results: plain values, and how they follow from the counts.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

/// How many of the most frequent words an analysis gives.
pub const FREQUENT_WORDS: usize = 50;

/// The speed of silent reading that [`ReadingTime`] assumes: the average of adults reading English
/// non-fiction (Brysbaert, "How many words do we read per minute?", 2019).
pub const WORDS_PER_MINUTE: u32 = 238;

/// Sentences of up to 5, 10, … 40 words share a band of the histogram; the last band has no end.
const BAND: u64 = 5;
const LAST_BAND: u64 = 8;

/// How much text it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Its size in UTF-8.
    pub bytes: u64,
    /// All segments that are not white space: words, punctuation marks, symbols.
    pub tokens: u64,
    /// The tokens that hold a letter or a digit.
    pub words: u64,
    /// Different words; upper and lower case are the same.
    pub distinct_words: u64,
}

/// A word and how often it stands in the text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FrequentWord {
    /// In lower case, with a straight apostrophe.
    pub text: String,
    /// How often.
    pub count: u64,
}

/// Sentence lengths, in words; all zero without a sentence.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct SentenceLengths {
    /// How many sentences there are.
    pub count: u64,
    /// The shortest.
    pub min: u64,
    /// The one in the middle; the mean of the middle two if there is no single one.
    pub median: f64,
    /// The average.
    pub mean: f64,
    /// The longest.
    pub max: u64,
}

/// One bar of the histogram of sentence lengths.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LengthBand {
    /// The fewest words of a sentence in this band.
    pub from: u64,
    /// The most words; `None`: no upper end.
    pub to: Option<u64>,
    /// How many sentences are as long as that.
    pub sentences: u64,
}

/// How long reading the text takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReadingTime {
    /// The time, in whole milliseconds.
    pub time: Duration,
    /// The speed that was assumed.
    pub words_per_minute: u32,
}

/// All that is known of a text.
#[derive(Clone, Debug, PartialEq)]
pub struct Analysis {
    /// How much text it is.
    pub summary: Summary,
    /// At most [`FREQUENT_WORDS`], the most frequent first, equally frequent ones by code point. No
    /// word is left out for being common: which words those are depends on the language.
    pub words: Vec<FrequentWord>,
    /// How long its sentences are.
    pub sentences: SentenceLengths,
    /// The histogram of that: from the first band to the last that is not empty.
    pub bands: Vec<LengthBand>,
    /// How long reading takes.
    pub reading_time: ReadingTime,
}

/// One result, as a [`Cursor`](super::Cursor) hands it out: `Result` in the schema.
#[derive(Clone, Debug, PartialEq)]
pub enum AnalysisResult {
    /// How much text it is.
    Summary(Summary),
    /// One of the most frequent words.
    Word(FrequentWord),
    /// How long its sentences are.
    Sentences(SentenceLengths),
    /// One bar of the histogram of sentence lengths.
    Band(LengthBand),
    /// How long reading takes.
    ReadingTime(ReadingTime),
}

/// The most frequent words of `counts`, in their order.
pub(super) fn most_frequent(counts: HashMap<String, u64>) -> Vec<FrequentWord> {
    let mut words: Vec<_> = counts
        .into_iter()
        .map(|(text, count)| FrequentWord { text, count })
        .collect();
    let order = |a: &FrequentWord, b: &FrequentWord| {
        (Reverse(a.count), &a.text).cmp(&(Reverse(b.count), &b.text))
    };
    if words.len() > FREQUENT_WORDS {
        // Of a million words only these few need to be sorted.
        words.select_nth_unstable_by(FREQUENT_WORDS, order);
        words.truncate(FREQUENT_WORDS);
    }
    words.sort_unstable_by(order);
    words
}

/// The numbers about sentences from how many there are of each length.
pub(super) fn sentence_lengths(lengths: &BTreeMap<u64, u64>) -> SentenceLengths {
    let count: u64 = lengths.values().sum();
    let (Some(min), Some(max)) = (lengths.keys().next(), lengths.keys().last()) else {
        return SentenceLengths::default();
    };
    let words: u64 = lengths.iter().map(|(length, times)| length * times).sum();
    let middle = (nth(lengths, (count - 1) / 2), nth(lengths, count / 2));
    SentenceLengths {
        count,
        min: *min,
        median: (middle.0 + middle.1) as f64 / 2.0,
        mean: words as f64 / count as f64,
        max: *max,
    }
}

/// The length of the sentence at `index`, counted from 0 when all are sorted by length.
fn nth(lengths: &BTreeMap<u64, u64>, index: u64) -> u64 {
    let mut seen = 0;
    for (length, times) in lengths {
        seen += times;
        if seen > index {
            return *length;
        }
    }
    0
}

/// The histogram from how many sentences there are of each length.
pub(super) fn bands(lengths: &BTreeMap<u64, u64>) -> Vec<LengthBand> {
    let mut bands: Vec<LengthBand> = Vec::new();
    for (length, times) in lengths {
        let wanted = (length.saturating_sub(1) / BAND).min(LAST_BAND);
        for index in bands.len() as u64..=wanted {
            bands.push(LengthBand {
                from: index * BAND + 1,
                to: (index < LAST_BAND).then_some((index + 1) * BAND),
                sentences: 0,
            });
        }
        if let Some(band) = bands.last_mut() {
            band.sentences += times;
        }
    }
    bands
}

/// How long reading `words` words takes.
pub(super) fn reading_time(words: u64) -> ReadingTime {
    ReadingTime {
        time: Duration::from_millis(words.saturating_mul(60_000) / u64::from(WORDS_PER_MINUTE)),
        words_per_minute: WORDS_PER_MINUTE,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frequent_words_are_sorted_by_count_then_alphabet_and_cut() {
        let mut counts: HashMap<_, _> = (0..60).map(|i| (format!("w{i:02}"), 1)).collect();
        counts.insert("zebra".into(), 3);
        counts.insert("ant".into(), 3);
        let words = most_frequent(counts);
        assert_eq!(words.len(), FREQUENT_WORDS);
        let texts: Vec<_> = words.iter().map(|word| &word.text[..]).collect();
        assert_eq!(texts[..4], ["ant", "zebra", "w00", "w01"]);
    }

    #[test]
    fn an_odd_and_an_even_number_of_sentences_have_their_median() {
        // 2, 3, 3, 8: the middle two are 3 and 3.
        let even = sentence_lengths(&BTreeMap::from([(2, 1), (3, 2), (8, 1)]));
        assert_eq!((even.median, even.mean), (3.0, 4.0));
        // 1, 4: between them.
        assert_eq!(
            sentence_lengths(&BTreeMap::from([(1, 1), (4, 1)])).median,
            2.5
        );
        // 1, 4, 9: the one in the middle.
        assert_eq!(
            sentence_lengths(&BTreeMap::from([(1, 1), (4, 1), (9, 1)])).median,
            4.0
        );
        assert_eq!(
            sentence_lengths(&BTreeMap::new()),
            SentenceLengths::default()
        );
    }

    #[test]
    fn bands_have_no_gaps_and_the_last_has_no_end() {
        let band = |from, to, sentences| LengthBand {
            from,
            to,
            sentences,
        };
        assert_eq!(
            bands(&BTreeMap::from([(1, 2), (5, 1), (11, 4)])),
            [
                band(1, Some(5), 3),
                band(6, Some(10), 0),
                band(11, Some(15), 4)
            ]
        );
        let long = bands(&BTreeMap::from([(40, 1), (41, 1), (u64::MAX, 1)]));
        assert_eq!(long[7..], [band(36, Some(40), 1), band(41, None, 2)]);
    }

    #[test]
    fn reading_238_words_takes_a_minute() {
        assert_eq!(reading_time(238).time, Duration::from_secs(60));
        assert_eq!(reading_time(119).time, Duration::from_secs(30));
        assert_eq!(reading_time(0).time, Duration::ZERO);
    }
}
