//! One shape on the device: buffers, operations, and what is timed.

use wgpu_batchnorm::host::timing::{Copy, CopyKernel, last_level_cache_bytes};
use wgpu_batchnorm::host::{Gpu, encode};
use wgpu_batchnorm::plan::Plan;
use wgpu_batchnorm::{
    BackwardBuffers, Bound, Config, Gradients, InferenceBuffers, Shape, TrainingBuffers, operation, wgpu,
};

use super::Operation;
use super::data::Data;
use crate::failure::Failure;

/// Memory that all sets of buffers of one shape may take, in bytes, unless one set alone takes more.
const MEMORY_BYTES: u64 = 1 << 30;
/// Sets beyond this number cost more to bind than they tell.
const SETS_MAX: u64 = 512;

/// The buffers of one step: every set holds the same values elsewhere in memory.
pub struct Set {
    /// Input.
    pub x: wgpu::Buffer,
    /// Gradient of the output.
    pub dy: wgpu::Buffer,
    /// What the operation writes: y or dx.
    pub out: wgpu::Buffer,
    /// Saved statistics.
    pub saved: wgpu::Buffer,
    /// Gradients of gamma and of beta.
    pub gradients: [wgpu::Buffer; 2],
    /// gamma, beta, running mean, running variance.
    pub parameters: [wgpu::Buffer; 4],
}

/// The operations of one shape, bound to every set.
pub struct Subject {
    /// Its buffers.
    pub sets: Vec<Set>,
    /// Bytes of one tensor.
    pub tensor_bytes: u64,
    inference: (operation::Prepared<operation::Inference>, Vec<Bound>),
    training: (operation::Prepared<operation::Training>, Vec<Bound>),
    backward: (operation::Prepared<operation::Backward>, Vec<Bound>),
}

/// How many sets it takes to leave a cache behind four times over.
pub fn sets_for(set_bytes: u64, cache_bytes: u64) -> u64 {
    let most = (MEMORY_BYTES / set_bytes.max(1)).clamp(1, SETS_MAX);
    // Two at least: a set that is used again at once is found in the cache in part, however large it is.
    (4 * cache_bytes).div_ceil(set_bytes.max(1)).max(2).min(most)
}

impl Set {
    fn new(gpu: &Gpu, shape: &Shape, config: &Config, data: &Data) -> Result<Self, Failure> {
        let tensor = |label, values: &[f32]| gpu.buffer(label, &encode(values.iter().copied(), config.dtype));
        let bytes = config.dtype.tensor_bytes(shape.elements().into());
        let channels = u64::from(shape.channels());
        let parameter = |label, values: &[f32]| gpu.buffer(label, bytemuck::cast_slice(values));
        Ok(Self {
            x: tensor("x", &data.x)?,
            dy: tensor("dy", &data.dy)?,
            out: gpu.empty("out", bytes)?,
            saved: gpu.empty("saved", 16 * channels)?,
            gradients: [gpu.empty("dgamma", 4 * channels)?, gpu.empty("dbeta", 4 * channels)?],
            parameters: [
                parameter("gamma", &data.gamma)?,
                parameter("beta", &data.beta)?,
                parameter("running_mean", &data.mean)?,
                parameter("running_variance", &data.variance)?,
            ],
        })
    }

    fn buffers(&self) -> [&wgpu::Buffer; 10] {
        let ([gamma, beta, mean, variance], [dgamma, dbeta]) = (&self.parameters, &self.gradients);
        [&self.x, &self.dy, &self.out, &self.saved, gamma, beta, mean, variance, dgamma, dbeta]
    }

    fn bytes(&self) -> u64 {
        self.buffers().iter().map(|buffer| buffer.size()).sum()
    }

    /// Another set with the same contents.
    fn another(&self, gpu: &Gpu, encoder: &mut wgpu::CommandEncoder) -> Result<Self, Failure> {
        let mut copy = |from: &wgpu::Buffer| -> Result<wgpu::Buffer, Failure> {
            let to = gpu.empty("set", from.size())?;
            encoder.copy_buffer_to_buffer(from, 0, &to, 0, from.size());
            Ok(to)
        };
        let ([gamma, beta, mean, variance], [dgamma, dbeta]) = (&self.parameters, &self.gradients);
        Ok(Self {
            x: copy(&self.x)?,
            dy: copy(&self.dy)?,
            out: copy(&self.out)?,
            saved: copy(&self.saved)?,
            gradients: [copy(dgamma)?, copy(dbeta)?],
            parameters: [copy(gamma)?, copy(beta)?, copy(mean)?, copy(variance)?],
        })
    }
}

