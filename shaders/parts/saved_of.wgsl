// What is saved of a channel, (K, d, inverse_std, variance), from the one record that its records became.
fn saved_of(merged: Moments) -> vec4<f32> {
    let variance = merged.m2 / f32(max(merged.count, 1u));
    return vec4<f32>(merged.anchor, merged.offset, inverse_std(variance), variance);
}
