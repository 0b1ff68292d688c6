//! Errors as JavaScript sees them: an `Error` of one line with its `kind` and its parts.

use crate::convert::{Object, object};
use gristmill::Error;
use wasm_bindgen::JsValue;

/// What an exported function fails with.
pub struct Failure(Error);

impl<E: Into<Error>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self(error.into())
    }
}

/// An option or argument that can't be used. It names the field, the value found and the value expected.
pub fn unusable(what: &str, found: impl std::fmt::Display, expected: &str) -> Failure {
    Failure(Error::Input(format!("`{what}` = {found}; expected {expected}")))
}

impl From<Failure> for JsValue {
    fn from(Failure(error): Failure) -> JsValue {
        let kind = match &error {
            Error::Shape { .. } => "Shape",
            Error::Config { .. } => "Config",
            Error::Limit { .. } => "Limit",
            Error::NoAdapter { .. } => "NoAdapter",
            Error::Device(_) => "Device",
            Error::OutOfMemory { .. } => "OutOfMemory",
            Error::Validation(_) => "Validation",
            Error::DeviceLost(_) => "DeviceLost",
            Error::NonFinite { .. } => "NonFinite",
            Error::Cancelled => "Cancelled",
            Error::Schedule(_) => "Schedule",
            Error::UnknownCodebook { .. } => "UnknownCodebook",
            Error::Shader(_) => "Shader",
            _ => "Input",
        };
        let details = match &error {
            Error::Shape { operator, tensor, found, expected } => object()
                .set("operator", *operator)
                .set("tensor", tensor.as_str())
                .set("found", found.as_str())
                .set("expected", expected.as_str()),
            Error::Config { operator, key, found, expected } => object()
                .set("operator", *operator)
                .set("key", key.as_str())
                .set("found", found.as_str())
                .set("expected", expected.as_str()),
            Error::Limit { limit, needed, allowed, .. } => {
                object().set("limit", *limit).set("needed", *needed as f64).set("allowed", *allowed as f64)
            }
            Error::NonFinite { tensor, index } => {
                object().set("tensor", tensor.as_str()).set("index", *index as f64)
            }
            _ => object(),
        };
        let text = match &error {
            // The advice for a command line helps no one in a page.
            Error::NoAdapter { .. } => "this browser gives no WebGPU adapter".to_string(),
            other => other.to_string(),
        };
        Object::from(JsValue::from(js_sys::Error::new(&text)))
            .set("kind", kind)
            .set("details", details)
            .into()
    }
}
