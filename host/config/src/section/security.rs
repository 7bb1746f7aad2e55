//! `[trust]` and `[isolation]`: which libraries are loaded, and what of the sandbox must be in force.

use agent_host_core::isolation::Layer;
use agent_plugin_protocol::Code;
use serde_json::{Value as Json, json};

use crate::{
    node::Node,
    reader::{Context, Reader},
    value::{Located, Style, Value, Word, Wrong, text},
};

/// Which libraries are trusted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrustConfig {
    /// Load only libraries whose `sha256` is configured.
    pub require_pin: bool,
    /// Load only libraries with a valid signature beside them.
    pub require_signature: bool,
    /// Public minisign keys, as base64.
    pub keys: Vec<String>,
}

/// What of the sandbox must be in force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IsolationConfig {
    /// Layers without which a plugin fails rather than run weaker.
    pub require: Vec<Layer>,
    /// User ids for workers, one for each plugin, where the host runs as root.
    pub uid_range: Option<UidRange>,
}

/// User ids `first` to `last`, both included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UidRange {
    /// The first; never 0.
    pub first: u32,
    /// The last.
    pub last: u32,
}

impl TrustConfig {
    pub(crate) fn read(r: &Reader<'_>) -> Self {
        let keys: Vec<Located<String>> = r.or("keys", Vec::new());
        for Located { value, origin } in &keys {
            if !is_minisign_key(value) {
                let hint = Some("the second line of the .pub file, which begins with RW".to_owned());
                r.error_at(Code::ConfigRange, "keys", origin.clone(), "holds what is no minisign key", hint);
            }
        }
        let require_signature = r.or("require_signature", false);
        if require_signature && keys.is_empty() {
            let reason = "is true and `trust.keys` is empty: every plugin would fail";
            let hint = Some("add the public keys of those who sign".to_owned());
            r.error(Code::ConfigMissing, "require_signature", reason, hint);
        }
        Self {
            require_pin: r.or("require_pin", false),
            require_signature,
            keys: keys.into_iter().map(|located| located.value).collect(),
        }
    }
}

impl IsolationConfig {
    pub(crate) fn read(r: &Reader<'_>) -> Self {
        let required: Vec<Required> = r.or("require", Vec::new());
        let mut require: Vec<Layer> = Vec::new();
        for layer in required.iter().flat_map(Required::layers) {
            if !require.contains(layer) {
                require.push(*layer);
            }
        }
        Self { require, uid_range: r.value("uid_range") }
    }
}

/// What `require` may name: a layer, or all that one mechanism of the kernel gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Required {
    Landlock,
    One(Layer),
}

impl Required {
    fn layers(&self) -> &[Layer] {
        match self {
            Self::Landlock => &[Layer::LandlockFiles, Layer::LandlockScopes, Layer::LandlockNetwork],
            Self::One(layer) => std::slice::from_ref(layer),
        }
    }
}

/// `landlock`, and every layer by its name.
const REQUIRED: [(&str, Required); Layer::WORDS.len() + 1] = {
    let mut words = [("landlock", Required::Landlock); Layer::WORDS.len() + 1];
    let mut at = 0;
    while at < Layer::WORDS.len() {
        let (word, layer) = Layer::WORDS[at];
        words[at] = (word, Required::One(layer));
        at += 1;
    }
    words
};

impl Word for Required {
    const WORDS: &'static [(&'static str, Self)] = &REQUIRED;
}

impl Value for UidRange {
    const STYLE: Style = Style::Text;

    fn expects() -> String {
        r#"user ids such as "20000-20063""#.to_owned()
    }

    fn schema() -> Json {
        json!({ "type": "string", "pattern": UID_RANGE_PATTERN })
    }

    fn written(&self) -> Json {
        format!("{}-{}", self.first, self.last).into()
    }

    fn parse(node: &Node, _: &Context<'_>) -> Result<Self, Wrong> {
        let written = text(node, &Self::expects())?;
        let ends = written.split_once('-').and_then(|(first, last)| {
            Some(Self { first: first.trim().parse().ok()?, last: last.trim().parse().ok()? })
        });
        let range = ends.ok_or_else(|| {
            Wrong::new(Code::ConfigType, format!("should be {}, not {written:?}", Self::expects()))
        })?;
        if range.first == 0 || range.last < range.first {
            let reason = format!("is {written:?}; the first is at least 1 and not above the last");
            return Err(Wrong::new(Code::ConfigRange, reason));
        }
        Ok(range)
    }
}

/// A range of user ids, as a regular expression.
pub(crate) const UID_RANGE_PATTERN: &str = "^[0-9]+\\s*-\\s*[0-9]+$";

/// 42 bytes (algorithm `Ed`, key id, key) make 56 characters of base64 that begin with `RW`.
fn is_minisign_key(text: &str) -> bool {
    text.len() == 56
        && text.starts_with("RW")
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'/' | b'='))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_layer_may_be_required_and_landlock_means_its_three() {
        assert!(Layer::WORDS.iter().all(|(word, layer)| REQUIRED.contains(&(*word, Required::One(*layer)))));
        let (word, group) = REQUIRED[REQUIRED.len() - 1];
        let of_landlock = Layer::ALL.iter().filter(|layer| layer.as_str().starts_with("landlock_"));
        assert_eq!((word, group.layers()), ("landlock", &of_landlock.copied().collect::<Vec<_>>()[..]));
    }
}
