//! When a schedule has its ticks: every so often, or whenever a clock on some wall shows what a cron pattern says.
//!
//! ```text
//! every      multiples of the span since 1970-01-01T00:00Z, whenever the node was started
//! cron, hour "*"    along real time: what the clock leaves out in spring does not come, what it shows twice comes twice
//! cron, hours named each of them once a day: one that is left out comes at the first moment after, of two the first
//! ```

use std::time::Duration;

use croner::Cron;
use croner::parser::{CronParser, Seconds, Year};
use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::{AmbiguousOffset, TimeZone};

use crate::clock::Time;

/// The least and the most between two ticks.
pub const EVERY_MIN: Duration = Duration::from_secs(1);
pub const EVERY_MAX: Duration = Duration::from_secs(366 * 86_400);
/// Letters of a pattern: more than any list of minutes needs.
const PATTERN_MAX: usize = 500;
/// Ticks of a pattern that are counted one by one; two weeks of a tick each minute, in a few milliseconds.
const COUNTED_MAX: u64 = 20_160;
/// Words that stand for patterns.
const WORDS: [&str; 6] = ["@yearly", "@annually", "@monthly", "@weekly", "@daily", "@hourly"];
/// Where the search for the first tick of a pattern begins: any moment does, since what comes at all comes again.
const ANY: Time = Time(1_767_225_600_000);

/// When there are ticks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum When {
    Every(Duration),
    Wall(Box<Wall>),
}

/// A cron pattern on the clock of a zone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wall {
    pattern: String,
    zone: String,
    cron: Cron,
    tz: TimeZone,
}

/// How many ticks there are in a span of time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Count {
    pub ticks: u64,
    /// There are more, which were not counted.
    pub more: bool,
}

/// Why a pattern has no ticks.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WallError {
    #[error("`{pattern}` is no cron pattern: {reason}")]
    Pattern { pattern: String, reason: String },
    #[error("`{0}` is no time zone")]
    Zone(String),
    #[error("`{0}` never comes: there is no such day")]
    Never(String),
}

impl Wall {
    /// A pattern of five fields, or a word such as `@daily`, on the clock of this zone.
    ///
    /// # Errors
    /// When one of the two is none, or no day is like that.
    pub fn parse(pattern: &str, zone: &str) -> Result<Self, WallError> {
        let tz = zone_named(zone).ok_or_else(|| WallError::Zone(zone.to_owned()))?;
        let wrong = |reason: String| WallError::Pattern { pattern: pattern.chars().take(80).collect(), reason };
        if pattern.len() > PATTERN_MAX {
            return Err(wrong(format!("it has more than {PATTERN_MAX} letters")));
        }
        let fields = pattern.split_whitespace().count();
        if pattern.trim_start().starts_with('@') {
            if !WORDS.contains(&pattern.trim()) {
                return Err(wrong(format!("of such words there are {}", WORDS.join(", "))));
            }
        } else if fields != 5 {
            let five = "minute, hour, day of the month, month, day of the week";
            let plural = if fields == 1 { "" } else { "s" };
            return Err(wrong(format!("it has {fields} field{plural} and not five: {five}")));
        }
        let parser = CronParser::builder().seconds(Seconds::Disallowed).year(Year::Disallowed).build();
        let cron = parser.parse(pattern).map_err(|error| wrong(said(&error.to_string())))?;
        let wall = Self { pattern: pattern.trim().to_owned(), zone: zone.to_owned(), cron, tz };
        wall.after(ANY).map(|_| ()).ok_or_else(|| WallError::Never(pattern.to_owned()))?;
        Ok(wall)
    }

    pub fn pattern(&self) -> &str {
        &self.pattern
    }

    pub fn zone(&self) -> &str {
        &self.zone
    }

    fn after(&self, time: Time) -> Option<Time> {
        let now = Timestamp::from_millisecond(i64::try_from(time.0).ok()?).ok()?.to_zoned(self.tz.clone());
        if self.is_every_hour() {
            return time_of(self.cron.find_next_occurrence(&now, false).ok()?.timestamp());
        }
        // What the clock shows now lies at now or before, so that what it shows before that has passed too.
        let mut shown = now.datetime();
        loop {
            shown = self.cron.find_next_occurrence(&shown, false).ok()?;
            let moment = self.moment(shown)?;
            if moment > now.timestamp() {
                return time_of(moment);
            }
        }
    }

    fn is_every_hour(&self) -> bool {
        self.cron.pattern.hours.values().len() == 24
    }

