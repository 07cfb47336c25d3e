//! Every bad call is its typed error, with both numbers, before anything is recorded.

use wgpu::{BufferUsages, Limits};
use wgpu_batchnorm::host::{Gpu, Tensor};
use wgpu_batchnorm::parts::{BackwardInputBuffers, BackwardMergeBuffers, MergeBuffers};
use wgpu_batchnorm::plan::{Count, DeviceFacts, Operation, Plan, Tuning};
use wgpu_batchnorm::{
    Activation, BackwardBuffers, BatchNorm, Config, DType, Error, Gradients, InferenceBuffers, Layer, Momentum,
    RunningStatistics, RunningVariance, Shape, TrainingBuffers, mask_bytes,
};

use crate::{Stub, stub_device};

/// Every buffer that training and backward of (4, 3, 5, 5) may take: 1200 bytes a tensor.
struct Buffers {
    x: wgpu::Buffer,
    dy: wgpu::Buffer,
    residual: wgpu::Buffer,
    gamma: wgpu::Buffer,
    beta: wgpu::Buffer,
    mean: wgpu::Buffer,
    variance: wgpu::Buffer,
    batches: wgpu::Buffer,
    saved: wgpu::Buffer,
    y: wgpu::Buffer,
    mask: wgpu::Buffer,
    dx: wgpu::Buffer,
    dresidual: wgpu::Buffer,
    dgamma: wgpu::Buffer,
    dbeta: wgpu::Buffer,
}

fn shape() -> Shape {
    Shape::nchw(4, 3, 5, 5).unwrap()
}

/// All that can be asked for at once.
fn full() -> Config {
    Config {
        running_update: true,
        count_batches: true,
        activation: Activation::Relu,
        residual: true,
        ..Config::pytorch()
    }
}

impl Buffers {
    fn new(stub: &Stub) -> Self {
        let tensor = || stub.buffer(1200);
        let channels = || stub.buffer(12);
        Self {
            x: tensor(),
            dy: tensor(),
            residual: tensor(),
            gamma: channels(),
            beta: channels(),
            mean: channels(),
            variance: channels(),
            batches: stub.buffer(4),
            saved: stub.buffer(48),
            y: tensor(),
            mask: stub.buffer(mask_bytes(&shape())),
            dx: tensor(),
            dresidual: tensor(),
            dgamma: channels(),
            dbeta: channels(),
        }
    }

    fn training(&self) -> TrainingBuffers<'_> {
        TrainingBuffers {
            residual: Some(self.residual.slice(..)),
            gamma: Some(self.gamma.slice(..)),
            beta: Some(self.beta.slice(..)),
            running: Some(RunningStatistics {
                mean: self.mean.slice(..),
                variance: self.variance.slice(..),
                batches: Some(self.batches.slice(..)),
            }),
            mask: Some(self.mask.slice(..)),
            ..TrainingBuffers::new(self.x.slice(..), self.saved.slice(..), self.y.slice(..))
        }
    }

    fn inference(&self) -> InferenceBuffers<'_> {
        InferenceBuffers {
            residual: Some(self.residual.slice(..)),
            gamma: Some(self.gamma.slice(..)),
            beta: Some(self.beta.slice(..)),
            mask: Some(self.mask.slice(..)),
            ..InferenceBuffers::new(self.x.slice(..), self.mean.slice(..), self.variance.slice(..), self.y.slice(..))
        }
    }

    fn backward(&self) -> BackwardBuffers<'_> {
        BackwardBuffers {
            gamma: Some(self.gamma.slice(..)),
            beta: Some(self.beta.slice(..)),
            mask: Some(self.mask.slice(..)),
            dx: Some(self.dx.slice(..)),
            dgamma: Some(self.dgamma.slice(..)),
            dbeta: Some(self.dbeta.slice(..)),
            dresidual: Some(self.dresidual.slice(..)),
            ..BackwardBuffers::new(self.x.slice(..), self.dy.slice(..), self.saved.slice(..))
        }
    }
}

fn refused<T: std::fmt::Debug>(result: Result<T, Error>) -> Error {
    result.expect_err("this should have been refused")
}

/// The error names each of these.
fn names(error: &Error, words: &[&str]) {
    let text = error.to_string();
    for word in words {
        assert!(text.contains(word), "`{text}` does not name {word}");
    }
}

