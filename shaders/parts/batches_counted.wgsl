fn count_batch(lane: u32) {
    storageBarrier();
    if (lane == 0u) {
        batches[0] += 1u;
    }
}
