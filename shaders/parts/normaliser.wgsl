// The normaliser of one channel.
fn normaliser(channel: u32) -> Normaliser {
    let n = normaliser_of(channel);
    return Normaliser(vec4<f32>(n.x), vec4<f32>(n.y), vec4<f32>(n.z), vec4<f32>(n.w));
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
