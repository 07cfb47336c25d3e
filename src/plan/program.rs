//! The kernels, what each binds, and which variants of them exist.

use crate::dtype::DType;

/// What a dispatch computes; a stem that shader file, entry point and label share.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kernel {
    /// Moments of one part of each channel.
    MomentsPartial,
    /// Records of each channel into the saved statistics, and these into normalisers.
    MomentsMerge,
    /// Running statistics from the saved ones.
    RunningUpdate,
    /// Normalise, scale, shift.
    ScaleShift,
    /// All of training, where channels fit the registers of a workgroup.
    TrainingResident,
    /// Sums of backward over one part of each channel.
    BackwardPartial,
    /// Sums of each channel into gradients and coefficients.
    BackwardMerge,
    /// Gradient of the input.
    BackwardInput,
    /// All of backward, where channels fit the registers of a workgroup.
    BackwardResident,
}

impl Kernel {
    /// Every kernel.
    pub const ALL: [Kernel; 9] = [
        Kernel::MomentsPartial,
        Kernel::MomentsMerge,
        Kernel::RunningUpdate,
        Kernel::ScaleShift,
        Kernel::TrainingResident,
        Kernel::BackwardPartial,
        Kernel::BackwardMerge,
        Kernel::BackwardInput,
        Kernel::BackwardResident,
    ];

    /// The stem: file, entry point and label.
    pub const fn name(self) -> &'static str {
        match self {
            Kernel::MomentsPartial => "moments_partial",
            Kernel::MomentsMerge => "moments_merge",
            Kernel::RunningUpdate => "running_update",
            Kernel::ScaleShift => "scale_shift",
            Kernel::BackwardPartial => "backward_partial",
            Kernel::BackwardMerge => "backward_merge",
            Kernel::BackwardInput => "backward_input",
            Kernel::TrainingResident => "training_resident",
            Kernel::BackwardResident => "backward_resident",
        }
    }

    /// Whether it prepares what maps the values of a channel: resident training makes that from what it holds.
    pub const fn prepares(self) -> bool {
        matches!(self, Self::ScaleShift | Self::BackwardPartial | Self::BackwardInput | Self::BackwardResident)
    }

    /// Whether it holds whole channels in registers, so that each value is read once.
    pub const fn is_resident(self) -> bool {
        matches!(self, Kernel::TrainingResident | Kernel::BackwardResident)
    }
}

/// How a kernel goes through a tensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Walk {
    /// Along the planes of one channel (reduction), or of neighbouring ones (elementwise).
    Along,
    /// Along the planes of channels, each lane along its own (reduction).
    Lanes,
    /// Along neighbouring planes that end together where a quad ends, each lane along its own (reduction of moments).
    Together,
    /// Down rows after which the channels repeat, each lane at one column.
    Columns,
    /// Along rows after which the channels repeat, each lane at several columns, so that rows are swept in order.
    Rows,
    /// In groups of 32 elements, one to an invocation, which owns that word of the mask.
    Groups,
}

impl Walk {
    /// The name that tables print.
    pub const fn name(self) -> &'static str {
        match self {
            Walk::Along => "along planes",
            Walk::Lanes => "along planes, lane by lane",
            Walk::Together => "along planes that end together",
            Walk::Columns => "down columns",
            Walk::Rows => "along rows",
            Walk::Groups => "in groups of 32",
        }
    }
}

/// How wide an access to a tensor is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Access {
    /// Four elements at a time.
    Quad,
    /// Four elements at a time, in words of 64 bits: half as many components as a quad's.
    Wide,
    /// One storage word at a time: where the element count is not a multiple of 4, so that the last quad is incomplete.
    Word,
    /// One element at a time, neighbours by neighbouring lanes: where a resident channel does not begin with a quad.
    Element,
}

/// Where the statistics come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Statistics {
    /// The batch's own, saved by training.
    Saved,
    /// Given running statistics.
    Running,
}

/// A buffer that a program binds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Argument {
    /// The input.
    X,
    /// Gradient of the output.
    Dy,
    /// Added before the activation.
    Residual,
    /// Saved statistics.
    Saved,
    /// Running mean.
    RunningMean,
    /// Running variance.
    RunningVariance,
    /// Batch counter.
    Batches,
    /// Scale.
    Gamma,
    /// Shift.
    Beta,
    /// One bit per element where z is positive.
    Mask,
    /// Output.
    Y,
    /// Gradient of the input.
    Dx,
    /// Gradient of the residual.
    Dresidual,
    /// Gradient of gamma.
    Dgamma,
    /// Gradient of beta.
    Dbeta,
    /// Moments records of parts; scratch, unless the caller brings them.
    Records,
    /// Sums of backward of parts; scratch, unless the caller brings them.
    Sums,
    /// Coefficients of dx; scratch, unless the caller brings them.
    Coefficients,
    /// What maps x of each channel to z, (K, d, gamma · inverse_std, beta); scratch.
    Normalisers,
    /// One moments record per channel.
    Merged,
    /// One pair of sums per channel.
    MergedSums,
}

