// The two sums of backward, of four channels or of four strands of one.
struct Sums4 {
    dy: vec4<f32>,        // Σ dy
    dy_centred: vec4<f32>, // Σ dy · (x − mean)
}

alias Total = Sums4;

fn neutral() -> Total {
    return Sums4(vec4<f32>(0.0), vec4<f32>(0.0));
}

fn combine(a: Sums4, b: Sums4) -> Sums4 {
    return Sums4(a.dy + b.dy, a.dy_centred + b.dy_centred);
}

fn combine_strands(a: Sums4) -> Sums4 {
    let pairs = Sums4(a.dy + a.dy.zwzw, a.dy_centred + a.dy_centred.zwzw);
    return Sums4(pairs.dy + pairs.dy.yyyy, pairs.dy_centred + pairs.dy_centred.yyyy);
}