#[test]
fn what_is_complete_binds_and_records() {
    let stub = Stub::new();
    let buffers = Buffers::new(&stub);
    let training = stub.norms.training(&shape(), &full()).unwrap().bind(&stub.device, &buffers.training()).unwrap();
    let frozen =
        stub.norms.frozen_forward(&shape(), &full()).unwrap().bind(&stub.device, &buffers.inference()).unwrap();
    let backward = stub.norms.backward(&shape(), &full(), Gradients::ALL).unwrap();
    let backward = backward.bind(&stub.device, &buffers.backward()).unwrap();
    stub.submit(|pass| {
        training.record(pass);
        frozen.record(pass);
        backward.record(pass);
    });
    stub.is_clean();
}

#[test]
fn shapes_and_numbers_that_make_no_sense_are_refused() {
    let stub = Stub::new();
    let config = Config::pytorch();
    let refuse = |config: &Config| refused(stub.norms.training(&shape(), config).map(|_| ()));
    assert_eq!(Shape::new(&[4, 3], 2), Err(Error::AxisOutOfRange { axis: 2, rank: 2 }));
    assert_eq!(Shape::new(&[4, 0], 1), Err(Error::NoChannels { axis: 1 }));
    assert!(matches!(Shape::new(&[1 << 20, 1 << 13], 1), Err(Error::TooManyElements { limit: 4_294_967_040, .. })));
    assert!(matches!(Shape::new(&[usize::MAX, 2, usize::MAX], 1), Err(Error::TooManyElements { .. })));
    for value in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        assert!(matches!(refuse(&Config { epsilon: value, ..config }), Error::NotFinite { argument: "epsilon", .. }));
        let momentum = Momentum::NewValue(value);
        assert!(matches!(refuse(&Config { momentum, ..config }), Error::NotFinite { argument: "momentum", .. }));
    }
    assert_eq!(refuse(&Config { epsilon: -1.0, ..config }), Error::Negative { argument: "epsilon", value: -1.0 });
    for operation in [
        stub.norms.inference(&shape(), &Config { epsilon: -1.0, ..config }).map(|_| ()),
        stub.norms.frozen_forward(&shape(), &Config { epsilon: -1.0, ..config }).map(|_| ()),
        stub.norms.backward(&shape(), &Config { epsilon: -1.0, ..config }, Gradients::ALL).map(|_| ()),
        stub.norms.frozen_backward(&shape(), &Config { epsilon: -1.0, ..config }, Gradients::ALL).map(|_| ()),
    ] {
        assert_eq!(operation, Err(Error::Negative { argument: "epsilon", value: -1.0 }));
    }
    stub.is_clean();
}

#[test]
fn one_value_per_channel_has_no_unbiased_running_variance() {
    let stub = Stub::new();
    let one = Shape::nc(1, 7).unwrap();
    let config = Config { running_update: true, ..Config::pytorch() };
    assert_eq!(refused(stub.norms.training(&one, &config).map(|_| ())), Error::TooFewValues { values: 1 });
    // Where it is not asked for, one value is enough.
    let population = Config { running_variance: RunningVariance::Population, ..config };
    for config in [population, Config { running_update: false, ..config }] {
        assert!(stub.norms.training(&one, &config).is_ok());
    }
    stub.is_clean();
}

