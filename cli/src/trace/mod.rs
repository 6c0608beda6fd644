//! `capspan trace`: span records from a file, as trees, as a page, for Perfetto, or as they are.
//!
//! What each file has to say, in the order in which a span comes by:
//!
//! - `source`, `follow`: bytes of a file, as it is or as it grows
//! - `filter`: what is wanted
//! - `pass`: lines as they are
//! - `store`, `footprint`: spans until their trace is over, and how much memory they take
//! - `show`: traces to all of the following
//! - `html`, `perfetto`, `plain`: files for browsers
//! - `out_file`, `interrupt`: how they are written as a whole or not at all
//! - `summary`, `progress`: what is said at the end, and meanwhile

mod filter;
mod follow;
mod footprint;
mod html;
mod interrupt;
mod out_file;
mod pass;
mod perfetto;
mod plain;
mod progress;
mod show;
mod source;
mod store;
mod summary;
mod work;

use crate::args::TraceArgs;
use crate::failure::Failure;
use crate::terminal::Style;

/// Shows what is in the file, once or as it grows.
pub fn run(args: &TraceArgs, style: Style) -> Result<(), Failure> {
    if args.follow {
        follow::run(args, style)
    } else if args.html.is_some() || args.perfetto.is_some() {
        let args = args.clone();
        interrupt::or_interrupted(move |unfinished| source::run(&args, style, &unfinished))
    } else {
        source::run(args, style, &interrupt::Unfinished::default())
    }
}
