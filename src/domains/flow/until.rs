//! Until when a `wait` waits: a duration, a time with an offset, or a time of the clock on some wall.

use jiff::civil::{Date, DateTime};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Span, Timestamp};
use serde_json::Value;

use crate::clock::Time;
use crate::config::reader::parse_span;

/// The longest wait, in milliseconds: ten years.
const WAIT_MAX: u64 = 3_660 * 86_400_000;

/// The zone of this name in the IANA data base, which is part of the program: a decision reads no file.
pub(super) fn zone(name: &str) -> Option<TimeZone> {
    TimeZone::get(name).ok()
}

/// The moment that a value means.
pub(super) fn moment(value: &Value, in_zone: Option<&str>, now: Time) -> Result<Time, String> {
    let Value::String(text) = value else {
        return Err(format!("it gave {value}, it must give a time or a duration as text"));
    };
    let until = parse(text.trim(), in_zone, now)?;
    if until.0 > now.0.saturating_add(WAIT_MAX) {
        return Err(format!("it gave `{text}`, which is more than ten years away"));
    }
    Ok(until)
}

fn parse(text: &str, in_zone: Option<&str>, now: Time) -> Result<Time, String> {
    if let Some(span) = parse_span(text) {
        return Ok(now.plus(span));
    }
    if let Ok(stamp) = text.parse::<Timestamp>() {
        return Ok(time(stamp));
    }
    let civil = text.parse::<DateTime>().or_else(|_| text.parse::<Date>().map(|date| date.at(0, 0, 0, 0)));
    let tz = match in_zone {
        Some(name) => zone(name).ok_or_else(|| format!("`{name}` is no time zone"))?,
        None => TimeZone::UTC,
    };
    if let Ok(civil) = civil {
        // In the hour that is left out in spring the clock shows the later time, in the one that comes twice the first.
        let stamp = tz.to_ambiguous_timestamp(civil).compatible();
        return stamp.map(time).map_err(|_| format!("`{text}` is beyond the times that can be told"));
    }
    if let Ok(span) = text.parse::<Span>() {
        return after(span, &tz, now).ok_or_else(|| format!("`{text}` is beyond the times that can be told"));
    }
    Err(format!("it gave `{text}`, write a time like 2026-12-24T18:00:00 or a duration like 2h"))
}

/// Days and months of ISO 8601 are those of the calendar of the zone.
fn after(span: Span, tz: &TimeZone, now: Time) -> Option<Time> {
    let now = Timestamp::from_millisecond(i64::try_from(now.0).ok()?).ok()?;
    Some(time(now.to_zoned(tz.clone()).checked_add(span).ok()?.timestamp()))
}

/// Before 1970 nothing is waited for.
fn time(stamp: Timestamp) -> Time {
    let since: SignedDuration = stamp.as_duration();
    Time(u64::try_from(since.as_millis()).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// 2026-03-01T00:00:00Z.
    const NOW: Time = Time(1_772_323_200_000);

    fn told(text: &str, zone: Option<&str>) -> Result<String, String> {
        moment(&json!(text), zone, NOW).map(|time| time.to_string())
    }

    #[test]
    fn times_and_durations_are_understood() {
        for (text, zone, expected) in [
            ("2h", None, "2026-03-01T02:00:00.000Z"),
            ("PT90M", None, "2026-03-01T01:30:00.000Z"),
            ("2026-12-24T18:00:00Z", None, "2026-12-24T18:00:00.000Z"),
            ("2026-12-24T18:00:00+01:00", Some("America/New_York"), "2026-12-24T17:00:00.000Z"),
            ("2026-12-24T18:00:00", None, "2026-12-24T18:00:00.000Z"),
            ("2026-12-24T18:00:00", Some("Europe/Berlin"), "2026-12-24T17:00:00.000Z"),
            ("2026-07-01T08:00", Some("Europe/Berlin"), "2026-07-01T06:00:00.000Z"),
            ("2026-12-24", Some("Asia/Tokyo"), "2026-12-23T15:00:00.000Z"),
            // A month of the calendar, over the change to summer time.
            ("P1M", Some("Europe/Berlin"), "2026-03-31T23:00:00.000Z"),
            ("1960-01-01", None, "1970-01-01T00:00:00.000Z"),
        ] {
            assert_eq!(told(text, zone).as_deref(), Ok(expected), "{text}");
        }
    }

    /// The change to summer time leaves out 02:30 of this day in Berlin, the one in autumn has it twice.
    #[test]
    fn hours_that_are_not_there_or_twice_have_one_meaning() {
        assert_eq!(told("2026-03-29T02:30:00", Some("Europe/Berlin")).as_deref(), Ok("2026-03-29T01:30:00.000Z"));
        assert_eq!(told("2026-10-25T02:30:00", Some("Europe/Berlin")).as_deref(), Ok("2026-10-25T00:30:00.000Z"));
    }

    #[test]
    fn what_is_no_time_or_too_far_is_said() {
        assert!(told("tomorrow", None).unwrap_err().contains("`tomorrow`"));
        assert!(told("2126-01-01", None).unwrap_err().contains("more than ten years"));
        assert!(told("P100Y", None).unwrap_err().contains("more than ten years"));
        assert!(moment(&json!(3), None, NOW).unwrap_err().contains("it gave 3"));
    }
}
