// What is left of a channel once all its values are in one record.
fn finish(channel: u32, merged: Moments) {
    let statistics = saved_of(merged);
    write_saved(channel, statistics);
    write_normaliser(channel, statistics);
    write_merged(channel, merged);
}
