//! When a round starts by itself. All times are in seconds since 1970, UTC; the clock is the caller's.

use super::{Project, Stored, Trouble};

/// Seconds of a day.
const DAY: u64 = 24 * 60 * 60;

/// The last time at which it was this minute of the day.
fn last_time(minute: u16, now: u64) -> Option<u64> {
    let today = now - now % DAY + u64::from(minute) * 60;
    if today <= now { Some(today) } else { today.checked_sub(DAY) }
}

impl Project {
    /// Whether a round should start by itself, as soon as a warden holds the secrets.
    pub(crate) fn due(&self, now: u64) -> bool {
        !self.rounds.is_empty()
            && self.triggered(now)
            && self.pending == 0
            && self.has_new()
            && self.failed_at != Some(self.uploads.len())
            && !self.waits()
    }

    /// Whether it is too early to try again what failed.
    pub(super) fn waits(&self) -> bool {
        self.trouble.as_ref().is_some_and(Trouble::waits)
    }

    /// Whether rows or time call for a round.
    pub(super) fn triggered(&self, now: u64) -> bool {
        let trigger = &self.spec.trigger;
        let by_itself = || self.rounds.iter().filter(|r| r.round > 0 && !r.asked);
        let today = by_itself().filter(|r| r.at + DAY > now).count();
        if trigger.rounds_per_day.is_some_and(|most| today >= most as usize) {
            return false;
        }
        let new = || self.uploads.iter().filter(|u| u.is_new());
        let rows = new().map(|u| u64::from(u.header.rows)).sum::<u64>();
        if trigger.rows.is_some_and(|least| rows >= least.max(1)) {
            return true;
        }
        // What was new at the last time of the day, if no round has begun since: also if nobody was there at that time.
        let time = trigger.daily.and_then(|minute| last_time(minute, now));
        let begun = by_itself().map(|r| r.began).max().unwrap_or(0);
        time.is_some_and(|time| begun < time && new().map(Stored::since).any(|since| since <= time))
    }
}

#[cfg(test)]
pub(super) mod tests {
    use blindsmith_protocol::{Blob, ProjectSpec, RoundRecord, Trigger};

    use super::*;
    use crate::shared::tests::{header_of, round, spec};
    use crate::store::{Store, Verdict};

    /// An upload that a warden read, and that arrived at this time.
    pub fn admitted(number: u32, arrived: u64) -> Stored {
        Stored::new(header_of(number), Some(Verdict::Admitted(Blob(vec![1]))), arrived)
    }

    /// A day in 2027, and its second hour.
    const TODAY: u64 = 20_819 * DAY;
    const HOUR: u64 = 3600;
    const TWO: u64 = TODAY + 2 * HOUR;

    fn project(trigger: Trigger) -> Project {
        let mut project = Project::new(ProjectSpec { trigger, ..spec() }, Vec::new());
        project.record(&round(0, &[]));
        project
    }

    fn daily() -> Trigger {
        Trigger { rows: None, daily: Some(120), rounds_per_day: None }
    }

    /// A round over everything, by itself unless it was asked for, which was stored at this time after so many seconds.
    fn ran(project: &mut Project, at: u64, seconds: f64, asked: bool) -> RoundRecord {
        let given = project.uploads.iter().map(|u| u.id).collect::<Vec<_>>();
        let mut record = round(project.rounds.len() as u64, &given);
        (record.summary.at, record.summary.seconds, record.summary.asked) = (at, seconds, asked);
        project.record(&record);
        record
    }

    #[test]
    fn rows_start_a_round_when_there_are_enough() {
        let mut project = project(Trigger { rows: Some(20), ..Trigger::MANUAL });
        let rows = header_of(0).rows;
        assert!(rows < 20 && 3 * rows >= 20, "an upload of {rows} rows does not serve");
        project.uploads.push(admitted(0, 5));
        assert!(!project.due(TWO));
        project.uploads.extend([admitted(1, 5), admitted(2, 5)]);
        assert!(project.due(TWO));
        ran(&mut project, TWO, 1.0, false);
        assert!(!project.due(TWO + 1), "they are not new any more");
    }

    #[test]
    fn without_a_trigger_nothing_starts() {
        let mut project = project(Trigger::MANUAL);
        project.uploads.push(admitted(0, 0));
        assert!(!project.due(TWO));
    }

    #[test]
    fn so_many_rounds_a_day_start_by_themselves_and_those_asked_for_do_not_count() {
        let mut project = project(Trigger { rounds_per_day: Some(2), ..Trigger::AT_ONCE });
        for (hour, asked, more) in [(1, false, true), (3, true, true), (5, false, false)] {
            project.uploads.push(admitted(hour, 0));
            assert!(project.due(TODAY + u64::from(hour) * HOUR));
            ran(&mut project, TODAY + u64::from(hour) * HOUR, 1.0, asked);
            project.uploads.push(admitted(hour + 100, 0));
            assert_eq!(project.due(TODAY + u64::from(hour) * HOUR + 1), more);
        }
        assert!(!project.due(TODAY + 25 * HOUR - 1));
        assert!(project.due(TODAY + 25 * HOUR), "the first is a day old");
    }

