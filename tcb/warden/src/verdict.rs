//! What is decided of a training: one table, a line for each pair of situation and finding.
//!
//! `decide` finds out and does what the table says. A training that is not promoted is taken back, whatever else is
//! decided.

use blindsmith_protocol::Reason;

/// What a training did to the model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Effect {
    /// By the owner's rules it is no worse on the rows that judge.
    NoWorse,
    /// It is worse.
    Worse,
    /// Under the new model some of the new uploads stand out.
    StandsOut,
    /// Values left their range: the model is of no use.
    OutOfRange,
}

/// Which new uploads were trained on, beside old rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Set {
    /// None.
    Old,
    /// One.
    One,
    /// One of few classes of those that judge: any model that is trained on it alone becomes worse.
    OneSided,
    /// More than one.
    Several,
}

/// What a training over old rows alone does, from the same model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Control {
    /// Nobody tried, though there are old rows.
    Untried,
    /// It makes the model no worse; or there are no old rows, and nobody can tell.
    NoWorse,
    /// It makes the model worse.
    Worse,
    /// Values leave their range.
    OutOfRange,
}

/// What the round did before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct History {
    /// A training was promoted.
    pub promoted: bool,
    /// In another training values left their range, and what brought them there is being looked for.
    pub searching: bool,
}

/// What is decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The new model becomes the current one.
    Promote,
    /// Those that stand out are set aside, or else the single upload; what is left of the set is tried again.
    Quarantine(Reason),
    /// Each half of the set is tried by itself.
    Halve,
    /// A training over old rows alone is tried, and the question asked again.
    TryOld,
    /// The uploads wait for another round; the next set is tried.
    Wait,
    /// They wait, and so do all that are left.
    Stop,
    /// The round fails as a whole: nobody can tell whose doing it is.
    Fail,
}

/// What is decided of a training.
#[rustfmt::skip]
pub(crate) fn verdict(effect: Effect, set: Set, control: Control, history: History) -> Verdict {
    use Effect as E;
    use Verdict as V;
    match (effect, set, control) {
        (E::NoWorse,    _,                        _)                   => V::Promote,
        (E::StandsOut,  _,                        _)                   => V::Quarantine(Reason::ScreenedAfter),

        (E::Worse,      Set::Old,                 _)                   => V::Wait,
        (E::Worse,      _,                        Control::Untried)    => V::TryOld,
        (E::Worse,      _,                        Control::OutOfRange) => V::Fail,
        // It is not their doing; what leaves the range is still looked for.
        (E::Worse,      _,                        Control::Worse)      => if history.searching { V::Wait } else { V::Stop },
        (E::Worse,      Set::Several,             Control::NoWorse)    => V::Halve,
        (E::Worse,      Set::One,                 Control::NoWorse)    => V::Quarantine(Reason::Worse),
        (E::Worse,      Set::OneSided,            Control::NoWorse)    => V::Wait,

        (E::OutOfRange, Set::Old,                 _)                   => V::Fail,
        (E::OutOfRange, _,                        Control::Untried)    => V::TryOld,
        // What was accepted in this round brought the values so far: nobody new is to blame.
        (E::OutOfRange, _,                        Control::OutOfRange) => if history.promoted { V::Stop } else { V::Fail },
        (E::OutOfRange, Set::Several,             _)                   => V::Halve,
        (E::OutOfRange, Set::One | Set::OneSided, _)                   => V::Quarantine(Reason::OutOfRange),
    }
}

/// What is decided of the one training of a fixed schedule, on which nothing is tried again; none where values left their
/// range: the training goes on then, and what it is worth is found at its end.
pub(crate) fn verdict_once(effect: Effect) -> Verdict {
    match effect {
        Effect::NoWorse => Verdict::Promote,
        Effect::Worse => Verdict::Wait,
        Effect::StandsOut => Verdict::Quarantine(Reason::ScreenedAfter),
        Effect::OutOfRange => Verdict::Fail,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SETS: [Set; 4] = [Set::Old, Set::One, Set::OneSided, Set::Several];
    const CONTROLS: [Control; 4] = [Control::Untried, Control::NoWorse, Control::Worse, Control::OutOfRange];

    /// What is expected of an effect, for each set a row, for each control a column.
    fn check(effect: Effect, history: History, rows: [[Verdict; 4]; 4]) {
        for (set, row) in SETS.into_iter().zip(rows) {
            for (control, expected) in CONTROLS.into_iter().zip(row) {
                let found = verdict(effect, set, control, history);
                assert_eq!(found, expected, "{effect:?}, {set:?}, {control:?}, {history:?}");
            }
        }
    }

    fn histories() -> impl Iterator<Item = History> {
        let all = [(false, false), (false, true), (true, false), (true, true)];
        all.into_iter().map(|(promoted, searching)| History { promoted, searching })
    }

    #[test]
    fn what_is_no_worse_is_promoted_and_what_stands_out_is_set_aside() {
        for history in histories() {
            check(Effect::NoWorse, history, [[Verdict::Promote; 4]; 4]);
            check(Effect::StandsOut, history, [[Verdict::Quarantine(Reason::ScreenedAfter); 4]; 4]);
        }
    }

    #[test]
    fn nobody_is_blamed_for_a_worse_model_before_old_rows_alone_were_tried() {
        use Verdict::{Fail, Halve, Quarantine, Stop, TryOld, Wait};
        for history in histories() {
            let old = if history.searching { Wait } else { Stop };
            check(
                Effect::Worse,
                history,
                [
                    // Untried, no worse, worse, out of range.
                    [Wait, Wait, Wait, Wait],
                    [TryOld, Quarantine(Reason::Worse), old, Fail],
                    [TryOld, Wait, old, Fail],
                    [TryOld, Halve, old, Fail],
                ],
            );
        }
    }

    #[test]
    fn nobody_is_blamed_for_values_out_of_range_that_old_rows_alone_bring_there() {
        use Verdict::{Fail, Halve, Quarantine, Stop, TryOld};
        let one = Quarantine(Reason::OutOfRange);
        for history in histories() {
            let old = if history.promoted { Stop } else { Fail };
            check(
                Effect::OutOfRange,
                history,
                [
                    [Fail, Fail, Fail, Fail],
                    [TryOld, one, one, old],
                    [TryOld, one, one, old],
                    [TryOld, Halve, Halve, old],
                ],
            );
        }
    }

    #[test]
    fn on_a_fixed_schedule_nothing_is_tried_again() {
        for (effect, expected) in [
            (Effect::NoWorse, Verdict::Promote),
            (Effect::Worse, Verdict::Wait),
            (Effect::StandsOut, Verdict::Quarantine(Reason::ScreenedAfter)),
            (Effect::OutOfRange, Verdict::Fail),
        ] {
            assert_eq!(verdict_once(effect), expected);
        }
    }
}
