// The two sums of backward, of four channels or of four strands of one.
struct Sums4 {
    dy: vec4<f32>,        // Σ dy
    dy_centred: vec4<f32>, // Σ dy · (x − mean)
}

alias Total = Sums4;
alias Record = vec2<f32>;

fn neutral() -> Total {
    return Sums4(vec4<f32>(0.0), vec4<f32>(0.0));
}

fn combine(a: Sums4, b: Sums4) -> Sums4 {
    return Sums4(a.dy + b.dy, a.dy_centred + b.dy_centred);
}

fn empty_record() -> vec2<f32> {
    return vec2<f32>(0.0);
}

fn as_strands(a: vec2<f32>, b: vec2<f32>, c: vec2<f32>, d: vec2<f32>) -> Sums4 {
    return Sums4(vec4<f32>(a.x, b.x, c.x, d.x), vec4<f32>(a.y, b.y, c.y, d.y));
}

fn strand(a: Sums4, i: u32) -> vec2<f32> {
    return vec2<f32>(a.dy[i], a.dy_centred[i]);
}

// The strands where the mask is set, and empty ones elsewhere.
fn only(a: Sums4, mask: vec4<bool>) -> Sums4 {
    return Sums4(select(vec4<f32>(0.0), a.dy, mask), select(vec4<f32>(0.0), a.dy_centred, mask));
}

fn combine_strands(a: Sums4) -> vec2<f32> {
    let pairs = Sums4(a.dy + a.dy.zwzw, a.dy_centred + a.dy_centred.zwzw);
    return strand(Sums4(pairs.dy + pairs.dy.yyyy, pairs.dy_centred + pairs.dy_centred.yyyy), 0u);
}
