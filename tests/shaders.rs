//! Every program that a plan can reach, held against what devices and browsers demand: without a device, by naga.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::mem::offset_of;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use naga::back::{PipelineConstants, glsl, hlsl, msl, spv};
use naga::proc::{BoundsCheckPolicies, BoundsCheckPolicy, Layouter};
use naga::valid::{Capabilities, ModuleInfo, ValidationFlags, Validator};
use naga::{AddressSpace, BuiltIn, Expression, Handle, Literal, Module, Scalar, ScalarKind, ShaderStage, Statement};
use naga::{StorageAccess, TypeInner};
use wgpu_batchnorm::plan::{
    Access, Argument, Count, DeviceFacts, Gradients, Kernel, Operation, ParameterGradients, Parameters, Plan, Program,
    Tuning, Walk,
};
use wgpu_batchnorm::{Activation, Config, DType, Error, Momentum, RunningVariance, Shape, shader};

// ---- Which programs there are.

/// Shapes that together take every walk, aligned and not, by quads and by words.
fn shapes() -> Vec<Shape> {
    let shapes = [
        Shape::nchw(32, 64, 56, 56),
        Shape::nchw(32, 512, 7, 7),
        Shape::nchw(1, 1, 1024, 1024),
        Shape::nchw(1, 3, 1001, 1001),
        Shape::nchw(2, 4, 129, 131),
        Shape::nchw(3, 3, 129, 131),
        Shape::nchw(4, 27, 33, 31),
        Shape::nchw(3, 5, 7, 7),
        Shape::nchw(0, 3, 4, 4),
        Shape::nchw(1, 1, 1, 1),
        Shape::ncl(2, 7, 2),
        Shape::nhwc(8, 56, 56, 64),
        Shape::nhwc(2, 160, 240, 3),
        Shape::nhwc(3, 5, 7, 3),
        Shape::nhwc(5, 9, 9, 1030),
        Shape::nhwc(2, 3, 5, 1024),
        Shape::nc(256, 1024),
        Shape::nc(8192, 64),
        Shape::nc(3, 70_001),
        Shape::nc(33, 513),
        Shape::nc(7, 5),
        Shape::new(&[3, 2, 8, 4, 4], 1),
        // Few records of planes long enough to be written along.
        Shape::nchw(8, 32, 28, 28),
        Shape::nchw(8, 32, 27, 29),
        // Channels that are one part of each lane, of long planes.
        Shape::nchw(1, 128, 24, 24),
        // Two planes that end together, in several parts.
        Shape::nchw(40, 6, 10, 13),
    ];
    shapes.map(|shape| shape.expect("a shape that is right")).to_vec()
}

fn configs() -> Vec<Config> {
    let mut configs = Vec::new();
    let running = [
        Config { running_update: false, ..Config::pytorch() },
        Config { running_update: true, ..Config::pytorch() },
        Config { running_update: true, count_batches: true, ..Config::pytorch() },
        Config { running_update: true, momentum: Momentum::Cumulative, ..Config::pytorch() },
    ];
    for base in running {
        for running_variance in [RunningVariance::Unbiased, RunningVariance::Population] {
            for bits in 0..16u32 {
                let bit = |n: u32| bits >> n & 1 == 1;
                let activation = if bit(2) { Activation::Relu } else { Activation::None };
                let fused = Config { gamma: bit(0), beta: bit(1), activation, residual: bit(3), ..base };
                configs.extend(DType::ALL.map(|dtype| Config { dtype, running_variance, ..fused }));
            }
        }
    }
    configs
}

fn operations() -> Vec<Operation> {
    let mut operations = vec![
        Operation::Training,
        Operation::Inference,
        Operation::FrozenForward,
        Operation::Moments,
        Operation::Merge(1),
        Operation::Merge(9),
        Operation::Merge(1000),
        Operation::RunningUpdate(Count::Shape),
        Operation::RunningUpdate(Count::Merged),
        Operation::ScaleShift,
        Operation::BackwardSums,
        Operation::BackwardInput,
    ];
    for input in [false, true] {
        for parameters in [ParameterGradients::None, ParameterGradients::Overwrite, ParameterGradients::Accumulate] {
            let gradients = Gradients { input, parameters };
            operations.extend([Operation::Backward(gradients), Operation::FrozenBackward(gradients)]);
            for count in [Count::Shape, Count::Merged] {
                operations.extend([1, 300].map(|records| Operation::BackwardMerge(records, gradients, count)));
            }
        }
    }
    operations
}

/// The built-in tables, the same where no channel stays resident, those of a software adapter with integers of 64 bits, and one
/// that a measurement could choose: rows swept by wide workgroups.
fn devices() -> Vec<(DeviceFacts, Tuning)> {
    let built_in = |facts: DeviceFacts| (facts.clone(), Tuning::for_device(&facts));
    let streaming = |facts: DeviceFacts| {
        (facts.clone(), Tuning { resident_blocks: 0, resident_element_blocks: 0, ..Tuning::for_device(&facts) })
    };
    let wide = Tuning { row_blocks: 16, ..streaming(DeviceFacts::FLOOR).1 };
    let (floor, software) = (DeviceFacts::FLOOR, DeviceFacts::SOFTWARE);
    let long = DeviceFacts { shader_int64: true, ..software.clone() };
    vec![
        built_in(floor.clone()),
        streaming(floor.clone()),
        streaming(software.clone()),
        built_in(software),
        streaming(long.clone()),
        built_in(long),
        (floor, wide),
    ]
}

