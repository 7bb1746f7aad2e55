//! A plugin's own secret: handed over once, shown nowhere.

use std::{collections::BTreeMap, fmt};

use serde::{Deserialize, Deserializer, Serializer, ser::SerializeMap};

/// A text that no `Debug`, log line or document shows.
///
/// It serialises only where a field asks for it by [`hand_over`]: at the one place where it crosses the border. Its
/// memory is overwritten when it is dropped, as far as safe code can.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Takes a text into keeping.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text itself: only for what needs it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(redacted)")
    }
}

impl Drop for Secret {
    fn drop(&mut self) {
        let mut bytes = std::mem::take(&mut self.0).into_bytes();
        bytes.fill(0);
        std::hint::black_box(&bytes);
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(Self)
    }
}

/// For `serialize_with`: writes secrets out as the texts that they are.
///
/// # Errors
/// Those of the serialiser.
pub fn hand_over<S: Serializer>(
    secrets: &BTreeMap<String, Secret>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    let mut map = serializer.serialize_map(Some(secrets.len()))?;
    for (name, secret) in secrets {
        map.serialize_entry(name, secret.expose())?;
    }
    map.end()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_told_to_whom_it_is_handed_and_to_nobody_else() {
        let secret = Secret::new("hunter2");
        assert_eq!(format!("{secret:?} {:?}", Some(&secret)), "Secret(redacted) Some(Secret(redacted))");
        let mut written = serde_json::Serializer::new(Vec::new());
        hand_over(&BTreeMap::from([("key".to_owned(), secret.clone())]), &mut written).unwrap();
        assert_eq!(written.into_inner(), br#"{"key":"hunter2"}"#);
        assert_eq!(serde_json::from_str::<Secret>("\"hunter2\"").unwrap(), secret);
    }
}
