// The normaliser of one channel, from the statistics and parameters in memory.
fn normaliser(channel: u32) -> Normaliser {
    let s = statistics(channel);
    return Normaliser(
        vec4<f32>(s.x),
        vec4<f32>(s.y),
        vec4<f32>(gamma_of(channel) * s.z),
        vec4<f32>(beta_of(channel)),
    );
}

// Of one where the mask is set, of the other elsewhere.
fn either_normaliser(a: Normaliser, b: Normaliser, mask: vec4<bool>) -> Normaliser {
    return Normaliser(
        select(b.anchor, a.anchor, mask),
        select(b.offset, a.offset, mask),
        select(b.scale, a.scale, mask),
        select(b.shift, a.shift, mask),
    );
}
