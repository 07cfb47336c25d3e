//! What is paid once is paid once, and what is paid at every step is next to nothing.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::collections::HashSet;
use std::time::{Duration, Instant};

use wgpu_batchnorm::plan::{DeviceFacts, Operation, Plan, Program, Tuning};
use wgpu_batchnorm::{BatchNorm, Bound, Config, DType, Gradients, Options, Shape, TrainingBuffers};

use crate::Stub;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

/// Counts the allocations of each thread.
struct Counting;

#[allow(unsafe_code)]
// SAFETY: every call goes to the system's allocator unchanged; the counter neither allocates nor is dropped.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.with(|count| count.set(count.get() + 1));
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        ALLOCATIONS.with(|count| count.set(count.get() + 1));
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

fn allocations_of(work: impl FnOnce()) -> u64 {
    let before = ALLOCATIONS.with(Cell::get);
    work();
    ALLOCATIONS.with(Cell::get) - before
}

#[test]
fn the_counter_counts() {
    assert_eq!(allocations_of(|| drop(std::hint::black_box(Box::new(7)))), 1);
    assert_eq!(allocations_of(|| ()), 0);
}

/// As many pipelines and bind groups as an operation has dispatches, to issue its commands by hand.
fn by_hand(stub: &Stub, dispatches: usize, buffer: &wgpu::Buffer) -> Vec<(wgpu::ComputePipeline, wgpu::BindGroup)> {
    let module = stub.device.create_shader_module(wgpu::ShaderModuleDescriptor {
        label: None,
        source: wgpu::ShaderSource::Wgsl(
            "@group(0) @binding(0) var<storage, read_write> a: array<u32>;
            @compute @workgroup_size(1) fn main() { a[0] = 1u; }"
                .into(),
        ),
    });
    let one = |_| {
        let pipeline = stub.device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
            label: None,
            layout: None,
            module: &module,
            entry_point: None,
            compilation_options: Default::default(),
            cache: None,
        });
        let group = stub.device.create_bind_group(&wgpu::BindGroupDescriptor {
            label: None,
            layout: &pipeline.get_bind_group_layout(0),
            entries: &[wgpu::BindGroupEntry { binding: 0, resource: buffer.as_entire_binding() }],
        });
        (pipeline, group)
    };
    (0..dispatches).map(one).collect()
}

fn record_by_hand(commands: &[(wgpu::ComputePipeline, wgpu::BindGroup)], pass: &mut wgpu::ComputePass<'_>) {
    for (pipeline, group) in commands {
        pass.set_pipeline(pipeline);
        pass.set_bind_group(0, group, &[]);
        pass.dispatch_workgroups(1, 1, 1);
    }
}

/// Training of a small tensor, and its input.
fn training(stub: &Stub) -> (Bound, wgpu::Buffer) {
    let shape = Shape::nchw(4, 3, 5, 5).unwrap();
    let config = Config { gamma: false, beta: false, ..Config::pytorch() };
    let (x, saved, y) = (stub.buffer(1200), stub.buffer(48), stub.buffer(1200));
    let training = stub.norms.training(&shape, &config).unwrap();
    let buffers = TrainingBuffers::new(x.slice(..), saved.slice(..), y.slice(..));
    (training.bind(&stub.device, &buffers).unwrap(), x)
}

/// Against the same commands recorded by hand: wgpu's pass keeps them in lists that grow.
#[test]
fn recording_allocates_nothing_of_ours() {
    const STEPS: usize = 1000;
    let stub = Stub::new();
    let (bound, x) = training(&stub);
    let commands = by_hand(&stub, bound.dispatches(), &x);
    let (mut theirs, mut ours) = (0, 0);
    stub.submit(|pass| theirs = allocations_of(|| (0..STEPS).for_each(|_| record_by_hand(&commands, pass))));
    stub.submit(|pass| ours = allocations_of(|| (0..STEPS).for_each(|_| bound.record(pass))));
    assert!(ours <= theirs, "{STEPS} steps allocated {ours} times; the same commands by hand {theirs} times");
    stub.is_clean();
}

/// 1.2 times the same commands by hand, each the best of many short tries in turn: the machine may be busy with other
/// things.
#[test]
fn recording_takes_as_long_as_by_hand() {
    const STEPS: usize = 20;
    const ROUNDS: usize = 500;
    let stub = Stub::new();
    let (bound, x) = training(&stub);
    let commands = by_hand(&stub, bound.dispatches(), &x);
    let time = |record: &dyn Fn(&mut wgpu::ComputePass<'_>)| {
        let mut elapsed = Duration::MAX;
        stub.submit(|pass| {
            let start = Instant::now();
            (0..STEPS).for_each(|_| record(pass));
            elapsed = start.elapsed();
        });
        elapsed
    };
    let (mut theirs, mut ours) = (Duration::MAX, Duration::MAX);
    for _ in 0..ROUNDS {
        theirs = theirs.min(time(&|pass| record_by_hand(&commands, pass)));
        ours = ours.min(time(&|pass| bound.record(pass)));
    }
    assert!(ours.as_secs_f64() <= 1.2 * theirs.as_secs_f64(), "{STEPS} steps took {ours:?}; by hand {theirs:?}");
    stub.is_clean();
}

