//! A kernel's configuration: known keys with typed values.

use crate::error::{Error, Result};
use serde_json::Value;
use std::collections::BTreeMap;

/// A key that a kernel knows.
#[derive(Clone, Copy, Debug)]
pub struct KeySpec {
    /// Name.
    pub name: &'static str,
    /// The default in words.
    pub default: &'static str,
    /// What it does.
    pub about: &'static str,
}

/// Values by key; a key that is missing or null has its default. A value of the wrong kind gives `Config` when it is read.
#[derive(Clone, Debug)]
pub struct Config {
    kernel: &'static str,
    values: BTreeMap<String, Value>,
}

impl Config {
    /// Checks that every key is known. Errors: `Input`, with the keys there are.
    pub fn new(kernel: &'static str, keys: &[KeySpec], mut values: BTreeMap<String, Value>) -> Result<Self> {
        for key in values.keys() {
            if !keys.iter().any(|known| known.name == key) {
                let known: Vec<_> = keys.iter().map(|k| k.name).collect();
                let known = if known.is_empty() { "none".into() } else { known.join(", ") };
                return Err(Error::Input(format!("{kernel}: unknown key `{key}`; it has {known}")));
            }
        }
        values.retain(|_, value| !value.is_null());
        Ok(Self { kernel, values })
    }

    fn get<T>(&self, key: &str, expected: &str, read: impl Fn(&Value) -> Option<T>) -> Result<Option<T>> {
        let Some(value) = self.values.get(key) else { return Ok(None) };
        let wrong = || Error::config(self.kernel, key, value, expected);
        read(value).map(Some).ok_or_else(wrong)
    }

    /// true, false, 1 or 0.
    pub fn flag(&self, key: &str, default: bool) -> Result<bool> {
        let read = |value: &Value| match value {
            Value::Bool(flag) => Some(*flag),
            Value::Number(number) => match number.as_u64() {
                Some(0) => Some(false),
                Some(1) => Some(true),
                _ => None,
            },
            _ => None,
        };
        Ok(self.get(key, "true, false, 1 or 0", read)?.unwrap_or(default))
    }

    /// An integer.
    pub fn integer(&self, key: &str) -> Result<Option<i64>> {
        self.get(key, "an integer", Value::as_i64)
    }

    /// A count that must be given.
    pub fn count(&self, key: &str) -> Result<usize> {
        let missing = || Error::config(self.kernel, key, "missing", "a positive integer");
        self.count_or_none(key)?.ok_or_else(missing)
    }

    /// A positive integer.
    pub fn count_or_none(&self, key: &str) -> Result<Option<usize>> {
        self.get(key, "a positive integer", |value| value.as_u64().filter(|n| *n > 0).map(|n| n as usize))
    }

    /// An integer, at least 0.
    pub fn whole(&self, key: &str) -> Result<Option<usize>> {
        self.get(key, "an integer, at least 0", |value| value.as_u64().map(|n| n as usize))
    }

    /// A window: `None` where it is missing, null or -1.
    pub fn window(&self, key: &str) -> Result<Option<usize>> {
        let read = |value: &Value| match value.as_i64()? {
            -1 => Some(None),
            size => usize::try_from(size).ok().map(Some),
        };
        Ok(self.get(key, "null, -1 or a number of tokens", read)?.flatten())
    }

    /// A window with a default of its own: -1 is no bound, 0 no window.
    pub fn window_or(&self, key: &str, default: usize) -> Result<usize> {
        let read = |value: &Value| match value.as_i64()? {
            -1 => Some(usize::MAX),
            size => usize::try_from(size).ok(),
        };
        Ok(self.get(key, "-1 or a number of tokens", read)?.unwrap_or(default))
    }

    /// One of these words, by its place among them.
    pub fn choice(&self, key: &str, words: &[&str]) -> Result<Option<usize>> {
        let read = |value: &Value| words.iter().position(|word| value.as_str() == Some(word));
        self.get(key, &words.join(" or "), read)
    }

    /// Integers, at least 0.
    pub fn list(&self, key: &str) -> Result<Option<Vec<usize>>> {
        let whole = |value: &Value| value.as_u64().map(|n| n as usize);
        self.get(key, "a list of integers, at least 0", |value| value.as_array()?.iter().map(whole).collect())
    }

    /// An object with keys of its own. Errors: `Input` for an unknown key, `Config` where it is no object.
    pub fn nested(&self, key: &str, keys: &[KeySpec]) -> Result<Option<Config>> {
        let object = |value: &Value| {
            let mut values = BTreeMap::new();
            values.extend(value.as_object()?.iter().map(|(key, value)| (key.clone(), value.clone())));
            Some(values)
        };
        let values = self.get(key, "null or an object", object)?;
        values.map(|values| Config::new(self.kernel, keys, values)).transpose()
    }

    /// A finite number.
    pub fn number(&self, key: &str) -> Result<Option<f64>> {
        self.get(key, "a finite number", |value| value.as_f64().filter(|number| number.is_finite()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEYS: &[KeySpec] = &[
        KeySpec { name: "causal", default: "false", about: "" },
        KeySpec { name: "window", default: "null", about: "" },
    ];

    fn config(text: &str) -> Result<Config> {
        let values: serde_json::Map<String, Value> = serde_json::from_str(text).unwrap();
        Config::new("test", KEYS, values.into_iter().collect())
    }

    #[test]
    fn reads_what_the_contract_allows() {
        for (text, causal, window) in [
            (r#"{"causal": 1, "window": -1}"#, true, None),
            (r#"{"causal": false, "window": 7}"#, false, Some(7)),
            (r#"{"causal": null}"#, false, None),
        ] {
            let config = config(text).unwrap();
            assert_eq!(config.flag("causal", false).unwrap(), causal);
            assert_eq!(config.window("window").unwrap(), window);
        }
    }

    #[test]
    fn names_key_value_and_expectation() {
        let error = config(r#"{"casual": true}"#).unwrap_err().to_string();
        assert_eq!(error, "test: unknown key `casual`; it has causal, window");
        let error = config(r#"{"causal": 2}"#).unwrap().flag("causal", false).unwrap_err().to_string();
        assert_eq!(error, "test: `causal` = 2; expected true, false, 1 or 0");
        let error = config(r#"{"window": -3}"#).unwrap().window("window").unwrap_err().to_string();
        assert_eq!(error, "test: `window` = -3; expected null, -1 or a number of tokens");
    }
}