impl Subject {
    /// Uploads, prepares and binds.
    pub fn new(gpu: &Gpu, shape: &Shape, config: &Config, data: &Data) -> Result<Self, Failure> {
        let first = Set::new(gpu, shape, config, data)?;
        let cache_bytes = last_level_cache_bytes(gpu.norms().facts().kind);
        let count = sets_for(first.bytes(), cache_bytes);
        let mut sets = vec![first];
        while (sets.len() as u64) < count {
            let mut encoder = gpu.device().create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
            sets.push(sets[0].another(gpu, &mut encoder)?);
            gpu.queue().submit([encoder.finish()]);
        }
        gpu.wait()?;

        let (norms, device) = (gpu.norms(), gpu.device());
        let inference = norms.inference(shape, config)?;
        let training = norms.training(shape, config)?;
        let backward = norms.backward(shape, config, Gradients::ALL)?;
        let bind_inference = |set: &Set| {
            let [gamma, beta, mean, variance] = &set.parameters;
            inference.bind(
                device,
                &InferenceBuffers {
                    gamma: Some(gamma.slice(..)),
                    beta: Some(beta.slice(..)),
                    ..InferenceBuffers::new(set.x.slice(..), mean.slice(..), variance.slice(..), set.out.slice(..))
                },
            )
        };
        let bind_training = |set: &Set| {
            let [gamma, beta, ..] = &set.parameters;
            training.bind(
                device,
                &TrainingBuffers {
                    gamma: Some(gamma.slice(..)),
                    beta: Some(beta.slice(..)),
                    ..TrainingBuffers::new(set.x.slice(..), set.saved.slice(..), set.out.slice(..))
                },
            )
        };
        let bind_backward = |set: &Set| {
            let [gamma, beta, ..] = &set.parameters;
            let [dgamma, dbeta] = &set.gradients;
            backward.bind(
                device,
                &BackwardBuffers {
                    gamma: Some(gamma.slice(..)),
                    beta: Some(beta.slice(..)),
                    dx: Some(set.out.slice(..)),
                    dgamma: Some(dgamma.slice(..)),
                    dbeta: Some(dbeta.slice(..)),
                    ..BackwardBuffers::new(set.x.slice(..), set.dy.slice(..), set.saved.slice(..))
                },
            )
        };
        let infer = sets.iter().map(bind_inference).collect::<Result<_, _>>()?;
        let train: Vec<Bound> = sets.iter().map(bind_training).collect::<Result<_, _>>()?;
        let back = sets.iter().map(bind_backward).collect::<Result<_, _>>()?;
        // Backward reads what training saves, in every set.
        gpu.submit(|pass| train.iter().for_each(|bound| bound.record(pass)));
        gpu.wait()?;
        Ok(Self {
            sets,
            tensor_bytes: config.dtype.tensor_bytes(shape.elements().into()),
            inference: (inference, infer),
            training: (training, train),
            backward: (backward, back),
        })
    }

    /// An operation, once per set.
    pub fn bound(&self, operation: Operation) -> &[Bound] {
        match operation {
            Operation::Inference => &self.inference.1,
            Operation::Training => &self.training.1,
            Operation::Backward => &self.backward.1,
        }
    }

    /// What an operation dispatches.
    pub fn plan(&self, operation: Operation) -> &Plan {
        match operation {
            Operation::Inference => self.inference.0.plan(),
            Operation::Training => self.training.0.plan(),
            Operation::Backward => self.backward.0.plan(),
        }
    }

    /// From where to where a copy goes, once per set.
    pub fn pairs(&self) -> Vec<[&wgpu::Buffer; 2]> {
        self.sets.iter().map(|set| [&set.x, &set.out]).collect()
    }

    /// A copy of x, once per set.
    pub fn copies(&self, gpu: &Gpu, kernel: &CopyKernel) -> Result<Vec<Copy>, Failure> {
        let bind = |set: &Set| kernel.bind(gpu, &set.x, &set.out, self.tensor_bytes);
        Ok(self.sets.iter().map(bind).collect::<Result<_, _>>()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_leave_the_cache_behind_and_stay_within_memory() {
        let mib = 1 << 20;
        assert_eq!(sets_for(2 * mib, 32 * mib), 64);
        assert_eq!(sets_for(75 * mib, 32 * mib), 2);
        assert_eq!(sets_for(300 * mib, 32 * mib), 2);
        assert_eq!(sets_for(600 * mib, 32 * mib), 1);
        assert_eq!(sets_for(1024, 32 * mib), SETS_MAX);
    }
}