#[test]
fn an_argument_that_is_too_small_is_refused_with_both_numbers() {
    let stub = Stub::new();
    let b = Buffers::new(&stub);
    let (training, backward) = (
        stub.norms.training(&shape(), &full()).unwrap(),
        stub.norms.backward(&shape(), &full(), Gradients::ALL).unwrap(),
    );
    let (t, g) = (b.training(), b.backward());
    let running = t.running.unwrap();
    let tensor = stub.buffer(1196);
    let (small, tensor) = (stub.buffer(8), tensor.slice(..));
    let small = small.slice(..);
    let empty = b.batches.slice(4..);
    let with = |running| TrainingBuffers { running: Some(running), ..t };
    for (buffers, argument, bytes, needed) in [
        (TrainingBuffers { x: tensor, ..t }, "x", 1196, 1200),
        (TrainingBuffers { residual: Some(tensor), ..t }, "residual", 1196, 1200),
        (TrainingBuffers { y: tensor, ..t }, "y", 1196, 1200),
        (TrainingBuffers { gamma: Some(small), ..t }, "gamma", 8, 12),
        (TrainingBuffers { beta: Some(small), ..t }, "beta", 8, 12),
        (TrainingBuffers { saved: small, ..t }, "saved", 8, 48),
        (TrainingBuffers { mask: Some(small), ..t }, "mask", 8, 40),
        (with(RunningStatistics { mean: small, ..running }), "running_mean", 8, 12),
        (with(RunningStatistics { variance: small, ..running }), "running_variance", 8, 12),
        (with(RunningStatistics { batches: Some(empty), ..running }), "batches", 0, 4),
    ] {
        let error = refused(training.bind(&stub.device, &buffers));
        assert_eq!(error, Error::TooSmall { argument, bytes, needed });
        names(&error, &[argument, &bytes.to_string(), &needed.to_string()]);
    }
    for (buffers, argument, bytes, needed) in [
        (BackwardBuffers { dy: tensor, ..g }, "dy", 1196, 1200),
        (BackwardBuffers { dx: Some(tensor), ..g }, "dx", 1196, 1200),
        (BackwardBuffers { dresidual: Some(tensor), ..g }, "dresidual", 1196, 1200),
        (BackwardBuffers { dgamma: Some(small), ..g }, "dgamma", 8, 12),
        (BackwardBuffers { dbeta: Some(small), ..g }, "dbeta", 8, 12),
        (BackwardBuffers { scratch: Some(small), ..g }, "scratch", 8, backward.scratch_bytes()),
    ] {
        assert_eq!(refused(backward.bind(&stub.device, &buffers)), Error::TooSmall { argument, bytes, needed });
    }
    stub.is_clean();
}

/// Halves with an odd count end in the middle of a word, and a binding is made of whole words.
#[test]
fn an_odd_number_of_halves_needs_a_whole_last_word() {
    let stub = Stub::new();
    let shape = Shape::nc(5, 3).unwrap();
    let config = Config { gamma: false, beta: false, dtype: DType::F16, ..Config::pytorch() };
    let inference = stub.norms.inference(&shape, &config).unwrap();
    let (tensor, short, per_channel) = (stub.buffer(32), stub.buffer(28), stub.buffer(12));
    let other = stub.buffer(32);
    let bind = |x: &wgpu::Buffer| {
        let channels = per_channel.slice(..);
        inference.bind(&stub.device, &InferenceBuffers::new(x.slice(..), channels, channels, other.slice(..)))
    };
    assert_eq!(refused(bind(&short)), Error::TooSmall { argument: "x", bytes: 28, needed: 32 });
    let bound = bind(&tensor).unwrap();
    stub.submit(|pass| bound.record(pass));
    stub.is_clean();
}

#[test]
fn an_argument_that_starts_where_it_cannot_be_bound_is_refused() {
    let stub = Stub::new();
    let b = Buffers::new(&stub);
    let training = stub.norms.training(&shape(), &full()).unwrap();
    let long = stub.buffer(16_384);
    for offset in [4, 32, 128, 260] {
        let buffers = TrainingBuffers { y: long.slice(offset..), ..b.training() };
        let error = refused(training.bind(&stub.device, &buffers));
        assert_eq!(error, Error::Misaligned { argument: "y", offset, alignment: 256 });
        names(&error, &["`y`", &offset.to_string(), "256", "min_storage_buffer_offset_alignment"]);
        let buffers = TrainingBuffers { scratch: Some(long.slice(offset..)), ..b.training() };
        let error = refused(training.bind(&stub.device, &buffers));
        assert_eq!(error, Error::Misaligned { argument: "scratch", offset, alignment: 256 });
    }
    let buffers = TrainingBuffers { y: long.slice(512..), ..b.training() };
    let bound = training.bind(&stub.device, &buffers).unwrap();
    stub.submit(|pass| bound.record(pass));
    stub.is_clean();
}

#[test]
fn a_buffer_without_the_usage_it_needs_is_refused() {
    let stub = Stub::new();
    let b = Buffers::new(&stub);
    let training = stub.norms.training(&shape(), &full()).unwrap();
    let wrong = stub.buffer_for(16_384, BufferUsages::COPY_DST | BufferUsages::UNIFORM);
    for (buffers, argument) in [
        (TrainingBuffers { x: wrong.slice(..), ..b.training() }, "x"),
        (TrainingBuffers { gamma: Some(wrong.slice(..)), ..b.training() }, "gamma"),
        (TrainingBuffers { scratch: Some(wrong.slice(..)), ..b.training() }, "scratch"),
    ] {
        let error = refused(training.bind(&stub.device, &buffers));
        assert!(matches!(error, Error::MissingUsage { argument: a, usage: "STORAGE", .. } if a == argument), "{error}");
        names(&error, &[argument, "STORAGE", "COPY_DST"]);
    }
    stub.is_clean();
}

