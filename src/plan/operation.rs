//! From shape, configuration and device to the dispatches of an operation.

use super::geometry::{Geometry, grid, scratch_allowed};
use super::tuning::{TRIPS, most_lanes};
use super::{Access, Argument, DeviceFacts, Dispatch, Kernel, Parameters, Program, Statistics, Tuning, Walk};
use crate::config::{Activation, Config, Momentum, RunningVariance};
use crate::dtype::DType;
use crate::error::Error;
use crate::shape::Shape;

/// What is to be computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Operation {
    /// Normalise with the batch's own statistics and save them.
    Training,
    /// Normalise with given statistics.
    Inference,
    /// Normalise with given statistics and keep what [`Operation::FrozenBackward`] needs: the mask of a ReLU that
    /// follows a residual.
    FrozenForward,
    /// Gradients through [`Operation::Training`].
    Backward(Gradients),
    /// Gradients through [`Operation::FrozenForward`].
    FrozenBackward(Gradients),
    /// A part of training: one moments record per channel.
    Moments,
    /// A part of training: this many records per channel into the saved statistics and one record.
    Merge(u32),
    /// A part of training: the running statistics follow the saved ones.
    RunningUpdate(Count),
    /// A part of training: normalise with saved statistics.
    ScaleShift,
    /// A part of backward: one pair of sums per channel.
    BackwardSums,
    /// A part of backward: this many pairs of sums per channel into gradients and coefficients.
    BackwardMerge(u32, Gradients, Count),
    /// A part of backward: the gradient of the input from coefficients.
    BackwardInput,
}

/// Where the values per channel, m, are known from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Count {
    /// From the shape.
    Shape,
    /// From the merged record of each channel, read on the device: a batch of several parts.
    Merged,
}

impl Operation {
    /// The gradients asked for, of an operation that writes any.
    pub(crate) const fn gradients(self) -> Option<Gradients> {
        match self {
            Operation::Backward(gradients)
            | Operation::FrozenBackward(gradients)
            | Operation::BackwardMerge(_, gradients, _) => Some(gradients),
            _ => None,
        }
    }

    /// The name that tables and files use.
    pub const fn name(self) -> &'static str {
        match self {
            Operation::Training => "training",
            Operation::Inference => "inference",
            Operation::FrozenForward => "frozen forward",
            Operation::Backward(_) => "backward",
            Operation::FrozenBackward(_) => "frozen backward",
            Operation::Moments => "moments",
            Operation::Merge(_) => "merge",
            Operation::RunningUpdate(_) => "running update",
            Operation::ScaleShift => "scale and shift",
            Operation::BackwardSums => "backward sums",
            Operation::BackwardMerge(..) => "backward merge",
            Operation::BackwardInput => "backward input",
        }
    }

    /// Whether tensors are among its arguments; what goes through records and channels alone knows a whole batch only by
    /// its shape.
    const fn takes_tensors(self) -> bool {
        !matches!(self, Operation::Merge(_) | Operation::RunningUpdate(_) | Operation::BackwardMerge(..))
    }
}

/// Which gradients a backward operation writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Gradients {
    /// Whether dx is written (and dresidual, where there is a residual).
    pub input: bool,
    /// What happens to dgamma and dbeta.
    pub parameters: ParameterGradients,
}

impl Gradients {
    /// dx, dgamma and dbeta, each overwritten.
    pub const ALL: Gradients = Gradients { input: true, parameters: ParameterGradients::Overwrite };
    /// dx alone.
    pub const INPUT: Gradients = Gradients { input: true, parameters: ParameterGradients::None };
    /// dgamma and dbeta alone, overwritten.
    pub const PARAMETERS: Gradients = Gradients { input: false, parameters: ParameterGradients::Overwrite };
}

/// What happens to the gradients of gamma and beta.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ParameterGradients {
    /// They are not wanted.
    None,
    /// They replace what is there.
    Overwrite,
    /// They are added to what is there.
    Accumulate,
}