/// What plans dispatch, before buffers are known.
fn planned() -> HashSet<Program> {
    let mut programs = HashSet::new();
    let configs = configs();
    for (facts, tuning) in devices() {
        for shape in shapes() {
            for operation in operations() {
                for config in &configs {
                    match Plan::new(operation, &shape, config, &facts, &tuning) {
                        Ok(plan) => {
                            for dispatch in plan.dispatches {
                                if !programs.contains(&dispatch.program) {
                                    programs.insert(dispatch.program);
                                }
                            }
                        }
                        Err(Error::TooFewValues { .. }) => {}
                        // So many records of 70 001 channels are larger than one binding.
                        Err(Error::DeviceLimit { .. })
                            if matches!(operation, Operation::Merge(1000) | Operation::BackwardMerge(300, ..)) => {}
                        Err(error) => panic!("{} of {:?}: {error}", operation.name(), shape.dimensions()),
                    }
                }
            }
        }
    }
    programs
}

/// The variants that binding can make of a program: one buffer for several arguments, an output over its input, a
/// device whose fast math needs a guard, which is one function's body and so is not crossed with all the rest.
fn variants(program: &Program) -> Vec<Program> {
    let plain = [(false, false, false), (false, true, false), (false, false, true)];
    let in_place = [(true, false, false), (true, true, false), (true, true, true)];
    let may_be_in_place = matches!(program.kernel, Kernel::ScaleShift | Kernel::BackwardInput);
    let choices = plain.into_iter().chain(in_place.into_iter().filter(|_| may_be_in_place));
    choices.map(|(in_place, shared, guarded)| Program { in_place, shared, guarded, ..program.clone() }).collect()
}

type Key = (String, String, Vec<(Argument, bool)>);

/// Every program, each once: those that differ only in what their kernel has no use for are one.
fn programs() -> &'static [Program] {
    static PROGRAMS: OnceLock<Vec<Program>> = OnceLock::new();
    PROGRAMS.get_or_init(|| {
        let mut distinct: HashMap<Key, Program> = HashMap::new();
        for program in planned().iter().flat_map(variants) {
            let constants = format!("{:?}", shader::overrides(&program));
            distinct.insert((shader::text(&program), constants, program.arguments()), program);
        }
        distinct.into_values().collect()
    })
}

/// A pipeline belongs to a program: two that say the same would be compiled twice.
#[test]
fn no_two_planned_programs_are_the_same() {
    let mut said: HashMap<(Key, u32), Program> = HashMap::new();
    for program in planned() {
        let constants = format!("{:?}", shader::overrides(&program));
        let key = (shader::text(&program), constants, program.arguments());
        if let Some(other) = said.insert((key, program.workgroup_size), program.clone()) {
            panic!("{program:#?} is {other:#?}");
        }
    }
}

// ---- Running checks over them.

/// A program that naga has read, with its constants in place.
struct Built {
    program: Program,
    text: String,
    /// As written.
    module: Module,
    /// After the override constants.
    fixed: Module,
    info: ModuleInfo,
}

/// What a program may use: nothing beyond WebGPU, unless it is planned only where shaders have integers of 64 bits.
fn capabilities(program: &Program) -> Capabilities {
    if program.access == Access::Wide { Capabilities::SHADER_INT64 } else { Capabilities::empty() }
}

fn read(text: &str, capabilities: Capabilities) -> Result<(Module, ModuleInfo), String> {
    let module = naga::front::wgsl::parse_str(text).map_err(|e| format!("parse: {}", e.emit_to_string(text)))?;
    let info = Validator::new(ValidationFlags::all(), capabilities)
        .validate(&module)
        .map_err(|e| format!("validate: {}", e.emit_to_string(text)))?;
    Ok((module, info))
}

fn fix(
    module: &Module,
    info: &ModuleInfo,
    entry: &str,
    constants: &[(&str, f64)],
) -> Result<(Module, ModuleInfo), String> {
    let constants: PipelineConstants = constants.iter().map(|(name, value)| ((*name).to_owned(), *value)).collect();
    let (fixed, info) = naga::back::pipeline_constants::process_overrides(
        module,
        info,
        Some((ShaderStage::Compute, entry)),
        &constants,
    )
    .map_err(|e| format!("overrides: {e}"))?;
    Ok((fixed.into_owned(), info.into_owned()))
}

fn build(program: &Program) -> Result<Built, String> {
    let text = shader::text(program);
    let (module, info) = read(&text, capabilities(program))?;
    let (fixed, info) = fix(&module, &info, program.kernel.name(), &shader::overrides(program))?;
    Ok(Built { program: program.clone(), text, module, fixed, info })
}

type Check = fn(&Built) -> Result<(), String>;

/// Every check, by name. Each program is built once and goes through all of them.
const CHECKS: [(&str, Check); 6] = [
    ("translation", translates),
    ("bindings", binds),
    ("workgroup", fits),
    ("uniform", has_the_parameters),
    ("portability", is_portable),
    ("barriers", synchronises),
];

