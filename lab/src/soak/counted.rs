//! What a run counted, and what it must show.

use std::collections::BTreeMap;

use serde::Serialize;

use blindsmith_client::Failure;

/// Minutes from which on memory must be flat: before that caches fill.
const FLAT_MINUTES: u64 = 10;

/// What was counted.
#[derive(Debug, Serialize)]
pub(super) struct Counted {
    pub contributors: u32,
    pub uploads_acknowledged: usize,
    /// Of them, over HTTP.
    pub acknowledged_over_http: usize,
    pub rows_acknowledged: u64,
    /// What became of them.
    pub uploads_by_state: BTreeMap<String, usize>,
    /// Acknowledged uploads that the refinery does not know, or that no round used or set aside.
    pub unaccounted: Vec<String>,
    /// Stored uploads whose acknowledgement was lost: they count like any other.
    pub stored_without_acknowledgement: usize,
    pub poisoned: String,
    pub poisoned_set_aside: bool,
    /// Other uploads that were set aside.
    pub others_set_aside: Vec<String>,
    pub kills: u32,
    /// Pushes that failed because a process was away, and were tried again.
    pub pushes_tried_again: usize,
    pub rounds: usize,
    pub decisions: BTreeMap<String, usize>,
    /// Over the rows that judge: of the initial model, and of the last one that was judged.
    pub loss_first: Option<f64>,
    pub loss_last: Option<f64>,
    /// After the first round and after the last.
    pub accuracy_first: Option<f64>,
    pub accuracy_last: Option<f64>,
    pub receipts_valid: bool,
    pub queries: usize,
    pub queries_refused: usize,
    /// What was said to the first that was refused.
    pub refusal: Option<String>,
    pub minutes: u64,
    /// Of the time after the kills: the largest in the first and in the last third.
    pub flat: Option<Flat>,
    pub seconds: f64,
}

/// Largest values in the first and in the last third of the time that was watched.
#[derive(Debug, Serialize)]
pub(super) struct Flat {
    pub refinery_resident_mib: [f64; 2],
    pub warden_resident_mib: [f64; 2],
    pub refinery_files: [f64; 2],
    pub warden_files: [f64; 2],
    pub disk_mib: [f64; 2],
    /// Disk with all versions and receipts, divided by the uploads acknowledged so far.
    pub disk_kib_an_upload: [f64; 2],
}

impl Flat {
    /// Whether no process's memory grew by more than what it remembers of uploads and rounds.
    fn is_flat(&self) -> bool {
        let flat = |[first, last]: [f64; 2]| first > 0.0 && last <= 1.5 * first + 8.0;
        flat(self.refinery_resident_mib) && flat(self.warden_resident_mib)
    }
}

/// One look: resident MiB and files of refinery and warden, MiB on disk, KiB of it for each upload.
pub(super) type Look = [f64; 6];

impl Counted {
    /// What the run must show.
    pub fn check(&self) -> Result<(), Failure> {
        let fell = matches!((self.loss_first, self.loss_last), (Some(a), Some(b)) if b < a);
        let claims = [
            (fell, "the model did not become better"),
            (self.poisoned_set_aside, "the poisoned upload was not set aside"),
            (self.unaccounted.is_empty(), "acknowledged uploads are unaccounted for"),
            (self.receipts_valid, "the receipts do not verify"),
            (self.acknowledged_over_http > 0, "nothing was sent over HTTP"),
            (self.queries_refused == 0, "queries were refused while nothing was killed"),
            (self.minutes < FLAT_MINUTES || self.flat.as_ref().is_some_and(Flat::is_flat), "memory grew"),
        ];
        let broken: Vec<&str> = claims.iter().filter(|(good, _)| !good).map(|(_, words)| *words).collect();
        if broken.is_empty() { Ok(()) } else { Err(Failure::Other(broken.join("; "))) }
    }
}

/// The largest values of both thirds; none before there are three looks.
pub(super) fn flat(looks: &[Look]) -> Option<Flat> {
    let third = looks.len() / 3;
    let (first, last) = (looks.get(..third)?, looks.get(looks.len() - third..)?);
    if third == 0 {
        return None;
    }
    let most = |looks: &[Look], i: usize| looks.iter().map(|l| l[i]).fold(0.0, f64::max);
    let both = |i: usize| [most(first, i), most(last, i)];
    Some(Flat {
        refinery_resident_mib: both(0),
        warden_resident_mib: both(1),
        refinery_files: both(2),
        warden_files: both(3),
        disk_mib: both(4),
        disk_kib_an_upload: both(5),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counted() -> Counted {
        let flat = Flat {
            refinery_resident_mib: [22.0, 25.0],
            warden_resident_mib: [14.0, 14.0],
            refinery_files: [37.0; 2],
            warden_files: [17.0; 2],
            disk_mib: [10.0, 100.0],
            disk_kib_an_upload: [400.0; 2],
        };
        Counted {
            contributors: 5,
            uploads_acknowledged: 40,
            acknowledged_over_http: 16,
            rows_acknowledged: 1440,
            uploads_by_state: BTreeMap::new(),
            unaccounted: vec![],
            stored_without_acknowledgement: 0,
            poisoned: "aa".into(),
            poisoned_set_aside: true,
            others_set_aside: vec![],
            kills: 20,
            pushes_tried_again: 3,
            rounds: 30,
            decisions: BTreeMap::new(),
            loss_first: Some(2.3),
            loss_last: Some(0.3),
            accuracy_first: Some(0.2),
            accuracy_last: Some(0.9),
            receipts_valid: true,
            queries: 100,
            queries_refused: 0,
            refusal: None,
            minutes: 10,
            flat: Some(flat),
            seconds: 700.0,
        }
    }

    #[test]
    fn a_run_that_does_not_show_what_it_must_fails_and_says_why() {
        assert!(counted().check().is_ok());
        let flat = |change: fn(&mut Flat)| {
            let mut counted = counted();
            counted.flat.as_mut().map(change).unwrap();
            counted
        };
        for (words, broken) in [
            ("better", Counted { loss_last: Some(2.4), ..counted() }),
            ("poisoned", Counted { poisoned_set_aside: false, ..counted() }),
            ("unaccounted", Counted { unaccounted: vec!["bb".into()], ..counted() }),
            ("receipts", Counted { receipts_valid: false, ..counted() }),
            ("HTTP", Counted { acknowledged_over_http: 0, ..counted() }),
            ("queries were refused", Counted { queries_refused: 1, ..counted() }),
            ("memory grew", flat(|f| f.refinery_resident_mib[1] = 42.0)),
            ("memory grew", flat(|f| f.warden_resident_mib[1] = 30.0)),
            ("memory grew", flat(|f| f.refinery_resident_mib = [0.0; 2])),
            ("memory grew", Counted { flat: None, ..counted() }),
        ] {
            let said = broken.check().unwrap_err().to_string();
            assert!(said.contains(words), "{words}: {said}");
        }
        // Within minutes it says nothing yet.
        assert!(Counted { minutes: 9, flat: None, ..counted() }.check().is_ok());
    }
}
