//! A layer's state, in and out.

use super::{Gpu, State};
use crate::error::Error;
use crate::layer::Layer;

impl Layer {
    /// Downloads parameters, running statistics and batch counter; [`State::write`] makes a file of them.
    ///
    /// # Errors
    /// As [`Gpu::read`].
    pub async fn state(&self, gpu: &Gpu) -> Result<State, Error> {
        let count = self.channels() as usize;
        let mut state = State {
            running_mean: Some(gpu.read_f32(self.running_mean(), count).await?),
            running_variance: Some(gpu.read_f32(self.running_variance(), count).await?),
            ..State::default()
        };
        if let Some(gamma) = self.gamma() {
            state.gamma = Some(gpu.read_f32(&gamma.value, count).await?);
        }
        if let Some(beta) = self.beta() {
            state.beta = Some(gpu.read_f32(&beta.value, count).await?);
        }
        let batches = gpu.read(self.batches(), 4).await?;
        state.batches = batches.try_into().ok().map(|bytes| u64::from(u32::from_le_bytes(bytes)));
        Ok(state)
    }

    /// Uploads a state, such as [`State::read`] finds in a file. A counter that is absent (Keras keeps none) becomes 0.
    ///
    /// Takes effect before whatever is submitted next. After an error the layer is as it was.
    ///
    /// # Errors
    /// [`Error::Missing`] if the state lacks what the layer has · [`Error::Unexpected`] if it has a gamma or beta that
    /// the layer has not · [`Error::WrongDimensions`] · [`Error::State`] for a counter beyond u32
    pub fn load_state(&self, gpu: &Gpu, state: &State) -> Result<(), Error> {
        let fields = [
            ("gamma", &state.gamma, self.gamma().map(|p| &p.value)),
            ("beta", &state.beta, self.beta().map(|p| &p.value)),
            ("running_mean", &state.running_mean, Some(self.running_mean())),
            ("running_variance", &state.running_variance, Some(self.running_variance())),
        ];
        let mut writes = Vec::with_capacity(fields.len());
        for (argument, values, buffer) in fields {
            match (values, buffer) {
                (Some(values), Some(_)) if values.len() != self.channels() as usize => {
                    let (dimensions, needed) = (vec![values.len()], vec![self.channels() as usize]);
                    return Err(Error::WrongDimensions { argument, dimensions, needed });
                }
                (Some(values), Some(buffer)) => writes.push((buffer, values)),
                (None, Some(_)) => return Err(Error::Missing { argument, reason: "the layer has it" }),
                (Some(_), None) => return Err(Error::Unexpected { argument, reason: "the layer has none" }),
                (None, None) => {}
            }
        }
        let batches = state.batches.unwrap_or(0);
        let count = u32::try_from(batches)
            .map_err(|_| Error::State(format!("{batches} batches seen; a layer counts up to {}", u32::MAX)))?;
        for (buffer, values) in writes {
            gpu.queue().write_buffer(buffer, 0, bytemuck::cast_slice(values));
        }
        gpu.queue().write_buffer(self.batches(), 0, &count.to_le_bytes());
        Ok(())
    }
}