/// Whether a program is the one of its text, and of its choices between branches, that is translated: others differ
/// from it in numbers of lanes.
fn is_translated(program: &Program) -> bool {
    static CHOSEN: OnceLock<HashSet<Program>> = OnceLock::new();
    let chosen = CHOSEN.get_or_init(|| {
        let mut chosen = HashMap::new();
        for program in programs() {
            chosen.insert((shader::text(program), program.aligned, program.unbiased), program.clone());
        }
        chosen.into_values().collect()
    });
    chosen.contains(program)
}

/// What failed, by the name of the check: found once, on all cores, with the program that it befell.
fn failures() -> &'static [(&'static str, String)] {
    static FAILURES: OnceLock<Vec<(&str, String)>> = OnceLock::new();
    FAILURES.get_or_init(|| {
        let programs = programs();
        let threads = std::thread::available_parallelism().map_or(2, usize::from);
        let run = |share: &[Program]| {
            let mut failures = Vec::new();
            for program in share {
                let built = build(program);
                for (name, check) in CHECKS {
                    if let Err(failure) = built.as_ref().map_err(String::clone).and_then(check) {
                        failures.push((name, format!("{}: {failure}\n  {program:?}", program.kernel.name())));
                    }
                }
            }
            failures
        };
        std::thread::scope(|scope| {
            let shares = programs.chunks(programs.len().div_ceil(threads));
            let running: Vec<_> = shares.map(|share| scope.spawn(move || run(share))).collect();
            running.into_iter().flat_map(|thread| thread.join().expect("a check that does not panic")).collect()
        })
    })
}

fn assert_every_program_passes(check: &str) {
    assert!(CHECKS.iter().any(|(name, _)| *name == check), "there is no check {check}");
    let failed: Vec<&str> =
        failures().iter().filter(|(name, _)| *name == check).map(|(_, text)| text.as_str()).collect();
    let first = failed.iter().take(3).copied().collect::<Vec<_>>().join("\n\n");
    assert!(failed.is_empty(), "{} of {} programs, as\n{first}", failed.len(), programs().len());
}

fn ensure(holds: bool, what: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(what()) }
}

#[test]
fn the_programs_are_many_and_of_every_kernel() {
    let programs = programs();
    assert!(programs.len() >= 200, "{} programs", programs.len());
    for kernel in Kernel::ALL {
        assert!(programs.iter().any(|p| p.kernel == kernel), "no program of {}", kernel.name());
    }
    let walks: HashSet<_> = programs.iter().map(|p| (p.kernel, p.walk, p.aligned, p.access)).collect();
    assert!(walks.len() >= 30, "{} ways through a tensor", walks.len());
    let merging = programs.iter().filter(|p| p.few_records > 0);
    let merging: HashSet<_> = merging.map(|p| (p.kernel, p.walk, p.aligned, p.few_records)).collect();
    for kernel in [Kernel::ScaleShift, Kernel::BackwardInput] {
        for (walk, aligned) in [(Walk::Along, true), (Walk::Along, false), (Walk::Rows, true), (Walk::Rows, false)] {
            let found = [2, 4].map(|few| merging.contains(&(kernel, Some(walk), aligned, few)));
            assert!(found.contains(&true), "{} {} aligned {aligned}: {found:?}", kernel.name(), walk.name());
        }
    }
    assert!([2, 4].iter().all(|few| merging.iter().any(|m| m.3 == *few)), "{merging:?}");
    for kernel in [Kernel::MomentsPartial, Kernel::BackwardPartial] {
        for walk in [Walk::Along, Walk::Lanes, Walk::Together, Walk::Columns, Walk::Rows] {
            // Moments alone go along planes that end together.
            if walk == Walk::Together && kernel == Kernel::BackwardPartial {
                continue;
            }
            let finishing = programs.iter().any(|p| p.whole_channels && p.kernel == kernel && p.walk == Some(walk));
            assert!(finishing, "none of {} {} finishes its channels", kernel.name(), walk.name());
        }
    }
}

// ---- Translation.

/// Whether a device must have integers of 64 bits, which neither GLSL ES nor Direct3D's shader model 5.1 has.
fn is_wide(built: &Built) -> bool {
    built.program.access == Access::Wide
}

const RESTRICT: BoundsCheckPolicies = BoundsCheckPolicies {
    index: BoundsCheckPolicy::Restrict,
    buffer: BoundsCheckPolicy::Restrict,
    image_load: BoundsCheckPolicy::Restrict,
    binding_array: BoundsCheckPolicy::Unchecked,
};

/// SPIR-V of the oldest version that wgpu asks for, with the capabilities that every device has, and of the newest.
fn spirv(built: &Built, lang_version: (u8, u8)) -> Result<(), String> {
    let mut capabilities = vec![spv::Capability::Shader, spv::Capability::Matrix];
    if is_wide(built) {
        capabilities.push(spv::Capability::Int64);
    }
    let options = spv::Options {
        lang_version,
        flags: spv::WriterFlags::empty(),
        capabilities: Some(capabilities.into_iter().collect()),
        fake_missing_bindings: true,
        bounds_check_policies: RESTRICT,
        zero_initialize_workgroup_memory: spv::ZeroInitializeWorkgroupMemoryMode::None,
        force_loop_bounding: true,
        ..Default::default()
    };
    let pipeline = spv::PipelineOptions {
        shader_stage: ShaderStage::Compute,
        entry_point: built.program.kernel.name().to_owned(),
    };
    let words = spv::write_vec(&built.fixed, &built.info, &options, Some(&pipeline))
        .map_err(|e| format!("SPIR-V {lang_version:?}: {e}"))?;
    ensure(words.first() == Some(&0x0723_0203), || format!("SPIR-V {lang_version:?}: no magic number"))
}

