//! What the page "Batch norm in your browser" calls: the crate's own check, timing and operations, on the browser's
//! device or, where it has none, on the CPU path.
#![cfg(target_family = "wasm")]

mod bench;
mod check;
mod picture;

use js_sys::{Function, JSON};
use serde::Serialize;
use wasm_bindgen::prelude::*;
use wasm_bindgen_futures::JsFuture;
use wgpu_batchnorm::host::Gpu;

/// Tells the console what a panic says: without it a page just stops.
#[wasm_bindgen(start)]
pub fn start() {
    std::panic::set_hook(Box::new(|panic| web_sys::console::error_1(&panic.to_string().into())));
}

/// A device of the browser's, or none.
#[wasm_bindgen]
pub struct Session {
    gpu: Option<Gpu>,
}

#[wasm_bindgen]
impl Session {
    /// Opens the browser's device with WebGPU's default limits.
    #[wasm_bindgen(js_name = onGpu)]
    pub async fn on_gpu() -> Result<Self, JsError> {
        Ok(Self { gpu: Some(Gpu::new().await?.self_checked().await?) })
    }

    /// Does without a device.
    #[wasm_bindgen(js_name = onCpu)]
    pub fn on_cpu() -> Self {
        Self { gpu: None }
    }

    /// Runs the conformance cases and `count` random ones from seed 0; `told` hears of each.
    pub async fn check(&self, count: u32, told: &Function) -> Result<JsValue, JsError> {
        json(&check::check(self.gpu.as_ref(), count as usize, &Listener(told)).await?)
    }

    /// Times the operations on small or large shapes, in so many rounds; `told` hears of each step.
    pub async fn benchmark(&self, large: bool, rounds: u32, told: &Function) -> Result<JsValue, JsError> {
        json(&bench::bench(self.gpu.as_ref(), large, rounds as usize, &Listener(told)).await?)
    }

    /// Normalises an image, `height · width` pixels of RGBA, per channel.
    pub async fn normalise(&self, rgba: &[u8], width: u32, height: u32) -> Result<picture::Normalised, JsError> {
        // A borrow of the page's memory must not outlive the first wait.
        let rgba = rgba.to_vec();
        picture::normalise(self.gpu.as_ref(), &rgba, width, height).await
    }
}

/// The photographs of an `.npy` file of shape `(N, H, W, 3)`, values from 0 to 1, as RGBA.
#[wasm_bindgen]
pub fn photographs(npy: &[u8]) -> Result<Vec<picture::Photograph>, JsError> {
    picture::photographs(npy)
}

/// A value as JavaScript has it.
fn json(value: &impl Serialize) -> Result<JsValue, JsError> {
    let text = serde_json::to_string(value)?;
    JSON::parse(&text).map_err(|_| JsError::new("the results cannot be told"))
}

/// What the page gives to hear of progress; it answers with a promise, so that it can draw in between.
struct Listener<'a>(&'a Function);

impl Listener<'_> {
    /// Tells how much is done, as a share, and of what.
    async fn tell(&self, share: f64, news: &impl Serialize) -> Result<(), JsError> {
        let failed = |_| JsError::new("the page stopped listening");
        let answer = self.0.call2(&JsValue::NULL, &share.into(), &json(news)?).map_err(failed)?;
        JsFuture::from(js_sys::Promise::resolve(&answer)).await.map_err(failed)?;
        Ok(())
    }
}
