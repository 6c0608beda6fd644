@0xea2eb4a668188607;
# The service that `capspan demo` talks to: it analyses a text and hands the results out bit by
# bit, through a capability that lives as long as somebody wants more.
#
# Regenerate the compiled request after a change, in `cli/`:
#
#     capnp compile -o- --src-prefix=schema schema/analysis.capnp > schema/analysis.cgr

interface Analyzer {
  # Analyses texts. It keeps nothing from one text to the next.

  analyze @0 (text :Text) -> (cursor :Cursor);
  # Analyses `text` and returns a cursor at the first result. The analyzer holds the results for as
  # long as somebody holds the cursor; dropping it is how to say "enough".
}

interface Cursor {
  # A place in the results of one analysis. Results come in this order: one `summary`, the `word`s
  # from the most frequent on, one `sentences`, the `band`s from the shortest on, one `readingTime`.

  next @0 (limit :UInt32) -> (results :List(Result), done :Bool);
  # The next results, at most `limit` of them, and moves on. Zero: as many as the service thinks
  # fit. The service may give fewer than asked for, yet at least one unless there are no more.
  #
  # `done`: these were the last. After that, `next` gives an empty list and `done` again.
}

struct Result {
  # One result. A reader that does not know the kind skips it.

  union {
    summary @0 :Summary;
    # How much text it is.

    word @1 :FrequentWord;
    # One of the most frequent words.

    sentences @2 :SentenceLengths;
    # How long the sentences are, in four numbers.

    band @3 :LengthBand;
    # One bar of the histogram of sentence lengths.

    readingTime @4 :ReadingTime;
    # How long reading the text takes.
  }
}

struct Summary {
  # How much text it is. What a word is, is Unicode's word boundary rule (UAX #29).

  bytes @0 :UInt64;
  # Its size in UTF-8.

  tokens @1 :UInt64;
  # Words, numbers, punctuation marks and symbols: all segments that are not white space.

  words @2 :UInt64;
  # The tokens that hold a letter or a digit.

  distinctWords @3 :UInt64;
  # Different words; upper and lower case are the same.
}

struct FrequentWord {
  # A word and how often it stands in the text. Words that come equally often are in
  # alphabetical order (by code point).

  text @0 :Text;
  # In lower case.

  count @1 :UInt64;
  # How often; at least 1.
}

struct SentenceLengths {
  # Sentence lengths, in words. All zero if the text holds no sentence.

  count @0 :UInt64;
  # How many sentences there are.

  min @1 :UInt64;
  # The shortest; at least 1.

  median @2 :Float64;
  # Half of the sentences are no longer than this; the mean of the middle two if `count` is even.

  mean @3 :Float64;
  # The average.

  max @4 :UInt64;
  # The longest.
}

struct LengthBand {
  # One bar of the histogram of sentence lengths.

  from @0 :UInt64;
  # The fewest words of a sentence in this band.

  to @1 :UInt64;
  # The most words; zero: no upper end.

  sentences @2 :UInt64;
  # How many sentences are as long as that. May be zero between two bands that are not.
}

struct ReadingTime {
  # How long reading the text takes, silently.

  milliseconds @0 :UInt64;
  # The time.

  wordsPerMinute @1 :UInt32;
  # The speed that was assumed.
}