/// The dispatches of one operation, and what they cost.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// What is computed.
    pub operation: Operation,
    /// The dispatches, in order.
    pub dispatches: Vec<Dispatch>,
    /// Where each scratch argument lies: first byte and size.
    pub scratch: Vec<(Argument, u64, u64)>,
    /// Size of the scratch in bytes.
    pub scratch_bytes: u64,
    /// Bytes that must move between memory and kernels, tensors and per-channel values together.
    pub bytes_moved: u64,
    /// Why the tensor is walked as it is.
    pub reason: &'static str,
}

/// Bytes of the mask that a ReLU after a residual leaves for backward: one bit per element in flat order, in `u32`
/// words.
pub fn mask_bytes(shape: &Shape) -> u64 {
    u64::from(shape.elements().div_ceil(32)) * 4
}

/// Why nothing goes through a tensor that has no elements.
const EMPTY: &str = "the batch is empty";

/// Records of a channel that an elementwise kernel can merge for itself: one to each strand of a quad.
const MOST_FEW_RECORDS: u32 = 4;

struct Planner<'a> {
    shape: &'a Shape,
    config: &'a Config,
    facts: &'a DeviceFacts,
    tuning: Tuning,
    dispatches: Vec<Dispatch>,
}

impl Plan {
    /// Plans an operation. Pure: the same arguments give the same plan.
    ///
    /// # Errors
    /// What [`Config::validate`] refuses · [`Error::TooFewValues`] where an unbiased running variance is asked for and
    /// a channel has one value · [`Error::DeviceLimit`] where the device cannot bind or index as much
    pub fn new(
        operation: Operation,
        shape: &Shape,
        config: &Config,
        facts: &DeviceFacts,
        tuning: &Tuning,
    ) -> Result<Self, Error> {
        config.validate()?;
        let tensor = config.dtype.tensor_bytes(u64::from(shape.elements()));
        if operation.takes_tensors() && tensor > facts.buffer_bytes {
            return Err(Error::DeviceLimit {
                what: "the tensor",
                needed: tensor,
                limit: facts.buffer_bytes,
                name: "max_buffer_size",
            });
        }
        let mut planner = Planner { shape, config, facts, tuning: tuning.fitted(facts), dispatches: Vec::new() };
        let empty = shape.elements() == 0;
        let per_channel = 4 * u64::from(shape.channels());
        let mut external = Vec::new();
        let (bytes_moved, reason) = match operation {
            Operation::Training => {
                let unbiased = config.running_update && config.running_variance == RunningVariance::Unbiased;
                if unbiased && shape.values_per_channel() == 1 {
                    return Err(Error::TooFewValues { values: 1 });
                }
                let (tensors, reason) = planner.training()?;
                if config.running_update && !empty {
                    planner.running_update(Count::Shape)?;
                }
                (tensors * tensor + 8 * per_channel, reason)
            }
            Operation::Inference | Operation::FrozenForward => {
                let mut reason = EMPTY;
                if !empty {
                    let mask = operation == Operation::FrozenForward && planner.keeps_mask();
                    reason = planner.apply(planner.elementwise(Kernel::ScaleShift, Statistics::Running, mask))?;
                }
                (2 * tensor + 4 * per_channel, reason)
            }
            Operation::Backward(gradients) => planner.backward(gradients, Statistics::Saved)?,
            Operation::FrozenBackward(gradients) => planner.backward(gradients, Statistics::Running)?,
            Operation::Moments => {
                let merge = Program::new(Kernel::MomentsMerge, planner.tuning.merge_lanes);
                let reason = planner.reduce_and_apply(Program { saved: false, merged: true, ..merge }, None)?;
                (tensor + 4 * per_channel, reason)
            }
            Operation::Merge(records) => {
                let merge = Program::new(Kernel::MomentsMerge, planner.tuning.merge_lanes);
                planner.per_channel(Program { merged: true, ..merge }, records)?;
                external.push(Argument::Records);
                ((8 + 4 * u64::from(records)) * per_channel, "records alone")
            }
            Operation::RunningUpdate(count) => {
                let unbiased = config.running_variance == RunningVariance::Unbiased;
                if unbiased && count == Count::Shape && shape.values_per_channel() == 1 {
                    return Err(Error::TooFewValues { values: 1 });
                }
                if !(empty && count == Count::Shape) {
                    planner.running_update(count)?;
                }
                (8 * per_channel, "channels alone")
            }
            Operation::ScaleShift => {
                let mut reason = EMPTY;
                if !empty {
                    let mask = planner.keeps_mask();
                    reason = planner.apply(planner.elementwise(Kernel::ScaleShift, Statistics::Saved, mask))?;
                }
                (2 * tensor + 6 * per_channel, reason)
            }
            Operation::BackwardSums => {
                let merge = Program::new(Kernel::BackwardMerge, planner.tuning.merge_lanes);
                let reason = planner.reduce_and_apply(Program { merged_sums: true, ..merge }, None)?;
                (2 * tensor + 6 * per_channel, reason)
            }
            Operation::BackwardMerge(records, gradients, count) => {
                let written = gradients.parameters != ParameterGradients::None;
                let program = Program {
                    dgamma: written && config.gamma,
                    dbeta: written && config.beta,
                    accumulate: gradients.parameters == ParameterGradients::Accumulate,
                    coefficients: gradients.input,
                    merged: count == Count::Merged,
                    ..Program::new(Kernel::BackwardMerge, planner.tuning.merge_lanes)
                };
                planner.per_channel(program, records)?;
                external.extend([Argument::Sums, Argument::Coefficients]);
                ((8 + 2 * u64::from(records)) * per_channel, "sums alone")
            }
            Operation::BackwardInput => {
                let mut reason = EMPTY;
                if !empty {
                    let mask = planner.keeps_mask();
                    reason = planner.apply(planner.elementwise(Kernel::BackwardInput, Statistics::Saved, mask))?;
                }
                external.push(Argument::Coefficients);
                (3 * tensor + 8 * per_channel, reason)
            }
        };
        let dispatches = planner.dispatches;
        let adds = |d: &Dispatch| {
            d.program.arguments().iter().any(|a| matches!(a.0, Argument::Residual | Argument::Dresidual))
        };
        let residual = if dispatches.iter().any(adds) { tensor } else { 0 };
        let mut plan = Self { operation, dispatches, scratch: Vec::new(), scratch_bytes: 0, bytes_moved, reason };
        plan.bytes_moved += residual;
        plan.lay_out_scratch(shape, facts, &external)?;
        for dispatch in &plan.dispatches {
            let needed = dispatch.program.arguments().len() as u64;
            if needed > u64::from(facts.storage_buffers) {
                return Err(Error::DeviceLimit {
                    what: dispatch.program.kernel.name(),
                    needed,
                    limit: u64::from(facts.storage_buffers),
                    name: "max_storage_buffers_per_shader_stage",
                });
            }
            // Tensors are cut into windows; what else is bound, is bound whole.
            for (argument, _) in dispatch.program.arguments() {
                let whole = !argument.is_tensor() && (!argument.is_scratch() || external.contains(&argument));
                let needed = if whole { plan.argument_bytes(argument, shape, config.dtype) } else { 0 };
                if needed > facts.binding_bytes {
                    return Err(Error::DeviceLimit {
                        what: argument.name(),
                        needed,
                        limit: facts.binding_bytes,
                        name: "max_storage_buffer_binding_size",
                    });
                }
            }
        }
        Ok(plan)
    }

