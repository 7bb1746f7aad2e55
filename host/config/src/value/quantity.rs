//! Values with a unit: durations (`"5s"`), sizes (`"512MiB"`), shares (`"10%"`).

use std::{fmt, time::Duration};

use agent_host_core::{duration, share::Share};
use agent_plugin_protocol::Code;
use serde_json::{Value as Json, json};

use super::{Bounded, Style, Value, Wrong, text};
use crate::{
    node::{Kind, Node},
    reader::Context,
};

impl Value for Duration {
    const STYLE: Style = Style::Scalar;

    fn expects() -> String {
        r#"a duration such as "250ms", "5s" or "10m""#.to_owned()
    }

    fn schema() -> Json {
        json!({ "type": "string", "pattern": DURATION_PATTERN })
    }

    fn written(&self) -> Json {
        self.show().into()
    }

    fn parse(node: &Node, _: &Context<'_>) -> Result<Self, Wrong> {
        let written = text(node, &Self::expects())
            .map_err(|wrong| wrong.hint(Some("write the unit: ms, s, m, h or d, as in \"5s\"".to_owned())))?;
        parse_duration(written).ok_or_else(|| {
            let reason = format!("should be {}, not {written:?}", Self::expects());
            Wrong::new(Code::ConfigType, reason)
                .hint(Some("a whole number and one of the units ms, s, m, h, d".to_owned()))
        })
    }
}

/// Reads a duration as the configuration writes them: `250ms`, `5s`, `10m`, `1h`, `1d`.
pub fn parse_duration(text: &str) -> Option<Duration> {
    duration::parse(text)
}

impl Bounded for Duration {
    const ZERO: Self = Self::ZERO;

    fn show(&self) -> String {
        show_quantity(u64::try_from(self.as_millis()).unwrap_or(u64::MAX), &duration::UNITS, "s")
    }
}

/// A number of bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ByteSize(
    /// Bytes.
    pub u64,
);

impl ByteSize {
    pub(crate) const fn kib(number: u64) -> Self {
        Self(number << 10)
    }

    pub(crate) const fn mib(number: u64) -> Self {
        Self(number << 20)
    }

    pub(crate) const fn gib(number: u64) -> Self {
        Self(number << 30)
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&show_quantity(self.0, &SIZES, "B"))
    }
}

impl Value for ByteSize {
    const STYLE: Style = Style::Scalar;

    fn expects() -> String {
        r#"a size such as "64KiB" or "512MiB", or a number of bytes"#.to_owned()
    }

    fn schema() -> Json {
        json!({ "anyOf": [{ "type": "string", "pattern": SIZE_PATTERN }, { "type": "integer", "minimum": 0 }] })
    }

    fn written(&self) -> Json {
        self.show().into()
    }

    fn parse(node: &Node, _: &Context<'_>) -> Result<Self, Wrong> {
        if let Kind::Huge(digits) = &node.kind {
            return Err(Wrong::number(digits));
        }
        if let Kind::Integer(bytes) = node.kind {
            return u64::try_from(bytes).map(Self).map_err(|_| Wrong::number(bytes));
        }
        let written = text(node, &Self::expects())?;
        quantity(written, &SIZES).map(Self).ok_or_else(|| {
            let reason = format!("should be {}, not {written:?}", Self::expects());
            Wrong::new(Code::ConfigType, reason)
                .hint(Some("a whole number and one of the units B, KiB, MiB, GiB, kB, MB, GB".to_owned()))
        })
    }
}

impl Bounded for ByteSize {
    const ZERO: Self = Self(0);

    fn show(&self) -> String {
        self.to_string()
    }
}

impl Value for Share {
    const STYLE: Style = Style::Scalar;

    fn expects() -> String {
        r#"a share such as "10%""#.to_owned()
    }

    fn schema() -> Json {
        json!({ "type": "string", "pattern": SHARE_PATTERN })
    }

    fn written(&self) -> Json {
        self.to_string().into()
    }

    fn parse(node: &Node, _: &Context<'_>) -> Result<Self, Wrong> {
        let expected = Self::expects();
        let written = text(node, &expected)
            .map_err(|wrong| wrong.hint(Some("write it in percent, as in \"10%\"".to_owned())))?;
        Self::parse(written).ok_or_else(|| {
            Wrong::new(Code::ConfigType, format!("should be {expected}, not {written:?}"))
                .hint(Some("a number from 0 to 100 and %, with up to two digits after a point".to_owned()))
        })
    }
}

/// `12ms` → 12 times the unit; `None` without a unit or beyond `u64`.
fn quantity(written: &str, units: &[(&str, u64)]) -> Option<u64> {
    let split = written.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = written.split_at(split);
    let (_, factor) = units.iter().find(|(name, _)| *name == unit.trim_start())?;
    number.parse::<u64>().ok()?.checked_mul(*factor)
}

/// In the largest unit that leaves no rest.
fn show_quantity(amount: u64, units: &[(&str, u64)], zero: &str) -> String {
    if amount == 0 {
        return format!("0{zero}");
    }
    let whole = units.iter().find(|(_, factor)| amount.is_multiple_of(*factor));
    whole.map_or_else(|| amount.to_string(), |(unit, factor)| format!("{}{unit}", amount / factor))
}

/// A duration, as a regular expression.
pub(crate) const DURATION_PATTERN: &str = "^[0-9]+\\s*(ms|s|m|h|d)$";

/// A share, as a regular expression.
pub(crate) const SHARE_PATTERN: &str = "^[0-9]{1,3}(\\.[0-9]{1,2})?\\s*%$";

/// A size with its unit, as a regular expression.
pub(crate) const SIZE_PATTERN: &str = "^[0-9]+\\s*(GiB|MiB|KiB|GB|MB|kB|B)$";

/// Largest first; those of 1024 are preferred when shown.
const SIZES: [(&str, u64); 7] = [
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
    ("kB", 1000),
    ("B", 1),
];