fn metal(built: &Built) -> Result<String, String> {
    let entry = built.program.kernel.name().to_owned();
    let mut resources = msl::EntryPointResources { sizes_buffer: Some(30), ..Default::default() };
    for (_, variable) in built.fixed.global_variables.iter() {
        if let Some(binding) = variable.binding {
            let mutable =
                matches!(variable.space, AddressSpace::Storage { access } if access.contains(StorageAccess::STORE));
            let target = msl::BindTarget { buffer: Some(binding.binding as u8), mutable, ..Default::default() };
            resources.resources.insert(binding, target);
        }
    }
    let options = msl::Options {
        lang_version: if is_wide(built) { (2, 3) } else { (2, 0) },
        per_entry_point_map: [(entry.clone(), resources)].into_iter().collect(),
        fake_missing_bindings: false,
        bounds_check_policies: RESTRICT,
        zero_initialize_workgroup_memory: false,
        force_loop_bounding: true,
        ..Default::default()
    };
    let pipeline = msl::PipelineOptions { entry_point: Some((ShaderStage::Compute, entry)), ..Default::default() };
    let (text, info) =
        msl::write_string(&built.fixed, &built.info, &options, &pipeline).map_err(|e| format!("MSL: {e}"))?;
    info.entry_point_names.into_iter().try_for_each(|name| name.map(drop).map_err(|e| format!("MSL: {e}")))?;
    Ok(text)
}

fn direct3d(built: &Built, shader_model: hlsl::ShaderModel) -> Result<String, String> {
    let options = hlsl::Options {
        shader_model,
        fake_missing_bindings: true,
        zero_initialize_workgroup_memory: false,
        restrict_indexing: true,
        force_loop_bounding: true,
        ..Default::default()
    };
    let entry_point = Some((ShaderStage::Compute, built.program.kernel.name().to_owned()));
    let pipeline = hlsl::PipelineOptions { entry_point };
    let mut text = String::new();
    let info = hlsl::Writer::new(&mut text, &options, &pipeline)
        .write(&built.fixed, &built.info, None)
        .map_err(|e| format!("HLSL {shader_model:?}: {e}"))?;
    let failed = |e| format!("HLSL {shader_model:?}: {e}");
    info.entry_point_names.into_iter().try_for_each(|name| name.map(drop).map_err(failed))?;
    Ok(text)
}

fn gles(built: &Built) -> Result<(), String> {
    let options = glsl::Options {
        version: glsl::Version::new_gles(310),
        writer_flags: glsl::WriterFlags::ADJUST_COORDINATE_SPACE,
        zero_initialize_workgroup_memory: false,
        ..Default::default()
    };
    let pipeline = glsl::PipelineOptions {
        shader_stage: ShaderStage::Compute,
        entry_point: built.program.kernel.name().to_owned(),
        multiview: None,
    };
    let mut text = String::new();
    glsl::Writer::new(&mut text, &built.fixed, &built.info, &options, &pipeline, RESTRICT)
        .and_then(|mut writer| writer.write())
        .map(drop)
        .map_err(|e| format!("GLSL ES 3.10: {e}"))
}

/// Where translations go for compilers of their own languages to judge, and whether those of all programs do:
/// `cargo xtask shader-check` sets it.
fn folder() -> Option<(&'static Path, bool)> {
    static FOLDER: OnceLock<Option<(PathBuf, bool)>> = OnceLock::new();
    let read =
        || Some((std::env::var_os("BATCHNORM_TRANSLATIONS")?.into(), std::env::var_os("BATCHNORM_SLOW").is_some()));
    FOLDER.get_or_init(read).as_ref().map(|(folder, all)| (folder.as_path(), *all))
}

/// Writes what Direct3D and Metal are given, each with the program that it was on its first line.
fn write(built: &Built, folder: &Path) -> Result<(), String> {
    let program = format!("{:?}", built.program);
    let mut hasher = DefaultHasher::new();
    (&built.text, &program).hash(&mut hasher);
    let stem = format!("{}.{:016x}", built.program.kernel.name(), hasher.finish());
    let mut texts = vec![("metal", metal(built)?), ("sm60.hlsl", direct3d(built, hlsl::ShaderModel::V6_0)?)];
    if !is_wide(built) {
        texts.push(("sm51.hlsl", direct3d(built, hlsl::ShaderModel::V5_1)?));
    }
    for (extension, text) in texts {
        let file = folder.join(format!("{stem}.{extension}"));
        std::fs::write(&file, format!("// {program}\n{text}")).map_err(|e| format!("{}: {e}", file.display()))?;
    }
    Ok(())
}

fn translates(built: &Built) -> Result<(), String> {
    let chosen = is_translated(&built.program);
    if let Some((folder, all)) = folder()
        && (chosen || all)
    {
        write(built, folder)?;
    }
    if !chosen {
        return Ok(());
    }
    spirv(built, (1, 0))?;
    spirv(built, (1, 6))?;
    metal(built)?;
    direct3d(built, hlsl::ShaderModel::V6_0)?;
    if is_wide(built) {
        return Ok(());
    }
    direct3d(built, hlsl::ShaderModel::V5_1)?;
    gles(built)
}

