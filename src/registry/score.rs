//! The reputation score: a pure function of what is remembered of a peer.
//!
//! The weights are those of the system that this crate replaces (issue 3, item 3): they rank peers,
//! they prove nothing.

use crate::state::{GeoLocation, PeerEntry, Reputation, Time};

const SUCCESS_WEIGHT: f64 = 0.5;
const RESPONSE_WEIGHT: f64 = 0.25;
const PACKAGES_WEIGHT: f64 = 0.15;
const RECENCY_WEIGHT: f64 = 0.10;
const NEAR_BONUS: f64 = 0.1;
/// Distance in kilometres at which the bonus for being near has fallen to zero.
const NEAR_KM: f64 = 100.0;
/// Packages from which on a peer does not gain by providing more.
const PACKAGES_ENOUGH: f64 = 10.0;
/// Mean radius of the earth in kilometres.
const EARTH_KM: f64 = 6371.0;

/// The reputation of a peer, from 0 to 1.
///
/// It is the sum of
/// - 0.5 x the share of retrievals that succeeded, 1 when there was none;
/// - 0.25 x `min(1, 1000 / (average response time in ms + 1))`, 1 when there was no response;
/// - 0.15 x `min(1, packages provided / 10)`;
/// - 0.10 / (hours since last seen + 1);
/// - a bonus of up to 0.1 that falls to zero at 100 km between the peer's location and `here`, when
///   both are known;
///
/// and never more than 1. `last_seen` in the future counts as now; [`Time::EPOCH`] means never.
#[must_use]
pub fn score(
    reputation: &Reputation,
    last_seen: Time,
    now: Time,
    here: Option<&GeoLocation>,
) -> f64 {
    let near = match (here, reputation.location.as_deref()) {
        (Some(here), Some(there)) => {
            NEAR_BONUS * (1.0 - distance_km(here, there) / NEAR_KM).clamp(0.0, 1.0)
        }
        _ => 0.0,
    };
    let total = SUCCESS_WEIGHT * success_share(reputation)
        + RESPONSE_WEIGHT * response_speed(reputation)
        + PACKAGES_WEIGHT * (number(reputation.packages_provided) / PACKAGES_ENOUGH).min(1.0)
        + RECENCY_WEIGHT / (hours_between(last_seen, now) + 1.0)
        + near;
    total.clamp(0.0, 1.0)
}

/// Great-circle distance in kilometres (haversine, on a sphere of 6371 km).
#[must_use]
pub fn distance_km(a: &GeoLocation, b: &GeoLocation) -> f64 {
    let (from, to) = (a.latitude.to_radians(), b.latitude.to_radians());
    let half_lat = (to - from) / 2.0;
    let half_lon = (b.longitude - a.longitude).to_radians() / 2.0;
    let chord = half_lat.sin().powi(2) + from.cos() * to.cos() * half_lon.sin().powi(2);
    2.0 * EARTH_KM * chord.clamp(0.0, 1.0).sqrt().asin()
}

/// When the peer was last seen or last answered.
pub(super) fn last_seen(entry: &PeerEntry) -> Time {
    let seen = entry.seen.as_ref().map_or(Time::EPOCH, |seen| seen.last_seen);
    seen.max(entry.reputation.as_ref().map_or(Time::EPOCH, |reputation| reputation.last_seen))
}

fn success_share(reputation: &Reputation) -> f64 {
    let (good, bad) = (reputation.successful_retrievals, reputation.failed_retrievals);
    if good == 0 && bad == 0 {
        return 1.0;
    }
    number(good) / (number(good) + number(bad))
}

fn response_speed(reputation: &Reputation) -> f64 {
    if reputation.successful_retrievals == 0 {
        return 1.0;
    }
    (1000.0 / (number(reputation.avg_response_time_ms) + 1.0)).min(1.0)
}

fn hours_between(earlier: Time, later: Time) -> f64 {
    let seconds = (later.get() - earlier.get()).num_seconds().max(0);
    number(seconds.unsigned_abs()) / 3600.0
}

