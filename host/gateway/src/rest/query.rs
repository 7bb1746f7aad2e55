//! Reads the query of a request: known names, once each, within their bounds; else 400 with the place.

use http::Uri;

/// The query's pairs, as they stand.
#[derive(Debug)]
pub(crate) struct Query<'a>(Vec<(&'a str, &'a str)>);

impl<'a> Query<'a> {
    /// Splits it.
    ///
    /// # Errors
    /// A name that is not among `known`, or one that is there twice.
    pub(crate) fn read(uri: &'a Uri, known: &[&str]) -> Result<Self, String> {
        let mut pairs: Vec<(&str, &str)> = Vec::new();
        for pair in uri.query().unwrap_or_default().split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let shown: String = name.chars().take(40).collect();
            if !known.contains(&name) {
                let offered = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
                return Err(format!("the query has {shown:?}; known here: {offered}"));
            }
            if pairs.iter().any(|(before, _)| *before == name) {
                return Err(format!("the query has {shown:?} twice"));
            }
            pairs.push((name, value));
        }
        Ok(Self(pairs))
    }

    /// A text.
    pub(crate) fn text(&self, name: &str) -> Option<&'a str> {
        self.0.iter().find(|(known, _)| *known == name).map(|(_, value)| *value)
    }

    /// A name, which may have any character: those that a query has not are written as `%XX`.
    ///
    /// # Errors
    /// If it is not so written, or no UTF-8.
    pub(crate) fn name(&self, name: &str) -> Result<Option<String>, String> {
        self.text(name).map(decoded).transpose()
    }

    /// A number within these bounds, or `default`.
    ///
    /// # Errors
    /// If it is none, or out of bounds.
    pub(crate) fn number(&self, name: &str, default: u64, least: u64, most: u64) -> Result<u64, String> {
        let Some(text) = self.text(name) else { return Ok(default) };
        let number = text.parse::<u64>().ok().filter(|number| (least..=most).contains(number));
        number.ok_or_else(|| {
            let shown: String = text.chars().take(40).collect();
            format!("{name} is {shown:?}; it is a number from {least} to {most}")
        })
    }
}

fn decoded(text: &str) -> Result<String, String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'%' => {
                let digits = [rest.next().unwrap_or_default(), rest.next().unwrap_or_default()];
                let digits = std::str::from_utf8(&digits).unwrap_or_default();
                let wrong = || "the query has a % without two digits after it".to_owned();
                if !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
                    return Err(wrong());
                }
                u8::from_str_radix(digits, 16).map_err(|_| wrong())?
            }
            b'+' => b' ',
            byte => byte,
        });
    }
    String::from_utf8(bytes).map_err(|_| "the query is no UTF-8".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_is_named() {
        let read = |query: &str| {
            let uri: Uri = format!("/x?{query}").parse().unwrap();
            let query = Query::read(&uri, &["after", "limit"])?;
            Ok::<_, String>((query.number("after", 0, 0, 9)?, query.number("limit", 5, 1, 7)?))
        };
        assert_eq!(read(""), Ok((0, 5)));
        assert_eq!(read("limit=7&after=9"), Ok((9, 7)));
        for (query, words) in [
            ("limit=8", "limit is \"8\"; it is a number from 1 to 7"),
            ("limit=0", "limit is \"0\""),
            ("after=-1", "after is \"-1\""),
            ("after", "after is \"\""),
            ("limit=1&limit=2", "\"limit\" twice"),
            ("token=x", "\"token\"; known here: after, limit"),
        ] {
            assert!(read(query).unwrap_err().contains(words), "{query}: {:?}", read(query));
        }
    }

    #[test]
    fn names_are_decoded_or_refused() {
        assert_eq!(decoded("a%2Bb+c%C3%A4").unwrap(), "a+b cä");
        for wrong in ["%", "%2", "%zz", "%+1", "%ff"] {
            assert!(decoded(wrong).is_err(), "{wrong}");
        }
    }
}