impl Argument {
    /// The name in WGSL, in Rust and in errors.
    pub const fn name(self) -> &'static str {
        match self {
            Argument::X => "x",
            Argument::Dy => "dy",
            Argument::Residual => "residual",
            Argument::Saved => "saved",
            Argument::RunningMean => "running_mean",
            Argument::RunningVariance => "running_variance",
            Argument::Batches => "batches",
            Argument::Gamma => "gamma",
            Argument::Beta => "beta",
            Argument::Mask => "mask",
            Argument::Y => "y",
            Argument::Dx => "dx",
            Argument::Dresidual => "dresidual",
            Argument::Dgamma => "dgamma",
            Argument::Dbeta => "dbeta",
            Argument::Records => "records",
            Argument::Sums => "sums",
            Argument::Coefficients => "coefficients",
            Argument::Normalisers => "normalisers",
            Argument::Merged => "merged",
            Argument::MergedSums => "merged_sums",
        }
    }

    /// Whether it is a tensor `[outer, channels, inner]` in the storage type, which windows cut.
    pub const fn is_tensor(self) -> bool {
        matches!(
            self,
            Argument::X | Argument::Dy | Argument::Residual | Argument::Y | Argument::Dx | Argument::Dresidual
        )
    }

    /// Whether it lies in the operation's scratch, unless the caller brings it.
    pub const fn is_scratch(self) -> bool {
        matches!(self, Argument::Records | Argument::Sums | Argument::Coefficients | Argument::Normalisers)
    }

    /// Bytes per channel of what is not a tensor and has one entry per channel (or per record).
    pub const fn bytes_per_channel(self) -> u64 {
        match self {
            Argument::Saved | Argument::Records | Argument::Merged | Argument::Normalisers => 16,
            Argument::Sums | Argument::MergedSums | Argument::Coefficients => 8,
            _ => 4,
        }
    }
}

/// Whether a dispatch binds an argument for writing: scratch lies in one buffer, whose usage in a dispatch must be one and the
/// same, so that what it only reads of scratch is bound as what it writes there.
pub(crate) fn written_with(arguments: &[(Argument, bool)], argument: Argument, written: bool) -> bool {
    written || (argument.is_scratch() && arguments.iter().any(|(other, written)| other.is_scratch() && *written))
}

/// One variant of one kernel: everything that its text and its override constants depend on.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Program {
    /// What it computes.
    pub kernel: Kernel,
    /// How it goes through the tensor, for the kernels that do.
    pub walk: Option<Walk>,
    /// How the tensors are stored.
    pub dtype: DType,
    /// How wide an access is.
    pub access: Access,
    /// Whether no quad is shared by planes that a lane does not go along together; along rows, whether every group of columns
    /// is full and every row complete; in a resident kernel, whether every lane has all its blocks.
    pub aligned: bool,
    /// Where the statistics come from.
    pub statistics: Statistics,
    /// Whether gamma is read.
    pub gamma: bool,
    /// Whether beta is read.
    pub beta: bool,
    /// Whether negative z become 0.
    pub relu: bool,
    /// Whether a residual is added (forward) or passed on to (backward).
    pub residual: bool,
    /// Whether the mask of the ReLU is kept: written by forward, read by backward.
    pub mask: bool,
    /// Whether the gradient of gamma is written (by what has all sums of a channel), added to where `accumulate`.
    pub dgamma: bool,
    /// Whether the gradient of beta is written (likewise), added to where `accumulate`.
    pub dbeta: bool,
    /// Whether parameter gradients are added to what is there.
    pub accumulate: bool,
    /// Whether the coefficients of dx are written, where it [`finishes`](Self::finishes).
    pub coefficients: bool,
    /// Whether the saved statistics are written, where it finishes.
    pub saved: bool,
    /// Whether the normaliser of each channel is written, where it finishes, or read from there in place of its statistics and
    /// parameters (elementwise).
    pub normalisers: bool,
    /// Whether one record per channel is written, where it finishes, or a channel's count is read from one.
    pub merged: bool,
    /// Whether one pair of sums per channel is written, where it finishes.
    pub merged_sums: bool,
    /// Whether each channel is one part of a reduction, so that this finishes it and no merge follows.
    pub whole_channels: bool,
    /// Records of a channel that an elementwise kernel merges for itself, at most: 2 or 4; 0 where a dispatch of its own merges them.
    pub few_records: u32,
    /// Whether the weight of the new value is read from the batch counter.
    pub cumulative: bool,
    /// Whether a batch counter goes up.
    pub counted: bool,
    /// Whether the running variance is unbiased.
    pub unbiased: bool,
    /// Whether every storage binding is `read_write`, because two arguments share a buffer.
    pub shared: bool,
    /// Whether the output is written over the input, in one binding.
    pub in_place: bool,
    /// Whether differences are guarded against a driver that reassociates.
    pub guarded: bool,
    /// Invocations per workgroup.
    pub workgroup_size: u32,
    /// Lanes in x where lanes are two-dimensional.
    pub lanes_x: u32,
    /// Columns that a lane holds along rows; planes that it goes along where these end together; quads of a channel that it holds
    /// in a resident kernel.
    pub blocks: u32,
    /// Quads that a lane fetches before it writes, in an elementwise kernel along planes or down columns.
    pub trip: u32,
    /// Planes that a quad can reach into, where that matters: 1, 2 (the first and the last element's) or 4.
    pub quad_planes: u32,
}