#[test]
fn an_argument_that_is_absent_is_refused_by_name() {
    let stub = Stub::new();
    let b = Buffers::new(&stub);
    let training = stub.norms.training(&shape(), &full()).unwrap();
    let t = b.training();
    let running = t.running.map(|r| RunningStatistics { batches: None, ..r });
    for (buffers, argument) in [
        (TrainingBuffers { residual: None, ..t }, "residual"),
        (TrainingBuffers { gamma: None, ..t }, "gamma"),
        (TrainingBuffers { beta: None, ..t }, "beta"),
        (TrainingBuffers { running: None, ..t }, "running_mean"),
        (TrainingBuffers { running, ..t }, "batches"),
        (TrainingBuffers { mask: None, ..t }, "mask"),
    ] {
        let error = refused(training.bind(&stub.device, &buffers));
        assert!(matches!(error, Error::Missing { argument: a, .. } if a == argument), "{argument}: {error}");
    }
    let backward = stub.norms.backward(&shape(), &full(), Gradients::ALL).unwrap();
    let g = b.backward();
    for (buffers, argument) in [
        (BackwardBuffers { gamma: None, ..g }, "gamma"),
        (BackwardBuffers { mask: None, ..g }, "mask"),
        (BackwardBuffers { dx: None, ..g }, "dx"),
        (BackwardBuffers { dgamma: None, ..g }, "dgamma"),
        (BackwardBuffers { dbeta: None, ..g }, "dbeta"),
        (BackwardBuffers { dresidual: None, ..g }, "dresidual"),
    ] {
        let error = refused(backward.bind(&stub.device, &buffers));
        assert!(matches!(error, Error::Missing { argument: a, .. } if a == argument), "{argument}: {error}");
    }
    stub.is_clean();
}

#[test]
fn an_argument_that_the_configuration_has_no_use_for_is_refused() {
    let stub = Stub::new();
    let buffers = Buffers::new(&stub);
    let unexpected = |config: &Config, argument: &str| {
        let training = stub.norms.training(&shape(), config).unwrap();
        let error = refused(training.bind(&stub.device, &buffers.training()));
        assert!(matches!(error, Error::Unexpected { argument: a, .. } if a == argument), "{argument}: {error}");
    };
    // Whoever brings running statistics and forgets to ask for their update would else train without them.
    unexpected(&Config { running_update: false, ..full() }, "running_mean");
    unexpected(&Config { count_batches: false, ..full() }, "batches");
    unexpected(&Config { residual: false, ..full() }, "residual");
    unexpected(&Config { gamma: false, ..full() }, "gamma");
    unexpected(&Config { beta: false, ..full() }, "beta");
    for (gradients, argument) in [(Gradients::PARAMETERS, "dx"), (Gradients::INPUT, "dgamma")] {
        let backward = stub.norms.backward(&shape(), &full(), gradients).unwrap();
        let error = refused(backward.bind(&stub.device, &buffers.backward()));
        assert!(matches!(error, Error::Unexpected { argument: a, .. } if a == argument), "{argument}: {error}");
    }
    let backward = |config: &Config| {
        let backward = stub.norms.backward(&shape(), config, Gradients::ALL).unwrap();
        refused(backward.bind(&stub.device, &buffers.backward()))
    };
    names(&backward(&Config { beta: false, ..full() }), &["beta", "no beta"]);
    names(&backward(&Config { residual: false, ..full() }), &["dresidual", "no residual"]);
    stub.is_clean();
}

