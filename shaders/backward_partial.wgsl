// Pass 1 of backward: two sums over one part of each channel.
// Σ dz      Σ dz · (x − mean)      with dz = dy, or dy where z > 0
// grid and parts: see the reduce_* part that is joined
// reads  x, dy [outer, channels, inner]; statistics, gamma, beta [channels]      writes  sums [slots, channels] × vec2
// where a channel is one part, in place of a merge: writes as backward_merge does
struct Accumulator {
    total: Total,
    normaliser: Normaliser,
    dy: vec4<f32>,
    dy_centred: vec4<f32>,
}

fn begin(channel: vec4<u32>) -> Accumulator {
    return Accumulator(neutral(), prepare4(channel), vec4<f32>(0.0), vec4<f32>(0.0));
}

// Sums need no anchor: the mean is known.
fn anchor(state: ptr<function, Accumulator>, a: vec4<f32>, b: vec4<f32>, c: vec4<f32>, d: vec4<f32>) {}

fn gather4(state: ptr<function, Accumulator>, i: u32, j: u32, k: u32, l: u32) {
    let n = (*state).normaliser;
    let xi = load_x(i);
    let xj = load_x(j);
    let xk = load_x(k);
    let xl = load_x(l);
    let a = gradient_of_z(n, load_dy(i), xi, i);
    let b = gradient_of_z(n, load_dy(j), xj, j);
    let c = gradient_of_z(n, load_dy(k), xk, k);
    let d = gradient_of_z(n, load_dy(l), xl, l);
    (*state).dy += (a + b) + (c + d);
    (*state).dy_centred += (a * centred(n, xi) + b * centred(n, xj)) + (c * centred(n, xk) + d * centred(n, xl));
}

fn gather(state: ptr<function, Accumulator>, quad: u32) {
    let n = (*state).normaliser;
    let x = load_x(quad);
    let a = gradient_of_z(n, load_dy(quad), x, quad);
    (*state).dy += a;
    (*state).dy_centred += a * centred(n, x);
}

// Sums need no count.
fn counted(state: ptr<function, Accumulator>, quads: u32) {}

fn gather_masked(state: ptr<function, Accumulator>, quad: u32, mask: vec4<bool>) {
    let n = (*state).normaliser;
    let x = load_x(quad);
    let a = gradient_of_z(n, load_dy(quad), x, quad);
    (*state).dy += select(vec4<f32>(0.0), a, mask);
    (*state).dy_centred += select(vec4<f32>(0.0), a * centred(n, x), mask);
}

fn fold(state: ptr<function, Accumulator>, mask: vec4<bool>) {
    let gathered = Sums4(
        select(vec4<f32>(0.0), (*state).dy, mask),
        select(vec4<f32>(0.0), (*state).dy_centred, mask),
    );
    (*state).total = combine((*state).total, gathered);
    (*state).dy = vec4<f32>(0.0);
    (*state).dy_centred = vec4<f32>(0.0);
}

@compute @workgroup_size(WORKGROUP_SIZE)
fn backward_partial(@builtin(workgroup_id) id: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    read_parameters();
    let index = workgroup_index(id);
    if (index >= uniform_parameters.workgroups) {
        return;
    }
    reduce_part(index, lane);
}