#[test]
fn every_program_translates_to_the_language_of_every_back_end() {
    assert_every_program_passes("translation");
}

// ---- What is bound.

fn binds(built: &Built) -> Result<(), String> {
    let program = &built.program;
    let arguments = program.arguments();
    let mut expected = BTreeMap::from([(0, ("uniform_parameters", false, false))]);
    for (index, (argument, written)) in arguments.iter().enumerate() {
        let read_write = shader::is_read_write(program, *argument, *written);
        expected.insert(index as u32 + 1, (argument.name(), true, read_write));
    }
    let mut bound = BTreeMap::new();
    for (_, variable) in built.module.global_variables.iter() {
        let Some(binding) = variable.binding else { continue };
        ensure(binding.group == 0, || format!("group {}", binding.group))?;
        let (storage, read_write) = match variable.space {
            AddressSpace::Storage { access } => (true, access.contains(StorageAccess::STORE)),
            _ => (false, false),
        };
        let name = variable.name.as_deref().unwrap_or_default();
        ensure(bound.insert(binding.binding, (name, storage, read_write)).is_none(), || format!("{name} twice"))?;
    }
    ensure(bound == expected, || format!("binds {bound:?} and not {expected:?}"))?;
    let distinct: HashSet<_> = arguments.iter().map(|(argument, _)| argument).collect();
    ensure(distinct.len() == arguments.len(), || format!("an argument twice: {arguments:?}"))?;
    ensure(arguments.len() <= 8, || format!("{} storage buffers", arguments.len()))?;
    // What is only ever read is never asked for as written, and the other way about.
    let entry = built.info.get_entry_point(0);
    for (handle, variable) in built.fixed.global_variables.iter() {
        let name = variable.name.as_deref().unwrap_or_default();
        let stores = entry[handle].contains(naga::valid::GlobalUse::WRITE);
        let written = arguments.iter().any(|(argument, written)| argument.name() == name && *written);
        ensure(variable.binding.is_none() || !stores || written, || format!("{name} is written"))?;
        ensure(!written || stores, || format!("{name} is never written"))?;
    }
    Ok(())
}

#[test]
fn every_program_binds_its_arguments_in_order_and_at_most_eight() {
    assert_every_program_passes("bindings");
}

fn fits(built: &Built) -> Result<(), String> {
    let entries = &built.fixed.entry_points;
    ensure(entries.len() == 1 && built.module.entry_points.len() == 1, || "not one entry point".to_owned())?;
    let entry = &entries[0];
    ensure(entry.name == built.program.kernel.name(), || format!("entry point {}", entry.name))?;
    ensure(entry.stage == ShaderStage::Compute, || format!("{:?}", entry.stage))?;
    let size = entry.workgroup_size;
    ensure(size == [built.program.workgroup_size, 1, 1], || format!("workgroup size {size:?}"))?;
    ensure(size[0] <= 256 && size[0].is_power_of_two(), || format!("workgroup size {size:?}"))?;
    let mut layouter = Layouter::default();
    layouter.update(built.fixed.to_ctx()).map_err(|e| e.to_string())?;
    let workgroup = built.fixed.global_variables.iter().filter(|(_, v)| v.space == AddressSpace::WorkGroup);
    let bytes: u32 = workgroup.map(|(_, v)| layouter[v.ty].size.next_multiple_of(16)).sum();
    ensure(bytes <= 16_384, || format!("{bytes} bytes of workgroup memory"))
}

#[test]
fn every_program_fits_the_smallest_workgroup_that_webgpu_promises() {
    assert_every_program_passes("workgroup");
}

// ---- The uniform.

/// The members of the Rust struct, and where they lie.
fn parameters() -> Vec<(&'static str, u32)> {
    macro_rules! members {
        ($($name:ident)*) => { [$((stringify!($name), offset_of!(Parameters, $name) as u32)),*] };
    }
    members![
        outer channels inner elements window grid_width workgroups first_part first_column column_count slots
        planes_per_part phases chunk chunks columns rows rows_per_part values epsilon momentum zero
    ]
    .to_vec()
}

fn has_the_parameters(built: &Built) -> Result<(), String> {
    let structs = built.module.types.iter().find(|(_, ty)| ty.name.as_deref() == Some("Parameters"));
    let Some((_, ty)) = structs else { return Err("no Parameters".to_owned()) };
    let TypeInner::Struct { members, span } = &ty.inner else { return Err("Parameters is no struct".to_owned()) };
    ensure(*span as usize == size_of::<Parameters>(), || format!("{span} bytes"))?;
    let found: Vec<_> = members.iter().map(|m| (m.name.as_deref().unwrap_or_default(), m.offset)).collect();
    ensure(found == parameters(), || format!("{found:?}"))?;
    for member in members {
        let float = matches!(member.name.as_deref(), Some("epsilon" | "momentum"));
        let scalar = if float { Scalar::F32 } else { Scalar::U32 };
        let inner = &built.module.types[member.ty].inner;
        ensure(*inner == TypeInner::Scalar(scalar), || format!("{:?} is {inner:?}", member.name))?;
    }
    Ok(())
}

