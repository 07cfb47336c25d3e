// What the sums of all values of a channel are for.
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
