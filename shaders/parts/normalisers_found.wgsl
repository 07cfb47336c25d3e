// The normaliser of a channel, from its statistics and parameters.
fn normaliser_of(channel: u32) -> vec4<f32> {
    return normaliser_from(statistics(channel), channel);
}
