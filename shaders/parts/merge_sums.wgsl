// What merges the sums of a channel: the next of them.
fn read_record(slot: u32, channel: u32) -> vec2<f32> {
    let record = sums[min(slot, max(parameters.slots, 1u) - 1u) * parameters.channels + channel];
    return select(vec2<f32>(0.0), record, slot < parameters.slots);
}
