//! A clock for ages: it runs with the wall clock, but neither backwards nor in leaps.

use std::time::Duration;

use crate::state::Time;

/// The most that counts between two looks at the wall clock. A machine that slept, or whose clock
/// was set, must not find everything out of date at once.
const STEP_MS_MAX: i64 = 600_000;

/// Milliseconds of an [`AgeClock`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Moment(i64);

impl Moment {
    /// Longer ago than any age.
    pub(super) const LONG_AGO: Self = Self(i64::MIN);

    /// True if this was at least `age` ago.
    pub(super) fn is_past(self, age: Duration, now: Self) -> bool {
        now.0.saturating_sub(self.0) >= millis(age)
    }

    pub(super) fn minus(self, age: Duration) -> Self {
        Self(self.0.saturating_sub(millis(age)))
    }
}

fn millis(age: Duration) -> i64 {
    i64::try_from(age.as_millis()).unwrap_or(i64::MAX)
}

/// What time it is: by the wall, and for ages.
#[derive(Clone, Copy, Debug)]
pub(super) struct Now {
    pub(super) wall: Time,
    pub(super) age: Moment,
}

impl Now {
    /// When a wall-clock time of the past was; the future counts as now.
    pub(super) fn moment(&self, then: Time) -> Moment {
        let gone = self.wall.get().signed_duration_since(then.get()).num_milliseconds();
        Moment(self.age.0.saturating_sub(gone.max(0)))
    }
}

#[derive(Clone, Copy, Debug, Default)]
pub(super) struct AgeClock {
    wall_ms: Option<i64>,
    age_ms: i64,
}

impl AgeClock {
    pub(super) fn now(&mut self, wall: Time) -> Now {
        let wall_ms = wall.get().timestamp_millis();
        let gone = wall_ms.saturating_sub(self.wall_ms.unwrap_or(wall_ms));
        self.age_ms = self.age_ms.saturating_add(gone.clamp(0, STEP_MS_MAX));
        self.wall_ms = Some(wall_ms);
        Now { wall, age: Moment(self.age_ms) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_grow_with_the_wall_clock_and_neither_shrink_nor_leap() {
        let at = |seconds: i64| chrono::DateTime::from_timestamp(seconds, 0).unwrap().into();
        let mut clock = AgeClock::default();
        let start = clock.now(at(1_800_000_000)).age;
        let is_past = |now: Now, seconds| start.is_past(Duration::from_secs(seconds), now.age);
        let later = clock.now(at(1_800_000_060));
        assert!(is_past(later, 60) && !is_past(later, 61));
        let set_back = clock.now(at(1_700_000_000));
        assert!(is_past(set_back, 60) && !is_past(set_back, 61));
        let again = clock.now(at(1_700_000_001));
        assert!(is_past(again, 61), "it runs on from there");
        let set_forward = clock.now(at(1_900_000_000));
        assert!(is_past(set_forward, 661) && !is_past(set_forward, 662));
        assert_eq!(set_forward.moment(at(1_900_000_009)), set_forward.age, "no future");
        assert!(set_forward.moment(at(0)).is_past(Duration::from_secs(1 << 30), set_forward.age));
        assert!(Moment::LONG_AGO.is_past(Duration::MAX, set_forward.age));
    }
}
