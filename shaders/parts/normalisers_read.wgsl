// The normaliser of a channel, as what finished the channel left it.
fn normaliser_of(channel: u32) -> vec4<f32> {
    return normalisers[channel];
}
