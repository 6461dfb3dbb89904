//! Counts of what the cells of a column look like, and what follows from them.

use crate::error::{CellDefect, Place};
use crate::preprocessing::ColumnKind;

/// What a cell of a column was seen to be.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Seen {
    /// A number other than 0 and 1.
    Number,
    /// 0 or 1.
    Bit,
    /// A word for true or false.
    Word,
    Date,
    Text,
}

/// What the cells of a column were seen to be.
#[derive(Debug, Clone, Default)]
pub(crate) struct Tally {
    cells: [u64; 5],
    first: [Option<Place>; 5],
    /// Why the first text is no number.
    pub(crate) defect: Option<CellDefect>,
}

/// What follows from a tally.
pub(crate) enum Verdict {
    Kind(ColumnKind),
    /// A category, if there are not too many.
    Text,
    Refused(Place, CellDefect),
    /// No cell has a value.
    Nothing,
}

impl Tally {
    pub(crate) fn note(&mut self, seen: Seen, place: &impl Fn() -> Place) {
        self.cells[seen as usize] += 1;
        self.first[seen as usize].get_or_insert_with(place);
    }

    /// The first place at which one of these was seen.
    fn first(&self, seen: &[Seen]) -> Option<Place> {
        let places = seen.iter().filter_map(|&seen| self.first[seen as usize].as_ref());
        places.min_by_key(|place| place.row).cloned()
    }

    pub(crate) fn verdict(&self) -> Verdict {
        use Seen::{Bit, Date, Number, Text, Word};
        let [numbers, bits, words, dates, texts] = self.cells;
        let all = self.cells.iter().sum::<u64>();
        let no_numbers = self.first(&[Date, Text]);
        let no_dates = self.first(&[Number, Bit, Word, Text]);
        match (no_numbers, no_dates) {
            _ if all == 0 => Verdict::Nothing,
            (None, _) if words > 0 && numbers == 0 => Verdict::Kind(ColumnKind::Boolean),
            (None, _) => Verdict::Kind(ColumnKind::Number),
            (_, None) => Verdict::Kind(ColumnKind::Date),
            // A few odd cells do not turn numbers or dates into names.
            (_, Some(place)) if 2 * dates >= all => Verdict::Refused(place, CellDefect::NotADate),
            (Some(place), _) if 2 * (numbers + bits) >= all => {
                let defect = self.defect.clone().filter(|_| texts > 0);
                Verdict::Refused(place, defect.unwrap_or(CellDefect::NotANumber { hint: "" }))
            }
            _ => Verdict::Text,
        }
    }
}
