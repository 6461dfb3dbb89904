//! When a round starts by itself.

use crate::project::{PastRound, Project};
use crate::retry::Now;
use crate::upload::Upload;

/// Seconds of a day.
const DAY: u64 = 24 * 60 * 60;

/// The last time at which it was this minute of the day, in seconds since 1970.
fn last_time(minute: u16, now: u64) -> Option<u64> {
    let today = now - now % DAY + u64::from(minute) * 60;
    if today <= now { Some(today) } else { today.checked_sub(DAY) }
}

impl Project {
    /// Whether rows or time call for a round.
    pub(crate) fn triggered(&self, now: Now) -> bool {
        let (trigger, now) = (&self.spec.trigger, now.unix);
        let by_itself = || self.rounds.iter().filter(|r: &&PastRound| r.round > 0 && !r.asked);
        let today = by_itself().filter(|r| r.at + DAY > now).count();
        if trigger.rounds_per_day.is_some_and(|most| today >= most as usize) {
            return false;
        }
        let new = || self.uploads.iter().filter(|u| u.is_new());
        let rows = new().map(|u| u64::from(u.header().rows)).sum::<u64>();
        if trigger.rows.is_some_and(|least| rows >= least.max(1)) {
            return true;
        }
        // What was new at the last time of the day, if no round has begun since: also if nobody was there at that time.
        let time = trigger.daily.and_then(|minute| last_time(minute, now));
        let begun = by_itself().map(|r| r.began).max().unwrap_or(0);
        time.is_some_and(|time| begun < time && new().map(Upload::since).any(|since| since <= time))
    }
}

#[cfg(test)]
mod tests {
    use blindsmith_protocol::Trigger;

    use super::*;
    use crate::event::Event;
    use crate::fixtures::{admitted, at, header, record, spec};

    /// A day in 2027, and its second hour.
    const TODAY: u64 = 20_819 * DAY;
    const HOUR: u64 = 3600;
    const TWO: u64 = TODAY + 2 * HOUR;

    fn project(trigger: Trigger) -> Project {
        let mut project = Project::new(spec(trigger));
        project.apply(Event::RoundStored(&record(0, &[])), at(0));
        project
    }

    fn daily() -> Trigger {
        Trigger { rows: None, daily: Some(120), rounds_per_day: None }
    }

    /// A round over everything, by itself unless it was asked for, which was stored at this time after so many seconds.
    fn ran(project: &mut Project, time: u64, seconds: f64, asked: bool) {
        let given = project.uploads().iter().map(Upload::id).collect::<Vec<_>>();
        let mut record = record(project.rounds().len() as u64, &given);
        (record.summary.at, record.summary.seconds, record.summary.asked) = (time, seconds, asked);
        project.apply(Event::RoundStored(&record), at(time));
    }

    #[test]
    fn rows_start_a_round_when_there_are_enough() {
        let mut project = project(Trigger { rows: Some(20), ..Trigger::MANUAL });
        let rows = header(0).rows;
        assert!(rows < 20 && 3 * rows >= 20, "an upload of {rows} rows does not serve");
        admitted(&mut project, 0, 5);
        assert!(!project.due(at(TWO)));
        admitted(&mut project, 1, 5);
        admitted(&mut project, 2, 5);
        assert!(project.due(at(TWO)));
        ran(&mut project, TWO, 1.0, false);
        assert!(!project.due(at(TWO + 1)), "they are not new any more");
    }

    #[test]
    fn without_a_trigger_nothing_starts() {
        let mut project = project(Trigger::MANUAL);
        admitted(&mut project, 0, 0);
        assert!(!project.due(at(TWO)));
    }

