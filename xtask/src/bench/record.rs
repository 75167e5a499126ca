//! A run in a file, to compare later ones with.
//!
//! Times of other machines, and of other hours, cannot be compared. Ratios to what a boot sector took that ended at once,
//! in the same run, can.

use super::report::Group;
use crate::bare_metal::read;
use crate::checkout::Checkout;
use crate::image::write_atomically;
use anyhow::{Context, Result, anyhow, ensure};
use std::collections::BTreeMap;
use std::path::{self, Path};
use toml::{Table, Value};

/// The ratios of a run, by load, disk and loader.
#[derive(Debug, PartialEq)]
pub(super) struct Record {
    ratios: BTreeMap<(String, String), f64>,
}

/// Of the file's format.
const VERSION: i64 = 1;

impl Record {
    /// Without what noise has hidden.
    pub(super) fn of(groups: &[Group]) -> Self {
        let ratios = groups.iter().flat_map(|group| {
            // Behind the boot sector that all are counted from.
            group.rows.iter().skip(1).filter_map(|row| {
                let ratio = row.to_base.filter(|ratio| *ratio > 0.0)?;
                Some(((group.name.clone(), row.loader.clone()), ratio))
            })
        });
        Self { ratios: ratios.collect() }
    }

    /// The ratio of this loader to the boot sector that ends at once, if it was measured.
    pub(super) fn to_base(&self, group: &str, loader: &str) -> Option<f64> {
        self.ratios.get(&(group.to_owned(), loader.to_owned())).copied()
    }

    /// Writes it into a file.
    pub(super) fn save(&self, path: &Path) -> Result<()> {
        write_atomically(&path::absolute(path)?, self.to_toml().as_bytes())
    }

    /// Reads it from a file.
    pub(super) fn load(path: &Path) -> Result<Self> {
        let text = String::from_utf8(read(path)?).context("not UTF-8");
        text.and_then(|text| Self::parse(&text)).with_context(|| Checkout::display(path))
    }

    fn to_toml(&self) -> String {
        let boot = |((group, loader), ratio): (&(String, String), &f64)| {
            let entries = [
                ("boot", Value::from(group.as_str())),
                ("loader", loader.as_str().into()),
                ("to-base", (*ratio).into()),
            ];
            Value::Table(entries.map(|(key, value)| (key.to_owned(), value)).into_iter().collect())
        };
        let boots = self.ratios.iter().map(boot).collect();
        let file = [("version", VERSION.into()), ("boots", Value::Array(boots))];
        Table::from_iter(file.map(|(key, value)| (key.to_owned(), value))).to_string()
    }

    fn parse(text: &str) -> Result<Self> {
        let file: Table = text.parse()?;
        let version = file.get("version").and_then(Value::as_integer);
        ensure!(
            version == Some(VERSION),
            "found version {version:?}, expected {VERSION}: a file that --save has written"
        );
        let boots = file.get("boots").and_then(Value::as_array).context("no boots")?;
        let boot = |boot: &Value| {
            let text = |key: &str| Some(boot.get(key)?.as_str()?.to_owned());
            let ratio = boot.get("to-base").and_then(Value::as_float);
            let (group, loader) = text("boot").zip(text("loader"))?;
            Some(((group, loader), ratio.filter(|ratio| *ratio > 0.0)?))
        };
        let boot = |value: &Value| {
            boot(value)
                .ok_or_else(|| anyhow!("found {value}, expected boot, loader and to-base, a number above 0"))
        };
        Ok(Self { ratios: boots.iter().map(boot).collect::<Result<_>>()? })
    }
}

#[cfg(test)]
mod tests {
    use super::super::report::tests::group;
    use super::*;
    use crate::temporary::TemporaryFolder;

    fn record() -> Record {
        let boots = [("ends at once", 100), ("bare reads", 120), ("Doorstep", 150), ("an \"other\"", 130)];
        let noisy = [("ends at once", 100), ("bare reads", 99), ("Doorstep", 150)];
        Record::of(&[group("64 KiB, IDE", &boots), group("1 MiB, IDE", &noisy)])
    }

    #[test]
    fn a_run_comes_back_from_its_file() {
        let record = record();
        assert_eq!(record.to_base("64 KiB, IDE", "Doorstep"), Some(0.5));
        assert_eq!(record.to_base("64 KiB, IDE", "an \"other\""), Some(0.3));
        assert_eq!(record.to_base("64 KiB, IDE", "ends at once"), None);
        assert_eq!(record.to_base("1 MiB, IDE", "bare reads"), None, "hidden by noise");
        let folder = TemporaryFolder::new().unwrap();
        let path = folder.path().join("run.toml");
        record.save(&path).unwrap();
        assert_eq!(Record::load(&path).unwrap(), record);
    }

    #[test]
    fn what_is_no_run_is_refused_by_name() {
        let folder = TemporaryFolder::new().unwrap();
        let path = folder.path().join("run.toml");
        for (text, told) in [
            ("", "found version None, expected 1"),
            ("version = 2", "found version Some(2), expected 1"),
            ("version = 1", "no boots"),
            ("version = 1\nboots = [{ boot = \"a\", loader = \"b\" }]", "expected boot, loader and to-base"),
            ("version = 1\nboots = [{ boot = \"a\", loader = \"b\", to-base = 0.0 }]", "a number above 0"),
            ("version = 1\nboots = [3]", "found 3, expected boot"),
        ] {
            std::fs::write(&path, text).unwrap();
            let error = format!("{:#}", Record::load(&path).unwrap_err());
            assert!(error.contains("run.toml: ") && error.contains(told), "{text}: {error}");
        }
    }
}
