//! The best plain copy of a device: what every other kernel is measured by.

use super::{Timer, Work};
use crate::dtype::DType;
use crate::error::Error;
use crate::host::Gpu;
use crate::kernel::guarded;
use crate::plan::{DeviceFacts, grid};

/// Forms that reach the last rounds of the trial, and how many those are.
const FINALISTS: usize = 5;
const FINAL_ROUNDS: usize = 7;

/// What 16 bytes are copied as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CopyWord {
    /// Four words of the tensor's type: two halves are one word.
    Of(DType),
    /// Two words of 64 bits, where shaders have integers of so many ([`DeviceFacts::shader_int64`]).
    Wide,
}

impl CopyWord {
    const fn wgsl(self) -> &'static str {
        match self {
            CopyWord::Of(DType::F32) => "vec4<f32>",
            CopyWord::Of(DType::F16 | DType::Bf16) => "vec4<u32>",
            CopyWord::Wide => "vec2<u64>",
        }
    }
}

/// One way to copy: how many invocations in a workgroup, and how many 16-byte words each workgroup copies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CopyForm {
    /// Invocations per workgroup.
    pub workgroup_size: u32,
    /// Words per workgroup, copied in a loop with four in flight; none: one word per invocation, without a loop.
    pub stretch: Option<u32>,
}

impl CopyForm {
    /// What is tried on a device: every workgroup size from 8 to 256 that it allows, without a loop, with one trip of
    /// four words, and with loops over 16 KiB, 64 KiB and 256 KiB.
    pub fn candidates(facts: &DeviceFacts) -> Vec<Self> {
        let sizes = [8, 16, 32, 64, 128, 256].into_iter().filter(|&size| size <= facts.workgroup_size);
        let forms = |workgroup_size| {
            [None, Some(4 * workgroup_size), Some(1 << 10), Some(1 << 12), Some(1 << 14)]
                .map(|stretch| Self { workgroup_size, stretch })
        };
        let mut list: Vec<Self> = sizes.flat_map(forms).collect();
        // At 256 invocations one trip is the shortest loop.
        list.dedup();
        list
    }
}

impl std::fmt::Display for CopyForm {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.stretch {
            None => write!(f, "{} × 1 word", self.workgroup_size),
            Some(stretch) => write!(f, "{} × {} words", self.workgroup_size, stretch / self.workgroup_size),
        }
    }
}

/// The WGSL of a form, and its entry point.
fn text(form: CopyForm, word: CopyWord) -> (String, &'static str) {
    let (text, entry) = match form.stretch {
        None => (include_str!("../../../shaders/copy_once.wgsl"), "copy_once"),
        Some(_) => (include_str!("../../../shaders/copy_loop.wgsl"), "copy_loop"),
    };
    (text.replace("alias Word = vec4<f32>;", &format!("alias Word = {};", word.wgsl())), entry)
}

/// A copy in one form, compiled.
#[derive(Clone, Debug)]
pub struct CopyKernel {
    form: CopyForm,
    pipeline: wgpu::ComputePipeline,
    layout: wgpu::BindGroupLayout,
}

/// A copy between two buffers, ready to be recorded.
#[derive(Debug)]
pub struct Copy {
    pipeline: wgpu::ComputePipeline,
    /// One bind group and grid for each stretch that fits a binding.
    steps: Vec<(wgpu::BindGroup, [u32; 3])>,
}

