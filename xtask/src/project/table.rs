//! A table of a Cargo.toml that is read key by key. Whatever does not fit is refused with its name, what was found and what
//! was expected.

use anyhow::{Result, anyhow, bail};
use toml::Value;

/// A table below `[package.metadata]`. One that is not there has no keys.
pub(crate) struct Table<'a> {
    name: &'static str,
    entries: Option<&'a toml::Table>,
}

impl<'a> Table<'a> {
    /// The table of this name, which may have these keys and no others.
    pub(crate) fn open(manifest: &'a toml::Table, name: &'static str, keys: &[&str]) -> Result<Self> {
        let found = manifest.get("package").and_then(|package| package.get("metadata")?.get(name));
        let entries = match found {
            None => None,
            Some(Value::Table(entries)) => Some(entries),
            Some(other) => bail!("[package.metadata] {name}: found {}, expected a table", shown(other)),
        };
        if let Some(unknown) =
            entries.into_iter().flatten().map(|(key, _)| key).find(|key| !keys.contains(&key.as_str()))
        {
            let nearest = keys.iter().map(|key| (strsim::jaro_winkler(key, unknown), key));
            let nearest = nearest.filter(|(likeness, _)| *likeness > 0.7).max_by(|a, b| a.0.total_cmp(&b.0));
            let advice = match nearest {
                Some((_, key)) => format!("did you mean `{key}`?"),
                None => format!("expected one of {}", keys.join(", ")),
            };
            bail!("[package.metadata.{name}] has no key `{unknown}`; {advice}");
        }
        Ok(Self { name, entries })
    }

    /// Whether the table is there.
    pub(crate) fn is_there(&self) -> bool {
        self.entries.is_some()
    }

    /// Whether the table has this key.
    pub(crate) fn has(&self, key: &str) -> bool {
        self.entries.is_some_and(|entries| entries.contains_key(key))
    }

    /// The value of a key, if it is there.
    pub(crate) fn get<T>(
        &self,
        key: &str,
        expected: &str,
        read: impl FnOnce(&Value) -> Option<T>,
    ) -> Result<Option<T>> {
        let Some(value) = self.entries.and_then(|entries| entries.get(key)) else {
            return Ok(None);
        };
        let refused =
            || anyhow!("[package.metadata.{}] {key}: found {}, expected {expected}", self.name, shown(value));
        read(value).ok_or_else(refused).map(Some)
    }

    /// A list of words.
    pub(crate) fn words(&self, key: &str) -> Result<Option<Vec<String>>> {
        self.get(key, "a list of strings", words)
    }

    /// true or false.
    pub(crate) fn flag(&self, key: &str) -> Result<Option<bool>> {
        self.get(key, "true or false", Value::as_bool)
    }
}

/// A list of strings.
pub(crate) fn words(value: &Value) -> Option<Vec<String>> {
    value.as_array()?.iter().map(|word| word.as_str().map(str::to_owned)).collect()
}

/// A number that fits: an integer, or, since TOML's have a sign and 64 bits, a string such as "0xffff_8000_0000_0000".
pub(crate) fn number(value: &Value) -> Option<u64> {
    match value {
        Value::Integer(number) => u64::try_from(*number).ok(),
        Value::String(text) => {
            let digits = text.replace('_', "");
            match digits.strip_prefix("0x").or_else(|| digits.strip_prefix("0X")) {
                Some(digits) => u64::from_str_radix(digits, 16).ok(),
                None => digits.parse().ok(),
            }
        }
        _ => None,
    }
}

/// A value as TOML writes it.
fn shown(value: &Value) -> String {
    value.to_string()
}
