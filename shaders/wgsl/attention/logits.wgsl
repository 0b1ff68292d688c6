// Logits are kept in base 2. A masked key has MASKED, a running maximum starts at FLOOR: exp2(MASKED - FLOOR) is 0, so
// a row without a visible key sums to 0 without a branch, and no infinity is ever formed.
const LOG2_E = 1.4426950408889634;
const LN_2 = 0.6931471805599453;
const MASKED = -1.0e30;
const FLOOR = -1.0e29;
// The lse of a row without a visible key; the host turns it into -inf.
const EMPTY_LSE = -1.0e30;