#[test]
fn the_parameters_in_rust_and_in_wgsl_are_one_struct() {
    assert_eq!(parameters().len() * 4, size_of::<Parameters>(), "a member of the Rust struct is not named here");
    assert_every_program_passes("uniform");
}

// ---- What devices do not do alike.

fn functions(module: &Module) -> impl Iterator<Item = &naga::Function> {
    module.functions.iter().map(|(_, f)| f).chain(module.entry_points.iter().map(|e| &e.function))
}

fn is_portable(built: &Built) -> Result<(), String> {
    for module in [&built.module, &built.fixed] {
        let expressions = functions(module).flat_map(|f| f.expressions.iter());
        for (_, expression) in module.global_expressions.iter().chain(expressions) {
            let finite = match expression {
                Expression::Literal(Literal::F32(value)) => value.is_finite(),
                Expression::Literal(Literal::F64(value)) => value.is_finite(),
                Expression::Literal(Literal::AbstractFloat(value)) => value.is_finite(),
                _ => true,
            };
            ensure(finite, || format!("{expression:?}"))?;
        }
        for (_, ty) in module.types.iter() {
            let float = matches!(ty.inner, TypeInner::Atomic(scalar) if scalar.kind == ScalarKind::Float);
            ensure(!float, || "an atomic float".to_owned())?;
        }
    }
    ensure(!built.text.contains("enable "), || "an extension of WGSL".to_owned())
}

#[test]
fn no_program_writes_an_infinity_or_adds_floats_atomically() {
    assert_every_program_passes("portability");
}

// ---- Barriers.

/// What calls of a function are told apart by: which arguments are alike in all lanes, and whether all lanes call.
type Call = (Handle<naga::Function>, Vec<bool>, bool);

/// Which values are alike in all lanes of a workgroup, after the rules of WGSL but blind to order: a variable that is
/// once given a value that differs, or given one where lanes have parted, differs everywhere. naga's own analysis takes
/// every variable and argument to differ, which would forbid every loop around a barrier.
struct Uniformity<'a> {
    module: &'a Module,
    /// Whether the result of a call is alike in all lanes.
    results: HashMap<Call, bool>,
    violations: Vec<String>,
}

struct Frame<'a> {
    function: &'a naga::Function,
    /// Whether an argument is alike in all lanes.
    arguments: Vec<bool>,
    /// Variables that differ between lanes.
    differing: HashSet<Handle<naga::LocalVariable>>,
    calls: HashMap<Handle<Expression>, bool>,
    violations: Vec<String>,
    result: bool,
}

/// How lanes part in a block.
#[derive(Clone, Copy, Default)]
struct Parted {
    /// Some have returned: until the function ends.
    returned: bool,
    /// Some have left the loop or switch, or gone on with its next trip.
    left: bool,
}

impl Frame<'_> {
    fn is_uniform(&self, module: &Module, handle: Handle<Expression>) -> bool {
        let all = |handles: &[Handle<Expression>]| handles.iter().all(|h| self.is_uniform(module, *h));
        match &self.function.expressions[handle] {
            Expression::Literal(_) | Expression::Constant(_) | Expression::Override(_) | Expression::ZeroValue(_) => {
                true
            }
            Expression::FunctionArgument(index) => self.arguments[*index as usize],
            Expression::GlobalVariable(variable) => match module.global_variables[*variable].space {
                AddressSpace::Uniform => true,
                AddressSpace::Storage { access } => !access.contains(StorageAccess::STORE),
                _ => false,
            },
            Expression::LocalVariable(variable) => !self.differing.contains(variable),
            Expression::CallResult(_) => self.calls.get(&handle).copied().unwrap_or(true),
            Expression::Compose { components, .. } => all(components),
            Expression::Access { base, index } => all(&[*base, *index]),
            Expression::AccessIndex { base, .. } => all(&[*base]),
            Expression::Splat { value, .. } => all(&[*value]),
            Expression::Swizzle { vector, .. } => all(&[*vector]),
            Expression::Load { pointer } => all(&[*pointer]),
            Expression::Unary { expr, .. } | Expression::As { expr, .. } => all(&[*expr]),
            Expression::Binary { left, right, .. } => all(&[*left, *right]),
            Expression::Select { condition, accept, reject } => all(&[*condition, *accept, *reject]),
            Expression::Relational { argument, .. } => all(&[*argument]),
            Expression::Math { arg, arg1, arg2, arg3, .. } => {
                [Some(*arg), *arg1, *arg2, *arg3].into_iter().flatten().all(|h| self.is_uniform(module, h))
            }
            _ => false,
        }
    }

    /// The variable that a pointer leads to.
    fn variable(&self, pointer: Handle<Expression>) -> Option<Handle<naga::LocalVariable>> {
        match &self.function.expressions[pointer] {
            Expression::LocalVariable(variable) => Some(*variable),
            Expression::Access { base, .. } | Expression::AccessIndex { base, .. } => self.variable(*base),
            _ => None,
        }
    }
}

impl<'a> Uniformity<'a> {
    fn of(module: &'a Module) -> Vec<String> {
        let mut analysis = Self { module, results: HashMap::new(), violations: Vec::new() };
        for entry in &module.entry_points {
            let alike = |argument: &naga::FunctionArgument| {
                let binding = argument.binding.as_ref();
                matches!(binding, Some(naga::Binding::BuiltIn(BuiltIn::WorkGroupId | BuiltIn::NumWorkGroups)))
            };
            let arguments = entry.function.arguments.iter().map(alike).collect();
            analysis.function(&entry.function, arguments, false);
        }
        analysis.violations
    }

