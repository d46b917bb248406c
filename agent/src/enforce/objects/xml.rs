//! Reads the XML that stores answer with into a small tree.
//!
//! What comes in is bounded before it gets here ([`super::client::MOST_ANSWER`]). Document types and
//! their entities are not read: a store has no use for them, and others have.

use quick_xml::{Reader, events::Event};

/// Deeper than any answer of a store.
const DEEPEST: usize = 16;

/// An element: its name without prefix, its text, its elements.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Element {
    /// Its name.
    pub name: String,
    /// Its text.
    pub text: String,
    /// The elements in it.
    pub inside: Vec<Element>,
}

impl Element {
    /// The first element of a name in it.
    pub fn child(&self, name: &str) -> Option<&Self> {
        self.inside.iter().find(|element| element.name == name)
    }

    /// The text of the first element of a name in it; empty where there is none.
    pub fn text_of(&self, name: &str) -> &str {
        self.child(name).map_or("", |element| &element.text)
    }
}

/// Reads a document; `None` where it is not one.
pub fn parse(document: &[u8]) -> Option<Element> {
    let text = std::str::from_utf8(document).ok()?;
    let mut reader = Reader::from_str(text);
    let mut open = vec![Element::default()];
    loop {
        match reader.read_event().ok()? {
            Event::Start(start) if open.len() < DEEPEST => open.push(named(&start)?),
            Event::Empty(start) => open.last_mut()?.inside.push(named(&start)?),
            Event::End(_) => {
                let done = open.pop()?;
                open.last_mut()?.inside.push(done);
            }
            Event::Text(text) => open.last_mut()?.text.push_str(&text.decode().ok()?),
            Event::CData(text) => open.last_mut()?.text.push_str(&text.decode().ok()?),
            Event::GeneralRef(reference) => {
                let character = match reference.resolve_char_ref().ok()? {
                    Some(character) => character,
                    None => match &*reference.decode().ok()? {
                        "lt" => '<',
                        "gt" => '>',
                        "amp" => '&',
                        "apos" => '\'',
                        "quot" => '"',
                        _ => return None,
                    },
                };
                open.last_mut()?.text.push(character);
            }
            Event::Decl(_) | Event::Comment(_) | Event::PI(_) => {}
            Event::Start(_) | Event::DocType(_) => return None,
            Event::Eof => break,
        }
    }
    let mut root = open.pop().filter(|_| open.is_empty())?;
    (root.inside.len() == 1).then(|| root.inside.remove(0))
}

fn named(start: &quick_xml::events::BytesStart<'_>) -> Option<Element> {
    let name = std::str::from_utf8(start.local_name().into_inner()).ok()?;
    Some(Element {
        name: name.to_owned(),
        ..Element::default()
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn an_answer_becomes_a_tree_with_its_escapes_undone() {
        let answer = br#"<?xml version="1.0"?><List xmlns="http://s3.example/">
            <Key>a &amp; b&#x9;&lt;c</Key><Empty/><Version><Id>1</Id></Version></List>"#;
        let list = parse(answer).unwrap();
        assert_eq!(list.name, "List");
        assert_eq!(list.text_of("Key"), "a & b\t<c");
        assert_eq!(list.text_of("Empty"), "");
        assert_eq!(list.child("Version").unwrap().text_of("Id"), "1");
    }

    #[test]
    fn what_is_no_document_or_defines_its_own_words_is_refused() {
        for bad in [
            &b"<html><body>"[..],
            b"<!DOCTYPE a [<!ENTITY x 'y'>]><a>&x;</a>",
            b"<a>&x;</a>",
            b"",
            b"\xff",
            b"<a/><b/>",
        ] {
            assert_eq!(parse(bad), None, "{bad:?}");
        }
        let deep = "<a>".repeat(50) + &"</a>".repeat(50);
        assert_eq!(parse(deep.as_bytes()), None);
    }
}
