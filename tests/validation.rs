//! The Vulkan validation layer reports nothing over the suite, on every Vulkan adapter, and is shown to see a violation.
//!
//! Needs `VK_LAYER_KHRONOS_validation`; without it the test fails, because silence would then prove nothing.
#![cfg(all(feature = "check", not(any(target_family = "wasm", target_vendor = "apple"))))]

// The list of all tests, without those for a browser or for gigabytes.
#[path = "gpu/suite/mod.rs"]
mod suite;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Mutex, MutexGuard, PoisonError};

use ash::vk;
use wgpu_batchnorm::host::{Gpu, NO_ADAPTER};

use suite::Scope;

/// What to do where the layer sees nothing.
const NO_LAYER: &str = "the Vulkan validation layer did not see a deliberate violation; install it: on Debian or Ubuntu \
    `apt-get install vulkan-validationlayers`, on Fedora `dnf install vulkan-validation-layers`, on Arch \
    `pacman -S vulkan-validation-layers`";

/// What the layer calls the deliberate violation.
const VIOLATION: &str = "VUID-VkFenceCreateInfo-flags-parameter";

/// What layer 1.3.239 wrongly says of WGSL as the source language in a shader's debug information.
const FALSE_ALARM: &str = "Invalid source language operand: 10";

/// Random cases of the sweep: what is sought here is in the calls, not in the numbers.
const SWEEP: usize = 25;

/// Warnings and errors of wgpu's Vulkan back-end, which passes on what the layer says.
struct Witness(Mutex<Vec<String>>);

static WITNESS: Witness = Witness(Mutex::new(Vec::new()));

impl Witness {
    fn messages(&self) -> MutexGuard<'_, Vec<String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What was said since the last call.
    fn take(&self) -> Vec<String> {
        std::mem::take(&mut *self.messages())
    }
}

impl log::Log for Witness {
    fn enabled(&self, metadata: &log::Metadata<'_>) -> bool {
        metadata.level() <= log::Level::Warn && metadata.target().starts_with("wgpu_hal::vulkan")
    }

    fn log(&self, record: &log::Record<'_>) {
        if !self.enabled(record.metadata()) {
            return;
        }
        let text = record.args().to_string();
        let mut messages = self.messages();
        match messages.last_mut() {
            // Labels and objects follow their message.
            Some(message) if text.starts_with('\t') => message.extend(["\n", &text]),
            _ => messages.push(format!("{}: {text}", record.level())),
        }
    }

    fn flush(&self) {}
}

// One test, so that the layer's messages are those of what is running, and nothing else runs while it sets variables.
#[test]
fn the_validation_layer_reports_nothing_over_the_suite() {
    configure_other_instances();
    log::set_logger(&WITNESS).expect("this is the only logger");
    // wgpu asks the layer for no more than this when it makes an instance.
    log::set_max_level(log::LevelFilter::Warn);

    let instance = instance();
    let adapters = pollster::block_on(instance.enumerate_adapters(wgpu::Backends::VULKAN));
    assert!(!adapters.is_empty(), "{NO_ADAPTER}");

    let mut failures = Vec::new();
    for adapter in adapters {
        let name = adapter.get_info().name;
        let gpu = open(&adapter);
        report(&mut failures, &name, "making a device");

        assert!(violation_is_seen(gpu.device()), "{name}: {NO_LAYER}");

        for test in suite::list(&Scope { sweep: SWEEP, slow: false }) {
            // A panic is wgpu's own validation; the layer may have more to say.
            let outcome = catch_unwind(AssertUnwindSafe(|| pollster::block_on((test.run)(&gpu))));
            match outcome {
                Ok(Ok(())) => {}
                Ok(Err(message)) => failures.push(format!("{name}: {}: {message}", test.name)),
                Err(_) => failures.push(format!("{name}: {}: panicked", test.name)),
            }
            report(&mut failures, &name, &test.name);
        }

        // The layer listened to the end.
        assert!(violation_is_seen(gpu.device()), "{name}: after the suite, {NO_LAYER}");

        // What is left over when a device goes is reported too.
        drop((gpu, adapter));
        report(&mut failures, &name, "dropping the device");
    }
    drop(instance);
    report(&mut failures, "Vulkan", "dropping the instance");
    assert!(failures.is_empty(), "{} failures:\n{}", failures.len(), failures.join("\n"));
}

