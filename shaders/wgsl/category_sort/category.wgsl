// A key past the categories counts as the last one: a wrong key must not write past the counts.
fn category_of(element: u32) -> u32 {
    let category = min(keys[element], params.categories - 1u);
#if MASK
    return select(category, params.categories, hidden[element] != 0u);
#else
    return category;
#endif
}