/// Nothing here needs more than 32 bits, so what is larger counts as the largest.
fn number(count: u64) -> f64 {
    f64::from(u32::try_from(count).unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;

    use super::*;

    fn now() -> Time {
        chrono::DateTime::from_timestamp(1_800_000_000, 0).unwrap_or_default().into()
    }

    fn ago(delta: TimeDelta) -> Time {
        (now().get() - delta).into()
    }

    fn place(latitude: f64, longitude: f64) -> GeoLocation {
        GeoLocation { latitude, longitude, region: None }
    }

    fn close(a: f64, b: f64) -> bool {
        (a - b).abs() < 1e-6
    }

    #[test]
    fn a_peer_of_which_nothing_is_known_gets_the_benefit_of_the_doubt() {
        let score = score(&Reputation::default(), now(), now(), None);
        assert!(close(score, 0.5 + 0.25 + 0.10), "{score}");
        let never = super::score(&Reputation::default(), Time::EPOCH, now(), None);
        assert!(never > 0.75 && never < 0.7501, "{never}");
    }

    #[test]
    fn the_best_and_the_worst_peer_stay_within_zero_and_one() {
        let here = place(52.5, 13.4);
        let best = Reputation {
            successful_retrievals: u64::MAX,
            packages_provided: u64::MAX,
            location: Some(Box::new(here.clone())),
            ..Reputation::default()
        };
        assert!(close(score(&best, now(), now(), Some(&here)), 1.0));
        assert!(close(score(&best, now(), now(), None), 1.0), "all parts full, no bonus");
        let worst = Reputation {
            failed_retrievals: u64::MAX,
            avg_response_time_ms: u64::MAX,
            ..Reputation::default()
        };
        // Nothing was answered, so that the average means nothing.
        let worst = score(&worst, Time::EPOCH, now(), None);
        assert!((0.25..0.2501).contains(&worst), "{worst}");
    }

    #[test]
    fn each_part_has_its_weight() {
        let half = Reputation {
            successful_retrievals: 1,
            failed_retrievals: 1,
            avg_response_time_ms: 1999,
            packages_provided: 5,
            ..Reputation::default()
        };
        let hour_ago = ago(TimeDelta::hours(1));
        let expected = 0.5 * 0.5 + 0.25 * 0.5 + 0.15 * 0.5 + 0.10 * 0.5;
        assert!(close(score(&half, hour_ago, now(), None), expected));
        let boundary = Reputation {
            successful_retrievals: 1,
            avg_response_time_ms: 999,
            packages_provided: 10,
            ..Reputation::default()
        };
        assert!(close(score(&boundary, now(), now(), None), 1.0));
        assert!(close(score(&boundary, ago(TimeDelta::hours(-9)), now(), None), 1.0), "future");
    }

    #[test]
    fn the_bonus_falls_to_zero_at_100_km() {
        let mut peer = Reputation { failed_retrievals: 1, ..Reputation::default() };
        let plain = score(&peer, now(), now(), None);
        let at = |latitude: f64| Some(Box::new(place(latitude, 0.0)));
        let here = place(0.0, 0.0);
        let degrees_per_km = 180.0 / (std::f64::consts::PI * EARTH_KM);
        for (km, bonus) in [(0.0, 0.1), (50.0, 0.05), (100.0, 0.0), (5000.0, 0.0)] {
            peer.location = at(km * degrees_per_km);
            let gained = score(&peer, now(), now(), Some(&here)) - plain;
            assert!(close(gained, bonus), "{km} km: {gained}");
        }
    }

    #[test]
    fn distances_are_those_of_the_map() {
        let (berlin, paris) = (place(52.5200, 13.4050), place(48.8566, 2.3522));
        let km = distance_km(&berlin, &paris);
        assert!((km - 877.5).abs() < 1.0, "{km}");
        assert!(close(distance_km(&berlin, &berlin), 0.0));
        let antipodes = distance_km(&place(0.0, 0.0), &place(0.0, 180.0));
        assert!((antipodes - std::f64::consts::PI * EARTH_KM).abs() < 1e-6, "{antipodes}");
        let over_the_date_line = distance_km(&place(0.0, 179.5), &place(0.0, -179.5));
        assert!((over_the_date_line - 111.19).abs() < 0.1, "{over_the_date_line}");
    }
}
