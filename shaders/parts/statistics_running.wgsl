// (K, d, inverse_std, variance) of statistics that are given: the mean is one f32, so d is 0.
fn statistics(channel: u32) -> vec4<f32> {
    let variance = running_variance[channel];
    return vec4<f32>(running_mean[channel], 0.0, inverse_std(variance), variance);
}