    /// The one moment that stands for what the clock shows.
    fn moment(&self, shown: DateTime) -> Option<Timestamp> {
        let ambiguous = self.tz.to_ambiguous_timestamp(shown);
        match ambiguous.offset() {
            AmbiguousOffset::Unambiguous { .. } | AmbiguousOffset::Fold { .. } => ambiguous.earlier().ok(),
            AmbiguousOffset::Gap { .. } => {
                let before = ambiguous.earlier().ok()?;
                Some(self.tz.following(before).next()?.timestamp())
            }
        }
    }
}

impl When {
    /// The first tick after a moment; `None` at the end of the times that can be told.
    pub fn after(&self, time: Time) -> Option<Time> {
        match self {
            Self::Every(span) => {
                let span = millis(*span);
                (time.0 / span).checked_add(1)?.checked_mul(span).map(Time)
            }
            Self::Wall(wall) => wall.after(time),
        }
    }

    /// How many ticks there are after one moment, up to and with another.
    pub fn between(&self, after: Time, upto: Time) -> Count {
        let wall = match self {
            Self::Every(span) => {
                let span = millis(*span);
                return Count { ticks: (upto.0 / span).saturating_sub(after.0 / span), more: false };
            }
            Self::Wall(wall) => wall,
        };
        let (mut count, mut last) = (Count::default(), after);
        while let Some(tick) = wall.after(last).filter(|tick| *tick <= upto) {
            if count.ticks == COUNTED_MAX {
                return Count { more: true, ..count };
            }
            count.ticks += 1;
            last = tick;
        }
        count
    }
}

/// The zone of this name in the data base that is part of the program: a decision reads no file.
fn zone_named(name: &str) -> Option<TimeZone> {
    TimeZone::get(name).ok()
}

/// What the parser says, as a part of a sentence of ours.
fn said(reason: &str) -> String {
    let plain = reason.trim_end_matches('.').rsplit_once(": ").map_or(reason, |(_, plain)| plain);
    let mut letters = plain.trim_end_matches('.').chars();
    letters.next().map_or_else(String::new, |first| first.to_lowercase().to_string() + letters.as_str())
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX).max(1)
}

