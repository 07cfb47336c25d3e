// What maps x of a channel to z, for the four elements of a quad.
struct Normaliser {
    anchor: vec4<f32>,
    offset: vec4<f32>,
    scale: vec4<f32>,     // gamma · inverse_std
    shift: vec4<f32>,     // beta
}

// x − mean; never folded into a · x + b, which loses the small difference of large numbers.
fn centred(n: Normaliser, x: vec4<f32>) -> vec4<f32> {
    return rounded(rounded(x - n.anchor) - n.offset);
}

fn normalise(n: Normaliser, x: vec4<f32>) -> vec4<f32> {
    return centred(n, x) * n.scale + n.shift;
}
