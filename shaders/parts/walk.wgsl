// The one streaming loop of the reductions: quads first, first + stride, …; four loads in flight.
fn walk(state: ptr<function, Accumulator>, first: u32, stride: u32, steps: u32) {
    var quad = first;
    for (var done = 4u; done <= steps; done += 4u) {
        gather4(state, quad, quad + stride, quad + 2u * stride, quad + 3u * stride);
        quad += 4u * stride;
    }
    for (var done = steps & ~3u; done < steps; done += 1u) {
        gather(state, quad);
        quad += stride;
    }
}

// How many of begin, begin + stride, … lie below end.
fn steps_to(begin: u32, end: u32, stride: u32) -> u32 {
    return select(0u, (end - begin + stride - 1u) / stride, begin < end);
}
