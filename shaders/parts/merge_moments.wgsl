// What merges the records of a channel: the next of them.
fn read_record(slot: u32, channel: u32) -> Moments {
    let words = records[min(slot, max(parameters.slots, 1u) - 1u) * parameters.channels + channel];
    // A slot beyond the last is an empty record.
    return from_memory(select(vec4<u32>(0u), words, slot < parameters.slots));
}
