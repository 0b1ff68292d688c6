//! Between JavaScript's values and the library's.

use crate::error::{Failure, unusable};
use js_sys::{Function, Reflect, Uint8ClampedArray};
use std::ops::ControlFlow;
use wasm_bindgen::{JsCast, JsValue};

/// A JavaScript object being built, or read field by field.
pub struct Object(JsValue);

/// A new one.
pub fn object() -> Object {
    Object(js_sys::Object::new().into())
}

impl From<JsValue> for Object {
    fn from(value: JsValue) -> Self {
        Self(value)
    }
}

impl From<Object> for JsValue {
    fn from(object: Object) -> Self {
        object.0
    }
}

impl Object {
    pub fn set(self, name: &str, value: impl Into<JsValue>) -> Self {
        // Fails for frozen objects alone.
        let _ = Reflect::set(&self.0, &name.into(), &value.into());
        self
    }

    /// A field that is there: neither `undefined` nor `null`.
    pub fn get(&self, name: &str) -> Option<JsValue> {
        let value = Reflect::get(&self.0, &name.into()).ok()?;
        (!value.is_undefined() && !value.is_null()).then_some(value)
    }

    pub fn flag(&self, name: &str, default: bool) -> bool {
        self.get(name).map_or(default, |value| value.is_truthy())
    }

    /// A whole number in `range`, or `default` where there is none.
    pub fn count(
        &self,
        name: &str,
        default: usize,
        range: std::ops::RangeInclusive<usize>,
    ) -> Result<usize, Failure> {
        let Some(value) = self.get(name) else { return Ok(default) };
        let number = value.as_f64().filter(|number| number.fract() == 0.0 && *number >= 0.0);
        let inside = number.map(|number| number as usize).filter(|number| range.contains(number));
        let expected = || format!("a whole number from {} to {}", range.start(), range.end());
        inside.ok_or_else(|| unusable(name, format!("{value:?}"), &expected()))
    }
}

/// A picture as `ImageData` holds it.
pub struct Rgba {
    pub width: usize,
    pub height: usize,
    pub bytes: Vec<u8>,
}

impl Rgba {
    /// Fails unless there are four bytes for each pixel.
    pub fn new(picture: JsValue) -> Result<Self, Failure> {
        let picture = Object::from(picture);
        let width = picture.count("width", 0, 1..=1 << 16)?;
        let height = picture.count("height", 0, 1..=1 << 16)?;
        let data: Option<Uint8ClampedArray> = picture.get("data").and_then(|data| data.dyn_into().ok());
        let data = data
            .ok_or_else(|| unusable("picture.data", "another type", "a Uint8ClampedArray as in ImageData"))?;
        if data.length() as usize != width * height * 4 || width * height == 0 {
            let expected = format!("{width} x {height} x 4 bytes, none of them 0");
            return Err(unusable("picture.data", format!("{} bytes", data.length()), &expected));
        }
        Ok(Self { width, height, bytes: data.to_vec() })
    }

    /// From bytes `[height, width, channels]`, channels 1 or 3.
    pub fn opaque(height: usize, width: usize, channels: usize, bytes: &[u8]) -> Self {
        let pixel = |pixel: &[u8]| match *pixel {
            [r, g, b] => [r, g, b, 255],
            _ => [pixel[0], pixel[0], pixel[0], 255],
        };
        let bytes = bytes.chunks_exact(channels).flat_map(pixel).collect();
        Self { width, height, bytes }
    }

    /// Colours in 0..1, `[height, width, 3]`; what is not opaque lies over black.
    pub fn colors(&self) -> Vec<f32> {
        let pixel = |pixel: &[u8]| {
            let alpha = f32::from(pixel[3]) / 255.0;
            [pixel[0], pixel[1], pixel[2]].map(|color| f32::from(color) / 255.0 * alpha)
        };
        self.bytes.chunks_exact(4).flat_map(pixel).collect()
    }

    pub fn is_opaque(&self) -> bool {
        self.bytes.chunks_exact(4).all(|pixel| pixel[3] == 255)
    }

    pub fn into_js(self) -> JsValue {
        let data = Uint8ClampedArray::from(&self.bytes[..]);
        object().set("data", data).set("width", self.width as f64).set("height", self.height as f64).into()
    }
}

/// Tells `watch(share, event)` how far a call is; its answer `false` stops the call.
#[derive(Clone)]
pub struct Watch(Function);

impl Watch {
    pub fn new(watch: Function) -> Self {
        Self(watch)
    }

    pub fn share(&self, share: f64) -> ControlFlow<()> {
        self.tell(share, JsValue::UNDEFINED)
    }

    /// The share with something besides.
    pub fn tell(&self, share: f64, event: JsValue) -> ControlFlow<()> {
        match self.0.call2(&JsValue::NULL, &share.into(), &event) {
            Ok(answer) if answer.is_falsy() => ControlFlow::Break(()),
            _ => ControlFlow::Continue(()),
        }
    }

    /// Fails where the call was stopped.
    pub fn check(&self, share: f64) -> Result<(), Failure> {
        match self.share(share) {
            ControlFlow::Continue(()) => Ok(()),
            ControlFlow::Break(()) => Err(gristmill::Error::Cancelled.into()),
        }
    }
}
