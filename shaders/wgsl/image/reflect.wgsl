// 0 1 2 3 2 1 0 1 ..: the place in [0, size) that `index` mirrors, however far outside.
fn reflect_index(index: i32, size: i32) -> i32 {
    let period = max(2 * (size - 1), 1);
    let phase = abs(index) % period;
    return min(phase, period - phase);
}
