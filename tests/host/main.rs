//! What needs no adapter: refusals, plans and what a step costs the host, on wgpu's stub device and on numbers alone.

mod costs;
mod plans;
mod refusals;

use std::sync::{Arc, Mutex};

use wgpu_batchnorm::{BatchNorm, Options};

/// A device without an adapter behind it, and what reached its handler for errors that nobody caught.
struct Stub {
    device: wgpu::Device,
    queue: wgpu::Queue,
    norms: BatchNorm,
    uncaught: Arc<Mutex<Vec<String>>>,
}

impl Stub {
    fn new() -> Self {
        Self::with_limits(wgpu::Limits::default())
    }

    fn with_limits(limits: wgpu::Limits) -> Self {
        let (device, queue) = stub_device(limits);
        Self::of(device, queue)
    }

    /// Two devices of one instance, which therefore know each other's buffers from their own.
    fn pair() -> [Self; 2] {
        let noop = wgpu::NoopBackendOptions { enable: true, ..Default::default() };
        let instance = wgpu::Instance::new(wgpu::InstanceDescriptor {
            backends: wgpu::Backends::NOOP,
            backend_options: wgpu::BackendOptions { noop, ..Default::default() },
            ..wgpu::InstanceDescriptor::new_without_display_handle()
        });
        let adapter = pollster::block_on(instance.request_adapter(&Default::default())).unwrap();
        [(); 2].map(|()| {
            let (device, queue) = pollster::block_on(adapter.request_device(&Default::default())).unwrap();
            Self::of(device, queue)
        })
    }

    fn of(device: wgpu::Device, queue: wgpu::Queue) -> Self {
        let uncaught = Arc::new(Mutex::new(Vec::new()));
        let seen = uncaught.clone();
        device.on_uncaptured_error(Arc::new(move |error: wgpu::Error| seen.lock().unwrap().push(error.to_string())));
        let norms = BatchNorm::with_options(&device, Options::default()).unwrap();
        Self { device, queue, norms, uncaught }
    }

    fn buffer(&self, bytes: u64) -> wgpu::Buffer {
        self.buffer_for(bytes, wgpu::BufferUsages::STORAGE)
    }

    fn buffer_for(&self, bytes: u64, usage: wgpu::BufferUsages) -> wgpu::Buffer {
        self.device.create_buffer(&wgpu::BufferDescriptor {
            label: None,
            size: bytes,
            usage,
            mapped_at_creation: false,
        })
    }

    /// Records into an encoder of the host's, finishes and submits it.
    fn submit(&self, record: impl FnOnce(&mut wgpu::ComputePass<'_>)) {
        let mut encoder = self.device.create_command_encoder(&Default::default());
        record(&mut encoder.begin_compute_pass(&Default::default()));
        self.queue.submit([encoder.finish()]);
    }

    /// Nothing was left for the host's handlers to find.
    fn is_clean(&self) {
        let uncaught = self.uncaught.lock().unwrap();
        assert!(uncaught.is_empty(), "wgpu's own validation met the host: {uncaught:?}");
    }
}

fn stub_device(limits: wgpu::Limits) -> (wgpu::Device, wgpu::Queue) {
    wgpu::Device::noop(&wgpu::DeviceDescriptor { required_limits: limits, ..Default::default() })
}

#[test]
fn the_stub_refuses_what_wgpu_refuses() {
    let stub = Stub::new();
    let _ = stub.device.create_buffer(&wgpu::BufferDescriptor {
        label: None,
        size: u64::MAX / 2,
        usage: wgpu::BufferUsages::STORAGE,
        mapped_at_creation: false,
    });
    assert_eq!(stub.uncaught.lock().unwrap().len(), 1);
}

#[test]
fn everything_public_can_be_sent_and_shared() {
    fn both<T: Send + Sync>() {}
    both::<BatchNorm>();
    both::<Options>();
    both::<wgpu_batchnorm::Prepared<wgpu_batchnorm::operation::Training>>();
    both::<wgpu_batchnorm::Bound>();
    both::<wgpu_batchnorm::plan::Plan>();
    both::<wgpu_batchnorm::TrainingBuffers<'_>>();
    both::<wgpu_batchnorm::Error>();
    both::<wgpu_batchnorm::Layer>();
}
