//! How wide and how colourful output may be.

/// Narrower than this nothing can be shown; such output is made this wide.
pub const MIN_WIDTH: usize = 20;
/// Wider than this a line is hard to follow with the eye.
pub const MAX_WIDTH: usize = 200;

/// How output has to look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Style {
    width: usize,
    colour: bool,
}

impl Style {
    /// A style of `width` columns, brought between [`MIN_WIDTH`] and [`MAX_WIDTH`].
    pub fn new(width: usize, colour: bool) -> Self {
        Self {
            width: width.clamp(MIN_WIDTH, MAX_WIDTH),
            colour,
        }
    }

    /// How many columns a line may take.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Are there colours?
    pub fn colour(&self) -> bool {
        self.colour
    }
}
