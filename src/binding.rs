//! From argument to checked binding.

use wgpu::{BufferSlice, BufferUsages};

use crate::config::Config;
use crate::dtype::DType;
use crate::error::Error;
use crate::plan::{Argument, DeviceFacts, Operation, ParameterGradients, Plan, Window, written_with};
use crate::shape::Shape;

/// The slices that an operation was given, each checked.
#[derive(Debug)]
pub(crate) struct Bindings<'a> {
    slices: Vec<(Argument, BufferSlice<'a>, u64)>,
}

impl<'a> Bindings<'a> {
    /// Checks what was given against what the plan binds.
    ///
    /// Pure: nothing is created, recorded or sent to the device.
    pub(crate) fn check(
        given: &[(Argument, Option<BufferSlice<'a>>)],
        plan: &Plan,
        shape: &Shape,
        config: &Config,
        facts: &DeviceFacts,
    ) -> Result<Self, Error> {
        let mut uses: Vec<(Argument, bool)> = Vec::new();
        for (argument, written) in plan.dispatches.iter().flat_map(|d| d.program.arguments()) {
            match uses.iter_mut().find(|u| u.0 == argument) {
                Some(found) => found.1 |= written,
                None => uses.push((argument, written)),
            }
        }
        let mut slices = Vec::with_capacity(given.len());
        for &(argument, slice) in given {
            let used = uses.iter().any(|u| u.0 == argument);
            match slice {
                Some(slice) => {
                    if let Some(reason) = has_no_use(argument, plan.operation, config) {
                        return Err(Error::Unexpected { argument: argument.name(), reason });
                    }
                    let bytes = plan.argument_bytes(argument, shape, config.dtype);
                    check_slice(argument.name(), slice, bytes, facts)?;
                    if used {
                        slices.push((argument, slice, bytes));
                    }
                }
                None if used => {
                    return Err(Error::Missing { argument: argument.name(), reason: needed_for(argument) });
                }
                None => {}
            }
        }
        let bindings = Self { slices };
        let written = |argument| uses.iter().any(|u| u.0 == argument && u.1);
        for (index, &(first, a, a_bytes)) in bindings.slices.iter().enumerate() {
            for &(second, b, b_bytes) in &bindings.slices[index + 1..] {
                if a.buffer() != b.buffer() || !(written(first) || written(second)) {
                    continue;
                }
                let (a_end, b_end) = (a.offset() + a_bytes, b.offset() + b_bytes);
                let apart = a_end <= b.offset() || b_end <= a.offset();
                let in_place = a.offset() == b.offset() && may_be_in_place(first, second);
                if !apart && !in_place {
                    return Err(Error::Overlap {
                        first: first.name(),
                        first_start: a.offset(),
                        first_end: a_end,
                        second: second.name(),
                        second_start: b.offset(),
                        second_end: b_end,
                    });
                }
            }
        }
        Ok(bindings)
    }

    /// Checks that a further slice, which is written, shares no byte with any of these.
    pub(crate) fn check_apart(&self, name: &'static str, slice: BufferSlice<'_>, bytes: u64) -> Result<(), Error> {
        for &(argument, other, other_bytes) in &self.slices {
            let other_end = other.offset() + other_bytes;
            let apart = slice.offset() + bytes <= other.offset() || other_end <= slice.offset();
            if slice.buffer() == other.buffer() && !apart {
                return Err(Error::Overlap {
                    first: name,
                    first_start: slice.offset(),
                    first_end: slice.offset() + bytes,
                    second: argument.name(),
                    second_start: other.offset(),
                    second_end: other_end,
                });
            }
        }
        Ok(())
    }

    pub(crate) fn get(&self, argument: Argument) -> Option<BufferSlice<'a>> {
        self.slices.iter().find(|s| s.0 == argument).map(|s| s.1)
    }

    /// Whether two of these arguments lie in one buffer, one of them written, so that the dispatch must declare them
    /// all alike: a device tracks the usage of a buffer as a whole.
    pub(crate) fn share_a_buffer(&self, arguments: &[(Argument, bool)], scratch: Option<BufferSlice<'_>>) -> bool {
        let bound = |&(argument, written): &(Argument, bool)| {
            // What is scratch elsewhere, the caller may have brought.
            let slice = self.get(argument).or(if argument.is_scratch() { scratch } else { None });
            slice.map(|slice| (slice, written_with(arguments, argument, written)))
        };
        let bound: Vec<_> = arguments.iter().filter_map(bound).collect();
        bound.iter().enumerate().any(|(index, &(a, a_written))| {
            bound[index + 1..].iter().any(|&(b, b_written)| a.buffer() == b.buffer() && a_written != b_written)
        })
    }

    /// Whether two arguments are the same bytes.
    pub(crate) fn same_place(&self, first: Argument, second: Argument) -> bool {
        match (self.get(first), self.get(second)) {
            (Some(a), Some(b)) => a.buffer() == b.buffer() && a.offset() == b.offset(),
            _ => false,
        }
    }
}

/// Why a configuration has no use for an argument, so that giving it is a mistake. What backward needs in some cases alone
/// may always be given.
fn has_no_use(argument: Argument, operation: Operation, config: &Config) -> Option<&'static str> {
    let gradients = operation.gradients();
    let (has, reason) = match argument {
        Argument::Dx | Argument::Dresidual if gradients.is_some_and(|wanted| !wanted.input) => {
            (false, "the gradients asked for do not include the input's")
        }
        Argument::Dgamma | Argument::Dbeta
            if gradients.is_some_and(|wanted| wanted.parameters == ParameterGradients::None) =>
        {
            (false, "the gradients asked for do not include the parameters'")
        }
        Argument::Gamma | Argument::Dgamma => (config.gamma, "the configuration has no gamma"),
        Argument::Beta | Argument::Dbeta => (config.beta, "the configuration has no beta"),
        Argument::Residual | Argument::Dresidual => (config.residual, "the configuration has no residual"),
        Argument::RunningMean | Argument::RunningVariance if operation == Operation::Training => {
            (config.running_update, "the configuration has no running_update")
        }
        Argument::Batches => (config.counts(), "the configuration does not count batches"),
        _ => (true, ""),
    };
    (!has).then_some(reason)
}