    fn lay_out_scratch(&mut self, shape: &Shape, facts: &DeviceFacts, external: &[Argument]) -> Result<(), Error> {
        for dispatch in &self.dispatches {
            for (argument, _) in dispatch.program.arguments() {
                let laid_out = external.contains(&argument) || self.scratch.iter().any(|s| s.0 == argument);
                if argument.is_scratch() && !laid_out {
                    let per_part = matches!(argument, Argument::Records | Argument::Sums);
                    let entries = if per_part { dispatch.parameters.slots.max(1) } else { 1 };
                    let bytes = argument.bytes_per_channel() * u64::from(shape.channels()) * u64::from(entries);
                    if bytes > facts.binding_bytes {
                        return Err(Error::DeviceLimit {
                            what: "scratch",
                            needed: bytes,
                            limit: facts.binding_bytes,
                            name: "max_storage_buffer_binding_size",
                        });
                    }
                    let start = self.scratch_bytes.next_multiple_of(facts.offset_alignment.max(16));
                    self.scratch.push((argument, start, bytes));
                    self.scratch_bytes = start + bytes;
                }
            }
        }
        Ok(())
    }

    /// How many bytes of an argument that is not in scratch the operation touches.
    pub fn argument_bytes(&self, argument: Argument, shape: &Shape, dtype: DType) -> u64 {
        let channels = u64::from(shape.channels());
        match (argument, self.operation) {
            (a, _) if a.is_tensor() => dtype.tensor_bytes(u64::from(shape.elements())),
            (Argument::Batches, _) => 4,
            (Argument::Mask, _) => mask_bytes(shape),
            (Argument::Records, Operation::Merge(records)) => {
                argument.bytes_per_channel() * channels * u64::from(records)
            }
            (Argument::Sums, Operation::BackwardMerge(records, ..)) => {
                argument.bytes_per_channel() * channels * u64::from(records)
            }
            (argument, _) => argument.bytes_per_channel() * channels,
        }
    }

