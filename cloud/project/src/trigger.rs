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
    use super::*;

    const TODAY: u64 = 20_819 * DAY;

    #[test]
    fn the_last_time_of_a_minute_of_the_day_is_today_or_yesterday() {
        let two = TODAY + 2 * 3600;
        assert_eq!(last_time(120, two), Some(two));
        assert_eq!(last_time(120, two - 1), Some(two - DAY));
        assert_eq!(last_time(0, TODAY), Some(TODAY));
        assert_eq!(last_time(1439, 5), None);
    }
}
