// (K, d, inverse_std, variance) of the batch, which each workgroup merges for itself where a channel has few records; in the
// order of `moments_merge`.
// Overrides: MERGES is how many records a channel can have, 2 or 4.
fn record_of(slot: u32, channel: u32) -> Moments {
    if (slot >= MERGES) {
        return empty_record();
    }
    return read_record(slot, channel);
}

fn statistics(channel: u32) -> vec4<f32> {
    return saved_of(combine_strands(as_strands(
        record_of(0u, channel),
        record_of(1u, channel),
        record_of(2u, channel),
        record_of(3u, channel),
    )));
}

fn merge_channel(channel: u32) {
    saved[channel] = statistics(channel);
}
