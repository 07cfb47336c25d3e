// The four records of a column. A channel has as many columns in a row as the row has elements of it.
fn write_column(part: u32, column: u32, total: Total) {
    let places = places_of(column);
    let slots_per_part = 4u * parameters.columns / parameters.channels;
    let slot = vec4<u32>(part * slots_per_part) + places.row * parameters.inner + places.place;
    let record = slot * parameters.channels + places.channel;
    write_record(record.x, strand(total, 0u));
    write_record(record.y, strand(total, 1u));
    write_record(record.z, strand(total, 2u));
    write_record(record.w, strand(total, 3u));
}
