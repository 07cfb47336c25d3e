// What merges the sums of a channel: the next of them, and what they all are for.
fn read_record(slot: u32, channel: u32) -> vec2<f32> {
    let record = sums[min(slot, max(parameters.slots, 1u) - 1u) * parameters.channels + channel];
    return select(vec2<f32>(0.0), record, slot < parameters.slots);
}

struct ChannelGradients {
    dgamma: f32,
    dbeta: f32,
    coefficients: vec2<f32>, // of dx: (dbeta / m, inverse_std · dgamma / m)
}

fn gradients_of(merged: vec2<f32>, channel: u32, values: u32) -> ChannelGradients {
    let inverse_std = statistics(channel).z;
    let dgamma = inverse_std * merged.y;
    let count = f32(max(values, 1u));
    return ChannelGradients(dgamma, merged.x, vec2<f32>(merged.x / count, inverse_std * dgamma / count));
}