impl CopyKernel {
    /// Compiles a form.
    ///
    /// # Errors
    /// [`Error::Device`] if the device refuses it
    pub fn new(gpu: &Gpu, form: CopyForm, word: CopyWord) -> Result<Self, Error> {
        let (text, entry) = text(form, word);
        let mut constants = vec![("WORKGROUP_SIZE", f64::from(form.workgroup_size))];
        constants.extend(form.stretch.map(|stretch| ("STRETCH", f64::from(stretch))));
        let device = gpu.device();
        guarded(device, "batchnorm.copy", || {
            let module = device.create_shader_module(wgpu::ShaderModuleDescriptor {
                label: Some("batchnorm.copy"),
                source: wgpu::ShaderSource::Wgsl(text.into()),
            });
            let entry_of = |binding, read_only| wgpu::BindGroupLayoutEntry {
                binding,
                visibility: wgpu::ShaderStages::COMPUTE,
                ty: wgpu::BindingType::Buffer {
                    ty: wgpu::BufferBindingType::Storage { read_only },
                    has_dynamic_offset: false,
                    min_binding_size: None,
                },
                count: None,
            };
            let layout = device.create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor {
                label: Some("batchnorm.copy"),
                entries: &[entry_of(0, true), entry_of(1, false)],
            });
            let pipeline_layout = device.create_pipeline_layout(&wgpu::PipelineLayoutDescriptor {
                label: Some("batchnorm.copy"),
                bind_group_layouts: &[Some(&layout)],
                immediate_size: 0,
            });
            let pipeline = device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
                label: Some("batchnorm.copy"),
                layout: Some(&pipeline_layout),
                module: &module,
                entry_point: Some(entry),
                compilation_options: wgpu::PipelineCompilationOptions {
                    constants: &constants,
                    zero_initialize_workgroup_memory: false,
                },
                cache: None,
            });
            Self { form, pipeline, layout }
        })
    }

    /// The form.
    pub fn form(&self) -> CopyForm {
        self.form
    }

    /// Binds the first `bytes` bytes (rounded up to 16) of two buffers.
    ///
    /// # Errors
    /// [`Error::TooSmall`] · [`Error::DeviceLimit`] · [`Error::Device`]
    pub fn bind(&self, gpu: &Gpu, from: &wgpu::Buffer, to: &wgpu::Buffer, bytes: u64) -> Result<Copy, Error> {
        let facts = gpu.norms().facts();
        let needed = bytes.next_multiple_of(16);
        for (argument, buffer) in [("from", from), ("to", to)] {
            if buffer.size() < needed {
                return Err(Error::TooSmall { argument, bytes: buffer.size(), needed });
            }
        }
        // A binding starts at a multiple of the device's alignment.
        let grain = facts.offset_alignment.max(16);
        let most = (facts.binding_bytes / grain * grain).max(grain);
        let per_workgroup = 16 * u64::from(self.form.stretch.unwrap_or(self.form.workgroup_size));
        let device = gpu.device();
        let mut steps = Vec::new();
        for offset in (0..needed).step_by(most as usize) {
            let size = (needed - offset).min(most);
            let grid = grid(size.div_ceil(per_workgroup), facts)?;
            let entry = |binding, buffer| wgpu::BindGroupEntry {
                binding,
                resource: wgpu::BindingResource::Buffer(wgpu::BufferBinding {
                    buffer,
                    offset,
                    size: wgpu::BufferSize::new(size),
                }),
            };
            let group = guarded(device, "the bind group of a copy", || {
                device.create_bind_group(&wgpu::BindGroupDescriptor {
                    label: Some("batchnorm.copy"),
                    layout: &self.layout,
                    entries: &[entry(0, from), entry(1, to)],
                })
            })?;
            steps.push((group, grid));
        }
        Ok(Copy { pipeline: self.pipeline.clone(), steps })
    }

    /// The form that copies fastest between these pairs of buffers, by a short trial: each candidate in turn, those
    /// left behind dropped after each round.
    ///
    /// # Errors
    /// As [`CopyKernel::bind`] and [`Timer::measure`] · [`Error::Missing`] without a pair.
    pub async fn best(timer: &Timer, pairs: &[[&wgpu::Buffer; 2]], bytes: u64, word: CopyWord) -> Result<Self, Error> {
        if pairs.is_empty() {
            return Err(Error::Missing { argument: "pairs", reason: "a copy goes from one buffer to another" });
        }
        let gpu = timer.gpu();
        let mut field: Vec<(Self, Vec<Copy>)> = Vec::new();
        for form in CopyForm::candidates(gpu.norms().facts()) {
            let kernel = Self::new(gpu, form, word)?;
            let copies =
                pairs.iter().map(|[from, to]| kernel.bind(gpu, from, to, bytes)).collect::<Result<Vec<_>, _>>()?;
            field.push((kernel, copies));
        }
        let works: Vec<Work> =
            field.iter().map(|(_, copies)| Work::new(|pass, set| copies[set % copies.len()].record(pass))).collect();
        let mut racing: Vec<(usize, Vec<f64>)> = (0..works.len()).map(|index| (index, Vec::new())).collect();
        let least = |times: &[f64]| times.iter().copied().fold(f64::INFINITY, f64::min);
        // A form behind by this much after so few rounds will not win; noise disturbs the least of a few least.
        for (behind, most) in [(2.0, usize::MAX), (1.5, 12), (1.25, FINALISTS)] {
            for (index, times) in &mut racing {
                times.push(timer.measure(&works[*index]).await?);
            }
            racing.sort_by(|a, b| least(&a.1).total_cmp(&least(&b.1)));
            let limit = racing.first().map_or(0.0, |best| least(&best.1) * behind);
            racing.retain(|(_, times)| least(times) <= limit);
            racing.truncate(most);
        }
        // Among the last, luck must not decide: medians of rounds in turn.
        for _ in 0..FINAL_ROUNDS {
            for (index, times) in &mut racing {
                times.push(timer.measure(&works[*index]).await?);
            }
        }
        let median = |times: &[f64]| super::Spread::of(times).median;
        let winner = racing.iter().min_by(|a, b| median(&a.1).total_cmp(&median(&b.1))).map(|(index, _)| *index);
        drop(works);
        let winner = winner.and_then(|index| field.into_iter().nth(index)).map(|(kernel, _)| kernel);
        winner.ok_or(Error::NoAdapter("no form of a copy suits the device".to_owned()))
    }
}

impl Copy {
    /// Records the copy.
    pub fn record(&self, pass: &mut wgpu::ComputePass<'_>) {
        pass.set_pipeline(&self.pipeline);
        for (group, [x, y, z]) in &self.steps {
            pass.set_bind_group(0, group, &[]);
            pass.dispatch_workgroups(*x, *y, *z);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_is_what_the_text_copies() {
        for stretch in [None, Some(64)] {
            let form = CopyForm { workgroup_size: 8, stretch };
            let words = DType::ALL.map(CopyWord::Of).into_iter().chain([CopyWord::Wide]);
            for word in words {
                let (text, entry) = text(form, word);
                assert!(text.contains(&format!("alias Word = {};", word.wgsl())), "{text}");
                assert!(text.contains(&format!("fn {entry}(")), "{text}");
                assert_eq!(text.matches("array<Word>").count(), 2, "{text}");
            }
        }
    }
}