#[test]
fn parts_may_have_all_their_arguments_in_one_buffer() {
    let stub = Stub::new();
    let arena = stub.buffer(64 << 10);
    let at = |n: u64, bytes: u64| arena.slice(4096 * n..4096 * n + bytes);
    let config = Config::pytorch();
    let merge = stub.norms.merge(&shape(), &config, 2).unwrap();
    let merge =
        merge.bind(&stub.device, &MergeBuffers { records: at(0, 96), saved: at(1, 48), merged: at(2, 48) }).unwrap();
    let steps = [Gradients::ALL, Gradients::INPUT, Gradients::PARAMETERS].map(|gradients| {
        let prepared = stub.norms.backward_merge(&shape(), &config, 2, gradients, Count::Merged).unwrap();
        let parameters = gradients != Gradients::INPUT;
        let buffers = BackwardMergeBuffers {
            sums: at(3, 48),
            saved: at(1, 48),
            merged: Some(at(2, 48)),
            coefficients: gradients.input.then(|| at(4, 24)),
            dgamma: parameters.then(|| at(5, 12)),
            dbeta: parameters.then(|| at(6, 12)),
        };
        prepared.bind(&stub.device, &buffers).unwrap()
    });
    // The tensors elsewhere, and then here, too.
    let [x, dy, dx] = [(); 3].map(|()| stub.buffer(1200));
    let elsewhere = [x.slice(..), dy.slice(..), dx.slice(..)];
    let inputs = [elsewhere, [at(7, 1200), at(8, 1200), at(9, 1200)]].map(|[x, dy, dx]| {
        let buffers = BackwardInputBuffers {
            x,
            dy,
            saved: at(1, 48),
            gamma: Some(at(10, 12)),
            beta: None,
            mask: None,
            coefficients: at(4, 24),
            dx,
            dresidual: None,
        };
        stub.norms.backward_input(&shape(), &config).unwrap().bind(&stub.device, &buffers).unwrap()
    });
    stub.submit(|pass| [&merge].into_iter().chain(&steps).chain(&inputs).for_each(|bound| bound.record(pass)));
    stub.is_clean();
}

#[test]
fn arguments_that_share_bytes_are_refused_where_one_is_written() {
    let stub = Stub::new();
    let b = Buffers::new(&stub);
    let training = stub.norms.training(&shape(), &full()).unwrap();
    let t = b.training();
    let long = stub.buffer(32_768);
    // One byte of y, its last, is the first of saved.
    let error = refused(
        training.bind(&stub.device, &TrainingBuffers { y: long.slice(0..1200), saved: long.slice(1024..1280), ..t }),
    );
    let expected = Error::Overlap {
        first: "saved",
        first_start: 1024,
        first_end: 1072,
        second: "y",
        second_start: 0,
        second_end: 1200,
    };
    assert_eq!(error, expected);
    names(&error, &["`saved`", "1024..1072", "`y`", "0..1200"]);
    let overlaps = |buffers: &TrainingBuffers<'_>| {
        let error = refused(training.bind(&stub.device, buffers));
        assert!(matches!(error, Error::Overlap { .. }), "{error}");
    };
    // Neither partly, nor exactly where it would be read after it was written.
    overlaps(&TrainingBuffers { x: long.slice(0..1200), y: long.slice(256..1456), ..t });
    overlaps(&TrainingBuffers { residual: Some(b.y.slice(..)), ..t });
    overlaps(&TrainingBuffers { gamma: Some(b.saved.slice(..)), ..t });
    let running = t.running.map(|r| RunningStatistics { mean: long.slice(4096..4144), ..r });
    overlaps(&TrainingBuffers { saved: long.slice(4096..4144), running, ..t });
    overlaps(&TrainingBuffers { scratch: Some(long.slice(0..16_384)), y: long.slice(1024..2224), ..t });
    overlaps(&TrainingBuffers { scratch: Some(long.slice(0..16_384)), x: long.slice(0..1200), ..t });
    // What is only read may be the same, and what touches does not overlap.
    for buffers in [
        TrainingBuffers { residual: Some(b.x.slice(..)), ..t },
        TrainingBuffers { gamma: Some(b.gamma.slice(..)), beta: Some(b.gamma.slice(..)), ..t },
        TrainingBuffers { x: long.slice(0..1200), y: long.slice(0..1200), ..t },
        TrainingBuffers { x: long.slice(0..1280), y: long.slice(1280..2560), ..t },
        TrainingBuffers { x: long.slice(0..1280), y: long.slice(1280..2560), scratch: Some(long.slice(2560..)), ..t },
        TrainingBuffers { gamma: Some(long.slice(0..12)), saved: long.slice(256..304), y: long.slice(512..1712), ..t },
    ] {
        let bound = training.bind(&stub.device, &buffers).unwrap();
        stub.submit(|pass| bound.record(pass));
    }
    stub.is_clean();
}

