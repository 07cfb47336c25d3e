// (K, d, inverse_std, variance) of the batch, which each workgroup merges for itself where a channel has few records.
fn statistics(channel: u32) -> vec4<f32> {
    return saved_of(merged_record(channel));
}

fn merge_channel(channel: u32) {
    saved[channel] = statistics(channel);
}
