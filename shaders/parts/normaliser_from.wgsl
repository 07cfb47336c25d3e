// (K, d, gamma · inverse_std, beta) of a channel from its statistics, (K, d, inverse_std, variance).
fn normaliser_from(found: vec4<f32>, channel: u32) -> vec4<f32> {
    return vec4<f32>(found.xy, gamma_of(channel) * found.z, beta_of(channel));
}