#[test]
fn a_tensor_above_what_a_buffer_holds_is_refused() {
    let stub = Stub::new();
    let shape = Shape::nchw(75, 16, 256, 256).unwrap();
    for operation in [
        stub.norms.training(&shape, &Config::pytorch()).map(|_| ()),
        stub.norms.inference(&shape, &Config::pytorch()).map(|_| ()),
        stub.norms.backward(&shape, &Config::pytorch(), Gradients::ALL).map(|_| ()),
    ] {
        let error = refused(operation);
        assert!(matches!(error, Error::DeviceLimit { needed: 314_572_800, limit: 268_435_456, .. }), "{error}");
        names(&error, &["314572800", "268435456", "max_buffer_size"]);
    }
    stub.is_clean();
}

#[test]
fn parts_of_a_batch_larger_than_a_buffer_know_its_count_by_its_shape() {
    let stub = Stub::new();
    let whole = Shape::nchw(32, 64, 256, 256).unwrap();
    let config = Config::pytorch();
    refused(stub.norms.moments(&whole, &config));
    let _ = stub.norms.merge(&whole, &config, 4).unwrap();
    let _ = stub.norms.running_update(&whole, &config, Count::Shape).unwrap();
    let _ = stub.norms.backward_merge(&whole, &config, 4, Gradients::ALL, Count::Shape).unwrap();
    stub.is_clean();
}

#[test]
fn what_no_buffer_holds_is_refused_where_it_would_be_made() {
    let stub = Stub::new();
    let gpu = Gpu::from_device(&stub.device, &stub.queue).unwrap();
    let limit = stub.device.limits().max_buffer_size;
    let error = refused(gpu.empty("large", limit + 1));
    assert!(
        matches!(error, Error::DeviceLimit { needed, limit: l, .. } if needed == limit + 16 && l == limit),
        "{error}"
    );
    let shape = Shape::nchw(75, 16, 256, 256).unwrap();
    names(&refused(Tensor::zeros(&gpu, &shape, DType::F32)), &["314572800", "268435456", "max_buffer_size"]);
    let error = refused(Layer::new(gpu.norms(), 17 << 20, &Config::pytorch()));
    names(&error, &["saved", "285212672", "134217728", "max_storage_buffer_binding_size"]);
    let buffer = stub.buffer(16);
    let read = |bytes| pollster::block_on(gpu.read(&buffer, bytes));
    assert!(matches!(refused(read(17)), Error::TooSmall { bytes: 16, needed: 20, .. }));
    // Nor does rounding up wrap.
    assert!(matches!(refused(read(u64::MAX)), Error::TooSmall { bytes: 16, .. }));
    assert!(matches!(refused(gpu.empty("endless", u64::MAX)), Error::DeviceLimit { .. }));
    assert!(matches!(refused(read(16)), Error::MissingUsage { usage: "COPY_SRC", .. }));
    stub.is_clean();
}

/// 16 bytes a channel of saved statistics, in one binding.
#[test]
fn more_channels_than_a_binding_holds_are_refused() {
    let stub = Stub::new();
    let shape = Shape::nc(1, 9_000_000).unwrap();
    let config = Config { gamma: false, beta: false, ..Config::keras() };
    let tensor = stub.buffer(36_000_000);
    let (y, saved) = (stub.buffer(36_000_000), stub.buffer(144_000_000));
    let error = refused(stub.norms.training(&shape, &config).and_then(|training| {
        training.bind(&stub.device, &TrainingBuffers::new(tensor.slice(..), saved.slice(..), y.slice(..)))
    }));
    assert!(matches!(error, Error::DeviceLimit { limit: 134_217_728, .. }), "{error}");
    names(&error, &["134217728", "max_storage_buffer_binding_size"]);
    stub.is_clean();
}

#[test]
fn a_device_with_too_few_storage_buffers_is_refused_what_needs_more() {
    let stub = Stub::with_limits(Limits { max_storage_buffers_per_shader_stage: 4, ..Limits::default() });
    let error = refused(stub.norms.training(&shape(), &Config::pytorch()).map(|_| ()));
    assert!(matches!(error, Error::DeviceLimit { what: "moments_merge", needed: 5, limit: 4, .. }), "{error}");
    names(&error, &["5", "4", "max_storage_buffers_per_shader_stage"]);
    // Without an affine step four are enough.
    let plain = Config { gamma: false, beta: false, ..Config::pytorch() };
    assert!(stub.norms.training(&shape(), &plain).is_ok());
    stub.is_clean();
}

