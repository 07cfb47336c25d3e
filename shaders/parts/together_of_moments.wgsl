// What planes that end together need of moments, beside what every walk does.

// A quad that two channels share: where the mask is set it is the first one's.
fn gather_shared(first: ptr<function, Accumulator>, second: ptr<function, Accumulator>, quad: u32, mask: vec4<bool>) {
    let zero = vec4<f32>(0.0);
    let a = rounded(load_x(quad) - select((*second).anchor, (*first).anchor, mask));
    let square = a * a;
    (*first).sum += select(zero, a, mask);
    (*first).square += select(zero, square, mask);
    (*second).sum += select(a, zero, mask);
    (*second).square += select(square, zero, mask);
}

// Of each strand, so many values were gathered.
fn counted_by_strand(state: ptr<function, Accumulator>, values: vec4<u32>) {
    (*state).count += values;
}
