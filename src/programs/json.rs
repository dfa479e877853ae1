//! JSON that is kept as it was written: checked for one meaning, and never read into numbers that could not hold it.

use std::collections::BTreeSet;

use bytes::Bytes;

/// One JSON value as text without white space between its parts: no digit of a number and no character of a text is
/// lost, and no line break stands in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JsonText(Bytes);

/// Why bytes are not taken as a JSON value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum JsonTextError {
    #[error("not UTF-8 at byte {at}")]
    Encoding { at: usize },
    #[error("not JSON at byte {at}: {expected} is expected")]
    Syntax { at: usize, expected: &'static str },
    #[error("nested deeper than {depth_max} levels: flatten it")]
    TooDeep { depth_max: usize },
    #[error("the key {key:?} stands twice in one object: readers would disagree about which counts, write it once")]
    DuplicateKey { key: String },
}

impl JsonText {
    /// Checks one JSON value (RFC 8259) that fills all of `bytes`.
    ///
    /// # Errors
    /// [`JsonTextError`], with the place.
    pub fn parse(bytes: &[u8], depth_max: usize) -> Result<Self, JsonTextError> {
        let text = std::str::from_utf8(bytes).map_err(|error| JsonTextError::Encoding { at: error.valid_up_to() })?;
        let mut scan = Scan { bytes: text.as_bytes(), at: 0, kept: Vec::with_capacity(bytes.len()), open: Vec::new() };
        scan.value(depth_max)?;
        Ok(Self(scan.kept.into()))
    }

    /// The text of a row that was written by [`Self::into_bytes`].
    pub fn stored(bytes: Bytes) -> Self {
        Self(bytes)
    }

    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    pub fn into_bytes(self) -> Bytes {
        self.0
    }
}

/// A list or object that has begun and not ended.
enum Open {
    List,
    Object(BTreeSet<String>),
}

/// What may come next.
#[derive(PartialEq, Eq)]
enum Next {
    Value,
    /// A value, or the end of a list that has just begun.
    First,
    Key,
    /// A key, or the end of an object that has just begun.
    FirstKey,
    Behind,
}

struct Scan<'a> {
    bytes: &'a [u8],
    at: usize,
    kept: Vec<u8>,
    open: Vec<Open>,
}

