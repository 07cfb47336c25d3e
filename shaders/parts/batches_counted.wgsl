fn count_batch(lane: u32) {
    storageBarrier();
    // A batch without values counts for nothing.
    if (lane == 0u && values_of(0u) > 0u) {
        batches[0] += 1u;
    }
}