fn time_of(stamp: Timestamp) -> Option<Time> {
    u64::try_from(stamp.as_millisecond()).ok().map(Time)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn time(text: &str) -> Time {
        time_of(text.parse().unwrap()).unwrap()
    }

    fn wall(pattern: &str, zone: &str) -> When {
        When::Wall(Box::new(Wall::parse(pattern, zone).unwrap()))
    }

    /// The ticks after a moment, as the clock of Berlin shows them.
    fn ticks(when: &When, after: &str, count: usize) -> Vec<String> {
        let berlin = TimeZone::get("Europe/Berlin").unwrap();
        let mut last = time(after);
        let mut told = Vec::new();
        for _ in 0..count {
            last = when.after(last).unwrap();
            let stamp = Timestamp::from_millisecond(i64::try_from(last.0).unwrap()).unwrap();
            told.push(stamp.to_zoned(berlin.clone()).strftime("%d. %H:%M%:z").to_string());
        }
        told
    }

    const SPRING: &str = "2026-03-28T23:20:00Z";
    const AUTUMN: &str = "2026-10-24T23:20:00Z";

    #[test]
    fn a_time_that_is_left_out_in_spring_comes_at_the_first_moment_after_and_once() {
        let daily = wall("30 2 * * *", "Europe/Berlin");
        assert_eq!(ticks(&daily, SPRING, 2), ["29. 03:00+02:00", "30. 02:30+02:00"]);
        let twice = wall("30 2,14 * * *", "Europe/Berlin");
        assert_eq!(ticks(&twice, SPRING, 3), ["29. 03:00+02:00", "29. 14:30+02:00", "30. 02:30+02:00"]);
        let often = wall("*/20 2,3 * * *", "Europe/Berlin");
        assert_eq!(ticks(&often, SPRING, 3), ["29. 03:00+02:00", "29. 03:20+02:00", "29. 03:40+02:00"]);
    }

    #[test]
    fn a_time_that_comes_twice_in_autumn_ticks_the_first_time_only() {
        let daily = wall("30 2 * * *", "Europe/Berlin");
        assert_eq!(ticks(&daily, AUTUMN, 2), ["25. 02:30+02:00", "26. 02:30+01:00"]);
        let often = wall("*/30 2,3 * * *", "Europe/Berlin");
        let all = ["25. 02:00+02:00", "25. 02:30+02:00", "25. 03:00+01:00", "25. 03:30+01:00"];
        assert_eq!(ticks(&often, AUTUMN, 4), all);
        // Asked in the second of the two hours it does not go back to the first.
        assert_eq!(ticks(&daily, "2026-10-25T01:10:00Z", 1), ["26. 02:30+01:00"]);
    }

    #[test]
    fn every_hour_goes_along_with_real_time() {
        let hourly = wall("15 * * * *", "Europe/Berlin");
        assert_eq!(ticks(&hourly, SPRING, 3), ["29. 01:15+01:00", "29. 03:15+02:00", "29. 04:15+02:00"]);
        assert_eq!(ticks(&hourly, AUTUMN, 3), ["25. 02:15+02:00", "25. 02:15+01:00", "25. 03:15+01:00"]);
        // Also where the clock changes by half an hour, and at another time than full hours.
        let lord_howe = wall("0 * * * *", "Australia/Lord_Howe");
        let mut last = time("2026-04-04T13:00:00Z");
        for _ in 0..48 {
            let next = lord_howe.after(last).unwrap();
            assert!((1..=90 * 60_000).contains(&(next.0 - last.0)), "{last} then {next}");
            last = next;
        }
    }

    #[test]
    fn days_of_the_week_are_those_of_the_zone() {
        let morning = wall("0 9 * * 1-5", "Asia/Tokyo");
        // Friday evening in Europe is Saturday in Tokyo.
        assert_eq!(morning.after(time("2026-11-20T18:00:00Z")), Some(time("2026-11-23T00:00:00Z")));
        let utc = wall("0 9 * * MON-FRI", "UTC");
        assert_eq!(utc.after(time("2026-11-20T09:00:00Z")), Some(time("2026-11-23T09:00:00Z")));
        assert_eq!(wall("0 0 29 2 *", "UTC").after(time("2026-01-01T00:00:00Z")), Some(time("2028-02-29T00:00:00Z")));
        assert_eq!(wall("@daily", "UTC").after(time("2026-01-01T00:00:00Z")), Some(time("2026-01-02T00:00:00Z")));
    }

    #[test]
    fn spans_count_from_1970_and_the_next_tick_is_always_later() {
        let quarter = When::Every(Duration::from_secs(900));
        assert_eq!(quarter.after(time("2026-11-20T18:07:31Z")), Some(time("2026-11-20T18:15:00Z")));
        assert_eq!(quarter.after(time("2026-11-20T18:15:00Z")), Some(time("2026-11-20T18:30:00Z")));
        assert_eq!(quarter.after(Time(u64::MAX)), None);
        for when in [quarter, wall("*/7 1-3 * * *", "Europe/Berlin"), wall("0 0 * * *", "America/Santiago")] {
            let mut last = time("2026-03-01T00:00:00Z");
            for _ in 0..2_000 {
                let next = when.after(last).unwrap();
                assert!(next > last);
                assert_eq!(when.after(Time(next.0 - 1)), Some(next), "asked a moment before");
                last = next;
            }
        }
    }

    #[test]
    fn ticks_of_a_span_of_time_are_counted_up_to_a_bound() {
        let hourly = wall("0 * * * *", "UTC");
        let (from, day) = (time("2026-01-01T00:00:00Z"), time("2026-01-02T00:00:00Z"));
        assert_eq!(hourly.between(from, day), Count { ticks: 24, more: false });
        assert_eq!(hourly.between(day, from), Count::default());
        assert_eq!(hourly.between(from, time("2027-01-01T00:00:00Z")), Count { ticks: 8_760, more: false });
        let minutes = wall("* * * * *", "UTC").between(from, time("2027-01-01T00:00:00Z"));
        assert_eq!(minutes, Count { ticks: COUNTED_MAX, more: true });
        let every = When::Every(Duration::from_secs(1)).between(from, time("2027-01-01T00:00:00Z"));
        assert_eq!(every, Count { ticks: 31_536_000, more: false });
    }

    #[test]
    fn what_is_no_pattern_and_what_never_comes_is_said() {
        for (pattern, zone, said) in [
            ("0 25 * * *", "UTC", "`0 25 * * *` is no cron pattern: number out of bounds"),
            ("0 9 * *", "UTC", "`0 9 * *` is no cron pattern: it has 4 fields and not five: minute, hour,"),
            ("", "UTC", "`` is no cron pattern: it has 0 fields"),
            ("0 0 9 * * *", "UTC", "`0 0 9 * * *` is no cron pattern: it has 6 fields"),
            ("@reboot", "UTC", "`@reboot` is no cron pattern: of such words there are @yearly"),
            ("0 9 * * *", "Europe/Atlantis", "`Europe/Atlantis` is no time zone"),
            ("0 0 30 2 *", "UTC", "`0 0 30 2 *` never comes"),
        ] {
            let error = Wall::parse(pattern, zone).unwrap_err().to_string();
            assert!(error.starts_with(said), "{error}");
        }
        assert!(Wall::parse(&"1,".repeat(1_000), "UTC").is_err());
    }
}
