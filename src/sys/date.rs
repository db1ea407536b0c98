//! Dates of the calendar from seconds since 1970, and back. Pure. Earlier times do not occur.

/// A time as RFC 3339 has it, in UTC: `2026-11-25T00:29:48Z`, which `date` and jq's `fromdate`
/// read.
pub(crate) fn rfc3339(seconds: i64) -> String {
    let (date, time) = date_and_time(seconds);
    format!("{date}T{time}Z")
}

/// The same for people: `2026-11-25 00:29:48`.
pub(crate) fn readable(seconds: i64) -> String {
    let (date, time) = date_and_time(seconds);
    format!("{date} {time}")
}

/// Reads what [`rfc3339`] has written.
pub(crate) fn parse(text: &str) -> Option<i64> {
    let (date, time) = text.strip_suffix('Z')?.split_once('T')?;
    let numbers = |text: &str, by| -> Option<[u16; 3]> {
        let numbers: Option<Vec<u16>> = text.split(by).map(|part| part.parse().ok()).collect();
        numbers?.try_into().ok()
    };
    let [year, month, day] = numbers(date, '-')?.map(i64::from);
    let [hour, minute, second] = numbers(time, ':')?.map(i64::from);
    let days = (1..=12).contains(&month).then(|| days_until(year, month))? + day - 1;
    Some(days * 86_400 + hour * 3600 + minute * 60 + second)
}

fn date_and_time(seconds: i64) -> (String, String) {
    let (days, second) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    // No year has more than 366 days, so this is not too late.
    let mut year = 1970 + days / 366;
    while days_until(year + 1, 1) <= days {
        year += 1;
    }
    let begins = |month: &i64| days_until(year, *month) <= days;
    let month = (1..=12).rev().find(begins).unwrap_or(1);
    let day = days - days_until(year, month) + 1;
    let (hour, minute) = (second / 3600, second / 60 % 60);
    (
        format!("{year:04}-{month:02}-{day:02}"),
        format!("{hour:02}:{minute:02}:{:02}", second % 60),
    )
}

/// The days from the beginning of 1970 to that of a month.
fn days_until(year: i64, month: i64) -> i64 {
    // Counted from March on, a leap day is the last of its year, and the months before one have
    // 30.6 days on average, rounded.
    let (year, month) = if month > 2 {
        (year, month - 3)
    } else {
        (year - 1, month + 9)
    };
    let leap_days = year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400);
    year * 365 + leap_days + (month * 306 + 5) / 10 - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_the_calendar() {
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_399, "2000-02-28T23:59:59Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (951_868_800, "2000-03-01T00:00:00Z"),
            (1_764_030_588, "2025-11-25T00:29:48Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
        ] {
            assert_eq!(rfc3339(seconds), text);
            assert_eq!(parse(text), Some(seconds));
        }
        assert_eq!(readable(1_764_030_588), "2025-11-25 00:29:48");
        for bad in [
            "",
            "Z",
            "2025-11-25",
            "2025-13-25T00:00:00Z",
            "x-1-1T0:0:0Z",
        ] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }

    proptest::proptest! {
        #[test]
        fn a_date_is_read_as_it_was_written(seconds in 0i64..253_402_300_800) {
            proptest::prop_assert_eq!(parse(&rfc3339(seconds)), Some(seconds));
        }

        #[test]
        fn no_text_makes_the_reader_panic(text: String) {
            let _ = parse(&text);
            let _ = parse(&format!("{text}T{text}Z"));
        }
    }
}