    #[test]
    fn the_first_upload_waits_for_the_time_of_the_day() {
        let mut project = project(daily());
        project.uploads.push(admitted(0, TODAY + 10 * HOUR));
        for time in [10 * HOUR, 20 * HOUR, 26 * HOUR - 1] {
            assert!(!project.due(TODAY + time), "{time}");
        }
        assert!(project.due(TODAY + 26 * HOUR));
    }

    #[test]
    fn an_upload_after_the_time_waits_for_the_next_day_whether_or_not_there_was_a_round() {
        for before in [true, false] {
            let mut project = project(daily());
            if before {
                project.uploads.push(admitted(0, TWO - 1));
                assert!(!project.due(TWO - 1) && project.due(TWO));
                ran(&mut project, TWO + 60, 60.0, false);
            }
            project.uploads.push(admitted(1, TWO + 61));
            assert!(!project.due(TWO + 100) && !project.due(TWO + DAY - 1), "{before}");
            assert!(project.due(TWO + DAY), "{before}");
        }
    }

    #[test]
    fn who_was_away_or_busy_at_the_time_catches_up_with_what_was_there_then() {
        let mut project = project(daily());
        project.uploads.push(admitted(0, TWO - HOUR));
        // Nobody was there for days.
        assert!(project.due(TWO + 5 * HOUR) && project.due(TWO + 3 * DAY - 1));
        ran(&mut project, TWO + 5 * HOUR, 60.0, false);
        assert!(!project.due(TWO + 6 * HOUR));
        // A round was running at the time, and was not given what arrived in it.
        let next = TWO + DAY;
        ran(&mut project, next + 60, 120.0, false);
        project.uploads.push(admitted(1, next - 1));
        assert!(project.due(next + 61));
        // One that began at the time or later was that day's.
        ran(&mut project, next + 200, 100.0, false);
        project.uploads.push(admitted(2, next - 1));
        assert!(!project.due(next + 201));
    }

    #[test]
    fn a_round_that_was_asked_for_leaves_the_time_of_the_day_to_what_is_new() {
        let mut project = project(daily());
        project.uploads.push(admitted(0, TWO - HOUR));
        ran(&mut project, TWO - 1, 5.0, true);
        assert!(!project.due(TWO), "nothing is new");
        project.uploads.push(admitted(1, TWO - 1));
        assert!(project.due(TWO));
    }

    #[test]
    fn what_is_to_be_tried_again_waits_for_the_time_as_what_arrives() {
        let mut project = project(daily());
        project.uploads.push(admitted(0, TWO - HOUR));
        ran(&mut project, TWO - HOUR / 2, 5.0, true);
        project.uploads[0].readmit(TWO + HOUR);
        assert!(!project.due(TWO + HOUR) && project.due(TWO + DAY));
    }

    #[test]
    fn rows_and_time_both_start_rounds() {
        let mut project = project(Trigger { rows: Some(1000), ..daily() });
        project.uploads.push(admitted(0, TWO - 1));
        assert!(!project.due(TWO - 1) && project.due(TWO));
    }

    #[test]
    fn the_last_time_of_a_minute_of_the_day_is_today_or_yesterday() {
        assert_eq!(last_time(120, TWO), Some(TWO));
        assert_eq!(last_time(120, TWO - 1), Some(TWO - DAY));
        assert_eq!(last_time(0, TODAY), Some(TODAY));
        assert_eq!(last_time(1439, 5), None);
    }

    #[test]
    fn after_a_restart_uploads_have_the_times_at_which_they_arrived() {
        use crate::shared::tests::project::{blocks, header};
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let spec = ProjectSpec { trigger: daily(), ..spec() };
        store.create(&spec, b"sealed").unwrap();
        let rows = blocks(&spec, 1);
        let header = header(&spec, &rows);
        let mut incoming = store.receive(&spec, (&header).into()).unwrap();
        incoming.blocks_arrived(&rows).unwrap();
        incoming.commit(&header).unwrap();
        store.save_round(&spec.id(), &round(0, &[]), None).unwrap();
        let arrived = crate::shared::now();
        drop(store);
        let shared = crate::Shared::new(Store::open(dir.path()).unwrap()).unwrap();
        let state = shared.lock();
        let since = state.projects[&spec.id()].uploads[0].since();
        assert!(since <= arrived && arrived - since < 3600, "{since} {arrived}");
        let next = last_time(120, arrived).unwrap() + DAY;
        assert!(!state.projects[&spec.id()].due(next - 1));
        assert!(state.projects[&spec.id()].due(next));
    }
}
