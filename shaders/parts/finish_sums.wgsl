// What is left of a channel once all its values are in one pair of sums.
fn finish(channel: u32, merged: vec2<f32>) {
    let gradients = gradients_of(merged, channel, values_of(channel));
    write_coefficients(channel, gradients.coefficients);
    write_dgamma(channel, gradients.dgamma);
    write_dbeta(channel, gradients.dbeta);
    write_merged(channel, merged);
}
