// A normaliser, (K, d, gamma · inverse_std, beta), from the statistics of its channel, (K, d, inverse_std, variance).
fn normaliser_record(statistics: vec4<f32>, channel: u32) -> vec4<f32> {
    return vec4<f32>(statistics.xy, gamma_of(channel) * statistics.z, beta_of(channel));
}
