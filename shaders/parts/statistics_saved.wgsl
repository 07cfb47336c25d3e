// (K, d, inverse_std, variance) of the batch that training normalised with.
fn statistics(channel: u32) -> vec4<f32> {
    return saved[channel];
}
