//! Parsing allocates nothing, whatever a file declares.

#[path = "common/cases.rs"]
mod cases;

use gristmill_gvq::GvqFile;
use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};

struct Counting;

static ALLOCATED: AtomicUsize = AtomicUsize::new(0);

// SAFETY: everything is the system allocator's; the counter alone is added.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATED.fetch_add(layout.size(), Ordering::Relaxed);
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn allocated<T>(work: impl FnOnce() -> T) -> (usize, T) {
    let before = ALLOCATED.load(Ordering::Relaxed);
    let result = work();
    (ALLOCATED.load(Ordering::Relaxed) - before, result)
}

/// One test alone in its program: another one's allocations would count.
#[test]
fn a_file_is_parsed_without_allocating() {
    for (name, header) in cases::cases() {
        let whole = cases::file(&header);
        let (bytes, parsed) = allocated(|| GvqFile::parse(&whole).is_ok());
        assert!(parsed && bytes == 0, "{name}: {bytes} bytes");
        // More rows than the file has bytes for.
        let mut short = whole.clone();
        short[12..16].copy_from_slice(&0x00ff_ffffu32.to_le_bytes());
        let checksum = crc32fast::hash(&short[..48]);
        short[48..52].copy_from_slice(&checksum.to_le_bytes());
        let (bytes, parsed) = allocated(|| GvqFile::parse(&short).is_ok());
        assert!(!parsed && bytes == 0, "{name}: {bytes} bytes");
        for length in 0..whole.len() {
            let (bytes, parsed) = allocated(|| GvqFile::parse(&whole[..length]).is_ok());
            assert!(!parsed && bytes == 0, "{name}, {length} bytes: {bytes} bytes");
        }
        let (bytes, words) = allocated(|| GvqFile::parse(&whole).unwrap().words().collect::<Vec<u32>>());
        assert!(bytes == 4 * words.len() && bytes <= whole.len(), "{name}: {bytes} bytes");
    }
}
