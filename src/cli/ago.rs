//! Times as people say them: how long ago, or how soon.

use serde_json::Value;

use crate::clock::Time;

/// `12 s ago`, `in 3 min`; nothing for what is no time.
pub(super) fn ago(at: &Value, now: Time) -> String {
    let Some(at) = at.as_str().and_then(time) else { return String::new() };
    if at > now {
        return format!("in {}", span(at.0 - now.0));
    }
    match now.0 - at.0 {
        0..1_000 => "now".into(),
        millis => format!("{} ago", span(millis)),
    }
}

fn time(text: &str) -> Option<Time> {
    let stamp: jiff::Timestamp = text.parse().ok()?;
    u64::try_from(stamp.as_millisecond()).ok().map(Time)
}

/// In the largest unit that it fills twice, so that nothing is off by half.
pub(super) fn span(millis: u64) -> String {
    const UNITS: [(u64, &str); 3] = [(86_400_000, "d"), (3_600_000, "h"), (60_000, "min")];
    let unit = UNITS.into_iter().find(|(unit, _)| millis >= 2 * unit);
    unit.map_or_else(|| format!("{} s", millis.div_ceil(1_000)), |(unit, name)| format!("{} {name}", millis / unit))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_told_from_now() {
        let now = Time(1_700_000_000_000);
        let told = |offset: i64| {
            let at = Time(now.0.saturating_add_signed(offset));
            ago(&Value::from(at.to_string()), now)
        };
        assert_eq!([told(0), told(-900), told(-12_000)], ["now", "now", "12 s ago"]);
        assert_eq!([told(-119_000), told(-121_000)], ["119 s ago", "2 min ago"]);
        assert_eq!([told(-7_200_000), told(-200 * 3_600_000)], ["2 h ago", "8 d ago"]);
        assert_eq!([told(500), told(180_000)], ["in 1 s", "in 3 min"]);
        assert_eq!([ago(&Value::Null, now), ago(&"soon".into(), now)], ["", ""]);
    }
}