impl Program {
    /// A kernel with nothing optional.
    pub fn new(kernel: Kernel, workgroup_size: u32) -> Self {
        Self {
            kernel,
            walk: None,
            dtype: DType::F32,
            access: Access::Quad,
            aligned: true,
            statistics: Statistics::Saved,
            gamma: false,
            beta: false,
            relu: false,
            residual: false,
            mask: false,
            dgamma: false,
            dbeta: false,
            accumulate: false,
            coefficients: false,
            saved: true,
            normalisers: false,
            merged: false,
            merged_sums: false,
            whole_channels: false,
            few_records: 0,
            cumulative: false,
            counted: false,
            unbiased: false,
            shared: false,
            in_place: false,
            guarded: false,
            workgroup_size,
            lanes_x: 1,
            blocks: 1,
            trip: 1,
            quad_planes: 1,
        }
    }

    /// The same without what its kernel has no use for, so that no two programs are compiled to one.
    pub fn settled(self) -> Self {
        let arguments = self.arguments();
        let bound = |wanted: Argument| arguments.iter().any(|(argument, _)| *argument == wanted);
        Self {
            gamma: bound(Argument::Gamma),
            beta: bound(Argument::Beta),
            relu: self.relu && self.kernel != Kernel::MomentsPartial,
            accumulate: self.accumulate && (self.dgamma || self.dbeta),
            quad_planes: if self.tells_planes() { self.quad_planes } else { 1 },
            ..self
        }
    }

    /// Whether it treats the planes of a quad apart: where it prepares what maps the values of each channel, or leaves
    /// records of columns.
    pub fn tells_planes(&self) -> bool {
        let down_columns = matches!(self.walk, Some(Walk::Columns | Walk::Rows));
        self.kernel.prepares() || (self.kernel == Kernel::MomentsPartial && down_columns)
    }

    /// Whether it reads the normaliser of each channel as what finished that left it.
    pub fn reads_normalisers(&self) -> bool {
        self.normalisers && self.kernel == Kernel::ScaleShift
    }

    /// Whether it makes normalisers from statistics, gamma and beta.
    pub fn finds_normalisers(&self) -> bool {
        if self.normalisers { self.finishes() } else { self.kernel.prepares() }
    }

    /// Whether it has all values of a channel in one record, and leaves what comes of them: a merge, or a reduction of which each
    /// channel is one part.
    pub fn finishes(&self) -> bool {
        self.finishes_moments() || self.finishes_sums()
    }

    /// Whether it finishes with the moments of a channel.
    pub fn finishes_moments(&self) -> bool {
        self.kernel == Kernel::MomentsMerge || (self.kernel == Kernel::MomentsPartial && self.whole_channels)
    }

    /// Whether it finishes with the sums of a channel.
    pub fn finishes_sums(&self) -> bool {
        self.kernel == Kernel::BackwardMerge || (self.kernel == Kernel::BackwardPartial && self.whole_channels)
    }

    /// The reduction that leaves for each channel what this merge would.
    pub fn finished_by(self, reduction: Self) -> Self {
        Self {
            whole_channels: true,
            saved: self.saved,
            normalisers: self.normalisers,
            merged: self.merged,
            merged_sums: self.merged_sums,
            coefficients: self.coefficients,
            dgamma: self.dgamma,
            dbeta: self.dbeta,
            accumulate: self.accumulate,
            ..reduction
        }
    }