    #[test]
    fn so_many_rounds_a_day_start_by_themselves_and_those_asked_for_do_not_count() {
        let mut project = project(Trigger { rounds_per_day: Some(2), ..Trigger::AT_ONCE });
        for (hour, asked, more) in [(1, false, true), (3, true, true), (5, false, false)] {
            admitted(&mut project, hour, 0);
            assert!(project.due(at(TODAY + u64::from(hour) * HOUR)));
            ran(&mut project, TODAY + u64::from(hour) * HOUR, 1.0, asked);
            admitted(&mut project, hour + 100, 0);
            assert_eq!(project.due(at(TODAY + u64::from(hour) * HOUR + 1)), more);
        }
        assert!(!project.due(at(TODAY + 25 * HOUR - 1)));
        assert!(project.due(at(TODAY + 25 * HOUR)), "the first is a day old");
    }

    #[test]
    fn the_first_upload_waits_for_the_time_of_the_day() {
        let mut project = project(daily());
        admitted(&mut project, 0, TODAY + 10 * HOUR);
        for time in [10 * HOUR, 20 * HOUR, 26 * HOUR - 1] {
            assert!(!project.due(at(TODAY + time)), "{time}");
        }
        assert!(project.due(at(TODAY + 26 * HOUR)));
    }

    #[test]
    fn an_upload_after_the_time_waits_for_the_next_day_whether_or_not_there_was_a_round() {
        for before in [true, false] {
            let mut project = project(daily());
            if before {
                admitted(&mut project, 0, TWO - 1);
                assert!(!project.due(at(TWO - 1)) && project.due(at(TWO)));
                ran(&mut project, TWO + 60, 60.0, false);
            }
            admitted(&mut project, 1, TWO + 61);
            assert!(!project.due(at(TWO + 100)) && !project.due(at(TWO + DAY - 1)), "{before}");
            assert!(project.due(at(TWO + DAY)), "{before}");
        }
    }

    #[test]
    fn who_was_away_or_busy_at_the_time_catches_up_with_what_was_there_then() {
        let mut project = project(daily());
        admitted(&mut project, 0, TWO - HOUR);
        // Nobody was there for days.
        assert!(project.due(at(TWO + 5 * HOUR)) && project.due(at(TWO + 3 * DAY - 1)));
        ran(&mut project, TWO + 5 * HOUR, 60.0, false);
        assert!(!project.due(at(TWO + 6 * HOUR)));
        // A round was running at the time, and was not given what arrived in it.
        let next = TWO + DAY;
        ran(&mut project, next + 60, 120.0, false);
        admitted(&mut project, 1, next - 1);
        assert!(project.due(at(next + 61)));
        // One that began at the time or later was that day's.
        ran(&mut project, next + 200, 100.0, false);
        admitted(&mut project, 2, next - 1);
        assert!(!project.due(at(next + 201)));
    }

    #[test]
    fn a_round_that_was_asked_for_leaves_the_time_of_the_day_to_what_is_new() {
        let mut project = project(daily());
        admitted(&mut project, 0, TWO - HOUR);
        ran(&mut project, TWO - 1, 5.0, true);
        assert!(!project.due(at(TWO)), "nothing is new");
        admitted(&mut project, 1, TWO - 1);
        assert!(project.due(at(TWO)));
    }

    #[test]
    fn what_is_to_be_tried_again_waits_for_the_time_as_what_arrives() {
        let mut project = project(daily());
        admitted(&mut project, 0, TWO - HOUR);
        ran(&mut project, TWO - HOUR / 2, 5.0, true);
        let upload = project.uploads()[0].id();
        project.change(&upload, |u| u.readmit(at(TWO + HOUR)));
        assert!(!project.due(at(TWO + HOUR)) && project.due(at(TWO + DAY)));
    }

    #[test]
    fn rows_and_time_both_start_rounds() {
        let mut project = project(Trigger { rows: Some(1000), ..daily() });
        admitted(&mut project, 0, TWO - 1);
        assert!(!project.due(at(TWO - 1)) && project.due(at(TWO)));
    }

    #[test]
    fn the_last_time_of_a_minute_of_the_day_is_today_or_yesterday() {
        assert_eq!(last_time(120, TWO), Some(TWO));
        assert_eq!(last_time(120, TWO - 1), Some(TWO - DAY));
        assert_eq!(last_time(0, TODAY), Some(TODAY));
        assert_eq!(last_time(1439, 5), None);
    }
}
