//! Results to and from `schema/analysis.capnp`.

use std::time::Duration;

use super::results::{
    AnalysisResult, FrequentWord, LengthBand, ReadingTime, SentenceLengths, Summary,
};
use crate::analysis_capnp::result;

/// Writes `results` as the results of a `next` call, with a list of exactly their number.
pub fn write(results: &[AnalysisResult], mut list: capnp::struct_list::Builder<'_, result::Owned>) {
    for (index, result) in (0..list.len()).zip(results) {
        write_one(result, list.reborrow().get(index));
    }
}

fn write_one(result: &AnalysisResult, to: result::Builder<'_>) {
    match result {
        AnalysisResult::Summary(summary) => {
            let mut to = to.init_summary();
            to.set_bytes(summary.bytes);
            to.set_tokens(summary.tokens);
            to.set_words(summary.words);
            to.set_distinct_words(summary.distinct_words);
        }
        AnalysisResult::Word(word) => {
            let mut to = to.init_word();
            to.set_text(&word.text[..]);
            to.set_count(word.count);
        }
        AnalysisResult::Sentences(sentences) => {
            let mut to = to.init_sentences();
            to.set_count(sentences.count);
            to.set_min(sentences.min);
            to.set_median(sentences.median);
            to.set_mean(sentences.mean);
            to.set_max(sentences.max);
        }
        AnalysisResult::Band(band) => {
            let mut to = to.init_band();
            to.set_from(band.from);
            to.set_to(band.to.unwrap_or(0));
            to.set_sentences(band.sentences);
        }
        AnalysisResult::ReadingTime(reading) => {
            let mut to = to.init_reading_time();
            to.set_milliseconds(u64::try_from(reading.time.as_millis()).unwrap_or(u64::MAX));
            to.set_words_per_minute(reading.words_per_minute);
        }
    }
}

/// Reads the results of a `next` call. A result of a kind that this version does not know is left
/// out, as the schema demands.
pub fn read(
    list: capnp::struct_list::Reader<'_, result::Owned>,
) -> capnp::Result<Vec<AnalysisResult>> {
    list.iter().filter_map(read_one).collect()
}

fn read_one(from: result::Reader<'_>) -> Option<capnp::Result<AnalysisResult>> {
    let which = from.which().ok()?;
    Some(read_known(which))
}

fn read_known(which: result::WhichReader<'_>) -> capnp::Result<AnalysisResult> {
    Ok(match which {
        result::Summary(summary) => {
            let from = summary?;
            AnalysisResult::Summary(Summary {
                bytes: from.get_bytes(),
                tokens: from.get_tokens(),
                words: from.get_words(),
                distinct_words: from.get_distinct_words(),
            })
        }
        result::Word(word) => {
            let from = word?;
            AnalysisResult::Word(FrequentWord {
                text: from.get_text()?.to_string()?,
                count: from.get_count(),
            })
        }
        result::Sentences(sentences) => {
            let from = sentences?;
            AnalysisResult::Sentences(SentenceLengths {
                count: from.get_count(),
                min: from.get_min(),
                median: from.get_median(),
                mean: from.get_mean(),
                max: from.get_max(),
            })
        }
        result::Band(band) => {
            let from = band?;
            AnalysisResult::Band(LengthBand {
                from: from.get_from(),
                to: Some(from.get_to()).filter(|to| *to != 0),
                sentences: from.get_sentences(),
            })
        }
        result::ReadingTime(reading) => {
            let from = reading?;
            AnalysisResult::ReadingTime(ReadingTime {
                time: Duration::from_millis(from.get_milliseconds()),
                words_per_minute: from.get_words_per_minute(),
            })
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analysis::{Counter, Cursor};
    use crate::analysis_capnp::cursor::next_results;

    #[test]
    fn results_survive_the_way_over_the_wire() -> capnp::Result<()> {
        let mut counter = Counter::default();
        counter.feed(include_str!("../../text/capabilities.txt"));
        let (results, _) = Cursor::new(counter.finish()).next(256);

        let mut message = capnp::message::Builder::new_default();
        let root = message.init_root::<next_results::Builder<'_>>();
        write(&results, root.init_results(results.len() as u32));
        let bytes = capnp::serialize::write_message_to_words(&message);

        let message = capnp::serialize::read_message(&bytes[..], Default::default())?;
        let root = message.get_root::<next_results::Reader<'_>>()?;
        assert_eq!(read(root.get_results()?)?, results);
        Ok(())
    }

    #[test]
    fn a_band_without_an_end_stays_without_one() -> capnp::Result<()> {
        let band = AnalysisResult::Band(LengthBand {
            from: 41,
            to: None,
            sentences: 7,
        });
        let mut message = capnp::message::Builder::new_default();
        let root = message.init_root::<next_results::Builder<'_>>();
        write(std::slice::from_ref(&band), root.init_results(1));
        let root = message.get_root_as_reader::<next_results::Reader<'_>>()?;
        assert_eq!(read(root.get_results()?)?, [band]);
        Ok(())
    }
}
