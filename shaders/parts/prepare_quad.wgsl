// What the kernel prepares of a channel, for the four elements of a quad, whose channels follow each other.
// Overrides: QUAD_PLANES is how many planes a quad can reach into: 1, 2 (the first and the last element's) or 4.
fn prepare4(channel: vec4<u32>) -> Prepared {
    let a = prepare(channel.x);
    if (QUAD_PLANES == 1u) {
        return a;
    }
    let d = prepare(channel.w);
    if (QUAD_PLANES == 2u) {
        return either(a, d, channel == vec4<u32>(channel.x));
    }
    let ab = either(a, prepare(channel.y), vec4<bool>(true, false, true, false));
    let cd = either(prepare(channel.z), d, vec4<bool>(true, false, true, false));
    return either(ab, cd, vec4<bool>(true, true, false, false));
}
