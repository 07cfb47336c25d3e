// How many of begin, begin + stride, … lie below end.
fn steps_to(begin: u32, end: u32, stride: u32) -> u32 {
    return select(0u, (end - begin + stride - 1u) / stride, begin < end);
}
