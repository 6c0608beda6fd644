//! A bar for time.

/// One cell is drawn in steps of an eighth.
const STEPS: u64 = 8;
const FROM_LEFT: [char; 9] = [' ', '▏', '▎', '▍', '▌', '▋', '▊', '▉', '█'];
const OPEN: char = '▒';

/// A bar of `width` cells which stand for the time `0..whole`; `from..to` of it is filled, at least
/// an eighth of a cell. Without a `to` it is filled to the end, in a pattern that shows that the end
/// is not known.
pub(super) fn draw(from: u64, to: Option<u64>, whole: u64, width: usize) -> String {
    let steps = width as u64 * STEPS;
    if steps == 0 {
        return String::new();
    }
    let first = scale(from, whole, steps).min(steps - 1);
    let last = match to {
        Some(to) => scale(to, whole, steps).max(first + 1),
        None => steps,
    };
    (0..width as u64)
        .map(|index| {
            let left = (index * STEPS).max(first);
            let right = (index * STEPS + STEPS).min(last);
            match right.saturating_sub(left) {
                0 => ' ',
                _ if to.is_none() => OPEN,
                filled => cell(left - index * STEPS, filled),
            }
        })
        .collect()
}

/// `time` of `whole` as steps, rounded; all of them where nothing took any time.
fn scale(time: u64, whole: u64, steps: u64) -> u64 {
    if whole == 0 {
        return if time == 0 { 0 } else { steps };
    }
    let scaled = (u128::from(time) * u128::from(steps) + u128::from(whole / 2)) / u128::from(whole);
    u64::try_from(scaled).map_or(steps, |scaled| scaled.min(steps))
}

/// A cell with `filled` steps from step `start` on. Unicode fills cells from the left in eighths,
/// from the right only by a half and by an eighth: the nearest one is taken.
fn cell(start: u64, filled: u64) -> char {
    match (start, filled) {
        (0, _) => FROM_LEFT.get(filled as usize).copied().unwrap_or('█'),
        (_, 6..) => '█',
        (_, 3..) => '▐',
        (4.., _) => '▕',
        _ => '▏',
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_fills_its_part() {
        assert_eq!(draw(0, Some(100), 100, 4), "████");
        assert_eq!(draw(0, Some(50), 100, 4), "██  ");
        assert_eq!(draw(25, Some(75), 100, 4), " ██ ");
        assert_eq!(draw(0, Some(30), 100, 4), "█▎  ");
        assert_eq!(draw(12, Some(100), 100, 4), "▐███");
        assert_eq!(draw(22, Some(100), 100, 4), "▕███");
        assert_eq!(draw(3, Some(100), 100, 4), "████");
    }

    #[test]
    fn nothing_is_too_short_to_be_seen() {
        assert_eq!(draw(0, Some(0), 1_000_000, 4), "▏   ");
        assert_eq!(draw(500_000, Some(500_000), 1_000_000, 4), "  ▏ ");
        assert_eq!(draw(1_000_000, Some(1_000_000), 1_000_000, 4), "   ▕");
        assert_eq!(draw(0, Some(0), 0, 4), "▏   ");
    }

    #[test]
    fn an_open_bar_goes_on_to_the_end() {
        assert_eq!(draw(50, None, 100, 4), "  ▒▒");
    }

    #[test]
    fn odd_numbers_do_no_harm() {
        assert_eq!(draw(u64::MAX, Some(0), 1, 4), "   ▕");
        assert_eq!(draw(0, Some(u64::MAX), u64::MAX, 4), "████");
        assert_eq!(draw(5, Some(9), 0, 2), " ▕");
        assert_eq!(draw(0, Some(1), 1, 0), "");
    }
}
