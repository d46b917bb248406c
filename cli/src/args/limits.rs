//! Limits as people type them: `20%`, `100MB/s`, `500`, `22:00-06:00`, or `none` to lift one.

use std::str::FromStr;

/// One limit, or that there is to be none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cap<T> {
    /// The limit is lifted.
    None,
    /// It is set.
    At(T),
}

impl<T> Cap<T> {
    /// As a limit of the house.
    pub fn limit(self) -> Option<T> {
        match self {
            Self::None => None,
            Self::At(value) => Some(value),
        }
    }
}

/// A share of CPU time in percent of one core.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cpu(pub Cap<u64>);

/// Bytes in a second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bytes(pub Cap<u64>);

/// Reads in a second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reads(pub Cap<u64>);

/// Minutes of the day, UTC, from and until.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hours(pub Cap<(u64, u64)>);

fn cap<T>(text: &str, read: impl Fn(&str) -> Option<T>, how: &str) -> Result<Cap<T>, String> {
    if text == "none" {
        return Ok(Cap::None);
    }
    read(text)
        .map(Cap::At)
        .ok_or_else(|| format!("`{text}` is not a limit: write it as {how}, or none"))
}

/// A whole number of at least 1, without a sign.
fn number(text: &str) -> Option<u64> {
    let plain = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    text.parse().ok().filter(|n| plain && *n > 0)
}

impl FromStr for Cpu {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let read = |text: &str| number(text.strip_suffix('%')?.trim_end());
        cap(text, read, "20% (of one core; 200% is two)").map(Self)
    }
}

impl FromStr for Bytes {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let read = |text: &str| {
            let text = text.strip_suffix("/s").unwrap_or(text);
            let end = text.find(|c: char| !c.is_ascii_digit())?;
            let unit: u64 = match text[end..].trim_start() {
                "B" => 1,
                "kB" | "KB" => 1_000,
                "MB" => 1_000_000,
                "GB" => 1_000_000_000,
                "KiB" => 1 << 10,
                "MiB" => 1 << 20,
                "GiB" => 1 << 30,
                _ => return None,
            };
            number(&text[..end])?.checked_mul(unit)
        };
        cap(text, read, "100MB/s or 64MiB/s").map(Self)
    }
}

impl FromStr for Reads {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let read = |text: &str| number(text.strip_suffix("/s").unwrap_or(text));
        cap(text, read, "500 (a second)").map(Self)
    }
}

impl FromStr for Hours {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let how = "22:00-06:00 (UTC; two different times)";
        cap(text, custody::house::limits::hours, how).map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_read_with_their_units() {
        assert_eq!("20%".parse(), Ok(Cpu(Cap::At(20))));
        assert_eq!("200 %".parse(), Ok(Cpu(Cap::At(200))));
        assert_eq!("100MB/s".parse(), Ok(Bytes(Cap::At(100_000_000))));
        assert_eq!("64 MiB".parse(), Ok(Bytes(Cap::At(64 << 20))));
        assert_eq!("1GB/s".parse(), Ok(Bytes(Cap::At(1_000_000_000))));
        assert_eq!("500".parse(), Ok(Reads(Cap::At(500))));
        assert_eq!("22:00-06:00".parse(), Ok(Hours(Cap::At((1320, 360)))));
        assert_eq!("none".parse(), Ok(Cpu(Cap::None)));
        assert_eq!("none".parse(), Ok(Hours(Cap::None)));
    }

    #[test]
    fn what_has_no_unit_or_limits_to_nothing_is_refused_with_an_example() {
        for text in ["20", "0%", "-5%", "%", "20 percent", ""] {
            assert!(text.parse::<Cpu>().is_err(), "{text}");
        }
        for text in [
            "100",
            "100Mbit/s",
            "0MB/s",
            "MB/s",
            "99999999999999GB/s",
            "é",
        ] {
            assert!(text.parse::<Bytes>().is_err(), "{text}");
        }
        for text in ["0", "+5", "5k"] {
            assert!(text.parse::<Reads>().is_err(), "{text}");
        }
        let said = "22-6".parse::<Hours>().err().unwrap_or_default();
        assert!(said.contains("22:00-06:00"), "{said}");
    }
}
