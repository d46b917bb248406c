//! Canonical JSON: the one spelling in which a statement is signed.
//!
//! RFC 8785 (JCS), narrowed: ASCII keys, strings, booleans, arrays, objects and integers
//! below 2^53; no floats, no nulls, no duplicate keys. A text is accepted only if writing what
//! was read gives the same bytes, so that no two texts mean the same.

use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

/// The longest text that is read, in bytes.
pub const LONGEST: usize = 64 * 1024;
/// The deepest nesting that is read.
pub const DEEPEST: usize = 32;
/// Integers must lie below this: larger ones are written as decimal strings.
pub const INTEGER_BOUND: u64 = 1 << 53;

/// Why a text or value is outside the profile.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum JsonError {
    /// Longer than [`LONGEST`].
    #[error("the text has {0} bytes; at most 65536 are read")]
    TooLong(usize),
    /// Not JSON, or not of the expected shape.
    #[error("not readable: {0}")]
    Unreadable(String),
    /// A float, a null, a large integer, a key outside ASCII, or too deep.
    #[error("outside the canonical profile: {0}")]
    Profile(&'static str),
    /// JSON, but not in its one canonical spelling.
    #[error("not in canonical form")]
    NotCanonical,
}

/// Writes a value in its one canonical spelling.
pub fn canonical<T: Serialize + ?Sized>(value: &T) -> Result<String, JsonError> {
    let value = serde_json::to_value(value).map_err(|e| JsonError::Unreadable(e.to_string()))?;
    check(&value, 0)?;
    let text = serde_json_canonicalizer::to_string(&value)
        .map_err(|e| JsonError::Unreadable(e.to_string()))?;
    if text.len() > LONGEST {
        return Err(JsonError::TooLong(text.len()));
    }
    Ok(text)
}

/// Reads a value; any text but its one canonical spelling is refused.
pub fn parse<T: DeserializeOwned + Serialize>(text: &str) -> Result<T, JsonError> {
    if text.len() > LONGEST {
        return Err(JsonError::TooLong(text.len()));
    }
    if nesting(text) > DEEPEST {
        return Err(JsonError::Profile("nested too deeply"));
    }
    let value: T = serde_json::from_str(text).map_err(|e| JsonError::Unreadable(e.to_string()))?;
    // What was not understood would be lost here and the texts would differ.
    if canonical(&value)? != text {
        return Err(JsonError::NotCanonical);
    }
    Ok(value)
}

fn nesting(text: &str) -> usize {
    let (mut depth, mut deepest, mut in_string, mut escaped) = (0_usize, 0, false, false);
    for byte in text.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            b'{' | b'[' if !in_string => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b'}' | b']' if !in_string => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

fn check(value: &Value, depth: usize) -> Result<(), JsonError> {
    if depth > DEEPEST {
        return Err(JsonError::Profile("nested too deeply"));
    }
    match value {
        Value::Null => Err(JsonError::Profile("null: leave the field out")),
        Value::Bool(_) | Value::String(_) => Ok(()),
        Value::Number(number) => {
            let small = number
                .as_u64()
                .map(|n| n < INTEGER_BOUND)
                .or_else(|| number.as_i64().map(|n| n.unsigned_abs() < INTEGER_BOUND));
            match small {
                Some(true) => Ok(()),
                Some(false) => Err(JsonError::Profile("an integer of 2^53 or more")),
                None => Err(JsonError::Profile("a number that is not an integer")),
            }
        }
        Value::Array(items) => items.iter().try_for_each(|item| check(item, depth + 1)),
        Value::Object(map) => map.iter().try_for_each(|(key, item)| {
            if !key.is_ascii() {
                return Err(JsonError::Profile("a key outside ASCII"));
            }
            check(item, depth + 1)
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_canonical_spelling_is_read() {
        assert!(parse::<Value>(r#"{"a":1,"b":[true,"x"]}"#).is_ok());
        for text in [
            r#"{"b":1,"a":1}"#,
            r#"{"a": 1}"#,
            r#"{"a":1,"a":1}"#,
            r#"{"a":1.0}"#,
            r#"{"a":1e2}"#,
            r#"{"a":null}"#,
            r#"{"a":"\u0041"}"#,
            r#"{"a":9007199254740992}"#,
            r#"{"ä":1}"#,
            r#"{"a":1} "#,
            "",
        ] {
            assert!(parse::<Value>(text).is_err(), "{text}");
        }
    }

    #[test]
    fn deep_nesting_is_refused_without_recursion() {
        let text = "[".repeat(60_000);
        assert_eq!(
            parse::<Value>(&text),
            Err(JsonError::Profile("nested too deeply"))
        );
    }
}