/// An instance under the layer, which sends its messages to the log.
///
/// wgpu listens to the layer with `DEBUG` only, but that puts debug information into shaders, at which an old layer
/// stops ([`FALSE_ALARM`]) before it has checked the rest of them. So the extension alone is added.
#[expect(unsafe_code, reason = "an instance of wgpu-hal's own")]
fn instance() -> wgpu::Instance {
    let descriptor = wgpu::hal::InstanceDescriptor {
        name: "validation",
        flags: wgpu::InstanceFlags::VALIDATION,
        memory_budget_thresholds: wgpu::MemoryBudgetThresholds::default(),
        backend_options: wgpu::BackendOptions::default(),
        telemetry: None,
        display: None,
    };
    // SAFETY: the callback takes nothing away, and every loader has the extension, or makes no instance; the instance
    // is handed over whole.
    unsafe {
        let instance = wgpu::hal::vulkan::Instance::init_with_callback(
            &descriptor,
            Some(Box::new(|arguments| arguments.extensions.push(ash::ext::debug_utils::NAME))),
        )
        .expect("a Vulkan instance");
        wgpu::Instance::from_hal::<wgpu::hal::vulkan::Api>(instance)
    }
}

/// Puts instances that the suite makes for itself under the layer too, and keeps them to Vulkan.
#[expect(unsafe_code, reason = "setting a variable of the environment")]
fn configure_other_instances() {
    for (name, value) in [("WGPU_BACKEND", "vulkan"), ("WGPU_VALIDATION", "1"), ("WGPU_DEBUG", "1")] {
        // SAFETY: this is the program's only test, and no driver or other thread of it reads the environment yet.
        unsafe { std::env::set_var(name, value) };
    }
}

/// A device as `Gpu::select` makes it, on an adapter of this test's instance.
fn open(adapter: &wgpu::Adapter) -> Gpu {
    let (device, queue) = pollster::block_on(adapter.request_device(&wgpu::DeviceDescriptor {
        label: Some("validation"),
        required_features: adapter.features() & Gpu::FEATURES,
        required_limits: wgpu::Limits::default().or_worse_values_from(&adapter.limits()),
        ..Default::default()
    }))
    .expect("the adapter gives a device");
    Gpu::from_device(&device, &queue).expect("the device is enough")
}

/// Adds what the layer said to the failures; the false alarm comes from the suite's own instances alone.
fn report(failures: &mut Vec<String>, adapter: &str, what: &str) {
    let messages = WITNESS.take().into_iter().filter(|message| !message.contains(FALSE_ALARM));
    failures.extend(messages.map(|message| format!("{adapter}: {what}: {message}")));
}

/// Breaks a rule of Vulkan and tells whether the layer said so.
fn violation_is_seen(device: &wgpu::Device) -> bool {
    violate(device);
    WITNESS.take().iter().any(|message| message.contains(VIOLATION))
}

/// Makes a fence with a flag that does not exist, which drivers ignore.
#[expect(unsafe_code, reason = "wgpu lets no violation through")]
fn violate(device: &wgpu::Device) {
    let no_such_flag = vk::FenceCreateFlags::from_raw(1 << 31);
    let fence = vk::FenceCreateInfo::default().flags(no_such_flag);
    // SAFETY: the device outlives the guard and is not destroyed through it. Drivers look at the flag they know alone;
    // the fence that they make is used by nothing and is destroyed once.
    unsafe {
        let device = device.as_hal::<wgpu::hal::vulkan::Api>().expect("a Vulkan device");
        let device = device.raw_device();
        if let Ok(fence) = device.create_fence(&fence, None) {
            device.destroy_fence(fence, None);
        }
    }
}
