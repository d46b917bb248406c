//! The words that the law's enums are written with.

/// An enum with one word for each of its values.
pub trait Word {
    /// The word, as JSON writes it.
    fn word(&self) -> String;
}

impl<T: serde::Serialize> Word for T {
    fn word(&self) -> String {
        match serde_json::to_value(self) {
            Ok(serde_json::Value::String(word)) => word,
            _ => "?".to_owned(),
        }
    }
}