    /// Whether it writes for each channel what it merged of it.
    pub fn writes_merged(&self) -> bool {
        self.few_records > 0 && (self.kernel == Kernel::ScaleShift || self.dgamma || self.dbeta)
    }

    /// The storage buffers that the program binds, in order, and whether it writes them: binding 0 is the parameters,
    /// binding 1 the first of these. At most as many as the device binds, eight on the floor, which a test holds.
    pub fn arguments(&self) -> Vec<(Argument, bool)> {
        use Argument::*;
        let mut list = Vec::with_capacity(8);
        let mut add = |present: bool, argument: Argument, written: bool| {
            if present {
                list.push((argument, written));
            }
        };
        let saved = self.statistics == Statistics::Saved;
        match self.kernel {
            Kernel::MomentsPartial if !self.whole_channels => {
                add(true, X, false);
                add(true, Records, true);
            }
            Kernel::MomentsPartial | Kernel::MomentsMerge => {
                add(self.kernel == Kernel::MomentsPartial, X, false);
                add(self.kernel == Kernel::MomentsMerge, Records, false);
                add(self.normalisers && self.gamma, Gamma, false);
                add(self.normalisers && self.beta, Beta, false);
                add(self.saved, Saved, true);
                add(self.merged, Merged, true);
                add(self.normalisers, Normalisers, true);
            }
            Kernel::RunningUpdate => {
                add(true, Saved, false);
                add(self.merged, Merged, false);
                add(true, RunningMean, true);
                add(true, RunningVariance, true);
                add(self.counted || self.cumulative, Batches, true);
            }
            Kernel::ScaleShift => {
                add(!self.in_place, X, false);
                add(self.residual, Residual, false);
                add(self.few_records > 0, Records, false);
                add(self.normalisers, Normalisers, false);
                add(saved && !self.normalisers, Saved, self.few_records > 0);
                add(!saved, RunningMean, false);
                add(!saved, RunningVariance, false);
                add(self.gamma && !self.normalisers, Gamma, false);
                add(self.beta && !self.normalisers, Beta, false);
                add(true, Y, true);
                add(self.mask, Mask, true);
            }
            Kernel::TrainingResident => {
                add(!self.in_place, X, false);
                add(self.residual, Residual, false);
                add(self.gamma, Gamma, false);
                add(self.beta, Beta, false);
                add(true, Y, true);
                add(true, Saved, true);
            }
            Kernel::BackwardPartial => {
                add(true, X, false);
                add(true, Dy, false);
                add(saved, Saved, false);
                add(!saved, RunningMean, false);
                add(!saved, RunningVariance, false);
                add(self.gamma && self.relu && !self.mask, Gamma, false);
                add(self.beta && self.relu && !self.mask, Beta, false);
                add(self.mask, Mask, false);
                add(!self.whole_channels, Sums, true);
                add(self.merged_sums, MergedSums, true);
                add(self.coefficients, Coefficients, true);
                add(self.dgamma, Dgamma, true);
                add(self.dbeta, Dbeta, true);
            }
            Kernel::BackwardMerge => {
                add(true, Sums, false);
                add(saved, Saved, false);
                add(!saved, RunningMean, false);
                add(!saved, RunningVariance, false);
                add(self.merged, Merged, false);
                add(self.merged_sums, MergedSums, true);
                add(self.coefficients, Coefficients, true);
                add(self.dgamma, Dgamma, true);
                add(self.dbeta, Dbeta, true);
            }
            Kernel::BackwardInput => {
                add(saved || (self.relu && !self.mask), X, false);
                add(!self.in_place, Dy, false);
                add(saved, Saved, false);
                add(!saved, RunningMean, false);
                add(!saved, RunningVariance, false);
                add(self.gamma, Gamma, false);
                add(self.beta && self.relu && !self.mask, Beta, false);
                add(self.mask, Mask, false);
                add(self.few_records > 0, Sums, false);
                add(saved && self.few_records == 0, Coefficients, false);
                add(true, Dx, true);
                add(self.residual, Dresidual, true);
                add(self.few_records > 0 && self.dgamma, Dgamma, true);
                add(self.few_records > 0 && self.dbeta, Dbeta, true);
            }
            Kernel::BackwardResident => {
                add(true, X, false);
                add(!self.in_place, Dy, false);
                add(saved, Saved, false);
                add(!saved, RunningMean, false);
                add(!saved, RunningVariance, false);
                add(self.gamma, Gamma, false);
                add(self.beta && self.relu, Beta, false);
                add(true, Dx, true);
                add(self.residual, Dresidual, true);
                add(self.dgamma, Dgamma, true);
                add(self.dbeta, Dbeta, true);
            }
        }
        list
    }
}
