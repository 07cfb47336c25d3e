// Besides the normaliser, the coefficients of four channels are prepared.
fn keep_rest(slot: u32, channel: vec4<u32>) {
    let c = coefficients4(channel);
    kept[slot].anchor = c.mean_dy;
    kept[slot].offset = c.projection;
}

fn with_rest(n: Normaliser, slot: u32) -> Gradient {
    return Gradient(n, kept[slot].anchor, kept[slot].offset);
}