    /// Whether the result is alike in all lanes.
    fn function(&mut self, function: &'a naga::Function, arguments: Vec<bool>, parted: bool) -> bool {
        let mut frame = Frame {
            function,
            arguments,
            differing: HashSet::new(),
            calls: HashMap::new(),
            violations: Vec::new(),
            result: true,
        };
        loop {
            let before = (frame.differing.len(), frame.calls.values().filter(|alike| !**alike).count());
            frame.violations.clear();
            self.block(&mut frame, &function.body, parted);
            if before == (frame.differing.len(), frame.calls.values().filter(|alike| !**alike).count()) {
                break;
            }
        }
        self.violations.append(&mut frame.violations);
        frame.result
    }

    fn block(&mut self, frame: &mut Frame<'a>, block: &'a naga::Block, parted: bool) -> Parted {
        let mut out = Parted::default();
        for statement in block {
            let parted = parted || out.returned || out.left;
            let more = self.statement(frame, statement, parted);
            out = Parted { returned: out.returned || more.returned, left: out.left || more.left };
        }
        out
    }

    fn statement(&mut self, frame: &mut Frame<'a>, statement: &'a Statement, parted: bool) -> Parted {
        let module = self.module;
        match statement {
            Statement::ControlBarrier(_) | Statement::WorkGroupUniformLoad { .. } => {
                if parted {
                    let name = frame.function.name.as_deref().unwrap_or("the entry point");
                    frame.violations.push(format!("a barrier in {name} where lanes have parted"));
                }
                Parted::default()
            }
            Statement::Block(block) => self.block(frame, block, parted),
            Statement::If { condition, accept, reject } => {
                let inside = parted || !frame.is_uniform(module, *condition);
                let (yes, no) = (self.block(frame, accept, inside), self.block(frame, reject, inside));
                Parted { returned: yes.returned || no.returned, left: yes.left || no.left }
            }
            Statement::Switch { selector, cases } => {
                let inside = parted || !frame.is_uniform(module, *selector);
                let mut out = Parted::default();
                for case in cases {
                    let one = self.block(frame, &case.body, inside || out.left);
                    // A `continue` leaves the loop around the switch; a `break` does not, but counts for it here.
                    out = Parted { returned: out.returned || one.returned, left: out.left || one.left };
                }
                out.left = out.left && cases.iter().any(|case| continues(&case.body));
                out
            }
            Statement::Loop { body, continuing, break_if } => {
                let mut inside = parted;
                loop {
                    let trip = self.block(frame, body, inside);
                    let parted_now = inside || trip.left || trip.returned;
                    self.block(frame, continuing, parted_now);
                    let ends_unlike = break_if.is_some_and(|condition| !frame.is_uniform(module, condition));
                    // What parts the lanes in one trip has parted them in the next.
                    if !inside && (parted_now || ends_unlike) {
                        inside = true;
                        continue;
                    }
                    return Parted { returned: trip.returned, left: false };
                }
            }
            Statement::Break | Statement::Continue => Parted { returned: false, left: parted },
            Statement::Return { value } => {
                let alike = !parted && value.is_none_or(|value| frame.is_uniform(module, value));
                frame.result &= alike;
                Parted { returned: parted, left: false }
            }
            Statement::Store { pointer, value } => {
                let alike = !parted && frame.is_uniform(module, *value) && index_is_uniform(frame, module, *pointer);
                if let (false, Some(variable)) = (alike, frame.variable(*pointer)) {
                    frame.differing.insert(variable);
                }
                Parted::default()
            }
            Statement::Call { function, arguments, result } => {
                // What a callee may write through a pointer is taken to differ.
                let pointed: Vec<_> = arguments.iter().filter_map(|argument| frame.variable(*argument)).collect();
                frame.differing.extend(pointed);
                let alike: Vec<bool> = arguments.iter().map(|a| frame.is_uniform(module, *a)).collect();
                let call = (*function, alike.clone(), parted);
                let known = self.results.get(&call).copied();
                let value = known.unwrap_or_else(|| {
                    let outer = std::mem::take(&mut self.violations);
                    let value = self.function(&module.functions[*function], alike, parted);
                    frame.violations.append(&mut std::mem::replace(&mut self.violations, outer));
                    // Violations are told at each call, so only a clean call is remembered.
                    if frame.violations.is_empty() {
                        self.results.insert(call, value);
                    }
                    value
                });
                if let Some(result) = result {
                    let entry = frame.calls.entry(*result).or_insert(true);
                    *entry &= value && !parted;
                }
                Parted::default()
            }
            _ => Parted::default(),
        }
    }
}

/// Whether the place in a variable that a pointer leads to is alike in all lanes.
fn index_is_uniform(frame: &Frame<'_>, module: &Module, pointer: Handle<Expression>) -> bool {
    match &frame.function.expressions[pointer] {
        Expression::Access { base, index } => {
            frame.is_uniform(module, *index) && index_is_uniform(frame, module, *base)
        }
        Expression::AccessIndex { base, .. } => index_is_uniform(frame, module, *base),
        _ => true,
    }
}

