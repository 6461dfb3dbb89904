//! Ranges of rounds.

/// Adds a round, unless it is among them, to ranges (first, last) that end before it or with it.
pub fn add_round(ranges: &mut Vec<(u64, u64)>, round: u64) {
    match ranges.last_mut() {
        Some((_, last)) if *last >= round => {}
        Some((_, last)) if *last + 1 == round => *last = round,
        _ => ranges.push((round, round)),
    }
}