/// What an argument that may be absent is needed for.
fn needed_for(argument: Argument) -> &'static str {
    match argument {
        Argument::RunningMean | Argument::RunningVariance => "the configuration has a running_update",
        Argument::Batches => "the configuration counts batches, or averages cumulatively",
        Argument::Mask => "backward of a ReLU after a residual needs it",
        Argument::Dx => "the gradients asked for include the input's",
        Argument::Dgamma | Argument::Dbeta => "the gradients asked for include the parameters'",
        Argument::Coefficients => "the gradients asked for include the input's",
        Argument::Merged => "Count::Merged takes the count from it",
        _ => "the configuration needs it",
    }
}

/// The elementwise kernels read a quad before they write it, so that an output may lie exactly over its input.
fn may_be_in_place(first: Argument, second: Argument) -> bool {
    matches!(
        (first, second),
        (Argument::X, Argument::Y)
            | (Argument::Y, Argument::X)
            | (Argument::Dy, Argument::Dx)
            | (Argument::Dx, Argument::Dy)
    )
}

/// Size, alignment and usage of one slice.
pub(crate) fn check_slice(
    argument: &'static str,
    slice: BufferSlice<'_>,
    needed: u64,
    facts: &DeviceFacts,
) -> Result<(), Error> {
    if slice.size() < needed {
        return Err(Error::TooSmall { argument, bytes: slice.size(), needed });
    }
    let alignment = facts.offset_alignment;
    if !slice.offset().is_multiple_of(alignment) {
        return Err(Error::Misaligned { argument, offset: slice.offset(), alignment });
    }
    let usage = slice.buffer().usage();
    if !usage.contains(BufferUsages::STORAGE) {
        return Err(Error::MissingUsage { argument, usage: "STORAGE", has: format!("{usage:?}") });
    }
    Ok(())
}

/// The binding of a slice, or of a window of it.
pub(crate) fn resource<'a>(
    slice: BufferSlice<'a>,
    bytes: u64,
    window: Option<Window>,
    dtype: DType,
) -> wgpu::BindingResource<'a> {
    let (offset, size) = match window {
        Some(window) => (window.first_element * dtype.bytes(), dtype.tensor_bytes(window.elements)),
        None => (0, bytes),
    };
    wgpu::BindingResource::Buffer(wgpu::BufferBinding {
        buffer: slice.buffer(),
        offset: slice.offset() + offset,
        size: wgpu::BufferSize::new(size),
    })
}