/// Prepares some operations for a batch of n; returns the programs that they dispatch.
fn prepare(norms: &BatchNorm, n: usize) -> HashSet<Program> {
    let shape = Shape::nchw(n, 8, 16, 16).unwrap();
    let mut programs = HashSet::new();
    let mut add = |plan: &Plan| programs.extend(plan.dispatches.iter().map(|d| d.program.clone()));
    for config in [Config::pytorch(), Config { epsilon: 0.1, ..Config::keras() }] {
        add(norms.training(&shape, &config).unwrap().plan());
        add(norms.inference(&shape, &config).unwrap().plan());
        add(norms.backward(&shape, &config, Gradients::ALL).unwrap().plan());
    }
    programs
}

#[test]
fn a_program_is_compiled_once_whatever_the_shapes() {
    let stub = Stub::new();
    let streaming = Tuning { resident_blocks: 0, resident_element_blocks: 0, ..stub.norms.tuning().clone() };
    let all_shapes = |tuning: Tuning, more: usize| {
        let options = Options { tuning: Some(tuning), ..Options::default() };
        let norms = BatchNorm::with_options(&stub.device, options).unwrap();
        assert_eq!(norms.pipelines(), 0, "nothing is compiled before it is needed");
        let clone = norms.clone();
        let mut programs = prepare(&norms, 4);
        assert_eq!(norms.pipelines(), programs.len());
        let first = programs.len();
        (5..70).for_each(|n| programs.extend(prepare(&norms, n)));
        let compiled = programs.len();
        assert_eq!((norms.pipelines(), clone.pipelines()), (compiled, compiled));
        assert!(compiled <= first + more, "{first} programs for one shape, {compiled} for all");
        (norms, clone, compiled)
    };
    // The more records a channel leaves, the more lanes merge them: 1, 2 or 4, in two kernels.
    all_shapes(Tuning { apply_merges: 0, ..streaming.clone() }, 4);
    // The two elementwise kernels merge up to 2 of them, as for the first shape, or up to 4, or leave them to two merges.
    let (norms, clone, compiled) = all_shapes(streaming, 6);
    let half = Config { dtype: DType::F16, ..Config::pytorch() };
    let _ = clone.inference(&Shape::nchw(4, 8, 16, 16).unwrap(), &half).unwrap();
    assert_eq!(norms.pipelines(), compiled + 1, "all clones share the pipelines");
    let guarded = clone.with_guarded_differences(true);
    let _ = guarded.inference(&Shape::nchw(4, 8, 16, 16).unwrap(), &half).unwrap();
    assert_eq!(norms.pipelines(), compiled + 2, "a guarded program is another one");
    stub.is_clean();
}

/// A resident program holds so many quads in so many lanes; of these there are few.
#[test]
fn resident_programs_are_few() {
    let stub = Stub::new();
    let norms = &stub.norms;
    (1..70).for_each(|n| _ = prepare(norms, n));
    let compiled = norms.pipelines();
    (1..70).for_each(|n| _ = prepare(norms, n));
    assert_eq!(norms.pipelines(), compiled, "each is compiled once");
    assert!(compiled <= 60, "{compiled} programs for 69 shapes of 3 operations in 2 configurations");
    stub.is_clean();
}

/// Binding anew at each step is what hosts do that pool their memory: it must not compile.
#[test]
fn binding_again_compiles_nothing() {
    let stub = Stub::new();
    let shape = Shape::nchw(4, 3, 5, 5).unwrap();
    let config = Config { gamma: false, beta: false, ..Config::pytorch() };
    let training = stub.norms.training(&shape, &config).unwrap();
    let buffer = stub.buffer(1 << 16);
    let mut compiled = stub.norms.pipelines();
    for turn in 0..10 {
        let saved = stub.buffer(48);
        let (x, y) = (buffer.slice(2048 * turn..2048 * turn + 1200), buffer.slice(40_960 + 2048 * turn..));
        let _ = training.bind(&stub.device, &TrainingBuffers::new(x, saved.slice(..), y)).unwrap();
        if turn == 0 {
            // x and y in one buffer are a variant of their own.
            compiled = stub.norms.pipelines();
        }
    }
    assert_eq!(stub.norms.pipelines(), compiled);
}

/// 10 µs, the best of many tries: the machine may be busy with other things.
#[test]
fn a_plan_takes_microseconds() {
    let facts = DeviceFacts::FLOOR;
    let tuning = Tuning::for_device(&facts);
    for (dimensions, axis) in [
        (&[32usize, 64, 56, 56][..], 1),
        (&[32, 56, 56, 64], -1),
        (&[256, 1000], 1),
        (&[2, 3, 2000, 2000], 1),
        (&[50_000, 131], 1),
    ] {
        let shape = Shape::new(dimensions, axis).unwrap();
        for operation in [Operation::Training, Operation::Inference, Operation::Backward(Gradients::ALL)] {
            let plan = || Plan::new(operation, &shape, &Config::pytorch(), &facts, &tuning).unwrap();
            let best = (0..200)
                .map(|_| {
                    let start = Instant::now();
                    std::hint::black_box(plan());
                    start.elapsed()
                })
                .min();
            assert!(best <= Some(Duration::from_micros(10)), "{operation:?} of {shape}: {best:?}");
        }
    }
}