/// Whether a block of a switch goes on with the next trip of the loop around it.
fn continues(block: &naga::Block) -> bool {
    block.iter().any(|statement| match statement {
        Statement::Continue => true,
        Statement::Block(block) => continues(block),
        Statement::If { accept, reject, .. } => continues(accept) || continues(reject),
        Statement::Switch { cases, .. } => cases.iter().any(|case| continues(&case.body)),
        _ => false,
    })
}

fn synchronises(built: &Built) -> Result<(), String> {
    let violations = Uniformity::of(&built.fixed);
    ensure(violations.is_empty(), || violations.join("; "))
}

#[test]
fn barriers_are_reached_by_all_lanes_of_a_workgroup_or_by_none() {
    assert_every_program_passes("barriers");
    let barriers = |p: &Program| shader::text(p).contains("Barrier()");
    assert!(programs().iter().any(barriers), "nothing was looked at");
}

/// A kernel around a body that may use `lane`, `id`, `given` (a uniform), `words` (read and written), `shared_word`.
fn violations_of(body: &str, functions: &str) -> Vec<String> {
    let text = format!(
        "@group(0) @binding(0) var<uniform> given: vec4<u32>;
        @group(0) @binding(1) var<storage, read_write> words: array<u32>;
        var<workgroup> shared_word: u32;
        {functions}
        @compute @workgroup_size(64)
        fn main(@builtin(workgroup_id) id: vec3<u32>, @builtin(local_invocation_index) lane: u32) {{ {body} }}"
    );
    let (module, _) = read(&text, Capabilities::empty()).expect("a test's own shader");
    Uniformity::of(&module)
}

#[test]
fn a_barrier_that_some_lanes_may_miss_is_found() {
    let helper = "fn wait() { workgroupBarrier(); } fn twice(n: u32) { if (n < 2u) { wait(); } }
        fn touch(p: ptr<function, u32>) { *p = words[0]; } fn own(lane: u32) -> u32 { return lane * 2u; }
        fn early(n: u32) -> u32 { if (n == 3u) { return 1u; } return 2u; }";
    for body in [
        "if (lane < 32u) { workgroupBarrier(); }",
        "if (lane < 32u) { } else { storageBarrier(); }",
        "if (lane < 32u) { wait(); }",
        "twice(lane);",
        "if (lane == 0u) { return; } workgroupBarrier();",
        "for (var i = lane; i < 64u; i += 8u) { workgroupBarrier(); }",
        "for (var i = 0u; i < 64u; i += 8u) { if (words[i] == 0u) { break; } workgroupBarrier(); }",
        "for (var i = 0u; i < 64u; i += 8u) { workgroupBarrier(); if (lane == i) { break; } }",
        "for (var i = 0u; i < 64u; i += 8u) { if (lane == i) { continue; } workgroupBarrier(); }",
        "loop { workgroupBarrier(); continuing { break if lane == 3u; } }",
        "loop { if (given.x == 1u) { break; } if (lane == 2u) { return; } workgroupBarrier(); }",
        "switch lane { case 1u: { workgroupBarrier(); } default: {} }",
        "switch given.x { case 1u: { if (lane == 0u) { break; } workgroupBarrier(); } default: {} }",
        "loop { switch given.x { case 1u: { if (lane == 0u) { continue; } } default: { break; } } workgroupBarrier(); \
         if (given.y == 1u) { break; } }",
        "var n = 0u; if (lane == 1u) { n = 5u; } if (n == 5u) { workgroupBarrier(); }",
        "var n = array<u32, 4>(); n[lane % 4u] = 1u; if (n[0] == 1u) { workgroupBarrier(); }",
        "var n = 0u; touch(&n); if (n == 5u) { workgroupBarrier(); }",
        "if (own(lane) == 4u) { workgroupBarrier(); }",
        "if (early(lane) == 1u) { workgroupBarrier(); }",
        "if (shared_word == 4u) { workgroupBarrier(); }",
        "if (given.x == 1u && lane < 3u) { workgroupBarrier(); }",
        "if (lane < 3u) { let n = workgroupUniformLoad(&shared_word); words[0] = n; }",
    ] {
        assert!(!violations_of(body, helper).is_empty(), "not found: {body}");
    }
}

#[test]
fn a_barrier_that_all_lanes_reach_is_left_alone() {
    let helper = "fn wait(lane: u32, kept: u32) -> u32 { var total = lane;
        for (var span = 32u; span >= kept; span /= 2u) { workgroupBarrier(); if (lane < span) { total += 1u; } } return total; }
        fn early(n: u32) -> u32 { if (n == 3u) { return 1u; } return 2u; }";
    for body in [
        "if (id.x >= given.x) { return; } workgroupBarrier();",
        "words[lane] = wait(lane, given.y);",
        "for (var i = lane; i < 64u; i += 8u) { if (words[i] == 0u) { continue; } words[i] = 0u; } storageBarrier();",
        "if (lane == 1u) { words[0] = 1u; } workgroupBarrier();",
        "words[lane] = early(lane); workgroupBarrier();",
        "switch lane { case 1u: { words[0] = 1u; } default: {} } workgroupBarrier();",
        "for (var i = 0u; i < given.x; i += 1u) { if (i == given.y) { break; } workgroupBarrier(); }",
    ] {
        let violations = violations_of(body, helper);
        assert!(violations.is_empty(), "{violations:?}: {body}");
    }
}
