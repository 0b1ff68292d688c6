//! Any bytes are a file that is written back as it was, or a typed error; the same once their checksums fit.
//!
//!     cd gvq && cargo +nightly fuzz run parse fuzz/corpus/parse fuzz/seeds/parse -- -max_total_time=300
#![no_main]

#[path = "../../tests/common/mod.rs"]
mod common;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let _ = common::parses_or_fails(bytes);
    let _ = common::repaired_parses_or_fails(bytes);
});
