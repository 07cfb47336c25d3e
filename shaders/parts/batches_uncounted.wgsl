fn count_batch(lane: u32) {}
