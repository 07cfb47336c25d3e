// What merges the few records of a channel wherever they are needed, in the order of a merge of its own.
// Overrides: FEW_RECORDS is how many records a channel can have, 2 or 4.
fn record_of(slot: u32, channel: u32) -> Record {
    if (slot >= FEW_RECORDS) {
        return empty_record();
    }
    return read_record(slot, channel);
}

fn merged_record(channel: u32) -> Record {
    return combine_strands(as_strands(
        record_of(0u, channel),
        record_of(1u, channel),
        record_of(2u, channel),
        record_of(3u, channel),
    ));
}
