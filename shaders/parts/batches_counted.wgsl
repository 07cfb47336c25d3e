// A batch without values counts for nothing.
fn count_batch(lane: u32) {
    storageBarrier();
    if (lane == 0u && values_of(0u) > 0u) {
        batches[0] += 1u;
    }
}
