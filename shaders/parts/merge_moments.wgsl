// What merges the records of a channel: the next of them, and what is saved of them all, (K, d, inverse_std, variance).
fn read_record(slot: u32, channel: u32) -> Moments {
    let words = records[min(slot, max(parameters.slots, 1u) - 1u) * parameters.channels + channel];
    // A slot beyond the last is an empty record.
    return from_memory(select(vec4<u32>(0u), words, slot < parameters.slots));
}

fn saved_of(merged: Moments) -> vec4<f32> {
    let variance = merged.m2 / f32(max(merged.count, 1u));
    return vec4<f32>(merged.anchor, merged.offset, inverse_std(variance), variance);
}
