// The moments of four channels, or of four strands of one: the one monoid that every path merges with.
// The mean is the pair anchor + offset (K + d), so that merging at mean/std of 1e6 loses nothing.
struct Moments4 {
    count: vec4<u32>,
    anchor: vec4<f32>,
    offset: vec4<f32>,
    m2: vec4<f32>,        // Σ (x − mean)²
}

alias Total = Moments4;
alias Record = Moments;

fn neutral() -> Total {
    return Moments4(vec4<u32>(0u), vec4<f32>(0.0), vec4<f32>(0.0), vec4<f32>(0.0));
}

// Chan, Golub & LeVeque 1979; an empty side is neutral. Of the two anchors the one nearer to the common mean stays, so
// that one far from the data is left behind. (A pair made from the sum by Knuth's two-sum would not survive drivers that
// simplify (a + b) − a, as Mesa's do.)
fn combine(a: Moments4, b: Moments4) -> Moments4 {
    let count = a.count + b.count;
    let whole = vec4<f32>(max(count, vec4<u32>(1u)));
    let share = vec4<f32>(b.count) / whole;
    let delta = rounded(b.anchor - a.anchor) + rounded(b.offset - a.offset);
    let from_a = a.offset + delta * share;
    let from_b = b.offset - delta * (vec4<f32>(a.count) / whole);
    let a_nearer = abs(from_a) <= abs(from_b);
    let anchor = select(b.anchor, a.anchor, a_nearer);
    let offset = select(from_b, from_a, a_nearer);
    let m2 = a.m2 + b.m2 + delta * delta * (vec4<f32>(a.count) * share);
    let a_empty = a.count == vec4<u32>(0u);
    let b_empty = b.count == vec4<u32>(0u);
    return Moments4(
        count,
        select(select(anchor, a.anchor, b_empty), b.anchor, a_empty),
        select(select(offset, a.offset, b_empty), b.offset, a_empty),
        select(select(m2, a.m2, b_empty), b.m2, a_empty),
    );
}

fn empty_record() -> Moments {
    return Moments(0u, 0.0, 0.0, 0.0);
}

fn as_strands(a: Moments, b: Moments, c: Moments, d: Moments) -> Moments4 {
    return Moments4(
        vec4<u32>(a.count, b.count, c.count, d.count),
        vec4<f32>(a.anchor, b.anchor, c.anchor, d.anchor),
        vec4<f32>(a.offset, b.offset, c.offset, d.offset),
        vec4<f32>(a.m2, b.m2, c.m2, d.m2),
    );
}

fn strand(a: Moments4, i: u32) -> Moments {
    return Moments(a.count[i], a.anchor[i], a.offset[i], a.m2[i]);
}

// The strands where the mask is set, and empty ones elsewhere.
fn only(a: Moments4, mask: vec4<bool>) -> Moments4 {
    return Moments4(select(vec4<u32>(0u), a.count, mask), a.anchor, a.offset, a.m2);
}

fn combine_strands(a: Moments4) -> Moments {
    let pairs = combine(a, Moments4(a.count.zwzw, a.anchor.zwzw, a.offset.zwzw, a.m2.zwzw));
    return strand(combine(pairs, Moments4(pairs.count.yyyy, pairs.anchor.yyyy, pairs.offset.yyyy, pairs.m2.yyyy)), 0u);
}
