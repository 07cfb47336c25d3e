// The coefficients of dx, which each workgroup merges for itself where a channel has few pairs of sums; in the order of
// `backward_merge`.
// Overrides: MERGES is how many pairs a channel can have, 2 or 4.
fn sums_of(slot: u32, channel: u32) -> vec2<f32> {
    if (slot >= MERGES) {
        return empty_record();
    }
    return read_sums(slot, channel);
}

fn merged_gradients(channel: u32) -> ChannelGradients {
    let merged = combine_strands(as_strands(
        sums_of(0u, channel),
        sums_of(1u, channel),
        sums_of(2u, channel),
        sums_of(3u, channel),
    ));
    return gradients_of(merged, channel, parameters.values);
}

fn coefficients_of(channel: u32) -> vec2<f32> {
    return merged_gradients(channel).coefficients;
}

fn merge_channel(channel: u32) {
    let gradients = merged_gradients(channel);
    write_dgamma(channel, gradients.dgamma);
    write_dbeta(channel, gradients.dbeta);
}
