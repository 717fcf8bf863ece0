//! YAML, from the parser's events straight into types.
//!
//! There is no tree: what a field's type does not expect ends the reading where it
//! stands, so depth is that of the types. Aliases are refused, so nothing grows.
//! A scalar becomes what its field is, as it does in the reference: `name: 0` is a
//! text, `minor: 0660` a number, octal as YAML 1.1 has it.

use std::borrow::Cow;
use std::fmt;

use saphyr_parser::{Event, Parser, ScalarStyle, ScanError, Span, StrInput};
use serde::de::{self, DeserializeOwned, DeserializeSeed, MapAccess, SeqAccess, Visitor};
use serde::forward_to_deserialize_any;

use crate::error::{Problem, one_line};

/// Reads the one document of a text.
///
/// # Errors
/// [`Problem::Syntax`], with the line.
pub(crate) fn read<T: DeserializeOwned>(text: &str) -> Result<T, Problem> {
    let mut events = Events {
        // Editors of other systems put a mark at the start.
        parser: Parser::new_from_str(text.strip_prefix('\u{feff}').unwrap_or(text)),
        line: 1,
    };
    events.document().map_err(|error| Problem::Syntax {
        line: Some(events.line),
        message: one_line(&error.0),
    })
}

/// What is wrong; where is in [`Events`].
#[derive(Debug)]
struct Wrong(String);

impl std::error::Error for Wrong {}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl de::Error for Wrong {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self(message.to_string())
    }
}

fn wrong<T>(message: &str) -> Result<T, Wrong> {
    Err(Wrong(message.to_owned()))
}

struct Events<'a> {
    parser: Parser<'a, StrInput<'a>>,
    /// Of the last event, from 1 on.
    line: usize,
}

impl<'a> Events<'a> {
    fn document<T: DeserializeOwned>(&mut self) -> Result<T, Wrong> {
        if !matches!(self.next()?, Event::StreamStart) {
            return wrong("not a YAML file");
        }
        match self.next()? {
            Event::DocumentStart(_) => (),
            _ => return wrong("the file is empty"),
        }
        let value = T::deserialize(&mut *self)?;
        match self.next()? {
            Event::DocumentEnd => (),
            _ => return wrong("something follows the document"),
        }
        match self.next()? {
            Event::StreamEnd => Ok(value),
            _ => wrong("more than one document; make it a file of its own"),
        }
    }

    fn next(&mut self) -> Result<Event<'a>, Wrong> {
        match self.parser.next_event() {
            Some(Ok((event, span))) => {
                self.line = line(span);
                Ok(event)
            }
            Some(Err(error)) => Err(self.broken(&error)),
            None => wrong("the file ends too early"),
        }
    }

    /// The next event stays.
    fn peek(&mut self) -> Result<&Event<'a>, Wrong> {
        // Twice, because of the borrow in the error's arm.
        if let Some(Err(error)) = self.parser.peek() {
            return Err(self.broken(&error));
        }
        match self.parser.peek() {
            Some(Ok((event, _))) => Ok(event),
            _ => wrong("the file ends too early"),
        }
    }

    fn broken(&mut self, error: &ScanError) -> Wrong {
        self.line = error.marker().line();
        Wrong(error.info().to_owned())
    }

    /// A scalar's text, and whether it is plain, without quotes or tag.
    fn scalar(&mut self) -> Result<Option<(Cow<'a, str>, bool)>, Wrong> {
        if !matches!(self.peek()?, Event::Scalar(..)) {
            return Ok(None);
        }
        match self.next()? {
            Event::Scalar(text, style, _, tag) => {
                let is_plain = style == ScalarStyle::Plain && tag.is_none();
                Ok(Some((text, is_plain)))
            }
            _ => Ok(None),
        }
    }

    fn is_null(&mut self) -> Result<bool, Wrong> {
        Ok(match self.peek()? {
            Event::Scalar(text, ScalarStyle::Plain, _, None) => is_null(text),
            _ => false,
        })
    }
}

fn line(span: Span) -> usize {
    span.start.line()
}

fn is_null(text: &str) -> bool {
    matches!(text, "" | "~" | "null" | "Null" | "NULL")
}

/// `-12`, `0x1f`, `0o660`, `0660`.
fn integer(text: &str) -> Option<i64> {
    let (is_negative, digits) = match text.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let (digits, radix) = match digits.strip_prefix('0') {
        None | Some("") => (digits, 10),
        Some(rest) => match (rest.strip_prefix('x'), rest.strip_prefix('o')) {
            (Some(digits), _) => (digits, 16),
            (None, Some(digits)) => (digits, 8),
            (None, None) => (rest, 8),
        },
    };
    // from_str_radix() would take a second sign.
    if !digits.chars().all(|c| c.is_digit(radix)) {
        return None;
    }
    let value = i64::from_str_radix(digits, radix).ok()?;
    Some(if is_negative { -value } else { value })
}

impl<'de> de::Deserializer<'de> for &mut Events<'_> {
    type Error = Wrong;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Wrong> {
        match self.next()? {
            Event::Scalar(text, style, _, tag) => {
                let is_plain = style == ScalarStyle::Plain && tag.is_none();
                match text.as_ref() {
                    plain if is_plain && is_null(plain) => visitor.visit_unit(),
                    "true" | "True" | "TRUE" if is_plain => visitor.visit_bool(true),
                    "false" | "False" | "FALSE" if is_plain => visitor.visit_bool(false),
                    plain => match integer(plain).filter(|_| is_plain) {
                        Some(number) => visitor.visit_i64(number),
                        None => visitor.visit_str(plain),
                    },
                }
            }
            Event::SequenceStart(..) => visitor.visit_seq(Items(self)),
            Event::MappingStart(..) => visitor.visit_map(Items(self)),
            Event::Alias(_) => wrong("aliases are not read; write out what is meant"),
            _ => wrong("a value is missing"),
        }
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Wrong> {
        if self.is_null()? {
            return self.deserialize_any(visitor);
        }
        match self.scalar()? {
            Some((text, _)) => visitor.visit_str(&text),
            None => self.deserialize_any(visitor),
        }
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Wrong> {
        self.deserialize_str(visitor)
    }

    fn deserialize_identifier<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Wrong> {
        self.deserialize_str(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Wrong> {
        if self.is_null()? {
            self.next()?;
            return visitor.visit_none();
        }
        visitor.visit_some(self)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char bytes byte_buf unit unit_struct
        newtype_struct seq tuple tuple_struct map struct enum ignored_any
    }
}

/// What is in a sequence or a mapping.
struct Items<'e, 'a>(&'e mut Events<'a>);

impl<'de> SeqAccess<'de> for Items<'_, '_> {
    type Error = Wrong;

    fn next_element_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, Wrong> {
        if matches!(self.0.peek()?, Event::SequenceEnd) {
            self.0.next()?;
            return Ok(None);
        }
        seed.deserialize(&mut *self.0).map(Some)
    }
}

impl<'de> MapAccess<'de> for Items<'_, '_> {
    type Error = Wrong;

    fn next_key_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, Wrong> {
        if matches!(self.0.peek()?, Event::MappingEnd) {
            self.0.next()?;
            return Ok(None);
        }
        seed.deserialize(&mut *self.0).map(Some)
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, Wrong> {
        seed.deserialize(&mut *self.0)
    }
}

#[cfg(test)]
mod tests;