    /// The name of the walk of the streaming kernels, for tables.
    pub fn strategy(&self) -> &'static str {
        let streaming = self.dispatches.iter().find_map(|d| Some((d.program.walk?, d.program.kernel.is_resident())));
        match streaming {
            None => "nothing to do",
            Some((Walk::Along, true)) => "resident, along planes",
            Some((_, true)) => "resident, down columns",
            Some((walk, false)) => walk.name(),
        }
    }
}

impl Planner<'_> {
    /// How four elements are accessed.
    fn quads(&self) -> Access {
        if self.tuning.word_bits == 64 { Access::Wide } else { Access::Quad }
    }

    fn program(&self, kernel: Kernel, statistics: Statistics) -> Program {
        Program {
            dtype: self.config.dtype,
            access: if self.shape.elements().is_multiple_of(4) { self.quads() } else { Access::Word },
            statistics,
            gamma: self.config.gamma,
            beta: self.config.beta,
            relu: self.config.activation == Activation::Relu,
            ..Program::new(kernel, 1)
        }
    }

    fn parameters(&self, parameters: Parameters) -> Parameters {
        let momentum = match self.config.momentum {
            Momentum::NewValue(weight) => weight,
            Momentum::Cumulative => 0.0,
        };
        Parameters { epsilon: self.config.epsilon, momentum, ..parameters }
    }

    fn walk(&mut self, program: Program, geometry: &Geometry) -> Result<(), Error> {
        let program = Program {
            walk: Some(geometry.walk),
            workgroup_size: geometry.lanes,
            lanes_x: geometry.lanes_x,
            blocks: geometry.blocks,
            trip: geometry.trip,
            quad_planes: geometry.quad_planes(self.shape.inner()),
            aligned: geometry.aligned,
            ..program
        }
        .settled();
        for (parameters, window) in geometry.windows(self.shape, self.config.dtype, self.facts)? {
            self.dispatches.push(Dispatch {
                program: program.clone(),
                workgroups: grid(u64::from(parameters.workgroups), self.facts)?,
                parameters: self.parameters(parameters),
                window: Some(window),
            });
        }
        Ok(())
    }

    /// Reduces each channel, makes of it what a merge is to leave, and goes through the tensor with that; returns why it goes as
    /// it goes. An empty batch leaves what no record at all comes to.
    fn reduce_and_apply(&mut self, merge: Program, apply: Option<Program>) -> Result<&'static str, Error> {
        if self.shape.elements() == 0 {
            self.per_channel(merge, 0)?;
            return Ok(EMPTY);
        }
        let sums = merge.kernel == Kernel::BackwardMerge;
        let (kernel, geometry) = match sums {
            true => (Kernel::BackwardPartial, Geometry::sums(self.shape, &self.tuning)),
            false => (Kernel::MomentsPartial, Geometry::moments(self.shape, &self.tuning)),
        };
        let slots = geometry.parameters.slots;
        let reducing = Program { mask: sums && self.keeps_mask(), ..self.program(kernel, merge.statistics) };
        // Normalisers always find room where there are no records.
        let normalisers = !sums && apply.is_some();
        let finishing = Program { normalisers, ..merge.clone() }.finished_by(reducing.clone());
        if slots == 1 && finishing.arguments().len() <= self.facts.storage_buffers as usize {
            self.walk(finishing, &geometry)?;
            if let Some(apply) = apply {
                self.apply(Program { normalisers, ..apply })?;
            }
        } else {
            self.walk(reducing, &geometry)?;
            self.merge_and_apply(merge, slots, apply)?;
        }
        Ok(geometry.reason)
    }

    /// Whether backward cannot find the mask of the ReLU again from x alone.
    fn keeps_mask(&self) -> bool {
        self.config.residual && self.config.activation == Activation::Relu
    }

    fn elementwise(&self, kernel: Kernel, statistics: Statistics, mask: bool) -> Program {
        Program { residual: self.config.residual, mask, ..self.program(kernel, statistics) }
    }

    fn elementwise_geometry(&self, program: &Program) -> Geometry {
        match program.kernel {
            Kernel::ScaleShift if program.mask => Geometry::groups(self.shape, &self.tuning),
            _ => Geometry::apply(self.shape, &self.tuning),
        }
    }

    /// An elementwise pass; returns why it goes as it goes.
    fn apply(&mut self, program: Program) -> Result<&'static str, Error> {
        let geometry = self.elementwise_geometry(&program);
        self.walk(program, &geometry)?;
        Ok(geometry.reason)
    }

    /// Merges so many records of each channel and goes through the tensor with what comes of them. Where they are few the
    /// elementwise kernel merges for itself, if its bindings suffice; else, and where no tensor is to be gone through, the merge is
    /// a dispatch of its own.
    fn merge_and_apply(&mut self, merge: Program, slots: u32, apply: Option<Program>) -> Result<(), Error> {
        let Some(apply) = apply else {
            return self.per_channel(merge, slots);
        };
        let merging = Program {
            few_records: slots.next_power_of_two(),
            dgamma: merge.dgamma,
            dbeta: merge.dbeta,
            accumulate: merge.accumulate,
            ..apply.clone()
        };
        let mut geometry = self.elementwise_geometry(&merging);
        if self.merges_itself(&merging, slots, &geometry) {
            geometry.parameters.slots = slots;
            self.walk(merging, &geometry)?;
        } else {
            let normalisers = merge.kernel == Kernel::MomentsMerge && self.has_room_for_normalisers(slots);
            self.per_channel(Program { normalisers, ..merge }, slots)?;
            self.apply(Program { normalisers, ..apply })?;
        }
        Ok(())
    }

    /// Every lane merges what it prepares of a batch, and all workgroups together what is written, so that no window may cut them.
    fn merges_itself(&self, merging: &Program, slots: u32, geometry: &Geometry) -> bool {
        let merges = match merging.statistics {
            Statistics::Saved => geometry.prepared(self.shape),
            // dx needs nothing of it.
            Statistics::Running => self.shape.channels().into(),
        };
        (2..=MOST_FEW_RECORDS).contains(&slots)
            && merges <= u64::from(self.tuning.apply_merges)
            && merging.arguments().len() <= self.facts.storage_buffers as usize
            && self.is_bound_whole_everywhere()
    }

    /// Whether scratch holds, beside so many records of each channel, what every part of the tensor would else find anew.
    fn has_room_for_normalisers(&self, slots: u32) -> bool {
        let channels = u64::from(self.shape.channels());
        let records = Argument::Records.bytes_per_channel() * channels * u64::from(slots);
        // Where any device allows.
        let start = records.next_multiple_of(DeviceFacts::FLOOR.offset_alignment);
        start + Argument::Normalisers.bytes_per_channel() * channels <= scratch_allowed(self.shape)
    }

    /// Whether one binding of any device holds a tensor, of this one, too. What needs all of a tensor in sight asks WebGPU's limit,
    /// so that neither plans nor, where a channel stays resident, bits depend on a device's.
    fn is_bound_whole_everywhere(&self) -> bool {
        let limit = DeviceFacts::FLOOR.binding_bytes;
        self.config.dtype.tensor_bytes(u64::from(self.shape.elements())) <= limit && self.facts.binding_bytes >= limit
    }

    /// All of an operation in one dispatch, where that can be; returns why.
    fn resident(&mut self, program: Program, tensors: u32) -> Result<Option<&'static str>, Error> {
        // A channel lies all over the tensor, which no window shows. The words of a mask are shared by channels.
        if !self.is_bound_whole_everywhere() || self.keeps_mask() {
            return Ok(None);
        }
        let row = if self.shape.inner() == 1 { self.shape.channels() } else { self.shape.inner() };
        let access = match (row.is_multiple_of(4), self.config.dtype) {
            (true, _) => self.quads(),
            (false, DType::F32) => Access::Element,
            // Two channels share a word.
            (false, _) => return Ok(None),
        };
        let Some(geometry) = Geometry::resident(self.shape, access, tensors, &self.tuning) else { return Ok(None) };
        // One dimension of a grid, so that no lane leaves early.
        let per_dimension = DeviceFacts::FLOOR.workgroups_per_dimension;
        if geometry.columns_per_part > per_dimension || self.facts.workgroups_per_dimension < per_dimension {
            return Ok(None);
        }
        let program = Program { access, residual: self.config.residual, ..program };
        if program.arguments().len() > self.facts.storage_buffers as usize {
            return Ok(None);
        }
        self.walk(program, &geometry)?;
        Ok(Some(geometry.reason))
    }

    /// Training without the running update; returns how many times a tensor moves, and why.
    fn training(&mut self) -> Result<(u64, &'static str), Error> {
        if self.shape.elements() > 0 {
            let program = self.program(Kernel::TrainingResident, Statistics::Saved);
            if let Some(reason) = self.resident(program, 1)? {
                return Ok((2, reason));
            }
        }
        let Config { gamma, beta, .. } = *self.config;
        let merge = Program { gamma, beta, ..Program::new(Kernel::MomentsMerge, self.tuning.merge_lanes) };
        let apply = self.elementwise(Kernel::ScaleShift, Statistics::Saved, self.keeps_mask());
        Ok((3, self.reduce_and_apply(merge, Some(apply))?))
    }

    /// A pass over the channels alone, with as many lanes to a channel as its records can use.
    fn per_channel(&mut self, program: Program, slots: u32) -> Result<(), Error> {
        // A trip takes four records.
        let trips = slots.div_ceil(4).max(1);
        let lanes = self.lanes_for(trips);
        let channels = self.shape.channels().max(1);
        // Channels lie side by side, so that a lane to each reads best where they fill the adapter.
        let filled = self.tuning.reduce_workgroups.saturating_mul(self.tuning.reduce_lanes) / channels;
        let helpful = trips.min(filled.max(trips.div_ceil(TRIPS)).max(1)).next_power_of_two().min(lanes);
        let lanes_x = lanes / helpful;
        let workgroups = u64::from(self.shape.channels()).div_ceil(u64::from(lanes_x));
        self.single(Program { workgroup_size: lanes, lanes_x, ..program }, slots, workgroups)
    }

    /// Lanes of a workgroup that shares so many trips among them: a merge's, or more where each would make too many.
    fn lanes_for(&self, trips: u32) -> u32 {
        let needed = trips.div_ceil(TRIPS).next_power_of_two();
        self.tuning.merge_lanes.max(needed).min(most_lanes(self.facts))
    }

    fn single(&mut self, program: Program, slots: u32, workgroups: u64) -> Result<(), Error> {
        let workgroups_2d = grid(workgroups, self.facts)?;
        self.dispatches.push(Dispatch {
            program: program.settled(),
            workgroups: workgroups_2d,
            parameters: self.parameters(Parameters {
                slots,
                workgroups: workgroups as u32,
                grid_width: workgroups_2d[0],
                ..Parameters::of(self.shape)
            }),
            window: None,
        });
        Ok(())
    }

    fn running_update(&mut self, count: Count) -> Result<(), Error> {
        let counted = self.config.counts();
        let lanes = if counted { self.lanes_for(self.shape.channels()) } else { self.tuning.merge_lanes };
        let program = Program {
            cumulative: self.config.momentum == Momentum::Cumulative,
            counted,
            unbiased: self.config.running_variance == RunningVariance::Unbiased,
            merged: count == Count::Merged,
            ..Program::new(Kernel::RunningUpdate, lanes)
        };
        // All lanes read the counter before one writes it, so that they must be one workgroup.
        let workgroups = if program.counted { 1 } else { u64::from(self.shape.channels().div_ceil(lanes)) };
        self.single(program, 0, workgroups)
    }

    fn backward(&mut self, gradients: Gradients, statistics: Statistics) -> Result<(u64, &'static str), Error> {
        let empty = self.shape.elements() == 0;
        let training = statistics == Statistics::Saved;
        let accumulate = gradients.parameters == ParameterGradients::Accumulate;
        let parameters = gradients.parameters != ParameterGradients::None && (self.config.gamma || self.config.beta);
        let tensor = self.config.dtype.tensor_bytes(u64::from(self.shape.elements()));
        let mut bytes = 12 * 4 * u64::from(self.shape.channels());
        // Where the statistics are given and the parameters' gradients not wanted, one pass does already.
        if gradients.input && !empty && (parameters || training) {
            let program = Program {
                dgamma: parameters && self.config.gamma,
                dbeta: parameters && self.config.beta,
                accumulate,
                ..self.program(Kernel::BackwardResident, statistics)
            };
            if let Some(reason) = self.resident(program, 2)? {
                return Ok((bytes + 3 * tensor, reason));
            }
        }
        let mut reason = EMPTY;
        let apply =
            (gradients.input && !empty).then(|| self.elementwise(Kernel::BackwardInput, statistics, self.keeps_mask()));
        if apply.is_some() {
            let reads_x = training || (self.config.activation == Activation::Relu && !self.keeps_mask());
            bytes += (2 + u64::from(reads_x)) * tensor;
        }
        if parameters || (training && gradients.input) {
            bytes += 2 * tensor;
            let program = Program {
                dgamma: parameters && self.config.gamma,
                dbeta: parameters && self.config.beta,
                accumulate,
                coefficients: training && gradients.input && !empty,
                statistics,
                ..Program::new(Kernel::BackwardMerge, self.tuning.merge_lanes)
            };
            reason = self.reduce_and_apply(program, apply)?;
        } else if let Some(apply) = apply {
            reason = self.apply(apply)?;
        }
        Ok((bytes, reason))
    }
}