#[test]
fn a_device_below_the_least_is_refused_at_once() {
    for (limits, name) in [
        (
            Limits { max_storage_buffers_per_shader_stage: 3, ..Limits::default() },
            "max_storage_buffers_per_shader_stage",
        ),
        (Limits { max_compute_workgroup_storage_size: 32, ..Limits::default() }, "max_compute_workgroup_storage_size"),
        (
            Limits { max_compute_invocations_per_workgroup: 0, max_compute_workgroup_size_x: 0, ..Limits::default() },
            "max_compute_invocations_per_workgroup",
        ),
    ] {
        let (device, _queue) = stub_device(limits);
        let error = refused(BatchNorm::new(&device));
        names(&error, &[name]);
    }
}

/// What only the device can know: natively it comes back as a value, and the host's handlers stay silent.
#[test]
fn a_buffer_of_another_device_is_refused() {
    let [stub, other] = Stub::pair();
    let (b, foreign) = (Buffers::new(&stub), Buffers::new(&other));
    let training = stub.norms.training(&shape(), &full()).unwrap();
    let error = refused(training.bind(&stub.device, &TrainingBuffers { y: foreign.y.slice(..), ..b.training() }));
    assert!(matches!(error, Error::Device { .. }), "{error}");
    let foreign = TrainingBuffers { y: foreign.y.slice(..), ..b.training() };
    let error = refused(pollster::block_on(training.bind_async(&stub.device, &foreign)));
    assert!(matches!(error, Error::Device { .. }), "{error}");
    let bound = pollster::block_on(training.bind_async(&stub.device, &b.training())).unwrap();
    stub.submit(|pass| bound.record(pass));
    stub.is_clean();
    other.is_clean();
}

/// A bind on a device that is not the operation's own leaves nothing behind for the next.
#[test]
fn a_bind_on_another_device_spoils_no_later_one() {
    let [stub, other] = Stub::pair();
    let b = Buffers::new(&stub);
    for wait in [false, true] {
        let training = stub.norms.training(&shape(), &full()).unwrap();
        assert!(training.scratch_bytes() > 0);
        let buffers = TrainingBuffers { scratch: None, ..b.training() };
        let error = match wait {
            false => refused(training.bind(&other.device, &buffers)),
            true => refused(pollster::block_on(training.bind_async(&other.device, &buffers))),
        };
        assert!(matches!(error, Error::Device { .. }), "{error}");
        let bound = training.bind(&stub.device, &buffers).unwrap();
        stub.submit(|pass| bound.record(pass));
    }
    stub.is_clean();
    other.is_clean();
}

/// A host that meets a refusal keeps its encoder, and the next call works.
#[test]
fn a_refusal_leaves_the_hosts_encoder_whole() {
    let stub = Stub::new();
    let b = Buffers::new(&stub);
    let training = stub.norms.training(&shape(), &full()).unwrap();
    let bound = training.bind(&stub.device, &b.training()).unwrap();
    stub.submit(|pass| {
        bound.record(pass);
        let small = stub.buffer(8);
        refused(training.bind(&stub.device, &TrainingBuffers { y: small.slice(..), ..b.training() }));
        refused(stub.norms.training(&shape(), &Config { epsilon: f32::NAN, ..full() }).map(|_| ()));
        bound.record(pass);
    });
    stub.is_clean();
}

/// The plan alone refuses what the device would: no device is needed to ask.
#[test]
fn a_plan_refuses_without_a_device() {
    let facts = DeviceFacts::FLOOR;
    let tuning = Tuning::for_device(&facts);
    let shape = Shape::nc(1, 5).unwrap();
    let config = Config { running_update: true, ..Config::pytorch() };
    let plan = Plan::new(Operation::Training, &shape, &config, &facts, &tuning);
    assert_eq!(plan, Err(Error::TooFewValues { values: 1 }));

    // Tensors are cut into windows; what has a value per channel is bound whole.
    let facts = DeviceFacts { binding_bytes: 1024, ..facts };
    let plan = |channels| {
        let shape = Shape::nc(8, channels).unwrap();
        let update = Operation::RunningUpdate(Count::Shape);
        Plan::new(update, &shape, &Config::pytorch(), &facts, &tuning)
    };
    assert!(plan(64).is_ok());
    let name = "max_storage_buffer_binding_size";
    assert_eq!(plan(65), Err(Error::DeviceLimit { what: "saved", needed: 1040, limit: 1024, name }));
}
