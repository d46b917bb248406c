//! Values as people read them. What comes from outside is made harmless for a terminal.

use custody::time::Time;

/// A text without anything that moves a cursor or changes a colour.
pub fn plain(text: &str) -> String {
    let harmless = |c: char| {
        !c.is_control() && !matches!(c, '\u{200e}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    text.chars()
        .flat_map(|c| -> Box<dyn Iterator<Item = char>> {
            if harmless(c) {
                Box::new(std::iter::once(c))
            } else {
                Box::new(c.escape_unicode())
            }
        })
        .collect()
}

/// Raw bytes as text; what is not UTF-8 as `\xNN`.
pub fn bytes(raw: &[u8]) -> String {
    let mut out = String::new();
    for chunk in raw.utf8_chunks() {
        out.push_str(chunk.valid());
        for byte in chunk.invalid() {
            out.push_str(&format!("\\x{byte:02x}"));
        }
    }
    out
}

/// An id as a terminal shows it: its first 12 characters, which any command takes.
pub fn short(id: &str) -> String {
    id.chars().take(12).collect()
}

/// A time to the second, UTC.
pub fn time(time: &Time) -> String {
    let text = time.to_string();
    match text.split_once('.') {
        Some((seconds, _)) => format!("{}Z", seconds.replace('T', " ")),
        None => text,
    }
}

/// A number of bytes with a unit.
pub fn size(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let (mut unit, mut divisor) = (0, 1024_u64);
    while unit + 1 < UNITS.len() && bytes / divisor >= 1024 {
        unit += 1;
        divisor *= 1024;
    }
    let tenths = u128::from(bytes) * 10 / u128::from(divisor);
    format!("{}.{} {}", tenths / 10, tenths % 10, UNITS[unit])
}

/// A count with its noun, in the plural unless there is exactly one.
pub fn count(number: u64, noun: &str) -> String {
    match (number, noun.strip_suffix('y')) {
        (1, _) => format!("1 {noun}"),
        (_, Some(stem)) if !stem.ends_with(['a', 'e', 'o', 'u']) => format!("{number} {stem}ies"),
        _ if noun.ends_with("sh") => format!("{number} {noun}es"),
        _ => format!("{number} {noun}s"),
    }
}

/// An optional text, with a hyphen where there is none.
pub fn or_dash(text: Option<&str>) -> String {
    text.map_or_else(|| "-".to_owned(), plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_cannot_move_the_cursor_or_turn_the_text_around() {
        assert_eq!(plain("a\u{1b}[2Jb"), "a\\u{1b}[2Jb");
        assert_eq!(plain("gpj.\u{202e}exe"), "gpj.\\u{202e}exe");
        assert_eq!(plain("Łódź 北"), "Łódź 北");
    }

    #[test]
    fn bytes_that_are_no_text_stay_visible() {
        assert_eq!(bytes(b"/srv/\xffa"), "/srv/\\xffa");
    }

    #[test]
    fn nouns_have_their_plurals() {
        for (noun, plural) in [
            ("day", "2 days"),
            ("entry", "2 entries"),
            ("hash", "2 hashes"),
            ("row", "2 rows"),
        ] {
            assert_eq!(count(2, noun), plural);
        }
        assert_eq!(count(1, "entry"), "1 entry");
        assert_eq!(count(0, "row"), "0 rows");
    }

    #[test]
    fn sizes_are_rounded_down_and_never_overflow() {
        assert_eq!(size(1023), "1023 B");
        assert_eq!(size(1536), "1.5 KiB");
        assert_eq!(size(u64::MAX), "15.9 EiB");
    }
}
