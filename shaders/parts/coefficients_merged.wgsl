// The gradients and coefficients of a channel, which each workgroup merges for itself where it has few pairs of sums.
fn merged_gradients(channel: u32) -> ChannelGradients {
    return gradients_of(merged_record(channel), channel, parameters.values);
}

fn merge_channel(channel: u32) {
    let gradients = merged_gradients(channel);
    write_dgamma(channel, gradients.dgamma);
    write_dbeta(channel, gradients.dbeta);
}
