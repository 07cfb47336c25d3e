// Pass 1 of training: the moments of one part of each channel.
// count = m', mean = K + d, M2 = Σ (x − mean)²      over the m' values of the part
// Sums are taken of x − K, with K near the mean, so nothing cancels: K starts in the middle of four of the part, which is
// exact for a constant channel, and becomes the mean so far at every fold.
// grid and parts: see the reduce_* part that is joined
// reads  x [outer, channels, inner]      writes  records [slots, channels] × Moments
// where a channel is one part, in place of a merge: reads gamma, beta and writes as moments_merge does
struct Accumulator {
    total: Total,
    anchor: vec4<f32>,
    sum: vec4<f32>,       // Σ (x − K) since the last fold
    square: vec4<f32>,    // Σ (x − K)²
    count: vec4<u32>,
}

fn begin(channel: vec4<u32>) -> Accumulator {
    return Accumulator(neutral(), vec4<f32>(0.0), vec4<f32>(0.0), vec4<f32>(0.0), vec4<u32>(0u));
}

// From four values of the part: the mean of the middle two, so that one unlike the rest (a leading zero) does not
// mislead. Where all are equal it is that value, exactly.
fn anchor(state: ptr<function, Accumulator>, a: vec4<f32>, b: vec4<f32>, c: vec4<f32>, d: vec4<f32>) {
    let p = rounded(b - a);
    let q = rounded(c - a);
    let r = rounded(d - a);
    let zero = vec4<f32>(0.0);
    let outer = min(min(zero, p), min(q, r)) + max(max(zero, p), max(q, r));
    (*state).anchor = opaque(a + ((p + q + r) - outer) * 0.5);
}

fn gather4(state: ptr<function, Accumulator>, i: u32, j: u32, k: u32, l: u32) {
    let anchor = (*state).anchor;
    let a = rounded(load_x(i) - anchor);
    let b = rounded(load_x(j) - anchor);
    let c = rounded(load_x(k) - anchor);
    let d = rounded(load_x(l) - anchor);
    (*state).sum += (a + b) + (c + d);
    (*state).square += (a * a + b * b) + (c * c + d * d);
}

fn gather(state: ptr<function, Accumulator>, quad: u32) {
    let a = rounded(load_x(quad) - (*state).anchor);
    (*state).sum += a;
    (*state).square += a * a;
}

// Of each strand, so many quads were gathered; those under a mask count themselves.
fn counted(state: ptr<function, Accumulator>, quads: u32) {
    (*state).count += vec4<u32>(quads);
}

fn gather_masked(state: ptr<function, Accumulator>, quad: u32, mask: vec4<bool>) {
    let a = select(vec4<f32>(0.0), rounded(load_x(quad) - (*state).anchor), mask);
    (*state).sum += a;
    (*state).square += a * a;
    (*state).count += select(vec4<u32>(0u), vec4<u32>(1u), mask);
}

// Moves what was gathered into the total; the next anchor is the mean so far.
fn fold(state: ptr<function, Accumulator>, mask: vec4<bool>) {
    let count = select(vec4<u32>(0u), (*state).count, mask);
    let offset = (*state).sum / vec4<f32>(max(count, vec4<u32>(1u)));
    // Rounding can take it below zero; NaN is not below zero and so stays.
    let difference = (*state).square - (*state).sum * offset;
    let m2 = select(difference, vec4<f32>(0.0), difference < vec4<f32>(0.0));
    (*state).total = combine((*state).total, Moments4(count, (*state).anchor, offset, m2));
    let mean = opaque((*state).total.anchor + (*state).total.offset);
    (*state).anchor = select((*state).anchor, mean, (*state).total.count > vec4<u32>(0u));
    (*state).sum = vec4<f32>(0.0);
    (*state).square = vec4<f32>(0.0);
    (*state).count = vec4<u32>(0u);
}

@compute @workgroup_size(WORKGROUP_SIZE)
fn moments_partial(@builtin(workgroup_id) id: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    read_parameters();
    let index = workgroup_index(id);
    if (index >= uniform_parameters.workgroups) {
        return;
    }
    reduce_part(index, lane);
}
