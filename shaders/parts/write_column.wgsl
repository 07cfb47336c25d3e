// The four records of a column. A channel has as many columns in a row as the row has planes of it, times inner.
fn write_column(part: u32, column: u32, total: Total) {
    let element = vec4<u32>(4u * column) + vec4<u32>(0u, 1u, 2u, 3u);
    let plane = element / parameters.inner;
    let channel = plane % parameters.channels;
    let planes_of_channel = 4u * parameters.columns / parameters.inner / parameters.channels;
    let copy = (plane / parameters.channels) * parameters.inner + element % parameters.inner;
    let slot = vec4<u32>(part * planes_of_channel * parameters.inner) + copy;
    let record = slot * parameters.channels + channel;
    write_record(record.x, strand(total, 0u));
    write_record(record.y, strand(total, 1u));
    write_record(record.z, strand(total, 2u));
    write_record(record.w, strand(total, 3u));
}