impl Scan<'_> {
    /// A loop with a stack of its own: depth costs memory that is bounded, never the stack of the thread.
    fn value(&mut self, depth_max: usize) -> Result<(), JsonTextError> {
        let mut next = Next::Value;
        loop {
            self.skip_space();
            next = match (next, self.peek()) {
                (Next::Behind, _) if self.open.is_empty() => {
                    return if self.at == self.bytes.len() { Ok(()) } else { Err(self.expected("the end")) };
                }
                (Next::Behind, byte) => self.behind(byte)?,
                (Next::First, Some(b']')) | (Next::FirstKey, Some(b'}')) => self.close(),
                (Next::Key | Next::FirstKey, _) => self.key()?,
                (Next::Value | Next::First, Some(open @ (b'[' | b'{'))) => {
                    if self.open.len() == depth_max {
                        return Err(JsonTextError::TooDeep { depth_max });
                    }
                    self.take();
                    let object = open == b'{';
                    self.open.push(if object { Open::Object(BTreeSet::new()) } else { Open::List });
                    if object { Next::FirstKey } else { Next::First }
                }
                (Next::Value | Next::First, _) => {
                    self.scalar()?;
                    Next::Behind
                }
            };
        }
    }

    fn behind(&mut self, byte: Option<u8>) -> Result<Next, JsonTextError> {
        let in_list = matches!(self.open.last(), Some(Open::List));
        match byte {
            Some(b',') => {
                self.take();
                Ok(if in_list { Next::Value } else { Next::Key })
            }
            Some(b']') if in_list => Ok(self.close()),
            Some(b'}') if !in_list => Ok(self.close()),
            _ => Err(self.expected(if in_list { "`,` or `]`" } else { "`,` or `}`" })),
        }
    }

    fn close(&mut self) -> Next {
        self.take();
        self.open.pop();
        Next::Behind
    }

    fn key(&mut self) -> Result<Next, JsonTextError> {
        if self.peek() != Some(b'"') {
            return Err(self.expected("a key in quotes"));
        }
        // Compared as it reads, not as it is written: `"\u0061"` is `"a"`.
        let key = self.string()?;
        if let Some(Open::Object(keys)) = self.open.last_mut()
            && !keys.insert(key.clone())
        {
            return Err(JsonTextError::DuplicateKey { key });
        }
        self.skip_space();
        if self.peek() != Some(b':') {
            return Err(self.expected("`:`"));
        }
        self.take();
        Ok(Next::Value)
    }

    fn scalar(&mut self) -> Result<(), JsonTextError> {
        match self.peek() {
            Some(b'"') => self.string().map(drop),
            Some(b'-' | b'0'..=b'9') => self.number(),
            Some(b't') => self.word("true"),
            Some(b'f') => self.word("false"),
            Some(b'n') => self.word("null"),
            _ => Err(self.expected("a value")),
        }
    }

    fn word(&mut self, word: &'static str) -> Result<(), JsonTextError> {
        if !self.bytes[self.at..].starts_with(word.as_bytes()) {
            return Err(self.expected(word));
        }
        self.keep(word.len());
        Ok(())
    }

    /// `-? (0 | [1-9][0-9]*) (. [0-9]+)? ([eE] [+-]? [0-9]+)?`, however long.
    fn number(&mut self) -> Result<(), JsonTextError> {
        if self.peek() == Some(b'-') {
            self.take();
        }
        match self.peek() {
            Some(b'0') => self.take(),
            _ => self.digits()?,
        }
        if self.peek() == Some(b'.') {
            self.take();
            self.digits()?;
        }
        if matches!(self.peek(), Some(b'e' | b'E')) {
            self.take();
            if matches!(self.peek(), Some(b'+' | b'-')) {
                self.take();
            }
            self.digits()?;
        }
        Ok(())
    }

    fn digits(&mut self) -> Result<(), JsonTextError> {
        let digits = self.bytes[self.at..].iter().take_while(|byte| byte.is_ascii_digit()).count();
        if digits == 0 {
            return Err(self.expected("a digit"));
        }
        self.keep(digits);
        Ok(())
    }

    /// Keeps a text in quotes, and gives what it reads as.
    fn string(&mut self) -> Result<String, JsonTextError> {
        let start = self.at;
        let mut end = start + 1;
        loop {
            match self.bytes.get(end) {
                None => return Err(JsonTextError::Syntax { at: end, expected: "the closing quote" }),
                Some(b'"') => break,
                Some(b'\\') => end += 2,
                Some(_) => end += 1,
            }
        }
        let read = serde_json::from_slice(&self.bytes[start..=end]);
        let read =
            read.map_err(|_| JsonTextError::Syntax { at: start, expected: "a text of escaped, whole characters" });
        self.keep(end + 1 - start);
        read
    }

    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn take(&mut self) {
        self.keep(1);
    }

    fn keep(&mut self, bytes: usize) {
        self.kept.extend_from_slice(&self.bytes[self.at..self.at + bytes]);
        self.at += bytes;
    }

    fn skip_space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\r' | b'\n')) {
            self.at += 1;
        }
    }

    fn expected(&self, expected: &'static str) -> JsonTextError {
        JsonTextError::Syntax { at: self.at, expected }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    fn kept(text: &str) -> Result<String, JsonTextError> {
        JsonText::parse(text.as_bytes(), 64).map(|text| String::from_utf8(text.into_bytes().to_vec()).unwrap())
    }

    #[test]
    fn what_is_kept_is_what_was_written_without_the_space_between() {
        let text = " { \"a b\" : [ 1 , -0 , 1.10e+400 , 123456789012345678901234567890 , \" \\u0000 \\ud83d\\ude00 \u{2028}\" ] ,\r\n\t\"\" : { } , \"x\" : [ ] , \"n\":null,\"t\":true,\"f\":false } ";
        let expected = "{\"a b\":[1,-0,1.10e+400,123456789012345678901234567890,\" \\u0000 \\ud83d\\ude00 \u{2028}\"],\"\":{},\"x\":[],\"n\":null,\"t\":true,\"f\":false}";
        assert_eq!(kept(text).unwrap(), expected);
        assert_eq!(kept(expected).unwrap(), expected);
    }

    #[test]
    fn duplicate_keys_are_refused_at_any_depth_and_however_they_are_written() {
        for text in [r#"{"a":1,"a":1}"#, r#"[{"x":{"b":1,"c":2,"b":3}}]"#, r#"{"a":1,"\u0061":2}"#] {
            assert!(matches!(kept(text), Err(JsonTextError::DuplicateKey { .. })), "{text}");
        }
        assert!(kept(r#"[{"a":1},{"a":{"a":2}}]"#).is_ok());
    }

    #[test]
    fn depth_is_bounded_to_the_level() {
        let nested = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
        assert!(kept(&nested(64)).is_ok());
        assert_eq!(kept(&nested(65)), Err(JsonTextError::TooDeep { depth_max: 64 }));
        assert!(matches!(kept(&"{\"a\":".repeat(100_000)), Err(JsonTextError::TooDeep { .. })));
    }

    #[test]
    fn what_is_not_json_is_refused_with_its_place() {
        let bad = [
            "",
            " ",
            "{",
            "{}x",
            "{} {}",
            "{'a':1}",
            "{\"a\":1,}",
            "[1,]",
            "[,1]",
            "[1 2]",
            "[1}",
            "{\"a\"}",
            "{\"a\":}",
            "\"\0\"",
            "\"\\ud800\"",
            "\"\\x\"",
            "\"abc",
            "\"abc\\",
            "01",
            "1.",
            ".5",
            "+1",
            "1e",
            "-",
            "NaN",
            "tru",
            "truex",
            "nul",
            "\u{feff}{}",
            "{1:2}",
            "]",
        ];
        for text in bad {
            assert!(kept(text).is_err(), "{text:?}");
        }
        assert_eq!(JsonText::parse(b"\"\xff\"", 64), Err(JsonTextError::Encoding { at: 1 }));
        assert_eq!(kept("[1,]"), Err(JsonTextError::Syntax { at: 3, expected: "a value" }));
    }

    proptest! {
        #[test]
        fn what_is_taken_is_what_serde_json_takes(text in r#"[\[\]{}:,"ab01 .eE+\\u-]{0,16}"#) {
            match (kept(&text), serde_json::from_str::<Value>(&text)) {
                (Ok(ours), Ok(theirs)) => prop_assert_eq!(serde_json::from_str::<Value>(&ours).unwrap(), theirs),
                (Err(JsonTextError::DuplicateKey { .. }), _) | (Err(_), Err(_)) => {}
                // A number too large for a float is one all the same.
                (Ok(_), Err(error)) if error.to_string().contains("out of range") => {}
                (ours, theirs) => prop_assert!(false, "{:?} {:?}", ours, theirs),
            }
        }
    }
}
