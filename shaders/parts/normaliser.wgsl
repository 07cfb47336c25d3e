// A normaliser from the statistics and parameters in memory.

// Of one channel.
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

// Of four channels.
fn normaliser4(channel: vec4<u32>) -> Normaliser {
    let a = statistics(channel.x);
    let b = statistics(channel.y);
    let c = statistics(channel.z);
    let d = statistics(channel.w);
    let gamma = vec4<f32>(gamma_of(channel.x), gamma_of(channel.y), gamma_of(channel.z), gamma_of(channel.w));
    return Normaliser(
        vec4<f32>(a.x, b.x, c.x, d.x),
        vec4<f32>(a.y, b.y, c.y, d.y),
        gamma * vec4<f32>(a.z, b.z, c.z, d.z),
        vec4<f32>(beta_of(channel.x), beta_of(channel.y), beta_of(channel.z), beta_of(channel.w)),
    );
}
